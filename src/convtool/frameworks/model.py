"""What is said of a framework, and a plan in the terms in which all of them compute."""

from typing import NamedTuple

from convtool.geometry import Axis, ConvPlan, Pair, beyond, effective_kernel
from convtool.terms import BorderMode, Op

Pads = tuple[int, int, int, int]


class View(NamedTuple):
    """One layer in one framework.

    Parameters
    ----------
    framework : str
    idiom : str
        What people write there for this padding; it is this that the next fields are about.
    size : (int, int), optional
        Height and width that it gives; None where it is refused.
    pads : (int, int, int, int), optional
        top, bottom, left, right, in pixels.
    shift : (int, int)
        How many pixels its grid lies further down and to the right, beside the plan's: where its
        windows stand on the input; for conv2d_transpose, where its outputs stand.
    agrees : bool
        Whether it gives the same numbers as the plan.
    refuses : str
        What the framework does not accept here; "" where it accepts all.
    note : str
        What is easily overlooked; "" where there is nothing.
    code : tuple of str
        Lines of Python that give exactly the numbers of the plan, from ``x``, an array of the
        framework, and ``w``, the kernel in NumPy in our layout.
    """

    framework: str
    idiom: str
    size: Pair | None
    pads: Pads | None
    shift: Pair
    agrees: bool
    refuses: str
    note: str
    code: tuple[str, ...]


class Grid(NamedTuple):
    """Where a framework puts the windows along one axis: its size and its pads."""

    size: int
    before: int
    after: int


class Idiom(NamedTuple):
    """What people write in a framework, and what it does; see `View`."""

    text: str
    grids: tuple[Grid, Grid] | None
    refuses: str = ""
    note: str = ""


class Side(NamedTuple):
    """One axis of the work that a framework is left with, once a border is put on by hand.

    Parameters
    ----------
    k, s, d : int
        Kernel size, stride and dilation.
    inputs, outputs : int
        Pixels that go in and come out.
    before, after : int
        Padding, or for conv2d_transpose what is cut off of all that the windows cover; a negative
        `after` is what is added there (output_padding).
    around : (int, int)
        What is put on by hand, before and after, of a border that is not zero.
    """

    k: int
    s: int
    d: int
    inputs: int
    outputs: int
    before: int
    after: int
    around: Pair

    @property
    def window(self) -> int:
        """Effective kernel size in pixels."""
        return effective_kernel(self.k, self.d)

    @property
    def covered(self) -> int:
        """Pixels that the windows of a transposed convolution cover together."""
        return (self.inputs - 1) * self.s + self.window


def is_transposed(plan: ConvPlan) -> bool:
    """Whether the plan is of conv2d_transpose."""
    return plan.op is Op.CONV2D_TRANSPOSE


def sides(plan: ConvPlan) -> tuple[Side, Side]:
    """Return both axes as a framework has to compute them."""
    border = plan.spec.border
    # A border of zeros is what every framework pads with.
    by_hand = not (border.is_fill and border.value == 0)
    side = _transposed_side if is_transposed(plan) else _forward_side
    return side(plan.rows, by_hand), side(plan.cols, by_hand)


def _forward_side(axis: Axis, by_hand: bool) -> Side:
    around = (axis.before, axis.after) if by_hand else (0, 0)
    before, after = (0, 0) if by_hand else (axis.before, axis.after)
    return Side(axis.k, axis.s, axis.d, axis.i + sum(around), axis.o, before, after, around)


def _transposed_side(axis: Axis, by_hand: bool) -> Side:
    around = beyond(axis) if by_hand else (0, 0)
    inputs = axis.o + sum(around)
    before = axis.before + around[0] * axis.s
    after = (inputs - 1) * axis.s + axis.window - before - axis.i
    return Side(axis.k, axis.s, axis.d, inputs, axis.i, before, after, around)


def around_of(both: tuple[Side, Side]) -> Pads:
    """Return what is put on by hand: top, bottom, left, right."""
    return (*both[0].around, *both[1].around)


def pads_of(both: tuple[Side, Side]) -> Pads:
    """Return the pads of the work itself: top, bottom, left, right."""
    return both[0].before, both[0].after, both[1].before, both[1].after


def strides_of(both: tuple[Side, Side]) -> Pair:
    """Return the strides (h, w)."""
    return both[0].s, both[1].s


def dilations_of(both: tuple[Side, Side]) -> Pair:
    """Return the dilations (h, w)."""
    return both[0].d, both[1].d


def spread(both: tuple[Side, Side]) -> tuple[Side, Side]:
    """Return the work with the dilation moved into the kernel, as zeros between its taps."""
    return both[0]._replace(k=both[0].window, d=1), both[1]._replace(k=both[1].window, d=1)


def fits_inside(plan: ConvPlan, both: tuple[Side, Side]) -> bool:
    """Whether the border repeats no pixel twice over: what libraries that are not NumPy can do."""
    sizes = plan.input_shape[1:3]
    least = 1 if plan.spec.border.mode is BorderMode.REFLECT else 0
    return all(max(side.around) + least <= n for side, n in zip(both, sizes, strict=True))
