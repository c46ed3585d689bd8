"""Sums as pixels: bias, activation, several filters made one, range, rounding, saturation.

All of it happens to one row of sums while it is in the first cache.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.cutting import APART, PADDED
from convtool.engine.cpu.job import JOB, SUMMARY
from convtool.engine.cpu.source.memory import (
    ADDRESS,
    COUNT,
    PART,
    at,
    floats,
    record_at,
)
from convtool.engine.cpu.source.simd import Emitter

job_at = record_at(JOB)
summary_at = record_at(SUMMARY)
signed = at(types.int32)

NOTHING = np.float32(0)
ONE = np.float32(1)
HALF = np.float32(0.5)

# The bits of infinity; of numbers, those of what is larger are larger.
INFINITY = np.int32(0x7F800000)


def _activating(activation: int) -> Any:
    """Return the function that applies one activation; of the others nothing is compiled."""

    @njit(**PART)
    def activate(y, count):
        if activation == 1:  # relu; NaN stays NaN
            for j in range(count):
                y[j] = NOTHING if y[j] < NOTHING else y[j]
        elif activation == 2:
            for j in range(count):
                y[j] = abs(y[j])
        elif activation == 3:  # 1 / (1 + e^-y), written so that nothing overflows
            for j in range(count):
                y[j] = HALF + HALF * np.float32(math.tanh(HALF * y[j]))
        elif activation == 4:
            for j in range(count):
                y[j] = math.tanh(y[j])

    return activate


def _combining(how: int) -> Any:
    """Return the function that takes one more filter's responses into the total."""

    @njit(**PART)
    def combine(y, total, count, first):
        """NaN wins everywhere."""
        if how == 1:  # magnitude: the squares
            for j in range(count):
                total[j] = y[j] * y[j] + (NOTHING if first else total[j])
        elif first:
            for j in range(count):
                total[j] = y[j]
        elif how <= 3:  # sum, mean
            for j in range(count):
                total[j] += y[j]
        elif how == 4:  # max
            for j in range(count):
                total[j] = y[j] if y[j] > total[j] or y[j] != y[j] else total[j]
        else:  # absmax keeps the sign; of two as large, the positive one
            for j in range(count):
                a, b = abs(y[j]), abs(total[j])
                more = a > b or (a == b and y[j] > total[j]) or a != a
                total[j] = y[j] if more else total[j]

    return combine


@njit(**PART)
def _summarise(y, bits, count, summary):
    """Keep the least and greatest finite value; in whole numbers, which LLVM vectorises."""
    least, greatest = np.int32(2147483647), np.int32(-2147483648)
    for j in range(count):
        order = bits[j] ^ ((bits[j] >> np.int32(31)) & np.int32(0x7FFFFFFF))
        least = order if order < least else least
        greatest = order if order > greatest else greatest
    if greatest < INFINITY and least >= -INFINITY:
        for j in range(count):  # the values that these are, found at their place
            order = bits[j] ^ ((bits[j] >> np.int32(31)) & np.int32(0x7FFFFFFF))
            if order == least:
                if y[j] < summary.least:
                    summary.least = y[j]
                break
        for j in range(count):
            order = bits[j] ^ ((bits[j] >> np.int32(31)) & np.int32(0x7FFFFFFF))
            if order == greatest:
                if y[j] > summary.greatest:
                    summary.greatest = y[j]
                break
        return
    for j in range(count):
        if bits[j] & INFINITY == INFINITY:
            summary.others += 1
        else:
            if y[j] < summary.least:
                summary.least = y[j]
            if y[j] > summary.greatest:
                summary.greatest = y[j]


def _ranging(kind: int) -> Any:
    """Return the function that applies one range."""

    @njit(**PART)
    def ranged(y, count, job):
        if kind == 2:
            for j in range(count):
                y[j] = abs(y[j])
        elif kind == 3:
            middle = job.middle
            for j in range(count):
                y[j] = y[j] * HALF + middle
        if job.multiply != ONE:
            for j in range(count):
                y[j] = y[j] * job.multiply
        elif job.divide != ONE:
            for j in range(count):
                y[j] = y[j] / job.divide

    return ranged


@njit(**PART)
def _count_clipped(y, count, whole, job, summary):
    low, high = -job.slack, job.full + job.slack
    below = above = nan = np.int32(0)
    for j in range(count):
        v = np.rint(y[j]) if whole else y[j]
        below += np.int32(v < low)
        above += np.int32(v > high)
        nan += np.int32(v != v)
    summary.below += below
    summary.above += above
    summary.nan += nan


