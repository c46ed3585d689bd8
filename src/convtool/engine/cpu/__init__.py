"""The cpu engine: machine code for this processor, on all cores.

Every method but FFT walks an image in the same way. The output is cut into items, bands of rows by
strips of columns; for each, the rows that the windows touch are *loaded* once as lines of float32
with their border (`source.load`); the method's *kernel* makes a tile of sums of them; and each row
of sums is *stored* with all that is to become of it (`source.store`). Lines and sums stay in the
caches: there is no float copy of the image and no padded copy. Small kernels do without the lines
where they can (`source.fused`).
"""

from functools import reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cores import cores
from convtool.engine.cpu import fused, work
from convtool.engine.cpu.cutting import pixel_numbers
from convtool.engine.cpu.piece import Piece
from convtool.engine.finish import Finish, Summary
from convtool.geometry import ConvPlan
from convtool.terms import Combine, MethodName

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
    if method is MethodName.DIRECT and fused.fits(x, out, weights, settled, finish):
        pieces = fused.pieces(x, weights, settled, finish, out, count)
    elif method is MethodName.FFT:
        from convtool.engine.cpu import fourier  # a small kernel starts without it

        pieces = [fourier.piece(x, weights, settled, finish, out, count)]
    else:
        from convtool.engine.cpu import walk
        from convtool.engine.cpu.methods import RECIPES

        walk.compile_ahead(settled, finish, out)
        recipe = RECIPES[method](settled, weights)
        assert recipe is not None, f"{method} was chosen where it does not apply"
        pieces = [walk.piece(x, settled, finish, out, recipe, count)]
    run(pieces, count)
    if not finish.summarise:
        return out, None
    parts = [piece.summary() for piece in pieces]
    return out, reduce(Summary.joined, parts)


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
