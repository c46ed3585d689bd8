"""Rows of pixels as lines: in float32, with their border, split by phase of the column stride."""

from typing import Any

import numba
import numpy as np
from numba import njit, types

from convtool.engine.cpu.job import JOB
from convtool.engine.cpu.source.memory import (
    ADDRESS,
    COUNT,
    PART,
    at,
    floats,
    numbers,
    record_at,
)

job_at = record_at(JOB)


@njit(**PART)
def _spread(source, first, step, count, channels, line):
    """Convert `count` pixels, every `step`-th. LLVM vectorises where it knows the numbers."""
    if step == 1:
        for j in range(count * channels):
            line[j] = source[first * channels + j]
    elif step == 2 and channels == 1:
        for m in range(count):
            line[m] = source[first + m * 2]
    elif step == 2 and channels == 3:
        for m in range(count):
            for c in range(3):
                line[m * 3 + c] = source[(first + m * 2) * 3 + c]
    else:
        for m in range(count):
            for c in range(channels):
                line[m * channels + c] = source[(first + m * step) * channels + c]


def unit(dtype: str) -> tuple[Any, Any]:
    """Return the unit (job, row, first column, columns, line) for pixels of `dtype`.

    The row's address is 0 where the border is a constant.
    """
    pixels = at(numba.from_dtype(np.dtype(dtype)))
    widen = np.float32

    def load(address, row, first_column, columns, line_address):
        job = job_at(address)
        phases, channels, width, before = job.phases, job.channels, job.width, job.before
        sources, source, fill = numbers(job.columns), pixels(row), widen(job.fill)
        places = (columns - 1) * job.column_stride // phases + job.reach + 1
        for phase in range(phases):
            line = floats(line_address + np.uintp(phase * job.phase_length * 4))
            base = first_column * job.column_stride + phase
            # Places start … stop - 1 lie in the image.
            start, stop = 0, 0
            if row != 0:
                if base < before:
                    start = (before - base + phases - 1) // phases
                    if start > places:
                        start = places
                stop = places
                if before + width - base <= 0:
                    stop = start
                elif (before + width - base + phases - 1) // phases < stop:
                    stop = (before + width - base + phases - 1) // phases
                if stop < start:
                    stop = start
                inside = floats(
                    line_address + np.uintp((phase * job.phase_length + start * channels) * 4)
                )
                first = base + start * phases - before
                _spread(source, first, phases, stop - start, channels, inside)
            for side in range(2):
                here, end = stop, places
                if side == 0:
                    here, end = 0, start
                while here < end and base + here * phases < job.padded_width:
                    pixel = np.int64(-1)
                    if row != 0:
                        pixel = sources[base + here * phases]
                    for c in range(channels):
                        if pixel < 0:
                            line[here * channels + c] = fill
                        else:
                            line[here * channels + c] = source[pixel * channels + c]
                    here += 1

    return types.void(ADDRESS, ADDRESS, COUNT, COUNT, ADDRESS), load
