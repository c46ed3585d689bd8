"""The formulas of the families: values and a size to taps (F, kh, kw)."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from convtool.errors import KernelError
from convtool.kernels.families import Values, gabor_angles, gabor_sigma, value_text

Taps = NDArray[np.float64]
Shape = tuple[int, int]


def _axis(count: int) -> Taps:
    """Return pixel centres as distances from the middle; halves where the count is even."""
    return np.arange(count, dtype=np.float64) - (count - 1) / 2


def _axes(shape: Shape) -> tuple[Taps, Taps]:
    """Return y (growing downwards) as a column and x as a row."""
    return _axis(shape[0])[:, None], _axis(shape[1])[None, :]


def _gauss(sigma: float, shape: Shape) -> Taps:
    y, x = (np.exp(-0.5 * (t / sigma) ** 2) for t in _axes(shape))
    taps: Taps = (y / y.sum()) * (x / x.sum())
    return taps


def box(values: Values, shape: Shape) -> Taps:
    """Return equal weights that sum to 1."""
    return np.full((1, *shape), 1 / (shape[0] * shape[1]))


def binomial(values: Values, shape: Shape) -> Taps:
    """Return two rows of Pascal's triangle, multiplied and scaled to sum 1."""
    column, row = ([comb(k - 1, j) / 2 ** (k - 1) for j in range(k)] for k in shape)
    return np.outer(column, row)[None]


def gaussian(values: Values, shape: Shape) -> Taps:
    """Return the Gaussian at the pixel centres, scaled to sum 1."""
    return _gauss(values["sigma"], shape)[None]


def motion(values: Values, shape: Shape) -> Taps:
    """Return the length of a straight path inside each pixel, over the whole length."""
    half, angle = values["length"] / 2, np.radians(values["angle"])
    y, x = _axes(shape)
    # Path: (x, y) = t·(cos, -sin), as y grows downwards; each axis bounds t for a pixel.
    bounds = [_crossing(x, np.cos(angle), half), _crossing(y, -np.sin(angle), half)]
    lengths = np.minimum(bounds[0][1], bounds[1][1]) - np.maximum(bounds[0][0], bounds[1][0])
    # Pixels that a diagonal meets in a corner alone get nothing, not the rounding error.
    lengths = np.where(lengths > 1e-9, lengths, 0)
    taps: Taps = lengths / lengths.sum()
    return taps[None]


def _crossing(centre: Taps, speed: float, half: float) -> tuple[Taps, Taps]:
    """Return when a point that moves along one axis enters and leaves each pixel."""
    if abs(speed) < 1e-12:
        inside = np.abs(centre) < 0.5
        return np.where(inside, -half, half), np.where(inside, half, -half)
    ends = np.stack([(centre - 0.5) / speed, (centre + 0.5) / speed]).clip(-half, half)
    return ends.min(axis=0), ends.max(axis=0)


def disk(values: Values, shape: Shape) -> Taps:
    """Return the share of the disk that lies in each pixel, exactly."""
    r = values["radius"]
    y, x = ((t + 0.5).clip(-r, r) for t in _axes(shape))
    y0, x0 = ((t - 0.5).clip(-r, r) for t in _axes(shape))
    area = _corner(x, y, r) - _corner(x0, y, r) - _corner(x, y0, r) + _corner(x0, y0, r)
    area = np.maximum(area, 0)  # corners that the circle just misses are 0 but for rounding
    taps: Taps = area / area.sum()
    return taps[None]


def _corner(x: Taps, y: Taps, r: float) -> Taps:
    """Return the disk's area between its centre and (x, y), negative where x·y is."""
    u, v = np.abs(x), np.abs(y)
    # Up to `a` the rectangle is inside the disk; from there to u the circle bounds it.
    a = np.minimum(u, np.sqrt(r * r - v * v))
    area: Taps = np.sign(x) * np.sign(y) * (a * v + _under_circle(u, r) - _under_circle(a, r))
    return area


def _under_circle(u: Taps, r: float) -> Taps:
    """Return the integral of sqrt(r² - u²) from 0 to u."""
    area: Taps = 0.5 * (u * np.sqrt(np.maximum(r * r - u * u, 0)) + r * r * np.arcsin(u / r))
    return area


def unsharp(values: Values, shape: Shape) -> Taps:
    """Return (1 + amount)·δ - amount·G: what a blur takes away, added back."""
    taps = -values["amount"] * _gauss(values["sigma"], shape)
    taps[shape[0] // 2, shape[1] // 2] += 1 + values["amount"]
    weights: Taps = taps[None]
    return weights


def log(values: Values, shape: Shape) -> Taps:
    """Return ∇²G = (r² - 2σ²)/σ⁴·G at the pixel centres, less its mean."""
    sigma = values["sigma"]
    y, x = _axes(shape)
    square = x * x + y * y
    taps = (square - 2 * sigma**2) / sigma**4 * np.exp(-square / (2 * sigma**2))
    taps /= 2 * np.pi * sigma**2
    return _something(taps - taps.mean())[None]


def dog(values: Values, shape: Shape) -> Taps:
    """Return G(sigma1) - G(sigma2), each scaled to sum 1."""
    taps = _gauss(values["sigma1"], shape) - _gauss(values["sigma2"], shape)
    return _something(taps)[None]


def _something(taps: Taps) -> Taps:
    """Refuse taps of which nothing is left, as of a difference of two single pixels."""
    if not taps.any():
        size = "x".join(map(str, taps.shape))
        raise KernelError(f"all taps are 0 at {size}", "take a larger size")
    return taps


def gabor(values: Values, shape: Shape) -> Taps:
    """Return waves under a Gaussian envelope, with sum 0 and absolute sum 2."""
    return np.stack([_gabor(values, shape, angle) for angle in gabor_angles(values)])


def _gabor(values: Values, shape: Shape, angle: float) -> Taps:
    y, x = _axes(shape)
    theta = np.radians(angle)
    along = x * np.cos(theta) - y * np.sin(theta)
    across = x * np.sin(theta) + y * np.cos(theta)
    sigma = gabor_sigma(values)
    envelope = np.exp(-(along**2 + (values["gamma"] * across) ** 2) / (2 * sigma**2))
    phase = 2 * np.pi * along / values["wavelength"] + np.radians(values["psi"])
    wave = envelope * np.cos(phase)
    # Taking the mean away in the envelope's own shape leaves no pedestal at the rim.
    wave -= envelope * (wave.sum() / envelope.sum())
    size = np.abs(wave).sum()
    if size < 1e-9 * envelope.sum():
        raise KernelError(
            f"no wave is left of wavelength {value_text(values['wavelength'])}, theta {angle:g}, "
            f"psi {value_text(values['psi'])} at {shape[0]}x{shape[1]} taps",
            "take a larger size, a wavelength above 2, or psi=0",
        )
    taps: Taps = wave * (2 / size)
    return taps


def bilinear(values: Values, shape: Shape) -> Taps:
    """Return a pyramid that falls to zero `factor` pixels from its middle; sum factor²."""
    f = values["factor"]
    y, x = (1 - np.abs(t) / f for t in _axes(shape))
    taps: Taps = (y * x)[None]
    return taps
