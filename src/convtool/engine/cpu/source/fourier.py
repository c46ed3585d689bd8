"""Sums by Fourier transform, a tile at a time: forth, times the spectrum of the kernel, and back.

A tile lies in memory as blocks, one vector wide and all rows long, real and imaginary parts side
by side (here with vectors of 4)::

    block 0                          block 1
    row 0   r r r r   i i i i        row 0   r r r r   i i i i
    row 1   r r r r   i i i i        row 1   r r r r   i i i i

A row of the image is transformed in the first cache, across its vectors and along their lanes, on
its way into the blocks; a block is then transformed down its rows, every lane a column. Neither
way of ordering frequencies is ever undone: passes leave them as they fall, the spectrum was laid
out likewise, and the way back takes them from there. The last pass forth, the product and the
first pass back are one step in registers.

A core of 2.5 GHz takes 4 to 7 ns for each complex number of a tile, everything included, where
NumPy takes 65 for the two transforms. What counts is memory: the arithmetic would take 2 ns, and
vectors half as long cost a fifth. Tiles of all channels that exceed the second cache take half as
long again, of which asking ahead for the memory of the next rows saved a quarter; asking for the
rows of the image saved nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.fourier import FOURIER, HALF_TILE, PASS
from convtool.engine.cpu.job import JOB
from convtool.engine.cpu.source.butterflies import (
    Complex,
    along,
    along_back,
    get,
    put,
    times,
    times_conjugate,
    transform,
)
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, at, call, numbers, record_at
from convtool.engine.cpu.source.simd import FLOAT, INT, Emitter
from convtool.engine.tiles import LAST_OF_COLUMNS, LAST_OF_ROWS, RADICES

job_at = record_at(JOB)
recipe_at = record_at(FOURIER)
half_at = record_at(HALF_TILE)
whole_at = at(types.int32)

load = call(ADDRESS, ADDRESS, COUNT, COUNT, ADDRESS)
bring_aside = call(*[ADDRESS] * 5, COUNT, *[ADDRESS] * 2)
store = call(ADDRESS, COUNT, ADDRESS, ADDRESS, COUNT, ADDRESS)

HALF_BYTES = HALF_TILE.itemsize

# So many rows ahead, the memory of a tile's blocks is asked for: the blocks are more than the
# processor would follow by itself.
AHEAD = 2

Way = Callable[[], None]


# What is emitted: functions of their own, and choices between them


def routine(e: Emitter, name: str, arguments: list[ir.Value], emit: Callable[..., None]) -> None:
    """Call what `emit` emits, which becomes a function of its own the first time."""
    function = e.builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
        function = ir.Function(e.builder.module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        inner = Emitter(ir.IRBuilder(function.append_basic_block("entry")), e.lanes)
        emit(inner, *function.args)
        inner.builder.ret_void()
    e.builder.call(function, arguments)


def compiled(lanes: int, emit: Callable[..., None], *kinds: Any) -> Any:
    """Return what `emit` emits as a function that Numba may call."""

    @intrinsic
    def calling(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            values = cgutils.unpack_tuple(builder, args[0])
            routine(Emitter(builder, lanes), emit.__name__, values, emit)
            return context.get_dummy_value()

        return types.void(types.StarArgTuple(kinds)), codegen

    return calling


def choose(e: Emitter, value: ir.Value, ways: dict[int, Way], other: Way | None = None) -> None:
    """Go the way that a number names."""
    b = e.builder
    done, otherwise = b.append_basic_block("done"), b.append_basic_block("other")
    chosen = b.switch(value, otherwise)
    for number, way in ways.items():
        block = b.append_basic_block(f"way{number}")
        chosen.add_case(e.number(number), block)
        b.position_at_end(block)
        way()
        b.branch(done)
    b.position_at_end(otherwise)
    if other is None:
        b.unreachable()
    else:
        other()
        b.branch(done)
    b.position_at_end(done)


class Recipe:
    """Reads the numbers of a recipe."""

    def __init__(self, e: Emitter, address: ir.Value) -> None:
        self._e, self._address = e, address

    def __getattr__(self, name: str) -> ir.Value:
        kind, offset = FOURIER.fields[name][:2]  # type: ignore[index]
        pointer = (FLOAT if kind == np.float32 else INT).as_pointer()
        place = self._e.add(self._address, offset)
        return self._e.builder.load(self._e.builder.inttoptr(place, pointer))


def element(e: Emitter, place: ir.Value, index: ir.Value | int) -> ir.Value:
    """Return where complex vector number `index` lies, counted from the one at `place`."""
    size = 2 * e.lanes
    return e.at(place, index * size if isinstance(index, int) else e.times(index, size))


def elements(e: Emitter, place: ir.Value, first: ir.Value, count: int) -> list[ir.Value]:
    """Return where so many neighbours lie."""
    return [element(e, element(e, place, first), n) for n in range(count)]


# Passes


def one_pass(
    e: Emitter, row: ir.Value, base: ir.Value, blocks: ir.Value | int, *, back: bool = False
) -> None:
    """Do the pass of that row of a table, or undo it, in so many stretches from `base` on."""
    radix, apart, waves = (e.item(row, n) for n in range(PASS))
    count = e.number(blocks) if isinstance(blocks, int) else blocks
    arguments = [base, count, apart, waves]

    def of(radix: int) -> Way:
        def emit(e: Emitter, *arguments: ir.Value) -> None:
            for places, w in _butterflies(e, radix, *arguments):
                x = [get(e, place) for place in places]
                if back:
                    turned = [times_conjugate(e, *pair) for pair in zip(x[1:], w, strict=True)]
                    y = transform(e, [x[0], *turned], 1)
                else:
                    y = transform(e, x, -1)
                    y[1:] = [times(e, *pair) for pair in zip(y[1:], w, strict=True)]
                for value, place in zip(y, places, strict=True):
                    put(e, value, place)

        return lambda: routine(e, f"{'back' if back else 'forth'}{radix}", arguments, emit)

    choose(e, radix, {radix: of(radix) for radix in RADICES})


def _butterflies(
    e: Emitter, radix: int, base: ir.Value, blocks: ir.Value, apart: ir.Value, waves: ir.Value
) -> Iterator[tuple[list[ir.Value], list[Complex]]]:
    """Emit the loops around a butterfly; yield its places, and the waves of all but the first."""
    base, waves = e.floats(base), e.floats(waves)
    with e.loop(blocks) as block, e.loop(apart) as j:
        first = e.add(e.times(e.builder.mul(block, apart), radix), j)
        places = [element(e, element(e, base, first), e.times(apart, q)) for q in range(radix)]
        w = e.at(waves, e.times(j, 2 * (radix - 1)))
        yield places, [(e.splat(w, 2 * q), e.splat(w, 2 * q + 1)) for q in range(radix - 1)]


def passes(e: Emitter, table: ir.Value, count: ir.Value, base: ir.Value) -> ir.Value:
    """Do so many passes of a table; return in how many stretches the next one is to be done."""
    b = e.builder
    stretches = cgutils.alloca_once(b, INT)
    b.store(e.number(1), stretches)
    with e.loop(count) as n:
        row = e.at(table, e.times(n, PASS))
        one_pass(e, row, base, b.load(stretches))
        b.store(b.mul(b.load(stretches), e.item(row, 0)), stretches)
    return b.load(stretches)


def passes_back(
    e: Emitter, table: ir.Value, count: ir.Value, base: ir.Value, after: ir.Value
) -> None:
    """Undo them; `after` is what `passes` returned."""
    b = e.builder
    stretches = cgutils.alloca_once(b, INT)
    b.store(after, stretches)
    with e.loop(count) as n:
        row = e.at(table, e.times(b.sub(b.sub(count, e.number(1)), n), PASS))
        b.store(b.sdiv(b.load(stretches), e.item(row, 0)), stretches)
        one_pass(e, row, base, b.load(stretches), back=True)


# Transforms


def rows_forth(e, recipe, rows, tile, channels):
    """Transform a row of every channel, from `rows` into a row of the tiles."""
    r, b = Recipe(e, recipe), e.builder

    def of(radix: int) -> Way:
        def emit(e, source, target, pitch, groups, waves):
            source, waves = e.floats(source), e.floats(waves)
            with e.loop(groups) as group:
                first = e.times(group, radix)
                x = [get(e, place) for place in elements(e, source, first, radix)]
                w = [get(e, place) for place in elements(e, waves, first, radix)]
                for q, y in enumerate(transform(e, x, -1)):
                    place = e.add(target, e.builder.mul(e.add(first, q), pitch))
                    put(e, along(e, times(e, y, w[q])), e.floats(place))
                    _ask_ahead(e, place, write=True)

        return lambda: routine(e, f"rows_forth{radix}", arguments, emit)

    with e.loop(channels) as c:
        row, target = e.add(rows, b.mul(c, r.row_bytes)), e.add(tile, b.mul(c, r.tile_bytes))
        groups = passes(e, e.integers(r.row_table), r.row_passes, row)
        arguments = [row, target, r.block_bytes, groups, r.waves]
        choose(e, r.row_last, {radix: of(radix) for radix in LAST_OF_ROWS})


def rows_back(e, recipe, rows, tile, channels):
    """Transform a row of every channel's tile back, into `rows`."""
    r, b = Recipe(e, recipe), e.builder

    def of(radix: int) -> Way:
        def emit(e, source, target, pitch, groups, waves):
            target, waves = e.floats(target), e.floats(waves)
            with e.loop(groups) as group:
                first, x = e.times(group, radix), []
                w = [get(e, place) for place in elements(e, waves, first, radix)]
                for q in range(radix):
                    place = e.add(source, e.builder.mul(e.add(first, q), pitch))
                    x.append(times_conjugate(e, along_back(e, get(e, e.floats(place))), w[q]))
                    _ask_ahead(e, place, write=False)
                to = elements(e, target, first, radix)
                for y, place in zip(transform(e, x, 1), to, strict=True):
                    put(e, y, place)

        return lambda: routine(e, f"rows_back{radix}", arguments, emit)

    with e.loop(channels) as c:
        row, source = e.add(rows, b.mul(c, r.row_bytes)), e.add(tile, b.mul(c, r.tile_bytes))
        groups = b.sdiv(r.vectors, r.row_last)
        arguments = [source, row, r.block_bytes, groups, r.waves]
        choose(e, r.row_last, {radix: of(radix) for radix in LAST_OF_ROWS})
        passes_back(e, e.integers(r.row_table), r.row_passes, row, groups)


