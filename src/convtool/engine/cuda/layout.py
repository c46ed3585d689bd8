"""How a convolution is laid out for the GPU: its parts, what each reads and writes, and chunks.

The images that the GPU reads have their border already: rows are copied into pinned memory on their
way anyway, and each is copied from where the border says it comes. So no kernel asks whether a
window reaches beyond an edge. Rows begin at multiples of `PITCH` numbers::

            left                      right
      lo  ┌──┬─────────────────────┬──┐┄┄┄┐
          │  │ border              │  │   ┆
          ├──┼─────────────────────┼──┤   ┆   one chunk: the rows that a band
          │  │ image               │  │   ┆   of output rows reads
      hi  └──┴─────────────────────┴──┘┄┄┄┘
                                      pitch
"""

from collections.abc import Iterator
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.engine import phases, work
from convtool.engine.cores import cores
from convtool.errors import EngineError
from convtool.geometry import Axis, Border, ConvPlan, Pair
from convtool.terms import Op

# Rows begin at multiples of so many numbers: 128 bytes of float32, and vectors of all types.
PITCH = 32

# As many neighbouring results as a thread makes for each filter, at most: see `launches`.
WIDE = 16

# What kernels may read behind the last row, in numbers beside rows of which see `_beyond`.
BEHIND = 256

# As many rows of results as a thread makes, at most: see `launches`.
DOWN = 16

# A chunk's bytes, up and down together: enough for the GPU to be busy, few enough that the first
# chunk is soon there and several fit the second cache.
CHUNK = 1 << 25

# Copies below so many bytes are done by one thread; others in pieces of so many bytes.
ALONE, PIECE = 1 << 21, 1 << 20

# Of a grid, along its third axis.
MOST_IMAGES = 65_535


class Part(NamedTuple):
    """A convolution that makes some of the outputs, or all.

    Parameters
    ----------
    plan : ConvPlan
        Of a conv2d.
    weights : ndarray (F, kh, kw) or HWIO, float64
    origin : (y, x)
        The pixel of the image at which the window of its first result begins; often outside.
    first, step : (y, x)
        Where its first result goes, and how far it is to the next one, in pixels of the output.
    """

    plan: ConvPlan
    weights: NDArray[np.float64]
    origin: Pair
    first: Pair
    step: Pair


class Band(NamedTuple):
    """The rows of a part's results that lie in a chunk, from `start` to before `stop`."""

    part: Part
    start: int
    stop: int


class Chunk(NamedTuple):
    """Work that goes to the GPU together.

    Parameters
    ----------
    images, rows : (start, stop)
        Which images, and which rows of the output.
    bands : tuple of Band
    lo, hi : int
        Which rows of the images it reads, beyond their edges too.
    """

    images: Pair
    rows: Pair
    bands: tuple[Band, ...]
    lo: int
    hi: int


class Layout(NamedTuple):
    """How images lie in the memory of the GPU.

    Parameters
    ----------
    parts : tuple of Part
    left, right : int
        Which columns of the images are there, beyond their edges too.
    channels, results : int
        Of a pixel of the image and of the output.
    pitch, out_pitch : int
        Numbers from one row to the next.
    shape : (N, OH, OW)
        Of all results.
    border : Border
    pads : ((top, bottom), (left, right))
        How much of it the plan has.
    """

    parts: tuple[Part, ...]
    left: int
    right: int
    channels: int
    results: int
    pitch: int
    out_pitch: int
    shape: tuple[int, int, int]
    border: Border
    pads: tuple[Pair, Pair]

    def filled(self, chunk: Chunk) -> int:
        """Return how many numbers a chunk's images take."""
        return (chunk.images[1] - chunk.images[0]) * (chunk.hi - chunk.lo) * self.pitch

    def numbers(self, chunk: Chunk) -> int:
        """Return how many numbers they take with what may be read behind them."""
        behind = max(map(_beyond, chunk.bands), default=1) * self.pitch + BEHIND
        return self.filled(chunk) + behind

    def out_numbers(self, chunk: Chunk) -> int:
        """Return how many numbers a chunk's results take."""
        images, rows = (stop - start for start, stop in (chunk.images, chunk.rows))
        return images * rows * self.out_pitch


def parts_of(settled: ConvPlan, weights: NDArray[np.float64]) -> tuple[Part, ...]:
    """Return the convolutions that a plan is made of; its border is one number if transposed."""
    rows, cols = settled.rows, settled.cols
    if settled.op is Op.CONV2D:
        origin = (-rows.before, -cols.before)
        return (Part(settled, weights, origin, (0, 0), (1, 1)),)
    return tuple(
        Part(
            part.plan,
            np.ascontiguousarray(part.weights(weights)),
            (
                part.rows.reads.start - part.rows.axis.before,
                part.cols.reads.start - part.cols.axis.before,
            ),
            (part.rows.first, part.cols.first),
            settled.spec.stride,
        )
        for part in phases.parts(settled)
    )


