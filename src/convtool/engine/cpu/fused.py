"""Small kernels: from pixels to pixels by `source.fused`.

::

    columns of the output    0 … span | span …           … o - span | o - span … o
    read from                a copy   | the image as it is          | a copy

Where windows reach beyond the left or the right end of an image they read a copy of the few columns
there, with the border beside them: as wide as one tile of vectors. Above and below, rows of the
image stand in for the border, or a row of its colour.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import (
    PADDED,
    address_of,
    again,
    cut,
    kind_of,
    pixel_numbers,
    sources,
)
from convtool.engine.cpu.job import FUSED, JOB
from convtool.engine.cpu.piece import Piece, describe, function
from convtool.engine.finish import Finish, Summary
from convtool.engine.planner import small
from convtool.geometry import Axis, ConvPlan, plan
from convtool.terms import Activation, Combine, RangeMode

# A strip is so wide that the rows of a tile, and those that the next tile needs again, stay in
# the second cache.
STRIP_BYTES = 200_000

_ACTIVATIONS = (Activation.NONE, Activation.RELU, Activation.ABS)
_COMBINES = (
    Combine.EACH,
    Combine.MAGNITUDE,
    Combine.SUM,
    Combine.MEAN,
    Combine.MAX,
    Combine.ABSMAX,
)
_RANGES = (RangeMode.RAW, RangeMode.CLIP, RangeMode.ABS, RangeMode.SIGNED)


def fits(
    x: NDArray[Any],
    out: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    finish: Finish,
) -> bool:
    """Whether the kernel is small, and its sums' end one that is written for vectors."""
    border = settled.spec.border
    if pixel_numbers(out) is None or kind_of(x).layout != kind_of(out).layout:
        return False  # rows are written whole; lanes that are no channel are carried along
    if not small(settled) or settled.cols.o < _span(settled):
        return False
    if border.is_fill and not _is_pixel(border.value, x.dtype):
        return False  # a row of the border could not be written as pixels
    if finish.activation not in _ACTIVATIONS or finish.full_in != finish.full_out:
        return False
    if settled.filters > 1 and finish.combine is Combine.EACH:
        return False
    if finish.dtype == "float32" and finish.range is not RangeMode.RAW:
        return False
    # Where all sums, and their squares, are finite numbers, least and greatest are soon found.
    largest = 1e13 if finish.combine is Combine.MAGNITUDE else 1e30
    added = 0 if finish.bias is None else float(np.abs(finish.bias).max(initial=0))
    finite = x.dtype.kind == "u" and float(np.abs(weights).max()) < largest and added < largest
    return finite or not finish.summarise


