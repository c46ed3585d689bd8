"""What the tags of a TIFF file say: Pillow does not tell what it drops."""

from typing import BinaryIO, NamedTuple

from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory

from convtool.errors import ImageError
from convtool.images import exif
from convtool.terms import Depth

_GREY_INVERTED, _GREY, _RGB, CMYK = 0, 1, 2, 5
# Samples of colour in a TIFF file, and channels once read.
_COLOURS = {_GREY_INVERTED: (1, 1), _GREY: (1, 1), _RGB: (3, 3), CMYK: (4, 3)}
_UNSIGNED = 1
_ASSOCIATED, _UNASSOCIATED = 1, 2
_INCH, _CENTIMETRE = 2, 3
_TRANSIENT = 0b101  # a reduced copy of another page, or a mask for it


def pages(fp: BinaryIO) -> list[tuple[int, Directory]]:
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


class Layout(NamedTuple):
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
    height, width = exif.turned_shape(tags[Base.ImageLength], tags[Base.ImageWidth], turn)
    unsigned = set(kinds) == {_UNSIGNED}
    return Layout(height, width, samples, bits, colours, stored, alpha, depth, unsigned, turn)


def dpi(tags: Directory) -> tuple[float, float] | None:
    """Return the resolution in pixels an inch; None when no unit of length is given."""
    scale = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(tags.get(Base.ResolutionUnit, _INCH))
    across, down = tags.get(Base.XResolution), tags.get(Base.YResolution)
    if scale is None or not across or not down:
        return None
    return float(across) * scale, float(down) * scale
