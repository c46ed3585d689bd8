"""The questions that run backwards: from a size to the settings that give it.

`wanted` lists the layers that turn one size into another, `fit` the paddings that waste nothing,
and `undo` the transposed convolution that goes with a convolution. Only integers are looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import gcd
from typing import NamedTuple

from convtool.errors import GeometryError, UsageError
from convtool.geometry import (
    AXES,
    Axis,
    AxisPadding,
    ConvPlan,
    ConvSpec,
    Padding,
    Pair,
    effective_kernel,
    forward_axis,
    plan,
    size_text,
    transposed_axis,
    transposed_sizes,
)
from convtool.terms import Op, PaddingMode

# How far the search goes; strides beside the ratio of the sizes are tried, too.
KERNELS = range(1, 12)
STRIDES = range(1, 9)
DILATIONS = range(1, 4)

# So many equal paddings are tried on a layer: with a large stride millions give the same size.
PADDINGS = 64

# Where the axes need settings of their own, so many of each are paired.
PAIRED = 32

# So far from a number that does not fit those that do are looked for.
_NEAR = 100

# Of two words that come to the same the first is taken.
_MODES = (PaddingMode.VALID, PaddingMode.SAME, PaddingMode.SAME_LOWER)


class Fixed(NamedTuple):
    """What a person has settled, each as (height, width); None is left to the search."""

    kernel: Pair | None = None
    stride: Pair | None = None
    dilation: Pair | None = None
    padding: Padding | None = None
    output_padding: Pair | None = None


NOTHING_FIXED = Fixed()


class Option(NamedTuple):
    """One layer that gives the size that is wanted.

    Parameters
    ----------
    rows, cols : Axis
        All its numbers; of a transposed layer as in a `ConvPlan`.
    padding : Padding
        As a person would write it.
    output_padding : (int, int), optional
        Of a transposed layer whose default is another size.
    cost : int
        How far it is from the simplest; see `_cost`.
    """

    rows: Axis
    cols: Axis
    padding: Padding
    output_padding: Pair | None
    cost: int

    @property
    def kernel(self) -> Pair:
        """Kernel size (h, w)."""
        return self.rows.k, self.cols.k

    @property
    def stride(self) -> Pair:
        """Stride (h, w)."""
        return self.rows.s, self.cols.s

    @property
    def dilation(self) -> Pair:
        """Dilation (h, w)."""
        return self.rows.d, self.cols.d


class Answer(NamedTuple):
    """What `wanted` found.

    Parameters
    ----------
    options : tuple of Option
        Simplest first.
    apart : bool
        Whether settings of their own for height and width are simpler than all common ones: then
        pairs of the simplest `PAIRED` of each are among the options.
    nearest : tuple of (tuple of int, tuple of int)
        Where there are none: the next reachable sizes below and above, for height and width;
        empty for an axis that can have the size.
    """

    options: tuple[Option, ...]
    apart: bool = False
    nearest: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


class _Choice(NamedTuple):
    """One axis of an option."""

    axis: Axis
    padding: AxisPadding
    output_padding: int | None
    cost: int


# From a size to layers


def wanted(
    size: Pair, want: Pair, fixed: Fixed = NOTHING_FIXED, *, transpose: bool = False
) -> Answer:
    """List the layers that turn one size into another, simplest first.

    Kernels, strides and dilations up to `KERNELS`, `STRIDES` and `DILATIONS` are tried with the
    paddings valid, same, same-lower and equal paddings below the effective kernel, at most
    `PADDINGS` of them for a layer; uneven numbers only where none of these does it, and different
    settings for height and width only where they are simpler than all common ones.

    Parameters
    ----------
    size, want : (h, w)
        Pixels that go in, and that shall come out.
    fixed : Fixed
        What is not to be varied.
    transpose : bool
        Look for transposed convolutions.

    Examples
    --------
    >>> first = wanted((224, 224), (112, 112)).options[0]
    >>> first.kernel, first.stride, str(first.padding)
    ((3, 3), (2, 2), 'same')
    """
    for uneven in (False, True):
        rows, cols = (
            _choices(size[axis], want[axis], _of_axis(fixed, axis), transpose, uneven)
            for axis in (0, 1)
        )
        alike, unlike = _alike(rows, cols, fixed), _unlike(rows, cols)
        apart = _least_cost(unlike) < _least_cost(alike)
        options = alike + unlike if apart else alike
        if options:
            return Answer(_simplest(options), apart)
    nearest = (
        () if rows else _nearest(size[0], want[0], _of_axis(fixed, 0), transpose),
        () if cols else _nearest(size[1], want[1], _of_axis(fixed, 1), transpose),
    )
    return Answer((), nearest=nearest)


def _of_axis(fixed: Fixed, axis: int) -> dict[str, object]:
    given: dict[str, object] = {
        name: pair[axis]
        for name in ("kernel", "stride", "dilation", "output_padding")
        if (pair := getattr(fixed, name)) is not None
    }
    if fixed.padding is not None:
        given["padding"] = fixed.padding.axes[axis]
    return given


def _choices(
    size: int, want: int, given: Mapping[str, object], transpose: bool, uneven: bool
) -> list[_Choice]:
    """Try everything on one axis; simplest first."""
    settle = _back if transpose else _forward
    tried = (
        settle(size, want, k, s, d, padding, given)
        for k, s, d in _windows(size, want, given)
        for padding in _tried(size, want, k, s, d, given, transpose, uneven)
    )
    return sorted(filter(None, tried), key=lambda choice: choice.cost)


def _windows(size: int, want: int, given: Mapping[str, object]) -> Iterator[tuple[int, int, int]]:
    ratio = max(size, want) // max(min(size, want), 1)
    strides = sorted({*STRIDES, *range(max(ratio - 1, 1), ratio + 2)})
    for k in _values(given, "kernel", KERNELS):
        for s in _values(given, "stride", strides):
            for d in _values(given, "dilation", DILATIONS if k > 1 else range(1, 2)):
                yield k, s, d


def _values(given: Mapping[str, object], name: str, else_: Iterable[int]) -> Iterable[int]:
    return (given[name],) if name in given else else_  # type: ignore[return-value]


def _tried(
    size: int,
    want: int,
    k: int,
    s: int,
    d: int,
    given: Mapping[str, object],
    transpose: bool,
    uneven: bool = False,
) -> Iterable[AxisPadding]:
    """List the paddings that lead to the size, or to the next ones beside it."""
    if "padding" in given:
        return (given["padding"],)  # type: ignore[return-value]
    k_eff = effective_kernel(k, d)
    # With so much, before and after together, nothing is left over; up to s - 1 more is cut off.
    windows, pixels = (size, want) if transpose else (want, size)
    exact = (windows - 1) * s + k_eff - pixels
    first, last = max(exact // 2 - s, 0), min((exact + s) // 2 + s, k_eff - 1)
    if last - first >= PADDINGS:
        first = max((exact + 1) // 2 - 1, 0)
        last = min(last, first + PADDINGS - 1)
    near = range(first, last + 1)
    if uneven:
        return [pads for p in near if p + 1 < k_eff for pads in ((p, p + 1), (p + 1, p))]
    return [*_MODES, *((p, p) for p in sorted({0, k_eff - 1, *near}))]


def _forward(
    size: int,
    want: int,
    k: int,
    s: int,
    d: int,
    padding: AxisPadding,
    given: Mapping[str, object],
) -> _Choice | None:
    try:
        axis = forward_axis(size, k, s, d, padding)
    except GeometryError:
        return None
    return _Choice(axis, padding, None, _cost(axis, padding)) if axis.o == want else None


def _back(
    size: int,
    want: int,
    k: int,
    s: int,
    d: int,
    padding: AxisPadding,
    given: Mapping[str, object],
) -> _Choice | None:
    legal = transposed_sizes(size, k, s, d, padding)
    if want not in legal:
        return None
    extra = want - (legal.stop - s)
    if given.get("output_padding", extra) != extra:
        return None
    axis = transposed_axis(size, k, s, d, padding, size=want)
    same = padding in (PaddingMode.SAME, PaddingMode.SAME_LOWER)
    default = legal.stop - 1 if same else legal.stop - s
    needed = None if want == default else extra
    return _Choice(axis, padding, needed, _cost_back(axis, padding, needed))


def gaps(axis: Axis) -> int:
    """Count the lines, of every `s`, that no tap comes to between one window and the next.

    A convolution does not read them, whatever the padding; a transposed one does not reach them.

    Examples
    --------
    >>> gaps(forward_axis(100, 3, 9, 1, (1, 1)))
    6
    """
    return _gap(axis.k, axis.s, axis.d) if axis.o > 1 else 0


def _gap(k: int, s: int, d: int) -> int:
    """Count the residues of the stride to which no tap belongs."""
    return s - min(k, s // gcd(s, d))


def lost(axis: Axis) -> int:
    """Count the lines at the end of the image (transposed: of the output) beyond all windows."""
    # What is dropped is padding first, and only then a part of the image.
    return max(axis.dropped - axis.after, 0)


def _cost(axis: Axis, padding: AxisPadding) -> int:
    """Say how far a layer is from the simplest.

    =============================================  ==========================
    kernel                                         1 for each tap beside 3; 2 if even; 4 if 1
    stride                                         1 for each beyond 1
    dilation                                       12 for each beyond 1: more than any kernel
    padding                                        0 if a word, 3 same-lower; 1 half a
                                                   window, 4 other numbers, 9 uneven ones
    padding at the end that no window reads        1
    lines of the image at the end that none reads  20
    lines of the image between windows             60
    a stride although there is but one window      6
    =============================================  ==========================
    """
    cost = _cost_of_numbers(axis, padding) + 2 * (axis.k % 2 == 0)
    cost += (axis.dropped > 0) + 6 * (axis.o == 1 and axis.s > 1)
    return cost + _cost_of_loss(axis)


def _cost_back(axis: Axis, padding: AxisPadding, output_padding: int | None) -> int:
    """Say the same of a transposed layer.

    As in `_cost`, but an even kernel and padding cost nothing; output_padding costs 1, windows
    that overlap unevenly 3. What no window reads is here what none reaches.
    """
    uneven = axis.k % (axis.s // gcd(axis.s, axis.d)) > 0
    cost = _cost_of_numbers(axis, padding) + (output_padding is not None) + 3 * uneven
    return cost + _cost_of_loss(axis)


def _cost_of_loss(axis: Axis) -> int:
    return 20 * (lost(axis) > 0) + 60 * (gaps(axis) > 0)


def _cost_of_numbers(axis: Axis, padding: AxisPadding) -> int:
    cost = abs(axis.k - 3) + 4 * (axis.k == 1) + (axis.s - 1) + 12 * (axis.d - 1)
    if isinstance(padding, PaddingMode):
        return cost + 3 * (padding is PaddingMode.SAME_LOWER)
    before, after = padding
    if before != after:
        return cost + 9
    halves = {(axis.window - 1) // 2, (axis.window - axis.s) // 2}
    return cost + (1 if before in halves else 4)


def _least_cost(options: Iterable[Option]) -> float:
    return min((option.cost for option in options), default=float("inf"))


def _simplest(options: Iterable[Option]) -> tuple[Option, ...]:
    """Put the simplest first; of those that come to the same keep that one."""
    found: dict[tuple[Axis, Axis], Option] = {}
    for option in sorted(options, key=_order):
        found.setdefault((option.rows, option.cols), option)
    return tuple(found.values())


def _alike(rows: list[_Choice], cols: list[_Choice], fixed: Fixed) -> list[Option]:
    """Pair what has the same free settings on both axes."""
    by_settings = {_settings(choice, fixed): choice for choice in cols}
    return [
        _option(choice, by_settings[settings])
        for choice in rows
        if (settings := _settings(choice, fixed)) in by_settings
    ]


def _settings(choice: _Choice, fixed: Fixed) -> tuple[object, ...]:
    axis = choice.axis
    return (
        None if fixed.kernel else axis.k,
        None if fixed.stride else axis.s,
        None if fixed.dilation else axis.d,
        None if fixed.padding else choice.padding,
    )


def _unlike(rows: list[_Choice], cols: list[_Choice]) -> list[Option]:
    """Pair the simplest of each axis, where a word for the padding is one for both."""
    return [
        _option(row, col, extra=5)
        for row in rows[:PAIRED]
        for col in cols[:PAIRED]
        if isinstance(row.padding, PaddingMode) == isinstance(col.padding, PaddingMode)
        and (row.padding == col.padding or not isinstance(row.padding, PaddingMode))
    ]


def _option(row: _Choice, col: _Choice, extra: int = 0) -> Option:
    output_padding = None
    if row.output_padding is not None or col.output_padding is not None:
        output_padding = _extra(row), _extra(col)
    return Option(
        row.axis, col.axis, _padding(row, col), output_padding, row.cost + col.cost + extra
    )


def _extra(choice: _Choice) -> int:
    """Return the output_padding of a choice, which may be that of its default."""
    axis = choice.axis
    return axis.i - (transposed_sizes(axis.o, axis.k, axis.s, axis.d, choice.padding).stop - axis.s)


def _padding(row: _Choice, col: _Choice) -> Padding:
    if isinstance(row.padding, PaddingMode):
        return Padding(row.padding)
    axes = row.axis, col.axis
    return Padding(
        PaddingMode.EXPLICIT, (axes[0].before, axes[0].after, axes[1].before, axes[1].after)
    )


def _order(option: Option) -> tuple[object, ...]:
    by_numbers = option.padding.mode is PaddingMode.EXPLICIT
    settings = option.kernel, option.stride, option.dilation, by_numbers, option.padding.amounts
    return option.cost, *settings, option.padding.mode is not PaddingMode.VALID


def _nearest(size: int, want: int, given: Mapping[str, object], transpose: bool) -> tuple[int, ...]:
    """Return the next sizes below and above that can be had."""
    found: set[int] = set()
    for k, s, d in _windows(size, want, given):
        for padding in _tried(size, want, k, s, d, given, transpose):
            found.update(_reached(size, k, s, d, padding, given, transpose))
    below, above = [n for n in found if n < want], [n for n in found if n > want]
    return tuple([max(below)] if below else []) + tuple([min(above)] if above else [])


def _reached(
    size: int,
    k: int,
    s: int,
    d: int,
    padding: AxisPadding,
    given: Mapping[str, object],
    transpose: bool,
) -> Iterable[int]:
    if not transpose:
        try:
            return (forward_axis(size, k, s, d, padding).o,)
        except GeometryError:
            return ()
    legal = transposed_sizes(size, k, s, d, padding)
    if not legal:
        return ()
    if "output_padding" not in given:
        return legal[0], legal[-1]
    size = legal.stop - s + given["output_padding"]  # type: ignore[operator]
    return (size,) if size in legal else ()


# Paddings that waste nothing


class Fit(NamedTuple):
    """What the paddings of one axis waste, and which waste nothing.

    Parameters
    ----------
    axis : str
        "height" or "width".
    valid, same : Axis, optional
        What these words lead to; None where no window fits.
    equal : range
        Every equal padding below the effective kernel with which the last window ends on the
        border; there can be billions. With more, whole windows would lie in the padding.
    total : int
        The smallest padding with which it does, before and after together.
    least : Axis, optional
        What this leads to, the odd pixel at the end; None where whole windows would lie in it.
    numbers : (int, int, int, int)
        Input size, kernel, stride, dilation.
    why : str
        Why no equal padding does it, where there is none.
    hint : str
        What would have to change for one to do it.
    """

    axis: str
    valid: Axis | None
    same: Axis | None
    equal: range
    total: int
    least: Axis | None
    numbers: tuple[int, int, int, int]
    why: str = ""
    hint: str = ""

    def settled(self, p: int) -> Axis:
        """Return the axis with an equal padding of `p` pixels."""
        return forward_axis(*self.numbers, (p, p), self.axis)

    @property
    def gaps(self) -> int:
        """Lines, of every stride, between the windows: no padding changes that they go unread.

        0 where no more than one window fits with any of these paddings.
        """
        most = self.settled(self.equal[-1]) if self.equal else None
        settled = self.valid, self.same, self.least, most
        return max((gaps(axis) for axis in settled if axis), default=0)


def fit(size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Fit, Fit]:
    """Find the paddings with which no line of the padded input goes unread at the end.

    Parameters
    ----------
    size, kernel, stride, dilation : (h, w)

    Examples
    --------
    >>> rows, cols = fit((28, 28), (3, 4), (2, 2), (1, 1))
    >>> list(rows.equal), (rows.least.before, rows.least.after)
    ([], (0, 1))
    >>> list(cols.equal)
    [0, 1, 2, 3]
    """
    rows, cols = (
        _fit(name, *numbers)
        for name, *numbers in zip(AXES, size, kernel, stride, dilation, strict=True)
    )
    return rows, cols


def _fit(name: str, i: int, k: int, s: int, d: int) -> Fit:
    k_eff = effective_kernel(k, d)
    # Windows need total >= k_eff - i, and end on the border where i + total - k_eff = 0 modulo s.
    lacking = max(k_eff - i, 0)
    total = lacking + (k_eff - i - lacking) % s
    after = total - total // 2
    least = forward_axis(i, k, s, d, (total // 2, after), name) if after < k_eff else None
    equal = _equal_pads(i, k_eff, s)
    why, hint = ("", "") if equal else (_why_not(i, k_eff, s), _what_fits(name, i, k, s, d))
    valid, same = (
        _axis_or_none(i, k, s, d, mode) for mode in (PaddingMode.VALID, PaddingMode.SAME)
    )
    return Fit(name, valid, same, equal, total, least, (i, k, s, d), why, hint)


def _equal_pads(i: int, k_eff: int, s: int) -> range:
    """List the p below k_eff with which i + 2p - k_eff is a multiple of s, and not negative."""
    least, period = _equal_pad(i, k_eff, s)
    return range(k_eff, k_eff) if least is None else range(min(least, k_eff), k_eff, period)


def _equal_pad(i: int, k_eff: int, s: int) -> tuple[int | None, int]:
    """Return the least such p, above the kernel or not, and how far apart they are."""
    span, period = i - k_eff, s if s % 2 else s // 2
    if s % 2 == 0 and span % 2:
        return None, period
    # 2p = -span modulo s: divide by 2, which for an odd s is to multiply by (s + 1) / 2.
    place = -span * ((s + 1) // 2) if s % 2 else -span // 2
    least = max(-span + 1, 0) // 2
    return least + (place - least) % period, period


def _why_not(i: int, k_eff: int, s: int) -> str:
    least, _ = _equal_pad(i, k_eff, s)
    if least is None:
        return f"{i} + 2p - {k_eff} is odd for every p, and the stride {s} is even"
    return f"the least is {least}, where whole windows lie in the padding"


def _what_fits(name: str, i: int, k: int, s: int, d: int) -> str:
    """Name the nearest numbers, and the padding, with which no line at all goes unread."""
    # Steps wider than the window leave gaps: of those no more than one is looked at.
    below = min(s, effective_kernel(k, d) + 1)
    found = {
        "kernel": _near(k, lambda n: _reads_all(i, n, s, d)),
        "stride": _near(below, lambda n: _reads_all(i, k, n, d)),
        name: _near(i, lambda n: _reads_all(n, k, s, d)),
    }
    ways = [f"a {what} of {' or '.join(numbers)}" for what, numbers in found.items() if numbers]
    same = _axis_or_none(i, k, s, d, PaddingMode.SAME)
    if same and not same.dropped and not _gap(k, s, d):
        ways.append("padding same")
    listed = " or ".join(filter(None, [", ".join(ways[:-1]), *ways[-1:]]))
    return f"what fits: {listed}" if ways else ""


def _reads_all(i: int, k: int, s: int, d: int) -> bool:
    """Tell whether an equal padding leaves no line unread, at the end or between windows."""
    return bool(_equal_pads(i, effective_kernel(k, d), s)) and not _gap(k, s, d)


def _near(n: int, works: Callable[[int], bool]) -> list[str]:
    """Return the nearest number below and above `n` that works, where there are any."""
    below = next((m for m in range(n - 1, max(n - _NEAR, 0), -1) if works(m)), None)
    above = next((m for m in range(n + 1, n + _NEAR) if works(m)), None)
    return [str(m) for m in (below, above) if m is not None]


def _axis_or_none(i: int, k: int, s: int, d: int, mode: PaddingMode) -> Axis | None:
    try:
        return forward_axis(i, k, s, d, mode)
    except GeometryError:
        return None


# The way back


def undo(settled: ConvPlan) -> ConvPlan:
    """Return the layer that leads back to the size that a layer came from.

    For a conv2d this is the conv2d_transpose with the same numbers and kernel, told which of its
    legal sizes to give; for a conv2d_transpose the conv2d that it is the gradient of. Sizes come
    back, values do not: it is the adjoint, not the inverse.

    Raises
    ------
    UsageError
        For a bank of several filters on every channel by itself, which has no transpose here.
    """
    back = settled.op is Op.CONV2D
    if back and settled.per_channel and settled.filters > 1:
        raise UsageError(
            f"a bank of {settled.filters} filters on every channel by itself has no transposed "
            "layer of its own",
            f"one filter has (--kernel {size_text(settled.kernel_shape)}), or --filters",
        )
    spec = settled.spec._replace(
        op=Op.CONV2D_TRANSPOSE if back else Op.CONV2D,
        padding=_without_fit(settled),
        output_shape=None,
        output_padding=None,
    )
    size = settled.input_shape[1:3]
    if back and _default(spec, settled) != size:
        spec = spec._replace(output_shape=size)
    return plan(spec, settled.output_shape, settled.kernel_shape)


def _default(spec: ConvSpec, settled: ConvPlan) -> Pair | None:
    """Return the size that comes back where none is asked for; None where that is no size."""
    try:
        return plan(spec, settled.output_shape, settled.kernel_shape).output_shape[1:3]
    except GeometryError:
        return None


def _without_fit(settled: ConvPlan) -> Padding:
    """Write fit, which depends on the size that is sought, as its numbers."""
    if settled.spec.padding.mode is not PaddingMode.FIT:
        return settled.spec.padding
    return Padding(PaddingMode.EXPLICIT, settled.pads)
