"""The header of an image file → everything that it can decide, without NumPy and without pixels.

`survey` settles size, channels, alpha, depth, which frames, which way up, and who decodes;
`decode` only carries it out, so what is probed is what is read.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

from convtool.errors import ImageError
from convtool.images import exif, headers
from convtool.images.picture import Header, Metadata
from convtool.terms import Depth

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory

# Formats whose frames are pictures of one subject; the layers, sizes and previews that other
# formats keep beside the picture are not.
_SEQUENCES = ("GIF", "PNG", "WEBP", "TIFF", "AVIF", "FLI")
_FORMATS = {"PPM": "PNM", "MPO": "JPEG"}

_BLOCK = 1 << 24  # bytes handed to a decoder at a time

# Pillow's mode → the mode that its frames are converted to. What is not here becomes RGB.
_TARGETS = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA",
    "I": "I", "F": "F", "I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16", "I;16N": "I;16",
}  # fmt: skip
_TRANSPARENT = {"L": "LA", "RGB": "RGBA", "I;16": "I;16"}
_CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I": 1, "F": 1, "I;16": 1}


class Survey(NamedTuple):
    """All that is known of a file before a pixel is decoded, and how it will be read.

    Parameters
    ----------
    header : Header
        What the file will give.
    metadata : Metadata
        What it carries; durations are added with the frames.
    image : Image, optional
        The file, opened by Pillow; None when Pillow does not know its kind of pixels.
    indices : sequence of int
        Which of the file's pictures are the frames.
    turn : int
        The orientation that is still to be applied.
    target : str
        The Pillow mode of the frames, ``"deep"`` when libvips reads them, ``"ppm"`` for
        16-bit colour that Pillow reads as grey.
    tags : Directory, optional
        The first page's, of a TIFF file.
    notes : tuple of str
        What the survey already knows will be changed.
    cut : int
        The size in bytes of a file that is seen to end too early: its header can be told, its
        pixels not.
    """

    header: Header
    metadata: Metadata
    image: ImageFile | None
    indices: Sequence[int]
    turn: int
    target: str
    tags: "Directory | None" = None
    notes: tuple[str, ...] = ()
    cut: int = 0


def survey(fp: BinaryIO, max_pixels: int) -> Survey:
    """Look at the header of an image file.

    Raises
    ------
    ImageError
        When it claims more than `max_pixels`, or cannot be read without loss.
    UnidentifiedImageError
        When it is no image.
    """
    head = fp.read(64)
    if size := headers.webp_size(head):
        limit(1, *size[::-1], max_pixels)  # its decoder takes the memory when it is opened
    fp.seek(0)
    if head.startswith(headers.TIFF_MAGICS):
        return _survey_tiff(fp, max_pixels)
    facts = headers.png_facts(fp) if head.startswith(headers.PNG_MAGIC) else None
    fp.seek(0)
    image = Image.open(fp)
    kind = _FORMATS.get(image.format or "", image.format or "")
    limit(1, image.height, image.width, max_pixels)
    if kind == "EPS":
        raise ImageError("PostScript is a program, not a picture", "convert it to PNG first")
    notes: tuple[str, ...] = ()
    count = getattr(image, "n_frames", 1)
    if count > 1 and kind not in _SEQUENCES:
        notes = (f"only the first of the {count} pictures in the file was read",)
        count = 1
    # The default picture of an APNG may stand outside the animation; only old viewers show it.
    first = 1 if count > 1 and getattr(image, "default_image", False) else 0
    indices = range(first, count)

    target, alpha = _target(image, kind)
    channels, depth = _CHANNELS[target], _depth(target, kind)
    block = exif.bare(image.info.get("exif"))
    if facts is not None:
        block = facts.exif or block
        if facts.bits == 16 and image.mode[:4] != "I;16":
            if len(indices) > 1:
                raise ImageError(
                    f"a 16-bit colour animation of {len(indices)} frames would be cut to 8 bits",
                    "convert it to a 16-bit TIFF of several pages first",
                )
            target, depth = "deep", Depth.SIXTEEN
            channels, alpha = facts.channels, facts.channels in (2, 4)
        elif facts.bits in (2, 4) and image.mode == "L" and alpha:
            # The transparent grey is given in the file's scale, while Pillow widens the pixels.
            image.info["transparency"] *= 255 // ((1 << facts.bits) - 1)
        if facts.transparent and not alpha:
            alpha, channels = True, channels + 1
    elif kind == "PNM" and headers.deep_ppm(image):
        target, depth = "ppm", Depth.SIXTEEN
    else:
        _refuse_degrading(image, kind, head, fp)
    if target == "I;16" and alpha:
        channels = 2

    block = exif.without_thumbnail(block)
    turn = exif.orientation(block)
    height, width = exif.turned_shape(image.height, image.width, turn)
    limit(len(indices), height, width, max_pixels)
    if image.info.get("xmp"):
        notes += ("its XMP is not carried over",)
    header = Header((len(indices), height, width, channels), alpha, depth, kind)
    loop = image.info.get("loop") if len(indices) > 1 else None
    metadata = Metadata(
        kind,
        icc=image.info.get("icc_profile") or None,
        exif=block if turn == 1 else exif.upright(block),
        dpi=_dpi(image.info.get("dpi")),
        loop=loop,
        jpeg=headers.jpeg_coding(image),
    )
    cut = facts.cut if facts else 0
    return Survey(header, metadata, image, indices, turn, target, notes=notes, cut=cut)


def begin(plan: Survey, fp: BinaryIO) -> None:
    """Decode a single picture as far as Pillow does it: `decode.load` goes on from there."""
    if plan.image is None or plan.cut or plan.target in ("deep", "ppm") or len(plan.indices) > 1:
        return
    read_in_large_blocks(plan.image, fp)
    plan.image.load()


def read_in_large_blocks(image: ImageFile, fp: BinaryIO) -> None:
    """See to it that a decoder gets much at a time, 64 KB if nothing is said.

    Each block is a trip through the interpreter, where threads wait for each other.
    """
    if image.tile:  # or it is decoded already
        image.decodermaxblock = max(image.decodermaxblock, min(fp.seek(0, 2), _BLOCK))


def limit(frames: int, height: int, width: int, max_pixels: int) -> None:
    """Raise an ImageError when the pixels claimed are more than are wanted."""
    claimed = frames * height * width
    if claimed > max_pixels:
        each = f"{frames} frames of " if frames > 1 else ""
        raise ImageError(
            f"the header claims {each}{width}x{height} pixels, {claimed} in all, but at most "
            f"{max_pixels} are read",
            f"if the file is to be trusted, use --max-pixels {claimed}",
        )


def _survey_tiff(fp: BinaryIO, max_pixels: int) -> Survey:
    """Survey a TIFF file by its tags: Pillow does not tell what it drops."""
    from convtool.images import tiff

    pages = tiff.pages(fp)
    if not pages:
        raise ImageError("the file is truncated: no page of the TIFF can be found")
    layouts = [tiff.layout(tags) for _, tags in pages]
    first, tags = layouts[0], pages[0][1]
    limit(len(pages), first.height, first.width, max_pixels)
    for n, one in enumerate(layouts):
        if (one.height, one.width) != (first.height, first.width):
            raise unequal(n, (one.height, one.width), (first.height, first.width))
        if one != first:
            raise ImageError(
                f"the pages must be of one kind, but page 0 has {first} and page {n} {one}",
                "split the file into its pages first",
            )
    fp.seek(0)
    image: ImageFile | None
    try:
        image = Image.open(fp)
        image.seek(pages[0][0])
    except UnidentifiedImageError:
        image = None

    notes: tuple[str, ...] = ()
    spare = first.samples - first.stored_colours - first.alpha
    if first.colours and spare > 0:
        notes = (f"{spare} of {first.samples} samples a pixel, no colour or alpha, were dropped",)
    if image is None or (first.samples > 1 and first.bits > 8):
        if first.colours == 0:
            raise ImageError(
                f"a TIFF must be grey, RGB or CMYK to be read, but this has {first}",
                "convert it to RGB, or to a .npy array",
            )
        if first.bits > 32:
            raise ImageError(
                f"a TIFF of up to 32 bits a sample can be read, but this has {first}",
                "save it as float32, or as a .npy array",
            )
        target, alpha, depth = "deep", first.alpha, first.depth
        channels, turn = first.colours + alpha, first.turn
        block = Image.Exif()
        block.endian, block.bigtiff = ("<" if tags.prefix == b"II" else ">"), tiff.is_bigtiff(fp)
        block.load_from_fp(fp, tags.offset)
    else:
        target, alpha = _target(image, "TIFF")
        channels, depth = _CHANNELS[target], _depth(target, "TIFF")
        turn = 1  # Pillow turns TIFF pages itself
        block = image.getexif()
    header = Header((len(pages), first.height, first.width, channels), alpha, depth, "TIFF")
    metadata = Metadata(
        "TIFF",
        icc=tags.get(Base.InterColorProfile),
        exif=exif.packed(exif.descriptive(block)),
        dpi=_dpi(tiff.dpi(tags)),
    )
    indices = [index for index, _ in pages]
    return Survey(header, metadata, image, indices, turn, target, tags, notes)


def _target(image: Image.Image, kind: str) -> tuple[str, bool]:
    """Return the mode that the frames are converted to, and whether it has alpha."""
    target = "RGB" if kind == "GIF" else _TARGETS.get(image.mode, "RGB")
    if image.has_transparency_data and image.mode in ("1", "L", "P", "RGB", "I;16"):
        target = _TRANSPARENT[target]
        return target, True
    return target, target in ("LA", "RGBA")


def _depth(target: str, kind: str) -> Depth:
    if target == "I;16" or (target == "I" and kind == "PNM"):
        return Depth.SIXTEEN
    return Depth.FLOAT if target in ("I", "F") else Depth.EIGHT


def _refuse_degrading(image: Image.Image, kind: str, head: bytes, fp: BinaryIO) -> None:
    """Raise an ImageError for the other formats that Pillow would cut down to 8 bits."""
    bits = 8
    if image.mode[:4] == "I;16":
        return
    if kind == "JPEG2000":
        fp.seek(0)
        start = fp.read(4096)
        size = start.find(b"\xff\x4f\xff\x51")  # SOC and SIZ markers
        if size >= 0 and len(start) > size + 42:
            bits = (start[size + 42] & 0x7F) + 1
    elif kind == "AVIF":
        fp.seek(0)
        start = fp.read(4096)
        box = start.find(b"av1C")
        if 0 <= box < len(start) - 6 and start[box + 6] & 0x40:
            bits = 12 if start[box + 6] & 0x20 else 10
    elif re.search(r"SGI16|'(L|LA|RGB|RGBA|RGBX|CMYK);16", str(getattr(image, "tile", ""))):
        bits = 16
    if bits > 8:
        raise ImageError(
            f"a {kind} of {bits} bits a channel would be cut down to 8 bits",
            "convert it to a 16-bit PNG or TIFF first",
        )


def unequal(n: int, size: tuple[int, ...], first: tuple[int, ...]) -> ImageError:
    """Say that frame `n` is not of the first one's size; both (height, width)."""
    return ImageError(
        f"the frames of a file must be of one size, but frame 0 is {first[0]}x{first[1]} and "
        f"frame {n} {size[0]}x{size[1]} (height x width)",
        "split the file into its frames first",
    )


def _dpi(value: Any) -> tuple[float, float] | None:
    """Return a resolution that makes sense, else None."""
    try:
        across, down = (float(v) for v in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None
