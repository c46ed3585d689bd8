"""Families of kernels: what their parameters are and how large they come out, without NumPy.

Each family's formula has the family's name in ``formulas``, which is imported once weights are
wanted.
"""

from collections.abc import Callable, Mapping
from math import ceil, cos, inf, isfinite, radians, sin
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from convtool.errors import KernelError
from convtool.kernels.kernel import LONGEST, check_sides

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A number, an integer, (height, width), or None where the family is to decide.
Value = float | tuple[int, int] | None
Values = Mapping[str, Any]


class Parameter(NamedTuple):
    """One number, or one size, that shapes a family's kernels.

    Parameters
    ----------
    name, help : str
    kind : {"number", "integer", "size"}
    default : Value
        None stands for ``auto``.
    least, most : float
        Limits, themselves allowed; of a size, on each side.
    odd : bool
        For a size: whether both sides must have a centre.
    automatic : bool
        Whether ``auto`` may be given.
    """

    name: str
    help: str
    kind: Literal["number", "integer", "size"]
    default: Value
    least: float = -inf
    most: float = inf
    odd: bool = False
    automatic: bool = False

    def parse(self, given: object) -> Value:
        """Read a value from a command line (str) or a TOML file (str, int, float).

        Raises
        ------
        KernelError
            Where it is no such thing, or beyond the limits.
        """
        text = str(given).strip().lower()
        if self.automatic and text == "auto":
            return None
        whole = self.kind != "number"
        try:
            if isinstance(given, bool) or "_" in text:
                raise ValueError
            parts = text.split("x") if self.kind == "size" else [text]
            numbers = [int(part) if whole else float(part) for part in parts]
            if len(numbers) > 2 or not all(map(isfinite, numbers)):
                raise ValueError
        except ValueError:
            kind = {"number": "a number", "integer": "a whole number", "size": "N or HxW"}
            auto = " or auto" if self.automatic else ""
            raise KernelError(
                f"{self.name} must be {kind[self.kind]}{auto}, but {given!r} is given",
                f"{self.name}: {self.help}",
            ) from None
        for value in numbers:
            if not self.least <= value <= self.most:
                raise KernelError(
                    f"{self.name} must be {self.limits()}, but {text} is given",
                    f"{self.name}: {self.help}",
                )
            if self.odd and value % 2 == 0:
                raise KernelError(
                    f"{self.name} must be odd, so that there is a centre, but {text} is given",
                    f"take {value + 1}",
                )
        if self.kind == "size":
            return int(numbers[0]), int(numbers[-1])
        return numbers[0]

    def limits(self) -> str:
        """Say the limits in words."""
        if self.most == inf:
            return f"at least {self.least:g}"
        return f"between {self.least:g} and {self.most:g}"


def value_text(value: Value) -> str:
    """Write a value as `Parameter.parse` reads it."""
    if value is None:
        return "auto"
    if isinstance(value, tuple):
        return f"{value[0]}" if value[0] == value[1] else f"{value[0]}x{value[1]}"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


class Family(NamedTuple):
    """Kernels that one formula makes.

    Parameters
    ----------
    name : str
    parameters : tuple of Parameter
    size : callable
        Values to (kh, kw).
    names : callable
        Values to the names of the filters; () where there is one without a name.
    """

    name: str
    parameters: tuple[Parameter, ...]
    size: Callable[[Values], tuple[int, int]]
    names: Callable[[Values], tuple[str, ...]] = lambda _: ()

    def shape(self, values: Values) -> tuple[int, int]:
        """Return (kh, kw), refusing what is too large."""
        shape = self.size(values)
        automatic = any(p.automatic and values[p.name] is None for p in self.parameters)
        check_sides(*shape, hint="give the size, or smaller values" if automatic else "")
        return shape

    def weights(self, values: Values) -> "NDArray[np.float64]":
        """Return the taps (F, kh, kw)."""
        from convtool.kernels import formulas

        formula = getattr(formulas, self.name)
        weights: NDArray[np.float64] = formula(values, self.shape(values))
        return weights


def _given_size(values: Values) -> tuple[int, int]:
    size: tuple[int, int] = values["size"]
    return size


def _reach(values: Values, reach: float) -> tuple[int, int]:
    """Return the size asked for, or the one that reaches so many pixels from the centre."""
    side = 2 * ceil(reach) + 1
    return values["size"] or (side, side)


def motion_size(values: Values) -> tuple[int, int]:
    """Return the pixels that a centred segment passes through, which are odd in number.

    Pixel j of a row covers j - 1/2 … j + 1/2; what only touches a border (or does so but for
    rounding) does not pass through.
    """
    half, angle = values["length"] / 2, radians(values["angle"])
    down, across = half * abs(sin(angle)), half * abs(cos(angle))
    return _pixels(down), _pixels(across)


