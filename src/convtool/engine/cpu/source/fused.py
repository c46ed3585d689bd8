"""Small kernels inside the image: from pixels to pixels in registers, past no line and no row.

Where every window lies between the left and the right end of the image, a row of pixels is
itself the line. A tile of rows and vectors loads the pixels of the rows under it, converts them in
registers, sums every tap, rounds, and stores. At both ends it is a copy of the few columns there,
with their border.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.job import FUSED, JOB
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, addresses, numbers, record_at
from convtool.engine.cpu.source.simd import FLOAT, Emitter

job_at = record_at(JOB)
recipe_at = record_at(FUSED)


class Tile(NamedTuple):
    """How many rows of how many vectors are summed at a time, for each filter."""

    rows: int
    vectors: int
    lanes: int


class Kernel(NamedTuple):
    """What is known of the kernel; the channels only where there is a column stride."""

    filters: int
    height: int
    width: int
    step: int
    stride: int
    channels: int


class Ending(NamedTuple):
    """What becomes of the sums: places in the enumerations, and whether to summarise."""

    activation: int
    combine: int
    range: int
    summarise: int


def rows_of_sums(tile: Tile, kernel: Kernel, ending: Ending, source: str, result: str) -> Any:
    """Return the emitted loop over the columns of one tile of rows.

    With a column stride, every column of the rows is summed and the strided ones are stored:
    picking first would cost more, for what is dear in a small kernel is reading the pixels.

    Arguments: the addresses of a table of rows of pixels, of the recipe's numbers, of a table of
    rows of results; how many results, and in how many of the rows; the address of the summary.
    """
    rows, vectors, lanes = tile
    filters, height, width, step, stride, channels = kernel
    pixels = vectors * lanes // (stride * channels) if stride > 1 else 0
    picked = [(p * stride) * channels + c for p in range(pixels) for c in range(channels)]
    span = len(picked) or vectors * lanes

    @intrinsic
    def sum_rows(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            lines, offsets, weights, results, length, valid, end, summary = cgutils.unpack_tuple(
                builder, args[0]
            )
            reached = (rows - 1) * step + height
            lines, offsets, weights = e.integers(lines), e.integers(offsets), e.floats(weights)
            results = e.integers(results)
            line = [e.pixels(e.item(lines, u), source) for u in range(reached)]
            place = [e.pixels(e.item(results, t), result) for t in range(rows)]
            offset = [e.item(offsets, b) for b in range(width)]
            taps = height * width
            tap = [[e.splat(weights, f * taps + n) for n in range(taps)] for f in range(filters)]
            finishing = Finishing(e, ending, e.floats(end), filters, len(picked) or lanes)
            # The last tile ends with the row and repeats some of the one before.
            last = builder.sub(length, e.number(span))
            with e.loop(length, span) as start:
                j = builder.select(builder.icmp_signed(">", start, last), last, start)
                first = e.times(j, stride)
                sums = [[[e.zero] * vectors for _ in range(rows)] for _ in range(filters)]
                for u in range(reached):
                    below = [t for t in range(rows) if 0 <= u - t * step < height]
                    for b in range(width if below else 0):
                        here = e.add(first, offset[b])
                        x = [e.widen(line[u], e.add(here, v * lanes)) for v in range(vectors)]
                        for f in range(filters):
                            for t in below:
                                w = tap[f][(u - t * step) * width + b]
                                row = sums[f][t]
                                sums[f][t] = [e.fma(w, x[v], row[v]) for v in range(vectors)]
                for t in range(rows):
                    shown = builder.icmp_signed(">", valid, e.number(t))
                    each = [sums[f][t] for f in range(filters)]
                    if picked:
                        each = [[e.pick(row, picked)] for row in each]
                    for v in range(len(each[0])):
                        # Of the last tile, what the one before has shown is not counted again.
                        again = builder.sub(builder.sub(start, j), e.number(v * lanes))
                        value = finishing.finish([row[v] for row in each], shown, again)
                        e.narrow(value, finishing.full, place[t], e.add(j, v * lanes))
            if ending.summarise:
                finishing.keep(summary)
            return context.get_dummy_value()

        kinds = (*[ADDRESS] * 4, COUNT, COUNT, ADDRESS, ADDRESS)
        return types.void(types.StarArgTuple(kinds)), codegen

    return sum_rows


class Finishing:
    """The emitted end of a sum, up to the range.

    Parameters
    ----------
    emitter : Emitter
    ending : Ending
    numbers : pointer to float32
        Full scale, the middle, below what and from what on values count as clipped, and the bias
        of each filter.
    filters : int
    lanes : int
        Of the vectors that are finished.
    """

    def __init__(
        self, emitter: Emitter, ending: Ending, numbers: Any, filters: int, lanes: int
    ) -> None:
        self.e, self.ending, self.lanes = emitter, ending, lanes
        self.full = emitter.item(numbers, 0)
        self.middle, self.low, self.high = (
            emitter.fill(emitter.item(numbers, n), lanes) for n in (1, 2, 3)
        )
        self.bias = [emitter.fill(emitter.item(numbers, 4 + f), lanes) for f in range(filters)]
        if ending.summarise:
            self.floats = ir.VectorType(FLOAT, lanes)
            self.counts = ir.VectorType(ir.IntType(32), lanes)
            infinity = ir.Constant(self.floats, [float("inf")] * lanes)
            beneath = ir.Constant(self.floats, [float("-inf")] * lanes)
            none = ir.Constant(self.counts, None)
            variable = cgutils.alloca_once_value
            self.least = variable(emitter.builder, infinity)
            self.greatest = variable(emitter.builder, beneath)
            self.below = variable(emitter.builder, none)
            self.above = variable(emitter.builder, none)
            for place, value in (
                (self.least, infinity),
                (self.greatest, beneath),
                (self.below, none),
                (self.above, none),
            ):
                emitter.builder.store(value, place)

    def call(self, name: str, value: Any) -> Any:
        """Call one of LLVM's functions of a vector."""
        kind = value.type
        function = cgutils.get_or_insert_function(
            self.e.builder.module,
            ir.FunctionType(kind, [kind]),
            f"llvm.{name}.v{kind.count}f32",
        )
        return self.e.builder.call(function, [value])

    def larger(self, a: Any, b: Any) -> Any:
        """Return the larger of two vectors' numbers; NaN wins."""
        return self.e.builder.select(self.e.builder.fcmp_unordered(">", a, b), a, b)

    def finish(self, sums: list[Any], shown: Any, again: Any) -> Any:
        """Return what is stored of the sums of each filter."""
        b, zero = self.e.builder, ir.Constant(sums[0].type, None)
        responses = []
        for f, value in enumerate(sums):
            value = b.fadd(value, self.bias[f])
            if self.ending.activation == 1:  # relu; NaN stays NaN
                value = b.select(b.fcmp_ordered("<", value, zero), zero, value)
            elif self.ending.activation == 2:
                value = self.call("fabs", value)
            responses.append(value)
        total = responses[0]
        how = self.ending.combine
        if how == 1:  # magnitude
            total = b.fmul(total, total)
            for value in responses[1:]:
                total = b.fadd(b.fmul(value, value), total)
            total = self.call("sqrt", total)
        for value in responses[1:] if how != 1 else ():
            if how in (2, 3):
                total = b.fadd(total, value)
            elif how == 4:
                total = self.larger(value, total)
            else:  # absmax keeps the sign; of two as large, the positive one
                one, other = self.call("fabs", value), self.call("fabs", total)
                as_large = b.and_(
                    b.fcmp_ordered("==", one, other), b.fcmp_ordered(">", value, total)
                )
                more = b.or_(b.fcmp_ordered(">", one, other), as_large)
                total = b.select(b.or_(more, b.fcmp_unordered("uno", value, value)), value, total)
        if how == 3:
            share = ir.Constant(total.type, [1 / len(sums)] * total.type.count)
            total = b.fmul(total, share)
        if self.ending.summarise:
            seen = self._seen(shown, again)
            self._most(self.least, "<", total, seen)
            self._most(self.greatest, ">", total, seen)
        if self.ending.range == 2:
            total = self.call("fabs", total)
        elif self.ending.range == 3:
            half = ir.Constant(total.type, [0.5] * total.type.count)
            total = b.fadd(b.fmul(total, half), self.middle)
        if self.ending.summarise:
            self._count(self.below, b.fcmp_ordered("<", total, self.low), seen)
            self._count(self.above, b.fcmp_ordered(">=", total, self.high), seen)
        return total

    def _seen(self, shown: Any, again: Any) -> Any:
        """Return which lanes hold results that no other tile holds."""
        b, word = self.e.builder, ir.IntType(32)
        lane = ir.Constant(self.counts, [ir.Constant(word, n) for n in range(self.lanes)])
        from_here = self.e.fill(b.trunc(again, word), self.lanes)
        return b.and_(b.icmp_signed(">=", lane, from_here), self.e.fill(shown, self.lanes))

    def _most(self, place: Any, than: str, value: Any, seen: Any) -> None:
        b = self.e.builder
        old = b.load(place)
        more = b.and_(b.fcmp_ordered(than, value, old), seen)
        b.store(b.select(more, value, old), place)

    def _count(self, place: Any, which: Any, seen: Any) -> None:
        b = self.e.builder
        b.store(b.add(b.load(place), b.zext(b.and_(which, seen), self.counts)), place)

    def keep(self, summary: Any) -> None:
        """Add the vectors to the item's: least, greatest, and as whole numbers below, above."""
        b, places = self.e.builder, self.e.floats(summary)
        for n, (variable, than) in enumerate(
            ((self.least, "<"), (self.greatest, ">"), (self.below, ""), (self.above, ""))
        ):
            value = b.load(variable)
            # The vectors lie end to end, which those of an odd size by themselves would not.
            kept = b.bitcast(self.e.at(places, n * self.lanes), variable.type)
            old = b.load(kept, align=4)
            if than:
                value = b.select(b.fcmp_ordered(than, value, old), value, old)
            else:
                value = b.add(value, old)
            b.store(value, kept, align=4)


