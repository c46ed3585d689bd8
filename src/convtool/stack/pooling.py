"""Pools on arrays: the greatest, or the mean, of the values in each window."""

import numpy as np
from numpy.typing import NDArray

from convtool.errors import GeometryError
from convtool.geometry import AXES, Axis, ConvPlan
from convtool.stack.layers import Pooling

Floats = NDArray[np.float32]


def pool(x: NDArray[np.generic], settled: ConvPlan, pooling: Pooling) -> Floats:
    """Pool each channel by itself.

    What lies beyond the image takes no part: the greatest value is one of the image's, and a mean
    is over as many as there are, as in TensorFlow. PyTorch's AvgPool2d counts padding as zeros
    unless it is told count_include_pad=False.

    Parameters
    ----------
    x : ndarray (N, H, W, C)
    settled : ConvPlan
        Its windows.
    pooling : Pooling

    Returns
    -------
    ndarray (N, OH, OW, C), float32

    Raises
    ------
    GeometryError
        Where a window lies in the padding altogether.
    """
    rows, cols = counts(settled)
    y = x.astype(np.float32, copy=False)
    # A greatest value and a sum can be taken along one axis after the other.
    with np.errstate(all="ignore"):
        for dimension, axis in enumerate((settled.rows, settled.cols), 1):
            y = _along(y, dimension, axis, pooling)
        if pooling is Pooling.AVERAGE:
            y /= np.outer(rows, cols)[..., None].astype(np.float32)
    return y


def counts(settled: ConvPlan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the rows, and the columns, of the image that are in each window.

    Returns
    -------
    rows : ndarray (OH,)
    columns : ndarray (OW,)

    Raises
    ------
    GeometryError
        Where a window lies in the padding altogether.
    """
    return _counts(settled.rows, AXES[0]), _counts(settled.cols, AXES[1])


def _along(x: Floats, dimension: int, axis: Axis, pooling: Pooling) -> Floats:
    """Take the greatest value, or the sum, of each window along one axis."""
    greatest = pooling is Pooling.MAX
    shape = (*x.shape[:dimension], axis.o, *x.shape[dimension + 1 :])
    y = np.full(shape, -np.inf if greatest else 0, np.float32)
    before = (slice(None),) * dimension
    for tap in range(axis.k):
        windows, pixels = _met(axis, tap)
        part = y[(*before, windows)]
        (np.maximum if greatest else np.add)(part, x[(*before, pixels)], out=part)
    return y


def _met(axis: Axis, tap: int) -> tuple[slice, slice]:
    """Return the windows whose tap is on the image, and the pixels that it is on."""
    first_pixel = tap * axis.d - axis.before
    first = max(0, -(first_pixel // axis.s))
    stop = max(first, min(axis.o, (axis.i - 1 - first_pixel) // axis.s + 1))
    start = first_pixel + first * axis.s
    return slice(first, stop), slice(start, start + (stop - first) * axis.s, axis.s)


def _counts(axis: Axis, name: str) -> NDArray[np.int64]:
    """Count the pixels of the image in each window."""
    counts = np.zeros(axis.o, np.int64)
    for tap in range(axis.k):
        counts[_met(axis, tap)[0]] += 1
    empty = int((counts == 0).sum())
    if empty:
        raise GeometryError(
            f"every window of a pool must hold a pixel, but along the {name} {empty} of {axis.o} "
            f"lie in the padding of {axis.before} + {axis.after} altogether",
            f"use padding of at most {axis.window - 1}, or padding same",
        )
    return counts