def _is_pixel(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a number can be stored as it is."""
    if dtype.kind == "u":
        return bool(0 <= value <= np.iinfo(dtype).max and value == int(value))
    return bool(dtype.type(value) == value)


def tile(filters: int = 1) -> tuple[int, int, int]:
    """Return how many rows of how many vectors are summed at a time, and the lanes of a vector."""
    count, lanes = machine.registers()
    most = 3 if count >= 32 else 2
    return 4, max(most - filters + 1, 1), lanes


def _span(settled: ConvPlan) -> int:
    """Return the pixels of the output that a region has at least, to hold one tile of vectors."""
    _, vectors, lanes = tile(settled.filters)
    channels, stride = settled.input_shape[3], settled.cols.s
    if stride > 1:
        return max(vectors * lanes // (stride * channels), 1)
    return -(-vectors * lanes // channels)


def _reach(settled: ConvPlan, wide: int) -> int:
    """Return how many columns of an image `wide` results read, needed or not."""
    _, vectors, lanes = tile(settled.filters)
    channels, cols = settled.input_shape[3], settled.cols
    read = -(-vectors * lanes // channels)
    last = wide - (_span(settled) if cols.s > 1 else read)
    return max(last, 0) * cols.s + read + (cols.k - 1) * cols.d


class Region(NamedTuple):
    """Columns of the output, and what of the image they read.

    Parameters
    ----------
    start, stop : int
        Columns of the output.
    copied : bool
        Whether they read a copy, with its border.
    """

    start: int
    stop: int
    copied: bool


def _regions(settled: ConvPlan) -> list[Region]:
    """Divide the columns: a copy at each end if need be, between them the image as it is."""
    cols, span = settled.cols, _span(settled)
    first = span if cols.before > 0 else 0
    # The last column with which what is read beyond the windows still lies in the image.
    beyond = _reach(settled, span) - span * cols.s
    stop = min((cols.i + cols.before - beyond) // cols.s, cols.o)
    if stop < cols.o:
        stop = min(stop, cols.o - span)
    if stop - first < span:
        return [Region(0, cols.o, copied=True)]
    ends = [Region(0, first, copied=True), Region(stop, cols.o, copied=True)]
    return [Region(first, stop, copied=False), *(end for end in ends if end.start < end.stop)]


class Plan(NamedTuple):
    """Everything about a region but the addresses of the arrays, for the next image like it."""

    region: Region
    record: NDArray[Any]
    recipe: NDArray[Any]
    unit: Any
    items: int
    scratch: int
    lanes: int
    keep: list[Any]


def pieces(
    x: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    finish: Finish,
    out: NDArray[Any],
    threads: int,
) -> list[Piece]:
    """Lay out an image for which `fits` holds.

    RGB in 4 bytes a pixel is filtered as four channels. The fourth says nothing and is not counted.
    """
    channels = x.shape[3]
    if kind_of(x).layout == PADDED:
        settled = _with_channels(settled, 4)
        x, out = (as_strided(one, (*one.shape[:3], 4)) for one in (x, out))
    taps = np.ascontiguousarray(weights, np.float32)
    end = np.zeros(4 + settled.filters, np.float32)
    # Rounding to even takes half a step below black to black, but half one above white beyond it.
    slack = np.inf if finish.range is RangeMode.RAW else 0.5
    end[:4] = finish.full_out, finish.full_in / 2, -slack, finish.full_out + slack
    end[4:] = 0 if finish.bias is None else finish.bias
    kind = (
        _ACTIVATIONS.index(finish.activation),
        _COMBINES.index(finish.combine),
        _RANGES.index(finish.range),
        int(finish.summarise),
        x.dtype.name,
        finish.dtype,
    )
    found = []
    for planned in _plans(settled, kind, out.shape[3], threads, STRIP_BYTES):
        record, recipe = again(planned.record), again(planned.recipe)
        j, r = record[0], recipe[0]
        image = _copy(x, settled, planned.region) if planned.region.copied else x
        partial = np.zeros((planned.items if finish.summarise else 0, 4, planned.lanes), np.float32)
        partial[:, 0], partial[:, 1] = np.inf, -np.inf
        j["image"], j["out"], j["recipe"] = address_of(image), address_of(out), address_of(recipe)
        r["weights"], r["end"] = address_of(taps), address_of(end)
        r["summaries"] = address_of(partial)
        wide = planned.region.stop - planned.region.start
        values = out.size // out.shape[2] * wide
        found.append(
            Piece(
                planned.unit,
                record,
                planned.items,
                planned.scratch,
                _summary(partial, values * channels // x.shape[3], channels, x.shape[3]),
                [image, out, taps, end, partial, recipe, planned],
            )
        )
    return found


@lru_cache(maxsize=64)
def _with_channels(settled: ConvPlan, channels: int) -> ConvPlan:
    shape = (*settled.input_shape[:3], channels)
    spec = settled.spec._replace(groups=1)
    return plan(spec, shape, settled.kernel_shape, settled.filters)


def _summary(
    partial: NDArray[np.float32], values: int, channels: int, apart: int
) -> Callable[[], Summary]:
    return lambda: _sum_up(partial, values, channels, apart)


def _sum_up(partial: NDArray[np.float32], values: int, channels: int, apart: int) -> Summary:
    """Sum up items' lanes, of which each begins with a pixel where pixels are 4 numbers."""
    if apart > channels:
        lane = np.arange(partial.shape[2])
        partial = np.ascontiguousarray(partial[:, :, lane % apart < channels])
    counts = partial.view(np.int32)
    return Summary(
        float(partial[:, 0].min()),
        float(partial[:, 1].max()),
        others=0,
        below=int(counts[:, 2].sum()),
        above=int(counts[:, 3].sum()),
        nan=0,
        values=values,
    )


def _copy(x: NDArray[Any], settled: ConvPlan, region: Region) -> NDArray[Any]:
    """Return the columns that a region reads, with the border beside them."""
    cols, border = settled.cols, settled.spec.border
    first = region.start * cols.s - cols.before
    wide = _reach(settled, region.stop - region.start)
    n, h, w, c = x.shape
    part = np.empty((n, h, wide, c), x.dtype)
    left, right = max(-first, 0), min(max(w - first, 0), wide)
    if left < right:
        part[:, :, left:right] = x[:, :, first + left : first + right]
    places = sources(cols, border)
    # What is read beyond the last window stands nowhere, and is not stored.
    beyond = np.full(max(first + cols.before + wide - places.size, 0), places[-1])
    columns = np.concatenate([places, beyond])[first + cols.before :][:wide]
    for side in (slice(0, min(left, wide)), slice(max(right, left), wide)):
        if side.start < side.stop:
            taken = columns[side]
            part[:, :, side] = x[:, :, taken] if w else 0
            part[:, :, side][:, :, taken < 0] = border.value
    return part


@lru_cache(maxsize=256)
def _plans(
    settled: ConvPlan, kind: tuple[Any, ...], channels: int, threads: int, strip_bytes: int
) -> list[Plan]:
    cols: Axis = settled.cols
    n, _, w, c = settled.input_shape
    rows, vectors, lanes = tile(settled.filters)
    kh, kw = settled.kernel_shape
    source, result = np.dtype(kind[4]), np.dtype(kind[5])
    plans = []
    for region in _regions(settled):
        record, recipe = np.zeros(1, JOB), np.zeros(1, FUSED)
        j, r = record[0], recipe[0]
        tables = describe(j, settled, c * source.itemsize, channels * result.itemsize)
        wide = region.stop - region.start
        if region.copied:
            read = _reach(settled, wide)
            j["before"] = region.start * cols.s
            j["row_bytes"] = read * c * source.itemsize
            j["image_bytes"] = settled.input_shape[1] * read * c * source.itemsize
        step = int(j["step"] + j["passed_over"])
        reached = (rows - 1) * step + kh
        strip = max(strip_bytes // (reached * c * source.itemsize * cols.s), _span(settled))
        strips = max(wide // strip, 1)  # none narrower than that
        cut(j, n, (region.start, region.stop), strips, rows, threads)
        offsets = np.arange(kw, dtype=np.int64) * (cols.d * c)
        border = settled.spec.border
        fill = np.full(
            (max(w, _reach(settled, wide)) + 1) * c, border.value if border.is_fill else 0, source
        )
        picked = vectors * lanes // (cols.s * c) * c if cols.s > 1 else lanes
        r["offsets"], r["fill_row"] = address_of(offsets), address_of(fill)
        r["summary_bytes"] = 16 * picked
        j["extra_at"] = (reached + rows) * 8 // 64 * 64 + 64
        unit = machine.address(
            "fused",
            *(rows, vectors, lanes),
            *(settled.filters, kh, kw, step, cols.s, c if cols.s > 1 else 0),
            *kind,
        )
        plans.append(
            Plan(
                region,
                record,
                recipe,
                function(unit),
                items=int(n * j["residues"] * j["bands"] * j["strips"]),
                scratch=int(j["extra_at"]) + int(j["strip_columns"]) * c * 4 + 4096,
                lanes=picked,
                keep=[*tables, offsets, fill],
            )
        )
    return plans