def lay_out(settled: ConvPlan, parts: tuple[Part, ...], results: int) -> Layout:
    """Lay out the images of a plan; `results` are the channels of what is stored."""
    n, oh, ow, _ = settled.output_shape
    channels, rows, cols = settled.input_shape[3], settled.rows, settled.cols
    forward = settled.op is Op.CONV2D
    left = min((part.origin[1] for part in parts), default=0)
    right = max((part.origin[1] + _reach(part.plan.cols) for part in parts), default=1)
    return Layout(
        parts,
        left,
        right,
        channels,
        results,
        _up((right - left) * channels, PITCH),
        # The last thread of a row may store a few numbers more.
        _up(ow * results + WIDE * max(results // channels, 1), PITCH),
        (n, oh, ow),
        settled.spec.border,
        ((rows.before, rows.after), (cols.before, cols.after)) if forward else ((0, 0), (0, 0)),
    )


def chunks(layout: Layout, size: int, out_size: int, most: int) -> Iterator[Chunk]:
    """Cut the work.

    Parameters
    ----------
    layout : Layout
    size, out_size : int
        Bytes of a number of the images and of the results.
    most : int
        Bytes that a chunk may take on the GPU.

    Raises
    ------
    EngineError
        Where not even one row of results fits.
    """
    n, oh, _ = layout.shape
    whole = chunk_of(layout, (0, 1), (0, oh))
    each = _bytes(layout, whole, size, out_size)
    aim = min(CHUNK, most)
    visited = min(_residues(layout), max(oh, 1))
    if (each <= aim or (oh == 1 and each <= most)) and visited <= MOST_IMAGES:
        count = min(max(aim // each, 1), MOST_IMAGES // visited, n)
        for start in range(0, n, count):
            yield chunk_of(layout, (start, min(start + count, n)), (0, oh))
        return
    # Residues of rows go along the grid's third axis, too.
    rows = min(_rows_for(layout, size, out_size, aim, most), MOST_IMAGES)
    for image in range(n):
        for start in range(0, oh, rows):
            yield chunk_of(layout, (image, image + 1), (start, min(start + rows, oh)))


def _residues(layout: Layout) -> int:
    return max((step_of(part.plan.rows)[0] for part in layout.parts), default=1)


def _rows_for(layout: Layout, size: int, out_size: int, aim: int, most: int) -> int:
    """Return how many rows of results make a chunk of about `aim` bytes, and at most `most`."""
    oh = layout.shape[1]

    def needs(rows: int) -> int:
        return _bytes(layout, chunk_of(layout, (0, 1), (0, rows)), size, out_size)

    if needs(1) > most:
        raise EngineError(
            f"a row of results and what it is made of take {needs(1):,} bytes, but the GPU has "
            f"{most:,} for them",
            "use --engine cpu",
        )
    low, high = 1, oh
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if needs(middle) <= aim else (low, middle - 1)
    # What a band reads beyond its own rows is read again by the next: a few times as many rows.
    window = max(part.plan.rows.window for part in layout.parts) if layout.parts else 1
    stride = max(part.plan.rows.s for part in layout.parts) if layout.parts else 1
    wanted = min(4 * -(-window // stride), oh)
    while low < wanted and needs(min(2 * low, oh)) <= most:
        low = min(2 * low, oh)
    return low


def _bytes(layout: Layout, chunk: Chunk, size: int, out_size: int) -> int:
    return layout.numbers(chunk) * size + layout.out_numbers(chunk) * out_size


def chunk_of(layout: Layout, images: Pair, rows: Pair) -> Chunk:
    """Say what a chunk of some rows of some images reads."""
    bands = tuple(band for part in layout.parts if (band := _band(part, rows)).start < band.stop)
    lo = min((_top(band) for band in bands), default=0)
    hi = max((_bottom(band) for band in bands), default=lo)
    return Chunk(images, rows, bands, lo, hi)


def _band(part: Part, rows: Pair) -> Band:
    first, step = part.first[0], part.step[0]
    start, stop = (max(-(-(row - first) // step), 0) for row in rows)
    return Band(part, start, min(stop, part.plan.rows.o))


def _top(band: Band) -> int:
    return band.part.origin[0] + band.start * band.part.plan.rows.s


def _bottom(band: Band) -> int:
    axis = band.part.plan.rows
    return band.part.origin[0] + (band.stop - 1) * axis.s + axis.window


def _beyond(band: Band) -> int:
    """Return how many rows beyond its last one a band's kernel may read.

    One, that is loaded ahead; or as many as a thread's rows reach where it has fewer to make.
    """
    residues, step, line = step_of(band.part.plan.rows)
    lacking = max(DOWN - (band.stop - band.start) // residues, 0)
    return max(lacking * step * line, 1)


def _reach(axis: Axis) -> int:
    """Return how many lines all windows of an axis span."""
    return (axis.o - 1) * axis.s + axis.window


def step_of(axis: Axis) -> tuple[int, int, int]:
    """Return how output rows are visited so that a dilation vanishes.

    Output row i reads rows i·s + a·d. Of the rows that lie n = d / gcd(s, d) apart, the m-th reads
    rows d·(m·s / gcd(s, d) + a) beyond the first.

    Returns
    -------
    residues, step, line : int
        n, s / gcd(s, d), and d: how many rows it is from a line to the next.
    """
    d = axis.d if axis.k > 1 else 1
    common = gcd(axis.s, d)
    return d // common, axis.s // common, d


def sources(start: int, stop: int, size: int, border: Border, pads: Pair) -> NDArray[np.intp]:
    """Say which line of an image stands at each place, also beyond its edges.

    Returns
    -------
    ndarray (stop - start,)
        -1 where the border is one number. numpy.pad itself lays the others out, so that every
        border means what it means there.
    """
    before, after = max(-start, pads[0]), max(stop - size, pads[1])
    lines = np.arange(size)
    if border.is_fill or not (before or after):
        found = np.full(before + size + after, -1)
        found[before : before + size] = lines
    else:
        found = np.pad(lines, (before, after), mode=border.mode.value)  # type: ignore[call-overload]
    return found[start + before : stop + before]


def stage(images: NDArray[Any], layout: Layout, chunk: Chunk, place: NDArray[Any]) -> None:
    """Copy a chunk's images, with their border, into memory (`layout.filled`,)."""
    count, high = chunk.images[1] - chunk.images[0], chunk.hi - chunk.lo
    wide = layout.right - layout.left
    lines = place.reshape(count, high, layout.pitch)
    pixels = lines[:, :, : wide * layout.channels].reshape(count, high, wide, layout.channels)
    some = images[chunk.images[0] : chunk.images[1]]
    border, pads = layout.border, layout.pads
    rows = sources(chunk.lo, chunk.hi, images.shape[1], border, pads[0])
    columns = sources(layout.left, layout.right, images.shape[2], border, pads[1])
    copies = []
    for top, bottom, row in _runs(rows):
        for start, stop, column in _runs(columns):
            target = pixels[:, top:bottom, start:stop]
            if row < 0 or column < 0:
                target[...] = border.value
            else:
                source = some[:, row : row + bottom - top, column : column + stop - start]
                copies.append((source, target))
    copy(copies)


def unstage(place: NDArray[Any], layout: Layout, chunk: Chunk, out: NDArray[Any]) -> None:
    """Copy a chunk's results out of memory (`layout.out_numbers`,) to where they belong."""
    images, rows = (stop - start for start, stop in (chunk.images, chunk.rows))
    lines = place.reshape(images, rows, layout.out_pitch)
    wide = layout.shape[2]
    pixels = lines[:, :, : wide * layout.results].reshape(images, rows, wide, layout.results)
    copy([(pixels, out[slice(*chunk.images), slice(*chunk.rows)])])


def copy(pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> None:
    """Copy images (N, H, W, C) to others, on as many threads as there is work for."""
    pieces = [piece for pair in pairs for piece in _pieces(*pair)]
    if sum(target.nbytes for _, target in pieces) < ALONE:
        for source, target in pieces:
            _copy(source, target)
    else:
        work.share(len(pieces), cores(), lambda piece, _thread: _copy(*pieces[piece]))


def _pieces(
    source: NDArray[Any], target: NDArray[Any]
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield parts of about `PIECE` bytes."""
    n, high, wide, channels = target.shape
    row = max(wide * channels * target.itemsize, 1)
    images, rows = max(PIECE // (high * row), 1) if high else n, max(PIECE // row, 1)
    for first in range(0, n, images):
        for top in range(0, high, rows):
            part = (slice(first, first + images), slice(top, top + rows))
            yield source[part], target[part]


def _copy(source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copy images; where pixels lie apart, one channel after the other."""
    if _close(source) and _close(target):
        target[...] = source
        return
    for channel in range(source.shape[3]):
        target[..., channel] = source[..., channel]


def _close(images: NDArray[Any]) -> bool:
    size = images.itemsize
    return images.strides[3] == size and images.strides[2] == images.shape[3] * size


def _runs(lines: NDArray[np.intp]) -> Iterator[tuple[int, int, int]]:
    """Yield runs of lines that stand side by side in the image: from, to, and from which one."""
    start = 0
    for stop in [*(np.flatnonzero(_breaks(lines)) + 1).tolist(), len(lines)]:
        if stop > start:
            yield start, stop, int(lines[start])
        start = stop


def _breaks(lines: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Say behind which lines another run begins: numbers go up by one, or stay at -1."""
    step = np.diff(lines)
    return ~((step == 1) & (lines[:-1] >= 0) | (lines[:-1] < 0) & (lines[1:] < 0))


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
