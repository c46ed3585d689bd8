"""How the work is cut, and where rows and columns are found."""

from functools import cache
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from convtool.geometry import Axis, Border

# Items for each thread: more even the load out, fewer repeat less of the rows at their edges.
ITEMS = 4


def address_of(array: NDArray[Any]) -> int:
    """Return where an array's memory begins; ``array.ctypes.data`` takes three times as long."""
    if array.dtype.names:  # whose interface describes every field
        return int(array.ctypes.data)
    address: int = array.__array_interface__["data"][0]
    return address


def again(record: NDArray[Any]) -> NDArray[Any]:
    """Copy a record as the bytes that it is, in a fifth of the time that field by field takes."""
    return record.view(np.uint8).copy().view(record.dtype)


def pixel_numbers(array: NDArray[Any]) -> int | None:
    """Return how many numbers lie from one pixel of an (N, H, W, C) array to the next.

    Returns
    -------
    int or None
        C where they lie side by side. 4 for RGB of 8 bits in 4 bytes a pixel, of which the last
        says nothing, as Pillow keeps it. None where they lie in no way that machine code reads.
    """
    if array.flags.c_contiguous:
        return array.shape[3]
    _, h, w, c = array.shape
    # The stride of an axis of one is of no consequence.
    steps = zip(array.shape, array.strides, (4 * h * w, 4 * w, 4, 1), strict=True)
    padded = all(size == 1 or stride == step for size, stride, step in steps)
    if not padded or c != 3 or array.dtype != np.uint8 or not array.size:
        return None
    # The byte behind the last pixel is read as well: the memory must hold it.
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    return 4 if byte_bounds(whole)[1] > byte_bounds(array)[1] else None


# How pixels lie: see `Kind`.
CLOSE, PADDED, APART = range(3)


class Kind(NamedTuple):
    """How the pixels of an array lie in memory.

    Parameters
    ----------
    dtype : str
    pixel_bytes : int
        From one to the next.
    layout : int
        `CLOSE`, `PADDED` for RGB in 4 bytes, or `APART` for results with others between them.
    """

    dtype: str
    pixel_bytes: int
    layout: int


def kind_of(array: NDArray[Any]) -> Kind:
    """Say how the pixels of an (N, H, W, C) array lie."""
    numbers = pixel_numbers(array)
    assert numbers is not None, f"pixels with strides {array.strides} are not read as they are"
    size = numbers * array.itemsize
    return Kind(_name(array.dtype), size, PADDED if numbers > array.shape[3] else CLOSE)


def kind_of_result(array: NDArray[Any]) -> Kind:
    """Say how the pixels of an (N, H, W, C) array lie that is written: in any regular way."""
    if pixel_numbers(array) is not None:
        return kind_of(array)
    assert array.shape[3] == 1 or array.strides[3] == array.itemsize, "channels lie apart"
    step, size = array.strides[2], array.shape[3] * array.itemsize
    return Kind(_name(array.dtype), step, CLOSE if step == size else APART)


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return str(dtype.name)  # which is put together anew each time


def row_step(axis: Axis) -> tuple[int, int, int]:
    """Return how the rows of the output are visited.

    Output row i reads rows i·s + a·d. Of the rows that lie n = d / gcd(s, d) apart, the m-th reads
    rows d·(m·s / gcd(s, d) + a) beyond the first: a dilation no more.

    Returns
    -------
    residues : int
        n: every so many rows are visited together.
    step : int
        How many lines lie between the windows of the m-th row and the next.
    passed_over : int
        How many rows between two windows are in neither.
    """
    common = gcd(axis.s, axis.d)
    step = axis.s // common if axis.o > 1 else 1
    return axis.d // common, min(step, axis.k), max(step - axis.k, 0)


def tap_offsets(axis: Axis, phases: int, phase_length: int, channels: int) -> NDArray[np.int64]:
    """Return where in a line each column of the kernel reads its first pixel, in floats."""
    columns = np.arange(axis.k, dtype=np.int64) * axis.d
    return columns % phases * phase_length + columns // phases * channels


def sources(axis: Axis, border: Border) -> NDArray[np.int64]:
    """Say for every line of the padded image which line of the image stands there.

    Returns
    -------
    ndarray (before + i + after,), int64
        -1 where the border is a constant. numpy.pad itself lays the numbers out, so that every
        border means what it means there.
    """
    lines = np.arange(axis.i)
    if border.is_fill or not (axis.before or axis.after):
        padded = np.full(axis.before + axis.i + axis.after, -1)
        padded[axis.before : axis.before + axis.i] = lines
        return padded
    return np.pad(lines, (axis.before, axis.after), mode=border.mode.value)  # type: ignore[call-overload]


def whole_tiles(rows: int, tile_rows: int) -> int:
    """Round up to whole tiles."""
    return -(-rows // tile_rows) * tile_rows


def whole_lines(size: int) -> int:
    """Round up to whole cache lines, of bytes or of floats."""
    return -(-size // 64) * 64


def cut(
    j: Any, images: int, columns: tuple[int, int], strips: int, tile_rows: int, threads: int
) -> None:
    """Cut the output into even strips, and into bands enough for the threads."""
    wide = columns[1] - columns[0]
    j["columns_start"], j["columns_stop"] = columns
    j["strips"], j["strip_columns"] = strips, -(-wide // strips)
    high = -(-int(j["out_rows"]) // int(j["residues"]))
    wanted = -(-threads * ITEMS // (images * int(j["residues"]) * strips)) if threads > 1 else 1
    band = max(-(-high // wanted), min(high, max(2 * tile_rows, int(j["kernel_rows"]))))
    band = whole_tiles(band, tile_rows)
    j["bands"], j["band_rows"] = -(-high // band), band
