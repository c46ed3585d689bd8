"""Encoded pixels ⇄ amounts of light, by the transfer curve of the colour profile.

A pixel of twice the value is not twice as bright: files store values along a curve that spends
their few codes where the eye sees differences. Sums of pixels, which is all that a convolution is,
are sums of light only after that curve is undone.
"""

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from convtool.errors import ImageError
from convtool.images.picture import depth_of, full_scale
from convtool.terms import Depth

_Values: TypeAlias = NDArray[np.float64]
_Curve: TypeAlias = Callable[[_Values], _Values]

# Values worked on at a time: temporaries stay in the cache and out of the memory bill.
_BAND = 1 << 16
_DTYPES = {Depth.EIGHT: np.uint8, Depth.SIXTEEN: np.uint16}

# Parameters of the function types 0 to 4 of `para`, ICC.1:2022, 10.18.
_PARAMETERS = (1, 3, 4, 5, 7)
_SAME = 1e-3  # linear values that are nearer to each other belong to one curve, rounded
_MANTISSA = 23  # bits of a float32
_MOST_CELLS = 1 << 22
_GRID = np.linspace(0, 1, 4097)  # where curves are looked at


def srgb(x: _Values) -> _Values:
    """Return the light of encoded values, both from 0 to 1 (IEC 61966-2-1)."""
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _linear(x: _Values) -> _Values:
    return x


