"""How responses, which may be anything, become pixels, which lie between black and white."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.errors import UsageError
from convtool.images.picture import full_scale
from convtool.terms import Depth, RangeMode

# Values worked on at a time: temporaries stay in the cache and out of the memory bill.
_BAND = 1 << 18

_DTYPES = {Depth.EIGHT: np.uint8, Depth.SIXTEEN: np.uint16, Depth.FLOAT: np.float32}


class Clipped(NamedTuple):
    """Which shares of the responses saturation changed, between 0 and 1.

    Parameters
    ----------
    below, above : float
        Those that became black because they were less, and white because they were more.
    nan : float
        Those that were not numbers and became black.
    """

    below: float = 0.0
    above: float = 0.0
    nan: float = 0.0

    @property
    def share(self) -> float:
        """All of them."""
        return self.below + self.above + self.nan


def to_pixels(
    responses: NDArray[np.float32],
    mode: RangeMode,
    depth: Depth,
    full_in: float,
    full_out: float,
) -> tuple[NDArray[Any], Clipped]:
    """Turn responses into pixels.

    ::

        clip      v
        abs       |v|
        signed    full_in / 2 + v / 2
        stretch   least → 0, greatest → full_in, over the whole batch; a constant batch → 0
        raw       v

    What comes out is multiplied by full_out / full_in, for integers rounded to nearest even, and
    then limited. NaN becomes 0 and infinity the end of the range, in every mode but raw.

    Parameters
    ----------
    responses : ndarray
        (N, H, W, C) of float32; never changed.
    mode : RangeMode
        The rule.
    depth : Depth
        What the pixels are stored as.
    full_in, full_out : float
        White in the responses and in the pixels, as `full_scale` gives it.

    Returns
    -------
    pixels : ndarray
        (N, H, W, C) of uint8, uint16 or float32; for raw the argument itself.
    clipped : Clipped
        What the limits changed. What rounding alone changes does not count.

    Raises
    ------
    UsageError
        For raw into integers.
    """
    if mode is RangeMode.RAW:
        if depth is not Depth.FLOAT:
            raise UsageError(
                f"--range raw leaves values as they are, but {depth}-bit pixels hold only "
                f"whole numbers from 0 to {full_scale(depth):.0f}",
                "write a .npy or float .tif file, or use --range clip, abs, signed or stretch",
            )
        return np.asarray(responses, np.float32), Clipped()

    low, high = 0.0, 0.0
    if mode is RangeMode.STRETCH:
        least, greatest, _ = summary(responses)
        low, high = least or 0.0, greatest or 0.0

    pixels = np.empty(responses.shape, _DTYPES[depth])
    target = pixels.reshape(-1)
    below = above = nan = 0
    for band, values in _bands(responses):
        if mode is RangeMode.STRETCH:
            # In float64, where high - low cannot overflow and high lands on full_in.
            with np.errstate(invalid="ignore"):  # infinity times 0, in a constant batch
                work = (values - np.float64(low)) * (full_in / (high - low) if high > low else 0.0)
        elif mode is RangeMode.ABS:
            work = np.abs(values)
        elif mode is RangeMode.SIGNED:
            work = values * np.float32(0.5)
            work += np.float32(full_in / 2)
        else:
            work = values.astype(np.float32)  # a copy
        # Dividing where the ratio is below 1 keeps it a whole number (65535 → 255 is / 257).
        if full_out > full_in:
            work *= full_out / full_in
        elif full_out < full_in:
            work /= full_in / full_out
        if depth is not Depth.FLOAT:
            np.rint(work, out=work)
        # Float sums miss the ends of the range by a rounding or two, which is no clipping; what
        # is stretched lies inside but for that and for infinity.
        slack = full_out * (1e-6 if mode is not RangeMode.STRETCH else 1e-3)
        below += int(np.count_nonzero(work < -slack))
        above += int(np.count_nonzero(work > full_out + slack))
        if np.isnan(work).any():
            nan += int(np.count_nonzero(np.isnan(work)))
            work[np.isnan(work)] = 0
        target[band] = np.clip(work, 0, full_out, out=work)
    count = max(responses.size, 1)
    return pixels, Clipped(below / count, above / count, nan / count)


def summary(responses: NDArray[Any]) -> tuple[float | None, float | None, int]:
    """Return the least and the greatest finite value (None if there is none), and how many others.

    Examples
    --------
    >>> summary(np.array([3.0, np.nan, -1.0]))
    (-1.0, 3.0, 1)
    """
    least, greatest, others = np.inf, -np.inf, 0
    for _, values in _bands(responses):
        low, high = float(values.min()), float(values.max())
        # NaN spreads through min and max, so two finite ends mean that all is finite.
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = values[np.isfinite(values)]
            others += values.size - finite.size
            if not finite.size:
                continue
            low, high = float(finite.min()), float(finite.max())
        least, greatest = min(least, low), max(greatest, high)
    return (None, None, others) if least > greatest else (least, greatest, others)


def _bands(values: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the values in runs of at most `_BAND`."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, _BAND):
        band = slice(start, start + _BAND)
        yield band, flat[band]