def _ask_ahead(e: Emitter, place: ir.Value, *, write: bool) -> None:
    b, number, byte = e.builder, ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    size = 8 * e.lanes
    for offset in range(AHEAD * size, (AHEAD + 1) * size, 64):
        where = b.inttoptr(e.add(place, offset), byte)
        b.call(prefetch, [where, number(int(write)), number(3), number(1)])


def columns(e, recipe, tiles, channels, filters):
    """Transform the columns, multiply by the spectrum of each filter, and transform back.

    After the first pass a block is in parts that have nothing to do with each other: each goes
    all the way and back while it is in the first cache.
    """
    r, b = Recipe(e, recipe), e.builder
    size, one = 8 * e.lanes, e.number(1)
    first = e.integers(r.column_table)
    further, count = e.at(first, PASS), b.sub(r.column_passes, one)
    filter_bytes = b.mul(r.tile_bytes, channels)

    def of(radix: int) -> Way:
        def emit(e, source, factors, target, groups):
            source, factors, target = e.floats(source), e.floats(factors), e.floats(target)
            with e.loop(groups) as group:
                n = e.times(group, radix)
                x = [get(e, place) for place in elements(e, source, n, radix)]
                w = [get(e, place) for place in elements(e, factors, n, radix)]
                y = [times(e, *pair) for pair in zip(transform(e, x, -1), w, strict=True)]
                to = elements(e, target, n, radix)
                for value, place in zip(transform(e, y, 1), to, strict=True):
                    put(e, value, place)

        return lambda: routine(e, f"product{radix}", arguments, emit)

    # All channels of a block in turn: its spectrum is in the second cache for all but the first.
    with e.loop(r.vectors) as v, e.loop(channels) as c:
        block = e.add(tiles, e.add(b.mul(c, r.tile_bytes), b.mul(v, r.block_bytes)))
        spectrum = e.add(r.spectrum, e.times(b.mul(v, r.tile_rows), size))
        one_pass(e, first, block, 1)
        with e.loop(e.item(first, 0)) as part:
            here = e.times(b.mul(part, e.item(first, 1)), size)
            source = e.add(block, here)
            groups = passes(e, further, count, source)
            # The first filter is the last one, for its results overwrite the transform.
            with e.loop(filters) as n:
                f = b.sub(b.sub(filters, one), n)
                factors = e.add(e.add(spectrum, here), b.mul(f, r.spectrum_bytes))
                target = e.add(source, b.mul(f, filter_bytes))
                arguments = [source, factors, target, groups]
                choose(e, r.column_last, {radix: of(radix) for radix in LAST_OF_COLUMNS})
                passes_back(e, further, count, target, groups)
        with e.loop(filters) as f:
            one_pass(e, first, e.add(block, b.mul(f, filter_bytes)), 1, back=True)


