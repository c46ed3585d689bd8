"""What is particular to a stack of layers on pictures: what of it is shown, and how.

An array holds the feature maps of one layer, as they are. A picture is a contact sheet of all
layers that are shown or, where its name tells maps apart, a single map. A stack has no kernel of
its own: in its request stands the identity, so that all else goes the way of every picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from convtool import bank, engine, images, kernels
from convtool.batch.layout import DTYPES, Arranged, Kind
from convtool.batch.model import Job, Request
from convtool.batch.naming import fields_of
from convtool.batch.remarks import Outcome, plan_notes
from convtool.engine import Choice
from convtool.errors import ArrayError, ConvtoolError, GeometryError, ImageError, UsageError
from convtool.geometry import ConvSpec, Note, Shape, plan, size_text
from convtool.images import Format, Header, Picture, Section
from convtool.images.sheet import PAPER, Scale
from convtool.kernels import Kernel
from convtool.stack import files, run, weights
from convtool.stack.chain import FLOAT32, BrokenLayer, Settled, place
from convtool.stack.layers import Layer, LayerKind, Stack
from convtool.stack.run import Computed
from convtool.stack.weights import Weights
from convtool.terms import AlphaMode, Depth, EngineName, MethodName, RangeMode

EVERY = "all"

# What a stack is called in the names of outputs where its file does not say it.
NAME = "stack"

# The layers whose outputs are vectors, and those that pass on any channels that they get.
_VECTORS = frozenset({LayerKind.FLATTEN, LayerKind.DENSE})
_PASSING = frozenset({LayerKind.POOL, LayerKind.UPSAMPLE})


class Stacked(NamedTuple):
    """A stack that is ready to run, and what is to be seen of it.

    Parameters
    ----------
    stack : Stack
        With a name.
    weights : mapping of int to Weights
        Of every layer up to the last one shown.
    shown : tuple of int
        Numbers of layers, from 1, in order.
    scale : str
        ``each`` map of a picture is stretched by itself, or ``all`` of a layer by one scale.
    """

    stack: Stack
    weights: Mapping[int, Weights]
    shown: tuple[int, ...]
    scale: Scale = "each"

    @property
    def kernel(self) -> Kernel:
        """The identity under the name of the stack, for a request."""
        return Kernel(self.stack.name, (1, 1), 1, lambda: np.ones((1, 1, 1)))


# What the command line says


def load(
    path: Path | None, texts: Sequence[str], *, show: str | None = None, scale: str | None = None
) -> Stacked:
    """Read a stack and the weights of all its layers that are needed.

    Parameters
    ----------
    path : Path, optional
        A TOML file of layers.
    texts : sequence of str
        Layers as the command line writes them, which follow those of the file.
    show : str, optional
        Numbers and names of layers with commas between, or ``all`` that have feature maps; by
        default the last one.
    scale : str, optional
        ``each`` or ``all``.

    Raises
    ------
    ConvtoolError
        Where the stack cannot be read, a layer has no weights, or there is none of that name.
    """
    if scale not in (None, "each", "all"):
        raise UsageError(f"--scale is each or all, not {scale!r}")
    stack = files.joined(path, texts)
    stack = stack._replace(name=stack.name or (path.stem if path else NAME))
    shown = _shown(stack, show)
    try:
        found = weights.load(stack, shown[-1])
    except UsageError as error:
        raise UsageError(
            error.message,
            "say which: kernel=sobel, kernel=weights.npy or kernel=net.safetensors:conv1.weight "
            "instead of size and filters; 'convtool shape' needs none",
        ) from None
    return Stacked(stack, found, shown, cast(Scale, scale or "each"))


def files_of(stacked: Stacked, path: Path | None) -> tuple[Path, ...]:
    """Return the files that a stack is read from, which no output may overwrite."""
    stack = stacked.stack
    named = [text for layer in stack.layers for text in (layer.kernel, layer.bias) if text]
    read = bank.files_of([kernels.from_folder(text, stack.folder) for text in named])
    return (path, *read) if path else read


def _shown(stack: Stack, text: str | None) -> tuple[int, ...]:
    """Return the numbers of the layers that are shown, in order."""
    count = len(stack.layers)
    if text is None:
        return (count,)
    if text == EVERY and EVERY not in [layer.name for layer in stack.layers]:
        maps = (n for n, layer in enumerate(stack.layers, 1) if layer.kind not in _VECTORS)
        return tuple(maps) or (count,)
    try:
        return tuple(sorted({run.number_of(stack, part.strip()) for part in text.split(",")}))
    except UsageError as error:
        raise UsageError(f"--show {text}: {error.message}", error.hint) from None


# How it goes with a picture


def fit(request: Request, header: Header, form: Format, inputs: int) -> Kind:
    """Settle a stack on pictures of one shape and type.

    Parameters
    ----------
    request : Request
        Of a stack.
    header : Header
    form : Format
        Of the output.
    inputs : int
        How many there are in all.

    Raises
    ------
    UsageError
        Where it would go with no picture at all.
    ConvtoolError
        Where it does not go with this one.
    """
    stacked = _of(request)
    apart = "filter" in fields_of(request.output or "")
    _check_shown(stacked, form, apart)
    shape, alpha = _seen(stacked, header)
    chain = _chain(stacked, shape)
    run.check_normalization(stacked.stack, shape[3])
    pixel = np.zeros((1, 1, 1, shape[3]), DTYPES[header.depth])
    _check_sizes(chain, request.max_pixels)
    dtype = run.preprocessed(pixel, stacked.stack).dtype  # what the first layer gets
    choices = _choices(stacked, chain, request, inputs, dtype)
    engines = {choice.engine for choice in choices if choice}
    array = form.name == "NPY"
    return Kind(
        plan=plan(ConvSpec(), shape, (1, 1)),
        alpha=alpha,
        arranged=_arranged(chain[-1].output_shape, array=array, apart=apart),
        depth=Depth.FLOAT if array else Depth.EIGHT,
        range=RangeMode.RAW if array else RangeMode.STRETCH,
        choice=Choice(
            next(iter(engines), EngineName.NUMPY),
            MethodName.AUTO,
            "for all layers",
            device=request.device,
        ),
        notes=tuple(_notes(stacked, chain, alpha)),
        chain=chain,
        choices=choices,
    )


def _of(request: Request) -> Stacked:
    assert request.stack is not None, "who calls has a stack"
    return request.stack


def _check_shown(stacked: Stacked, form: Format, apart: bool) -> None:
    """See that a single layer is shown where only one has a place."""
    what = "a .npy output" if form.name == "NPY" else "a name with {filter}"
    if len(stacked.shown) > 1 and (form.name == "NPY" or apart):
        raise UsageError(
            f"{what} holds the maps of one layer, but {len(stacked.shown)} are shown: "
            f"{_numbers(stacked.shown)}",
            f"choose one, as in --show {stacked.shown[-1]}; -o maps.png draws all of them on one "
            "sheet",
        )


def _seen(stacked: Stacked, header: Header) -> tuple[Shape, AlphaMode | None]:
    """Return what the first layer gets: alpha only where its kernel counts it."""
    n, h, w, channels = header.shape
    if not header.alpha:
        return header.shape, None
    if _goes_with(stacked, channels) and not _goes_with(stacked, channels - 1):
        return header.shape, None
    return (n, h, w, channels - 1), AlphaMode.DROP


def _goes_with(stacked: Stacked, channels: int) -> bool:
    """Whether the first kernel takes so many channels."""
    for number, layer in enumerate(stacked.stack.layers, 1):
        found = stacked.weights.get(number, Weights())
        if found.kernel:
            return _takes(layer, found.kernel, channels)
        if layer.kind not in _PASSING:
            break
    return True


def _takes(layer: Layer, kernel: Kernel, channels: int) -> bool:
    """Whether a layer's kernel takes so many channels; one of two axes takes any number."""
    if len(kernel.shape) == 2:
        return True
    match layer.kind:
        case LayerKind.DEPTHWISE:
            return kernel.shape[3] % channels == 0
        case LayerKind.TRANSPOSE:
            return kernel.shape[3] == channels
        case _:
            return kernel.shape[2] * layer.spec.groups == channels


