"""What headers say that Pillow does not tell, and what protects from being cut down in silence."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory

from convtool.errors import ImageError
from convtool.images import exif
from convtool.images.picture import JpegCoding
from convtool.terms import Depth

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

_GREY_INVERTED, _GREY, _RGB, CMYK = 0, 1, 2, 5
# Samples of colour in a TIFF file, and channels once read.
_COLOURS = {_GREY_INVERTED: (1, 1), _GREY: (1, 1), _RGB: (3, 3), CMYK: (4, 3)}
_UNSIGNED = 1
_ASSOCIATED, _UNASSOCIATED = 1, 2
_INCH, _CENTIMETRE = 2, 3
_TRANSIENT = 0b101  # a reduced copy of another page, or a mask for it


class PngFacts(NamedTuple):
    """What is found without decoding a pixel; `channels` as stored, tRNS not counted.

    `cut` is the size in bytes of a file that ends too early, else 0.
    """

    bits: int
    channels: int
    transparent: bool
    exif: bytes | None
    cut: int


def png_facts(fp: BinaryIO) -> PngFacts:
    """Walk over the chunks, which also shows whether the file is whole.

    Pillow reads EXIF that stands behind the pixels only after decoding them, and accepts a file
    that lacks its end.
    """
    bits, channels, transparent, block, kind = 8, 3, False, None, b""
    for kind, at, length in _png_chunks(fp):
        if kind == b"IHDR":
            fp.seek(at + 8)
            bits, colour_type = fp.read(2)
            channels = _PNG_CHANNELS.get(colour_type, 3)
        elif kind == b"tRNS":
            transparent = True
        elif kind == b"eXIf":
            fp.seek(at)
            block = fp.read(length)
    cut = 0 if kind == b"IEND" else fp.seek(0, 2)
    return PngFacts(bits, channels, transparent, block, cut)


def tiff_pages(fp: BinaryIO) -> list[tuple[int, Directory]]:
    """Return index and tags of each page, thumbnails and masks left out."""
    big = is_bigtiff(fp)
    fp.seek(0)
    head = fp.read(16 if big else 8)
    directory = Directory(head)
    found: list[tuple[int, Directory]] = []
    seen: set[int] = set()
    while (at := directory.next) and at not in seen:
        seen.add(at)
        fp.seek(at)
        directory = Directory(head)
        directory.load(fp)
        if not directory.get(Base.NewSubfileType, 0) & _TRANSIENT:
            found.append((len(seen) - 1, directory))
    return found


@dataclass(frozen=True)
class TiffLayout:
    """How a page stores its pixels; `str` says it in words.

    Parameters
    ----------
    height, width : int
        The right way up.
    samples, bits : int
        How many a pixel has, and the bits of the widest.
    colours : int
        Channels of colour once read: 1 or 3, 0 when the kind of colour is not known here.
    stored_colours : int
        Samples of colour in the file; 4 for CMYK.
    alpha : bool
        Whether a sample of alpha follows them.
    depth : Depth
        What it is read as.
    unsigned : bool
        Whether samples are whole numbers from 0.
    turn : int
        The orientation of what is stored.
    """

    height: int
    width: int
    samples: int
    bits: int
    colours: int
    stored_colours: int
    alpha: bool
    depth: Depth
    unsigned: bool
    turn: int

    def __str__(self) -> str:
        return f"{self.samples} samples of {self.bits} bits"


def is_bigtiff(fp: BinaryIO) -> bool:
    """Whether the file is a BigTIFF, with offsets of 64 bits."""
    fp.seek(2)
    return b"+" in fp.read(2)


def tiff_layout(tags: Directory) -> TiffLayout:
    """Return how a page stores its pixels, as its tags say."""
    if Base.ImageWidth not in tags or Base.ImageLength not in tags:
        raise ImageError("the file is damaged: a page does not say its width and height")
    sizes = tags.get(Base.BitsPerSample, (1,))
    bits = max(sizes)
    samples = tags.get(Base.SamplesPerPixel, len(sizes))
    kinds = tags.get(Base.SampleFormat, (_UNSIGNED,))
    stored, colours = _COLOURS.get(tags.get(Base.PhotometricInterpretation, 0), (0, 0))
    extra = tags.get(Base.ExtraSamples, ())
    # A fourth sample without a word about it is taken for alpha, as everyone does.
    alpha = extra[0] in (_ASSOCIATED, _UNASSOCIATED) if extra else samples == stored + 1
    depth = Depth.FLOAT
    if set(kinds) == {_UNSIGNED} and bits <= 16:
        depth = Depth.EIGHT if bits <= 8 else Depth.SIXTEEN
    turn = tags.get(Base.Orientation, 1)
    turn = turn if turn in range(1, 9) else 1
    height, width = exif.turned_shape(tags[Base.ImageLength], tags[Base.ImageWidth], turn)
    unsigned = set(kinds) == {_UNSIGNED}
    return TiffLayout(height, width, samples, bits, colours, stored, alpha, depth, unsigned, turn)


def tiff_dpi(tags: Directory) -> tuple[float, float] | None:
    """Return the resolution in pixels an inch; None when no unit of length is given."""
    scale = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(tags.get(Base.ResolutionUnit, _INCH))
    across, down = tags.get(Base.XResolution), tags.get(Base.YResolution)
    if scale is None or not across or not down:
        return None
    return float(across) * scale, float(down) * scale


def deep_ppm(image: ImageFile) -> tuple[int, int] | None:
    """Return the greatest sample of a colour PNM file, and where its samples begin.

    None of any other file, and of one that needs only 8 bits.
    """
    tile = image.tile[0]
    greatest = tile.args[-1] if isinstance(tile.args, tuple) else 255
    return (greatest, tile.offset) if image.mode == "RGB" and greatest > 255 else None


def jpeg_coding(image: ImageFile) -> JpegCoding | None:
    """Return how a JPEG file of 1 or 3 channels stores them; None of other files.

    Kinds of subsampling that Pillow cannot write count as none, so that nothing gets lost.
    """
    if not isinstance(image, JpegImageFile) or image.layers not in (1, 3):
        return None
    tables = [tuple(image.quantization.get(number, ())) for *_, number in image.layer]
    if not all(tables):
        return None  # damaged
    while len(tables) > 1 and tables[-1] == tables[-2]:
        del tables[-1]
    return JpegCoding(image.layers, tuple(tables), max(get_sampling(image), 0))


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height of a WebP file's canvas."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        across, down = head[24:27] + b"\0", head[27:30] + b"\0"
        return struct.unpack("<I", across)[0] + 1, struct.unpack("<I", down)[0] + 1
    if head[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    across, down = struct.unpack_from("<HH", head, 26)
    return across & 0x3FFF, down & 0x3FFF


def _png_chunks(fp: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place and length of each whole chunk, to IEND or to where the file is cut."""
    end = fp.seek(0, 2)
    at = len(PNG_MAGIC)
    while at + 12 <= end:
        fp.seek(at)
        length, kind = struct.unpack(">I4s", fp.read(8))
        if at + 12 + length > end:
            return
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += 12 + length