def _pixels(reach: float) -> int:
    return 2 * max(0, ceil(reach - 0.5 - 1e-9)) + 1


def _dog_size(values: Values) -> tuple[int, int]:
    if values["sigma1"] == values["sigma2"]:
        raise KernelError(
            f"sigma1 and sigma2 must differ, but both are {values['sigma1']:g}",
            "sigma2 = 1.6 sigma1 comes nearest to a Laplacian of Gaussian",
        )
    return _reach(values, 3 * max(values["sigma1"], values["sigma2"]))


def gabor_sigma(values: Values) -> float:
    """Return the envelope's sigma; by default that of a bandwidth of one octave."""
    return float(0.56 * values["wavelength"] if values["sigma"] is None else values["sigma"])


def gabor_angles(values: Values) -> list[float]:
    """Return the direction of each filter's wave in degrees."""
    count = int(values["orientations"])
    return [values["theta"] + 180 * k / count for k in range(count)]


def _gabor_names(values: Values) -> tuple[str, ...]:
    if values["orientations"] == 1:
        return ()
    return tuple(f"{angle:g}deg" for angle in gabor_angles(values))


def _bilinear_size(values: Values) -> tuple[int, int]:
    side = int(2 * values["factor"] - values["factor"] % 2)
    return side, side


def _sigma(name: str = "sigma", default: float = 1, help: str = "standard deviation") -> Parameter:
    return Parameter(name, f"{help} in pixels", "number", default, 0.1, LONGEST)


def _auto_size(rule: str, *, odd: bool = False) -> Parameter:
    help = f"taps, N or HxW; auto = {rule}"
    return Parameter("size", help, "size", None, 1, LONGEST, odd=odd, automatic=True)


_SIZE = Parameter("size", "taps, N or HxW", "size", (3, 3), 1, LONGEST)
_DEGREES = "degrees, counter-clockwise as seen"

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("box", (_SIZE,), _given_size),
        Family("binomial", (_SIZE,), _given_size),
        Family(
            "gaussian",
            (_sigma(), _auto_size("2 ceil(3 sigma) + 1")),
            lambda values: _reach(values, 3 * values["sigma"]),
        ),
        Family(
            "motion",
            (
                Parameter("length", "length of the path in pixels", "number", 9, 1, LONGEST),
                Parameter("angle", f"direction of the path in {_DEGREES}", "number", 0, -360, 360),
            ),
            motion_size,
        ),
        Family(
            "disk",
            (Parameter("radius", "radius in pixels", "number", 3, 0.1, LONGEST / 2),),
            lambda values: (_pixels(values["radius"]), _pixels(values["radius"])),
        ),
        Family(
            "unsharp",
            (
                Parameter("amount", "strength; 0 changes nothing", "number", 1, 0, 100),
                _sigma(),
                _auto_size("2 ceil(3 sigma) + 1", odd=True),
            ),
            lambda values: _reach(values, 3 * values["sigma"]),
        ),
        Family(
            "log",
            (_sigma(default=1.4), _auto_size("2 ceil(4 sigma) + 1")),
            lambda values: _reach(values, 4 * values["sigma"]),
        ),
        Family(
            "dog",
            (
                _sigma("sigma1", 1, "standard deviation of the Gaussian that is added"),
                _sigma("sigma2", 1.6, "standard deviation of the Gaussian that is taken away"),
                _auto_size("2 ceil(3 max(sigma1, sigma2)) + 1"),
            ),
            _dog_size,
        ),
        Family(
            "gabor",
            (
                Parameter("wavelength", "of the wave in pixels", "number", 4, 2, LONGEST),
                Parameter("theta", f"direction of the wave in {_DEGREES}", "number", 0, -360, 360),
                Parameter(
                    "sigma",
                    "of the envelope in pixels; auto = 0.56 wavelength, one octave",
                    "number",
                    None,
                    0.1,
                    LONGEST,
                    automatic=True,
                ),
                Parameter("psi", "phase in degrees; 90 answers edges", "number", 0, -360, 360),
                Parameter(
                    "gamma", "envelope's width along the wave over across", "number", 0.5, 0.1, 10
                ),
                _auto_size("2 ceil(3 sigma / min(gamma, 1)) + 1"),
                Parameter("orientations", "filters, spread over 180 degrees", "integer", 1, 1, 180),
            ),
            lambda values: _reach(values, 3 * gabor_sigma(values) / min(values["gamma"], 1)),
            _gabor_names,
        ),
        Family(
            "bilinear",
            (Parameter("factor", "how many times larger", "integer", 2, 1, 1024),),
            _bilinear_size,
        ),
    )
}
