"""Sums of large kernels by Fourier transform: the spectrum of the kernel, and the job.

A tile of complex numbers holds two rectangles of the image, its *halves*: one as the real, one as
the imaginary parts. The kernel is real, so what becomes of the two does not mix, and no half of a
spectrum is computed in vain.
"""

from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from convtool.engine import tiles
from convtool.engine.cpu import machine
from convtool.engine.cpu.cutting import (
    Kind,
    address_of,
    again,
    kind_of,
    kind_of_result,
    whole_lines,
)
from convtool.engine.cpu.job import ADDRESS, JOB, WHOLE
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
from convtool.engine.tiles import LAST_OF_COLUMNS, LAST_OF_ROWS, RADICES, Tiles, passes
from convtool.geometry import ConvPlan

FOURIER = np.dtype(
    [
        # Pairs of halves in one image, and the halves' geometry.
        ("pairs", WHOLE),
        ("halves", ADDRESS),
        # A tile: its rows, vectors across, and the bytes of a column of vectors and of the whole.
        ("tile_rows", WHOLE),
        ("vectors", WHOLE),
        ("block_bytes", WHOLE),
        ("tile_bytes", WHOLE),
        # Tables of passes, the radix that is left for the last one, and the waves before the
        # transform along the lanes.
        ("row_passes", WHOLE),
        ("row_table", ADDRESS),
        ("row_last", WHOLE),
        ("column_passes", WHOLE),
        ("column_table", ADDRESS),
        ("column_last", WHOLE),
        ("waves", ADDRESS),
        # The kernel: its spectrum for each filter, laid out as a tile is, what sums are to be
        # multiplied by, and its weights.
        ("spectrum", ADDRESS),
        ("spectrum_bytes", WHOLE),
        ("scale", np.float32),
        ("weights", ADDRESS),
        ("kernel_rows", WHOLE),
        ("kernel_columns", WHOLE),
        ("window_columns", WHOLE),
        ("row_stride", WHOLE),
        ("row_dilation", WHOLE),
        ("column_dilation", WHOLE),
        # The largest number that a transform takes, and its bits; the sign of the weights, where
        # all have the same; the unit for larger numbers, and which items want it but had none.
        ("limit", np.float32),
        ("limit_bits", WHOLE),
        ("same_sign", WHOLE),
        ("aside", ADDRESS),
        ("wanted", ADDRESS),
        # The scratch memory of a thread after its tiles, in bytes from its beginning.
        ("lines_at", WHOLE),
        ("line_bytes", WHOLE),
        ("rows_at", WHOLE),
        ("row_bytes", WHOLE),
        ("sums_at", WHOLE),
        ("flags_at", WHOLE),
        ("reach_at", WHOLE),
    ],
    align=True,
)

# Half a tile: where in the output it begins, how large it is there, and how many rows of the
# padded image it needs.
HALF_TILE = np.dtype([(name, WHOLE) for name in ("top", "left", "high", "wide", "need")])

# Numbers in a row of a table of passes: radix, distance in vectors, address of the waves.
PASS = 3

# Changes with the records and the radices, on which machine code depends.
_READ = (FOURIER, HALF_TILE, PASS, RADICES, LAST_OF_COLUMNS, LAST_OF_ROWS)
LAYOUT = crc32(repr(_READ).encode())


class Plan(NamedTuple):
    """Everything about a job but its arrays and its kernel, for the next one like it."""

    record: NDArray[Any]
    recipe: NDArray[Any]
    items: int
    scratch: int
    keep: list[NDArray[Any]]


class Spectrum(NamedTuple):
    """A kernel as it multiplies the transform of a tile.

    Parameters
    ----------
    values : ndarray (F, vectors, rows, 2, lanes), float32
        The conjugate of the kernel's transform, in the order that the passes leave.
    scale : float
        What is left to multiply by, a power of two.
    limit : float
        Up to this size, no number of an image makes the transform overflow.
    same_sign : int
        1 or -1 where all weights have that sign, else 0.
    """

    values: NDArray[np.float32]
    scale: float
    limit: float
    same_sign: int