def _chain(stacked: Stacked, shape: Shape) -> tuple[Settled, ...]:
    """Settle the layers up to the last one shown, and check all that can be before they run."""
    stack, last = stacked.stack, stacked.shown[-1]
    try:
        settled = weights.settle(stack, shape, stacked.weights, last)
        # Sees to biases and matrices at once; an image of a single number takes no memory.
        plain = stack._replace(scale=1.0, mean=(), deviation=())
        black = np.broadcast_to(np.uint8(0), shape)
        run.run(plain, black, weights=stacked.weights, upto=last)
    except BrokenLayer as broken:
        raise _blamed(broken, stacked, shape) from None
    except ArrayError as error:  # a bias that does not go with its kernel
        raise UsageError(error.message, error.hint) from None
    return settled


def _blamed(broken: BrokenLayer, stacked: Stacked, shape: Shape) -> ConvtoolError:
    """Tell a stack that is wrong for every image from an image that is wrong for the stack."""
    index = broken.number - 1
    layer = stacked.stack.layers[index]
    kernel = stacked.weights.get(broken.number, Weights()).kernel
    always = UsageError(broken.message, broken.hint)
    if broken.status == UsageError.status:
        return always
    if kernel is None:
        return broken
    if layer.kind is LayerKind.TRANSPOSE and len(kernel.shape) == 2 and kernel.filters > 1:
        return always
    before = weights.settle(stacked.stack, shape, stacked.weights, index)
    channels = before[-1].output_shape[3] if before else shape[3]
    if _takes(layer, kernel, channels):
        return broken
    if any(map(_sets_channels, before)):
        return always
    other = _other_colours(stacked, before, shape[3])
    return GeometryError(broken.message, "; or ".join(filter(None, [broken.hint, other])))


