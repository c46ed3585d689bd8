"""What becomes of a sum before it is stored: the end of every convolution, in any engine."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.terms import Activation, Combine, RangeMode

# What can become of a sum while it is computed; a place in these is what compiled code is told.
ACTIVATIONS = tuple(Activation)
COMBINES: tuple[Combine, ...] = tuple(way for way in Combine if way is not Combine.GRID)
RANGES = (RangeMode.RAW, RangeMode.CLIP, RangeMode.ABS, RangeMode.SIGNED)


class Finish(NamedTuple):
    """From sums to what is stored, in this order.

    Parameters
    ----------
    bias : ndarray, optional
        float32: one for each filter of a bank of per-channel filters, else one for each output
        channel.
    activation : Activation
    combine : Combine
        Not `grid`, and not with a kernel of rank 4, where it is `each`.
    range : RangeMode
        Not `stretch`, which wants to see all the responses first.
    full_in, full_out : float
        White in the responses and in what is stored.
    dtype : str
        ``float32``, or ``uint8``, ``uint16``: rounded to nearest even and saturated.
    summarise : bool
        Whether to find the least and greatest response and what the range clips.
    """

    bias: NDArray[np.float32] | None = None
    activation: Activation = Activation.NONE
    combine: Combine = Combine.EACH
    range: RangeMode = RangeMode.RAW
    full_in: float = 1.0
    full_out: float = 1.0
    dtype: str = "float32"
    summarise: bool = False

    @property
    def plain(self) -> bool:
        """Whether nothing becomes of one filter's sums but rounding and saturation."""
        limited = RangeMode.RAW if self.dtype == "float32" else RangeMode.CLIP
        return (
            self.bias is None
            and self.activation is Activation.NONE
            and self.range is limited
            and self.full_in == self.full_out
            and not self.summarise
        )


class Summary(NamedTuple):
    """What the responses were, before the range.

    Parameters
    ----------
    least, greatest : float or None
        Of the finite ones; None where there are none.
    others : int
        How many were infinite or NaN.
    below, above, nan : int
        How many the range clipped at black, at white, and made black for want of a value.
    values : int
        How many there were.
    """

    least: float | None
    greatest: float | None
    others: int
    below: int
    above: int
    nan: int
    values: int

    def times(self, number: int) -> "Summary":
        """Return the summary of as many responses as these, so many times."""
        return self._replace(
            **{
                name: getattr(self, name) * number
                for name in ("others", "below", "above", "nan", "values")
            }
        )

    def joined(self, other: "Summary") -> "Summary":
        """Sum up two parts of an image."""
        least = [part.least for part in (self, other) if part.least is not None]
        greatest = [part.greatest for part in (self, other) if part.greatest is not None]
        return Summary(
            min(least, default=None),
            max(greatest, default=None),
            self.others + other.others,
            self.below + other.below,
            self.above + other.above,
            self.nan + other.nan,
            self.values + other.values,
        )
