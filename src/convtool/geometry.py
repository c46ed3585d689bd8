"""Sizes, pads and checks of conv2d and conv2d_transpose, as functions of integers.

`plan` is the one place where stride, padding, dilation, groups, output size and pads are decided
and checked: what is shown to a person and what an engine computes both come from its `ConvPlan`.

Inside the functions of one axis the letters are those of Dumoulin & Visin, "A guide to
convolution arithmetic for deep learning" (arXiv 1603.07285): ``i`` input size, ``k`` kernel size,
``s`` stride, ``d`` dilation, ``p`` padding, ``o`` output size. Only the standard library is
imported here, and records are named tuples, which a process makes six times as quickly as
dataclasses: `convtool shape` is mostly start-up.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from math import ceil, gcd
from typing import NamedTuple, SupportsIndex, TypeVar

from convtool.divisors import common_divisors
from convtool.errors import GeometryError, UsageError, did_you_mean
from convtool.terms import BorderMode, Op, PaddingMode

Pair = tuple[int, int]
Shape = tuple[int, int, int, int]
AxisPadding = PaddingMode | Pair
PairLike = SupportsIndex | Sequence[SupportsIndex] | str
PaddingLike = SupportsIndex | Sequence[SupportsIndex] | Sequence[Sequence[SupportsIndex]] | str

# What a person needs who gave too little.
_LEAST = {
    "stride": "use 1 or more: the output has floor((i + padding - k_eff) / stride) + 1 pixels",
    "dilation": "use 1 or more: a kernel of k covers (k - 1) · dilation + 1 pixels",
}

# The greatest stride, dilation and padding: what is more is a slip, and overflows an index.
GREATEST = 2**31 - 1

AXES = ("height", "width")
LINES = ("row", "column")

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


# What the caller wrote, as integers


def size_text(shape: Sequence[int]) -> str:
    """Write a shape as options spell it: ``(1, 480, 640, 3)`` is ``1x480x640x3``."""
    return "x".join(map(str, shape))


def choice(kind: type[E], text: str, what: str) -> E:
    """Find the member of `kind` that `text` names, in any case."""
    if not isinstance(text, str):
        raise UsageError(f"{what} must be a word, not {text!r}")
    try:
        return kind(text.strip().lower().replace("_", "-"))
    except ValueError:
        raise UsageError(
            f"{what} must be one of {', '.join(kind)}, not {text!r}", did_you_mean(text, kind)
        ) from None


def parse_size(text: str) -> tuple[int, ...]:
    """Read ``HxW``, ``HxWxC`` or ``NxHxWxC``; also the shape of a kernel.

    Returns
    -------
    tuple of int
        As many numbers as were written, each 0 or more.
    """
    if not re.fullmatch(r"\d+(x\d+)*", text.strip().lower()):
        raise UsageError(
            f"a size is written HxW, HxWxC or NxHxWxC, not {text!r}", "for example 480x640x3"
        )
    return tuple(int(part) for part in text.strip().lower().split("x"))


def image_shape(size: Sequence[int]) -> Shape:
    """Complete HW, HWC or NHWC to NHWC."""
    match tuple(size):
        case (h, w):
            return (1, h, w, 1)
        case (h, w, c):
            return (1, h, w, c)
        case (n, h, w, c):
            return (n, h, w, c)
    raise UsageError(
        f"the size of an image has 2, 3 or 4 numbers (HxW, HxWxC, NxHxWxC), not {len(size)}",
        "for example 480x640x3",
    )


def parse_pair(value: PairLike, name: str, *, least: int = 1) -> Pair:
    """Read one number for both axes, or two: height first, then width.

    Parameters
    ----------
    value : int, (int, int) or str
        ``2``, ``(2, 1)``, ``"2"`` or ``"2x1"``.
    name : str
        What the numbers are, for messages.
    least : int
        The smallest number allowed.
    """
    if isinstance(value, str):
        if not re.fullmatch(r"-?\d+(x-?\d+)?", value.strip().lower()):
            raise UsageError(
                f"{name} must be a whole number or HxW, not {value!r}",
                "2 for both axes, or 2x1 for height 2 and width 1",
            )
        numbers = [int(part) for part in value.lower().split("x")]
    else:
        numbers = _integers(value if isinstance(value, Iterable) else [value], name)
    if len(numbers) not in (1, 2):
        raise UsageError(
            f"{name} must be one number or two (height, width), not {len(numbers)} numbers"
        )
    if min(numbers) < least:
        wrong = numbers[0] if len(set(numbers)) == 1 else size_text(numbers)
        raise UsageError(f"{name} must be at least {least}, but is {wrong}", _LEAST.get(name, ""))
    if max(numbers) > GREATEST:
        raise UsageError(f"{name} must be at most {GREATEST}, but is {size_text(numbers)}")
    return numbers[0], numbers[-1]


def _integers(values: Iterable[object], name: str) -> list[int]:
    values = list(values)
    if any(isinstance(value, bool) or not hasattr(value, "__index__") for value in values):
        raise UsageError(f"{name} must be made of whole numbers, not {values!r}")
    return [operator.index(value) for value in values]  # type: ignore[arg-type]


class Padding(NamedTuple):
    """How much is added around the image.

    Parameters
    ----------
    mode : PaddingMode
        A rule, or `explicit` where the numbers were given.
    amounts : (int, int, int, int)
        top, bottom, left, right in pixels; used when `mode` is `explicit`.
    """

    mode: PaddingMode = PaddingMode.SAME
    amounts: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def parse(cls, value: "PaddingLike | Padding") -> "Padding":
        """Read a padding as the command line or Python writes it.

        Parameters
        ----------
        value : str, int, (h, w) or ((top, bottom), (left, right))
            A mode's name in any case; ``"N"``, ``"HxW"`` or ``"T,B,L,R"``; or numbers.
        """
        if isinstance(value, Padding):
            return value
        if isinstance(value, str):
            return cls._parse_text(value)
        parts = list(value) if isinstance(value, Iterable) else [value]
        if any(isinstance(part, Iterable) for part in parts):
            pairs = [list(part) if isinstance(part, Iterable) else [part] for part in parts]
            if [len(pair) for pair in pairs] != [2, 2]:
                raise UsageError(
                    f"padding must be ((top, bottom), (left, right)), not {value!r}",
                    "or a number, (height, width), or one of valid, same, same-lower, full, fit",
                )
            amounts = _integers([n for pair in pairs for n in pair], "padding")
        elif len(parts) == 4:
            amounts = _integers(parts, "padding")
        else:
            h, w = parse_pair(value, "padding", least=0)  # type: ignore[arg-type]
            amounts = [h, h, w, w]
        return cls._explicit(amounts)

    @classmethod
    def _parse_text(cls, text: str) -> "Padding":
        word = text.strip().lower().replace("_", "-")
        if re.fullmatch(r"-?\d+(x-?\d+)?", word):
            h, w = parse_pair(word, "padding", least=0)
            return cls._explicit([h, h, w, w])
        if re.fullmatch(r"-?\d+(,-?\d+){3}", word.replace(" ", "")):
            return cls._explicit([int(part) for part in word.split(",")])
        modes = {str(mode): mode for mode in PaddingMode if mode is not PaddingMode.EXPLICIT}
        if word in modes:
            return cls(modes[word])
        near = did_you_mean(word, modes)
        raise UsageError(
            f"{text!r} is no padding",
            near
            if near.startswith("did")
            else "use valid, same, same-lower, full, fit, a number, HxW, or top,bottom,left,right",
        )

    @classmethod
    def _explicit(cls, amounts: Sequence[int]) -> "Padding":
        if not 0 <= min(amounts) <= max(amounts) <= GREATEST:
            given = ",".join(map(str, amounts))
            raise UsageError(f"padding must be at least 0 and at most {GREATEST}, but is {given}")
        top, bottom, left, right = amounts
        return cls(PaddingMode.EXPLICIT, (top, bottom, left, right))

    @property
    def axes(self) -> tuple[AxisPadding, AxisPadding]:
        """The rule or the numbers (before, after) for height and for width."""
        if self.mode is not PaddingMode.EXPLICIT:
            return self.mode, self.mode
        top, bottom, left, right = self.amounts
        return (top, bottom), (left, right)

    def __str__(self) -> str:
        if self.mode is not PaddingMode.EXPLICIT:
            return self.mode.value
        return ",".join(map(str, self.amounts))


class Border(NamedTuple):
    """What stands in the padding.

    Parameters
    ----------
    mode : BorderMode
        In the words of numpy.pad.
    value : float
        The number that fills a `constant` border, in the units of the image.
    """

    mode: BorderMode = BorderMode.ZERO
    value: float = 0.0

    @classmethod
    def parse(cls, value: "str | Border") -> "Border":
        """Read ``zero``, ``constant:V``, ``edge``, ``reflect``, ``symmetric`` or ``wrap``."""
        if isinstance(value, Border):
            return value
        if not isinstance(value, str):
            raise UsageError(f"border must be a word such as edge, not {value!r}")
        word, colon, number = value.partition(":")
        if word.strip().lower() == BorderMode.CONSTANT:
            try:
                return cls(BorderMode.CONSTANT, float(number))
            except ValueError:
                raise UsageError(
                    f"the border constant needs a number, not {number!r}",
                    "for example constant:128",
                ) from None
        if colon:
            raise UsageError(f"only the border constant takes a number, not {value!r}")
        return cls(choice(BorderMode, word, "border"))

    @property
    def is_fill(self) -> bool:
        """Whether the padding holds one number, whatever the image."""
        return self.mode in (BorderMode.ZERO, BorderMode.CONSTANT)

    def __str__(self) -> str:
        return f"constant:{self.value:g}" if self.mode is BorderMode.CONSTANT else self.mode.value


class ConvSpec(NamedTuple):
    """What is wanted of a convolution, before any image is known.

    Parameters
    ----------
    op : Op
        conv2d, or conv2d_transpose: the gradient of the conv2d with this spec.
    stride, dilation : (int, int)
        height, width; at least 1.
    padding : Padding
    groups : int
        Into how many groups the channels are split, each with its own filters.
    border : Border
    flip : bool
        Rotate the kernel by 180° first: true convolution instead of cross-correlation.
    output_shape : (int, int), optional
        For conv2d_transpose: which of the legal sizes (height, width).
    output_padding : (int, int), optional
        For conv2d_transpose: how far above the smallest legal size.
    """

    op: Op = Op.CONV2D
    stride: Pair = (1, 1)
    padding: Padding = Padding()
    dilation: Pair = (1, 1)
    groups: int = 1
    border: Border = Border()
    flip: bool = False
    output_shape: Pair | None = None
    output_padding: Pair | None = None

    @classmethod
    def of(
        cls,
        op: Op = Op.CONV2D,
        *,
        stride: PairLike = 1,
        padding: "PaddingLike | Padding" = "same",
        dilation: PairLike = 1,
        groups: SupportsIndex = 1,
        border: "str | Border" = "zero",
        flip: bool = False,
        output_shape: PairLike | None = None,
        output_padding: PairLike | None = None,
    ) -> "ConvSpec":
        """Build a spec from what the command line or Python wrote.

        Raises
        ------
        UsageError
            Where a value cannot be right for any image.
        """
        [groups] = _integers([groups], "groups")
        if groups < 1:
            raise UsageError(f"groups must be at least 1, but is {groups}")
        return cls(
            op,
            parse_pair(stride, "stride"),
            Padding.parse(padding),
            parse_pair(dilation, "dilation"),
            groups,
            Border.parse(border),
            flip,
            None if output_shape is None else parse_pair(output_shape, "output_shape"),
            None
            if output_padding is None
            else parse_pair(output_padding, "output_padding", least=0),
        )


# One axis


class Axis(NamedTuple):
    """One axis of a convolution that is settled.

    Window number j covers the pixels ``j*s - before`` to ``j*s - before + window - 1``.
    A transposed convolution has the axis of the convolution that it is the gradient of:
    its input has `o` pixels, its output `i`.

    Parameters
    ----------
    i, k, s, d : int
        Input size, kernel size, stride, dilation.
    before, after : int
        Padding in pixels at the start (top, left) and at the end (bottom, right).
    o : int
        Output size, the number of windows.
    """

    i: int
    k: int
    s: int
    d: int
    before: int
    after: int
    o: int

    @property
    def window(self) -> int:
        """Effective kernel size in pixels, the gaps of the dilation included."""
        return effective_kernel(self.k, self.d)

    @property
    def dropped(self) -> int:
        """Lines at the end of the padded input that no window reaches."""
        return (self.i + self.before + self.after - self.window) % self.s

    @property
    def centres(self) -> range:
        """The pixel at each window's centre (the upper or left one of an even window's two)."""
        first = (self.window - 1) // 2 - self.before
        return range(first, first + self.o * self.s, self.s)


def effective_kernel(k: int, d: int) -> int:
    """Size in pixels that a kernel of `k` taps covers at dilation `d`."""
    return (k - 1) * d + 1


def windows(i: int, k: int, s: int, d: int, before: int, after: int) -> int:
    """Count the windows: floor((i + before + after - k_eff) / s) + 1, at least 0.

    Source: Dumoulin & Visin, relationships 6 and 15.
    """
    return max((i + before + after - effective_kernel(k, d)) // s + 1, 0)


def same_pads(i: int, k: int, s: int, d: int, *, lower: bool = False) -> Pair:
    """Padding (before, after) with which ceil(i / s) windows fit.

    The odd pixel goes to the end, as in TensorFlow's SAME and ONNX's SAME_UPPER, or with `lower`
    to the start, as in ONNX's SAME_LOWER.
    """
    total = max((ceil(i / s) - 1) * s + effective_kernel(k, d) - i, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def fit_pad(i: int, k: int, s: int, d: int) -> int | None:
    """Smallest p < i, on both sides, with which the last window ends on the border; or None.

    That is: i + 2p - k_eff is a multiple of s, and not negative.
    """
    span = i - effective_kernel(k, d)
    if s % 2 == 0 and span % 2:
        return None
    # 2p = -span modulo s: divide by 2, which for an odd s is to multiply by (s + 1) / 2.
    period = s if s % 2 else s // 2
    remainder = -span * (s + 1) // 2 % period if s % 2 else -span // 2 % period
    least = max(0, ceil(-span / 2))
    p = least + (remainder - least) % period
    return p if p < i else None


def forward_axis(
    i: int, k: int, s: int, d: int, padding: AxisPadding, axis: str = "height"
) -> Axis:
    """Settle one axis of a conv2d.

    Parameters
    ----------
    i, k, s, d : int
        Input size (0 or more), kernel size, stride and dilation (1 or more).
    padding : PaddingMode or (before, after)
    axis : str
        "height" or "width", for messages.

    Raises
    ------
    GeometryError
        Where no window fits.
    """
    match padding:
        case PaddingMode.VALID:
            before, after = 0, 0
        case PaddingMode.SAME | PaddingMode.SAME_LOWER:
            before, after = same_pads(i, k, s, d, lower=padding is PaddingMode.SAME_LOWER)
        case PaddingMode.FULL:
            before = after = effective_kernel(k, d) - 1
        case PaddingMode.FIT:
            p = fit_pad(i, k, s, d)
            if p is None:
                raise _no_fit(i, k, s, d, axis)
            before = after = p
        case (before, after):
            pass
    o = windows(i, k, s, d, before, after)
    if o < 1:
        raise _no_window(i, k, s, d, before, after, axis)
    return Axis(i, k, s, d, before, after, o)


def _no_window(i: int, k: int, s: int, d: int, before: int, after: int, axis: str) -> GeometryError:
    k_eff, have = effective_kernel(k, d), i + before + after
    lines = f"{LINES[AXES.index(axis)]}s"
    message = (
        f"no window fits the {axis}: a kernel of {k} at dilation {d} covers {k_eff} {lines}, but "
        f"there are {have} ({i} + padding {before} + {after}); "
        f"floor(({i} + {before} + {after} - {k_eff}) / {s}) + 1 = {(have - k_eff) // s + 1}"
    )
    ways = [f"padding of {ceil((k_eff - i) / 2)} on each side"]
    if i:
        ways.insert(0, "padding same")
    if k > 1 and 1 <= (have - 1) // (k - 1) < d:
        ways.append(f"a dilation of at most {(have - 1) // (k - 1)}")
    if have:
        ways.append(f"a kernel of at most {(have - 1) // d + 1}")
    return GeometryError(message, "what fits: " + _either(ways))


def _no_fit(i: int, k: int, s: int, d: int, axis: str) -> GeometryError:
    k_eff = effective_kernel(k, d)
    if s % 2 == 0 and (i - k_eff) % 2:
        why = f"{i} + 2p - {k_eff} is odd for every p, and the stride {s} is even"
    else:
        why = f"no p below {i} makes {i} + 2p - {k_eff} a multiple of the stride {s}"
    ways = [
        f"a kernel of {_either(_near(k, lambda n: fit_pad(i, n, s, d)))}",
        f"a stride of {_either(_near(s, lambda n: fit_pad(i, k, n, d)))}",
        f"a {axis} of {_either(_near(i, lambda n: fit_pad(n, k, s, d)))}",
    ]
    ways = [way for way in ways if not way.endswith(" of ")]
    if i and forward_axis(i, k, s, d, PaddingMode.SAME).dropped == 0:
        ways.append("padding same")
    return GeometryError(
        f"padding fit has no solution for the {axis}: i + 2p - k_eff must be a multiple of s, "
        f"but {why}",
        f"what fits: {_either(ways)}" if ways else "",
    )


def _near(n: int, works: Callable[[int], int | None]) -> list[str]:
    """Return the nearest number below and above `n` that works, where there are any."""
    below = next((m for m in range(n - 1, max(n - 100, 0), -1) if works(m) is not None), None)
    above = next((m for m in range(n + 1, n + 100) if works(m) is not None), None)
    return [str(m) for m in (below, above) if m is not None]


def _either(words: Sequence[object]) -> str:
    """Join as a person would: ``a, b or c``."""
    texts = [str(word) for word in words]
    return (
        texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " or " + texts[-1] if texts else ""
    )


def transposed_sizes(o: int, k: int, s: int, d: int, padding: AxisPadding) -> range:
    """List the legal output sizes of a conv2d_transpose whose input has `o` pixels.

    A size is legal when the convolution with the same settings turns it back into `o`:

    ========== =========================================== =================
    padding    from                                        to
    ========== =========================================== =================
    valid      (o - 1)s + k_eff                            o·s + k_eff - 1
    same       (o - 1)s + 1                                o·s
    numbers    (o - 1)s + k_eff - before - after           from + s - 1
    ========== =========================================== =================

    Sizes below one pixel are left out. Source: Dumoulin & Visin, relationships 13 and 14;
    TensorFlow's conv2d_transpose.
    """
    k_eff = effective_kernel(k, d)
    match padding:
        case PaddingMode.SAME | PaddingMode.SAME_LOWER:
            least = (o - 1) * s + 1
        case PaddingMode.VALID:
            least = (o - 1) * s + k_eff
        case PaddingMode.FULL:
            least = (o - 1) * s + k_eff - 2 * (k_eff - 1)
        case (int(before), int(after)):
            least = (o - 1) * s + k_eff - before - after
        case _:
            raise UsageError(
                "padding fit has no meaning for conv2d_transpose: it depends on the size that is "
                "sought",
                "use valid, same, same-lower, full or numbers",
            )
    return range(max(least, 1), least + s)


def transposed_axis(
    o: int,
    k: int,
    s: int,
    d: int,
    padding: AxisPadding,
    axis: str = "height",
    *,
    size: int | None = None,
    output_padding: int | None = None,
) -> Axis:
    """Settle one axis of a conv2d_transpose.

    Parameters
    ----------
    o : int
        Size of the input, which is the output of the convolution that is transposed.
    k, s, d : int
        Kernel size, stride and dilation of that convolution.
    padding : PaddingMode or (before, after)
    axis : str
        "height" or "width", for messages.
    size : int, optional
        The output size wanted.
    output_padding : int, optional
        The output size wanted, as the distance from the smallest legal one.

    Returns
    -------
    Axis
        Of the convolution that is transposed: ``i`` is the size that comes out here.

    Raises
    ------
    GeometryError
        Where the size is not legal; names the legal range.
    """
    if o < 1:
        raise GeometryError(f"conv2d_transpose needs at least 1 pixel, but the {axis} is {o}")
    legal = transposed_sizes(o, k, s, d, padding)
    if not legal:
        raise _no_pixel_left(o, k, s, d, padding, axis)
    least = legal.stop - s
    same = padding in (PaddingMode.SAME, PaddingMode.SAME_LOWER)
    i = legal.stop - 1 if same else least
    if output_padding is not None:
        i = least + output_padding
        if i not in legal:
            raise GeometryError(
                f"output_padding must be below the stride {s} and leave at least 1 pixel, but "
                f"{output_padding} makes the {axis} {i}; legal are {_span(legal)}",
                _transposed_ways(
                    [f"output_padding {_span(range(legal[0] - least, s))}"],
                    _input_for(i, k, s, d, padding),
                    _pytorchs_way(output_padding, s, d),
                ),
            )
        if size is not None and size != i:
            raise GeometryError(
                f"output_shape and output_padding disagree on the {axis}: {size}, and "
                f"{least} + {output_padding} = {i}",
                "give one of the two",
            )
    i = i if size is None else size
    if i not in legal:
        raise _not_legal(i, o, k, s, d, padding, axis)
    if isinstance(padding, PaddingMode):
        return forward_axis(i, k, s, d, padding, axis)
    return Axis(i, k, s, d, *padding, o)


def _no_pixel_left(
    o: int, k: int, s: int, d: int, padding: AxisPadding, axis: str
) -> GeometryError:
    k_eff = effective_kernel(k, d)
    before, after = (k_eff - 1, k_eff - 1) if isinstance(padding, PaddingMode) else padding
    most = o * s + k_eff - 1
    return GeometryError(
        f"the padding takes away the whole {axis}: ({o} - 1)·{s} + {k_eff} - {before} - {after} "
        f"leaves at most {most - before - after} pixels",
        _transposed_ways(
            [f"padding of at most {most - 1} in all"],
            f"an input of at least {ceil((before + after - k_eff + 2) / s)}",
        ),
    )


def _not_legal(
    i: int, o: int, k: int, s: int, d: int, padding: AxisPadding, axis: str
) -> GeometryError:
    """Say which sizes are legal, and what would have to change for `i` to be one of them."""
    legal = transposed_sizes(o, k, s, d, padding)
    nearest = min(max(i, legal[0]), legal[-1])
    ways = [f"an output of {nearest} (output_padding {nearest - (legal.stop - s)})"]
    giver = _input_for(i, k, s, d, padding)
    by = _padding_text(padding)
    nothing = "" if giver or i < 1 else f"no input at all leads to {i} with padding {by}; "
    strides = _near(s, lambda n: i if i in transposed_sizes(o, k, n, d, padding) else None)
    # A stride that is far off is another layer.
    stride = _either([n for n in strides if int(n) <= 2 * s])
    return GeometryError(
        f"the {axis} cannot become {i}: from {o}, kernel {k}, stride {s}, dilation {d} and "
        f"padding {by} lead to {_span(legal)}",
        nothing + _transposed_ways(ways, giver, stride and f"a stride of {stride}"),
    )


def _input_for(i: int, k: int, s: int, d: int, padding: AxisPadding) -> str:
    """Name the input that can become `i`: what the convolution makes of `i`, if anything."""
    if i < 1:
        return ""
    try:
        o = forward_axis(i, k, s, d, padding).o
    except GeometryError:
        return ""
    return f"an input of {o}, which leads to {_span(transposed_sizes(o, k, s, d, padding))}"


def _transposed_ways(ways: Sequence[str], *more: str) -> str:
    return "what fits: " + "; ".join([*ways, *filter(None, more)])


def _pytorchs_way(output_padding: int, s: int, d: int) -> str:
    if not s <= output_padding < d:
        return ""
    return (
        f"PyTorch takes what is below the dilation {d}, too, but no convolution turns such a size "
        "back"
    )


def _span(sizes: range) -> str:
    return f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _padding_text(padding: AxisPadding) -> str:
    return padding if isinstance(padding, PaddingMode) else f"{padding[0]} + {padding[1]}"


class Phase(NamedTuple):
    """The outputs of a conv2d_transpose that the same taps reach: every s-th along one axis.

    Output ``first + u*s`` is a convolution of stride 1, without a product with an inserted zero::

        stride 2, kernel a b c d        output  0   1   2   3   4   5
                                        taps   b,d a,c b,d a,c b,d a,c

    Parameters
    ----------
    first : int
        The first of these outputs.
    taps : range
        Of the kernel, in the order in which a window over the input meets them.
    reads : range
        The lines of the input that take part.
    axis : Axis
        Of the convolution over these lines.
    """

    first: int
    taps: range
    reads: range
    axis: Axis


@lru_cache(maxsize=256)
def phases(transposed: Axis) -> tuple[Phase, ...]:
    """Take a transposed axis apart into convolutions of stride 1, one for each residue.

    Input j reaches output t through tap a where ``t + before = j*s + a*d``. For the outputs of one
    residue modulo s these are every ``s / gcd(s, d)``-th tap, and neighbouring ones of them read
    inputs ``d / gcd(s, d)`` apart.

    Parameters
    ----------
    transposed : Axis
        Of a conv2d_transpose: `i` is the size of its output, `o` that of its input.

    Returns
    -------
    tuple of Phase
        By their first outputs; those that no tap reaches are left out.

    Source: Dumoulin & Visin, section 4; Odena, Dumoulin & Olah, "Deconvolution and checkerboard
    artifacts", Distill 2016.
    """
    k, s, d = transposed.k, transposed.s, transposed.d
    period = s // gcd(s, d)
    least = {(a * d - transposed.before) % s: a for a in range(min(k, period))}
    return tuple(
        _phase(transposed, first, least[first]) for first in sorted(least) if first < transposed.i
    )


def _phase(axis: Axis, first: int, least: int) -> Phase:
    """Return the outputs that tap `least` and every further one of its residue reach."""
    s, d = axis.s, axis.d
    common = gcd(s, d)
    step, dilation = s // common, d // common
    outputs, count = len(range(first, axis.i, s)), len(range(least, axis.k, step))
    taps = range(least + (count - 1) * step, least - 1, -step)
    # Which input the first tap of the first window reads.
    start = (first + axis.before - taps[0] * d) // s
    stop = start + outputs + (count - 1) * dilation
    reads = range(min(max(start, 0), axis.o), max(min(stop, axis.o), 0))
    before, after = stop - start, 0
    if reads:
        before, after = reads[0] - start, stop - reads[-1] - 1
    settled = Axis(len(reads), count, 1, dilation, before, after, outputs)
    return Phase(first, taps, reads or range(0), settled)


def beyond(transposed: Axis) -> Pair:
    """Count the lines before and after the input of a transposed axis that taps would read."""
    last = transposed.before + transposed.i - 1
    first = -((transposed.window - 1 - transposed.before) // transposed.s)
    return max(-first, 0), max(last // transposed.s - transposed.o + 1, 0)


def overlaps(transposed: Axis) -> tuple[int, ...]:
    """Count the taps that reach each output of a transposed axis, over one period of the stride.

    The counts are those of outputs far from the ends; the first belongs to output 0. Of a stride
    beyond 65536 they are the first so many.
    """
    k, s, d = transposed.k, transposed.s, transposed.d
    common = gcd(s, d)
    period = s // common
    # Tap a reaches outputs t where a·d = t + before modulo s: a = (t + before) / d modulo s / gcd.
    inverse = pow(d // common, -1, period)
    counts = []
    for place in range(transposed.before, transposed.before + min(s, transposed.i, 2**16)):
        least = place // common * inverse % period
        counts.append(len(range(least, k, period)) if place % common == 0 else 0)
    return tuple(counts)


# Both axes, channels and groups


class Note(NamedTuple):
    """Something about a plan or a result that is worth a line.

    Parameters
    ----------
    code : str
        A name for programs, stable.
    message : str
        The fact, with its numbers.
    hint : str
        What changes it.
    """

    code: str
    message: str
    hint: str = ""


class ReceptiveField(NamedTuple):
    """Which input pixels an output pixel sees; every pair is (height, width).

    Output pixel u is centred on input coordinate ``start + u * jump``, where 0 is the centre of
    the first pixel, and sees ``size`` pixels around it.

    Source: Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks",
    Distill 2019.
    """

    size: Pair = (1, 1)
    jump: Pair = (1, 1)
    start: tuple[float, float] = (0.0, 0.0)

    def through(self, rows: Axis, cols: Axis) -> "ReceptiveField":
        """Return the receptive field behind one more convolution."""
        pairs = list(zip((rows, cols), self.size, self.jump, self.start, strict=True))
        return ReceptiveField(
            _pair(size + (axis.window - 1) * jump for axis, size, jump, _ in pairs),
            _pair(jump * axis.s for axis, _, jump, _ in pairs),
            _pair(
                start + ((axis.window - 1) / 2 - axis.before) * jump
                for axis, _, jump, start in pairs
            ),
        )


def _pair(items: Iterable[T]) -> tuple[T, T]:
    first, second = items
    return first, second


class ConvPlan(NamedTuple):
    """A convolution with every number settled; engines execute it, reports print it.

    Parameters
    ----------
    spec : ConvSpec
        What was asked for.
    input_shape, output_shape : (N, H, W, C)
    kernel_shape : tuple of int
        ``(kh, kw)`` for filters applied to every channel by itself, HWIO for conv2d, HWOI for
        conv2d_transpose.
    filters : int
        How many filters; a bank of F per-channel filters gives channel ``c * F + f``.
    groups : int
        The number of groups in effect: the number of channels for per-channel filters.
    rows, cols : Axis
    notes : tuple of Note
    """

    spec: ConvSpec
    input_shape: Shape
    output_shape: Shape
    kernel_shape: tuple[int, ...]
    filters: int
    groups: int
    rows: Axis
    cols: Axis
    notes: tuple[Note, ...]

    @property
    def op(self) -> Op:
        """Which operator."""
        return self.spec.op

    @property
    def per_channel(self) -> bool:
        """Whether every channel is filtered by itself with the same filters."""
        return len(self.kernel_shape) == 2

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Padding in pixels: top, bottom, left, right."""
        return self.rows.before, self.rows.after, self.cols.before, self.cols.after

    @property
    def dropped(self) -> Pair:
        """Rows and columns at the end of the padded input that no window reaches."""
        return self.rows.dropped, self.cols.dropped

    @property
    def windows(self) -> int:
        """Windows in one image: positions of the kernel."""
        return self.rows.o * self.cols.o

    @property
    def parameters(self) -> int:
        """Weights of the kernel, without biases."""
        count = self.filters if self.per_channel else 1
        for size in self.kernel_shape:
            count *= size
        return count

    @property
    def macs(self) -> int:
        """Multiply-adds for the whole batch, those with padding included."""
        n, *_, c = self.input_shape
        per_window = self.parameters * c if self.per_channel else self.parameters
        return n * self.windows * per_window

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """Of one output pixel; None for conv2d_transpose, where it varies with the phase."""
        if self.op is Op.CONV2D_TRANSPOSE:
            return None
        return ReceptiveField().through(self.rows, self.cols)


