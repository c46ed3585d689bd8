"""Feature maps as a contact sheet: every map a tile with a label, every layer a section.

A map has no colours of its own, so the sheet is grey. Where a layer's values have both signs zero
is mid-grey, else zero is black; what a tile's values are stands above it. Small maps are enlarged
by whole factors, so that one value stays one square; large ones are reduced by averaging.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from math import ceil, isfinite, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from convtool.errors import ArrayError
from convtool.geometry import size_text

Grey = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Scale = Literal["each", "all"]

# Pixels. A sheet of 64 maps is about as wide as a page on a screen.
WIDTH = 1240
MARGIN, GAP, SECTION_GAP = 20, 10, 28
LEAST, GREATEST = 96, 320
TOGETHER = 8  # maps in a row where several layers share a sheet
HEADING, LABEL = 20, 13

PAPER, INK, FAINT, FRAME = 255, 26, 110, 190
WHITE, MIDDLE = 255, 127.5

# The share of a map's values that may be stronger than its stretch: seldom responses, as at a few
# edges, would leave the rest without contrast.
SATURATED = 0.002

# More maps than this make no picture that can be looked at.
MOST = 256


class Section(NamedTuple):
    """A layer on a sheet.

    Parameters
    ----------
    title : str
        ``1 conv1: conv 7x7 x64 stride=2 relu``.
    maps : ndarray (H, W, F)
        Real numbers; nan is drawn as zero.
    labels : sequence of str
        One for each map; by default their numbers from 0.
    """

    title: str
    maps: NDArray[np.generic]
    labels: Sequence[str] = ()


class Range(NamedTuple):
    """The least and greatest of the finite values, zero where there are none."""

    least: float
    greatest: float

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> "Range":
        """Find it."""
        least, greatest = float(values.min()), float(values.max())
        if isfinite(least) and isfinite(greatest):  # nearly always, and much quicker
            return cls(least, greatest)
        finite = values[np.isfinite(values)]
        return cls(float(finite.min()), float(finite.max())) if finite.size else cls(0.0, 0.0)

    def __str__(self) -> str:
        return f"{_number(self.least)} to {_number(self.greatest)}"


def contact_sheet(
    sections: Sequence[Section], *, scale: Scale = "each", width: int = WIDTH, most: int = MOST
) -> Grey:
    """Draw feature maps.

    Parameters
    ----------
    sections : sequence of Section
        At least one. One alone is as wide as it is high; of several each fills the width.
    scale : str
        ``each``: every map is stretched by itself, so that what it looks for can be seen; the few
        strongest responses of a large map (2 in 1000) are all white, or black.
        ``all``: one stretch for a layer, so that maps can be compared.
    width : int
        About how wide the sheet is to be, in pixels.
    most : int
        So many maps of a layer are drawn; the heading says how many there are.

    Returns
    -------
    ndarray (H, W, 1), uint8

    Raises
    ------
    ArrayError
        Where maps are not (H, W, F), or their labels do not go with them.
    """
    beside = TOGETHER if len(sections) > 1 else None
    parts = [_draw_section(_checked(section), scale, width, most, beside) for section in sections]
    wide = max(part.width for part in parts) + 2 * MARGIN
    gaps = SECTION_GAP * (len(parts) - 1)
    sheet = Image.new("L", (wide, sum(part.height for part in parts) + gaps + 2 * MARGIN), PAPER)
    top = MARGIN
    for part in parts:
        sheet.paste(part, (MARGIN, top))
        top += part.height + SECTION_GAP
    return np.asarray(sheet)[..., None]


def _checked(section: Section) -> Section:
    """Return the section with labels for all its maps, or say what is wrong with it."""
    maps = np.asarray(section.maps)
    if maps.ndim != 3 or 0 in maps.shape or maps.dtype.kind not in "biuf":
        raise ArrayError(
            f"feature maps are real numbers (H, W, F) with at least one value, but {section.title} "
            f"has {maps.dtype} of shape {maps.shape}",
            "of a batch (N, H, W, F) take one image",
        )
    count = maps.shape[2]
    if section.labels and len(section.labels) != count:
        raise ArrayError(
            f"every map has one label, but {section.title} has {count} maps and "
            f"{len(section.labels)} labels"
        )
    labels = section.labels or [str(number) for number in range(count)]
    return Section(section.title, maps, labels)


def _draw_section(
    section: Section, scale: Scale, width: int, most: int, columns: int | None
) -> Image.Image:
    """Draw a heading of two lines, and the maps below it, so many in a row if that is said."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and said to be
        planes = np.ascontiguousarray(np.moveaxis(section.maps, 2, 0), np.float32)
    layer, labels, count = Range.of(planes), list(section.labels), len(planes)
    values, shown = [f"values {layer}", *_remarks(planes)], ""
    if planes.shape[1:] == (1, 1) and count > 1:
        # A vector: its values as the squares of one map.
        planes, labels = _as_map(planes), [f"0 to {count - 1}, row by row"]
    elif count > most:
        values.append(f"the first {most} maps of {count}")
        planes, labels = planes[:most], labels[:most]
    texts = [(label, str(Range.of(plane))) for label, plane in zip(labels, planes, strict=True)]
    tiles = _Tiles.of(planes.shape, texts, width, columns)
    if planes.shape[1:] == section.maps.shape[:2] != tiles.size[::-1]:
        shown = f", shown at {size_text(tiles.size[::-1])}"
    details = f"{size_text(section.maps.shape)}{shown}, {', '.join(values)}"
    heading = _heading(section.title, details, width)
    size = max(tiles.width, heading.width) + 1, heading.height + tiles.height + 1
    image = Image.new("L", size, PAPER)
    image.paste(heading)
    pen = ImageDraw.Draw(image)
    for plane, words, (left, top) in zip(planes, texts, tiles.places(), strict=True):
        top += heading.height
        _draw_label(pen, (left, top), words, tiles)
        top += tiles.label
        reach = _reach(plane) if scale == "each" else max(-layer.least, layer.greatest)
        picture = _resized(_grey(plane, reach, signed=layer.least < 0), tiles.size)
        image.paste(picture, (left, top))
        pen.rectangle((left - 1, top - 1, left + picture.width, top + picture.height), None, FRAME)
    return image


