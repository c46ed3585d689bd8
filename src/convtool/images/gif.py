"""GIF frames put together one by one.

Pillow's own writer merges equal neighbours and crops to what changed, so that a batch of N frames
would come back with fewer. Here each frame stays a frame, with a palette of its own.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import getdata

_CLEAR = 255  # the palette's place for what is transparent
_RESTORE, _KEEP = 2, 1


def encode(pixels: NDArray[np.uint8], durations: tuple[int, ...], loop: int | None) -> bytes:
    """Return a GIF file of (N, H, W, C) pixels.

    Frames of at most 256 colours (255 beside transparency) are stored exactly, others with the
    256 that fit best. Alpha below half becomes fully transparent, the rest opaque.

    Parameters
    ----------
    pixels : ndarray
        (N, H, W, C) of uint8, C from 1 to 4.
    durations : tuple of int
        Milliseconds for each frame, stored in hundredths of a second; empty for a still.
    loop : int, optional
        How often it is repeated, 0 for ever; None plays it once.
    """
    frames, height, width, channels = pixels.shape
    see_through = channels in (2, 4)
    out = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x70, 0, 0)]
    if frames > 1 and loop is not None:
        out.append(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", min(loop, 65535)) + b"\0")
    for index, frame in enumerate(pixels):
        params: dict[str, Any] = {"include_color_table": True}
        if frames > 1:
            params["duration"] = min(durations[index], 655350)
            params["disposal"] = _RESTORE if see_through else _KEEP
        if see_through:
            params["transparency"] = _CLEAR
        out += getdata(_indexed(frame, see_through=see_through), **params)
    return b"".join([*out, b";"])


def _indexed(frame: NDArray[np.uint8], *, see_through: bool) -> Image.Image:
    """Return (H, W, C) pixels as a palette picture."""
    colour = frame[..., :-1] if see_through else frame
    most = _CLEAR if see_through else 256
    rgb = Image.fromarray(np.ascontiguousarray(np.broadcast_to(colour, (*frame.shape[:2], 3))))
    if rgb.getcolors(most) is None:
        image = rgb.quantize(most, dither=Image.Dither.NONE)
        palette, index = image.getpalette() or [], np.array(image)
    else:
        # Pillow's search for the nearest colour works on the upper bits: exact only by luck.
        packed = np.asarray(rgb).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        colours, index = np.unique(packed, return_inverse=True)
        palette = [int(c) >> shift & 255 for c in colours for shift in (16, 8, 0)]
        index = index.reshape(packed.shape).astype(np.uint8)
    if see_through:
        index[frame[..., -1] < 128] = _CLEAR
    result = Image.fromarray(index)
    # A full palette: a shorter one would be cut at the last colour in use.
    result.putpalette(palette + [0] * (768 - len(palette)))
    return result
