"""Time against the size of the kernel as a picture: our methods, the peers, and the crossings.

Both axes are logarithmic, so that a method whose time grows with a power of the size is a
straight line, and the place where two methods change over is as easy to see for small kernels as
for large ones. Drawn with Pillow at twice the size and scaled down, which smooths the lines.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from math import ceil, floor, hypot, log, log10

from PIL import Image, ImageDraw, ImageFont

from convtool.bench.cases import Image as Kind
from convtool.bench.curves import RANK_ONE, Crossing, Point, crossings, lines
from convtool.bench.machine import Machine
from convtool.geometry import size_text

SIZE = (1200, 800)
SCALE = 2

# The area of the axes: left, top, right, bottom. Names of lines stand to the right of it.
FRAME = (90, 118, 944, 730)
MARGIN = 18
NAME_HEIGHT, NAME_GAP, HALO = 19, 24, 3
NAME_STEPS = (0, *(sign * step for step in range(10, 80, 5) for sign in (-1, 1)))

# Okabe & Ito's colours, which people who confuse red and green can tell apart. Ours are thick and
# in colour; the peers thin, grey, and told apart by their dashes.
COLOURS = {"direct": "#0072B2", "separable": "#009E73", "fft": "#D55E00", "gemm": "#CC79A7"}
SPARE = ("#E69F00", "#56B4E9")
GREYS = ("#303030", "#707070", "#4c4c4c")
DASHES: tuple[tuple[int, ...], ...] = ((), (9, 5), (3, 4), (14, 4, 3, 4))
INK, FAINT, GRID, RULE = "#1a1a1a", "#666666", "#ececec", "#c8c8c8"

TICKS = (3, 5, 7, 9, 11, 15, 21, 31, 45, 63, 91, 127)

Place = tuple[float, float]


def png(points: Sequence[Point], kind: Kind, machine: Machine, copy: float) -> bytes:
    """Draw the curves that were measured on one kind of image, as a PNG file; see `draw`."""
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    words = f"kernels of full rank; {size_text(kind.size)} {kind}; {threads}; {machine.processor}"
    file = BytesIO()
    draw(points, words, copy).save(file, "png", optimize=True)
    return file.getvalue()


def draw(points: Sequence[Point], subtitle: str, copy: float) -> Image.Image:
    """Draw the curves.

    Parameters
    ----------
    points : sequence of Point
        At least one.
    subtitle : str
        What was measured, on what.
    copy : float
        What a copy of the image takes, in seconds.
    """
    image = Image.new("RGB", (SIZE[0] * SCALE, SIZE[1] * SCALE), "white")
    pen = _Pen(ImageDraw.Draw(image))
    curves, styles = lines(points), _styles(lines(points))
    sizes = [point.size for point in points]
    times = [copy, *(point.seconds for point in points)]
    axes = _Axes(min(sizes), max(sizes), min(times) / 2, max(times) * 1.5)
    pen.text((28, 38), "Time against the size of the kernel", 25, anchor="lm")
    pen.text((28, 68), subtitle, 15, FAINT, anchor="lm")
    _draw_grid(pen, axes)
    ends = [axes.place(size, copy) for size in (min(sizes), max(sizes))]
    pen.line(ends, _Style(FAINT, 1.6, (2, 5)))
    names, drawn = [_Name("copying the image", ends[-1], FAINT)], _along(ends)
    for name, curve in curves.items():
        style, places = styles[name], [axes.place(p.size, p.seconds) for p in curve]
        pen.line(places, style)
        for place in places:
            pen.dot(place, 4.5 if curve[0].ours else 3, style.colour)
        names.append(_Name(name, places[-1], style.colour, ours=curve[0].ours))
        drawn += _along(places)
    for crossing in crossings(points):
        _draw_crossing(pen, axes, crossing)
    _draw_names(pen, names, drawn)
    return image.resize(SIZE, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class _Style:
    """How a line looks; dashes are lengths drawn and left out by turns."""

    colour: str
    width: float
    dashes: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Name:
    """The name of a line, and where the line ends."""

    text: str
    end: Place
    colour: str
    ours: bool = False


def _styles(curves: Mapping[str, list[Point]]) -> dict[str, _Style]:
    styles, others = dict[str, _Style](), 0
    spare = (colour for colour in SPARE)
    for name, curve in curves.items():
        if curve[0].ours:
            method = name.removesuffix(RANK_ONE)
            styles[name] = _Style(COLOURS.get(method) or next(spare, INK), 3.6)
        else:
            grey = GREYS[others % len(GREYS)]
            styles[name] = _Style(grey, 1.7, DASHES[others % len(DASHES)])
            others += 1
    return styles


@dataclass(frozen=True)
class _Axes:
    """From sizes of kernels and seconds to places."""

    least_size: int
    greatest_size: int
    least: float
    greatest: float

    def place(self, size: float, seconds: float) -> Place:
        left, top, right, bottom = FRAME
        wide = log(self.greatest_size / self.least_size) or 1.0
        x = left + MARGIN + (right - left - 2 * MARGIN) * log(size / self.least_size) / wide
        high = log(self.greatest / self.least)
        return x, bottom - (bottom - top) * log(seconds / self.least) / high


class _Pen:
    """Draws in the picture's own units, at `SCALE` times as many pixels."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def text(
        self, place: Place, text: str, size: float, colour: str = INK, *, anchor: str = "mm"
    ) -> None:
        font = ImageFont.load_default(size=size * SCALE)
        x, y = (value * SCALE for value in place)
        # White around the letters, where they cross a line.
        self._draw.text(
            (x, y), text, colour, font, anchor, stroke_width=HALO * SCALE, stroke_fill="white"
        )

    def width(self, text: str, size: float) -> float:
        return ImageFont.load_default(size=size * SCALE).getlength(text) / SCALE

    def line(self, places: Sequence[Place], style: _Style) -> None:
        for part in _dashed(places, style.dashes) if style.dashes else [places]:
            self._draw.line(
                [(x * SCALE, y * SCALE) for x, y in part],
                style.colour,
                round(style.width * SCALE),
                joint="curve",
            )

    def dot(self, place: Place, radius: float, colour: str, *, hollow: bool = False) -> None:
        x, y = place
        box = [(value) * SCALE for value in (x - radius, y - radius, x + radius, y + radius)]
        fill = None if hollow else colour
        self._draw.ellipse(box, fill, colour, round(1.8 * SCALE))