# From lines to rows, and from rows to sums


def split(e, recipe, line, rows, channels, size):
    """Take a line apart, a row for each channel, and set aside what is beyond the limit.

    How large the line's numbers are is left at `size`: the bits of the largest, as a number.
    """
    r, b, lanes = Recipe(e, recipe), e.builder, e.lanes
    line, count, pitch = e.floats(line), r.vectors, r.row_bytes
    number = ir.IntType(32)
    bits = ir.VectorType(number, lanes)
    limit, unsigned = e.fill(b.trunc(r.limit_bits, number)), ir.Constant(bits, [2**31 - 1] * lanes)
    largest = cgutils.alloca_once_value(b, ir.Constant(bits, None))

    def kept(x: ir.Value) -> ir.Value:
        found, most = b.and_(b.bitcast(x, bits), unsigned), b.load(largest)
        b.store(b.select(b.icmp_signed(">", found, most), found, most), largest)
        return b.select(b.icmp_signed(">", found, limit), e.zero, x)

    def of(n: int) -> Way:
        def emit() -> None:
            row = [e.floats(e.add(rows, e.times(pitch, c))) for c in range(n)]
            with e.loop(count) as m:
                here = e.at(line, e.times(m, lanes * n))
                x = [kept(e.load(here, lanes * v)) for v in range(n)]
                for c in range(n):
                    places = [lane * n + c for lane in range(lanes)]
                    e.store(e.pick(x, places), element(e, row[c], m))

        return emit

    def one_by_one() -> None:
        with e.loop(channels) as c, e.loop(count) as m:
            place = element(e, e.floats(e.add(rows, b.mul(pitch, c))), m)
            with e.loop(e.number(lanes)) as lane:
                pixel = e.add(e.times(m, lanes), lane)
                b.store(e.item(line, e.add(b.mul(pixel, channels), c)), e.at(place, lane))
            e.store(kept(e.load(place)), place)

    choose(e, channels, {n: of(n) for n in (1, 2, 3, 4)}, one_by_one)
    kind, name = ir.FunctionType(number, [bits]), f"llvm.vector.reduce.smax.v{lanes}i32"
    reduce = cgutils.get_or_insert_function(b.module, kind, name)
    b.store(b.call(reduce, [b.load(largest)]), b.inttoptr(size, number.as_pointer()))


