"""Sums of kernels whose weights are all the same: the cost hardly grows with their size.

Down the columns, a tile's windows share all but a few rows::

    rows t … R - 2        of row t's window alone, each sum one more than the next row's
    rows R - 1 … k - 1    of every window: summed once
    rows k … k + t - 1    of row t's window alone, each sum one more than the row's before

Nothing is subtracted, as running sums would: there is no drift, and NaN and infinity reach the
windows that hold them and no other. Along the rows, sums of a few pixels are summed again.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.job import BOX
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, record_at
from convtool.engine.cpu.source.simd import Emitter

recipe_at = record_at(BOX)


def columns_of_sums(rows: int, lanes: int) -> Any:
    """Return the emitted sums of kernels of at least `rows` rows, down the columns.

    Arguments: the address of a table of lines, kernel rows, how many sums, their address, how far
    apart their rows lie.
    """

    @intrinsic
    def down(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            lines, height, length, sums, pitch = cgutils.unpack_tuple(builder, args[0])
            lines, sums = e.integers(lines), e.floats(sums)

            def line(u: Any, j: Any) -> Any:
                return e.load(e.floats(e.item(lines, u)), j)

            with e.loop(length, lanes) as j:
                shared = e.accumulator()
                with e.loop(builder.sub(height, e.number(rows - 1))) as u:
                    one_more = line(e.add(u, rows - 1), j)
                    builder.store(builder.fadd(builder.load(shared), one_more), shared)
                before = [e.zero] * rows
                for t in range(rows - 2, -1, -1):
                    before[t] = builder.fadd(before[t + 1], line(t, j))
                after, all_windows = e.zero, builder.load(shared)
                for t in range(rows):
                    if t > 0:
                        after = builder.fadd(after, line(e.add(height, t - 1), j))
                    total = builder.fadd(builder.fadd(before[t], all_windows), after)
                    e.store(total, e.at(sums, e.add(e.times(pitch, t), j)))
            return context.get_dummy_value()

        kinds = (ADDRESS, COUNT, COUNT, ADDRESS, COUNT)
        return types.void(types.StarArgTuple(kinds)), codegen

    return down


def row_of_sums(vectors: int, lanes: int) -> Any:
    """Return the emitted sums of every few pixels along a line.

    Arguments: the address of the line, how many pixels, how far apart they are, how many sums,
    their address; the address of a line of which `more` pixels from `start` on are added, and how
    far apart these are; a factor.
    """

    @intrinsic
    def along(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            line, count, apart, length, sums, other, more, start, step, value = (
                cgutils.unpack_tuple(builder, args[0])
            )
            line, sums, other = e.floats(line), e.floats(sums), e.floats(other)
            factor = e.fill(value)
            with e.loop(length, vectors * lanes) as j:
                kept = [e.accumulator() for _ in range(vectors)]
                for pixels, number, distance in (
                    (e.at(line, j), count, apart),
                    (e.at(e.at(other, start), j), more, step),
                ):
                    with e.loop(number) as n:
                        here = e.at(pixels, builder.mul(n, distance))
                        for v in range(vectors):
                            total = builder.fadd(builder.load(kept[v]), e.load(here, v * lanes))
                            builder.store(total, kept[v])
                for v in range(vectors):
                    scaled = builder.fmul(builder.load(kept[v]), factor)
                    e.store(scaled, e.at(sums, j), v * lanes)
            return context.get_dummy_value()

        kinds = (ADDRESS, *[COUNT] * 3, ADDRESS, ADDRESS, *[COUNT] * 3, types.float32)
        return types.void(types.StarArgTuple(kinds)), codegen

    return along


def unit(rows: int, vectors: int, lanes: int) -> tuple[Any, Any]:
    """Return the unit (recipe, lines, block, columns, scratch)."""
    down = columns_of_sums(rows, lanes)
    along = row_of_sums(vectors, lanes)

    def box(address, lines, block, columns, scratch):
        r = recipe_at(address)
        length, line_bytes = columns * r.channels, r.line_length * 4
        some = scratch + rows * line_bytes
        taken = r.size * r.count
        down(lines, r.kernel_rows, r.line_length, scratch, r.line_length)
        for t in range(rows):
            line = scratch + t * line_bytes
            source = line
            if r.size > 1:
                reached = length + (r.count - 1) * r.size * r.apart
                along(line, r.size, r.apart, reached, some, line, 0, 0, 0, 1.0)
                source = some
            along(
                source,
                r.count,
                r.size * r.apart,
                length,
                block + t * r.pitch * 4,
                line,
                r.rest,
                taken * r.apart,
                r.apart,
                r.value,
            )

    return types.void(ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS), box
