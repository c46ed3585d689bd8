"""The pixels of a surveyed image file → NHWC."""

import io
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

from convtool.errors import ImageError
from convtool.images import deep, exif, headers, storage
from convtool.images.picture import Picture
from convtool.images.survey import Survey, read_in_large_blocks, unequal
from convtool.terms import Depth

_DTYPES = {Depth.EIGHT: np.uint8, Depth.SIXTEEN: np.uint16, Depth.FLOAT: np.float32}

_EXACT_IN_FLOAT32 = 1 << 24


def load(plan: Survey, fp: BinaryIO) -> Picture:
    """Decode the pixels of a surveyed file."""
    metadata, notes = plan.metadata, list(plan.notes)
    if plan.cut:
        raise ImageError(
            f"the file is truncated: it ends after {plan.cut} bytes, before its closing chunk "
            "(IEND)",
            "get a whole copy of it",
        )
    if plan.target == "ppm":
        return Picture(plan.header, _deep_ppm(plan, fp), metadata, plan.notes)
    if plan.target == "deep":
        pixels = deep.read(fp, plan.header, plan.indices, plan.turn)
        if plan.tags is not None and _is_cmyk(plan.tags):
            notes.append("CMYK was converted to RGB")
            metadata = metadata._replace(icc=_srgb())
        return Picture(plan.header, pixels, metadata, tuple(notes))

    image = plan.image
    assert image is not None
    read_in_large_blocks(image, fp)
    dtype, count = _DTYPES[plan.header.depth], len(plan.indices)
    icc, durations = metadata.icc, []
    for n in range(count):
        _draw(image, plan, n)
        if "duration" in image.info:
            durations.append(round(image.info["duration"]))
        frame, icc = _converted(image, plan, metadata.icc, notes)
        if count == 1:
            pixels = frame[None].astype(dtype, copy=False)
        else:
            # Copied, as Pillow draws the next frame into the memory of this one.
            pixels = np.empty(plan.header.shape, dtype) if n == 0 else pixels
            pixels[n] = frame
    if len(durations) == count > 1:
        metadata = metadata._replace(durations=tuple(durations))
    return Picture(plan.header, pixels, metadata._replace(icc=icc), tuple(dict.fromkeys(notes)))


def _draw(image: ImageFile, plan: Survey, n: int) -> None:
    """Decode frame `n`, after a look at its size."""
    index, shape = plan.indices[n], plan.header.shape
    if index > 0 or shape[0] > 1:
        image.seek(index)
    upright = exif.turned_shape(image.height, image.width, plan.turn)
    if upright != shape[1:3]:
        raise unequal(n, upright, shape[1:3])
    image.load()


def _is_cmyk(tags: Any) -> bool:
    from convtool.images import tiff

    return bool(tags.get(Base.PhotometricInterpretation) == tiff.CMYK)


def _unsigned(tags: Any) -> bool:
    from convtool.images import tiff

    return tiff.layout(tags).unsigned


def _deep_ppm(plan: Survey, fp: BinaryIO) -> NDArray[np.uint16]:
    """Return the pixels of a 16-bit colour PPM.

    Pillow decodes 16 bits in grey alone, and the libvips of the extra ``deep`` knows no PPM. But
    the samples of a colour PPM stand in the file as those of a grey one three times as wide.
    """
    found = None if plan.image is None else headers.deep_ppm(plan.image)
    assert found is not None
    greatest, start = found
    _, height, width, channels = plan.header.shape
    fp.seek(0)
    kind = b"P2" if fp.read(2) == b"P3" else b"P5"
    fp.seek(start)
    head = b"%s %d %d %d\n" % (kind, channels * width, height, greatest)
    with Image.open(io.BytesIO(head + fp.read())) as grey:
        return np.asarray(grey).astype(np.uint16).reshape(plan.header.shape)


def _converted(
    image: Image.Image, plan: Survey, icc: bytes | None, notes: list[str]
) -> tuple[NDArray[Any], bytes | None]:
    """Return the loaded frame upright as (H, W, C), and the profile that its colours are in."""
    mode, target = image.mode, plan.target
    if target == "I;16":
        grey = _pixels(image, plan.turn).astype(np.uint16, copy=False)
        if plan.tags is not None and plan.tags.get(Base.PhotometricInterpretation) == 0:
            grey = 65535 - grey  # white is zero, which Pillow turns round in 8 bits only
        if plan.header.alpha:
            clear = grey == image.info["transparency"]
            grey = np.concatenate([grey, np.where(clear, 0, 65535).astype(np.uint16)], axis=-1)
        return grey, icc
    if target == "I" and plan.header.depth is Depth.FLOAT:
        whole = _pixels(image, plan.turn)
        if plan.tags is not None and _unsigned(plan.tags):
            whole = whole.view(np.uint32)  # Pillow keeps the bits but takes them as signed
        if np.any((whole > _EXACT_IN_FLOAT32) | (whole < -_EXACT_IN_FLOAT32)):
            notes.append("32-bit integers were read as float32, those above 2^24 rounded")
        else:
            notes.append("integers of more than 8 bits were read as float32")
        return whole, icc
    if mode == "CMYK" and icc and icc[16:20] == b"CMYK":
        image = _through_profile(image, io.BytesIO(icc))
        notes.append("CMYK was converted to RGB through its ICC profile")
        icc = _srgb()
    elif mode == "CMYK":
        notes.append("CMYK was converted to RGB by the plain formula, as it has no ICC profile")
        icc = None
    elif mode == "LAB":
        image = _through_profile(image, "LAB")
        notes.append("LAB was converted to RGB")
        icc = _srgb()
    elif mode in ("YCbCr", "HSV"):
        notes.append(f"{mode} was converted to RGB")
    return _pixels(image if image.mode == target else image.convert(target), plan.turn), icc


def _pixels(image: Image.Image, turn: int) -> NDArray[Any]:
    """Return a loaded picture upright as (H, W, C), in Pillow's own memory where that can be."""
    image = exif.turned_image(image, turn)
    pixels = storage.view(image)
    if pixels is None:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _through_profile(image: Image.Image, source: io.BytesIO | str) -> Image.Image:
    """Return the picture in sRGB; `source` is a profile's bytes or a name of LittleCMS."""
    from PIL import ImageCms

    profile = ImageCms.createProfile("LAB") if source == "LAB" else source
    result = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(profile),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        # What print and photo programs do by default: white stays white, black becomes black.
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert result is not None
    return result


def _srgb() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