def join(e, recipe, rows, sums, channels, stride, columns):
    """Put the rows of the channels together again, every `stride`-th column of them."""
    r, b, lanes = Recipe(e, recipe), e.builder, e.lanes
    sums, pitch, scale = e.floats(sums), r.row_bytes, r.scale

    def of(n: int) -> Way:
        def emit() -> None:
            row = [e.floats(e.add(rows, e.times(pitch, c))) for c in range(n)]
            factor = e.fill(scale)
            with e.loop(columns, lanes) as x:
                values = [b.fmul(e.load(place, e.times(x, 2)), factor) for place in row]
                here = e.at(sums, e.times(x, n))
                for v in range(n):
                    places = [p % n * lanes + p // n for p in range(v * lanes, (v + 1) * lanes)]
                    e.store(e.pick(values, places), here, v * lanes)

        return emit

    def one_by_one() -> None:
        with e.loop(channels) as c, e.loop(columns) as x:
            row, column = e.floats(e.add(rows, b.mul(pitch, c))), b.mul(x, stride)
            lane = b.and_(column, e.number(lanes - 1))
            value = e.item(row, e.add(e.times(b.sub(column, lane), 2), lane))
            b.store(b.fmul(value, scale), e.at(sums, e.add(b.mul(x, channels), c)))

    every = b.icmp_signed("==", stride, e.number(1))
    ways = {n: of(n) for n in (1, 2, 3, 4)}
    choose(e, b.select(every, channels, e.number(0)), ways, one_by_one)


def clear_row(e, recipe, tile, channels):
    """Make a row of every channel's tile zero."""
    r, b = Recipe(e, recipe), e.builder
    with e.loop(channels) as c, e.loop(r.vectors) as v:
        place = e.add(tile, e.add(b.mul(c, r.tile_bytes), b.mul(v, r.block_bytes)))
        put(e, (e.zero, e.zero), e.floats(place))


def clear_line(e, line, size):
    """Make so many bytes zero, in whole cache lines."""
    with e.loop(size, 4 * e.lanes) as offset:
        e.store(e.zero, e.floats(e.add(line, offset)))


def unit(lanes: int, layout: int) -> tuple[Any, Any]:
    """Return the unit (job, item, scratch).

    Parameters
    ----------
    lanes : int
        Float32 in a vector.
    layout : int
        Of the records: a number that changes with them.
    """
    half_bytes, element_bytes = lanes * 4, lanes * 8
    forth = compiled(lanes, rows_forth, *[ADDRESS] * 3, COUNT)
    down = compiled(lanes, columns, *[ADDRESS] * 2, *[COUNT] * 2)
    back = compiled(lanes, rows_back, *[ADDRESS] * 3, COUNT)
    take_apart = compiled(lanes, split, *[ADDRESS] * 3, COUNT, ADDRESS)
    put_together = compiled(lanes, join, *[ADDRESS] * 3, *[COUNT] * 3)
    nothing = compiled(lanes, clear_row, *[ADDRESS] * 2, COUNT)
    clear = compiled(lanes, clear_line, ADDRESS, COUNT)

    def fourier(address, item, scratch):
        job = job_at(address)
        recipe = job.recipe
        r = recipe_at(recipe)
        channels, filters = job.channels, job.filters
        image = item // r.pairs
        halves = r.halves + (item - image * r.pairs) * 2 * HALF_BYTES
        pixels = job.image + image * job.image_bytes
        result = job.out + image * job.out_image_bytes
        sources = numbers(job.rows)
        lines, rows = scratch + r.lines_at, scratch + r.rows_at
        sums, flags = scratch + r.sums_at, scratch + r.flags_at
        # Beyond what is loaded, lines are zero.
        clear(lines, r.line_bytes * 2)
        strange = 0
        for q in range(r.tile_rows):
            tile = scratch + q * element_bytes
            if q >= half_at(halves).need and q >= half_at(halves + HALF_BYTES).need:
                nothing(recipe, tile, channels)
                continue
            for n in range(2):
                half = half_at(halves + n * HALF_BYTES)
                line = lines + n * r.line_bytes
                if q < half.need:
                    source = sources[half.top * r.row_stride + q]
                    place = np.uintp(0)
                    if source >= 0:
                        place = pixels + source * job.row_bytes
                    load(job.load, address, place, half.left, half.wide, line)
                elif q == half.need:
                    clear(line, r.line_bytes)
                flag = flags + (n * r.tile_rows + q) * 4
                take_apart(recipe, line, rows + n * half_bytes, channels, flag)
                if whole_at(flag)[0] > r.limit_bits:
                    strange |= n + 1
                    if r.aside == 0:
                        whole_at(r.wanted)[item] = 1
                        return
            forth(recipe, rows, tile, channels)
        down(recipe, scratch, channels, filters)
        high = half_at(halves).high  # which the other half's may exceed by a row
        if half_at(halves + HALF_BYTES).high > high:
            high = half_at(halves + HALF_BYTES).high
        for t in range(high):
            for f in range(filters):
                tile = f * channels * r.tile_bytes + t * r.row_stride * element_bytes
                back(recipe, rows, scratch + tile, channels)
                for n in range(2):
                    wide = half_at(halves + n * HALF_BYTES).wide
                    row = sums + (n * filters + f) * job.pitch * 4
                    put_together(
                        recipe, rows + n * half_bytes, row, channels, job.column_stride, wide
                    )
            for n in range(2):
                here = halves + n * HALF_BYTES
                half = half_at(here)
                if t >= half.high:
                    continue
                row = sums + n * filters * job.pitch * 4
                if strange & (n + 1):
                    flag = flags + n * r.tile_rows * 4
                    reach = scratch + r.reach_at + n * job.pitch * 3 * 4
                    bring_aside(r.aside, address, here, pixels, flag, lines, t, row, reach)
                place = result + (half.top + t) * job.out_row_bytes
                place += half.left * job.out_pixel_bytes
                store(job.store, address, item, row, place, half.wide, scratch + job.finish_at)

    return types.void(ADDRESS, COUNT, ADDRESS), fourier
