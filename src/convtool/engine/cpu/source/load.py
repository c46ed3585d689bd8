"""Rows of pixels as lines: in float32, with their border, split by phase of the column stride."""

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

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
from convtool.engine.cpu.source.simd import Emitter

job_at = record_at(JOB)


def contiguous(dtype: str, lanes: int) -> Any:
    """Return the emitted conversion of `count` pixels' numbers that lie side by side."""

    @intrinsic
    def convert(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            source, line, count = cgutils.unpack_tuple(builder, args[0])
            for width in (lanes, 1):
                e = Emitter(builder, width)
                start = e.number(0)
                if width == 1:  # what is left after whole vectors
                    start = builder.and_(count, e.number(-lanes))
                pixels = e.at(e.pixels(source, dtype), start)
                target = e.at(e.floats(line), start)
                with e.loop(builder.and_(builder.sub(count, start), e.number(-width)), width) as j:
                    e.store(e.widen(pixels, j), target, j)
            return context.get_dummy_value()

        return types.void(types.StarArgTuple((ADDRESS, ADDRESS, COUNT))), codegen

    return convert


def unpadded(lanes: int) -> Any:
    """Return the emitted conversion of `count` RGB pixels of 4 bytes, the last of which is void."""

    @intrinsic
    def convert(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            source, line, count = cgutils.unpack_tuple(builder, args[0])
            for width in (lanes, 4):
                e = Emitter(builder, width)
                each = width // 4  # pixels in a vector
                start = e.number(0)
                if width == 4:  # what is left after whole vectors
                    start = builder.and_(count, e.number(-(lanes // 4)))
                pixels = e.at(e.pixels(source, "uint8"), e.times(start, 4))
                target = e.at(e.floats(line), e.times(start, 3))
                kept = [4 * p + c for p in range(each) for c in range(3)]
                with e.loop(builder.and_(builder.sub(count, start), e.number(-each)), each) as p:
                    value = e.pick([e.widen(pixels, e.times(p, 4))], kept)
                    e.store_some(value, target, e.times(p, 3))
            return context.get_dummy_value()

        return types.void(types.StarArgTuple((ADDRESS, ADDRESS, COUNT))), codegen

    return convert


def every(dtype: str, apart: int) -> Any:
    """Return the conversion of `count` pixels, every `step`-th; see `unit` for `apart`."""
    pixels = at(types.float32 if dtype == "float32" else getattr(types, dtype))

    @njit(**PART)
    def convert(source_address, line_address, step, count, channels):
        source, line = pixels(source_address), floats(line_address)
        if apart:
            for m in range(count):
                for c in range(3):
                    line[m * 3 + c] = source[m * step * apart + c]
        elif step == 2 and channels == 1:  # LLVM vectorises where it knows the numbers
            for m in range(count):
                line[m] = source[m * 2]
        elif step == 2 and channels == 3:
            for m in range(count):
                for c in range(3):
                    line[m * 3 + c] = source[m * 6 + c]
        else:
            for m in range(count):
                for c in range(channels):
                    line[m * channels + c] = source[m * step * channels + c]

    return convert


def unit(dtype: str, split: int, lanes: int, padded: int) -> tuple[Any, Any]:
    """Return the unit (job, row, first column, columns, line) for pixels of `dtype`.

    The row's address is 0 where the border is a constant.

    Parameters
    ----------
    dtype : str
    split : int
        0 where lines have one phase.
    lanes : int
        Float32 in a vector.
    padded : int
        1 where pixels are RGB in 4 bytes.
    """
    apart = 4 if padded else 0
    pixels = at(types.float32 if dtype == "float32" else getattr(types, dtype))
    item_bytes = np.dtype(dtype).itemsize
    whole = unpadded(lanes) if padded else contiguous(dtype, lanes)
    strided = every(dtype, apart)

    def load(address, row, first_column, columns, line_address):
        job = job_at(address)
        phases, channels, width, before = job.phases, job.channels, job.width, job.before
        numbers_apart = apart if padded else channels
        sources, source, fill = numbers(job.columns), pixels(row), job.fill
        places = (columns - 1) * job.column_stride // phases + job.reach + 1
        for phase in range(phases):
            line = floats(line_address)
            base = first_column * job.column_stride + phase
            # Places start … stop - 1 lie in the image.
            start, stop = 0, 0
            if row != 0:
                start = -((base - before) // phases)
                stop = (before + width - base + phases - 1) // phases
                start = 0 if start < 0 else places if start > places else start
                stop = start if stop < start else places if stop > places else stop
                pixel = (base + start * phases - before) * numbers_apart
                place = line_address + np.uintp(start * channels * 4)
                count = stop - start
                if split:
                    strided(row + np.uintp(pixel * item_bytes), place, phases, count, channels)
                else:
                    whole(
                        row + np.uintp(pixel * item_bytes),
                        place,
                        count if padded else count * channels,
                    )
            here = 0
            while here < places:
                if here == start:
                    here = stop
                column = base + here * phases
                if here >= places or column >= job.padded_width:
                    break
                pixel = np.int64(-1)
                if row != 0:
                    pixel = sources[column]
                for c in range(channels):
                    value = fill
                    if pixel >= 0:
                        value = np.float32(source[pixel * numbers_apart + c])
                    line[here * channels + c] = value
                here += 1
            line_address += np.uintp(job.phase_length * 4)

    return types.void(ADDRESS, ADDRESS, COUNT, COUNT, ADDRESS), load
