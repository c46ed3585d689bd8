"""Which kernel does a part of the work, written out for what, and over which grid.

Constants, in capitals, are what a kernel is compiled for; they are few enough that what one image
needed is on disk for the next. Everything else is told when it is launched.
"""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cuda import layout
from convtool.engine.cuda.layout import Band, Chunk, Layout, Part, step_of
from convtool.engine.factors import factors
from convtool.engine.finish import ACTIVATIONS, COMBINES, RANGES, Finish
from convtool.errors import EngineError
from convtool.geometry import ConvPlan
from convtool.terms import Combine, MethodName

Constants = tuple[tuple[str, int], ...]

# The magnitude of one filter alone: see `source.finish`.
_ALONE = 6

# Kernels whose taps are written out: as large, in so many taps of all filters, with channels that
# leave what a thread loads in registers.
SMALL = 7
SMALL_TAPS = 50
SMALL_LOADS = 40

# A block's threads, across and down, in `walk` and `taps`; across in `separable`; in `products`.
ACROSS, DOWN = 32, 4
SEPARABLE_GROUPS = 16
PRODUCT_THREADS = 128

# Rows and columns of results for each thread. In `separable` rows are fewer where each needs lines
# of its own, and where wide windows leave no room for more.
TAPS_TILE = (8, 2)
SEPARABLE_ALONG = 7
SEPARABLE_DOWN, SEPARABLE_APART, SEPARABLE_LEAST = layout.DOWN, 8, 2

# Float32 numbers of shared memory that a block may have for a tile: with what a summary takes,
# below the 48 KB that every GPU has.
TILE = 10_240

# So many threads of a kernel shall find registers on a multiprocessor: 80 for each where it waits
# for memory more than it computes, 168 where it holds what it loads ahead beside its sums, and 128
# else.
AT_ONCE_SMALL, AT_ONCE_PRODUCTS, AT_ONCE = 768, 384, 512
SMALL_ROWS, SMALL_REACH = 5, 12

# So many threads keep a large GPU busy.
THREADS = 1 << 18


class Numbers(NamedTuple):
    """What a finish is told when a kernel is launched.

    Parameters
    ----------
    middle, factor, full, slack : float32
    """

    middle: np.float32
    factor: np.float32
    full: np.float32
    slack: np.float32


class Ready(NamedTuple):
    """A part with what its kernel reads beside images.

    Parameters
    ----------
    name : str
        Of the kernel and of its module.
    weights : tuple of ndarray
        float32, for the GPU.
    launch : callable
        (laid, chunk, band) to `Launch`.
    """

    name: str
    weights: tuple[NDArray[np.float32], ...]
    launch: Callable[[Layout, Chunk, Band], "Launch"]


class Launch(NamedTuple):
    """A launch of a kernel.

    Parameters
    ----------
    name : str
    constants : Constants
    grid, block : tuple of int
    x, numbers, out : tuple
        What the kernel is told behind the images, behind the weights, and behind the results.
    """

    name: str
    constants: Constants
    grid: tuple[int, int, int]
    block: tuple[int, int]
    x: tuple[int, ...]
    numbers: tuple[Any, ...]
    out: tuple[int, ...]

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return self.grid[0] * self.grid[1] * self.grid[2]


def ending(finish: Finish, filters: int, depth_biases: bool) -> dict[str, int]:
    """Return the constants of what becomes of a sum."""
    ratio = finish.full_out / finish.full_in
    combine = COMBINES.index(finish.combine)
    if filters == 1:
        combine = _ALONE if finish.combine is Combine.MAGNITUDE else 0
    return {
        "BIAS": 0 if finish.bias is None else 2 if depth_biases else 1,
        "ACTIVATION": ACTIVATIONS.index(finish.activation),
        "COMBINE": combine,
        "LIMITS": RANGES.index(finish.range),
        "SCALE": 1 if ratio > 1 else 2 if ratio < 1 else 0,
        "WHOLE": int(finish.dtype != "float32"),
        "SUMMARISE": int(finish.summarise),
    }


def numbers(finish: Finish) -> Numbers:
    """Return what a finish is told when a kernel is launched."""
    ratio = finish.full_out / finish.full_in
    f4 = np.float32
    return Numbers(
        f4(finish.full_in / 2),
        f4(ratio if ratio > 1 else 1 / ratio),
        f4(finish.full_out),
        f4(finish.full_out * 1e-6),
    )


