"""Kernels as outer products: what the separable method multiplies by."""

from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from convtool.geometry import ConvPlan

Doubles = NDArray[np.float64]

# The rest that a sum of outer products may leave, of the sum of the weights' sizes: half of what
# rounding the weights to float32 may leave. Or of each weight by itself, where it is one product
# that was rounded as often as that.
REST = 6e-8
ROUNDED = 2.5e-7

# Larger numbers are no weights of which sums stay exact.
WHOLE_BELOW = 2.0**24

# The terms of a low rank may cancel one another, which costs accuracy: together they may be so
# many times as large as the kernel.
CANCEL = 2.0


def factors(weights: Doubles) -> tuple[Doubles, Doubles] | None:
    """Write every filter as a sum of outer products of columns and rows.

    Parameters
    ----------
    weights : ndarray (F, kh, kw), float64

    Returns
    -------
    columns : ndarray (F, terms, kh)
    rows : ndarray (F, terms, kw)
        float64; terms that a filter does not need are zero. Whole numbers, and whole numbers over
        a power of two, have factors that are the same, so that sums stay exact. None where a
        filter takes so many terms that it saves no multiplications, or more than one for whole
        numbers, or where its terms would cancel one another.
    """
    return _factors(np.ascontiguousarray(weights).tobytes(), weights.shape)


@lru_cache(maxsize=32)
def _factors(data: bytes, shape: tuple[int, ...]) -> tuple[Doubles, Doubles] | None:
    weights = np.frombuffer(data, np.float64).reshape(shape)
    if not np.isfinite(weights).all():
        return None
    split = [_split(one) for one in weights]
    terms = [part for part in split if part is not None]
    if len(terms) < len(split):
        return None
    most = max(len(columns) for columns, _ in terms)
    columns = np.zeros((shape[0], most, shape[1]))
    rows = np.zeros((shape[0], most, shape[2]))
    for f, (column, row) in enumerate(terms):
        columns[f, : len(column)], rows[f, : len(row)] = column, row
    return columns, rows


def constant(settled: ConvPlan, weights: Doubles) -> bool:
    """Whether the one filter is a box, and rows and columns lie as its method wants them."""
    return (
        len(weights) == 1
        and settled.cols.s == 1
        and settled.rows.s // gcd(settled.rows.s, settled.rows.d) == 1
        and bool(np.isfinite(weights[0, 0, 0]) and (weights == weights[0, 0, 0]).all())
    )


def whole(weights: Doubles) -> bool:
    """Whether the weights are whole numbers over a power of two, which float32 sums exactly."""
    if np.abs(weights).max(initial=0) >= WHOLE_BELOW:
        return False
    return bool((weights * 2.0**16 == np.rint(weights * 2.0**16)).all())


def _split(kernel: Doubles) -> tuple[Doubles, Doubles] | None:
    size = np.abs(kernel).sum()
    if size == 0:
        return np.zeros((1, kernel.shape[0])), np.zeros((1, kernel.shape[1]))
    a, b = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
    column, row = kernel[:, b], kernel[a] / kernel[a, b]
    if whole(kernel):
        # The row without its common divisor; the column is then whole as well.
        numbers = np.rint(kernel[a] * 2.0**16).astype(np.int64)
        row = numbers / np.gcd.reduce(numbers)
        column = kernel[:, b] / row[b]
        return (column[None], row[None]) if (np.outer(column, row) == kernel).all() else None
    rest = np.abs(np.outer(column, row) - kernel)
    if rest.sum() <= REST * size or (rest <= ROUNDED * np.abs(kernel)).all():
        # As large the one as the other, so that neither overflows.
        balance = np.sqrt(np.abs(kernel[a, b]))
        return column[None] / balance, row[None] * balance
    if min(kernel.shape) < 3:
        return None
    left, values, right = np.linalg.svd(kernel, full_matrices=False)
    for terms in range(2, (kernel.size - 1) // sum(kernel.shape) + 1):
        root = np.sqrt(values[:terms])
        columns, rows = (left[:, :terms] * root).T, right[:terms] * root[:, None]
        if np.abs(columns.T @ rows - kernel).sum() <= REST * size:
            large = (np.abs(columns).sum(axis=1) * np.abs(rows).sum(axis=1)).sum()
            return (columns, rows) if large <= CANCEL * size else None
    return None
