"""``.npy`` files ⇄ NHWC batches, without pickles and without trusting the header."""

import io
import math
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from convtool.errors import ImageError
from convtool.images.picture import Header, Metadata, Picture, depth_of

_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def probe(fp: BinaryIO) -> Header:
    """Return what the header says, checked against the size of the file."""
    return _open(fp)[0]


def read(fp: BinaryIO) -> Picture:
    """Read the whole array, of the type that is stored, in this machine's byte order."""
    header, order, dtype = _open(fp)
    flat = np.frombuffer(fp.read(math.prod(header.shape) * dtype.itemsize), dtype)
    pixels = np.ascontiguousarray(flat.reshape(header.shape, order=order))
    return Picture(header, pixels.astype(dtype.newbyteorder("="), copy=False), Metadata("NPY"))


def encode(pixels: NDArray[Any]) -> bytes:
    """Return a ``.npy`` file of float32."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(pixels, np.float32), allow_pickle=False)
    return buffer.getvalue()


def _open(fp: BinaryIO) -> tuple[Header, Any, np.dtype[Any]]:
    """Return the header, the storage order and the type, and stand at the first value."""
    version = npy_format.read_magic(fp)
    if version not in _READERS:
        raise ImageError(
            f".npy files of version 1.0 and 2.0 are read, but this is {version[0]}.{version[1]}",
            "save a plain array of numbers with numpy.save",
        )
    shape, fortran, dtype = _READERS[version](fp)
    if dtype.hasobject:
        raise ImageError(
            "the array must hold numbers, but it holds pickled Python objects, which are never "
            "loaded: they can run code",
            "save it with numpy.save(path, array.astype(float))",
        )
    if dtype.kind not in "biuf":
        what = "complex numbers" if dtype.kind == "c" else f"values of type {dtype}"
        raise ImageError(
            f"the array must hold real numbers, but it holds {what}",
            "save its magnitude, numpy.abs(array)" if dtype.kind == "c" else "",
        )
    if not 2 <= len(shape) <= 4:
        raise ImageError(
            f"the array must have 2 axes (HW), 3 (HWC) or 4 (NHWC), but it has {len(shape)}: "
            f"{'x'.join(map(str, shape)) or 'a single number'}",
            "reshape it before it is saved",
        )
    if min(shape) < 0:
        raise ImageError(f"the header is damaged: it claims the shape {shape}")
    here = fp.tell()
    there = fp.seek(0, io.SEEK_END) - here
    fp.seek(here)
    claimed = math.prod(shape) * dtype.itemsize
    if there < claimed:
        raise ImageError(
            f"the file is truncated: its header claims {claimed} bytes of values "
            f"({'x'.join(map(str, shape))} {dtype.name}), but {there} are there"
        )
    n, h, w, c = {2: (1, *shape, 1), 3: (1, *shape), 4: shape}[len(shape)]
    header = Header((n, h, w, c), alpha=False, depth=depth_of(dtype), format="NPY")
    # Reshaping in the order of storage fits the axes added at either end, of length 1.
    return header, "F" if fortran else "C", dtype
