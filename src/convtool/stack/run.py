"""A stack on images: layer after layer, each result given out before the next is computed."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convtool import engine
from convtool.engine import Choice, Finish, check_device
from convtool.errors import ArrayError, ConvtoolError, GeometryError, UsageError, did_you_mean
from convtool.geometry import Shape, choice, size_text
from convtool.responses import activate
from convtool.stack import pooling
from convtool.stack.chain import Settled, place
from convtool.stack.layers import LayerKind, Stack
from convtool.stack.weights import Weights, load, settle
from convtool.terms import EngineName

Floats = NDArray[np.float32]


class Computed(NamedTuple):
    """A layer with its result.

    Parameters
    ----------
    settled : Settled
    values : ndarray (N, H, W, C), float32
        Not to be written to: the next layer may read the same memory.
    choice : Choice, optional
        Who computed it, and how; None where no engine has a part in it.
    labels : tuple of str
        What each map shows, also behind layers that leave the maps in their places; empty where
        all there is to say is their numbers.
    """

    settled: Settled
    values: Floats
    choice: Choice | None = None
    labels: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The layer in a line: ``1 conv1: conv 3x3 x32 relu``."""
        layer, number = self.settled.layer, self.settled.number
        return f"{number} {layer.name}: {layer.text}" if layer.name else f"{number} {layer.text}"


def run(
    stack: Stack,
    images: ArrayLike,
    *,
    weights: Mapping[int, Weights] | None = None,
    engine: str = "auto",
    threads: int | None = None,
    device: int = 0,
    upto: int | None = None,
) -> Iterator[Computed]:
    """Run a stack on images.

    Parameters
    ----------
    stack : Stack
    images : array_like (N, H, W, C)
        Any real dtype; scaled and normalized here as the stack says.
    weights : mapping of int to Weights, optional
        Of `weights.load`, where a stack runs several times; by default they are loaded.
    engine : str
        ``auto``, ``numpy``, ``cpu`` or ``cuda``.
    threads : int, optional
        At most so many in the cpu engine; None for all cores.
    device : int
        The number of the GPU, where the cuda engine computes.
    upto : int, optional
        The number of the last layer to run, from 1; None for all.

    Returns
    -------
    iterator of Computed
        One for each layer, computed when it is asked for. Who keeps none of them needs memory for
        the input and output of one layer.

    Raises
    ------
    ConvtoolError
        At once, not at the first layer: where a layer has no weights or does not fit.
    """
    x = _checked(images)
    if upto is not None and not 1 <= upto <= len(stack.layers):
        raise UsageError(f"the stack has {_numbers(stack)}, but {upto} is asked for")
    who = choice(EngineName, engine, "engine")
    check_device(device)
    found = load(stack, upto) if weights is None else weights
    settled = settle(stack, _shape(x), found, upto)
    for layer in settled:
        _check(layer, found.get(layer.number, Weights()))
    return _layers(settled, preprocessed(x, stack), found, who, threads, device)


def number_of(stack: Stack, text: str) -> int:
    """Find a layer by its number, from 1, or by its name.

    Raises
    ------
    UsageError
        Where there is no such layer.
    """
    names = [layer.name for layer in stack.layers]
    if text and text in names:
        return names.index(text) + 1
    if text.isdecimal() and 1 <= int(text) <= len(names):
        return int(text)
    named = [name for name in names if name]
    near = did_you_mean(text, named) if named else ""
    raise UsageError(f"the stack has {_numbers(stack)}, but none is {text!r}", near)


def _numbers(stack: Stack) -> str:
    """Say which numbers its layers have."""
    count = len(stack.layers)
    return f"layers 1 to {count}" if count > 1 else "layer 1 alone"


