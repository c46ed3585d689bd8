"""Sums of filters that every channel has for itself: channels side by side in a vector.

The weights of a tap repeat along a line as the channels do. They are given for one period, whole
vectors long; a tile is several periods at the same place, which share the weights.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.job import DEPTHWISE
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, record_at
from convtool.engine.cpu.source.simd import Emitter

recipe_at = record_at(DEPTHWISE)


def strip_of_sums(vectors: int, lanes: int) -> Any:
    """Return the emitted sums of one row.

    Arguments: the addresses of a table of lines, of the offsets of the kernel's columns, of the
    weights (taps, period), of the sums; kernel rows and columns; the period in floats; how many
    sums.
    """

    @intrinsic
    def strip(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            lines, offsets, weights, sums, height, width, period, length = cgutils.unpack_tuple(
                builder, args[0]
            )
            lines, offsets, weights = e.integers(lines), e.integers(offsets), e.floats(weights)
            sums = e.floats(sums)
            periods = builder.sdiv(builder.sub(builder.add(length, period), e.number(1)), period)
            with (
                e.loop(periods, vectors) as first,
                e.loop(builder.sdiv(period, e.number(lanes))) as v,
            ):
                place = e.times(v, lanes)
                j = builder.add(builder.mul(first, period), place)
                kept = [e.accumulator() for _ in range(vectors)]
                with e.loop(height) as a:
                    line = e.at(e.floats(e.item(lines, a)), j)
                    with e.loop(width) as b:
                        tap = e.add(builder.mul(a, width), b)
                        w = e.load(weights, e.add(builder.mul(tap, period), place))
                        pixels = e.at(line, e.item(offsets, b))
                        for n in range(vectors):
                            x = e.load(pixels, e.times(period, n))
                            e.accumulate(x, w, kept[n])
                for n in range(vectors):
                    row = e.at(sums, e.add(j, e.times(period, n)))
                    e.store(builder.load(kept[n]), row)
            return context.get_dummy_value()

        kinds = (*[ADDRESS] * 4, *[COUNT] * 4)
        return types.void(types.StarArgTuple(kinds)), codegen

    return strip


def unit(vectors: int, lanes: int) -> tuple[Any, Any]:
    """Return the unit (recipe, lines, block, columns, scratch)."""
    strip = strip_of_sums(vectors, lanes)

    def depthwise(address, lines, block, columns, scratch):
        r = recipe_at(address)
        for f in range(r.filters):
            for t in range(r.tile_rows):
                strip(
                    lines + t * r.step * 8,
                    r.offsets,
                    r.weights + f * r.kernel_rows * r.kernel_columns * r.period * 4,
                    block + (f * r.tile_rows + t) * r.pitch * 4,
                    r.kernel_rows,
                    r.kernel_columns,
                    r.period,
                    columns * r.channels,
                )

    return types.void(ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS), depthwise
