"""How responses, which may be anything, become pixels, which lie between black and white."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.errors import UsageError
from convtool.images.picture import full_scale
from convtool.terms import Depth, RangeMode

# Values worked on at a time: temporaries stay in the cache and out of the memory bill.
_BAND = 1 << 18

_DTYPES = {Depth.EIGHT: np.uint8, Depth.SIXTEEN: np.uint16, Depth.FLOAT: np.float32}


def to_pixels(
    responses: NDArray[np.float32],
    mode: RangeMode,
    depth: Depth,
    full_in: float,
    full_out: float,
) -> tuple[NDArray[Any], float]:
    """Turn responses into pixels.

    ::

        clip      v                         then limited to [0, full_in]
        abs       |v|                       then limited
        signed    full_in / 2 + v / 2       then limited
        stretch   least → 0, greatest → full_in, over the whole batch; a constant batch → 0
        raw       v

    What follows is multiplied by full_out / full_in and, for integers, rounded to nearest even.
    NaN becomes 0 and infinity the end of the range, in every mode but raw.

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
    clipped : float
        The share of values that the limits changed, NaN counted, between 0 and 1.

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
        return np.asarray(responses, np.float32), 0.0

    low, high = 0.0, 0.0
    if mode is RangeMode.STRETCH:
        least, greatest, _ = summary(responses)
        low, high = least or 0.0, greatest or 0.0

    pixels = np.empty(responses.shape, _DTYPES[depth])
    target = pixels.reshape(-1)
    clipped = 0
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
        clipped += _limit(work, full_in, finite_only=mode is RangeMode.STRETCH)
        # Dividing where the ratio is below 1 keeps it a whole number (65535 → 255 is / 257).
        if full_out > full_in:
            work *= full_out / full_in
        elif full_out < full_in:
            work /= full_in / full_out
        target[band] = work if depth is Depth.FLOAT else np.rint(work, out=work)
    return pixels, clipped / max(responses.size, 1)


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


def _limit(work: NDArray[Any], full: float, *, finite_only: bool) -> int:
    """Limit `work` to [0, full] in place and return how many values that changed."""
    if finite_only:
        # Stretched values overshoot by rounding alone; that is not clipping.
        inside = np.count_nonzero(np.isfinite(work))
    else:
        inside = np.count_nonzero((work >= 0) & (work <= full))
    if inside < work.size:
        work[np.isnan(work)] = 0
    np.clip(work, 0, full, out=work)
    return int(work.size - inside)