def _along(places: Sequence[Place]) -> list[Place]:
    """Return places along a line, so close that none slips through a letter."""
    found = list(places)
    for (x0, y0), (x1, y1) in pairwise(places):
        count = ceil(hypot(x1 - x0, y1 - y0) / 4)
        found += [(x0 + (x1 - x0) * n / count, y0 + (y1 - y0) * n / count) for n in range(1, count)]
    return found


def _dashed(places: Sequence[Place], dashes: tuple[int, ...]) -> Iterator[list[Place]]:
    """Cut a line into its dashes, which run on around its corners."""
    number, left = 0, float(dashes[0])
    for (x0, y0), (x1, y1) in pairwise(places):
        length = hypot(x1 - x0, y1 - y0)
        done = 0.0
        while done < length:
            step = min(left, length - done)
            if number % 2 == 0:
                yield [
                    (x0 + (x1 - x0) * share / length, y0 + (y1 - y0) * share / length)
                    for share in (done, done + step)
                ]
            done, left = done + step, left - step
            if left <= 0:
                number += 1
                left = float(dashes[number % len(dashes)])


def _draw_grid(pen: _Pen, axes: _Axes) -> None:
    left, top, right, bottom = FRAME
    for exponent in range(floor(log10(axes.least)), ceil(log10(axes.greatest))):
        for digit in (1, 2, 5):
            seconds = digit * 10.0**exponent
            if axes.least <= seconds <= axes.greatest:
                y = axes.place(axes.least_size, seconds)[1]
                pen.line([(left, y), (right, y)], _Style(GRID if digit > 1 else RULE, 1))
                pen.text((left - 10, y), _time_text(seconds), 14, anchor="rm")
    for size in TICKS:
        if axes.least_size <= size <= axes.greatest_size:
            x = axes.place(size, axes.least)[0]
            pen.line([(x, top), (x, bottom)], _Style(GRID, 1))
            pen.text((x, bottom + 16), str(size), 14)
    pen.line([(left, top), (left, bottom), (right, bottom)], _Style(INK, 1.4))
    pen.text((left - 62, top - 16), "time for one image", 15, anchor="lm")
    pen.text(((left + right) / 2, bottom + 44), "rows and columns of the kernel, in pixels", 15)


def _time_text(seconds: float) -> str:
    # No microseconds: Pillow's own font has no sign for them.
    return f"{seconds:.3g} s" if seconds > 0.999 else f"{seconds * 1e3:.3g} ms"


def _draw_crossing(pen: _Pen, axes: _Axes, crossing: Crossing) -> None:
    x, y = axes.place(crossing.size, crossing.seconds)
    pen.line([(x, y), (x, FRAME[3])], _Style(INK, 1.3, (2, 3)))
    pen.dot((x, y), 9, INK, hollow=True)
    text = f"{crossing.before} to {crossing.after} at {crossing.size:.0f} x {crossing.size:.0f}"
    left = x > (FRAME[0] + FRAME[2]) / 2
    pen.text((x - 8 if left else x + 8, FRAME[3] - 14), text, 14, anchor="rm" if left else "lm")


def _draw_names(pen: _Pen, names: list[_Name], drawn: list[Place]) -> None:
    """Write each name near the end of its line, where it covers least of what is drawn.

    Parameters
    ----------
    drawn : list of (x, y)
        Places all along the lines.
    """
    taken: list[_Box] = []
    for name in names:
        size = 16 if name.ours else 14
        wide = pen.width(name.text, size)
        x, y = name.end
        boxes = [
            _Box(x + NAME_GAP, y + step - NAME_HEIGHT / 2, x + NAME_GAP + wide, step)
            for step in NAME_STEPS
        ]
        box = min(boxes, key=lambda box: box.cost(taken, drawn))
        taken.append(box)
        middle = box.top + NAME_HEIGHT / 2
        pen.line([(x + 8, y), (box.left - 4, middle)], _Style(name.colour, 1))
        pen.text((box.left, middle), name.text, size, name.colour, anchor="lm")


@dataclass(frozen=True)
class _Box:
    """Where a name might stand, so many pixels below the end of its line."""

    left: float
    top: float
    right: float
    step: float

    def cost(self, taken: Iterable["_Box"], drawn: Iterable[Place]) -> float:
        """Return how bad a place it is: other names, lines, and how far off it is."""
        if not 84 < self.top < FRAME[3] - NAME_HEIGHT:
            return 1e6
        names = sum(
            self.left < other.right + 6
            and other.left < self.right + 6
            and abs(self.top - other.top) < NAME_HEIGHT
            for other in taken
        )
        top, bottom = self.top - HALO, self.top + NAME_HEIGHT + HALO
        right = self.right + 2 * HALO
        lines = sum(self.left < x < right and top < y < bottom for x, y in drawn)
        return 1000 * names + 5 * lines + abs(self.step)
