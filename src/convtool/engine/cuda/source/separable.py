"""Filters that are outer products: down the columns and along the rows, in one launch.

    images ──▶ sums down the columns ──▶ sums along the rows ──▶ in order ──▶ results
               in shared memory          in registers            in shared memory

A thread makes `DOWN` sums of a column, and then `ALONG` sums of a row, each number that it loads
serving as many; see `taps` for how. `ALONG` is odd, so that threads side by side read from
different banks of the shared memory. What threads have in registers goes through shared memory once
more, so that results are written side by side.
"""

from typing import Any

import numpy as np
from numba import cuda

from convtool.engine.cuda.source.finish import NOTHING, ended, nothing_seen, response, taken
from convtool.engine.cuda.source.memory import number, store
from convtool.engine.cuda.source.summary import summarise
from convtool.engine.cuda.source.sums import picked, placed, replaced, slid, zeros
from convtool.engine.cuda.source.unroll import unroll

f4 = np.float32


def separable(
    x: Any,
    x_at: Any,
    x_line: Any,
    x_residue: Any,
    x_image: Any,
    span: Any,
    down: Any,
    along: Any,
    filters: Any,
    terms: Any,
    kernel_rows: Any,
    kernel_columns: Any,
    residues: Any,
    step: Any,
    stride: Any,
    dilation: Any,
    channels: Any,
    together: Any,
    width: Any,
    out: Any,
    out_at: Any,
    out_pitch: Any,
    out_image: Any,
    pixel_step: Any,
    rows: Any,
    pixels: Any,
    bias: Any,
    middle: Any,
    factor: Any,
    full: Any,
    slack: Any,
    extremes: Any,
    counts: Any,
) -> None:
    """Filter images; see `convtool.engine.cuda.launches` for what is told."""
    tile = cuda.shared.array(TILE, f4, ALIGNMENT)
    seen = nothing_seen()
    told = (middle, factor, full, slack)
    thread = cuda.threadIdx.x
    residue = cuda.blockIdx.z % residues
    image = cuda.blockIdx.z // residues
    some_rows = (rows - residue + residues - 1) // residues
    # A block's part: so many pixels, and of their channels so many together.
    parts = (channels + together - 1) // together
    channel = cuda.blockIdx.x % parts * together
    groups = GROUPS // together
    wide = groups * ALONG
    pixel = cuda.blockIdx.x // parts * wide
    own_row = cuda.blockIdx.y * DOWN
    # A block that would go beyond the last row does the last ones, some of them once more.
    row = max(min(own_row, some_rows - DOWN), 0)
    read = x_at + image * x_image + residue * x_residue + row * step * x_line
    # A thread's part of the sums along the rows.
    my_row, group = thread // GROUPS, thread % GROUPS
    my_channel, my_pixel = group % together, group // together * ALONG
    busy = group < groups * together
    base = my_row * width + my_pixel * stride * together + my_channel
    total = zeros(ALONG)
    for f in range(filters):
        sums = zeros(ALONG)
        for term in range(terms):
            cuda.syncthreads()
            tap = (f * terms + term) * kernel_rows
            for j in range(thread, width, cuda.blockDim.x):
                at = (pixel * stride + j // together) * channels
                at = read + min(at + min(channel + j % together, channels - 1), span - 1)
                column = zeros(DOWN)
                window = zeros(DOWN)
                if SLIDE:
                    for i in unroll(DOWN - 1):
                        window = placed(window, i, number(x, at))
                        at += x_line
                    for a in range(0, kernel_rows, DOWN):
                        for k in unroll(DOWN):
                            if a + k < kernel_rows:
                                window = placed(window, (k + DOWN - 1) % DOWN, number(x, at))
                                at += x_line
                                column = slid(column, window, number(down, tap + a + k), k)
                else:
                    for a in range(kernel_rows):
                        spot = at
                        for i in unroll(DOWN):
                            window = placed(window, i, number(x, spot))
                            spot += step * x_line
                        at += x_line
                        column = slid(column, window, number(down, tap + a), 0)
                for i in unroll(DOWN):
                    store(tile, i * width + j, (column[i],))
            cuda.syncthreads()
            tap = (f * terms + term) * kernel_columns
            if busy:
                window = zeros(ALONG)
                spot = base
                if NEXT:
                    for p in unroll(ALONG - 1):
                        window = placed(window, p, number(tile, spot))
                        spot += together
                    for b in range(0, kernel_columns, ALONG):
                        for k in unroll(ALONG):
                            if b + k < kernel_columns:
                                window = placed(window, (k + ALONG - 1) % ALONG, number(tile, spot))
                                spot += together
                                sums = slid(sums, window, number(along, tap + b + k), k)
                else:
                    for b in range(kernel_columns):
                        at = spot
                        for p in unroll(ALONG):
                            window = placed(window, p, number(tile, at))
                            at += stride * together
                        spot += dilation * together
                        sums = slid(sums, window, number(along, tap + b), 0)
        added = NOTHING
        if BIAS == 1:
            added = bias[f]
        cuda.syncthreads()
        for p in range(ALONG):
            y = response(picked(sums, p), added, ACTIVATION)
            if COMBINE:
                y = taken(y, picked(total, p), COMBINE, f == 0)
                total = replaced(total, p, y)
            if not COMBINE or f == filters - 1:
                live = busy and own_row <= row + my_row < some_rows
                live = live and pixel + my_pixel + p < pixels
                live = live and channel + my_channel < channels
                y, seen = ended(
                    y,
                    live,
                    seen,
                    COMBINE,
                    filters,
                    LIMITS,
                    SCALE,
                    WHOLE,
                    SUMMARISE,
                    told,
                )
                if busy:
                    at = (my_row * wide + my_pixel + p) * together + my_channel
                    store(tile, at, (y,))
        if not COMBINE or f == filters - 1:
            cuda.syncthreads()
            for j in range(thread, DOWN * wide * together, cuda.blockDim.x):
                c, place = channel + j % together, pixel + j // together % wide
                r = row + j // (together * wide)
                if own_row <= r < some_rows and place < pixels and c < channels:
                    put = out_at + image * out_image + (r * residues + residue) * out_pitch
                    put += place * pixel_step
                    if COMBINE:
                        put += c
                    else:
                        put += c * filters + f
                    store(out, put, (number(tile, j),))
    if SUMMARISE:
        summarise(seen, extremes, counts)
