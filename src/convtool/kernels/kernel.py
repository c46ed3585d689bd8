"""A kernel: its shape at once, its weights when they are first needed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from convtool.errors import KernelError, did_you_mean
from convtool.terms import Combine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The longest side of a kernel. A larger one is nearly always a slip (an image taken for a kernel,
# a sigma in the wrong unit), and would not end in a lifetime.
LONGEST = 2047


# A sum of taps this small beside the sum of their sizes is 0 but for rounding.
NEGLIGIBLE = 1e-9


class Setting(NamedTuple):
    """A parameter of a formula as it stands in one kernel."""

    name: str
    value: str
    help: str


@dataclass(frozen=True, eq=False)
class Kernel:
    """Weights with a name, and with what is known about them.

    Parameters
    ----------
    name : str
        What ``{kernel}`` becomes in file names.
    shape : tuple of int
        ``(kh, kw)``, applied to each channel by itself, or HWIO ``(kh, kw, in/groups, out)``.
    filters : int
        Filters of a per-channel bank, or `out`.
    make : callable
        Returns the weights: (F, kh, kw) for a shape of rank 2, HWIO for rank 4.
    filter_names : tuple of str
        Empty where filters have no names.
    combine : Combine, optional
        What becomes of the responses of several filters; None = each is kept.
    bias : tuple of float, optional
        One per filter.
    description, source, meaning : str
        What it does, who says so, and what its responses mean.
    origin : str
        The path of the file, or ``inline``.
    parameters : tuple of Setting
        What the formula was given.
    """

    name: str
    shape: tuple[int, ...]
    filters: int
    make: "Callable[[], NDArray[np.float64]]"
    filter_names: tuple[str, ...] = ()
    combine: Combine | None = None
    bias: tuple[float, ...] | None = None
    description: str = ""
    source: str = ""
    meaning: str = ""
    origin: str = ""
    parameters: tuple[Setting, ...] = ()

    @cached_property
    def weights(self) -> "NDArray[np.float64]":
        """The taps, (F, kh, kw) or HWIO: float64, read-only, computed at first use."""
        import numpy as np

        weights = np.array(self.make(), np.float64)
        weights.setflags(write=False)
        return weights

    @cached_property
    def sums(self) -> tuple[float, ...]:
        """The sum of each filter's taps: 0 where only rounding keeps it from 0."""
        import numpy as np

        axes = (1, 2) if len(self.shape) == 2 else (0, 1, 2)
        totals, sizes = self.weights.sum(axis=axes), np.abs(self.weights).sum(axis=axes)
        return tuple(
            0.0 if abs(total) <= NEGLIGIBLE * size else float(total)
            for total, size in zip(totals, sizes, strict=True)
        )

    def pick(self, which: str) -> "Kernel":
        """Return one filter of a per-channel bank as a kernel of its own.

        Parameters
        ----------
        which : str
            Its name in any case, or its index from 0.

        Raises
        ------
        KernelError
            Where there is no such filter.
        """
        names = [name.casefold() for name in self.filter_names]
        if which.casefold() in names:
            index = names.index(which.casefold())
        elif which.isdecimal() and int(which) < self.filters:
            index = int(which)
        else:
            named = f" ({', '.join(self.filter_names)})" if self.filter_names else ""
            numbers = f"0 to {self.filters - 1}" if self.filters > 1 else "0"
            raise KernelError(
                f"{self.name} has the filters {numbers}{named}, but {which!r} is asked for",
                did_you_mean(which, self.filter_names),
            )
        return replace(
            self,
            filters=1,
            make=lambda: self.weights[index : index + 1],
            filter_names=self.filter_names[index : index + 1],
            combine=None,
            bias=self.bias and self.bias[index : index + 1],
        )

    @classmethod
    def from_rows(
        cls, name: str, rows: list[list[float]], origin: str, offset: float = 0
    ) -> "Kernel":
        """Make a per-channel kernel of one filter, without importing NumPy."""
        check_sides(len(rows), len(rows[0]))

        def make() -> "NDArray[np.float64]":
            import numpy as np

            return np.array([rows], np.float64)

        bias = (offset,) if offset else None
        return cls(name, (len(rows), len(rows[0])), 1, make, bias=bias, origin=origin)

    @classmethod
    def from_array(cls, name: str, array: "NDArray[Any]", origin: str) -> "Kernel":
        """Make a kernel of an array of rank 2 ``(kh, kw)`` or 4 (HWIO).

        Raises
        ------
        KernelError
            For any other rank, a type that is not real, no taps, or taps that are not finite.
        """
        import numpy as np

        if array.dtype.kind not in "biuf":
            raise KernelError(
                f"taps must be real numbers, but the array's type is {array.dtype}",
                "save it as float64",
            )
        if array.ndim not in (2, 4):
            hint = "give [kh, kw] for a filter on each channel, or HWIO [kh, kw, in/groups, out]"
            if array.ndim == 3:
                hint += "; a third axis alone may be channels or filters, so add the fourth"
            raise KernelError(
                f"a kernel has rank 2 or 4, but the array has rank {array.ndim} "
                f"({'x'.join(map(str, array.shape)) or 'a single number'})",
                hint,
            )
        if array.size == 0:
            raise KernelError(
                f"a kernel needs at least one tap, but the array is "
                f"{'x'.join(map(str, array.shape))}"
            )
        check_sides(*array.shape[:2])
        weights = array.astype(np.float64)
        bad = int(weights.size - np.isfinite(weights).sum())
        if bad:
            raise KernelError(
                f"taps must be finite, but {bad} of {weights.size} are nan or infinite"
            )
        filters = 1 if weights.ndim == 2 else weights.shape[3]
        whole = weights[None] if weights.ndim == 2 else weights
        return cls(name, weights.shape, filters, lambda: whole, origin=origin)

    @classmethod
    def from_grey(cls, name: str, grey: "NDArray[Any]", origin: str) -> "Kernel":
        """Make a kernel of a grey image (H, W): its values over their sum.

        Raises
        ------
        KernelError
            Where the values sum to zero, as an all-black image's do.
        """
        import numpy as np

        check_sides(grey.shape[0], grey.shape[1], "scale the image down first")
        values = grey.astype(np.float64)
        total = values.sum()
        if not total:
            raise KernelError(
                "an image as a kernel is its grey values over their sum, but they sum to 0",
                "give an image that is not all black",
            )
        return cls.from_array(name, values / total, origin)


def check_sides(height: int, width: int, hint: str = "") -> None:
    """Refuse a kernel with a longer side than `LONGEST`, or with none."""
    if min(height, width) < 1:
        raise KernelError(f"a kernel has at least 1x1 taps, but {height}x{width} are asked for")
    if max(height, width) > LONGEST:
        raise KernelError(
            f"a kernel has at most {LONGEST} taps a side, but {height}x{width} are asked for", hint
        )
