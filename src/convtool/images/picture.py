"""What a picture is on its way through the program: a header, pixels, and what is carried along."""

from typing import TYPE_CHECKING, Any, NamedTuple

from convtool.terms import MAX_PIXELS, Depth

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["MAX_PIXELS", "Header", "JpegCoding", "Metadata", "Picture", "depth_of", "full_scale"]

_FULL_SCALE = {Depth.EIGHT: 255.0, Depth.SIXTEEN: 65535.0, Depth.FLOAT: 1.0}


class JpegCoding(NamedTuple):
    """How a JPEG file stores its colours, so that another can do the same.

    Parameters
    ----------
    channels : int
        1 (grey) or 3.
    tables : tuple of tuple of int
        The quantization table of each channel, 64 numbers by rows; the last one is that of the
        channels that are left.
    subsampling : int
        Of the colour: 0 for none (4:4:4), 1 for half as many columns (4:2:2), 2 for half as many
        rows, too (4:2:0).
    """

    channels: int
    tables: tuple[tuple[int, ...], ...]
    subsampling: int


class Metadata(NamedTuple):
    """What travels from the input to the output beside the pixels.

    Parameters
    ----------
    format : str
        The input's kind: ``"PNG"``, ``"JPEG"``, ``"TIFF"``, ``"PNM"``, ``"NPY"``, …
    icc : bytes, optional
        The colour profile of the pixels as they are now.
    exif : bytes, optional
        A TIFF structure, without the ``Exif\\0\\0`` that JPEG puts before it. Its orientation is 1
        where another one was applied to the pixels, else the bytes are the file's own.
    dpi : (float, float), optional
        Resolution across and down, in pixels an inch.
    durations : tuple of int
        Milliseconds for each frame; empty when the frames are not timed.
    loop : int, optional
        How often an animation is repeated: 0 for ever, None when the file does not say.
    jpeg : JpegCoding, optional
        How the input is coded, if it is a JPEG of 1 or 3 channels.
    """

    format: str
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    durations: tuple[int, ...] = ()
    loop: int | None = None
    jpeg: JpegCoding | None = None


class Header(NamedTuple):
    """What a file's header says, after orientation and conversion to grey, RGB and alpha.

    Parameters
    ----------
    shape : tuple of int
        (N, H, W, C), alpha counted.
    alpha : bool
        Whether the last channel is alpha.
    depth : Depth
        How the input stores a channel.
    format : str
        The input's kind, as in `Metadata`.
    """

    shape: tuple[int, int, int, int]
    alpha: bool
    depth: Depth
    format: str


class Picture(NamedTuple):
    """A file read whole.

    Parameters
    ----------
    header : Header
        The same as `probe` returns for the file.
    pixels : ndarray
        (N, H, W, C) of uint8, uint16 or float32; from a ``.npy`` file any real type, as stored.
    metadata : Metadata
        What the output should carry.
    notes : tuple of str
        What was changed while reading, a sentence each.
    """

    header: Header
    pixels: "NDArray[Any]"
    metadata: Metadata
    notes: tuple[str, ...] = ()


def full_scale(kind: "Depth | DTypeLike") -> float:
    """Return the value that stands for white.

    Examples
    --------
    >>> import numpy as np
    >>> full_scale(Depth.SIXTEEN), full_scale(np.uint8), full_scale(np.float64)
    (65535.0, 255.0, 1.0)
    """
    return _FULL_SCALE[kind if isinstance(kind, Depth) else depth_of(kind)]


def depth_of(dtype: "DTypeLike") -> Depth:
    """Return the depth that arrays of `dtype` count as; of integers only uint16 is 16-bit."""
    import numpy as np

    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return Depth.FLOAT
    return Depth.SIXTEEN if dtype.kind == "u" and dtype.itemsize == 2 else Depth.EIGHT
