"""What each method asks of the walk."""

from collections.abc import Callable
from math import lcm, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import address_of, row_step
from convtool.engine.cpu.job import BOX, DEPTHWISE, PRODUCTS, SEPARABLE, TAPS
from convtool.engine.factors import constant, factors
from convtool.geometry import ConvPlan
from convtool.terms import MethodName


class Layout(NamedTuple):
    """What a method asks of the walk.

    Parameters
    ----------
    kernel : int
        The address of the unit (recipe, lines, block, columns, scratch) that makes a tile of sums.
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
    extra_lines : int
        How many lines' worth of scratch memory the unit needs.
    exact_from : int
        In strips of at least so many columns the unit writes its sums and nothing beyond; 0: never.
    """

    kernel: int
    tile_rows: int
    depth: int
    depth_pitch: int
    filters: int = 1
    split: bool = True
    strip_columns: int = 64
    line_slack: int = 256
    block_slack: int = 256
    extra_lines: int = 0
    exact_from: int = 0


class Recipe(NamedTuple):
    """A method's kernel: how it wants to be served, and what it reads.

    Parameters
    ----------
    layout : Layout
    record : ndarray
        What the unit reads; the fields `pitch`, `offsets` and `line_length` are the walk's.
    keep : list
        Arrays that the record points to.
    """

    layout: Layout
    record: NDArray[Any]
    keep: list[Any]


def tile() -> tuple[int, int, int]:
    """Return the tile of `taps`: rows, vectors, lanes; it leaves registers for what is loaded."""
    count, lanes = machine.registers()
    return (4, 4, lanes) if count >= 32 else (4, 2, lanes)


def direct(settled: ConvPlan, weights: NDArray[np.float64]) -> Recipe | None:
    """Sum every tap, where every channel is filtered by itself."""
    if not settled.per_channel:
        return depthwise(settled, weights) if weights.shape[2] == 1 else None
    taps = np.ascontiguousarray(weights, np.float32)
    filters, kh, kw = taps.shape
    c = settled.input_shape[3]
    rows, vectors, lanes = tile()
    record = np.zeros(1, TAPS)
    record["weights"], record["filters"] = address_of(taps), filters
    record["kernel_rows"], record["kernel_columns"] = kh, kw
    record["step"], record["channels"] = row_step(settled.rows)[1], c
    layout = Layout(
        machine.address("taps", rows, vectors, lanes),
        tile_rows=rows,
        depth=c,
        depth_pitch=c,
        filters=filters,
    )
    return Recipe(layout, record, [taps])


