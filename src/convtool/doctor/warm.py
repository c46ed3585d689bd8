"""The compiled code that presets need, made ahead of time by doing what `apply` does.

Every preset filters small pictures of every kind of pixels into a temporary folder, through the
very functions that `apply` calls, so that what is compiled is what `apply` asks for, whatever
engines come to need. Only the method is chosen for a photograph: small pictures have cheaper ones.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convtool import batch, engine, images, kernels
from convtool.doctor import gpu
from convtool.engine.cpu import machine
from convtool.engine.cuda import device, rates
from convtool.engine.cuda.rates import Rates
from convtool.errors import ConvtoolError
from convtool.geometry import ConvSpec, plan
from convtool.kernels import Kernel
from convtool.terms import EngineName, MethodName, Op

STRIDES = (1, 2)

# What conv2d_transpose is for, among the presets, and its strides.
ENLARGING, FACTORS = "bilinear", (2,)

# What methods are chosen for, and what is filtered in its place: (H, W).
PHOTOGRAPH = (2000, 3000)
SMALL = (40, 256)

# 8-bit pictures and their channels. Files give RGB of one frame as four bytes a pixel, arrays and
# frames of animations as three.
PICTURES = {"grey.png": 1, "rgb.png": 3, "rgba.png": 4, "array.npy": 3}


class CacheError(ConvtoolError):
    """The folder of compiled code, where it cannot be used."""

    status = 1


class Errand(NamedTuple):
    """Pictures to filter with one request."""

    request: batch.Request
    names: list[str]


class Measured(NamedTuple):
    """What came of measuring a GPU.

    Parameters
    ----------
    number : int or None
        Of the GPU; None where it is not of one.
    rates : Rates or None
        None where it was not measured.
    why : str
        Why it was not.
    failed : bool
        Whether something is there that does not work.
    """

    number: int | None
    rates: Rates | None = None
    why: str = ""
    failed: bool = False


def warm(errands: list[Errand]) -> Iterator[batch.Event]:
    """Do the errands, an event for each picture; what was compiled is kept at once."""
    for request, names in errands:
        crew = batch.run(request, batch.prepare(request, batch.expand(names)))
        yield from crew
        if crew.interrupted:
            raise KeyboardInterrupt


def prepare(folder: Path) -> list[Errand]:
    """Write the pictures, and make the errands for every preset at every stride.

    Parameters
    ----------
    folder : Path
        For the pictures and their results; to be removed afterwards.

    Raises
    ------
    CacheError
        Where compiled code could not be kept.
    """
    problem = machine.state().problem
    if problem:
        raise CacheError(
            f"compiled code cannot be kept in {machine.folder()}: {problem}",
            "make it a folder that you alone can write to, or set XDG_CACHE_HOME to another one",
        )
    for name, channels in PICTURES.items():
        _write(folder / name, channels)
    return [
        errand
        for entry in kernels.entries()
        if entry.definition
        for spec in _specs(entry.path.stem)
        for errand in _errands(entry.definition.kernel(), spec, folder)
    ]


def clear() -> int:
    """Remove all compiled code; return how many files that were.

    Raises
    ------
    CacheError
        Where they may not be removed.
    """
    try:
        return machine.clear()
    except OSError as error:
        raise CacheError(
            f"{machine.folder()} cannot be emptied: {error.strerror or error}",
            "see whom the folder belongs to",
        ) from None


def measure() -> Iterator[Measured]:
    """Measure every GPU that computes what it should, and keep it: --engine auto chooses by that.

    Yields
    ------
    Measured
        Of each GPU; or why none was measured, unless the package for GPUs is not installed.
    """
    if device.simulated():
        yield Measured(None, why="a simulated GPU is not measured")
        return
    found = gpu.look()
    if found.missing and found.toolkit:
        yield Measured(None, why=found.missing)
    if found.failure and not found.devices:
        yield Measured(None, why=found.failure, failed=True)
    for one, failure in zip(found.devices, found.failures, strict=True):
        if failure:
            yield Measured(one.number, why=failure, failed=True)
        else:
            yield _measured(one.number)


def _measured(number: int) -> Measured:
    try:
        found = rates.measure(number)
        rates.keep(number, found)
    except ConvtoolError as error:
        return Measured(number, why=str(error), failed=True)
    return Measured(number, found)


def _specs(name: str) -> Iterator[ConvSpec]:
    """Yield what a preset is used for."""
    for stride in STRIDES:
        yield ConvSpec.of(stride=stride)
    for factor in FACTORS if name == ENLARGING else ():
        yield ConvSpec.of(Op.CONV2D_TRANSPOSE, stride=factor, border="edge")


def _errands(kernel: Kernel, spec: ConvSpec, folder: Path) -> Iterator[Errand]:
    """Gather the pictures for which one method is the quickest."""
    together: dict[MethodName, list[str]] = {}
    for name, channels in PICTURES.items():
        photograph = (1, *PHOTOGRAPH, channels)
        settled = plan(spec, photograph, kernel.shape, filters=kernel.filters)
        chosen = engine.choose(settled, EngineName.CPU, weights=kernel.weights, dtype="uint8")
        together.setdefault(chosen.method, []).append(str(folder / name))
    output = str(folder / "{stem}-{filter}.out.png")
    for method, names in together.items():
        yield Errand(
            batch.Request(
                spec=spec, kernel=kernel, engine=EngineName.CPU, method=method, output=output
            ),
            names,
        )


def _write(path: Path, channels: int) -> None:
    height, width = SMALL
    row = np.linspace(0, 255, width, dtype=np.uint8)[None, None, :, None]
    pixels = np.ascontiguousarray(np.broadcast_to(row, (1, height, width, channels)))
    if path.suffix == ".npy":
        np.save(path, pixels)
        return
    data = images.encode(pixels, images.format_of(path.suffix), images.Metadata("PNG"))
    images.write_atomically(path, data)
