"""What happens to responses between the convolution and the pixels: activate, combine, arrange."""

from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from convtool.terms import Activation, Combine

Floats = NDArray[np.float32]

# Pixels between the tiles of a grid.
GAP = 2


def activate(y: Floats, activation: Activation) -> Floats:
    """Apply an activation to every response; may work in place."""
    match activation:
        case Activation.NONE:
            return y
        case Activation.RELU:
            return np.maximum(y, 0, out=y)
        case Activation.ABS:
            return np.abs(y, out=y)
        case Activation.TANH:
            return np.tanh(y, out=y)
        case Activation.SIGMOID:
            # 1 / (1 + e^-y), written so that nothing overflows.
            return 0.5 + 0.5 * np.tanh(0.5 * y)


def combine(y: Floats, how: Combine) -> Floats:
    """Make one response of several filters' responses.

    Parameters
    ----------
    y : ndarray (N, H, W, K, F)
        The responses of F filters on each of K channels (or groups of channels).
    how : Combine

    Returns
    -------
    ndarray (N, H, W, K), float32
        Or (N, H, W, K·F) for `each`, and for `grid` the filters' images as tiles of one
        picture, in reading order: (N, rows·(H + gap) - gap, columns·(W + gap) - gap, K).
    """
    match how:
        case Combine.EACH:
            return y.reshape(*y.shape[:3], y.shape[3] * y.shape[4])
        case Combine.MAGNITUDE:
            return np.sqrt(np.einsum("...f,...f->...", y, y))
        case Combine.SUM:
            return y.sum(axis=-1)
        case Combine.MEAN:
            return y.mean(axis=-1)
        case Combine.MAX:
            return y.max(axis=-1)
        case Combine.ABSMAX:
            low, high = y.min(axis=-1), y.max(axis=-1)
            return np.where(-low > high, low, high)
        case Combine.GRID:
            return _grid(y)


def grid_shape(filters: int, height: int, width: int) -> tuple[int, int]:
    """Return the height and width of a grid of `filters` tiles, about as wide as it is high."""
    down, across = _tiles(filters, height, width)
    return down * (height + GAP) - GAP, across * (width + GAP) - GAP


def _tiles(filters: int, height: int, width: int) -> tuple[int, int]:
    across = min(filters, max(1, ceil(sqrt(filters * height / width))))
    return ceil(filters / across), across


def _grid(y: Floats) -> Floats:
    n, h, w, k, filters = y.shape
    across = _tiles(filters, h, w)[1]
    sheet = np.zeros((n, *grid_shape(filters, h, w), k), np.float32)
    for f in range(filters):
        top, left = f // across * (h + GAP), f % across * (w + GAP)
        sheet[:, top : top + h, left : left + w] = y[..., f]
    return sheet