def depthwise(settled: ConvPlan, weights: NDArray[np.float64]) -> Recipe:
    """Sum every tap of the filters that each channel has for itself: HWIO with one input."""
    kh, kw, _, outputs = weights.shape
    c = settled.input_shape[3]
    count, lanes = machine.registers()
    vectors = 8 if count >= 32 else 4
    filters = outputs // c
    # (kh, kw, 1, C·F) → (F, kh, kw, C), repeated until whole vectors are full.
    each = weights.reshape(kh, kw, c, filters).transpose(3, 0, 1, 2)
    repeated = np.ascontiguousarray(np.tile(each, lcm(c, lanes) // c), np.float32)
    record = np.zeros(1, DEPTHWISE)
    record["weights"], record["filters"] = address_of(repeated), filters
    record["kernel_rows"], record["kernel_columns"] = kh, kw
    record["period"], record["channels"] = repeated.shape[3], c
    record["step"] = row_step(settled.rows)[1]
    record["tile_rows"] = tile_rows = 4
    known: tuple[int, ...] = ()
    if c % lanes == 0 and kh * kw <= 9 and settled.rows.s == settled.cols.s == settled.cols.d == 1:
        vectors, known = (4 if count >= 32 else 2), (tile_rows, kh, kw)
    slack = (vectors + kw) * repeated.shape[3]
    layout = Layout(
        machine.address("depthwise", vectors, lanes, *known),
        tile_rows=tile_rows,
        depth=c,
        depth_pitch=c,
        filters=filters,
        exact_from=vectors if known else 0,
        line_slack=slack,
        block_slack=slack,
    )
    return Recipe(layout, record, [repeated])


def separable(settled: ConvPlan, weights: NDArray[np.float64]) -> Recipe | None:
    """Sum down the columns and along the rows, where every filter is made of outer products."""
    if not settled.per_channel:
        return None
    if constant(settled, weights):
        return box(settled, weights)
    found = factors(weights)
    if found is None:
        return None
    columns, rows = (np.ascontiguousarray(part, np.float32) for part in found)
    filters, terms, kh = columns.shape
    c = settled.input_shape[3]
    tile_rows, vectors, lanes = upright_tile()
    record = np.zeros(1, SEPARABLE)
    record["columns"], record["rows"] = address_of(columns), address_of(rows)
    record["filters"], record["terms"] = filters, terms
    record["kernel_rows"], record["kernel_columns"] = kh, rows.shape[2]
    record["step"], record["channels"] = row_step(settled.rows)[1], c
    layout = Layout(
        machine.address("separable", tile_rows, vectors, 8 if vectors > 1 else 4, lanes),
        tile_rows=tile_rows,
        depth=c,
        depth_pitch=c,
        filters=filters,
        extra_lines=tile_rows,
    )
    return Recipe(layout, record, [columns, rows])


def upright_tile() -> tuple[int, int, int]:
    """Return the tile for sums down the columns: rows, vectors, lanes."""
    count, lanes = machine.registers()
    return (8, 2, lanes) if count >= 32 else (4, 2, lanes)


def box(settled: ConvPlan, weights: NDArray[np.float64]) -> Recipe:
    """Sum what windows share once."""
    _, kh, kw = weights.shape
    c = settled.input_shape[3]
    count, lanes = machine.registers()
    tile_rows = next(r for r in (16, 8, 4, 2, 1) if r <= kh and (r < 16 or count >= 32))
    # The fewest additions: kw = size · count + rest.
    sizes = [(n + kw // n + kw % n, n) for n in range(1, kw + 1)]
    size = min(sizes)[1] if kw > 4 else 1
    record = np.zeros(1, BOX)
    record["kernel_rows"], record["size"] = kh, size
    record["count"], record["rest"] = divmod(kw, size)
    record["apart"], record["channels"] = settled.cols.d * c, c
    record["value"] = weights[0, 0, 0]
    layout = Layout(
        machine.address("box", tile_rows, 8, lanes),
        tile_rows=tile_rows,
        depth=c,
        depth_pitch=c,
        extra_lines=tile_rows + 1,
    )
    return Recipe(layout, record, [])


def products(settled: ConvPlan, weights: NDArray[np.float64]) -> Recipe | None:
    """Sum across the channels of each group."""
    if settled.per_channel:
        return None
    kh, kw, inputs, outputs = weights.shape
    groups, cols = settled.groups, settled.cols
    each = outputs // groups
    pixels, vectors, lanes = product_tile(each)
    wide = vectors * lanes
    panels = -(-each // wide)
    # HWIO → (groups, panels, kh, kw, inputs, wide), the last panel of a group filled with zeros.
    packed = aligned((groups, panels, kh, kw, inputs, wide))
    split = weights.reshape(kh, kw, inputs, groups, each).transpose(3, 0, 1, 2, 4)
    for panel in range(panels):
        part = split[..., panel * wide : (panel + 1) * wide]
        packed[:, panel, ..., : part.shape[4]] = part
    c = settled.input_shape[3]
    apart = cols.s * c
    together = kw if groups == 1 and cols.d == 1 else 1
    record = np.zeros(1, PRODUCTS)
    record["weights"] = address_of(packed)
    record["kernel_rows"], record["kernel_columns"] = kh, kw // together
    record["inputs"], record["group_inputs"] = inputs * together, inputs
    record["outputs"], record["groups"] = each, groups
    record["step"] = row_step(settled.rows)[1]
    record["tile_rows"] = tile_rows = 4
    depth_pitch = outputs - each + panels * wide
    record["depth_pitch"] = depth_pitch
    layout = Layout(
        machine.address("products", pixels, vectors, lanes, apart),
        tile_rows=tile_rows,
        depth=outputs,
        depth_pitch=depth_pitch,
        split=False,
        strip_columns=pixels,
        exact_from=pixels if each % wide == 0 else 0,
        line_slack=pixels * apart + 64,
        block_slack=pixels * depth_pitch + wide,
    )
    return Recipe(layout, record, [packed])


def aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return zeros that begin with a cache line: no vector of them lies in two."""
    size = 4 * prod(shape)
    memory = np.zeros(size + 64, np.uint8)
    start = -address_of(memory) % 64
    return memory[start : start + size].view(np.float32).reshape(shape)


def product_tile(outputs: int) -> tuple[int, int, int]:
    """Return the tile of `products` for so many outputs: windows, vectors, lanes."""
    count, lanes = machine.registers()
    while lanes > 4 and outputs <= lanes // 2:
        lanes //= 2
    if outputs <= lanes:
        return (24 if count >= 32 else 12), 1, lanes
    return (14 if count >= 32 else 6), 2, lanes


RECIPES: dict[MethodName, Callable[[ConvPlan, NDArray[np.float64]], Recipe | None]] = {
    MethodName.DIRECT: direct,
    MethodName.SEPARABLE: separable,
    MethodName.GEMM: products,
}
