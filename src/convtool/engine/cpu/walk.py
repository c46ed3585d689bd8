"""The walk over a piece of an image: how it is cut, and the job that says so to machine code."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import (
    CLOSE,
    Kind,
    address_of,
    again,
    cut,
    kind_of,
    kind_of_result,
    tap_offsets,
    whole_lines,
)
from convtool.engine.cpu.job import JOB
from convtool.engine.cpu.methods import Layout, Recipe
from convtool.engine.cpu.piece import (
    Piece,
    describe,
    ending,
    function,
    load_unit,
    say_finish,
    say_result,
    store_unit,
    sum_up,
    summaries,
)
from convtool.engine.finish import Finish
from convtool.geometry import ConvPlan

# Lines and sums of a strip take about so many bytes, which fits the second cache of a core.
STRIP_BYTES = 400_000


class Plan(NamedTuple):
    """Everything about a walk but the addresses of the arrays, for the next one like it.

    Parameters
    ----------
    record : ndarray
        The job.
    items, scratch : int
        How many items, and the bytes that each thread needs.
    offsets : ndarray
        See `tap_offsets`.
    line_length : int
        Floats of a line.
    straight : bool
        Whether whole tiles may be summed right into the output.
    keep : list
        What the record points to.
    """

    record: NDArray[Any]
    items: int
    scratch: int
    offsets: NDArray[np.int64]
    line_length: int
    straight: bool
    keep: list[Any]


def piece(
    x: NDArray[Any],
    settled: ConvPlan,
    finish: Finish,
    out: NDArray[Any],
    recipe: Recipe,
    threads: int,
) -> Piece:
    """Lay out the walk over an image."""
    layout = recipe.layout
    side_by_side = layout.depth_pitch == layout.depth
    end = ending(finish, layout.filters, straight=side_by_side)
    planned = _plan(
        settled,
        layout,
        kind_of(x),
        kind_of_result(out),
        end,
        threads,
        STRIP_BYTES,
    )
    record = again(planned.record)
    j = record[0]
    j["image"], j["recipe"] = address_of(x), address_of(recipe.record)
    say_result(j, out)
    recipe.record["pitch"], recipe.record["offsets"] = j["pitch"], address_of(planned.offsets)
    if "line_length" in (recipe.record.dtype.names or ()):
        recipe.record["line_length"] = planned.line_length
    straight = again(recipe.record)
    plain = finish.plain and layout.filters == 1
    if planned.straight and plain and finish.dtype == "float32" and _steps(out, straight):
        j["straight"] = address_of(straight)
    parts = summaries(planned.items if finish.summarise else 0)
    say_finish(j, finish, settled, parts)
    return Piece(
        function(machine.address("walk")),
        record,
        planned.items,
        planned.scratch,
        lambda: sum_up(parts, out.size),
        [x, out, recipe, straight, planned, parts],
    )


def _steps(out: NDArray[Any], recipe: NDArray[Any]) -> bool:
    """Tell a recipe how far apart results lie, if its unit can write them so."""
    recipe["pitch"] = out.strides[1] // 4
    if "depth_pitch" in (recipe.dtype.names or ()):
        recipe["depth_pitch"] = out.strides[2] // 4
        return True
    return kind_of_result(out).layout == CLOSE


def compile_ahead(settled: ConvPlan, finish: Finish, out: NDArray[Any]) -> None:
    """Have the units compiled that a walk needs beside the method's own, if they are not there."""
    if not settled.per_channel:
        return
    store = store_unit(kind_of_result(out), ending(finish, settled.filters))
    machine.compile_elsewhere([store, ("walk",)])


@lru_cache(maxsize=256)
def _plan(
    settled: ConvPlan,
    layout: Layout,
    source: Kind,
    result: Kind,
    end: tuple[int, ...],
    threads: int,
    strip_bytes: int,
) -> Plan:
    record = np.zeros(1, JOB)
    j = record[0]
    tables = describe(j, settled, source.pixel_bytes, result.pixel_bytes)
    n, _, _, c = settled.input_shape
    rows, cols = settled.rows, settled.cols
    phases = int(j["column_stride"]) if layout.split else 1
    reach = (cols.k - 1) * cols.d // phases
    slots = (layout.tile_rows - 1) * int(j["step"]) + rows.k
    j["phases"], j["reach"], j["slots"] = phases, reach, slots
    column_bytes = 4 * (slots * phases * c + layout.filters * layout.tile_rows * layout.depth_pitch)
    strip = min(cols.o, max(layout.strip_columns, strip_bytes // column_bytes))
    cut(j, n, (0, cols.o), -(-cols.o // strip), layout.tile_rows, threads)
    strip = int(j["strip_columns"])
    places = (strip - 1) * int(j["column_stride"]) // phases + reach + 1
    length = whole_lines(places * c + layout.line_slack)
    pitch = whole_lines(strip * layout.depth_pitch + layout.block_slack)
    j["phase_length"], j["pitch"], j["tile_rows"] = length, pitch, layout.tile_rows
    j["filters"], j["depth"], j["depth_pitch"] = layout.filters, layout.depth, layout.depth_pitch
    place = 0
    for name, size in {
        "block_at": slots * phases * length * 4,
        "table_at": layout.filters * layout.tile_rows * pitch * 4,
        "finish_at": slots * 8,
        "extra_at": (strip * layout.depth * (layout.filters + 1)) * 4,
    }.items():
        place += whole_lines(size)
        j[name] = place
    j["kernel"] = layout.kernel
    j["load"] = machine.address(*load_unit(source, phases))
    j["store"] = machine.address(*store_unit(result, end))
    items = n * int(j["residues"] * j["bands"] * j["strips"])
    scratch = place + layout.extra_lines * phases * length * 4
    offsets = tap_offsets(cols, phases, length, c)
    narrowest = cols.o // int(j["strips"])
    straight = 0 < layout.exact_from <= narrowest and j["residues"] == 1
    return Plan(record, items, scratch, offsets, phases * length, bool(straight), tables)