def piece(
    x: NDArray[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    finish: Finish,
    out: NDArray[Any],
    threads: int,
    *,
    cut: Tiles | None = None,
    lanes: int | None = None,
) -> Piece:
    """Lay out the sums of filters that every channel has for itself.

    An error is about 2e-7 of the largest number in a tile times the sum of the weights' sizes,
    and no more than 2e-6 of it. NaN, infinity and numbers beyond about 1e26 reach the windows that
    hold them and no other: see `source.aside`. The tiles are the same for any number of threads.

    Parameters
    ----------
    x : ndarray (N, H, W, C)
        As `cutting.pixel_numbers` takes it; uint8, uint16 or float32.
    weights : ndarray (F, kh, kw)
    settled : ConvPlan
    finish : Finish
    out : ndarray (N, OH, OW, OC)
        Likewise, of the finish's dtype.
    threads : int
        Of no consequence here.
    cut : Tiles, optional
        Those that `tiles.choose` finds, if not given.
    lanes : int, optional
        Float32 in a vector; as many as this processor has.
    """
    lanes = lanes or machine.registers()[1]
    cut = cut or tiles.choose(settled, lanes)
    end = ending(finish, len(weights))
    machine.compile_elsewhere([store_unit(kind_of_result(out), end), load_unit(kind_of(x))])
    unit = function(machine.address("fourier", lanes, LAYOUT))
    planned = _plan(settled, cut, lanes, kind_of(x), kind_of_result(out), end)
    record, recipe = again(planned.record), again(planned.recipe)
    j, r = record[0], recipe[0]
    taps = np.ascontiguousarray(weights, np.float32)
    dilation = settled.rows.d, settled.cols.d
    spectrum = _spectrum(weights.tobytes(), weights.shape, dilation, cut.rows, cut.columns, lanes)
    j["image"], j["recipe"] = address_of(x), address_of(recipe)
    say_result(j, out)
    r["weights"], r["spectrum"] = address_of(taps), address_of(spectrum.values)
    r["scale"], r["limit"] = spectrum.scale, spectrum.limit
    r["limit_bits"] = np.float32(spectrum.limit).view(np.int32)
    r["same_sign"] = spectrum.same_sign
    wanted = np.zeros(planned.items, np.int32)
    r["wanted"] = address_of(wanted)

    def run(job: int, item: int, scratch: int) -> None:
        unit(job, item, scratch)
        if wanted[item]:  # which is rare enough to compile it then, not now
            r["aside"], wanted[item] = machine.address("aside", LAYOUT), 0
            unit(job, item, scratch)

    parts = summaries(planned.items if finish.summarise else 0)
    say_finish(j, finish, settled, parts)
    keep = [x, out, recipe, taps, spectrum, planned, parts]
    return Piece(run, record, planned.items, planned.scratch, lambda: sum_up(parts, out.size), keep)


@lru_cache(maxsize=64)
def _plan(
    settled: ConvPlan,
    cut: Tiles,
    lanes: int,
    source: Kind,
    result: Kind,
    end: tuple[int, ...],
) -> Plan:
    record, recipe = np.zeros(1, JOB), np.zeros(1, FOURIER)
    j, r = record[0], recipe[0]
    tables = describe(j, settled, source.pixel_bytes, result.pixel_bytes)
    keep: list[NDArray[Any]] = [*tables]
    n, _, _, c = settled.input_shape
    rows, cols, f = settled.rows, settled.cols, settled.filters
    j["phases"], j["reach"] = 1, cols.window - 1
    j["tile_rows"], j["filters"], j["depth"], j["depth_pitch"] = 1, f, c, c
    columns = -(-cols.o // cut.across)
    j["pitch"] = whole_lines((columns + lanes) * c)
    j["load"] = machine.address(*load_unit(source))
    j["store"] = machine.address(*store_unit(result, end))
    halves = _halves(settled, cut)
    r["pairs"], r["halves"] = halves.size // 2, address_of(halves)
    r["tile_rows"], r["vectors"] = cut.rows, cut.columns // lanes
    # Blocks one element longer than a power of two do not compete for the same sets of a cache.
    r["block_bytes"] = (cut.rows + 1) * 8 * lanes
    r["tile_bytes"] = r["block_bytes"] * r["vectors"]
    down, across = _steps(cut, lanes)
    for name, steps in (("column", down), ("row", across)):
        table, waves = _table(steps)
        keep += [table, *waves]
        r[f"{name}_passes"], r[f"{name}_table"] = len(table), address_of(table)
        r[f"{name}_last"] = steps[-1]
    waves_along = _waves(np.outer(_order(across), np.arange(lanes)) / cut.columns)
    # Real parts, then imaginary parts, of a vector each.
    along = np.ascontiguousarray(np.stack([waves_along.real, waves_along.imag], 1))
    keep += [halves, along]
    r["waves"] = address_of(along)
    r["spectrum_bytes"] = cut.rows * cut.columns * 8
    r["kernel_rows"], r["kernel_columns"], r["window_columns"] = rows.k, cols.k, cols.window
    r["row_stride"], r["row_dilation"], r["column_dilation"] = rows.s, rows.d, cols.d
    r["line_bytes"], r["row_bytes"] = whole_lines(cut.columns * c * 4), cut.columns * 8
    place = 0
    for which, name, size in (
        (r, "lines_at", r["tile_bytes"] * c * f),
        (r, "rows_at", r["line_bytes"] * 2),
        (r, "sums_at", r["row_bytes"] * c),
        (r, "flags_at", j["pitch"] * 2 * f * 4),
        (r, "reach_at", cut.rows * 2 * 4),
        (j, "finish_at", j["pitch"] * 3 * 2 * 4),
    ):
        place += whole_lines(int(size))
        which[name] = place
    scratch = place + columns * c * (f + 1) * 4
    return Plan(record, recipe, n * halves.size // 2, scratch, keep)


def _halves(settled: ConvPlan, cut: Tiles) -> NDArray[Any]:
    """Return the halves of an image's tiles, row by row; an odd one is joined by an empty one."""
    rows, cols = settled.rows, settled.cols
    tops, lefts = (
        np.arange(count + 1) * axis.o // count
        for axis, count in ((rows, cut.down), (cols, cut.across))
    )
    count = cut.down * cut.across
    halves = np.zeros(count + count % 2, HALF_TILE)
    grid = halves[:count].reshape(cut.down, cut.across)
    grid["top"], grid["high"] = tops[:-1, None], np.diff(tops)[:, None]
    grid["left"], grid["wide"] = lefts[:-1], np.diff(lefts)
    grid["need"] = (grid["high"] - 1) * rows.s + rows.window
    return halves


def _steps(cut: Tiles, lanes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the passes down the columns, and those along the rows before the lanes' own."""
    down = passes(cut.rows, LAST_OF_COLUMNS)
    across = passes(cut.columns // lanes, LAST_OF_ROWS)
    assert down is not None, f"no transform has {cut.rows} rows"
    assert across is not None, f"no transform has {cut.columns} columns"
    return down, across


def _table(steps: tuple[int, ...]) -> tuple[NDArray[np.int64], list[NDArray[np.complex64]]]:
    """Return the table of all passes but the last, and the waves that it points to."""
    length, rows, kept = int(np.prod(steps)), list[tuple[int, int, int]](), []
    for radix in steps[:-1]:
        apart = length // radix
        waves = _waves(np.outer(np.arange(apart), np.arange(1, radix)) / length)
        rows.append((radix, apart, address_of(waves)))
        kept.append(waves)
        length = apart
    return np.array(rows, np.int64).reshape(-1, PASS), kept


def _waves(turns: NDArray[np.float64]) -> NDArray[np.complex64]:
    return np.exp(-2j * np.pi * turns).astype(np.complex64)


def _order(steps: tuple[int, ...]) -> NDArray[np.int64]:
    """Return which frequency a transform by these passes leaves at each place."""
    found = np.zeros(1, np.int64)
    for radix in reversed(steps):
        found = (np.arange(radix)[:, None] + radix * found).ravel()
    return found


@lru_cache(maxsize=2)
def _spectrum(
    data: bytes,
    shape: tuple[int, int, int],
    dilation: tuple[int, int],
    high: int,
    wide: int,
    lanes: int,
) -> Spectrum:
    """Transform the kernel in float64.

    It is scaled so that its weights' sizes sum up to at most 1: no product overflows, and none of
    what matters underflows. What is left of the scale is a power of two.
    """
    weights = np.frombuffer(data, np.float64).reshape(shape)
    vectors = wide // lanes
    values = np.zeros((shape[0], vectors, high, 2, lanes), np.float32)
    if not np.isfinite(weights.astype(np.float32)).all():
        return Spectrum(values, 1.0, -1.0, 0)  # everything is set aside
    exponent = int(np.frexp(np.abs(weights).sum((1, 2)).max())[1])
    # A transform there and back again multiplies by the size of the tile.
    power = int(np.ceil(np.log2(high * wide)))
    factor = 2.0 ** (power - exponent) / (high * wide)
    down, across = _steps(Tiles(high, wide, 1, 1), lanes)
    order, levels = _order(across), (2,) * (lanes.bit_length() - 1)
    columns = (order[:, None] + vectors * _order(levels)).ravel()
    lines = np.arange(shape[1]) * dilation[0]
    for kernel, result in zip(weights, values, strict=True):
        spread = np.zeros((shape[1], wide))
        spread[:, np.arange(shape[2]) * dilation[1]] = kernel * factor
        across_only = np.zeros((high, wide), complex)
        across_only[lines] = np.fft.fft(spread, axis=1)[:, columns]
        both = np.fft.fft(across_only, axis=0)[_order(down)]
        blocks = both.reshape(high, vectors, lanes).swapaxes(0, 1)
        # The conjugate: for correlation, not convolution.
        result[:, :, 0], result[:, :, 1] = blocks.real, -blocks.imag
    same_sign = int((weights > 0).all()) - int((weights < 0).all())
    limit = 2e37 / float(high * wide) ** 2
    return Spectrum(values, 2.0 ** (exponent - power), limit, same_sign)