def ready(part: Part, method: MethodName, finish: Finish, size: int) -> Ready:
    """Make a part ready for a method.

    Parameters
    ----------
    part : Part
    method : MethodName
    finish : Finish
    size : int
        Bytes of a number of the images.

    Raises
    ------
    EngineError
        Where the method cannot do this part.
    """
    if method is MethodName.GEMM:
        return _products(part, finish, size)
    if method is MethodName.SEPARABLE:
        return _separable(part, finish)
    if fits_walk(part.plan):
        return _walk(part, finish, size)
    return _taps(part, finish)


def fits_walk(settled: ConvPlan) -> bool:
    """Whether every tap is written out."""
    rows, cols = settled.rows, settled.cols
    kh, kw = settled.kernel_shape[:2]
    return (
        settled.per_channel
        and rows.s == cols.s == 1
        and (rows.d == 1 or kh == 1)
        and (cols.d == 1 or kw == 1)
        and max(kh, kw) <= SMALL
        and settled.filters * kh * kw <= SMALL_TAPS
        and 8 + (kw - 1) * settled.input_shape[3] <= SMALL_LOADS
    )


def _walk(part: Part, finish: Finish, size: int) -> Ready:
    plan, taps = part.plan, part.weights
    filters, kh, kw = taps.shape
    channels = plan.input_shape[3]
    known = ending(finish, filters, depth_biases=False)
    # As many results as 16 bytes hold, where registers do for their sums and what is loaded.
    slim = slender(filters, kh, kw, channels)
    wide = min(16 // size, 16 if slim and filters * kh <= 3 and not finish.summarise else 8)
    together = min(wide, 16 // np.dtype(finish.dtype).itemsize)
    results = 1 if known["COMBINE"] else filters
    told = tuple(np.float32(tap) for tap in taps.ravel())

    def launch(laid: Layout, chunk: Chunk, band: Band) -> Launch:
        x = _from(laid, chunk, band)
        vector = wide if x[0] % wide == 0 else 1
        out = _to(laid, chunk, band)
        apart = int(out[3] != channels * results)
        loaded = _over(wide + (kw - 1) * channels, vector) * vector
        rows, columns = band.stop - band.start, plan.cols.o * channels
        images = chunk.images[1] - chunk.images[0]
        across = _over(columns, wide)
        strip = max(min(rows * across * images // THREADS, 64), min(rows, 8))
        grid = (_over(across, ACROSS), _over(rows, strip * DOWN), images)
        constants = {
            **known,
            "FILTERS": filters,
            "KERNEL_ROWS": kh,
            "KERNEL_COLUMNS": kw,
            "CHANNELS": channels,
            "WIDE": wide,
            "VECTOR": vector,
            "LOADED": loaded,
            "RESULTS": results,
            "STORED": _stored(out[0], together),
            "APART": apart,
        }
        return Launch(
            "walk",
            _sorted(constants),
            grid,
            (ACROSS, DOWN),
            x,
            (told,),
            (*out, rows, columns, strip),
        )

    return Ready("walk", (), launch)


def _taps(part: Part, finish: Finish) -> Ready:
    plan, given = part.plan, part.weights
    kh, kw = plan.kernel_shape[:2]
    channels = plan.input_shape[3]
    depth = given.ndim == 4
    if depth:  # (kh, kw, 1, C·F) → (F, kh, kw, C)
        filters = given.shape[3] // channels
        weights = given.reshape(kh, kw, channels, filters).transpose(3, 0, 1, 2)
    else:
        filters, weights = given.shape[0], given
    known = ending(finish, filters, depth_biases=depth)
    residues, step, line = step_of(plan.rows)
    down, across = TAPS_TILE
    stride, tap_step = plan.cols.s, plan.cols.d * channels
    # Columns of the image that a block reads, and how many kernel rows' lines fit the tile.
    pixels = (ACROSS * across - 1) // channels + 2
    width = ((pixels - 1) * stride + plan.cols.window) * channels
    chunk_rows = min(TILE // width - (DOWN * down - 1) * step, kh)
    shared = chunk_rows >= min(kh, 2) and channels <= 16

    def launch(laid: Layout, chunk: Chunk, band: Band) -> Launch:
        x, out = _from(laid, chunk, band), _to(laid, chunk, band)
        rows, columns = band.stop - band.start, plan.cols.o * channels
        images, visited = chunk.images[1] - chunk.images[0], min(residues, rows)
        constants = {
            **known,
            "DOWN": down,
            "ACROSS": across,
            "SLIDE": int(step == 1),
            "SHARED": int(shared),
            "TILE": TILE,
            "DEPTH": int(depth),
        }
        per_block = DOWN * down
        grid = (
            _over(columns, ACROSS * across),
            _over(_over(rows, visited), per_block),
            images * visited,
        )
        pitch = laid.pitch
        lines = (pitch * line, pitch * plan.rows.s)
        span = (plan.cols.o - 1) * stride * channels + plan.cols.window * channels
        more = (filters, kh, kw, visited, step, stride, tap_step, channels)
        return Launch(
            "taps",
            _sorted(constants),
            grid,
            (ACROSS, DOWN),
            (x[0], *lines, x[2], span),
            (*more, chunk_rows if shared else kh, width),
            (*out, rows, columns),
        )

    return Ready("taps", (np.ascontiguousarray(weights, np.float32),), launch)


class Tile(NamedTuple):
    """What a block of `separable` makes, and reads.

    Parameters
    ----------
    rows, pixels, channels : int
        Of results; channels are those that lie side by side in a pixel.
    width : int
        Numbers of a row of sums down the columns.
    """

    rows: int
    pixels: int
    channels: int
    width: int


def separable_tile(plan: ConvPlan) -> Tile | None:
    """Return the largest tile whose sums down the columns fit; None where not even a small one."""
    most = SEPARABLE_DOWN if step_of(plan.rows)[1] == 1 else SEPARABLE_APART
    for rows in (most, SEPARABLE_LEAST):
        channels = min(plan.input_shape[3], SEPARABLE_GROUPS)
        while channels:
            pixels = SEPARABLE_GROUPS // channels * SEPARABLE_ALONG
            width = ((pixels - 1) * plan.cols.s + plan.cols.window) * channels
            if rows * width <= TILE:
                return Tile(rows, pixels, channels, width)
            channels //= 2
    return None


def _separable(part: Part, finish: Finish) -> Ready:
    plan = part.plan
    found = factors(part.weights)
    if found is None:
        raise EngineError("the filters must be outer products, or sums of a few")
    columns, rows_of = (np.ascontiguousarray(part, np.float32) for part in found)
    filters, terms, kh = columns.shape
    kw = rows_of.shape[2]
    channels = plan.input_shape[3]
    known = ending(finish, filters, depth_biases=False)
    residues, step, line = step_of(plan.rows)
    stride, dilation = plan.cols.s, plan.cols.d if kw > 1 else 1
    tile = separable_tile(plan)
    if tile is None:
        raise EngineError(
            "the width, stride and dilation of this kernel leave the method separable no room in "
            f"the GPU's shared memory, of {TILE:,} numbers",
            "use --method direct, or --engine cpu",
        )
    down, along = tile.rows, SEPARABLE_ALONG

    def launch(laid: Layout, chunk: Chunk, band: Band) -> Launch:
        x, out = _from(laid, chunk, band), _to(laid, chunk, band)
        rows = band.stop - band.start
        images, visited = chunk.images[1] - chunk.images[0], min(residues, rows)
        constants = {
            **known,
            "DOWN": down,
            "ALONG": along,
            "GROUPS": SEPARABLE_GROUPS,
            "SLIDE": int(step == 1),
            "NEXT": int(stride == dilation == 1),
            "TILE": TILE,
        }
        grid = (
            _over(plan.cols.o, tile.pixels) * _over(channels, tile.channels),
            _over(_over(rows, visited), down),
            images * visited,
        )
        pitch = laid.pitch
        lines = (pitch * line, pitch * plan.rows.s)
        span = ((plan.cols.o - 1) * stride + plan.cols.window) * channels
        more = (filters, terms, kh, kw, visited, step, stride, dilation, channels)
        return Launch(
            "separable",
            _sorted(constants),
            grid,
            (down * SEPARABLE_GROUPS, 1),
            (x[0], *lines, x[2], span),
            (*more, tile.channels, tile.width),
            (*out, rows, plan.cols.o),
        )

    return Ready("separable", (columns, rows_of), launch)


def _products(part: Part, finish: Finish, size: int) -> Ready:
    plan, weights = part.plan, part.weights
    kh, kw, inputs, outputs = weights.shape
    groups, channels = plan.groups, plan.input_shape[3]
    each = outputs // groups
    known = ending(finish, 1, depth_biases=False)
    # Columns of the kernel that lie side by side count as inputs.
    if groups == 1 and (plan.cols.d == 1 or kw == 1) and inputs % 16:
        weights = weights.reshape(kh, 1, kw * inputs, outputs)
        inputs, kw = kw * inputs, 1
    high, wide = (128, 32) if each <= 32 else (64, 64)
    deep = 16 if inputs > 8 or wide == 32 else 8
    blocks, panels = _over(inputs, deep), _over(each, wide)
    # (kh, kw, inputs, groups · each) → (groups, panels, kh, kw, blocks · deep, wide), with zeros.
    packed = np.zeros((groups, panels, kh, kw, blocks * deep, wide), np.float32)
    split = weights.reshape(kh, kw, inputs, groups, each).transpose(3, 0, 1, 2, 4)
    for panel in range(panels):
        some = split[..., panel * wide : (panel + 1) * wide]
        packed[:, panel, :, :, :inputs, : some.shape[4]] = some

    def launch(laid: Layout, chunk: Chunk, band: Band) -> Launch:
        x, out = _from(laid, chunk, band), _to(laid, chunk, band)
        rows, columns = band.stop - band.start, plan.cols.o
        images = chunk.images[1] - chunk.images[0]
        windows = images * rows * columns
        vector = size == 4 and inputs % 4 == 0 and channels % 4 == 0 and x[0] % 4 == 0
        stored = each % 4 == 0 and out[3] % 4 == 0 and out[0] % 4 == 0
        constants = {
            **known,
            "HIGH": high,
            "WIDE": wide,
            "DEEP": deep,
            "THREADS": PRODUCT_THREADS,
            "GATHERED": high * deep // (4 * PRODUCT_THREADS),
            "TAKEN": deep * wide // (4 * PRODUCT_THREADS),
            "LEFT": 2 * deep * (high + 4),
            "RIGHT": 2 * deep * wide,
            "VECTOR": int(vector),
            "STORED": int(stored),
        }
        pitch = laid.pitch
        return Launch(
            "products",
            _sorted(constants),
            (_over(windows, high) * groups * panels, 1, 1),
            (PRODUCT_THREADS, 1),
            (x[0], pitch * plan.rows.s, plan.cols.s * channels, x[2]),
            (pitch * plan.rows.d, plan.cols.d * channels, kh, kw, inputs, blocks, panels, each),
            (*out, windows, rows, columns),
        )

    return Ready("products", (packed,), launch)


def _stored(at: int, wide: int) -> int:
    """Return how many results may be stored together from a place on."""
    return wide if at % wide == 0 else 1


def _from(laid: Layout, chunk: Chunk, band: Band) -> tuple[int, int, int]:
    """Return where the first window of a band begins, and how far rows and images lie apart."""
    part, pitch = band.part, laid.pitch
    top = part.origin[0] + band.start * part.plan.rows.s - chunk.lo
    at = top * pitch + (part.origin[1] - laid.left) * laid.channels
    return at, pitch, (chunk.hi - chunk.lo) * pitch


def _to(laid: Layout, chunk: Chunk, band: Band) -> tuple[int, int, int, int]:
    """Return where the first result goes, and how far apart rows, images and pixels lie."""
    part, pitch = band.part, laid.out_pitch
    top = part.first[0] + band.start * part.step[0] - chunk.rows[0]
    at = top * pitch + part.first[1] * laid.results
    image = (chunk.rows[1] - chunk.rows[0]) * pitch
    return at, part.step[0] * pitch, image, part.step[1] * laid.results


def _over(number: int, unit: int) -> int:
    """Return how many units hold a number."""
    return -(-number // unit)


def _sorted(constants: dict[str, int]) -> Constants:
    return tuple(sorted(constants.items()))


@lru_cache(maxsize=512)
def compiled(name: str, constants: Constants, threads: int) -> Any:
    """Return a kernel for blocks of so many threads.

    It is written out here, and compiled, or taken from disk, when it is launched.
    """
    from convtool.engine.cuda import device, kept

    jit = device.numba_cuda().jit
    written = function(name, constants)
    # The simulator has no registers.
    told = {} if device.simulated() else {"launch_bounds": bounds(name, constants, threads)}
    dispatcher = jit(**told)(written)
    kept.attach(dispatcher, "-".join([name, *(str(value) for _, value in constants)]))
    return dispatcher


def bounds(name: str, constants: Constants, threads: int) -> tuple[int, int]:
    """Return what the compiler is told of the blocks: their threads, and how many fit at once."""
    known, wanted = dict(constants), AT_ONCE
    if name == "products":
        wanted = AT_ONCE_PRODUCTS
    elif name == "walk" and not known["SUMMARISE"]:
        sizes = ("FILTERS", "KERNEL_ROWS", "KERNEL_COLUMNS", "CHANNELS")
        if slender(*(known[size] for size in sizes)):
            wanted = AT_ONCE_SMALL
    return threads, wanted // threads


def slender(filters: int, kernel_rows: int, kernel_columns: int, channels: int) -> bool:
    """Whether a thread of `walk` needs few registers."""
    return filters * kernel_rows <= SMALL_ROWS and (kernel_columns - 1) * channels <= SMALL_REACH


def function(name: str, constants: Constants) -> Any:
    """Return a kernel as Python, written out."""
    from convtool.engine.cuda.source.unroll import written_out

    module = import_module(f"convtool.engine.cuda.source.{name}")
    return written_out(getattr(module, name), dict(constants))
