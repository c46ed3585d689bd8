"""What can be told of a filter without an image."""

from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convtool.kernels.kernel import NEGLIGIBLE

Taps = NDArray[np.float64]
Parity = Literal["even", "odd", "none"]

# Taps and singular values this much below the greatest count as nothing.
TOLERANCE = 1e-9

# Frequencies from 0 to Nyquist, both included.
FREQUENCIES = 33


@dataclass(frozen=True)
class Analysis:
    """Properties of one 2-D filter, as a cross-correlation.

    Parameters
    ----------
    total : float
        Sum of the taps: the response to an image that is 1 everywhere.
    gain : float
        Σ|w|: the largest response to inputs between -1 and 1.
    noise_gain : float
        √Σw²: how far white noise is amplified.
    low, high : float
        The least and largest response to inputs between 0 and 1.
    least, greatest : float
        The least and greatest tap.
    symmetry : dict
        Whether each of ``left-right``, ``up-down``, ``half-turn`` and ``transpose`` leaves the
        taps as they are (even), changes their sign (odd), or neither (none).
    rank : int
        Singular values above 1e-9 of the greatest; a filter of rank 1 is separable.
    column, row : tuple of float
        Factors whose outer product the taps are; () unless the rank is 1.
    response : dict
        For ``horizontal``, ``vertical`` and ``diagonal`` waves, the absolute frequency response
        at 33 frequencies from 0 to Nyquist (half a wave per pixel and axis).
    """

    total: float
    gain: float
    noise_gain: float
    low: float
    high: float
    least: float
    greatest: float
    symmetry: dict[str, Parity]
    rank: int
    column: tuple[float, ...]
    row: tuple[float, ...]
    response: dict[str, tuple[float, ...]]


def analyse(taps: Taps) -> Analysis:
    """Analyse one filter.

    Parameters
    ----------
    taps : ndarray (kh, kw)

    Returns
    -------
    Analysis
    """
    rank = _rank(taps)
    column, row = _factors(taps) if rank == 1 else ((), ())
    total, gain = float(taps.sum()), float(np.abs(taps).sum())
    return Analysis(
        total=0.0 if abs(total) <= NEGLIGIBLE * gain else total,
        gain=gain,
        noise_gain=float(np.sqrt(np.square(taps).sum())),
        low=float(np.minimum(taps, 0).sum()),
        high=float(np.maximum(taps, 0).sum()),
        least=float(taps.min()),
        greatest=float(taps.max()),
        symmetry={
            "left-right": _parity(taps, taps[:, ::-1]),
            "up-down": _parity(taps, taps[::-1]),
            "half-turn": _parity(taps, taps[::-1, ::-1]),
            "transpose": _parity(taps, taps.T),
        },
        rank=rank,
        column=column,
        row=row,
        response={
            "horizontal": _spectrum(taps.sum(axis=0)),
            "vertical": _spectrum(taps.sum(axis=1)),
            "diagonal": _spectrum(_diagonal_sums(taps)),
        },
    )


def _parity(taps: Taps, turned: Taps) -> Parity:
    if taps.shape != turned.shape:
        return "none"
    slack = TOLERANCE * np.abs(taps).max()
    if np.abs(taps - turned).max() <= slack:
        return "even"
    return "odd" if np.abs(taps + turned).max() <= slack else "none"


def _rank(taps: Taps) -> int:
    singular = np.linalg.svd(taps, compute_uv=False)
    return int((singular > TOLERANCE * singular[0]).sum())


def _factors(taps: Taps) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Split taps of rank 1 into a column and a row that people recognize.

    Integers stay integers, as small as can be; else the row of a blur sums to 1, and that of any
    other filter is 1 at its strongest tap.
    """
    i, j = np.unravel_index(np.abs(taps).argmax(), taps.shape)
    total = taps.sum()
    if np.array_equal(taps, np.round(taps)) and np.abs(taps).max() < 2**53:
        row = taps[i] / gcd(*map(int, taps[i]))
        column = taps[:, j] / row[j]
    elif total > 0.5 * np.abs(taps).sum():
        column, row = taps.sum(axis=1), taps.sum(axis=0) / total
    else:
        column, row = taps[:, j], taps[i] / taps[i, j]
    # Of the two signs: a row that sums to more than zero, else one that grows to the right.
    sign = row.sum() if abs(row.sum()) > TOLERANCE * np.abs(row).sum() else row[-1]
    if sign < 0:
        column, row = -column, -row
    # No minus zero, which prints as such.
    return tuple((column + 0.0).tolist()), tuple((row + 0.0).tolist())


def _diagonal_sums(taps: Taps) -> Taps:
    """Sum the taps along the lines of equal i + j, which a diagonal wave cannot tell apart."""
    i, j = np.indices(taps.shape)
    return np.bincount((i + j).ravel(), weights=taps.ravel()).astype(np.float64)


def _spectrum(taps: Taps) -> tuple[float, ...]:
    """Return |Σ w·exp(-2πift)| at the frequencies f from 0 to a half."""
    f = np.linspace(0, 0.5, FREQUENCIES)
    waves = np.exp(-2j * np.pi * np.outer(f, np.arange(len(taps))))
    response: list[float] = np.abs(waves @ taps).tolist()
    return tuple(response)
