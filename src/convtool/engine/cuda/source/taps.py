"""Kernels of any size, stride and dilation, each channel by itself: every tap is summed.

A thread makes `DOWN` rows of `ACROSS` columns. Where the windows of neighbouring rows begin a line
apart, what is loaded for one of them is kept for the others: going down a column of the kernel,
each tap takes one number more and one weight for `DOWN` multiply-adds::

    weights[a]      · v[0] v[1] v[2] v[3]
    weights[a + 1]  ·      v[1] v[2] v[3] v[4]      v[4] stands where v[0] stood

A dilation of the rows vanishes: rows that lie so far apart are visited together, see
`convtool.engine.cuda.layout`. With `SHARED`, the lines that a block reads are converted once into
memory that its threads share, as many kernel rows at a time as fit; else they come through the
first cache.
"""

from typing import Any

import numpy as np
from numba import cuda

from convtool.engine.cuda.source.finish import NOTHING, ended, nothing_seen, response, taken
from convtool.engine.cuda.source.memory import number, store
from convtool.engine.cuda.source.summary import summarise
from convtool.engine.cuda.source.sums import picked, placed, replaced, slid, zeros
from convtool.engine.cuda.source.unroll import registers, unroll

f4 = np.float32


def taps(
    x: Any,
    x_at: Any,
    x_line: Any,
    x_residue: Any,
    x_image: Any,
    span: Any,
    weights: Any,
    filters: Any,
    kernel_rows: Any,
    kernel_columns: Any,
    residues: Any,
    step: Any,
    stride: Any,
    tap_step: Any,
    channels: Any,
    chunk: Any,
    width: Any,
    out: Any,
    out_at: Any,
    out_pitch: Any,
    out_image: Any,
    pixel_step: Any,
    rows: Any,
    columns: Any,
    bias: Any,
    middle: Any,
    factor: Any,
    full: Any,
    slack: Any,
    extremes: Any,
    counts: Any,
) -> None:
    """Filter images; see `convtool.engine.cuda.launches` for what is told."""
    if SHARED:
        tile = cuda.shared.array(TILE, f4, ALIGNMENT)
    sums = registers(ACROSS)
    total = registers(ACROSS)
    window = registers(ACROSS)
    spot = registers(ACROSS)
    tap = registers(ACROSS)
    column = registers(ACROSS)
    channel = registers(ACROSS)
    place = registers(ACROSS)
    seen = nothing_seen()
    told = (middle, factor, full, slack)
    residue = cuda.blockIdx.z % residues
    image = cuda.blockIdx.z // residues
    some_rows = (rows - residue + residues - 1) // residues
    last = (some_rows - 1) * step + kernel_rows - 1
    read = x_at + image * x_image + residue * x_residue
    own_row = (cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y) * DOWN
    # A thread that would go beyond the last row does the last ones, some of them once more.
    row = own_row if SHARED else max(min(own_row, some_rows - DOWN), 0)
    # The first line of the block, and of the thread: within the tile, or of all.
    block_line = cuda.blockIdx.y * cuda.blockDim.y * DOWN * step
    line = cuda.threadIdx.y * DOWN * step if SHARED else row * step
    apart = width if SHARED else x_line
    first = cuda.blockIdx.x * cuda.blockDim.x * ACROSS // channels * stride * channels
    for q in unroll(ACROSS):
        column[q] = (cuda.blockIdx.x * ACROSS + q) * cuda.blockDim.x + cuda.threadIdx.x
        place[q] = min(column[q], columns - 1)
        channel[q] = place[q] % channels
        place[q] = place[q] // channels * stride * channels + channel[q]
    # Weights of neighbouring columns, and rows, of the kernel lie so far apart.
    beside = channels if DEPTH else 1
    along = beside * kernel_columns
    for q in unroll(ACROSS):
        total[q] = zeros(DOWN)
    for f in range(filters):
        for q in unroll(ACROSS):
            sums[q] = zeros(DOWN)
        for start in range(0, kernel_rows, chunk):
            stop = min(start + chunk, kernel_rows)
            if SHARED:
                cuda.syncthreads()
                lines = (cuda.blockDim.y * DOWN - 1) * step + stop - start
                for n in range(cuda.threadIdx.y, lines, cuda.blockDim.y):
                    source = read + min(block_line + start + n, last) * x_line
                    for j in range(cuda.threadIdx.x, width, cuda.blockDim.x):
                        value = number(x, source + min(first + j, span - 1))
                        store(tile, n * width + j, (value,))
                cuda.syncthreads()
            for b in range(kernel_columns):
                for q in unroll(ACROSS):
                    window[q] = zeros(DOWN)
                    tap[q] = ((f * kernel_rows + start) * kernel_columns + b) * beside
                    if DEPTH:
                        tap[q] += channel[q]
                    spot[q] = place[q] + b * tap_step
                    if SHARED:
                        spot[q] += line * width - first
                    else:
                        spot[q] += read + (line + start) * x_line
                if SLIDE:
                    for i in unroll(DOWN - 1):
                        for q in unroll(ACROSS):
                            value = number(tile if SHARED else x, spot[q])
                            window[q] = placed(window[q], i, value)
                            spot[q] += apart
                    for a in range(start, stop, DOWN):
                        for j in unroll(DOWN):
                            if a + j < stop:
                                for q in unroll(ACROSS):
                                    value = number(tile if SHARED else x, spot[q])
                                    spot[q] += apart
                                    if DEPTH or q == 0:
                                        w = number(weights, tap[q])
                                        tap[q] += along
                                    window[q] = placed(window[q], (j + DOWN - 1) % DOWN, value)
                                    sums[q] = slid(sums[q], window[q], w, j)
                else:
                    for _ in range(start, stop):
                        for q in unroll(ACROSS):
                            if DEPTH or q == 0:
                                w = number(weights, tap[q])
                                tap[q] += along
                            at = spot[q]
                            for i in unroll(DOWN):
                                value = number(tile if SHARED else x, at)
                                window[q] = placed(window[q], i, value)
                                at += step * apart
                            sums[q] = slid(sums[q], window[q], w, 0)
                            spot[q] += apart
        for q in unroll(ACROSS):
            added = NOTHING
            if BIAS == 1:
                added = bias[f]
            if BIAS == 2:
                added = bias[channel[q] * filters + f]
            put = out_at + image * out_image + column[q] // channels * pixel_step
            if COMBINE:
                put += channel[q]
            else:
                put += channel[q] * filters + f
            for i in range(DOWN):
                y = response(picked(sums[q], i), added, ACTIVATION)
                if COMBINE:
                    y = taken(y, picked(total[q], i), COMBINE, f == 0)
                    total[q] = replaced(total[q], i, y)
                live = own_row <= row + i < some_rows and column[q] < columns
                if live and (not COMBINE or f == filters - 1):
                    y, seen = ended(
                        y, True, seen, COMBINE, filters, LIMITS, SCALE, WHOLE, SUMMARISE, told
                    )
                    store(out, put + ((row + i) * residues + residue) * out_pitch, (y,))
    if SUMMARISE:
        summarise(seen, extremes, counts)
