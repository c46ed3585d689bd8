"""Small kernels inside the image: from pixels to pixels in registers, past no line and no row.

Where every window lies between the left and the right end of the image, a row of pixels is
itself the line. A tile of rows and vectors loads the pixels of the rows under it, converts them in
registers, sums every tap, rounds, and stores. The rest, a few columns at both ends, is the walk's.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.job import FUSED, JOB
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, addresses, numbers, record_at
from convtool.engine.cpu.source.simd import Emitter

job_at = record_at(JOB)
recipe_at = record_at(FUSED)


def rows_of_sums(tile: "Tile", kernel: "Kernel", source: str, result: str) -> Any:
    """Return the emitted loop over the columns of one tile of rows.

    With a column stride, every column of the rows is summed and the strided ones are stored:
    picking first would cost more, for what is dear in a small kernel is reading the pixels.
    """
    rows, vectors, lanes = tile
    height, width, step, stride, channels = kernel
    pixels = vectors * lanes // (stride * channels) if stride > 1 else 0
    picked = [(p * stride) * channels + c for p in range(pixels) for c in range(channels)]
    span = len(picked) or vectors * lanes

    @intrinsic
    def sum_rows(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            lines, offsets, weights, results, length, bias, full = cgutils.unpack_tuple(
                builder, args[0]
            )
            reached = (rows - 1) * step + height
            lines, offsets, weights = e.integers(lines), e.integers(offsets), e.floats(weights)
            results = e.integers(results)
            line = [e.pixels(e.item(lines, u), source) for u in range(reached)]
            place = [e.pixels(e.item(results, t), result) for t in range(rows)]
            offset = [e.item(offsets, b) for b in range(width)]
            tap = [e.splat(weights, n) for n in range(height * width)]
            bias = e.fill(bias)
            # The last tile ends with the row and repeats some of the one before.
            last = builder.sub(length, e.number(span))
            with e.loop(length, span) as start:
                j = builder.select(builder.icmp_signed(">", start, last), last, start)
                first = e.times(j, stride)
                sums = [[e.zero] * vectors for _ in range(rows)]
                for u in range(reached):
                    below = [t for t in range(rows) if 0 <= u - t * step < height]
                    for b in range(width if below else 0):
                        place_of_tap = e.add(first, offset[b])
                        x = [
                            e.widen(line[u], e.add(place_of_tap, v * lanes)) for v in range(vectors)
                        ]
                        for t in below:
                            w = tap[(u - t * step) * width + b]
                            sums[t] = [e.fma(w, x[v], sums[t][v]) for v in range(vectors)]
                for t in range(rows):
                    whole = [builder.fadd(vector, bias) for vector in sums[t]]
                    stored = [e.pick(whole, picked)] if picked else whole
                    for v, value in enumerate(stored):
                        e.narrow(value, full, place[t], e.add(j, v * lanes))
            return context.get_dummy_value()

        kinds = (*[ADDRESS] * 4, COUNT, types.float32, types.float32)
        return types.void(types.StarArgTuple(kinds)), codegen

    return sum_rows


class Tile(NamedTuple):
    """How many rows of how many vectors are summed at a time."""

    rows: int
    vectors: int
    lanes: int


class Kernel(NamedTuple):
    """What is known of the kernel; the channels only where there is a column stride."""

    height: int
    width: int
    step: int
    stride: int
    channels: int


def unit(*constants: Any) -> tuple[Any, Any]:
    """Return the unit (job, item, scratch) for a `Tile`, a `Kernel`, and types from and to."""
    tile, kernel = Tile(*constants[:3]), Kernel(*constants[3:8])
    source, result = constants[8:]
    sum_rows = rows_of_sums(tile, kernel, source, result)
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
                recipe.bias,
                recipe.full,
            )

    return types.void(ADDRESS, COUNT, ADDRESS), fused
