"""Alpha beside the colour: weighted by it, freed of it, or read where the windows stand."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Below this share of full opacity even a 16-bit alpha is written as 0.
_TINY = 1e-6


def premultiply(colour: NDArray[Any], alpha: NDArray[Any], full: float) -> NDArray[np.float32]:
    """Return the colour weighted by its opacity, colour · alpha / full.

    Parameters
    ----------
    colour : ndarray
        (N, H, W, C).
    alpha : ndarray
        (N, H, W, 1), from 0 to `full`.
    full : float
        The alpha of an opaque pixel.

    Returns
    -------
    ndarray
        (N, H, W, C) of float32.
    """
    weight = np.asarray(alpha, np.float32) / np.float32(full)
    result: NDArray[np.float32] = np.multiply(colour, weight, dtype=np.float32)
    return result


def unpremultiply(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.float32]:
    """Return the colour of what is there, colour / alpha, and 0 where nothing is.

    Parameters
    ----------
    colour : ndarray
        (N, H, W, C), weighted by alpha.
    alpha : ndarray
        (N, H, W, 1), from 0 to 1; ringing may carry it beyond.

    Returns
    -------
    ndarray
        (N, H, W, C) of float32.
    """
    seen = np.broadcast_to(alpha > _TINY, colour.shape)
    result = np.zeros(colour.shape, np.float32)
    np.divide(colour, alpha, out=result, where=seen, dtype=np.float32, casting="same_kind")
    return result


def sample(alpha: NDArray[Any], rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[Any]:
    """Return alpha at the window centres.

    Parameters
    ----------
    alpha : ndarray
        (N, H, W, 1).
    rows, cols : ndarray
        Indices of the centres, in pixels; those outside the image take its nearest pixel.

    Returns
    -------
    ndarray
        (N, len(rows), len(cols), 1), of alpha's type.
    """
    _, height, width, _ = alpha.shape
    rows = np.clip(rows, 0, height - 1)
    cols = np.clip(cols, 0, width - 1)
    return alpha[:, rows[:, None], cols[None, :]]
