"""The summary of a block's responses: one for all its threads."""

from typing import Any

import numpy as np
from numba import cuda

f4, i4 = np.float32, np.int32

# As many threads as a block has here.
MOST = 256
TWICE, FOUR_TIMES = 2 * MOST, 4 * MOST


@cuda.jit(device=True)
def summarise(seen: Any, extremes: Any, counts: Any) -> None:
    """Put what the threads of a block have seen together, into the block's place.

    Parameters
    ----------
    seen : tuple
        See `finish.nothing_seen`.
    extremes : ndarray (blocks · 2,), float32
    counts : ndarray (blocks · 4,), int32
    """
    ends = cuda.shared.array(TWICE, f4)
    numbers = cuda.shared.array(FOUR_TIMES, i4)
    threads = cuda.blockDim.x * cuda.blockDim.y
    thread = cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    least, greatest, others, below, above, nan = seen
    ends[thread], ends[MOST + thread] = least, greatest
    numbers[thread], numbers[MOST + thread] = others, below
    numbers[2 * MOST + thread], numbers[3 * MOST + thread] = above, nan
    half = 1
    while half < threads:
        half *= 2
    while half > 1:
        half //= 2
        cuda.syncthreads()
        other = thread + half
        if thread < half and other < threads:
            ends[thread] = min(ends[thread], ends[other])
            ends[MOST + thread] = max(ends[MOST + thread], ends[MOST + other])
            for n in range(4):
                numbers[n * MOST + thread] += numbers[n * MOST + other]
    if thread == 0:
        block = (cuda.blockIdx.z * cuda.gridDim.y + cuda.blockIdx.y) * cuda.gridDim.x
        block += cuda.blockIdx.x
        extremes[2 * block], extremes[2 * block + 1] = ends[0], ends[MOST]
        for n in range(4):
            counts[4 * block + n] = numbers[n * MOST]
