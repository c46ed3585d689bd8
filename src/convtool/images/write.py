"""A picture → a file's bytes → the disk, whole or not at all."""

import io
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convtool.errors import ImageError
from convtool.images import exif, gif, npy, png, pnm, tiff
from convtool.images.formats import Format
from convtool.images.guard import guarded
from convtool.images.picture import Metadata

_QUALITY = 92
_DURATION = 100  # milliseconds a frame, where the input gives none
_JPEG_EXIF = 65533 - 6  # what fits into one marker behind its prefix


def encode(
    pixels: NDArray[Any], format: Format, metadata: Metadata, *, quality: int | None = None
) -> bytes:
    """Return a file that holds `pixels`, with profile, EXIF, resolution and timing carried over.

    PNG, TIFF, BMP, PNM and NPY are exact. WebP is lossless unless a quality is asked for; JPEG
    has quality 92 unless another is, never with halved colour; GIF has 256 colours a frame. WebP
    may store equal neighbours as one longer frame, the other formats never do. A colour profile
    is left out where it does not describe the channels (that of an RGB input, once it is grey).

    Parameters
    ----------
    pixels : ndarray
        (N, H, W, C) of uint8, uint16 or float32; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or
        4 (RGB, alpha), or any number for NPY.
    format : Format
        As `format_of` returns it.
    metadata : Metadata
        The input's.
    quality : int, optional
        1 to 100, for JPEG and WebP.

    Raises
    ------
    ImageError
        When the format cannot hold so large a picture, or none at all. What `check` refuses
        must not come here.
    """
    if format.name == "NPY":
        return npy.encode(pixels)
    frames, height, width, channels = pixels.shape
    if min(frames, height, width) == 0:
        raise ImageError(
            f"{format.name} cannot hold a picture of {frames}x{height}x{width} pixels "
            "(frames, height, width)",
            "write a .npy file, which may be empty",
        )
    if max(height, width) > format.largest:
        raise ImageError(
            f"{format.name} holds at most {format.largest} pixels a side, but the picture is "
            f"{height}x{width} (height x width)",
            "write a .png or .tif file",
        )
    if format.widens and channels <= 2:
        # Grey three times, alpha once.
        pixels = pixels[..., [0, 0, 0, *range(1, channels)]]
        channels += 2
    icc = metadata.icc
    if icc and icc[16:20] != (b"GRAY" if channels <= 2 else b"RGB "):
        icc = None
    timing = _timing(metadata, frames)
    carried = (icc, metadata.exif, metadata.dpi)
    with guarded(f"the picture cannot be written as {format.name}"):
        match format.name:
            case "PNG":
                return _png(pixels, timing, png.about(*carried))
            case "TIFF":
                return tiff.encode(pixels, *carried)
            case "GIF":
                loop = metadata.loop if metadata.durations else timing[1]
                return gif.encode(pixels, timing[0], loop)
            case "PGM" | "PPM" | "PNM":
                return pnm.encode(pixels[0])
            case "WEBP":
                return _webp(pixels, timing, icc, metadata.exif, quality)
            case "JPEG":
                options: dict[str, Any] = {"quality": quality or _QUALITY, "subsampling": 0}
                if metadata.exif and len(metadata.exif) <= _JPEG_EXIF:
                    options["exif"] = exif.for_jpeg(metadata.exif)
                if icc:
                    options["icc_profile"] = icc
            case _:
                options = {}
        if metadata.dpi:
            options["dpi"] = metadata.dpi
        return _saved(_image(pixels[0]), format.name, **options)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; missing folders are made.

    The bytes go to a file beside the target, which is then renamed onto it. Whatever happens
    before that, an interrupt included, removes that file and leaves the target as it was.

    Parameters
    ----------
    path : Path
        The target. A link is followed; what is no regular file (``/dev/null``, a pipe) is
        written to directly.
    data : bytes
        All of it.

    Raises
    ------
    ImageError
        With the system's reason.
    """
    try:
        target = path.resolve()
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_bytes(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f".convtool-{secrets.token_hex(8)}.part"
        try:
            # Not tempfile, whose files are private: the umask alone should decide.
            with part.open("xb") as file:
                file.write(data)
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written: {error.strerror or error}",
            "choose another place with --output",
        ) from None


def _timing(metadata: Metadata, frames: int) -> tuple[tuple[int, ...], int]:
    """Return milliseconds for each frame, and how often all are played (0 for ever)."""
    if len(metadata.durations) == frames:
        # An animation that does not speak of loops is played once.
        return metadata.durations, 1 if metadata.loop is None else metadata.loop
    return (_DURATION,) * frames, metadata.loop or 0


def _png(
    pixels: NDArray[Any], timing: tuple[tuple[int, ...], int], about: list[tuple[bytes, bytes]]
) -> bytes:
    frames = [
        png.encode16(frame)
        if frame.dtype == np.uint16
        else png.chunks_of(_saved(_image(frame), "PNG"))
        for frame in pixels
    ]
    return png.assemble(frames, about, *timing)


def _webp(
    pixels: NDArray[Any],
    timing: tuple[tuple[int, ...], int],
    icc: bytes | None,
    block: bytes | None,
    quality: int | None,
) -> bytes:
    first, *rest = (_image(frame) for frame in pixels)
    # `exact` keeps the colour under full transparency, which is part of the pixels here.
    options: dict[str, Any] = {"lossless": quality is None, "exact": True}
    if quality is not None:
        options["quality"] = quality
    if icc:
        options["icc_profile"] = icc
    if block:
        options["exif"] = block
    if rest:
        options |= {"append_images": rest, "save_all": True}
        options |= {"duration": list(timing[0]), "loop": timing[1]}
    return _saved(first, "WEBP", **options)


def _image(frame: NDArray[Any]) -> Image.Image:
    """Return (H, W, C) of uint8 as Pillow's picture."""
    grey = frame.shape[-1] == 1
    return Image.fromarray(np.ascontiguousarray(frame[..., 0] if grey else frame))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