def _heading(title: str, details: str, width: int) -> Image.Image:
    """Write a layer's title, and below it what its values are."""
    lines = ((title, HEADING, INK), (details, LABEL + 1, FAINT))
    wide = max(ceil(_font(size).getlength(text)) for text, size, _ in lines)
    image = Image.new("L", (min(wide, width), HEADING + LABEL + 22), PAPER)
    pen, top = ImageDraw.Draw(image), 0
    for text, size, colour in lines:
        pen.text((0, top), text, colour, _font(size))
        top += size + 8
    return image


def _remarks(values: NDArray[np.float32]) -> Iterator[str]:
    """Say how many values are zero, as behind a relu, and how many are none."""
    share = float(np.count_nonzero(values == 0)) / values.size
    if share >= 0.005:
        yield f"{share:.0%} zero"
    odd = values.size - int(np.isfinite(values).sum())
    if odd:
        yield f"{odd} not finite"


def _as_map(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay out (F, 1, 1) in rows, as nearly square as can be: (1, H, W), filled up with nan."""
    count = vector.size
    across = ceil(sqrt(count))
    plane = np.full(ceil(count / across) * across, np.nan, np.float32)
    plane[:count] = vector.reshape(-1)
    return plane.reshape(1, -1, across)


def _reach(plane: NDArray[np.float32]) -> float:
    """Return the size of value that becomes white or black: few of a large map's are larger."""
    sizes = np.abs(plane).reshape(-1)
    if not isfinite(sizes.max()):
        sizes = sizes[np.isfinite(sizes)]
    if not sizes.size:
        return 0.0
    # Of a map that is nearly all zero the share would leave out everything there is to see.
    return float(np.quantile(sizes, 1 - SATURATED)) or float(sizes.max())


def _grey(plane: NDArray[np.float32], reach: float, *, signed: bool) -> Image.Image:
    """Draw a map: zero is mid-grey where the layer's values have both signs, else black."""
    reach = reach or 1.0
    shares = np.nan_to_num(plane / np.float32(reach), nan=0.0, posinf=1.0, neginf=-1.0)
    levels = MIDDLE + shares * MIDDLE if signed else shares * WHITE
    return Image.fromarray(np.rint(np.clip(levels, 0, WHITE)).astype(np.uint8))


class _Tiles(NamedTuple):
    """Where the tiles of a section stand, and how large they are.

    Parameters
    ----------
    number, columns : int
    size : (int, int)
        Width and height of a map as it is drawn.
    cell : int
        Width that a tile and its label take.
    label : int
        Height of a label.
    """

    number: int
    columns: int
    size: tuple[int, int]
    cell: int
    label: int

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        texts: Sequence[tuple[str, str]],
        width: int,
        columns: int | None = None,
    ) -> "_Tiles":
        """Lay out maps (F, H, W) with their labels and ranges."""
        count, h, w = shape
        planned = columns or _columns(count, h / w)
        room = (width - GAP * (planned - 1)) // planned
        size = _drawn((w, h), min(max(room, LEAST), GREATEST))
        cell = max(size[0], LEAST)
        lengths = [(_font(LABEL).getlength(a), _font(LABEL).getlength(b)) for a, b in texts]
        lines = 1 if all(a + b + LABEL <= cell for a, b in lengths) else 2
        return cls(count, min(count, planned), size, cell, lines * (LABEL + 4))

    @property
    def width(self) -> int:
        """Of all of them together."""
        return self.columns * (self.cell + GAP) - GAP

    @property
    def height(self) -> int:
        """Of all of them together."""
        return ceil(self.number / self.columns) * (self.label + self.size[1] + GAP) - GAP

    def places(self) -> Iterator[tuple[int, int]]:
        """Go through the upper left corners, row by row."""
        step = self.label + self.size[1] + GAP
        for number in range(self.number):
            row, column = divmod(number, self.columns)
            yield column * (self.cell + GAP), row * step


