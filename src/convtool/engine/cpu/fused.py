"""Small kernels inside the image: which columns `source.fused` takes, and the job for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import cut, row_step
from convtool.engine.cpu.job import FUSED, JOB, SUMMARY
from convtool.engine.cpu.walk import Piece, describe, function
from convtool.engine.finish import Finish
from convtool.geometry import ConvPlan
from convtool.terms import Activation, RangeMode

# Larger kernels read lines: converting pixels anew for every tap comes dearer there.
LARGEST = 7

# A strip is so wide that the rows of a tile, and those that the next tile needs again, stay in
# the second cache.
STRIP_BYTES = 200_000


def tile() -> tuple[int, int, int]:
    """Return how many rows of how many vectors are summed at a time, and the lanes of a vector."""
    count, lanes = machine.registers()
    return (4, 3, lanes) if count >= 32 else (4, 2, lanes)


def _span(stride: int, channels: int) -> int:
    """Return how many pixels of the output one tile holds, at least."""
    _, vectors, lanes = tile()
    if stride > 1:
        return vectors * lanes // (stride * channels)
    return -(-vectors * lanes // channels)


def columns(
    x: NDArray[Any], weights: NDArray[np.float64], settled: ConvPlan, finish: Finish
) -> tuple[int, int] | None:
    """Return from where to where the output columns lie that need no border, if it is for these.

    That is: one small filter for each channel, results of the images' type or float32, and
    nothing to become of a sum but a bias, rounding and saturation.
    """
    if not settled.per_channel or len(weights) != 1 or settled.input_shape[3] > 4:
        return None
    if finish.activation is not Activation.NONE or finish.summarise:
        return None
    plain = finish.full_in == finish.full_out and finish.range in (RangeMode.RAW, RangeMode.CLIP)
    if not plain or (finish.range is RangeMode.CLIP and finish.dtype == "float32"):
        return None
    rows, cols, border = settled.rows, settled.cols, settled.spec.border
    step = row_step(rows)[1]
    if max(rows.k, cols.k) > LARGEST or step > 4 or cols.s > 4:
        return None
    if border.is_fill and x.dtype.type(border.value) != border.value:
        return None  # a row of the border could not be written as pixels
    channels = settled.input_shape[3]
    span = _span(cols.s, channels)
    if span < 1:
        return None
    # The last pixel that a tile reads, though it may not need it, still lies in the row.
    _, vectors, lanes = tile()
    read = max(-(-vectors * lanes // channels) - (span - 1) * cols.s, 1) + (cols.k - 1) * cols.d
    start = -(-cols.before // cols.s)
    stop = min((cols.i + cols.before - read) // cols.s + 1, cols.o)
    return (start, stop) if stop - start >= span else None


def piece(
    x: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    finish: Finish,
    out: NDArray[Any],
    inside: tuple[int, int],
    threads: int,
) -> Piece:
    """Lay out the columns `inside`."""
    weights = np.ascontiguousarray(weights, np.float32)
    record, recipe = np.zeros(1, JOB), np.zeros(1, FUSED)
    j, r = record[0], recipe[0]
    keep = [x, out, weights, recipe, *describe(j, x, settled, out)]
    channels, cols = settled.input_shape[3], settled.cols
    rows, vectors, lanes = tile()
    step, stride = int(j["step"]), cols.s
    _, kh, kw = weights.shape
    read = ((rows - 1) * step + kh) * channels * x.itemsize * stride
    strip = max(STRIP_BYTES // read, _span(stride, channels))
    strips = max((inside[1] - inside[0]) // strip, 1)  # none narrower than that
    cut(j, settled.input_shape[0], inside, strips, rows, threads)
    offsets = np.arange(kw, dtype=np.int64) * (cols.d * channels)
    fill = np.full(cols.i * channels, settled.spec.border.value, x.dtype)
    r["offsets"], r["weights"] = offsets.ctypes.data, weights.ctypes.data
    r["fill_row"], r["full"] = fill.ctypes.data, finish.full_out
    r["bias"] = 0 if finish.bias is None else finish.bias[0]
    reached = (rows - 1) * step + kh
    j["recipe"], j["extra_at"] = recipe.ctypes.data, (reached + rows) * 8 // 64 * 64 + 64
    unit = machine.address(
        "fused",
        *(rows, vectors, lanes),
        *(kh, kw, step, stride, channels if stride > 1 else 0),
        *(x.dtype.name, finish.dtype),
    )
    items = int(settled.input_shape[0] * j["residues"] * j["bands"] * j["strips"])
    scratch = int(j["extra_at"]) + int(j["strip_columns"]) * channels * 4
    keep += [offsets, fill]
    return Piece(function(unit), record, items, scratch, np.zeros(0, SUMMARY), keep)
