"""Sums of kernels that are outer products: down the columns, then along the rows.

Lines are summed down into rows that stay in the cache, and these along into the result. A kernel
of low rank is a sum of such products.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.job import SEPARABLE
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, record_at
from convtool.engine.cpu.source.simd import Emitter
from convtool.engine.cpu.source.taps import strip_of_sums

recipe_at = record_at(SEPARABLE)


def row_of_sums(vectors: int, lanes: int) -> Any:
    """Return the emitted sums along one line.

    Arguments: the addresses of the line, of the offsets of the kernel's columns, of the weights;
    how many these are; how many sums; their address; whether to add to what is there.
    """

    @intrinsic
    def along(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            line, offsets, weights, width, length, sums, more = cgutils.unpack_tuple(
                builder, args[0]
            )
            line, offsets = e.floats(line), e.integers(offsets)
            weights, sums = e.floats(weights), e.floats(sums)
            with e.loop(length, vectors * lanes) as j:
                kept = [e.accumulator() for _ in range(vectors)]
                place = e.at(sums, j)
                with builder.if_then(builder.icmp_signed("!=", more, e.number(0))):
                    for v in range(vectors):
                        builder.store(e.load(place, v * lanes), kept[v])
                with e.loop(width) as b:
                    pixels = e.at(e.at(line, j), e.item(offsets, b))
                    w = e.splat(weights, b)
                    for v in range(vectors):
                        e.accumulate(w, e.load(pixels, v * lanes), kept[v])
                for v in range(vectors):
                    e.store(builder.load(kept[v]), place, v * lanes)
            return context.get_dummy_value()

        kinds = (*[ADDRESS] * 3, COUNT, COUNT, ADDRESS, COUNT)
        return types.void(types.StarArgTuple(kinds)), codegen

    return along


def unit(rows: int, vectors: int, along_vectors: int, lanes: int) -> tuple[Any, Any]:
    """Return the unit (recipe, lines, block, columns, scratch)."""
    down = strip_of_sums(rows, vectors, lanes, upright=True)
    along = row_of_sums(along_vectors, lanes)

    def separable(address, lines, block, columns, scratch):
        r = recipe_at(address)
        for f in range(r.filters):
            for term in range(r.terms):
                product = f * r.terms + term
                down(
                    lines,
                    r.offsets,
                    r.columns + product * r.kernel_rows * 4,
                    r.kernel_rows,
                    1,
                    r.step,
                    r.line_length,
                    scratch,
                    r.line_length,
                )
                for t in range(rows):
                    along(
                        scratch + t * r.line_length * 4,
                        r.offsets,
                        r.rows + product * r.kernel_columns * 4,
                        r.kernel_columns,
                        columns * r.channels,
                        block + (f * rows + t) * r.pitch * 4,
                        term,
                    )

    return types.void(ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS), separable
