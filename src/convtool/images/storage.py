"""Pillow's own memory of a picture as a NumPy array, and back, without a copy.

Pillow hands out its storage through the Arrow C data interface: `__arrow_c_array__` gives a capsule
that keeps the memory alive, and in it stands the address. It works for pictures that lie in one
block, which `guard.settings` sees to.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convtool.images.guard import settings


class _Layout(NamedTuple):
    """How a mode is stored: NumPy's name of a sample, bytes a pixel, and which samples count.

    Between the samples that count may be others: Pillow keeps RGB as R G B X, grey with alpha as
    L X X A.
    """

    sample: str
    pixel: int
    channels: slice


_LAYOUTS = {
    "L": _Layout("|u1", 1, slice(1)),
    "LA": _Layout("|u1", 4, slice(0, 4, 3)),
    "RGB": _Layout("|u1", 4, slice(3)),
    "RGBA": _Layout("|u1", 4, slice(4)),
    "I;16": _Layout("<u2", 2, slice(1)),
    "I": _Layout(np.dtype(np.int32).str, 4, slice(1)),
    "F": _Layout(np.dtype(np.float32).str, 4, slice(1)),
}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class _ArrowArray(ctypes.Structure):
    """`struct ArrowArray` of the Arrow C data interface, as far as it is read."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
]

_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class _Storage:
    """The memory of a picture, which NumPy's views of it keep alive through their `base`."""

    __slots__ = ("__array_interface__", "_capsule", "image")

    def __init__(self, image: Image.Image, layout: _Layout) -> None:
        self.image = image
        _, self._capsule = image.__arrow_c_array__()
        samples = layout.pixel // np.dtype(layout.sample).itemsize
        self.__array_interface__ = {
            "version": 3,
            "shape": (image.height, image.width, samples),
            "typestr": layout.sample,
            "data": (_address(self._capsule), False),
        }


def view(image: Image.Image) -> NDArray[Any] | None:
    """Return the pixels of a loaded picture as they lie in Pillow's memory.

    Parameters
    ----------
    image : Image
        Of any mode. What is written into the view is written into it.

    Returns
    -------
    ndarray or None
        (H, W, C); for RGB of strides (4 W, 4, 1) bytes, for grey with alpha (4 W, 4, 3). None
        where there is no such view, and ``numpy.asarray`` has to copy: of other modes, and when
        the picture is mapped from a file or lies in several blocks.
    """
    layout = _LAYOUTS.get(image.mode)
    # Rows that are aligned do not follow each other.
    alignment = Image.core.get_alignment()  # type: ignore[attr-defined]
    # What is read-only may be mapped from a file, and have no block of its own.
    if layout is None or image.readonly or 0 in image.size or alignment != 1:
        return None
    try:
        storage = _Storage(image, layout)
    except ValueError:  # several blocks
        return None
    return np.asarray(storage)[..., layout.channels]


def canvas(height: int, width: int, channels: int) -> NDArray[np.uint8] | None:
    """Return a black picture to compute into, which `encode` writes without a copy.

    Parameters
    ----------
    height, width : int
        Its size in pixels.
    channels : int
        1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).

    Returns
    -------
    ndarray or None
        (1, H, W, C) of uint8, a view of Pillow's memory; the bytes between its pixels, if any, may
        be overwritten. None where there is none: of other channels, or when the picture is empty
        or too large for one block.
    """
    if channels not in _MODES or 0 in (height, width):
        return None
    with settings:
        # Without a colour the memory comes as zeros from the system, and is not written to here.
        image = Image.new(_MODES[channels], (width, height), None)
    pixels = view(image)
    return None if pixels is None else pixels[None]


@contextmanager
def recycling(blocks: int) -> Iterator[None]:
    """Keep the memory of pictures that are done with for those that come next, in this block.

    Fresh memory has to be made by the system page by page, which takes a fifth of the time in
    which a large JPEG is decoded.

    Parameters
    ----------
    blocks : int
        How many at most lie unused: about as many as are in work at a time.
    """
    core = Image.core  # type: ignore[attr-defined]
    with settings:  # blocks are large all the while, or would be cut down when they are put aside
        before = core.get_blocks_max()
        core.set_blocks_max(blocks)
        try:
            yield
        finally:
            core.set_blocks_max(before)


def picture_of(frame: NDArray[Any]) -> Image.Image | None:
    """Return the picture whose memory `frame` shows, whole and unturned, else None.

    Parameters
    ----------
    frame : ndarray
        (H, W, C).

    Returns
    -------
    Image or None
        A new one, on the same memory, that carries nothing but pixels.
    """
    storage: Any = frame
    while isinstance(storage, np.ndarray):
        storage = storage.base
    if not isinstance(storage, _Storage):
        return None
    image, whole = storage.image, np.asarray(storage)[..., _LAYOUTS[storage.image.mode].channels]
    if frame.__array_interface__ != whole.__array_interface__:
        return None
    return Image.fromarrow(image, image.mode, image.size)


def _address(capsule: object) -> int:
    """Return where the samples begin."""
    array = _ArrowArray.from_address(_pointer_in(capsule, b"arrow_array"))
    if array.n_children:  # a pixel of several samples is an Arrow list of four
        array = array.children[0].contents
    return int(array.buffers[1])
