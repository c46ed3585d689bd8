"""A piece of the work as machine code is told it, and what all pieces of an image share."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import Kind, address_of, row_step, sources
from convtool.engine.cpu.job import SUMMARY
from convtool.engine.finish import ACTIVATIONS, COMBINES, RANGES, Finish, Summary
from convtool.geometry import ConvPlan


class Piece(NamedTuple):
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
    summary : callable
        Sums up the items' responses, when they are done.
    keep : list
        What the record points to.
    """

    function: Any
    record: NDArray[Any]
    items: int
    scratch: int
    summary: Callable[[], Summary]
    keep: list[Any]

    @property
    def job(self) -> int:
        """The job's address."""
        return int(address_of(self.record))


def describe(
    j: Any, settled: ConvPlan, image_pixel_bytes: int, pixel_bytes: int
) -> list[NDArray[np.int64]]:
    """Fill in the geometry.

    Parameters
    ----------
    j : record
        Of a job.
    settled : ConvPlan
    image_pixel_bytes, pixel_bytes : int
        From one pixel of the image, and of the output, to the next.

    Returns
    -------
    list of ndarray
        What the record points to.
    """
    _, h, w, c = settled.input_shape
    rows, cols, border = settled.rows, settled.cols, settled.spec.border
    row_sources, column_sources = sources(rows, border), sources(cols, border)
    j["row_bytes"], j["width"], j["channels"] = w * image_pixel_bytes, w, c
    j["image_bytes"] = h * w * image_pixel_bytes
    j["rows"], j["columns"] = address_of(row_sources), address_of(column_sources)
    j["padded_width"], j["before"], j["fill"] = column_sources.size, cols.before, border.value
    j["out_rows"], j["out_columns"], j["out_pixel_bytes"] = rows.o, cols.o, pixel_bytes
    apart, step, passed_over = row_step(rows)
    j["row_stride"], j["row_dilation"], j["step"] = rows.s, rows.d, step
    j["passed_over"] = passed_over
    j["residues"], j["kernel_rows"] = min(apart, rows.o), rows.k
    # A stride beyond the padded width is any stride that leaves one window.
    j["column_stride"] = min(cols.s, column_sources.size)
    return [row_sources, column_sources]


@cache
def function(address: int) -> Any:
    """Return the unit (job, item, scratch) at that address; calling it releases the GIL."""
    from ctypes import CFUNCTYPE, c_size_t, c_ssize_t

    return CFUNCTYPE(None, c_size_t, c_ssize_t, c_size_t)(address)


def say_result(j: Any, out: NDArray[Any]) -> None:
    """Fill in where the results go."""
    j["out"] = address_of(out)
    j["out_image_bytes"], j["out_row_bytes"] = out.strides[:2]


def say_finish(j: Any, finish: Finish, settled: ConvPlan, summaries: NDArray[Any]) -> None:
    """Fill in what becomes of a sum."""
    if finish.bias is not None:
        j["bias"] = address_of(finish.bias)
        j["depth_biases"] = not settled.per_channel
    ratio = finish.full_out / finish.full_in
    j["multiply"], j["divide"] = (ratio, 1) if ratio > 1 else (1, 1 / ratio)
    j["full"], j["middle"] = finish.full_out, finish.full_in / 2
    j["slack"] = finish.full_out * 1e-6
    j["summaries"] = address_of(summaries) if finish.summarise else 0


def ending(finish: Finish, filters: int, *, straight: bool = True) -> tuple[int, ...]:
    """Return what `source.store` is specialised for: whether the finish is plain, and if not, what.

    Parameters
    ----------
    finish : Finish
    filters : int
    straight : bool
        Whether sums lie side by side as results do.
    """
    if finish.plain and filters == 1 and straight:
        return (1, 0, 0, 0, 0, 0)
    return (
        0,
        ACTIVATIONS.index(finish.activation),
        COMBINES.index(finish.combine),
        RANGES.index(finish.range),
        int(filters > 1),
        int(finish.summarise),
    )


def load_unit(kind: Kind, phases: int = 1) -> tuple[Any, ...]:
    """Return the unit that makes lines of rows: see `source.load.unit`."""
    return ("load", kind.dtype, int(phases > 1), machine.registers()[1], kind.layout)


def store_unit(kind: Kind, end: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the unit that stores sums: see `source.store.unit`."""
    plain, *rest = end
    return ("store", kind.dtype, plain, machine.registers()[1], kind.layout, *rest)


def summaries(items: int) -> NDArray[Any]:
    """Return memory for one summary of each item."""
    parts = np.zeros(items, SUMMARY)
    parts["least"], parts["greatest"] = np.inf, -np.inf
    return parts


def sum_up(parts: NDArray[Any], values: int) -> Summary:
    """Make one summary of the items'."""
    least, greatest = parts["least"].min(initial=np.inf), parts["greatest"].max(initial=-np.inf)
    none = least > greatest
    return Summary(
        None if none else float(least),
        None if none else float(greatest),
        others=int(parts["others"].sum()),
        below=int(parts["below"].sum()),
        above=int(parts["above"].sum()),
        nan=int(parts["nan"].sum()),
        values=values,
    )