def _sets_channels(layer: Settled) -> bool:
    """Whether a layer's output has as many channels whatever its input has."""
    across = layer.plan is not None and not layer.plan.per_channel
    return layer.layer.kind in (LayerKind.DENSE, LayerKind.RESHAPE) or (
        across and layer.layer.kind is not LayerKind.DEPTHWISE
    )


def _other_colours(stacked: Stacked, before: Sequence[Settled], channels: int) -> str:
    """Say in which colours an image would fit the first kernel, where they are the matter."""
    first = all(layer.layer.kind in _PASSING for layer in before)
    for given, takes, way in ((1, 3, "RGB, three equal channels"), (3, 1, "grey")):
        if first and channels == given and _goes_with(stacked, takes):
            return f"save the image as {way}"
    return ""


def _check_sizes(chain: Sequence[Settled], most: int) -> None:
    """Refuse a layer that would make feature maps of a size that is hardly meant."""
    for layer in chain:
        n, h, w, _ = layer.output_shape
        if n * h * w > most:
            raise ImageError(
                f"{place(layer.layer, layer.number)}: its output {size_text(layer.output_shape)} "
                f"would have {n * h * w} pixels, but at most {most} are made",
                f"use a smaller stride or factor, or --max-pixels {n * h * w} if it is meant",
            )


def _choices(
    stacked: Stacked,
    chain: Sequence[Settled],
    request: Request,
    inputs: int,
    dtype: np.dtype[Any],
) -> tuple[Choice | None, ...]:
    """Choose one engine for all layers, and the method of each.

    Loading the compiled engine pays for all of them together, and once it is there little is
    quicker. With the engine given, neither threads nor the work ahead change the methods, so that
    each layer runs as it is told here.
    """
    macs = sum(layer.macs for layer in chain) * inputs

    def choose(layer: Settled, who: EngineName) -> Choice | None:
        kernel = stacked.weights.get(layer.number, Weights()).kernel
        if layer.plan is None or kernel is None:
            return None
        return engine.choose(
            layer.plan,
            who,
            weights=kernel.weights,
            threads=request.threads,
            macs=macs,
            dtype=dtype if layer.number == 1 else "float32",
            device=request.device,
        )

    free = [choose(layer, request.engine) for layer in chain]
    who = _one_engine({choice.engine for choice in free if choice})
    return tuple(choose(layer, who) for layer in chain)


def _one_engine(engines: set[EngineName]) -> EngineName:
    """Return who computes all layers, of those that each by itself would take."""
    if len(engines) == 1:
        return engines.pop()
    # A GPU has to be worth it for every layer: what goes there comes back after each.
    return EngineName.CPU if engines else EngineName.NUMPY


