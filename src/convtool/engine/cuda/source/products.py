"""Sums across channels: a product of matrices whose left one is never laid out.

A row of the left matrix is a window, a column of the right one a filter. A block makes
`HIGH` · `WIDE` results, and goes through the taps of the kernel, `DEEP` input channels at a time::

    windows  ┌ DEEP ┐            ┌ WIDE ┐ filters
         HIGH│  x   │   ·    DEEP│  w   │    gathered into shared memory, transposed, while the
             └──────┘            └──────┘    sums of what was gathered before are made

A thread has eight windows of four filters in registers: twelve numbers from shared memory serve 32
multiply-adds. Two halves of shared memory take turns.
"""

from typing import Any

import numpy as np
from numba import cuda

from convtool.engine.cuda.source.finish import NOTHING, ended, nothing_seen, response
from convtool.engine.cuda.source.memory import load, number, store
from convtool.engine.cuda.source.summary import summarise
from convtool.engine.cuda.source.sums import outer, picked, placed, zeros
from convtool.engine.cuda.source.unroll import registers, unroll

f4 = np.float32


def products(
    x: Any,
    x_at: Any,
    x_row: Any,
    x_column: Any,
    x_image: Any,
    weights: Any,
    tap_row: Any,
    tap_column: Any,
    kernel_rows: Any,
    kernel_columns: Any,
    inputs: Any,
    blocks: Any,
    panels: Any,
    outputs: Any,
    out: Any,
    out_at: Any,
    out_pitch: Any,
    out_image: Any,
    pixel_step: Any,
    windows: Any,
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
    left = cuda.shared.array(LEFT, f4, ALIGNMENT)
    right = cuda.shared.array(RIGHT, f4, ALIGNMENT)
    window = registers(GATHERED)
    deep = registers(GATHERED)
    x_next = registers(GATHERED)
    w_next = registers(TAKEN)
    z = registers(4)
    seen = nothing_seen()
    told = (middle, factor, full, slack)
    thread = cuda.threadIdx.x
    # Of the grid only the first axis is long.
    across_windows = (windows + HIGH - 1) // HIGH
    which = cuda.blockIdx.x // across_windows
    group, panel = which // panels, which % panels
    my_windows = cuda.blockIdx.x % across_windows * HIGH
    # Where the windows of this thread's share of the gathering begin.
    for g in unroll(GATHERED):
        m = (thread + THREADS * g) // (DEEP // 4)
        deep[g] = (thread + THREADS * g) % (DEEP // 4) * 4
        m = min(my_windows + m, windows - 1)
        window[g] = x_at + group * inputs + m // (rows * columns) * x_image
        window[g] += m // columns % rows * x_row + m % columns * x_column + deep[g]
    w_at = (group * panels + panel) * kernel_rows * kernel_columns * blocks * (DEEP * WIDE)
    sums = zeros(8 * 4)
    # Which filters and windows of the block's are this thread's.
    mine, my_filter = thread % (HIGH // 8) * 4, thread // (HIGH // 8) * 4
    down = across = block = 0
    steps = kernel_rows * kernel_columns * blocks
    for turn in range(steps + 1):
        if turn < steps:
            offset = down * tap_row + across * tap_column + block * DEEP
            for g in unroll(GATHERED):
                x_next[g] = zeros(4)
                if VECTOR:
                    if block * DEEP + deep[g] < inputs:
                        x_next[g] = load(x, window[g] + offset, 4, 4)
                else:
                    for e in unroll(4):
                        if block * DEEP + deep[g] + e < inputs:
                            x_next[g] = placed(x_next[g], e, number(x, window[g] + offset + e))
            for g in unroll(TAKEN):
                w_next[g] = load(weights, w_at + (thread + THREADS * g) * 4, 4, 4)
            w_at += DEEP * WIDE
            block += 1
            if block == blocks:
                block = 0
                across += 1
                if across == kernel_columns:
                    across = 0
                    down += 1
        if turn > 0:
            half = (turn - 1) % 2
            left_at = half * DEEP * (HIGH + 4) + mine
            right_at = half * DEEP * WIDE + my_filter
            for _ in range(0, DEEP, 4):
                for k in unroll(4):
                    at = left_at + k * (HIGH + 4)
                    a = load(left, at, 4, 4) + load(left, at + HIGH // 2, 4, 4)
                    w = load(right, right_at + k * WIDE, 4, 4)
                    sums = outer(sums, a, w)
                left_at += 4 * (HIGH + 4)
                right_at += 4 * WIDE
        if turn < steps:
            half = turn % 2
            for g in unroll(GATHERED):
                m = (thread + THREADS * g) // (DEEP // 4)
                for e in unroll(4):
                    at = (half * DEEP + deep[g] + e) * (HIGH + 4) + m
                    store(left, at, (x_next[g][e],))
            for g in unroll(TAKEN):
                store(right, half * (DEEP * WIDE) + (thread + THREADS * g) * 4, w_next[g])
        cuda.syncthreads()
    first = panel * WIDE + my_filter
    for i in range(8):
        m = my_windows + mine + i % 4 + i // 4 * (HIGH // 2)
        if m < windows:
            put = out_at + m // (rows * columns) * out_image + m // columns % rows * out_pitch
            put += m % columns * pixel_step + group * outputs + first
            for n in unroll(4):
                if first + n < outputs:
                    added = NOTHING
                    if BIAS:
                        added = bias[group * outputs + first + n]
                    y = response(picked(sums, i * 4 + n), added, ACTIVATION)
                    z[n], seen = ended(y, True, seen, 0, 1, LIMITS, SCALE, WHOLE, SUMMARISE, told)
                    if not STORED:
                        store(out, put + n, z[n : n + 1])
            if STORED and first < outputs:
                store(out, put, z[0:4])
    if SUMMARISE:
        summarise(seen, extremes, counts)
