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


def tile_of_sums(rows: int, pixels: int, lanes: int, height: int, width: int) -> Any:
    """Return the emitted sums of a kernel whose size is known, at stride 1.

    A tile is a few rows by a few pixels of so many channels as a vector has lanes. What its
    windows share is loaded once.

    Arguments: the addresses of a table of lines, of the weights (taps, channels), of the sums; how
    far apart the rows of these lie; how many channels, and how many columns.
    """

    @intrinsic
    def tile(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            lines, weights, sums, pitch, channels, columns = cgutils.unpack_tuple(builder, args[0])
            lines, weights, sums = e.integers(lines), e.floats(weights), e.floats(sums)
            line = [e.floats(e.item(lines, u)) for u in range(rows + height - 1)]
            # The last tile ends with the row and repeats some of the one before.
            last = builder.sub(columns, e.number(pixels))
            few = builder.icmp_signed("<", last, e.number(0))
            last = builder.select(few, e.number(0), last)
            # Channels within pixels, so that memory is read as it lies.
            with e.loop(columns, pixels) as start:
                first = builder.select(builder.icmp_signed(">", start, last), last, start)
                corner = builder.mul(first, channels)
                with e.loop(channels, lanes) as c:
                    place = e.add(corner, c)
                    w = [
                        e.load(weights, e.add(e.times(channels, tap), c))
                        for tap in range(height * width)
                    ]
                    kept = [[e.zero] * pixels for _ in range(rows)]
                    for u in range(rows + height - 1):
                        here = e.at(line[u], place)
                        x = [e.load(here, e.times(channels, n)) for n in range(pixels + width - 1)]
                        for t in range(rows):
                            if not 0 <= u - t < height:
                                continue
                            for b in range(width):
                                tap = w[(u - t) * width + b]
                                for n in range(pixels):
                                    kept[t][n] = e.fma(x[n + b], tap, kept[t][n])
                    for t in range(rows):
                        row = e.at(sums, e.add(e.times(pitch, t), place))
                        for n in range(pixels):
                            e.store(kept[t][n], row, e.times(channels, n))
            return context.get_dummy_value()

        return types.void(types.StarArgTuple((*[ADDRESS] * 3, *[COUNT] * 3))), codegen

    return tile


def unit(size: int, lanes: int, *known: int) -> tuple[Any, Any]:
    """Return the unit (recipe, lines, block, columns, scratch).

    Parameters
    ----------
    size : int
        How many pixels, or periods, are summed at a time.
    lanes : int
        Float32 in a vector.
    known : int
        Rows of a tile, kernel rows and columns, where the unit is for these alone.
    """
    return SIGNATURE, _known(size, lanes, *known) if known else _any(size, lanes)


SIGNATURE = types.void(ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS)


def _known(pixels: int, lanes: int, rows: int, height: int, width: int) -> Any:
    tile = tile_of_sums(rows, pixels, lanes, height, width)

    def depthwise(address, lines, block, columns, scratch):
        r = recipe_at(address)
        for f in range(r.filters):
            tile(
                lines,
                r.weights + f * height * width * r.period * 4,
                block + f * rows * r.pitch * 4,
                r.pitch,
                r.period,
                columns,
            )

    return depthwise


def _any(vectors: int, lanes: int) -> Any:
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

    return depthwise
