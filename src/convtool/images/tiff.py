"""TIFF: what the tags say, and a writer for every depth.

Pillow writes 16-bit grey and float grey, but no 16-bit or float colour. A plain deflated TIFF is
short enough to be written here for all of them alike, EXIF, profile and resolution included.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import TiffTags
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory

from convtool.errors import ImageError
from convtool.images import exif as exif_block
from convtool.terms import Depth

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_STRIP = 1 << 20  # bytes before compression: a few dozen strips for a photograph
_GREY_INVERTED, _GREY, _RGB, CMYK = 0, 1, 2, 5
# Samples of colour in the file, and channels once read.
_COLOURS = {_GREY_INVERTED: (1, 1), _GREY: (1, 1), _RGB: (3, 3), CMYK: (4, 3)}
_DEFLATE, _DIFFERENCES = 8, 2
_UNSIGNED, _FLOAT = 1, 3
_ASSOCIATED, _UNASSOCIATED = 1, 2
_INCH, _CENTIMETRE = 2, 3
_TRANSIENT = 0b101  # a reduced copy of another page, or a mask for it


def pages(fp: BinaryIO) -> list[tuple[int, Directory]]:
    """Return index and tags of each page, thumbnails and masks left out."""
    big = is_big(fp)
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
class Layout:
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


def is_big(fp: BinaryIO) -> bool:
    """Whether the file is a BigTIFF, with offsets of 64 bits."""
    fp.seek(2)
    return b"+" in fp.read(2)


def layout(tags: Directory) -> Layout:
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
    height, width = exif_block.turned_shape(tags[Base.ImageLength], tags[Base.ImageWidth], turn)
    unsigned = set(kinds) == {_UNSIGNED}
    return Layout(height, width, samples, bits, colours, stored, alpha, depth, unsigned, turn)


def dpi_of(tags: Directory) -> tuple[float, float] | None:
    """Return the resolution in pixels an inch; None when no unit of length is given."""
    scale = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(tags.get(Base.ResolutionUnit, _INCH))
    across, down = tags.get(Base.XResolution), tags.get(Base.YResolution)
    if scale is None or not across or not down:
        return None
    return float(across) * scale, float(down) * scale


def encode(
    pixels: NDArray[Any],
    icc: bytes | None,
    exif: bytes | None,
    dpi: tuple[float, float] | None,
) -> bytes:
    """Return a TIFF file of (N, H, W, C) pixels, a page for each picture, deflated."""
    out = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    link = 4  # where the offset of the next page's directory is kept
    for index, page in enumerate(pixels):
        strips, tags = _page(page)
        if icc:
            tags[Base.InterColorProfile] = icc
        if dpi:
            tags[Base.ResolutionUnit] = _INCH
            tags[Base.XResolution], tags[Base.YResolution] = dpi
        if exif and index == 0:
            for tag, value in exif_block.unpacked(exif).items():
                tags[tag] = value
        out += b"\0" * (len(out) % 2)  # directories start on even offsets
        struct.pack_into("<I", out, link, len(out))
        # Pillow counts strip offsets from the end of what it packs.
        packed = tags.tobytes(len(out))
        link = len(out) + 2 + 12 * int.from_bytes(packed[:2], "little")
        out += packed
        for strip in strips:
            out += strip
        if len(out) >= 2**32:
            raise ImageError(
                f"a TIFF file holds 4 GiB, but page {index} ends at {len(out)} bytes",
                "write a .npy file, or one file a frame with {frame} in the output name",
            )
    return bytes(out)


def _page(page: NDArray[Any]) -> tuple[list[bytes], Directory]:
    """Return the compressed strips of (H, W, C) pixels and the tags that describe them."""
    height, width, channels = page.shape
    page = page.astype(page.dtype.newbyteorder("<"), copy=False)
    whole = page.dtype.kind == "u"
    if whole:
        # Predictor 2: each sample as the difference to its left neighbour, modulo its range.
        page = np.concatenate([page[:, :1], page[:, 1:] - page[:, :-1]], axis=1)
    rows = max(1, _STRIP // (width * channels * page.itemsize))
    strips = [zlib.compress(page[i : i + rows].tobytes()) for i in range(0, height, rows)]
    lengths = [len(strip) for strip in strips]

    tags = Directory()
    tags[Base.ImageWidth], tags[Base.ImageLength] = width, height
    tags[Base.BitsPerSample] = (8 * page.itemsize,) * channels
    tags[Base.SampleFormat] = (_UNSIGNED if whole else _FLOAT,) * channels
    tags[Base.SamplesPerPixel] = channels
    tags[Base.PhotometricInterpretation] = _RGB if channels >= 3 else _GREY
    if channels in (2, 4):
        tags[Base.ExtraSamples] = _UNASSOCIATED
    tags[Base.PlanarConfiguration] = 1
    tags[Base.Compression] = _DEFLATE
    if whole:
        tags[Base.Predictor] = _DIFFERENCES
    tags[Base.RowsPerStrip] = rows
    for tag, values in (
        (Base.StripByteCounts, lengths),
        (Base.StripOffsets, [sum(lengths[:i]) for i in range(len(lengths))]),
    ):
        tags.tagtype[tag] = TiffTags.LONG
        tags[tag] = tuple(values)
    return strips, tags
