"""A picture → a file's bytes."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from convtool.errors import ImageError
from convtool.images import deep, exif, npy, png, storage
from convtool.images.descriptor import written
from convtool.images.formats import JPEG_EXIF, Format, by_libvips, describes
from convtool.images.guard import guarded
from convtool.images.picture import JpegCoding, Metadata, depth_of
from convtool.terms import Depth

_QUALITY = 92
_FULL_COLOUR = 0  # Pillow's number for a JPEG's subsampling 4:4:4
_DURATION = 100  # milliseconds a frame, where the input gives none
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3  # TIFF predictors: they halve what deflate makes
_PILLOW_NAMES = {"PGM": "PPM", "PNM": "PPM"}


def encode(
    pixels: NDArray[Any],
    format: Format,
    metadata: Metadata,
    *,
    quality: int | None = None,
    compress_level: int | None = None,
) -> bytes:
    """Return a file that holds `pixels`, with profile, EXIF, resolution and timing carried over.

    PNG, TIFF, BMP, PNM and NPY are exact. WebP is lossless unless a quality is asked for; GIF has
    256 colours a frame. A JPEG that comes from a JPEG of as many channels is quantized as that
    one was and has its colour halved as that one had; any other has quality 92 and full colour.
    Equal neighbours in an animation are stored as one longer frame. What else gets lost is told
    by `losses`. The picture of a `canvas` is written without a copy.

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
        1 to 100, for JPEG and WebP. A JPEG's colour is then halved only if the input's was.
    compress_level : int, optional
        0 (none) to 9 (smallest, slowest), for PNG, with zlib's usual strategy. By default what is
        fast: level 1 that shortens runs alone or, where that is smaller on some rows of a
        picture of more than a million pixels, only fits the length of the codes.

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
    depth = depth_of(pixels.dtype)
    described: dict[str, Any] = {
        "icc": metadata.icc if describes(metadata.icc, format, channels) else None,
        "block": metadata.exif,
        "dpi": metadata.dpi,
    }
    with guarded(f"the picture cannot be written as {format.name}"):
        if by_libvips(format, channels, depth):
            return deep.write(
                _plain(pixels), format.name, **described, compress_level=compress_level
            )
        if format.name in ("PPM", "PNM") and channels == 3 and depth is Depth.SIXTEEN:
            return _deep_ppm(_plain(pixels[0]))
        picture = _indexed if format.name == "GIF" else _image
        pictures = [picture(frame) for frame in pixels]
        options = _described(format, **described)
        match format.name:
            case "JPEG":
                options |= _jpeg_options(metadata.jpeg, channels, quality)
            case "PNG":
                level, kind = png.strategy(pictures[0], compress_level)
                options |= {"compress_level": level, "compress_type": kind}
            case "WEBP":
                # `exact` keeps the colour under full transparency, part of the pixels here.
                options |= {"lossless": quality is None, "exact": True, "quality": quality}
                if channels == 3:
                    # Whole frames: what is stored as a difference comes back with an alpha.
                    options["kmax"] = 1
            case "TIFF":
                options |= _tiff_options(pixels, metadata.exif)
            case "GIF":
                # A frame with holes must not show the one before it through them.
                options["disposal"] = 2 if channels in (2, 4) else 1
        if frames > 1:
            options |= {"append_images": pictures[1:], "save_all": True}
            if format.timed:
                options |= _timing(metadata, frames, format)
        return _saved(pictures[0], format, options)


def _described(
    format: Format,
    icc: bytes | None,
    block: bytes | None,
    dpi: tuple[float, float] | None,
) -> dict[str, Any]:
    """Return the options that hand a picture's description to Pillow."""
    if block and format.name == "JPEG":
        block = exif.for_jpeg(block) if len(block) <= JPEG_EXIF else None
    return {"icc_profile": icc, "exif": block, "dpi": dpi}


def _saved(first: Image.Image, format: Format, options: dict[str, Any]) -> bytes:
    """Return the file that Pillow makes of the pictures."""
    name = _PILLOW_NAMES.get(format.name, format.name)
    given = {option: value for option, value in options.items() if value is not None}
    if name == "JPEG":
        return written(lambda file: first.save(file, name, **given))
    buffer = io.BytesIO()
    first.save(buffer, name, **given)
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


def _jpeg_options(coding: JpegCoding | None, channels: int, quality: int | None) -> dict[str, Any]:
    """Return how to quantize, and how much of the colour to keep; `coding` is the input's."""
    if coding is None or coding.channels != channels:
        return {"quality": quality or _QUALITY, "subsampling": _FULL_COLOUR}
    if quality is None:
        return {"qtables": coding.tables, "subsampling": coding.subsampling}
    return {"quality": quality, "subsampling": coding.subsampling}


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
    """Return (H, W, C) as Pillow's picture, on the same memory where it is Pillow's."""
    image = storage.picture_of(frame)
    if image is None:
        plain = _plain(frame)
        image = Image.fromarray(plain[..., 0] if plain.shape[-1] == 1 else plain)
    return image


def _plain(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels one behind the other, in this machine's byte order."""
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


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
