"""The walk over a piece of an image: how it is cut, and the job that says so to machine code."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import cut, tap_offsets, whole_lines
from convtool.engine.cpu.job import JOB
from convtool.engine.cpu.methods import Recipe
from convtool.engine.cpu.piece import (
    Piece,
    describe,
    function,
    say_finish,
    sum_up,
    summaries,
)
from convtool.engine.finish import Finish
from convtool.geometry import ConvPlan

# Lines and sums of a strip take about so many bytes, which fits the second cache of a core.
STRIP_BYTES = 400_000


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
    lanes = machine.registers()[1]
    j["load"] = machine.address("load", x.dtype.name, int(phases > 1), lanes)
    plain = finish.plain and recipe.filters == 1 and recipe.depth_pitch == recipe.depth
    j["store"] = machine.address("store", finish.dtype, int(plain), lanes)
    items = n * int(j["residues"] * j["bands"] * j["strips"])
    parts = summaries(items if finish.summarise else 0)
    say_finish(j, finish, settled, parts)
    keep += [offsets, parts]
    values = n * rows.o * wide * out.shape[3]
    extra = recipe.extra(phases * length) if recipe.extra else 0
    return Piece(
        function(machine.address("walk")),
        record,
        items,
        place + extra,
        lambda: sum_up(parts, values),
        keep,
    )