def preprocessed(images: NDArray[np.generic], stack: Stack) -> NDArray[np.generic]:
    """Scale and normalize pixels: (images · scale - mean) / deviation, channel by channel.

    Parameters
    ----------
    images : ndarray (N, H, W, C)
    stack : Stack

    Returns
    -------
    ndarray (N, H, W, C)
        float32; the images themselves where the stack asks for nothing.

    Raises
    ------
    GeometryError
        Where there are not as many numbers as channels.
    """
    if stack.scale == 1 and not stack.mean and not stack.deviation:
        return images
    check_normalization(stack, images.shape[3])
    x = images.astype(np.float32) * np.float32(stack.scale)
    if stack.mean:
        x -= np.array(stack.mean, np.float32)
    if stack.deviation:
        x /= np.array(stack.deviation, np.float32)
    return x


def check_normalization(stack: Stack, channels: int) -> None:
    """See that the mean and the deviation of a stack go with so many channels.

    Raises
    ------
    GeometryError
        Where there are not as many numbers as channels.
    """
    for name, numbers in (("mean", stack.mean), ("deviation", stack.deviation)):
        if len(numbers) not in (0, 1, channels):
            raise GeometryError(
                f"the {name} of the input has one number for each channel, but there are "
                f"{len(numbers)} for {channels} channel{'s' * (channels > 1)}",
                f"give one number for all channels, or images of {len(numbers)}",
            )


def _checked(images: ArrayLike) -> NDArray[np.generic]:
    x = engine.real_array(images, "images")
    if x.ndim != 4:
        raise ArrayError(
            f"images must have 4 axes (NHWC), not {x.ndim}: shape {x.shape}",
            "a grey image of shape (H, W) is image[None, :, :, None]",
        )
    return x


def _shape(x: NDArray[np.generic]) -> Shape:
    n, h, w, c = x.shape
    return n, h, w, c


def _check(layer: Settled, weights: Weights) -> None:
    """See that biases, matrices and windows go with their layer; kernels have been settled."""
    try:
        if layer.layer.kind is LayerKind.DENSE:
            _check_dense(layer, weights)
        elif layer.plan and layer.layer.kind is LayerKind.POOL:
            pooling.counts(layer.plan)
        elif layer.plan and weights.bias is not None:
            engine.filter_bias(weights.bias, layer.plan)
    except ConvtoolError as error:
        raise error.within(place(layer.layer, layer.number)) from None


def _check_dense(layer: Settled, weights: Weights) -> None:
    assert weights.matrix is not None, "load sees to it"
    wanted, theirs = layer.kernel_shape, weights.matrix.shape
    turned = layer.layer.layout == PYTORCH
    if (theirs[::-1] if turned else theirs) != wanted:
        other = "IO" if turned else PYTORCH
        fits = theirs == (wanted if turned else wanted[::-1])
        raise GeometryError(
            f"the layer makes {wanted[1]} values of {wanted[0]}, but its kernel is "
            f"{size_text(theirs)}{', units first' if turned else ''}",
            f'layout = "{other}" would fit' if fits else "",
        )
    units = wanted[1]
    if weights.bias is not None and weights.bias.size not in (1, units):
        raise ArrayError(
            f"bias must be one number or one per unit, {units} in all, but there are "
            f"{weights.bias.size}"
        )


def _layers(
    settled: tuple[Settled, ...],
    x: NDArray[np.generic],
    weights: Mapping[int, Weights],
    who: EngineName,
    threads: int | None,
    device: int,
) -> Iterator[Computed]:
    macs = sum(layer.macs for layer in settled)
    labels: tuple[str, ...] = ()
    for index, layer in enumerate(settled):
        mine = weights.get(layer.number, Weights())
        labels = _labels(layer, labels, mine.kernel.filter_names if mine.kernel else ())
        if mine.kernel is not None:
            x, chosen = _convolved(layer, x, mine, who, threads, device, macs)
            yield Computed(layer, x, chosen, labels)
        else:
            x = _moved(layer, x) if mine.matrix is None else _dense(settled, index, x, mine)
            yield Computed(layer, x, None, labels)