def contiguous(dtype: str, lanes: int) -> Any:
    """Return the emitted storing of `count` sums, rounded and limited where they become whole."""

    @intrinsic
    def put(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            source, place, count, full = cgutils.unpack_tuple(builder, args[0])
            for width in (lanes, 1):
                e = Emitter(builder, width)
                start = e.number(0)
                if width == 1:  # what is left after whole vectors
                    start = builder.and_(count, e.number(-lanes))
                values = e.at(e.floats(source), start)
                target = e.at(e.pixels(place, dtype), start)
                with e.loop(builder.and_(builder.sub(count, start), e.number(-width)), width) as j:
                    e.narrow(e.load(values, j), full, target, j)
            return context.get_dummy_value()

        kinds = (ADDRESS, ADDRESS, COUNT, types.float32)
        return types.void(types.StarArgTuple(kinds)), codegen

    return put


def padded_pixels(lanes: int) -> Any:
    """Return the emitted storing of `count` sums as RGB pixels of 4 bytes, the last of them 255."""

    @intrinsic
    def put(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            source, place, count, full = cgutils.unpack_tuple(builder, args[0])
            pixels = builder.sdiv(count, ir.Constant(count.type, 3))
            for width in (lanes, 4):
                e = Emitter(builder, width)
                each = width // 4  # pixels in a vector
                start = e.number(0)
                if width == 4:  # what is left after whole vectors
                    start = builder.and_(pixels, e.number(-(lanes // 4)))
                values = e.at(e.floats(source), e.times(start, 3))
                target = e.at(e.pixels(place, "uint8"), e.times(start, 4))
                # The lane behind the three of a pixel is taken from a vector of white.
                lane = [3 * p + c if c < 3 else 3 * each for p in range(each) for c in range(4)]
                with e.loop(builder.and_(builder.sub(pixels, start), e.number(-each)), each) as p:
                    value = e.load_some(values, e.times(p, 3), 3 * each)
                    value = e.pick([value, e.fill(full, 1)], lane)
                    e.narrow(value, full, target, e.times(p, 4))
            return context.get_dummy_value()

        kinds = (ADDRESS, ADDRESS, COUNT, types.float32)
        return types.void(types.StarArgTuple(kinds)), codegen

    return put


def _apart(dtype: str, lanes: int) -> Any:
    """Return the storing of pixels that lie apart, each of `depth` sums side by side.

    All are made results where they are, which is behind what is still to be read, and then
    brought to their places: with 8 bits, pixel by pixel from the start took 1.1 to 1.8 times as
    long.
    """
    copy = contiguous(dtype, lanes)
    numbers, size = at(getattr(types, dtype)), np.dtype(dtype).itemsize

    @njit(**PART)
    def put(sums, place, columns, depth, apart, full):
        copy(sums, sums, columns * depth, full)
        source, target = numbers(sums), numbers(place)
        step = apart // size
        if depth == 1:
            for x in range(columns):
                target[x * step] = source[x]
        elif depth == 3:
            for x in range(columns):
                for c in range(3):
                    target[x * step + c] = source[x * 3 + c]
        else:
            for x in range(columns):
                for c in range(depth):
                    target[x * step + c] = source[x * depth + c]

    return put


def unit(
    dtype: str,
    plain: int,
    lanes: int,
    layout: int,
    activation: int,
    combine: int,
    limits: int,
    several: int,
    summarise: int,
) -> tuple[Any, Any]:
    """Return the unit (job, item, sums, place, columns, scratch) for results of `dtype`.

    Parameters
    ----------
    dtype : str
    plain : int
        1 where nothing becomes of the sums but rounding and saturation; what follows is then 0.
    lanes : int
        Float32 in a vector.
    layout : int
        How pixels lie: see `cutting.Kind`.
    activation, combine, limits : int
        Places in the enumerations of activations, of ways to combine, and of ranges.
    several, summarise : int
        1 for more than one filter, and where the responses are summed up.
    """
    copy = padded_pixels(lanes) if layout == PADDED else contiguous(dtype, lanes)
    put_apart = _apart(dtype, lanes)
    signature = types.void(ADDRESS, COUNT, ADDRESS, ADDRESS, COUNT, ADDRESS)

    def simply(address, item, sums, place, columns, scratch):
        job = job_at(address)
        if layout == APART:
            put_apart(sums, place, columns, job.depth, job.out_pixel_bytes, job.full)
        else:
            copy(sums, place, columns * job.depth, job.full)

    if plain:
        return signature, simply
    activate, take, ranged = _activating(activation), _combining(combine), _ranging(limits)
    whole, each = dtype != "float32", combine == 0

    def store(address, item, sums, place, columns, scratch):
        job = job_at(address)
        depth = job.depth
        filters = job.filters if several else 1
        count = columns * depth
        y = floats(scratch)
        behind = scratch + np.uintp(count * 4) if several else scratch
        total, bits = floats(behind), signed(behind)
        for f in range(filters):
            response = floats(sums + np.uintp(f * job.tile_rows * job.pitch * 4))
            if job.depth_pitch == depth:
                for j in range(count):
                    y[j] = response[j]
            else:
                for x in range(columns):
                    for o in range(depth):
                        y[x * depth + o] = response[x * job.depth_pitch + o]
            if job.bias != 0:
                bias = floats(job.bias)
                if job.depth_biases:
                    for x in range(columns):
                        for o in range(depth):
                            y[x * depth + o] += bias[o * filters + f]
                else:
                    for j in range(count):
                        y[j] += bias[f]
            if activation:
                activate(y, count)
            if several:
                if each:
                    for j in range(count):
                        total[j * filters + f] = y[j]
                else:
                    take(y, total, count, f == 0)
        if each:
            count *= filters
        elif combine == 1:
            for j in range(count):
                total[j] = math.sqrt(total[j]) if several else abs(total[j])
        elif combine == 3:
            for j in range(count):
                total[j] = total[j] / np.float32(filters)
        if summarise:
            summary = summary_at(job.summaries + np.uintp(item * SIZE))
            _summarise(total, bits, count, summary)
        if limits:
            ranged(total, count, job)
            if summarise:
                summary = summary_at(job.summaries + np.uintp(item * SIZE))
                _count_clipped(total, count, whole, job, summary)
            if not whole:
                _limit(total, count, job.full)
        if layout == APART:
            put_apart(behind, place, columns, count // columns, job.out_pixel_bytes, job.full)
        else:
            copy(behind, place, count, job.full)

    return signature, store


@njit(**PART)
def _limit(y, count, full):
    for j in range(count):
        v = y[j] if y[j] > NOTHING else NOTHING  # NaN is not above 0, and becomes 0
        y[j] = v if v < full else full


SIZE = SUMMARY.itemsize