def unit(*constants: Any) -> tuple[Any, Any]:
    """Return the unit (job, item, scratch) for a tile, a kernel, an ending, types from and to."""
    tile, kernel, ending = Tile(*constants[:3]), Kernel(*constants[3:9]), Ending(*constants[9:13])
    source, result = constants[13:]
    sum_rows = rows_of_sums(tile, kernel, ending, source, result)
    rows, height, step = tile.rows, kernel.height, kernel.step
    reached = (rows - 1) * step + height
    pixel_bytes, result_bytes = np.dtype(source).itemsize, np.dtype(result).itemsize

    def fused(address, item, scratch):
        job = job_at(address)
        recipe = recipe_at(job.recipe)
        strip = item % job.strips
        band = item // job.strips
        residue = band // job.bands
        band %= job.bands
        image = residue // job.residues
        residue %= job.residues
        start = band * job.band_rows
        stop = (job.out_rows - residue + job.residues - 1) // job.residues
        if start + job.band_rows < stop:
            stop = start + job.band_rows
        wide = job.columns_stop - job.columns_start
        first = wide * strip // job.strips
        columns = wide * (strip + 1) // job.strips - first
        first += job.columns_start
        sources = numbers(job.rows)
        table = addresses(scratch)
        results = addresses(scratch + np.uintp(reached * 8))
        pixels = job.image + np.uintp(image * job.image_bytes)
        inside = (first * job.column_stride - job.before) * job.channels * pixel_bytes
        row_bytes = job.out_columns * job.channels * result_bytes
        out = job.out + np.uintp(
            image * job.out_rows * row_bytes + first * job.channels * result_bytes
        )
        m = start
        while m < stop:
            last = rows - 1
            if stop - m < rows:
                last = stop - m - 1
            for u in range(reached):
                q = u
                if q > last * step + height - 1:  # under sums that nobody will see: any row
                    q = last * step + height - 1
                q = residue * job.row_stride + (m * step + q) * job.row_dilation
                source_row = sources[np.uintp(q)]
                place = recipe.fill_row
                if source_row >= 0:
                    place = pixels + np.uintp(source_row * job.row_bytes + inside)
                table[np.uintp(u)] = place
            for t in range(rows):
                i = residue + (m + t) * job.residues
                results[np.uintp(t)] = out + np.uintp(i * row_bytes)
                if t > last:
                    results[np.uintp(t)] = scratch + np.uintp(job.extra_at)
            m += rows
            sum_rows(
                scratch,
                recipe.offsets,
                recipe.weights,
                scratch + np.uintp(reached * 8),
                columns * job.channels,
                last + 1,
                recipe.end,
                recipe.summaries + np.uintp(item * recipe.summary_bytes),
            )

    return types.void(ADDRESS, COUNT, ADDRESS), fused
