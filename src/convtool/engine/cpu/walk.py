"""The walk over a piece of an image: how it is cut, and the job that says so to machine code."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import cut, row_step, sources, tap_offsets, whole_lines
from convtool.engine.cpu.job import JOB, SUMMARY
from convtool.engine.cpu.methods import Recipe
from convtool.engine.finish import Finish
from convtool.geometry import ConvPlan
from convtool.terms import Activation, Combine, RangeMode

# Lines and sums of a strip take about so many bytes, which fits the second cache of a core.
STRIP_BYTES = 400_000

_ACTIVATIONS = tuple(Activation)
_COMBINES: tuple[Combine, ...] = tuple(way for way in Combine if way is not Combine.GRID)
_RANGES: tuple[RangeMode, ...] = (
    RangeMode.RAW,
    RangeMode.CLIP,
    RangeMode.ABS,
    RangeMode.SIGNED,
)


@dataclass
class Piece:
    """Work on a part of the output, cut into items.

    Parameters
    ----------
    function : callable
        Machine code, called with (job, item, scratch).
    record : ndarray
        The job.
    items : int
    scratch : int
        Bytes that each thread needs for itself.
    summaries : ndarray
        One for each item, if asked for.
    keep : list
        What the record points to.
    """

    function: Any
    record: NDArray[Any]
    items: int
    scratch: int
    summaries: NDArray[Any]
    keep: list[Any]

    @property
    def job(self) -> int:
        """The job's address."""
        return int(self.record.ctypes.data)


def piece(
    x: NDArray[Any],
    settled: ConvPlan,
    finish: Finish,
    out: NDArray[Any],
    recipe: Recipe,
    columns: tuple[int, int],
    threads: int,
) -> Piece:
    """Lay out the walk over the output columns start … stop - 1 of every row of `out`."""
    record = np.zeros(1, JOB)
    j = record[0]
    keep = [x, out, recipe, *describe(j, x, settled, out)]
    n, _, _, c = settled.input_shape
    rows, cols = settled.rows, settled.cols
    phases = int(j["column_stride"]) if recipe.split else 1
    reach = (cols.k - 1) * cols.d // phases
    slots = (recipe.tile_rows - 1) * int(j["step"]) + rows.k
    j["phases"], j["reach"], j["slots"] = phases, reach, slots
    wide = columns[1] - columns[0]
    column_bytes = 4 * (slots * phases * c + recipe.filters * recipe.tile_rows * recipe.depth_pitch)
    strip = min(wide, max(recipe.strip_columns, STRIP_BYTES // column_bytes))
    cut(j, n, columns, -(-wide // strip), recipe.tile_rows, threads)
    strip = int(j["strip_columns"])
    places = (strip - 1) * int(j["column_stride"]) // phases + reach + 1
    length = whole_lines(places * c + recipe.line_slack)
    pitch = whole_lines(strip * recipe.depth_pitch + recipe.block_slack)
    j["phase_length"], j["pitch"], j["tile_rows"] = length, pitch, recipe.tile_rows
    j["filters"], j["depth"], j["depth_pitch"] = recipe.filters, recipe.depth, recipe.depth_pitch
    offsets = tap_offsets(cols, phases, length, c)
    recipe.record["pitch"], recipe.record["offsets"] = pitch, offsets.ctypes.data
    if "line_length" in (recipe.record.dtype.names or ()):
        recipe.record["line_length"] = phases * length
    place = 0
    for name, size in {
        "block_at": slots * phases * length * 4,
        "table_at": recipe.filters * recipe.tile_rows * pitch * 4,
        "finish_at": slots * 8,
        "extra_at": (strip * recipe.depth * (recipe.filters + 1)) * 4,
    }.items():
        place += whole_lines(size)
        j[name] = place
    j["kernel"], j["recipe"] = recipe.kernel, recipe.record.ctypes.data
    j["load"] = machine.address("load", x.dtype.name)
    j["store"] = machine.address("store", finish.dtype)
    items = n * int(j["residues"] * j["bands"] * j["strips"])
    summaries = np.zeros(items if finish.summarise else 0, SUMMARY)
    summaries["least"], summaries["greatest"] = np.inf, -np.inf
    _say_finish(j, finish, settled, summaries)
    keep.append(offsets)
    extra = recipe.extra(phases * length) if recipe.extra else 0
    return Piece(function(machine.address("walk")), record, items, place + extra, summaries, keep)


def describe(
    j: Any, x: NDArray[Any], settled: ConvPlan, out: NDArray[Any]
) -> list[NDArray[np.int64]]:
    """Fill in the image, the output and the geometry; return the arrays that must outlive it."""
    _, _, w, c = settled.input_shape
    rows, cols, border = settled.rows, settled.cols, settled.spec.border
    row_sources, column_sources = sources(rows, border), sources(cols, border)
    j["image"], j["image_bytes"] = x.ctypes.data, x[:1].nbytes
    j["row_bytes"], j["width"], j["channels"] = w * c * x.itemsize, w, c
    j["rows"], j["columns"] = row_sources.ctypes.data, column_sources.ctypes.data
    j["padded_width"], j["before"], j["fill"] = column_sources.size, cols.before, border.value
    j["out"], j["out_rows"], j["out_columns"] = out.ctypes.data, rows.o, cols.o
    j["out_pixel_bytes"] = out.shape[3] * out.itemsize
    apart, step = row_step(rows)
    j["row_stride"], j["row_dilation"], j["step"] = rows.s, rows.d, step
    j["residues"], j["kernel_rows"] = min(apart, rows.o), rows.k
    # A stride beyond the padded width is any stride that leaves one window.
    j["column_stride"] = min(cols.s, column_sources.size)
    return [row_sources, column_sources]


@cache
def function(address: int) -> Any:
    """Return the unit (job, item, scratch) at that address; calling it releases the GIL."""
    from ctypes import CFUNCTYPE, c_size_t, c_ssize_t

    return CFUNCTYPE(None, c_size_t, c_ssize_t, c_size_t)(address)


def _say_finish(j: Any, finish: Finish, settled: ConvPlan, summaries: NDArray[Any]) -> None:
    if finish.bias is not None:
        j["bias"] = finish.bias.ctypes.data
        j["depth_biases"] = not settled.per_channel
    j["activation"] = _ACTIVATIONS.index(finish.activation)
    j["combine"] = _COMBINES.index(finish.combine)
    j["range"] = _RANGES.index(finish.range)
    ratio = finish.full_out / finish.full_in
    j["multiply"], j["divide"] = (ratio, 1) if ratio > 1 else (1, 1 / ratio)
    j["full"], j["middle"] = finish.full_out, finish.full_in / 2
    j["slack"] = finish.full_out * 1e-6
    j["summaries"] = summaries.ctypes.data if finish.summarise else 0