def _labels(layer: Settled, before: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Say what each map shows.

    A layer that works on each channel by itself keeps what is known of the channels: of F filters
    map ``c * F + f`` is of channel c.

    Parameters
    ----------
    layer : Settled
    before, names : tuple of str
        Of the channels that go in, and of the kernel's filters; empty where they have none.
    """
    if layer.layer.kind in (LayerKind.POOL, LayerKind.UPSAMPLE):
        return before
    depthwise = layer.layer.kind is LayerKind.DEPTHWISE
    if layer.plan is None or not (layer.plan.per_channel or depthwise):
        return names
    channels = layer.input_shape[3]
    filters = layer.output_shape[3] // channels
    if not before and (channels == 1 or not names):
        return names
    if before and filters == 1:
        return before
    which = before or tuple(map(str, range(channels)))
    each = names if len(names) == filters else tuple(map(str, range(filters)))
    return tuple(f"{channel} {name}" for channel in which for name in each)


def _convolved(
    layer: Settled,
    x: NDArray[np.generic],
    weights: Weights,
    who: EngineName,
    threads: int | None,
    device: int,
    macs: int,
) -> tuple[Floats, Choice]:
    """Run a conv, transpose or depthwise layer; `macs` are the whole stack's."""
    plan, kernel, activation = layer.plan, weights.kernel, layer.layer.activation
    assert plan is not None, "chain gives every layer with a kernel one"
    assert kernel is not None
    taps = kernel.weights
    chosen = engine.choose(
        plan, who, weights=taps, threads=threads, macs=macs, dtype=x.dtype, device=device
    )
    bias = None if weights.bias is None else engine.filter_bias(weights.bias, plan)
    if chosen.compiled:
        finish = Finish(bias=bias, activation=activation)
        return engine.finished(x, taps, plan, chosen, finish, threads=threads)[0], chosen
    y = engine.convolve(x, taps, plan, chosen, threads=threads)
    with np.errstate(all="ignore"):
        if bias is not None:
            # Per channel, output channel c * F + f is of filter f.
            y += np.tile(bias, y.shape[3] // bias.size)
        return activate(y, activation), chosen


def _moved(layer: Settled, x: NDArray[np.generic]) -> Floats:
    """Run a layer that has no weights."""
    match layer.layer.kind:
        case LayerKind.POOL:
            assert layer.plan is not None
            return pooling.pool(x, layer.plan, layer.layer.pooling)
        case LayerKind.UPSAMPLE:
            assert layer.layer.size is not None
            height, width = layer.layer.size
            return x.astype(np.float32, copy=False).repeat(height, axis=1).repeat(width, axis=2)
        case _:  # flatten and reshape: values keep their order, H, W, C
            return x.astype(np.float32, copy=False).reshape(layer.output_shape)


# The layout of a dense layer whose matrix is (units, in), and whose images are channels first.
PYTORCH = "OI"


def _dense(
    settled: tuple[Settled, ...], index: int, x: NDArray[np.generic], weights: Weights
) -> Floats:
    """Run a dense layer.

    PyTorch flattens and reshapes images as C, H, W: where its matrix stands beside a flatten or a
    reshape, inputs or units are brought into the order H, W, C.
    """
    matrix, bias = weights.matrix, weights.bias
    assert matrix is not None
    if settled[index].layer.layout == PYTORCH:
        before = settled[index - 1] if index else None
        after = settled[index + 1] if index + 1 < len(settled) else None
        matrix = matrix.T
        if before and before.layer.kind is LayerKind.FLATTEN:
            matrix = matrix[_channels_last(before.input_shape)]
        if after and after.layer.kind is LayerKind.RESHAPE:
            order = _channels_last(after.output_shape)
            matrix = matrix[:, order]
            bias = bias if bias is None or bias.size == 1 else bias[order]
    with np.errstate(all="ignore"):
        y = x.astype(np.float32, copy=False) @ matrix.astype(np.float32)
        if bias is not None:
            y += bias.astype(np.float32)
        return activate(y, settled[index].layer.activation)


def _channels_last(shape: Shape) -> NDArray[np.intp]:
    """Return where the values of an image in the order H, W, C stand in the order C, H, W."""
    _, h, w, c = shape
    return np.arange(c * h * w).reshape(c, h, w).transpose(1, 2, 0).reshape(-1)
