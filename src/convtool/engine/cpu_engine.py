"""The Numba engine: direct convolution on all cores.

The output rows are dealt out to the cores in bands. A band keeps the few input rows that its
windows touch as *lines*: converted to float32, with their border, and arranged so that one tap
reads a line from left to right whatever the stride. So there is no float copy and no padded copy
of the image, 8-bit and 16-bit pixels are converted as they are read, and the innermost loop,
``sums[j] += w * line[j]``, is the same for every kernel size, stride and dilation. A result does
not depend on the number of bands.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import Any

import numba
import numpy as np
from numba import njit, prange, uintp
from numpy.typing import NDArray

from convtool.geometry import Axis, Border, ConvPlan

# Sums are kept for so many numbers at a time: with a line beside them they stay in the L1 cache.
BLOCK = 2048

# Bands a core: more even the load out, fewer repeat less of the rows at their edges.
BANDS = 4

# Types that are read as they are; Numba compiles once for each.
NATIVE = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))

# What a slot holds before it holds a row.
NOTHING = 2**62

# Seconds after which a compilation is announced; loading compiled code takes less.
PATIENCE = 1.5

logger = logging.getLogger("convtool")

# Numba's default threading layer must not be entered by two Python threads at once.
_one_at_a_time = Lock()


def compiled(function: Any) -> Any:
    """Compile with Numba, in parallel, keeping the machine code on disk where that is possible."""
    # Contraction allows fused multiply-adds. No other liberty of fast-math: NaN and infinity
    # must come through, and results must not depend on how loops are split.
    options: Any = {"parallel": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(**options)(function)


# Called from the compiled loops; LLVM inlines it. (Numba's own inlining doubled compile time.)
helper = njit(error_model="numpy", fastmath={"contract"})


def convolve(
    images: NDArray[np.generic],
    weights: NDArray[np.float32],
    settled: ConvPlan,
    threads: int | None,
) -> NDArray[np.float32]:
    """Execute `settled`; see `convtool.engine.convolve`."""
    n, h, w, c = settled.input_shape
    x = np.ascontiguousarray(images if images.dtype in NATIVE else images.astype(np.float32))
    border = settled.spec.border
    out = np.empty(settled.output_shape, np.float32)
    columns = sources(settled.cols, border)
    geometry = np.array(
        # A stride beyond the padded width is any stride that leaves one window.
        [
            settled.rows.s,
            min(settled.cols.s, columns.size),
            settled.rows.d,
            settled.cols.d,
            settled.cols.before,
        ],
        np.uintp,
    )
    available = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    count = min(threads or available, available)
    bands = min(n * settled.rows.o, count * BANDS)
    arguments = (
        x.reshape(n, h, w * c),
        sources(settled.rows, border),
        columns,
        np.float32(border.value),
        geometry,
        weights,
    )
    loops = _per_channel if settled.per_channel else _grouped
    with _one_at_a_time, _announced(loops):
        before = numba.get_num_threads()
        numba.set_num_threads(count)
        try:
            if settled.per_channel:
                loops(*arguments, bands, out)
            else:
                loops(*arguments, settled.groups, bands, out)
        finally:
            numba.set_num_threads(before)
    return out


@contextmanager
def _announced(loops: Any) -> Iterator[None]:
    """Log that machine code is being made, where it is: it takes seconds, once for each type."""
    known = len(loops.overloads)

    def say() -> None:
        if len(loops.overloads) == known:
            logger.info("compiling for this machine: takes some seconds, and is kept for next time")

    timer = Timer(PATIENCE, say)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def sources(axis: Axis, border: Border) -> NDArray[np.int64]:
    """Say for every line of the padded image which line of the image stands there.

    Returns
    -------
    ndarray (before + i + after,), int64
        -1 where the border is a constant. numpy.pad itself lays the numbers out, so that every
        border means what it means there.
    """
    lines = np.arange(axis.i)
    if border.is_fill:
        return np.pad(lines, (axis.before, axis.after), constant_values=-1)
    return np.pad(lines, (axis.before, axis.after), mode=border.mode.value)  # type: ignore[call-overload]


# The innermost loops use unsigned indices throughout: signed ones carry Numba's test for
# counting from the end, which keeps LLVM from vectorising (5 to 10 times slower).


@helper
def _fill_line(row, columns, before, stride, channels, fill, line):  # type: ignore[no-untyped-def]
    """Convert one image row (W·C) with its border into `line` (stride, ⌈Wp/stride⌉·C).

    Pixel q of the padded row goes to ``line[q % stride, q // stride]``.
    """
    width = uintp(row.size // channels)
    padded = uintp(columns.size)
    if stride == uintp(1):
        inside = line[0, before * channels : (before + width) * channels]
        for j in range(uintp(row.size)):
            inside[j] = row[j]
    for q in range(padded):
        if stride == uintp(1) and q >= before and q < before + width:
            continue
        phase, place = q % stride, (q // stride) * channels
        source = columns[q]
        if source < 0:
            for c in range(channels):
                line[phase, place + c] = fill
        else:
            first = uintp(source) * channels
            for c in range(channels):
                line[phase, place + c] = row[first + c]


@helper
def _lines_for(x, n, top, rows, columns, fill, geometry, kh, channels, lines, held):  # type: ignore[no-untyped-def]
    """See to it that the rows under the window whose first row is `top` are held as lines."""
    slots = uintp(held.size)
    for a in range(uintp(kh)):
        r = top + a * geometry[2]
        slot = r % slots
        if held[slot] != r:
            held[slot] = r
            source = rows[r]
            if source < 0:
                for phase in range(lines.shape[1]):
                    for j in range(uintp(lines.shape[2])):
                        lines[slot, phase, j] = fill
            else:
                _fill_line(
                    x[n, source], columns, geometry[4], geometry[1], channels, fill, lines[slot]
                )


@compiled
def _per_channel(x, rows, columns, fill, geometry, weights, bands, out):  # type: ignore[no-untyped-def]
    """Filter every channel by itself.

    x (N, H, W·C); rows, columns: see `sources`; weights (F, kh, kw); out (N, OH, OW, C·F).
    """
    for band in prange(bands):
        _per_channel_band(x, rows, columns, fill, geometry, weights, band, bands, out)


@helper
def _per_channel_band(x, rows, columns, fill, geometry, weights, band, bands, out):  # type: ignore[no-untyped-def]
    """Compute the output rows of one band."""
    filters, kh, kw = weights.shape
    total = out.shape[0] * out.shape[1]
    channels = uintp(out.shape[3] // filters)
    span = uintp(out.shape[2]) * channels
    stride, dilation = geometry[1], geometry[3]
    slots = (kh - 1) * geometry[2] + 1
    longest = (uintp(columns.size) + stride - uintp(1)) // stride * channels
    lines = np.empty((slots, stride, longest), np.float32)
    held = np.full(slots, NOTHING, np.uintp)
    image = 0
    sums = np.empty(BLOCK, np.float32)
    for number in range(band * total // bands, (band + 1) * total // bands):
        n, i = number // out.shape[1], number % out.shape[1]
        if n != image:
            image = n
            for slot in range(slots):
                held[slot] = NOTHING
        top = uintp(i) * geometry[0]
        _lines_for(x, n, top, rows, columns, fill, geometry, kh, channels, lines, held)
        result = out[n, i].reshape(-1)
        for start in range(uintp(0), span, uintp(BLOCK)):
            length = min(uintp(BLOCK), span - start)
            for f in range(uintp(filters)):
                for j in range(length):
                    sums[j] = np.float32(0)
                for a in range(uintp(kh)):
                    slot = (top + a * geometry[2]) % uintp(slots)
                    for b in range(uintp(kw)):
                        q = b * dilation
                        first = (q // stride) * channels + start
                        line = lines[slot, q % stride, first : first + length]
                        tap = weights[f, a, b]
                        for j in range(length):
                            sums[j] += tap * line[j]
                if filters == 1:
                    for j in range(length):
                        result[start + j] = sums[j]
                else:
                    for j in range(length):
                        result[(start + j) * uintp(filters) + f] = sums[j]


@compiled
def _grouped(x, rows, columns, fill, geometry, weights, groups, bands, out):  # type: ignore[no-untyped-def]
    """Filter groups of channels with a kernel of rank 4.

    x (N, H, W·C); rows, columns: see `sources`; weights HWIO; out (N, OH, OW, O).
    The lines are split by channel here, so that a tap reads one channel from left to right.
    """
    for band in prange(bands):
        _grouped_band(x, rows, columns, fill, geometry, weights, groups, band, bands, out)


@helper
def _grouped_band(x, rows, columns, fill, geometry, weights, groups, band, bands, out):  # type: ignore[no-untyped-def]
    """Compute the output rows of one band."""
    kh, kw, inputs, filters = weights.shape
    total = out.shape[0] * out.shape[1]
    width = uintp(out.shape[2])
    channels = uintp(inputs * groups)
    stride, dilation = geometry[1], geometry[3]
    slots = (kh - 1) * geometry[2] + 1
    longest = (uintp(columns.size) + stride - uintp(1)) // stride
    lines = np.empty((slots, stride, longest * channels), np.float32)
    planes = np.empty((slots, stride, channels, longest), np.float32)
    held = np.full(slots, NOTHING, np.uintp)
    split = np.full(slots, NOTHING, np.uintp)
    image = 0
    sums = np.empty(BLOCK, np.float32)
    for number in range(band * total // bands, (band + 1) * total // bands):
        n, i = number // out.shape[1], number % out.shape[1]
        if n != image:
            image = n
            for slot in range(slots):
                held[slot] = split[slot] = NOTHING
        top = uintp(i) * geometry[0]
        _lines_for(x, n, top, rows, columns, fill, geometry, kh, channels, lines, held)
        for slot in range(slots):
            if split[slot] != held[slot]:
                split[slot] = held[slot]
                for phase in range(stride):
                    for c in range(channels):
                        plane = planes[slot, phase, c]
                        line = lines[slot, phase]
                        for j in range(longest):
                            plane[j] = line[j * channels + c]
        for start in range(uintp(0), width, uintp(BLOCK)):
            length = min(uintp(BLOCK), width - start)
            for o in range(uintp(filters)):
                group = o // uintp(filters // groups)
                for j in range(length):
                    sums[j] = np.float32(0)
                for a in range(uintp(kh)):
                    slot = (top + a * geometry[2]) % uintp(slots)
                    for b in range(uintp(kw)):
                        q = b * dilation
                        first = q // stride + start
                        for c in range(uintp(inputs)):
                            line = planes[
                                slot,
                                q % stride,
                                group * uintp(inputs) + c,
                                first : first + length,
                            ]
                            tap = weights[a, b, c, o]
                            for j in range(length):
                                sums[j] += tap * line[j]
                for j in range(length):
                    out[n, i, start + j, o] = sums[j]
