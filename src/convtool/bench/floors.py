"""What this machine could do at best: how quickly it copies, and how quickly it multiplies.

A convolution reads every pixel (but rows that its stride passes over) and writes every result at
least once; no filter of an image can be quicker than a copy of as many bytes, by as many threads.
That is the floor of the image cases, whatever the kernel: what arithmetic costs beyond it is for
the method to keep small, and a method may do with fewer multiply-adds than the kernel has taps (an
outer product, a running sum, an FFT), so that these are no floor.

A layer of a network sums across channels, and multiply-adds are what it is made of: its floor is
the later of the copy and of the direct multiply-adds at the processor's peak. An algorithm with
fewer of them (Winograd's, an FFT) could in principle come out below.

Both are measured, not looked up, and both are the best of many tries: a floor is the quickest
that was seen.
"""

from collections.abc import Callable
from ctypes import CFUNCTYPE, c_size_t, c_ssize_t
from functools import cache
from itertools import pairwise
from math import inf, prod
from time import perf_counter

import numpy as np

from convtool.engine.cores import cores
from convtool.geometry import ConvPlan
from convtool.terms import Op

# How long to try for, in seconds, and how often at least.
TRY_FOR = 0.1
TRIES = 5

# How long each thread multiplies in one try: much longer than a thread takes to wake up.
ROUND_SECONDS = 0.01

# A copy is cut into so many pieces for each thread, so that one that is late does not hold up all.
PIECES = 4


def thread_count(threads: int | None) -> int:
    """Return how many threads the cpu engine uses when asked for so many."""
    return min(threads or cores(), cores())


@cache
def copy_bandwidth(size: int, threads: int) -> float:
    """Measure how quickly memory is copied.

    Parameters
    ----------
    size : int
        Bytes read and bytes written together. What fits a cache is copied more quickly, and
        images that fit one are filtered more quickly: so the sizes must be alike.
    threads : int

    Returns
    -------
    float
        Bytes a second, read and written.
    """
    from convtool.engine import work

    # Both are written to first, for memory that never was is not there yet.
    source, target = (np.ones(max(size // 2, 1), np.uint8) for _ in range(2))
    count = threads * PIECES if threads > 1 else 1
    edges = [source.size * n // count for n in range(count + 1)]
    parts = [(target[a:b], source[a:b]) for a, b in pairwise(edges)]

    def copy(item: int, _: int) -> None:
        np.copyto(*parts[item])

    return 2 * source.size / _least(lambda: work.share(count, threads, copy))


@cache
def multiply_peak(threads: int) -> float:
    """Measure how many float32 operations all threads do in a second, in registers alone.

    Returns
    -------
    float
        A multiply-add counts as two.
    """
    from convtool.engine import work
    from convtool.engine.cpu import machine

    registers, lanes = machine.registers()
    chains = 24 if registers >= 32 else 12
    unit = CFUNCTYPE(None, c_size_t, c_ssize_t, c_size_t)  # calls it without the GIL
    multiply = unit(machine.address("peak", chains, lanes))
    # x ← x·1 + 0: numbers that stay as they are, whatever the number of rounds.
    factors = np.repeat(np.array([1, 0], np.float32), lanes)
    places = [np.ones(chains * lanes, np.float32) for _ in range(threads)]
    rounds = 1000

    def all_threads() -> None:
        def one(item: int, _: int) -> None:
            multiply(factors.ctypes.data, rounds, places[item].ctypes.data)

        work.share(threads, threads, one)

    while True:  # until a try takes long enough, but for the first, which wakes the threads
        all_threads()
        started = perf_counter()
        all_threads()
        if perf_counter() - started >= ROUND_SECONDS:
            break
        rounds *= 2
    return 2 * rounds * chains * lanes * threads / _least(all_threads)


def _least(call: Callable[[], object]) -> float:
    """Return the least time of several calls."""
    call()
    begun, least, tries = perf_counter(), inf, 0
    while tries < TRIES or perf_counter() - begun < TRY_FOR:
        started = perf_counter()
        call()
        least = min(least, perf_counter() - started)
        tries += 1
    return least


def bytes_moved(settled: ConvPlan, itemsize: int) -> int:
    """Count the bytes of the images and of the results.

    Rows of the image that a stride passes over are left out; columns are not, for memory comes in
    lines of many pixels.
    """
    n, h, w, c = settled.input_shape
    rows = min(h, settled.rows.o * min(settled.rows.window, settled.rows.s))
    if settled.op is Op.CONV2D_TRANSPOSE:
        rows = h
    return itemsize * (n * rows * w * c + prod(settled.output_shape))


def device_floor_seconds(
    settled: ConvPlan, itemsize: int, copy: float, multiply_adds: float
) -> float:
    """Return the floor of a case on a GPU, of which these were measured.

    Parameters
    ----------
    settled : ConvPlan
    itemsize : int
        Bytes of a pixel's channel, in the images and in the results.
    copy : float
        Bytes a second, read and written together.
    multiply_adds : float
        A second.
    """
    size = bytes_moved(settled, itemsize)
    if settled.per_channel:
        return size / copy
    return max((size + 4 * settled.parameters) / copy, settled.macs / multiply_adds)


def floor_seconds(settled: ConvPlan, itemsize: int, threads: int) -> float:
    """Return the floor of a case; see the top of this module.

    Parameters
    ----------
    settled : ConvPlan
    itemsize : int
        Bytes of a pixel's channel, in the images and in the results.
    threads : int
    """
    size = bytes_moved(settled, itemsize)
    seconds = size / copy_bandwidth(size, threads)
    if settled.per_channel:
        return seconds
    weights = 4 * settled.parameters
    seconds = (size + weights) / copy_bandwidth(size, threads)
    return max(seconds, 2 * settled.macs / multiply_peak(threads))