def _arranged(shape: Shape, *, array: bool, apart: bool) -> Arranged:
    parts = shape[3] if apart else 1
    return Arranged(shape, parts, shape[3] // parts if array else 1, alpha=False)


def _notes(stacked: Stacked, chain: Sequence[Settled], alpha: AlphaMode | None) -> Iterator[Note]:
    """Return what is worth knowing of the layers, each thing once with all that it is true of."""
    about: dict[Note, list[int]] = {}
    for layer in chain:
        kernel = stacked.weights.get(layer.number, Weights()).kernel
        for note in plan_notes(layer.plan, kernel) if layer.plan and kernel else layer.notes:
            about.setdefault(note, []).append(layer.number)
    for note, numbers in about.items():
        which = f"layer{'s' * (len(numbers) > 1)} {_numbers(numbers)}"
        yield note._replace(message=f"{which}: {note.message}")
    said, given = stacked.stack.input_shape, chain[0].input_shape
    if said is not None and said[1:] != given[1:]:
        yield Note(
            "other-size",
            f"the stack is written for {size_text(said[1:])}, and runs on {size_text(given[1:])}",
        )
    if alpha is AlphaMode.DROP:
        yield Note("alpha-dropped", "feature maps have no alpha: that of the input is left out")


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


# What it makes of a picture


def compute(
    request: Request, job: Job, picture: Picture, *, threads: int | None = None
) -> tuple[NDArray[Any], None, Outcome]:
    """Run the layers on one picture, and draw those that are shown.

    Returns
    -------
    pixels : ndarray (N, H, W, channels)
        A sheet for each frame, uint8; all maps of one layer apart, uint8; or its values, float32.
    opacity : None
    outcome : Outcome
        What the values of the layers shown are.
    """
    stacked = _of(request)
    with np.errstate(all="ignore"):  # what goes beyond float32 is infinite, and counted
        results = list(_results(stacked, job, picture, job.choice.engine, threads))
    found = [images.summary(result.values) for result in results]
    least = min((low for low, _, _ in found if low is not None), default=None)
    greatest = max((high for _, high, _ in found if high is not None), default=None)
    outcome = Outcome(least, greatest, sum(others for *_, others in found), images.Clipped())
    if job.depth is Depth.FLOAT:
        return results[0].values, None, outcome
    apart = "filter" in fields_of(request.output or "")
    drawn = _apart(results[0].values, stacked.scale) if apart else _sheets(results, stacked.scale)
    return drawn, None, outcome


def twice(request: Request, job: Job, picture: Picture) -> Iterator[tuple[NDArray[Any], ...]]:
    """Run a picture again, and with the reference engine; yield both results of what is shown."""
    stacked = _of(request)
    with np.errstate(all="ignore"):
        ours = _results(stacked, job, picture, job.choice.engine, None)
        theirs = _results(stacked, job, picture, EngineName.NUMPY, None)
        for found, expected in zip(ours, theirs, strict=True):
            yield found.values, expected.values


def _results(
    stacked: Stacked, job: Job, picture: Picture, who: EngineName, threads: int | None
) -> Iterator[Computed]:
    pixels = picture.pixels[..., :-1] if job.alpha is AlphaMode.DROP else picture.pixels
    everything = run.run(
        stacked.stack,
        pixels,
        weights=stacked.weights,
        engine=who,
        threads=threads,
        device=job.choice.device,
        upto=stacked.shown[-1],
    )
    return (result for result in everything if result.settled.number in stacked.shown)


def _sheets(results: Sequence[Computed], scale: Scale) -> NDArray[np.uint8]:
    """Draw a contact sheet for each frame; all become as large as the largest."""
    sheets = [
        images.contact_sheet(
            [Section(result.title, result.values[n], result.labels) for result in results],
            scale=scale,
        )
        for n in range(len(results[0].values))
    ]
    height = max((sheet.shape[0] for sheet in sheets), default=0)
    width = max((sheet.shape[1] for sheet in sheets), default=0)
    drawn = np.full((len(sheets), height, width, 1), PAPER, np.uint8)
    for frame, sheet in zip(drawn, sheets, strict=True):
        frame[: sheet.shape[0], : sheet.shape[1]] = sheet
    return drawn


def _apart(values: NDArray[np.float32], scale: Scale) -> NDArray[Any]:
    """Stretch maps (N, H, W, F) to grey: the least value is black, the greatest white."""
    together = 1 if scale == "each" else values.shape[3]
    stretched = [
        images.to_pixels(
            values[..., first : first + together], RangeMode.STRETCH, Depth.EIGHT, 255.0, 255.0
        )[0]
        for first in range(0, values.shape[3], together)
    ]
    return np.concatenate(stretched, axis=3)


def footprint(request: Request, job: Job) -> float:
    """Return about how many bytes the layers of a job take: the largest, and what is shown."""
    shown = _of(request).shown
    largest = max(prod(layer.input_shape) + prod(layer.output_shape) for layer in job.chain)
    kept = sum(prod(layer.output_shape) for layer in job.chain if layer.number in shown)
    return float(FLOAT32 * (largest + kept))
