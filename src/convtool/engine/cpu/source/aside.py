"""What a Fourier transform would spread over its tile: NaN, infinity, and numbers near overflow.

They are set aside when a tile is loaded, zero standing for them, and brought to the finished sums,
so that each reaches the windows that hold it, and no other. NaN makes NaN of all the windows that
hold it, which for a kernel without gaps are a rectangle; so does infinity make infinity, if all
weights have the same sign. Of these only the last row in each column has to be known::

    row q   · · N · · · ·       columns of a kernel of 3, at row t:
            N N N · · · ·       q ≥ t, and q was looked at when it came into reach

Everything else is multiplied tap by tap.
"""

from typing import Any

import numpy as np
from numba import njit, types

from convtool.engine.cpu.fourier import FOURIER, HALF_TILE
from convtool.engine.cpu.job import JOB
from convtool.engine.cpu.source.memory import (
    ADDRESS,
    COUNT,
    PART,
    at,
    call,
    floats,
    numbers,
    record_at,
)

job_at = record_at(JOB)
recipe_at = record_at(FOURIER)
half_at = record_at(HALF_TILE)
whole_at = at(types.int32)

load = call(ADDRESS, ADDRESS, COUNT, COUNT, ADDRESS)

INFINITY = np.float32(np.inf)


@njit(**PART)
def _bring(address, job, half, stride, pixels, q, line):
    """Load row `q` of a half once more."""
    source = numbers(job.rows)[half.top * stride + q]
    place = np.uintp(0)
    if source >= 0:
        place = pixels + np.uintp(source * job.row_bytes)
    load(job.load, address, place, half.left, half.wide, line)


@njit(**PART)
def _kind(value, limit, same_sign):
    """Return 0, 1, 2 for NaN and the infinities, 3 for what is multiplied, -1 for the rest."""
    if value != value:
        return 0
    if abs(value) <= limit:
        return -1
    if same_sign != 0 and value == INFINITY:
        return 1
    return 2 if same_sign != 0 and value == -INFINITY else 3


@njit(**PART)
def _reach(line, last, q, wide, job, r):
    """Note row `q` for the columns that see something there; say whether to multiply some."""
    channels, stride, taps = job.channels, job.column_stride, r.kernel_columns
    more, done = False, 3 * wide * channels  # where it says up to which column this was done
    for j in range(done, done + 3 * channels):
        last[j] = 0
    for x in range((wide - 1) * stride + taps):
        for c in range(channels):
            kind = _kind(line[x * channels + c], r.limit, r.same_sign)
            if kind == 3:
                more = True
            elif kind >= 0:
                cell = done + kind * channels + c
                first, stop = (x - taps + stride) // stride, x // stride + 1
                if first < last[cell]:
                    first = last[cell]
                if stop > wide:
                    stop = wide
                for column in range(first, stop):
                    last[(kind * wide + column) * channels + c] = q
                last[cell] = stop
    return more


def aside(address, half_address, pixels, flags, line_address, t, sums_address, reach_address):
    """Bring to row `t` of a half's sums what was set aside; rows come in order.

    `flags` say how large the numbers of each row are, in bits.
    """
    job = job_at(address)
    r = recipe_at(job.recipe)
    half = half_at(half_address)
    sizes, line, sums = whole_at(flags), floats(line_address), floats(sums_address)
    last, weights = whole_at(reach_address), floats(r.weights)
    channels, stride, filters = job.channels, job.column_stride, job.filters
    dilation, taps, wide = r.column_dilation, r.kernel_columns, half.wide
    length = wide * channels
    top = t * r.row_stride
    together = dilation == 1 and r.row_dilation == 1
    if together:
        # Rows that came into reach since the row before, of which all are known by now.
        start = top + r.kernel_rows - r.row_stride
        if t == 0:
            start = 0
            for j in range(3 * length):
                last[j] = -1
        for q in range(start if start > 0 else 0, top + r.kernel_rows):
            if sizes[q] > r.limit_bits:
                _bring(address, job, half, r.row_stride, pixels, q, line_address)
                if not _reach(line, last, q, wide, job, r):
                    sizes[q] = -1
        for j in range(length):
            value = np.float32(0)
            if last[j] >= top:
                value = np.float32(np.nan)
            if last[length + j] >= top:
                value += INFINITY
            if last[2 * length + j] >= top:
                value -= INFINITY
            if value != 0:
                for f in range(filters):
                    sums[f * job.pitch + j] += value * r.same_sign if value == value else value
    for a in range(r.kernel_rows):
        q = top + a * r.row_dilation
        if sizes[q] <= r.limit_bits:
            continue
        _bring(address, job, half, r.row_stride, pixels, q, line_address)
        for x in range((wide - 1) * stride + r.window_columns):
            for c in range(channels):
                value = line[x * channels + c]
                kind = _kind(value, r.limit, r.same_sign)
                if kind < 0 or (together and kind < 3):
                    continue
                for b in range(taps):
                    column = x - b * dilation
                    if column < 0:
                        break
                    if column % stride == 0 and column < wide * stride:
                        j = column // stride * channels + c
                        for f in range(filters):
                            tap = weights[(f * r.kernel_rows + a) * taps + b]
                            sums[f * job.pitch + j] += tap * value


def unit(layout: int) -> tuple[Any, Any]:
    """Return the unit (job, half, pixels, flags, line, row, sums, reach).

    Parameters
    ----------
    layout : int
        Of the records: a number that changes with them.
    """
    return types.void(*[ADDRESS] * 5, COUNT, *[ADDRESS] * 2), aside