def across_channels(size: Sequence[int], channels: int, groups: int, filters: int) -> Shape:
    """Return the HWIO shape of `filters` filters of (kh, kw), each across its group's channels."""
    kh, kw = size
    return kh, kw, max(channels // groups, 1), filters


def plan(
    spec: ConvSpec, input_shape: Sequence[int], kernel_shape: Sequence[int], filters: int = 1
) -> ConvPlan:
    """Settle and check every number of a convolution.

    Parameters
    ----------
    spec : ConvSpec
    input_shape : (N, H, W, C)
    kernel_shape : (kh, kw), HWIO for conv2d or HWOI for conv2d_transpose
    filters : int
        The number of filters in a per-channel bank; a rank-4 kernel has its own.

    Raises
    ------
    GeometryError
        Where sizes, channels or groups do not go together.

    Examples
    --------
    >>> settled = plan(ConvSpec.of(stride=2), (1, 512, 512, 3), (3, 3))
    >>> settled.output_shape, settled.pads
    ((1, 256, 256, 3), (0, 1, 0, 1))
    """
    if len(input_shape) != 4:
        raise GeometryError(f"images must have 4 axes (NHWC), not {len(input_shape)}")
    if len(kernel_shape) not in (2, 4):
        raise GeometryError(
            f"a kernel must have 2 axes (kh, kw) or 4 ({_layout(spec.op)}), not {len(kernel_shape)}"
        )
    if min(kernel_shape) < 1 or filters < 1:
        raise GeometryError(f"every size of a kernel must be at least 1: {size_text(kernel_shape)}")
    n, h, w, c = input_shape
    if c < 1:
        raise GeometryError(f"images need at least 1 channel: {size_text(input_shape)}")
    groups, filters, out = _channels(spec, input_shape, kernel_shape, filters)
    settle = _settle_transposed if spec.op is Op.CONV2D_TRANSPOSE else _settle_forward
    rows, cols = (settle(spec, axis, size, kernel_shape[axis]) for axis, size in enumerate((h, w)))
    oh, ow = (rows.i, cols.i) if spec.op is Op.CONV2D_TRANSPOSE else (rows.o, cols.o)
    return ConvPlan(
        spec,
        (n, h, w, c),
        (n, oh, ow, out),
        tuple(kernel_shape),
        filters,
        groups,
        rows,
        cols,
        tuple(_notes(spec, rows, cols)),
    )


def _layout(op: Op) -> str:
    return "HWOI" if op is Op.CONV2D_TRANSPOSE else "HWIO"


def _settle_forward(spec: ConvSpec, axis: int, size: int, k: int) -> Axis:
    padding = spec.padding.axes[axis]
    settled = forward_axis(size, k, spec.stride[axis], spec.dilation[axis], padding, AXES[axis])
    if size == 0 and not spec.border.is_fill:
        raise GeometryError(
            f"the {AXES[axis]} is 0: there are no pixels for the border {spec.border} to repeat",
            "use border zero or constant:V",
        )
    return settled


def _settle_transposed(spec: ConvSpec, axis: int, size: int, k: int) -> Axis:
    return transposed_axis(
        size,
        k,
        spec.stride[axis],
        spec.dilation[axis],
        spec.padding.axes[axis],
        AXES[axis],
        size=spec.output_shape and spec.output_shape[axis],
        output_padding=None if spec.output_padding is None else spec.output_padding[axis],
    )


def _channels(
    spec: ConvSpec, input_shape: Sequence[int], kernel_shape: Sequence[int], filters: int
) -> tuple[int, int, int]:
    """Return (groups, filters, output channels), or say which numbers do not go together."""
    c, groups = input_shape[3], spec.groups
    where = f"(images {size_text(input_shape)}, kernel {size_text(kernel_shape)})"
    if len(kernel_shape) == 2:
        if groups not in (1, c):
            raise GeometryError(
                f"a kernel of 2 axes filters every channel by itself: groups must be "
                f"{_either(sorted({1, c}))}, not {groups} {where}",
                f"leave groups out, or give a kernel with 4 axes ({_layout(spec.op)})",
            )
        if spec.op is Op.CONV2D_TRANSPOSE and filters > 1:
            raise GeometryError(
                f"conv2d_transpose takes one filter of 2 axes, not a bank of {filters} {where}"
            )
        return c, filters, c * filters
    if spec.op is Op.CONV2D_TRANSPOSE:
        takes, given, out = kernel_shape[3], kernel_shape[3], kernel_shape[2] * groups
    else:
        takes, given, out = kernel_shape[2] * groups, kernel_shape[2], kernel_shape[3]
    if c % groups or kernel_shape[3] % groups:
        what, count = ("the input channels", c) if c % groups else ("the filters", kernel_shape[3])
        divisors = common_divisors(c, kernel_shape[3])
        fitting = [g for g in divisors if spec.op is Op.CONV2D and given * g == c]
        raise GeometryError(
            f"groups must divide {what}, but {groups} does not divide {count} {where}",
            f"groups that divide both: {_either(divisors[:8] + ['…'] * (len(divisors) > 8))}"
            + (f"; this kernel goes with {fitting[0]}" if fitting else ""),
        )
    if takes != c:
        fits = c // given if spec.op is Op.CONV2D and c % given == 0 else 0
        times = f"{given} x {groups} groups = {takes}" if groups > 1 else f"{takes}"
        if fits and out % fits == 0:
            hint = f"groups {fits} would fit"
        elif (
            spec.op is Op.CONV2D_TRANSPOSE
            and kernel_shape[0] == c
            and kernel_shape[2] == kernel_shape[3]
        ):
            hint = (
                "the kernel looks like PyTorch's IOHW: --layout IOHW, or in a stack layout=IOHW, "
                "reads it as such; in Python transpose(2, 3, 1, 0) makes it HWOI"
            )
        elif kernel_shape[1] * groups == c and kernel_shape[2] == kernel_shape[3]:
            hint = (
                "the kernel looks like PyTorch's OIHW: --layout OIHW, or in a stack layout=OIHW, "
                "reads it as such; in Python transpose(2, 3, 1, 0) makes it HWIO"
            )
        elif input_shape[1] == takes and input_shape[2] == c:
            hint = "the images look like NCHW: transpose(0, 2, 3, 1) makes them NHWC"
        else:
            hint = f"a kernel of {_wanted_kernel(spec, kernel_shape, c)} would fit"
        raise GeometryError(
            f"the kernel takes {times} input channels, but the images have {c} {where}", hint
        )
    return groups, out, out


def _wanted_kernel(spec: ConvSpec, kernel_shape: Sequence[int], c: int) -> str:
    kh, kw, third, fourth = kernel_shape
    if spec.op is Op.CONV2D_TRANSPOSE:
        return size_text((kh, kw, third, c))
    return size_text((kh, kw, c // spec.groups, fourth))


def _notes(spec: ConvSpec, rows: Axis, cols: Axis) -> Iterator[Note]:
    """Say what is easily overlooked: the odd pixel, what the stride drops, what it steps over."""
    axes = tuple(zip((rows, cols), LINES, (("top", "bottom"), ("left", "right")), strict=True))
    if spec.op is Op.CONV2D_TRANSPOSE:
        yield from _overlap_notes(spec, rows, cols)
        return
    if spec.padding.mode in (PaddingMode.SAME, PaddingMode.SAME_LOWER):
        odd = [
            f"the odd {line} is at the {sides[axis.after > axis.before]}"
            for axis, line, sides in axes
            if axis.before != axis.after
        ]
        if odd:
            yield Note("odd-padding", ", ".join(odd))
    # What is dropped is padding first, and only then a part of the image.
    unread = [(max(axis.dropped - axis.after, 0), line) for axis, line, _ in axes]
    unused = [(min(axis.dropped, axis.after), line) for axis, line, _ in axes]
    if any(n for n, _ in unused):
        yield Note("unused-padding", f"{_counts(unused, 'of padding at the end')} unused")
    if any(n for n, _ in unread):
        mended = [forward_axis(a.i, a.k, a.s, a.d, PaddingMode.SAME) for a, _, _ in axes]
        reads = all(axis.dropped <= axis.after for axis in mended)
        yield Note(
            "dropped",
            f"{last_lines(unread)} read by no window",
            "padding same reads them" if reads else "",
        )
    idle = [(_idle(axis), axis.o, line) for axis, line, _ in axes]
    if any(n for n, _, _ in idle):
        which = " and ".join(f"{n} of {of} {line}s" for n, of, line in idle if n)
        yield Note(
            "padding-alone",
            f"{which} of windows lie wholly in the padding",
            "padding below the size of the window has none of these",
        )
    for axis, line, _ in axes:
        # Taps read the lines that are multiples of the dilation away, modulo the stride.
        left = axis.s - min(axis.k, axis.s // gcd(axis.s, axis.d))
        if left and axis.o > 1:
            why = f"the stride {axis.s} steps over the window of {axis.window}"
            if axis.s <= axis.window:
                why = f"the stride {axis.s} and the dilation {axis.d} miss lines"
            yield Note(
                "gaps",
                f"{why}: {left} of every {axis.s} {line}s are never read",
                f"a stride of at most {axis.k} reads all" + " at dilation 1" * (axis.d > 1),
            )


def _idle(axis: Axis) -> int:
    """Count the windows in which no pixel of the image lies."""
    early = max(ceil((axis.before - axis.window + 1) / axis.s), 0)
    late = axis.o - 1 - (axis.i - 1 + axis.before) // axis.s
    return min(early, axis.o) + min(max(late, 0), axis.o - min(early, axis.o))


def _overlap_notes(spec: ConvSpec, rows: Axis, cols: Axis) -> Iterator[Note]:
    """Say where the windows of a transposed convolution overlap unevenly, or leave gaps."""
    counts = overlaps(rows), overlaps(cols)
    gaps = [
        (f"{axis.s - min(axis.k, axis.s // gcd(axis.s, axis.d))} of every {axis.s} {line}s", axis)
        for axis, line, taps in zip((rows, cols), LINES, counts, strict=True)
        if 0 in taps
    ]
    if gaps:
        least = " and ".join(dict.fromkeys(str(axis.s) for _, axis in gaps))
        yield Note(
            "unreached",
            f"{' and '.join(text for text, _ in gaps)} of the output are reached by no tap: the "
            "kernel leaves gaps at this stride and dilation",
            f"a kernel of {least} or more without dilation reaches all",
        )
    down, across = map(set, counts)
    uneven = [axis for axis, each in ((rows, down), (cols, across)) if len(each) > 1]
    if uneven and not gaps:
        taken = _either(sorted({a * b for a in down for b in across}))
        fitting = " and ".join(dict.fromkeys(str(_even_kernel(axis)) for axis in uneven))
        yield Note(
            "uneven-overlap",
            f"windows overlap unevenly: outputs get {taken} taps, in a pattern of "
            f"{spec.stride[0]}x{spec.stride[1]} that can show as a checkerboard",
            f"a kernel of {fitting} overlaps evenly",
        )


def _even_kernel(axis: Axis) -> int:
    """Return the next larger kernel whose taps are spread evenly over the residues."""
    period = axis.s // gcd(axis.s, axis.d)
    return ceil(axis.k / period) * period


def last_lines(lines: Sequence[tuple[int, str]]) -> str:
    """Name lines at the end: ``the last row and the last 2 columns are``."""
    words = [f"the last {line}" if n == 1 else f"the last {n} {line}s" for n, line in lines if n]
    verb = "is" if sum(n for n, _ in lines) == 1 else "are"
    return f"{' and '.join(words)} {verb}"


def _counts(lines: Sequence[tuple[int, str]], of: str = "") -> str:
    """Say how many of each line there are: ``1 row and 2 columns are``."""
    words = [f"{n} {line}" if n == 1 else f"{n} {line}s" for n, line in lines if n]
    verb = "is" if sum(n for n, _ in lines) == 1 else "are"
    return " ".join(filter(None, [" and ".join(words), of, verb]))
