"""Files that Pillow would cut down to 8 bits, read whole by libvips (the extra ``deep``)."""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from convtool.errors import ImageError
from convtool.images import exif
from convtool.images.picture import Header
from convtool.terms import Depth

INSTALL = "pip install 'convtool[deep]'"

_DTYPES = {Depth.EIGHT: np.uint8, Depth.SIXTEEN: np.uint16, Depth.FLOAT: np.float32}


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
    try:
        import pyvips
    except (ImportError, OSError):  # OSError: pyvips is there, but no libvips
        kind = "float" if header.depth is Depth.FLOAT else f"{header.depth}-bit"
        raise ImageError(
            f"a {kind} {header.format} of {header.shape[-1]} channels is read by pyvips, which is "
            "not installed; Pillow alone would cut it down to 8 bits or cannot read it",
            INSTALL,
        ) from None
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
