"""The cpu engine: machine code for this processor, on all cores.

Every method but FFT walks an image in the same way. The output is cut into items, bands of rows by
strips of columns; for each, the rows that the windows touch are *loaded* once as lines of float32
with their border (`source.load`); the method's *kernel* makes a tile of sums of them; and each row
of sums is *stored* with all that is to become of it (`source.store`). Lines and sums stay in the
caches: there is no float copy of the image and no padded copy. Small kernels do without the lines
where they can (`source.fused`).
"""

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import islice
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from convtool.engine import phases, work
from convtool.engine.cores import cores
from convtool.engine.cpu import fused
from convtool.engine.cpu.cutting import pixel_numbers
from convtool.engine.cpu.piece import Piece
from convtool.engine.finish import Finish, Summary
from convtool.geometry import ConvPlan
from convtool.terms import Combine, MethodName, Op

Item = TypeVar("Item")

# So many seconds of work are worth a thread.
WORTH = 1e-4

# Types that are read as they are.
NATIVE = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


def convolve(
    images: NDArray[np.generic],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    method: MethodName,
    threads: int | None,
    finish: Finish,
    out: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], Summary | None]:
    """Execute `settled`; see `convtool.engine.finished`."""
    x = images if images.dtype in NATIVE else images.astype(np.float32)
    if settled.op is Op.CONV2D_TRANSPOSE:
        return _transposed(x, weights, settled, method, threads, finish, out)
    if pixel_numbers(x) is None:
        x = np.ascontiguousarray(x)
    channels = settled.output_shape[3]
    if finish.combine is not Combine.EACH:
        channels //= settled.filters
    if out is None:
        padded = pixel_numbers(x) == 4 and x.shape[3] == channels == 3 and finish.dtype == "uint8"
        kept = np.empty((*settled.output_shape[:3], 4 if padded else channels), finish.dtype)
        out = kept[..., :channels]
    count = min(threads or cores(), cores(), _worth(settled))
    pieces = _pieces(x, weights, settled, method, finish, out, count)
    run(pieces, count)
    if not finish.summarise:
        return out, None
    parts = [piece.summary() for piece in pieces]
    return out, reduce(Summary.joined, parts)


def _pieces(
    x: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    method: MethodName,
    finish: Finish,
    out: NDArray[Any],
    count: int,
) -> list[Piece]:
    """Lay out a convolution for so many threads."""
    if method is MethodName.DIRECT and fused.fits(x, out, weights, settled, finish):
        return fused.pieces(x, weights, settled, finish, out, count)
    if method is MethodName.FFT:
        from convtool.engine.cpu import fourier  # a small kernel starts without it

        return [fourier.piece(x, weights, settled, finish, out, count)]
    from convtool.engine.cpu import walk
    from convtool.engine.cpu.methods import RECIPES

    walk.compile_ahead(settled, finish, out)
    recipe = RECIPES[method](settled, weights)
    assert recipe is not None, f"{method} was chosen where it does not apply"
    return [walk.piece(x, settled, finish, out, recipe, count)]


def _transposed(
    images: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    method: MethodName,
    threads: int | None,
    finish: Finish,
    out: NDArray[Any] | None,
) -> tuple[NDArray[Any], Summary | None]:
    """Execute a transposed convolution, as convolutions that each make every s-th output."""
    settled, images = phases.with_border(settled, images)
    if out is None:
        out = np.empty(settled.output_shape, finish.dtype)
    count = min(threads or cores(), cores(), _worth(settled))
    summaries = _unreached(images, settled, finish, out)
    for some in _batched(phases.parts(settled), phases.FEW):
        pieces = []
        for part in some:
            x = part.read(images)
            if pixel_numbers(x) is None:
                x = np.ascontiguousarray(x)
            taps, result = part.weights(weights), part.results(out, settled)
            if settled.per_channel:
                taps = np.ascontiguousarray(taps)
            pieces += _pieces(x, taps, part.plan, method, finish, result, count)
        run(pieces, count)
        if finish.summarise:
            summaries += [piece.summary() for piece in pieces]
    return out, reduce(Summary.joined, summaries) if finish.summarise else None


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield so many items at a time; itertools has it from Python 3.12 on."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _unreached(
    images: NDArray[Any], settled: ConvPlan, finish: Finish, out: NDArray[Any]
) -> list[Summary]:
    """Put into every output what becomes of no sum at all, if some are reached by no tap."""
    left = phases.unreached(settled)
    if not left:
        return []
    plan = phases.nothing(settled)
    shape = plan.kernel_shape if len(plan.kernel_shape) == 4 else (1, 1, 1)
    method = MethodName.DIRECT if plan.per_channel else MethodName.GEMM
    one, summary = convolve(images[:1, :0, :0], np.zeros(shape), plan, method, 1, finish)
    out[...] = one
    return [summary.times(left)] if summary else []


def run(pieces: list[Piece], threads: int) -> None:
    """Do the items of all pieces, each thread with scratch memory of its own."""
    items = [(piece.function, piece.job, item) for piece in pieces for item in range(piece.items)]
    size = max(piece.scratch for piece in pieces)
    with work.scratch(size, min(threads, len(items))) as starts:

        def do(number: int, thread: int) -> None:
            function, job, item = items[number]
            function(job, item, starts[thread])

        work.share(len(items), threads, do)


def _worth(settled: ConvPlan) -> int:
    """Return how many threads there is work for: waking one takes longer than a little of it."""
    seconds = settled.macs * 2e-11 + prod(settled.output_shape) * 3e-10
    return max(int(seconds / WORTH), 1)
