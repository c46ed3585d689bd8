"""Small kernels, each channel by itself, at stride 1: from memory to memory in registers.

A thread makes a few neighbouring numbers of a row, and walks down the rows::

    row r      a b c d e f g h i j         loaded once, as vectors; the next row is on its way
               └─────── · weights[2]  ──▶  sums of output row r - 2, done with this row
               └─────── · weights[1]  ──▶  sums of output row r - 1
               └─────── · weights[0]  ──▶  sums of output row r

The channels of a row lie side by side, so that a tap further on is so many numbers further on, and
what is loaded for one thread is loaded for its neighbours too: it comes from the first cache.
"""

from typing import Any

from numba import cuda

from convtool.engine.cuda.source.finish import NOTHING, ended, nothing_seen, response, taken
from convtool.engine.cuda.source.memory import load, store
from convtool.engine.cuda.source.summary import summarise
from convtool.engine.cuda.source.sums import walked, zeros
from convtool.engine.cuda.source.unroll import registers, unroll


def walk(
    x: Any,
    x_at: Any,
    x_pitch: Any,
    x_image: Any,
    weights: Any,
    out: Any,
    out_at: Any,
    out_pitch: Any,
    out_image: Any,
    pixel_step: Any,
    rows: Any,
    columns: Any,
    strip: Any,
    bias: Any,
    middle: Any,
    factor: Any,
    full: Any,
    slack: Any,
    extremes: Any,
    counts: Any,
) -> None:
    """Filter images; see `convtool.engine.cuda.launches` for what is told."""
    z = registers(WIDE * RESULTS)
    seen = nothing_seen()
    told = (middle, factor, full, slack)
    column = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * WIDE
    top = (cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y) * strip
    if column < columns and top < rows:
        count = min(strip, rows - top) + KERNEL_ROWS - 1
        place = x_at + cuda.blockIdx.z * x_image + top * x_pitch + column
        put = out_at + cuda.blockIdx.z * out_image + top * out_pitch
        sums = zeros(FILTERS * KERNEL_ROWS * WIDE)
        here = load(x, place, LOADED, VECTOR)
        for r in range(count):
            # The row behind the last one may be read: there is memory, and nobody looks at it.
            place += x_pitch
            ahead = load(x, place, LOADED, VECTOR)
            sums = walked(sums, here, weights, KERNEL_ROWS, KERNEL_COLUMNS, CHANNELS)
            here = ahead
            if r >= KERNEL_ROWS - 1:
                for v in unroll(WIDE):
                    for f in unroll(FILTERS):
                        y = response(
                            sums[f * KERNEL_ROWS * WIDE + v],
                            bias[f] if BIAS else NOTHING,
                            ACTIVATION,
                        )
                        if COMBINE:
                            total = taken(y, y if f == 0 else total, COMBINE, f == 0)
                        if f == FILTERS - 1 or not COMBINE:
                            z[v * RESULTS + (0 if COMBINE else f)], seen = ended(
                                total if COMBINE else y,
                                column + v < columns,
                                seen,
                                COMBINE,
                                FILTERS,
                                LIMITS,
                                SCALE,
                                WHOLE,
                                SUMMARISE,
                                told,
                            )
                if APART:
                    for v in unroll(WIDE):
                        if column + v < columns:
                            at = put + (column + v) // CHANNELS * pixel_step
                            at += (column + v) % CHANNELS * RESULTS
                            for f in unroll(RESULTS):
                                store(out, at + f, z[v * RESULTS + f : v * RESULTS + f + 1])
                else:
                    for j in unroll(0, WIDE * RESULTS, STORED):
                        store(out, put + column * RESULTS + j, z[j : j + STORED])
                put += out_pitch
    if SUMMARISE:
        summarise(seen, extremes, counts)
