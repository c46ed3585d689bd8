"""What each method asks of the walk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import row_step
from convtool.engine.cpu.job import DEPTHWISE, PRODUCTS, TAPS
from convtool.geometry import ConvPlan
from convtool.terms import MethodName


@dataclass
class Recipe:
    """What a method asks of the walk.

    Parameters
    ----------
    kernel : int
        The address of the unit (recipe, lines, block, columns, scratch) that makes a tile of sums.
    record : ndarray
        What that unit reads; its fields `pitch` and `offsets` are filled in by the walk.
    tile_rows : int
        Rows of sums that it makes at a time.
    depth, depth_pitch : int
        Sums of a pixel for each filter, and how far apart pixels lie in a row of sums.
    filters : int
    split : bool
        Whether lines are split by phase of the column stride.
    strip_columns : int
        As few columns a strip may have.
    line_slack, block_slack : int
        Floats that its tiles may read beyond a line, and write beyond a row of sums.
    extra : callable, optional
        From the length of a line's phase in floats to the bytes of scratch memory that it needs.
    keep : list
        Arrays that the record points to.
    """

    kernel: int
    record: NDArray[Any]
    tile_rows: int
    depth: int
    depth_pitch: int
    filters: int = 1
    split: bool = True
    strip_columns: int = 64
    line_slack: int = 256
    block_slack: int = 256
    extra: Callable[[int], int] | None = None
    keep: list[Any] = field(default_factory=list)


def tile() -> tuple[int, int, int]:
    """Return the tile of `taps`: rows, vectors, lanes; it leaves registers for what is loaded."""
    count, lanes = machine.registers()
    return (4, 4, lanes) if count >= 32 else (4, 2, lanes)


def direct(settled: ConvPlan, weights: NDArray[np.float32]) -> Recipe:
    """Sum every tap, where every channel is filtered by itself."""
    if not settled.per_channel:
        return depthwise(settled, weights)
    filters, kh, kw = weights.shape
    c = settled.input_shape[3]
    rows, vectors, lanes = tile()
    record = np.zeros(1, TAPS)
    record["weights"], record["filters"] = weights.ctypes.data, filters
    record["kernel_rows"], record["kernel_columns"] = kh, kw
    record["step"], record["channels"] = row_step(settled.rows)[1], c
    return Recipe(
        machine.address("taps", rows, vectors, lanes),
        record,
        tile_rows=rows,
        depth=c,
        depth_pitch=c,
        filters=filters,
        keep=[weights],
    )


def depthwise(settled: ConvPlan, weights: NDArray[np.float32]) -> Recipe:
    """Sum every tap of the filters that each channel has for itself: HWIO with one input."""
    kh, kw, _, outputs = weights.shape
    c = settled.input_shape[3]
    count, lanes = machine.registers()
    vectors = 8 if count >= 32 else 4
    filters = outputs // c
    # (kh, kw, 1, C·F) → (F, kh, kw, C), repeated until whole vectors are full.
    each = weights.reshape(kh, kw, c, filters).transpose(3, 0, 1, 2)
    repeated = np.ascontiguousarray(np.tile(each, lcm(c, lanes) // c))
    record = np.zeros(1, DEPTHWISE)
    record["weights"], record["filters"] = repeated.ctypes.data, filters
    record["kernel_rows"], record["kernel_columns"] = kh, kw
    record["period"], record["channels"] = repeated.shape[3], c
    record["step"] = row_step(settled.rows)[1]
    record["tile_rows"] = tile_rows = 4
    slack = (vectors + 1) * repeated.shape[3]
    return Recipe(
        machine.address("depthwise", vectors, lanes),
        record,
        tile_rows=tile_rows,
        depth=c,
        depth_pitch=c,
        filters=filters,
        line_slack=slack,
        block_slack=slack,
        keep=[repeated],
    )


def products(settled: ConvPlan, weights: NDArray[np.float32]) -> Recipe:
    """Sum across the channels of each group."""
    kh, kw, inputs, outputs = weights.shape
    groups, cols = settled.groups, settled.cols
    each = outputs // groups
    pixels, vectors, lanes = product_tile(each)
    wide = vectors * lanes
    panels = -(-each // wide)
    # HWIO → (groups, panels, kh, kw, inputs, wide), the last panel of a group filled with zeros.
    packed = np.zeros((groups, panels, kh, kw, inputs, wide), np.float32)
    split = weights.reshape(kh, kw, inputs, groups, each).transpose(3, 0, 1, 2, 4)
    for panel in range(panels):
        part = split[..., panel * wide : (panel + 1) * wide]
        packed[:, panel, ..., : part.shape[4]] = part
    c = settled.input_shape[3]
    apart = cols.s * c
    together = kw if groups == 1 and cols.d == 1 else 1
    record = np.zeros(1, PRODUCTS)
    record["weights"] = packed.ctypes.data
    record["kernel_rows"], record["kernel_columns"] = kh, kw // together
    record["inputs"], record["group_inputs"] = inputs * together, inputs
    record["outputs"], record["groups"] = each, groups
    record["step"] = row_step(settled.rows)[1]
    record["tile_rows"] = tile_rows = 4
    depth_pitch = outputs - each + panels * wide
    record["depth_pitch"] = depth_pitch
    return Recipe(
        machine.address("products", pixels, vectors, lanes, apart),
        record,
        tile_rows=tile_rows,
        depth=outputs,
        depth_pitch=depth_pitch,
        split=False,
        strip_columns=pixels,
        line_slack=pixels * apart + 64,
        block_slack=pixels * depth_pitch + wide,
        keep=[packed],
    )


def product_tile(outputs: int) -> tuple[int, int, int]:
    """Return the tile of `products` for so many outputs: windows, vectors, lanes."""
    count, lanes = machine.registers()
    while lanes > 4 and outputs <= lanes // 2:
        lanes //= 2
    if outputs <= lanes:
        return (24 if count >= 32 else 12), 1, lanes
    return (14 if count >= 32 else 6), 2, lanes


RECIPES: dict[MethodName, Callable[[ConvPlan, NDArray[np.float32]], Recipe]] = {
    MethodName.DIRECT: direct,
    MethodName.GEMM: products,
}
