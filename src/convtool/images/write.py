"""A picture → a file's bytes → the disk, whole or not at all."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from convtool.errors import ImageError
from convtool.images import deep, exif, npy
from convtool.images.formats import JPEG_EXIF, Format, by_libvips, describes
from convtool.images.guard import guarded
from convtool.images.picture import Metadata, depth_of

_QUALITY = 92
_DURATION = 100  # milliseconds a frame, where the input gives none
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3  # TIFF predictors: they halve what deflate makes
_PILLOW_NAMES = {"PGM": "PPM", "PNM": "PPM"}


def encode(
    pixels: NDArray[Any], format: Format, metadata: Metadata, *, quality: int | None = None
) -> bytes:
    """Return a file that holds `pixels`, with profile, EXIF, resolution and timing carried over.

    PNG, TIFF, BMP, PNM and NPY are exact. WebP is lossless unless a quality is asked for; JPEG
    has quality 92 unless another is, never with halved colour; GIF has 256 colours a frame.
    Equal neighbours in an animation are stored as one longer frame. What else gets lost is told
    by `losses`.

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
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    icc = metadata.icc if describes(metadata.icc, format, channels) else None
    block, dpi = metadata.exif, metadata.dpi
    with guarded(f"the picture cannot be written as {format.name}"):
        if by_libvips(format, channels, depth_of(pixels.dtype)):
            return deep.write(pixels, format.name, icc=icc, block=block, dpi=dpi)
        if format.name in ("PPM", "PNM") and channels == 3 and pixels.dtype == np.uint16:
            return _deep_ppm(pixels[0])
        options: dict[str, Any] = {"icc_profile": icc, "exif": block, "dpi": dpi}
        match format.name:
            case "JPEG":
                fits = block and len(block) <= JPEG_EXIF
                options["exif"] = exif.for_jpeg(block) if block and fits else None
                options |= {"quality": quality or _QUALITY, "subsampling": 0}
            case "WEBP":
                # `exact` keeps the colour under full transparency, part of the pixels here.
                options |= {"lossless": quality is None, "exact": True, "quality": quality}
                if channels == 3:
                    # Whole frames: what is stored as a difference comes back with an alpha.
                    options["kmax"] = 1
            case "TIFF":
                options |= _tiff_options(pixels, block)
            case "GIF":
                # A frame with holes must not show the one before it through them.
                options["disposal"] = 2 if channels in (2, 4) else 1
        return _saved(pixels, format, {k: v for k, v in options.items() if v is not None}, metadata)


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
        part = target.parent / f".convtool-{os.urandom(8).hex()}.part"
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


def _saved(
    pixels: NDArray[Any], format: Format, options: dict[str, Any], metadata: Metadata
) -> bytes:
    """Return the file that Pillow makes of the pixels."""
    picture = _indexed if format.name == "GIF" else _image
    first, *rest = (picture(frame) for frame in pixels)
    if rest:
        options |= {"append_images": rest, "save_all": True}
        if format.timed:
            options |= _timing(metadata, len(pixels), format)
    buffer = io.BytesIO()
    first.save(buffer, _PILLOW_NAMES.get(format.name, format.name), **options)
    return buffer.getvalue()


def _timing(metadata: Metadata, frames: int, format: Format) -> dict[str, Any]:
    """Return milliseconds for each frame, and how often all are played (0 for ever)."""
    if len(metadata.durations) != frames:
        return {"duration": [_DURATION] * frames, "loop": metadata.loop or 0}
    timing: dict[str, Any] = {"duration": list(metadata.durations)}
    # An animation that does not speak of loops is played once; GIF says so by silence.
    if metadata.loop is not None or format.name != "GIF":
        timing["loop"] = 1 if metadata.loop is None else metadata.loop
    return timing


def _tiff_options(pixels: NDArray[Any], block: bytes | None) -> dict[str, Any]:
    tags = exif.for_tiff(block)
    large = pixels.nbytes > deep.CLASSIC_TIFF
    # Pillow compresses, or it writes Exif and GPS blocks and offsets of 64 bits, but never both.
    if large or any(tags.get_ifd(inner) for inner in exif.BLOCKS):
        return {"exif": tags, "big_tiff": large}
    tags[Base.Predictor] = _FLOAT_DIFFERENCES if pixels.dtype.kind == "f" else _DIFFERENCES
    return {"exif": tags, "compression": "tiff_adobe_deflate"}


def _deep_ppm(pixels: NDArray[np.uint16]) -> bytes:
    """Return a 16-bit colour PPM, as Pillow writes its samples in a grey one thrice as wide."""
    height, width, channels = pixels.shape
    buffer = io.BytesIO()
    Image.fromarray(pixels.reshape(height, channels * width)).save(buffer, "PPM")
    _, _, white, samples = buffer.getvalue().split(b"\n", 3)
    return b"P6\n%d %d\n%s\n" % (width, height, white) + samples


def _image(frame: NDArray[Any]) -> Image.Image:
    """Return (H, W, C) as Pillow's picture."""
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)


def _indexed(frame: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, C) as a picture of 256 colours, or 255 and a clear one for alpha below half."""
    channels = frame.shape[-1]
    if channels == 1:
        return _image(frame)
    if channels == 3:
        return _image(frame).quantize(256, dither=Image.Dither.NONE)
    clear = frame[..., -1:] < 128
    colour = np.where(clear, 0, np.broadcast_to(frame[..., :-1], (*clear.shape[:2], 3)))
    image = Image.fromarray(colour.astype(np.uint8)).quantize(255, dither=Image.Dither.NONE)
    palette = image.getpalette() or []
    image.putpalette(palette + [0] * (768 - len(palette)))
    image.paste(255, mask=Image.fromarray(clear[..., 0]))
    image.info["transparency"] = 255
    return image
