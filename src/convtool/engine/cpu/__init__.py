"""The cpu engine: machine code for this processor, on all cores.

Every method but FFT walks an image in the same way. The output is cut into items, bands of rows by
strips of columns; for each, the rows that the windows touch are *loaded* once as lines of float32
with their border (`source.load`); the method's *kernel* makes a tile of sums of them; and each row
of sums is *stored* with all that is to become of it (`source.store`). Lines and sums stay in the
caches: there is no float copy of the image and no padded copy. Small kernels do without the lines
where they can (`source.fused`).
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cores import cores
from convtool.engine.cpu import fused, walk, work
from convtool.engine.cpu.methods import RECIPES
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
    """Execute `settled`; see `convtool.engine.convolve`."""
    x = np.ascontiguousarray(images if images.dtype in NATIVE else images.astype(np.float32))
    channels = settled.output_shape[3]
    if finish.combine is not Combine.EACH:
        channels //= settled.filters
    if out is None:
        out = np.empty((*settled.output_shape[:3], channels), finish.dtype)
    count = min(threads or cores(), cores(), _worth(settled))
    if method is MethodName.DIRECT:
        columns = fused.inside(x, weights, settled, finish)
        if columns is not None:
            return out, _small(x, weights, settled, finish, out, columns, count)
    recipe = RECIPES[method](settled, weights)
    assert recipe is not None, f"{method} was chosen where it does not apply"
    piece = walk.piece(x, settled, finish, out, recipe, count)
    _run(piece, count)
    return out, piece.summary() if finish.summarise else None


def _worth(settled: ConvPlan) -> int:
    """Return how many threads there is work for: waking one takes longer than a little of it."""
    seconds = settled.macs * 2e-11 + prod(settled.output_shape) * 3e-10
    return max(int(seconds / WORTH), 1)


def _small(
    x: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    finish: Finish,
    out: NDArray[Any],
    columns: tuple[int, int],
    threads: int,
) -> Summary | None:
    """Compute the inside by machine code, and the columns at the ends by NumPy."""
    piece = fused.piece(x, weights, settled, finish, out, columns, threads)
    _run(piece, threads)
    whole = piece.summary() if finish.summarise else None
    for ends in ((0, columns[0]), (columns[1], settled.cols.o)):
        if ends[0] < ends[1]:
            part = fused.rim(x, weights, settled, finish, out, ends)
            whole = whole + part if whole is not None and part is not None else None
    return whole


def _run(piece: Piece, threads: int) -> None:
    """Do the items of a piece, each thread with scratch memory of its own."""
    with work.scratch(piece.scratch, min(threads, piece.items)) as starts:

        def do(item: int, thread: int) -> None:
            piece.function(piece.job, item, starts[thread])

        work.share(piece.items, threads, do)
