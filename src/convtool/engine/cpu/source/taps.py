"""Direct sums: every tap times a stretch of a line, for a tile of rows at a time.

A tile is `rows` rows of sums by `vectors` vectors, all kept in registers. A vector of a line is
loaded once for each column of the kernel and serves every row of the tile whose window holds it::

    line u + 0   → row 0            tap row u - t of row t,
    line u + 1   → row 0, row 1     where that is in the kernel
    line u + 2   → row 0, row 1, row 2

Every sum takes its taps in the order of the kernel, whatever its place in the tile: results do
not depend on how the work is cut.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.job import TAPS
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, record_at
from convtool.engine.cpu.source.simd import Emitter

recipe_at = record_at(TAPS)

STRIP = types.void(*[ADDRESS] * 3, *[COUNT] * 3, COUNT, ADDRESS, COUNT)


def strip_of_sums(rows: int, vectors: int, lanes: int, *, upright: bool = False) -> Any:
    """Return the emitted strip of sums of a kernel of any size, or of one column if `upright`.

    Arguments: the addresses of a table of lines, of the offsets of the kernel's columns, of the
    weights; kernel rows and columns; the stride of the rows; how many sums; the address of the
    sums; how far apart their rows lie.
    """

    @intrinsic
    def strip(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            lines, offsets, weights, height, width, step, length, block, pitch = (
                cgutils.unpack_tuple(builder, args[0])
            )
            lines, offsets, weights = e.integers(lines), e.integers(offsets), e.floats(weights)
            block = e.floats(block)
            with e.loop(length, vectors * lanes) as j:
                sums = [[e.accumulator() for _ in range(vectors)] for _ in range(rows)]
                # With a stride, every step-th line holds one phase of the kernel's rows.
                with e.loop(step) as phase:
                    places = None if upright else offsets
                    _sum_phase(e, sums, lines, places, weights, height, width, step, phase, j)
                for t in range(rows):
                    row = e.at(block, e.add(e.times(pitch, t), j))
                    for v in range(vectors):
                        e.store(builder.load(sums[t][v]), row, v * lanes)
            return context.get_dummy_value()

        return types.void(types.StarArgTuple(STRIP.args)), codegen

    return strip


def _sum_phase(e: Emitter, sums, lines, offsets, weights, height, width, step, phase, j) -> None:
    """Add the taps of kernel rows phase, phase + step, … to the sums."""
    b, rows = e.builder, len(sums)
    one, zero = e.number(1), e.number(0)
    # How many these are: (height - phase + step - 1) // step, and none if the phase is beyond.
    left = b.sub(height, phase)
    count = b.sdiv(b.sub(b.add(left, step), one), step)
    some = b.icmp_signed(">", left, zero)
    with e.loop(b.select(some, e.add(count, rows - 1), zero)) as u:
        line = e.at(e.floats(e.item(lines, e.add(b.mul(u, step), phase))), j)
        # The rows of the tile whose windows hold the line: from `first` to `last`.
        over = b.add(b.sub(u, count), one)
        first = b.select(b.icmp_signed(">", over, zero), over, zero)
        last = b.select(b.icmp_signed("<", u, e.number(rows - 1)), u, e.number(rows - 1))
        done, never = b.append_basic_block("done"), b.append_basic_block("never")
        chosen = b.switch(e.add(e.times(first, rows), last), never)
        for low in range(rows):
            for high in range(low, rows):
                block = b.append_basic_block(f"rows{low}to{high}")
                chosen.add_case(e.number(low * rows + high), block)
                b.position_at_end(block)
                taps = {}
                for t in range(low, high + 1):
                    row = e.add(b.mul(b.sub(u, e.number(t)), step), phase)
                    taps[t] = e.at(weights, b.mul(row, width))
                if offsets is None:
                    _sum_column(e, sums, line, taps, zero)
                else:
                    with e.loop(width) as column:
                        _sum_column(e, sums, e.at(line, e.item(offsets, column)), taps, column)
                b.branch(done)
        b.position_at_end(never)
        b.unreachable()
        b.position_at_end(done)


def _sum_column(e: Emitter, sums, pixels, taps, column) -> None:
    """Add one column's taps, given for each row of the tile that has them."""
    x = [e.load(pixels, v * e.lanes) for v in range(len(sums[0]))]
    for t, tap in taps.items():
        w = e.splat(tap, column)
        for v, vector in enumerate(x):
            e.accumulate(w, vector, sums[t][v])


def unit(rows: int, vectors: int, lanes: int) -> tuple[Any, Any]:
    """Return the unit (recipe, lines, block, columns, scratch) for tiles of that size."""
    strip = strip_of_sums(rows, vectors, lanes)

    def taps(address, lines, block, columns, scratch):
        r = recipe_at(address)
        size = r.kernel_rows * r.kernel_columns * 4
        for f in range(r.filters):
            strip(
                lines,
                r.offsets,
                r.weights + f * size,
                r.kernel_rows,
                r.kernel_columns,
                r.step,
                columns * r.channels,
                block + f * rows * r.pitch * 4,
                r.pitch,
            )

    return types.void(ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS), taps