def _columns(count: int, aspect: float) -> int:
    """Return how many tiles stand in a row so that the sheet is about as wide as it is high.

    A few more are taken where that fills the last row.
    """
    if count <= 4:
        return count
    even = min(count, max(1, ceil(sqrt(count * aspect))))
    return next((n for n in range(even, even + max(3, even // 3)) if count % n == 0), even)


def _drawn(size: tuple[int, int], room: int) -> tuple[int, int]:
    """Return the size at which a map is drawn: enlarged by a whole factor, or made to fit."""
    longer = max(size)
    factor = max(room // longer, 1) if longer <= room else room / longer
    across, down = (max(1, round(side * factor)) for side in size)
    return across, down


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    reduced = picture.width > size[0] or picture.height > size[1]
    return picture.resize(size, Image.Resampling.BOX if reduced else Image.Resampling.NEAREST)


def _draw_label(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], texts: tuple[str, str], tiles: _Tiles
) -> None:
    """Write a map's label on the left, and its range on the right or below."""
    left, top = place
    label, values = texts
    font = _font(LABEL)
    pen.text((left, top), label, INK, font)
    below = tiles.label > LABEL + 4
    right = left + tiles.cell - font.getlength(values)
    pen.text((left if below else right, top + (LABEL + 4) * below), values, FAINT, font)


@cache
def _font(size: int) -> Font:
    """Return Pillow's own font, of any size where it was built with FreeType."""
    try:
        return ImageFont.load_default(size=size)
    except ImportError:
        return ImageFont.load_default_imagefont()


def _number(value: float) -> str:
    """Write three digits, or a whole number of up to five."""
    return f"{value:.0f}" if 999.5 <= abs(value) < 99999.5 else f"{value:.3g}"
