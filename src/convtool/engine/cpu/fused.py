"""Small kernels: the inside of an image by `source.fused`, the columns at its ends by NumPy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine import numpy_engine
from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import address_of, cut, sources
from convtool.engine.cpu.job import FUSED, JOB
from convtool.engine.cpu.piece import Piece, describe, function
from convtool.engine.finish import Finish, Summary, apply
from convtool.engine.planner import small
from convtool.geometry import ConvPlan
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


def tile(filters: int = 1) -> tuple[int, int, int]:
    """Return how many rows of how many vectors are summed at a time, and the lanes of a vector."""
    count, lanes = machine.registers()
    most = 3 if count >= 32 else 2
    return 4, max(most - filters + 1, 1), lanes


def _span(filters: int, stride: int, channels: int) -> int:
    """Return how many pixels of the output one tile holds, at least."""
    _, vectors, lanes = tile(filters)
    if stride > 1:
        return vectors * lanes // (stride * channels)
    return -(-vectors * lanes // channels)


def inside(
    x: NDArray[Any], weights: NDArray[np.float64], settled: ConvPlan, finish: Finish
) -> tuple[int, int] | None:
    """Return from where to where the output columns lie that need no border, if it is for these.

    That is: a small filter for each channel, or several that become one response.
    """
    if not small(settled) or not _ends_so(x, weights, finish):
        return None
    cols, border, channels = settled.cols, settled.spec.border, settled.input_shape[3]
    filters = settled.filters
    if border.is_fill and x.dtype.type(border.value) != border.value:
        return None  # a row of the border could not be written as pixels
    span = _span(filters, cols.s, channels)
    if span < 1:
        return None
    # The last pixel that a tile reads, though it may not need it, still lies in the row.
    _, vectors, lanes = tile(filters)
    read = max(-(-vectors * lanes // channels) - (span - 1) * cols.s, 1) + (cols.k - 1) * cols.d
    start = -(-cols.before // cols.s)
    stop = min((cols.i + cols.before - read) // cols.s + 1, cols.o)
    return (start, stop) if stop - start >= span else None


def _ends_so(x: NDArray[Any], weights: NDArray[np.float64], finish: Finish) -> bool:
    """Whether the sums' end is one that is written for vectors."""
    if finish.activation not in _ACTIVATIONS or finish.full_in != finish.full_out:
        return False
    if len(weights) > 1 and finish.combine is Combine.EACH:
        return False
    if finish.dtype == "float32" and finish.range is not RangeMode.RAW:
        return False
    # Where all sums are finite numbers, the least and the greatest are soon found.
    return not finish.summarise or (x.dtype.kind == "u" and float(np.abs(weights).max()) < 1e30)


def piece(
    x: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    finish: Finish,
    out: NDArray[Any],
    columns: tuple[int, int],
    threads: int,
) -> Piece:
    """Lay out the columns start … stop - 1, which `inside` found."""
    taps = np.ascontiguousarray(weights, np.float32)
    record, recipe = np.zeros(1, JOB), np.zeros(1, FUSED)
    j, r = record[0], recipe[0]
    keep = [x, out, taps, recipe, *describe(j, settled, x.itemsize, out.shape[3] * out.itemsize)]
    j["image"], j["out"] = address_of(x), address_of(out)
    channels, cols = settled.input_shape[3], settled.cols
    filters, kh, kw = taps.shape
    rows, vectors, lanes = tile(filters)
    step, stride = int(j["step"] + j["passed_over"]), cols.s
    read = ((rows - 1) * step + kh) * channels * x.itemsize * stride
    strip = max(STRIP_BYTES // read, _span(filters, stride, channels))
    strips = max((columns[1] - columns[0]) // strip, 1)  # none narrower than that
    cut(j, settled.input_shape[0], columns, strips, rows, threads)
    items = int(settled.input_shape[0] * j["residues"] * j["bands"] * j["strips"])
    offsets = np.arange(kw, dtype=np.int64) * (cols.d * channels)
    fill = np.full(cols.i * channels, settled.spec.border.value, x.dtype)
    end = np.zeros(4 + filters, np.float32)
    # Rounding to even takes half a step below black to black, but half one above white beyond it.
    slack = np.inf if finish.range is RangeMode.RAW else 0.5
    end[:4] = finish.full_out, finish.full_in / 2, -slack, finish.full_out + slack
    end[4:] = 0 if finish.bias is None else finish.bias
    picked = vectors * lanes // (stride * channels) * channels if stride > 1 else lanes
    partial = np.zeros((items if finish.summarise else 0, 4, picked), np.float32)
    partial[:, 0], partial[:, 1] = np.inf, -np.inf
    r["offsets"], r["weights"], r["end"] = address_of(offsets), address_of(taps), address_of(end)
    r["fill_row"] = address_of(fill)
    r["summaries"], r["summary_bytes"] = address_of(partial), 16 * picked
    reached = (rows - 1) * step + kh
    j["recipe"], j["extra_at"] = address_of(recipe), (reached + rows) * 8 // 64 * 64 + 64
    unit = machine.address(
        "fused",
        *(rows, vectors, lanes),
        *(filters, kh, kw, step, stride, channels if stride > 1 else 0),
        _ACTIVATIONS.index(finish.activation),
        _COMBINES.index(finish.combine),
        _RANGES.index(finish.range),
        int(finish.summarise),
        *(x.dtype.name, finish.dtype),
    )
    scratch = int(j["extra_at"]) + int(j["strip_columns"]) * channels * 4
    values = int(np.prod(out.shape[:2])) * (columns[1] - columns[0]) * out.shape[3]

    def summary() -> Summary:
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

    keep += [offsets, fill, end, partial]
    return Piece(function(unit), record, items, scratch, summary, keep)


def rim(
    x: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    finish: Finish,
    out: NDArray[Any],
    columns: tuple[int, int],
) -> Summary | None:
    """Compute a few columns, start … stop - 1, with NumPy: so few that compiling pays no more."""
    rows, cols, border = settled.rows, settled.cols, settled.spec.border
    start, stop = columns
    above = sources(rows, border)
    beside = sources(cols, border)[start * cols.s : (stop - 1) * cols.s + cols.window]
    part = x[:, :, beside][:, above]
    if border.is_fill and (border.value or not np.all(above >= 0) or not np.all(beside >= 0)):
        part = part.astype(np.float32)
        part[:, above < 0] = border.value
        part[:, :, beside < 0] = border.value
    size = (x.shape[0], rows.o, stop - start, settled.output_shape[3])
    alone = settled._replace(
        spec=settled.spec._replace(border=border),
        input_shape=part.shape,
        output_shape=size,
        rows=rows._replace(i=part.shape[1], before=0, after=0),
        cols=cols._replace(i=part.shape[2], before=0, after=0, o=stop - start),
    )
    sums = numpy_engine.convolve(part, np.ascontiguousarray(weights, np.float32), alone)
    results, summary = apply(sums, finish, settled.filters)
    out[:, :, start:stop] = results
    return summary
