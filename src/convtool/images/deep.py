"""Files of more than 8 bits that Pillow would cut down, left to libvips (the extra ``deep``)."""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from convtool.errors import ImageError
from convtool.images import exif
from convtool.images.picture import Header, depth_of
from convtool.terms import Depth

CLASSIC_TIFF = 2**32 - 2**24  # bytes of pixels; what is larger needs offsets of 64 bits
INSTALL = "pip install 'pyvips[binary]'"

_DTYPES = {Depth.EIGHT: np.uint8, Depth.SIXTEEN: np.uint16, Depth.FLOAT: np.float32}
_FAST = 2  # zlib's level
_INCH = 25.4  # libvips counts pixels a millimetre


def require(doing: str, name: str, channels: int, depth: Depth) -> Any:
    """Return pyvips, or raise an ImageError that says what it is needed for.

    Parameters
    ----------
    doing : str
        ``"read"`` or ``"written"``.
    name : str
        The format.
    channels : int
        Channels of a pixel, alpha counted.
    depth : Depth
        How a channel is stored.
    """
    try:
        import pyvips
    except (ImportError, OSError):  # OSError: pyvips is there, but no libvips
        kind = "float" if depth is Depth.FLOAT else f"{depth}-bit"
        hint = INSTALL
        if doing == "written":
            # Not --depth 8: what is to be written in 16 bits is mostly read in 16 bits, too.
            hint += ", or write a .npy file" if depth is Depth.FLOAT else ""
        raise ImageError(
            f"a {kind} {name} of {channels} channels is {doing} by pyvips, which is not "
            "installed; Pillow alone would cut it down to 8 bits or cannot handle it",
            hint,
        ) from None
    return pyvips


def read(fp: BinaryIO, header: Header, indices: Sequence[int], turn: int) -> NDArray[Any]:
    """Return the pictures `indices` of a PNG or TIFF file the right way up.

    Parameters
    ----------
    fp : file
        Open for reading, anywhere.
    header : Header
        What was found out about the file; the pixels are checked against it.
    indices : sequence of int
        Which pages.
    turn : int
        The EXIF orientation to undo.

    Returns
    -------
    ndarray
        (N, H, W, C) of the header's shape and depth.

    Raises
    ------
    ImageError
        When pyvips is not installed.
    """
    pyvips = require("read", header.format, header.shape[-1], header.depth)
    load: Callable[..., Any] = {
        "PNG": pyvips.Image.pngload_buffer,
        "TIFF": pyvips.Image.tiffload_buffer,
    }[header.format]
    fp.seek(0)
    data = fp.read()
    _, height, width, channels = header.shape
    pixels = np.empty(header.shape, _DTYPES[header.depth])
    for n, index in enumerate(indices):
        options = {"page": index} if header.format == "TIFF" else {}
        image = load(data, access="sequential", fail_on="truncated", **options)
        if image.interpretation == "cmyk":
            image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=16)
        frame = image.numpy().reshape(image.height, image.width, image.bands)
        frame = exif.turned(frame, turn)[..., :channels]
        if frame.shape != (height, width, channels):
            raise ImageError(f"libvips finds {frame.shape} where the tags say {header.shape[1:]}")
        pixels[n] = frame
    return pixels


def write(
    pixels: NDArray[Any],
    name: str,
    *,
    icc: bytes | None,
    block: bytes | None,
    dpi: tuple[float, float] | None,
    compress_level: int | None = None,
) -> bytes:
    """Return a PNG file of one picture, or a TIFF file of one page a picture.

    Parameters
    ----------
    pixels : ndarray
        (N, H, W, C) of uint16 or float32, contiguous, in this machine's byte order.
    name : str
        ``"PNG"`` or ``"TIFF"``.
    icc, block, dpi : optional
        Colour profile, EXIF (which libvips writes into PNG alone) and pixels an inch. Without a
        resolution libvips writes its own, 25.4 pixels an inch.
    compress_level : int, optional
        0 (none) to 9 (smallest, slowest), for PNG. By default 2, which is up to four times as fast
        as 6 and makes files that are up to a fifth larger; 1 makes them up to twice as large.

    Raises
    ------
    ImageError
        When pyvips is not installed.
    """
    frames, height, width, channels = pixels.shape
    depth = depth_of(pixels.dtype)
    pyvips = require("written", name, channels, depth)
    whole = depth is Depth.SIXTEEN
    image = pyvips.Image.new_from_memory(
        pixels.tobytes(), width, frames * height, channels, "ushort" if whole else "float"
    )
    grey, colour = ("grey16", "rgb16") if whole else ("b-w", "scrgb")
    options = {"xres": dpi[0] / _INCH, "yres": dpi[1] / _INCH} if dpi else {}
    image = image.copy(interpretation=grey if channels <= 2 else colour, **options)
    if icc:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    if name == "PNG":
        if block:
            image.set_type(pyvips.GValue.blob_type, "exif-data", exif.for_jpeg(block))
        # Left to itself, libvips makes up an EXIF block where there is none.
        keep = "exif,icc" if block else "icc"
        level = _FAST if compress_level is None else compress_level
        png: bytes = image.pngsave_buffer(bitdepth=16, filter="up", keep=keep, compression=level)
        return png
    if frames > 1:
        image.set_type(pyvips.GValue.gint_type, "page-height", height)
    predictor = "horizontal" if whole else "float"
    big = pixels.nbytes > CLASSIC_TIFF
    tiff: bytes = image.tiffsave_buffer(compression="deflate", predictor=predictor, bigtiff=big)
    return tiff
