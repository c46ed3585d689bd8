"""How the Fourier transform cuts an image into tiles, and what that costs.

A tile is a part of the padded image. Its transform wraps around, so that only the windows that
begin in its upper left part are sums of what they should be; tiles overlap by a window less one
pixel::

    ┌────────────────┬───────┐
    │ windows that   │ wrap  │     k = 31 in a tile of 128: 98 of 128 rows and columns count
    │ fit the tile   │ around│     k = 127 in a tile of 384: 258 of 384
    ├────────────────┘       │
    │ wrap around            │
    └────────────────────────┘

Large tiles lose less, but take more steps for each pixel, and more memory than a core's cache.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import ceil, log2
from typing import NamedTuple

from convtool.geometry import Axis, ConvPlan

# What a transform is made of: passes of these radices and one last, which goes together with the
# product by the spectrum (columns), or with the transform along the lanes of a vector (rows).
RADICES = (8, 5, 4, 3)
LAST_OF_COLUMNS = (8, 4)
LAST_OF_ROWS = (4, 2)

# Sizes of tiles are these times a power of two. Without multiples of 5, images that are small or
# narrow took up to a fifth longer.
MULTIPLES = (1, 3, 5, 9, 15)

# The most memory for each thread, in bytes, where a tile twice as large as the window fits it:
# sixteen threads shall stay below 64 MB.
MOST_MEMORY = 3_600_000

# What a core's second cache holds of tiles and spectra before it costs time, in bytes.
CACHE = 800_000

# Nanoseconds on one core of 2.5 GHz with vectors of 16 float32, fitted to 37 measurements: the
# estimates are off by 6 %, and 16 % at most. Most of the time goes to memory, not to arithmetic.
NANOSECONDS = {
    "fourier row": 0.08,  # a step of a complex number of a row, forth or back
    "fourier column": 0.04,  # a step of a complex number of a column, forth or back
    "fourier beyond": 1.0,  # a complex number, forth or back, of tiles that exceed the cache
    "fourier line": 110.0,  # a row of half a tile, loaded or stored
    "fourier number": 0.95,  # a number loaded into a tile, or stored from it
    "fourier apart": 1.0,  # and one that goes there or comes from there without a vector
}


class Tiles(NamedTuple):
    """How an output is cut.

    Parameters
    ----------
    rows, columns : int
        Size of a tile.
    down, across : int
        How many there are; each makes an even share of the output.
    """

    rows: int
    columns: int
    down: int
    across: int


def passes(length: int, lasts: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the radices of a transform, in their order, or None where it has none.

    Larger radices come first: what they leave is small enough for the first cache (256 rows took
    a tenth longer as 4 · 8 · 8 than as 8 · 4 · 8).
    """
    for last in lasts:
        if length % last:
            continue
        rest, found = length // last, []
        for radix in (5, 3):
            while rest % radix == 0:
                found.append(radix)
                rest //= radix
        twos = rest.bit_length() - 1
        if rest == 1 << twos and twos != 1:
            fours = -twos % 3
            return (*[8] * ((twos - 2 * fours) // 3), *[4] * fours, *found, last)
    return None


@lru_cache(maxsize=256)
def choose(settled: ConvPlan, lanes: int = 16) -> Tiles:
    """Return the tiles that take least time, of those that do not take too much memory.

    Parameters
    ----------
    settled : ConvPlan
        Whose filters each channel has for itself.
    lanes : int
        Float32 in a vector.
    """
    count = settled.input_shape[3] * settled.filters
    highs = sorted(_lengths(settled.rows, 1, LAST_OF_COLUMNS))
    wides = sorted(_lengths(settled.cols, lanes, LAST_OF_ROWS))
    most = max(MOST_MEMORY, 2 * memory(highs[0], wides[0], count))
    allowed = (
        Tiles(high, wide, _count(settled.rows, high), _count(settled.cols, wide))
        for high in highs
        for wide in wides
        if memory(high, wide, count) <= most
    )
    # The same for one image as for a batch. One pair of tiles more stands for threads that wait
    # for the last one.
    return min(
        allowed, key=lambda tiles: seconds(settled, tiles) * (1 + 2 / (tiles.down * tiles.across))
    )


def memory(rows: int, columns: int, count: int) -> int:
    """Return how many bytes so many tiles of complex numbers take."""
    return 8 * (rows + 1) * columns * count


def parts(settled: ConvPlan, tiles: Tiles) -> dict[str, float]:
    """Count the parts of the work, as `NANOSECONDS` names them."""
    n, _, _, c = settled.input_shape
    rows, cols, f = settled.rows, settled.cols, settled.filters
    high, wide = rows.o / tiles.down, cols.o / tiles.across
    read = (high - 1) * rows.s + rows.window
    size = tiles.rows * tiles.columns
    # Tiles, and spectra that multiply them.
    busy = memory(tiles.rows, tiles.columns, c * f + f)
    beyond = max(busy - CACHE, 0) / busy
    pairs = n * ceil(tiles.down * tiles.across / 2)
    loaded, stored = 2 * c * read * tiles.columns, 2 * c * f * high * wide
    apart = loaded * (c > 4) + stored * (c > 4 or cols.s > 1 or f > 1)
    return {
        "fourier row": pairs * c * (read + f * high) * tiles.columns * log2(tiles.columns),
        "fourier column": pairs * c * (1 + f) * size * log2(tiles.rows),
        "fourier beyond": pairs * c * (1 + f) * size * beyond,
        "fourier line": pairs * 2 * (read + high),
        "fourier number": pairs * (loaded + stored),
        "fourier apart": pairs * apart,
    }


def seconds(settled: ConvPlan, tiles: Tiles) -> float:
    """Return what the tiles of all images take on one core."""
    return sum(NANOSECONDS[part] * n for part, n in parts(settled, tiles).items()) * 1e-9


def _lengths(axis: Axis, unit: int, lasts: tuple[int, ...]) -> Iterator[int]:
    """Yield the sizes that hold a window, up to where more would not lose less."""
    enough = min(axis.window + (axis.o - 1) * axis.s, max(16 * axis.window, 512))
    for multiple in MULTIPLES:
        length = multiple * unit
        while True:
            steps = passes(length // unit, lasts)
            if length >= axis.window and steps and (len(steps) > 1 or unit > 1):
                yield length
                if length >= enough:
                    break
            length *= 2


def _count(axis: Axis, length: int) -> int:
    """Return into how many tiles of that size an axis is cut."""
    return ceil(axis.o / ((length - axis.window) // axis.s + 1))