class Light:
    """A transfer curve, both ways.

    Parameters
    ----------
    name : str
        What it is, in words.
    each : tuple of callable
        The curve of each channel of colour, from encoded values to light, both from 0 to 1. What
        other channels a picture has are alpha, and in proportion to light already.
    """

    __slots__ = ("_codes", "_each", "name")

    def __init__(self, name: str, each: tuple[_Curve, ...]) -> None:
        self.name = name
        self._each = each
        self._codes: dict[tuple[_Curve, Depth], _Codes] = {}

    def to_linear(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return the light of pixels.

        Parameters
        ----------
        pixels : ndarray
            (N, H, W, C) of uint8 or uint16; of float32 they count as light already.

        Returns
        -------
        ndarray
            (N, H, W, C) of float32 from 0 to 1; float32 pixels themselves.
        """
        depth = depth_of(pixels.dtype)
        if depth is Depth.FLOAT:
            return np.asarray(pixels, np.float32)
        result = np.empty(pixels.shape, np.float32)
        for curve, channels in self._channels(pixels.shape[-1]):
            light = self._of(curve, depth).light
            for given, wanted in _bands(pixels[..., channels], result[..., channels]):
                np.take(light, given, out=wanted, mode="clip")  # faster than checking
        return result

    def from_linear(
        self, values: NDArray[np.float32], depth: Depth, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Return the pixels that stand for amounts of light.

        Parameters
        ----------
        values : ndarray
            (N, H, W, C) of float32 from 0 to 1; what is outside becomes the nearer end. No NaN.
        depth : Depth
            Of the pixels.
        out : ndarray, optional
            Where they go, of their shape and type; not for float.

        Returns
        -------
        ndarray
            (N, H, W, C) of uint8 or uint16, the nearest code on the encoded scale; for float the
            argument itself.
        """
        if depth is Depth.FLOAT:
            return values
        result = np.empty(values.shape, _DTYPES[depth]) if out is None else out
        for curve, channels in self._channels(values.shape[-1]):
            codes = self._of(curve, depth)
            for given, wanted in _bands(values[..., channels], result[..., channels]):
                wanted[...] = codes.nearest(given)
        return result

    def _of(self, curve: _Curve, depth: Depth) -> "_Codes":
        key = curve, depth
        if key not in self._codes:
            self._codes[key] = _Codes(curve, depth)
        return self._codes[key]

    def _channels(self, count: int) -> Iterator[tuple[_Curve, slice]]:
        """Yield the curves and the channels that they are for, neighbours of one curve together."""
        each = (*self._each, *[_linear] * (count - len(self._each)))
        start = 0
        for stop in range(1, count + 1):
            if stop == count or each[stop] is not each[start]:
                yield each[start], slice(start, stop)
                start = stop


class _Codes:
    """The codes of one depth on one curve.

    Code c is the nearest one to the light between the curve at c - 1/2 and at c + 1/2. Which of
    these limits a value has passed is looked up by the upper bits of its float32, in cells so
    small that no two limits share one: then one comparison settles it.
    """

    def __init__(self, curve: _Curve, depth: Depth) -> None:
        last = int(full_scale(depth))
        codes = np.arange(last + 1)
        self.light = np.clip(curve(codes / last), 0, 1).astype(np.float32)
        limits = np.maximum.accumulate(np.clip(curve((codes[1:] - 0.5) / last), 0, None))
        # The least float32 that is not below the limit; behind the last one none that is passed.
        rounded = limits.astype(np.float32)
        rounded = np.where(rounded < limits, np.nextafter(rounded, np.float32(np.inf)), rounded)
        self._limits = np.append(rounded, np.float32(np.nan))
        self._dtype = _DTYPES[depth]
        self._shift, self._first, self._passed = self._cells(rounded)

    def _cells(self, limits: NDArray[np.float32]) -> tuple[int, int, NDArray[Any]]:
        """Lay the cells: by how many bits to shift, the first one, and the limits before each.

        The shift is 0 where limits are so close that there would be too many cells.
        """
        bits = limits.view(np.int32)
        for shift in range(_MANTISSA, 0, -1):
            cells = (bits >> shift) - (bits[0] >> shift)
            if cells[-1] > _MOST_CELLS:
                break
            if np.all(np.diff(cells) > 0):
                # One more at the end, for what is beyond the last limit.
                before = np.append(0, np.cumsum(np.bincount(cells)))
                return shift, int(bits[0] >> shift), before.astype(self._dtype)
        return 0, 0, np.empty(0, self._dtype)

    def nearest(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return the code of each value."""
        if not self._shift:
            found = np.searchsorted(self._limits[:-1], values, side="right")
            return found.astype(self._dtype)
        # Negative values have negative bits, and like the smallest ones stand before all cells.
        cells = np.ascontiguousarray(values).view(np.int32) >> self._shift
        cells -= self._first
        guess = np.take(self._passed, cells, mode="clip")
        guess += values >= np.take(self._limits, guess, mode="clip")
        return guess


def _bands(
    given: NDArray[Any], wanted: NDArray[Any]
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield the same rows of two arrays (N, H, W, C), a few at a time."""
    rows = max(1, _BAND // max(1, given.shape[2] * given.shape[3]))
    for n in range(given.shape[0]):
        for start in range(0, given.shape[1], rows):
            band = slice(start, start + rows)
            yield given[n, band], wanted[n, band]


@lru_cache(maxsize=8)
def curves(icc: bytes | None, channels: int) -> Light:
    """Return the transfer curves of a picture.

    Parameters
    ----------
    icc : bytes, optional
        Its colour profile; without one its curve is that of sRGB.
    channels : int
        Channels of colour: 1 or 3.

    Raises
    ------
    ImageError
        When the profile says no curve: its colours go through tables of several dimensions, or it
        is damaged.
    """
    if icc is None:
        return Light("sRGB curve", (srgb,) * channels)
    tags = _tags(icc)
    found = [one for tag in _curve_tags(tags, channels) if (one := _transfer(tag))]
    if len(found) == channels:
        return _light(found)
    if _is_srgb(tags.get("desc", b"")):
        return Light("sRGB curve", (srgb,) * channels)
    if any(name.startswith("A2B") for name in tags):
        raise ImageError(
            "linear light needs a colour profile with transfer curves, but this one has tables "
            "(A2B0) alone",
            "convert the picture to sRGB first, or leave out --linear",
        )
    raise ImageError(
        f"linear light needs a colour profile with {channels} transfer curves, but "
        f"{len(found)} can be read in this one of {len(icc)} bytes",
        "convert the picture to sRGB first, or leave out --linear",
    )


class _Transfer(NamedTuple):
    """A curve of a profile, and its name where it has a short one."""

    curve: _Curve
    name: str


def _light(each: list[_Transfer]) -> Light:
    """Return the curves of a profile under a common name; equal ones become one."""
    first, *others = (one.curve(_GRID) for one in each)
    if not all(np.array_equal(first, other) for other in others):
        return Light("curves of the profile", tuple(one.curve for one in each))
    curve, name = each[0]
    if np.abs(first - srgb(_GRID)).max() < _SAME:
        name = "sRGB curve"
    return Light(name, (curve,) * len(each))


def _tags(icc: bytes) -> dict[str, bytes]:
    """Return the tags of a profile that lie inside it."""
    tags = {}
    try:
        (count,) = struct.unpack_from(">I", icc, 128)
        for at in range(132, 132 + 12 * min(count, 1000), 12):
            name, start, size = struct.unpack_from(">4sII", icc, at)
            if start + size <= len(icc):
                tags[name.decode("latin-1")] = icc[start : start + size]
    except struct.error:
        pass  # cut off: what is there may do
    return tags


def _curve_tags(tags: dict[str, bytes], channels: int) -> list[bytes]:
    """Return the tags of the channels' curves, as far as there are any.

    Grey pictures with a profile for RGB are common; it then holds for equal channels, and green is
    as good as any. A grey profile does for three channels.
    """
    if channels == 1:
        return [tags[name] for name in ("kTRC", "gTRC") if name in tags][:1]
    colours = [tags[name] for name in ("rTRC", "gTRC", "bTRC") if name in tags]
    return colours or [tags[name] for name in ("kTRC",) * channels if name in tags]


def _is_srgb(description: bytes) -> bool:
    return b"sRGB" in description or "sRGB".encode("utf-16-be") in description


def _transfer(tag: bytes) -> _Transfer | None:
    """Return the curve that a tag of type `curv` or `para` holds; None where it holds none.

    White is 1 afterwards, which numbers that were rounded to 1/65536 may miss.
    """
    try:
        read = {b"curv": _sampled, b"para": _parametric}.get(tag[:4])
        found = read(tag) if read else None
    except struct.error:  # cut off
        return None
    if found is None:
        return None
    curve = found.curve
    with np.errstate(all="ignore"):
        light = curve(_GRID)
    white = light[-1]
    rising = bool(np.all(np.isfinite(light)) and np.all(np.diff(light) > -_SAME))
    if not rising or light[0] < -_SAME or white <= light[0]:
        return None
    return found if white == 1 else found._replace(curve=lambda x: curve(x) / white)


def _sampled(tag: bytes) -> _Transfer:
    """Return a curve of type `curv`: none, the exponent, or samples at equal distances."""
    (count,) = struct.unpack_from(">I", tag, 8)
    if count <= 1:
        return _power(struct.unpack_from(">H", tag, 12)[0] / 256 if count else 1.0)
    samples = np.array(struct.unpack_from(f">{count}H", tag, 12)) / 65535
    places = np.linspace(0, 1, count)
    return _Transfer(lambda x: np.interp(x, places, samples), "curve of the profile")


def _parametric(tag: bytes) -> _Transfer | None:
    """Return a curve of type `para`.

    ::

        type 0   x^g
             1   (a x + b)^g        from x = -b / a on, else 0
             2   (a x + b)^g + c    from x = -b / a on, else c
             3   (a x + b)^g        from x = d on, else c x
             4   (a x + b)^g + e    from x = d on, else c x + f
    """
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind >= len(_PARAMETERS):
        return None
    numbers = [n / 65536 for n in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)]
    if kind == 0:
        return _power(numbers[0])
    numbers += [0.0] * (7 - len(numbers))
    g, a, b, c, d, e, f = numbers
    if kind in (1, 2):
        if a == 0:
            return None
        # As type 4: where it begins, what is added to the power, and what stands below.
        d, e, c, f = -b / a, c, 0.0, c

    def curve(x: _Values) -> _Values:
        return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)

    return _Transfer(curve, "curve of the profile")


def _power(g: float) -> _Transfer:
    """Return x^g."""
    if g == 1:
        return _Transfer(_linear, "linear (profile)")
    short = f"{g:.2f}".rstrip("0").rstrip(".")
    return _Transfer(lambda x: x**g, f"gamma {short} (profile)")
