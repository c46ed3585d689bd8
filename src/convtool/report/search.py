"""Answers to the questions that run backwards: wanted sizes, fitting paddings, the way back."""

import json
import sys
from collections.abc import Sequence

from convtool.frameworks import View
from convtool.geometry import LINES, Axis, ConvPlan, Padding, Pair, Shape, size_text
from convtool.report.lines import DIM, GOOD, MARGIN, WARN, Line, emit, entry
from convtool.report.plans import geometry_json, layer_json
from convtool.search import (
    DILATIONS,
    KERNELS,
    PADDINGS,
    PAIRED,
    STRIDES,
    Answer,
    Fit,
    Fixed,
    Option,
    gaps,
    lost,
)
from convtool.terms import Op, PaddingMode

# Characters that a line may have.
WIDTH = 80

# How many paddings are tried, and what is said where the simplest settings differ by axis.
_SOME_EQUAL = f"up to {PADDINGS} equal below the window"
_APART = f"height and width differ: pairs of the simplest {PAIRED} of each"

# So many equal paddings are in the JSON of --fit, which can be billions.
LISTED = 1000


def _print_json(record: dict[str, object]) -> None:
    json.dump(record, sys.stdout)
    sys.stdout.write("\n")


# From a size to layers


def show_wanted(
    shape: Shape,
    want: Pair,
    answer: Answer,
    fixed: Fixed,
    *,
    transpose: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Print the layers that give a size."""
    if as_json:
        _print_json(wanted_json(shape, want, answer, transpose=transpose, limit=limit))
        return
    emit(wanted_table(shape, want, answer, fixed, transpose=transpose, limit=limit))


def wanted_json(
    shape: Shape, want: Pair, answer: Answer, *, transpose: bool, limit: int
) -> dict[str, object]:
    """Return the options as objects, with the flags that give each."""
    return {
        "op": Op.CONV2D_TRANSPOSE if transpose else Op.CONV2D,
        "input_shape": list(shape),
        "want": list(want),
        "found": len(answer.options),
        "apart": answer.apart,
        "options": [option_json(option, transpose) for option in answer.options[:limit]],
        "nearest": {"height": list(answer.nearest[0]), "width": list(answer.nearest[1])},
    }


def option_json(option: Option, transpose: bool) -> dict[str, object]:
    """Return one layer that gives the size."""
    rows, cols = option.rows, option.cols
    return {
        "kernel_shape": list(option.kernel),
        "stride": list(option.stride),
        "dilation": list(option.dilation),
        "padding": {
            "mode": option.padding.mode,
            "top": rows.before,
            "bottom": rows.after,
            "left": cols.before,
            "right": cols.after,
        },
        "output_padding": option.output_padding and list(option.output_padding),
        "dropped": {"rows": rows.dropped, "cols": cols.dropped},
        "gaps": {"rows": gaps(rows), "cols": gaps(cols)},
        "flags": " ".join(filter(None, flags(option, transpose))),
    }


def wanted_table(
    shape: Shape, want: Pair, answer: Answer, fixed: Fixed, *, transpose: bool, limit: int
) -> list[Line]:
    """Return the options as flags in columns, simplest first, with what each wastes."""
    op = Op.CONV2D_TRANSPOSE if transpose else Op.CONV2D
    sizes = f"{size_text(shape[1:3])} to {size_text(want)}"
    shown = answer.options[:limit]
    lines = [entry("wanted", (sizes, GOOD), f" by one {op}"), *_limit_lines(fixed)]
    if not shown:
        return lines + _nothing_lines(shape[1:3], want, answer, transpose)
    never = "unreached" if transpose else "unread, unused"
    legend = f"pads: top,bottom left,right; {never}: rows x columns at the end"
    lines += [
        entry("found", f"{len(answer.options)}{_of_these(len(shown), len(answer.options))}"),
        *([entry("", _APART)] if answer.apart else []),
        entry("", (legend, DIM)),
        [],
    ]
    return lines + _option_lines(shown, transpose)


def _of_these(shown: int, found: int) -> str:
    if shown == found:
        return ""
    return ", the simplest" if shown == 1 else f", the {shown} simplest first"


def _option_lines(options: Sequence[Option], transpose: bool) -> list[Line]:
    """Return flags in columns, and what each option leaves over behind them or below."""
    rows = [flags(option, transpose) for option in options]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sum(width + 1 for width in widths if width) > WIDTH - 2:
        widths = [0] * len(widths)  # too wide for columns
    lines: list[Line] = []
    for row, option in zip(rows, options, strict=True):
        padded = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        *above, last = _folded([cell for cell in padded if cell], WIDTH - 2)
        lines += [[(f"  {part}", GOOD)] for part in above]
        waste = _waste(option, transpose)
        beside = 2 + len(last) + 3 + len(waste) <= WIDTH
        lines.append([(f"  {last}", GOOD), (f"   {waste}" if beside else "", DIM)])
        if not beside:
            lines.append([(f"      {waste}", DIM)])
    return lines


def _folded(words: Sequence[str], width: int) -> list[str]:
    """Put words in lines, the second and later ones indented, each but the last to be continued."""
    lines = [words[0]]
    for word in words[1:]:
        # Room for the backslash with which a shell reads on.
        if len(lines[-1]) + 1 + len(word.rstrip()) > width - 2:
            lines[-1] = lines[-1].rstrip() + " \\"
            lines.append("  " + word)
        else:
            lines[-1] += " " + word
    return lines


def _limit_lines(fixed: Fixed) -> list[Line]:
    """Say how far was searched, and what was held."""
    tried = [
        words
        for name, words in (
            ("kernel", f"kernels 1 to {KERNELS[-1]}"),
            ("stride", f"strides 1 to {STRIDES[-1]} (and the ratio)"),
            ("dilation", f"dilations 1 to {DILATIONS[-1]}"),
            ("padding", f"paddings valid, same, same-lower and {_SOME_EQUAL}"),
        )
        if getattr(fixed, name) is None
    ]
    held = [
        f"{name.replace('_', '-')} {value if isinstance(value, Padding) else size_text(value)}"
        for name, value in zip(fixed._fields, fixed, strict=True)
        if value is not None
    ]
    lines = _wrapped("tried", ", ".join(tried)) if tried else []
    return lines + (_wrapped("held", ", ".join(held)) if held else [])


def _wrapped(heading: str, text: str, style: str = "") -> list[Line]:
    """Return a text in as many lines as it needs, beside its heading."""
    from textwrap import wrap

    return [
        entry("" if number else heading, (part, style))
        for number, part in enumerate(wrap(text, WIDTH - MARGIN))
    ]


def _nothing_lines(size: Pair, want: Pair, answer: Answer, transpose: bool) -> list[Line]:
    """Name the nearest sizes, and the operator that leads the other way."""
    lines = [entry("found", ("nothing", WARN))]
    for name, n, nearest in zip(("height", "width"), want, answer.nearest, strict=True):
        if nearest:
            verb = "is" if len(nearest) == 1 else "are"
            reached = " and ".join(map(str, nearest))
            lines.append(entry("", f"no {name} of {n}; the nearest {verb} {reached}"))
    grows, shrinks = (
        any(wish > have for have, wish in pairs)
        for pairs in (zip(size, want, strict=True), zip(want, size, strict=True))
    )
    if grows and not transpose:
        lines.append(entry("", ("a transposed layer enlarges: add --transpose", GOOD)))
    if shrinks and transpose:
        lines.append(entry("", ("a conv2d makes smaller: leave out --transpose", GOOD)))
    return lines


def flags(option: Option, transpose: bool) -> list[str]:
    """Return what to type for a layer, one word or "" for each kind of setting."""
    return [
        f"-k {size_text(option.kernel)}",
        _flag("--stride", option.stride, 1),
        f"-p {padding_text(option.padding)}",
        _flag("--dilation", option.dilation, 1),
        "--transpose" if transpose else "",
        _flag("--output-padding", option.output_padding) if option.output_padding else "",
    ]


def _flag(name: str, pair: Pair, default: int | None = None) -> str:
    if pair[0] == pair[1]:
        return "" if pair[0] == default else f"{name} {pair[0]}"
    return f"{name} {size_text(pair)}"


def padding_text(padding: Padding) -> str:
    """Write a padding as shortly as the option takes it: same, 1, 1x2 or 1,2,3,4."""
    if padding.mode is not PaddingMode.EXPLICIT:
        return str(padding)
    top, bottom, left, right = padding.amounts
    if (top, left) != (bottom, right):
        return str(padding)
    return str(top) if top == left else f"{top}x{left}"


def _waste(option: Option, transpose: bool) -> str:
    """Say what stands behind a word for the padding, and what is left over."""
    axes = option.rows, option.cols
    rows, cols = axes
    never = "unreached" if transpose else "unread"
    texts = []
    if option.padding.mode in (PaddingMode.SAME, PaddingMode.SAME_LOWER):
        texts.append(f"pads {rows.before},{rows.after} {cols.before},{cols.after}")
    if any(map(lost, axes)):
        texts.append(f"{never} {lost(rows)}x{lost(cols)}")
    unused = [min(axis.dropped, axis.after) for axis in axes]
    if any(unused) and not transpose:
        texts.append(f"padding unused {size_text(unused)}")
    if any(map(gaps, axes)):
        texts.append(f"{_gaps_text(axes)} {never}")
    return "; ".join(texts)


def _gaps_text(axes: tuple[Axis, Axis]) -> str:
    """Say how many lines lie between windows: ``6 of every 9 rows and columns``."""
    counts = [f"{gaps(axis)} of every {axis.s}" if gaps(axis) else "" for axis in axes]
    if counts[0] == counts[1]:
        return f"{counts[0]} rows and columns"
    parts = zip(counts, LINES, strict=True)
    return " and ".join(f"{count} {line}s" for count, line in parts if count)


# Paddings that waste nothing


def show_fit(shape: Shape, fits: tuple[Fit, Fit], *, as_json: bool) -> None:
    """Print which paddings waste nothing."""
    if as_json:
        _print_json(
            {
                "input_shape": list(shape),
                "height": fit_json(fits[0]),
                "width": fit_json(fits[1]),
            }
        )
        return
    emit(fit_table(fits))


def fit_json(fit: Fit) -> dict[str, object]:
    """Return one axis, with no more than `LISTED` of the equal paddings."""
    return {
        "valid": fit.valid and _axis_json(fit.valid),
        "same": fit.same and _axis_json(fit.same),
        "equal": [_axis_json(fit.settled(p)) for p in fit.equal[:LISTED]],
        "found": _count(fit.equal),
        "least": fit.least and _axis_json(fit.least),
        "gaps": fit.gaps,
        "why": fit.why,
        "hint": fit.hint,
    }


def _axis_json(axis: Axis) -> dict[str, int]:
    return {
        "before": axis.before,
        "after": axis.after,
        "output": axis.o,
        "dropped": axis.dropped,
    }


def fit_table(fits: tuple[Fit, Fit]) -> list[Line]:
    """Return what each padding wastes; one block where both axes are alike."""
    rows, cols = fits
    if rows.numbers == cols.numbers:
        return _fit_lines(rows, "both axes", "rows and columns")
    return [
        *_fit_lines(rows, rows.axis, "rows"),
        [],
        *_fit_lines(cols, cols.axis, "columns"),
    ]


def _fit_lines(fit: Fit, name: str, lines_of: str) -> list[Line]:
    i, k, s, d = fit.numbers
    window = (k - 1) * d + 1
    covers = f" (covers {window})" if d > 1 else ""
    lines = [
        entry("fit", (f"{name} of {i}", GOOD), f", kernel {k}{covers}, stride {s}"),
        *_gap_lines(fit, lines_of),
        _word_line("valid", fit.valid, fit),
        _word_line("same", fit.same, fit),
    ]
    if fit.equal:
        lines += _equal_lines(fit)
    else:
        lines.append(entry("  equal", ("none: ", WARN), fit.why))
        lines += _wrapped("", fit.hint, DIM)
    if fit.least is None:
        why = f"it takes {fit.total} in all, and whole windows lie in them"
        return [*lines, entry("  least", ("none: ", WARN), why)]
    pads = f"{fit.least.before} before, {fit.least.after} after: "
    return [*lines, entry("  least", f"{pads}{_windows(fit.least)}, {_nothing(fit)}")]


def _gap_lines(fit: Fit, lines_of: str) -> list[Line]:
    """Say that the windows leave gaps, which no padding closes."""
    if not fit.gaps:
        return []
    stride = fit.numbers[2]
    told = f"{fit.gaps} of every {stride} {lines_of} are never read, whatever the padding"
    return [entry("  gaps", (told, WARN))]


def _nothing(fit: Fit) -> str:
    return "nothing unread at the end" if fit.gaps else "nothing unread"


def _equal_lines(fit: Fit, most: int = 6) -> list[Line]:
    width = max(len(str(p)) for p in (fit.equal[:most][-1], 100))
    lines = [
        entry("  equal", f"--padding {p:<{width}} {_windows(fit.settled(p))}, {_nothing(fit)}")
        for p in fit.equal[:most]
    ]
    more = _count(fit.equal[most:])
    if more:
        lines.append(entry("", f"and {more} more, up to {fit.equal[-1]}"))
    return lines


def _count(pads: range) -> int:
    """Count them; len() takes no more than an index has room for."""
    return (pads[-1] - pads[0]) // pads.step + 1 if pads else 0


def _windows(axis: Axis) -> str:
    return "1 window" if axis.o == 1 else f"{axis.o} windows"


def _word_line(word: str, axis: Axis | None, fit: Fit) -> Line:
    if axis is None:
        return entry(f"  {word}", "no window fits")
    pads = f"pads {axis.before},{axis.after}: {_windows(axis)}, "
    if axis.dropped:
        return entry(f"  {word}", pads, (f"{axis.dropped} unread at the end", WARN))
    return entry(f"  {word}", pads + _nothing(fit))


# The way back


def show_undo(
    settled: ConvPlan, back: ConvPlan, views: tuple[View, ...], *, code: bool, as_json: bool
) -> None:
    """Print the layer that leads back to the size that a layer came from."""
    from convtool.report import frameworks

    if as_json:
        _print_json(
            {
                "undoes": {"op": settled.op, **geometry_json(settled)},
                "flags": undo_flags(back),
                "layers": [layer_json(back)],
                "output_shape": list(back.output_shape),
                "frameworks": frameworks.views_json(views),
            }
        )
        return
    lines = [*undo_table(settled, back), *frameworks.side_by_side(back, views)]
    emit(lines + (frameworks.code_lines(back, views) if code else []))


def undo_table(settled: ConvPlan, back: ConvPlan) -> list[Line]:
    """Return both ways, what to type, and what it is."""
    from convtool.report import plans

    lines = [
        _way(settled),
        _way(back),
        *_command_lines(back),
    ]
    if back.op is Op.CONV2D_TRANSPOSE:
        lines += plans.legal_lines(back)
    return [
        *lines,
        entry("note", "it brings the size back, and is the gradient (adjoint) of the other;"),
        entry("", "it does not bring the values back: it is not its inverse"),
    ]


def _command_lines(back: ConvPlan) -> list[Line]:
    """Return what to type for a layer."""
    folded = _folded(["convtool shape", *_undo_words(back)], WIDTH - MARGIN)
    return [entry("" if number else "command", (part, GOOD)) for number, part in enumerate(folded)]


def _way(settled: ConvPlan) -> Line:
    heading = "transpose" if settled.op is Op.CONV2D_TRANSPOSE else "conv2d"
    sizes = f"{size_text(settled.input_shape)} to {size_text(settled.output_shape)}"
    return entry(heading, (sizes, GOOD), (f"   kernel {size_text(settled.kernel_shape)}", DIM))


def undo_flags(back: ConvPlan) -> str:
    """Return what to type after ``convtool shape`` for a layer."""
    return " ".join(_undo_words(back))


def _undo_words(back: ConvPlan) -> list[str]:
    """Return the same, each option with its value."""
    from convtool.report import plans

    spec = back.spec
    words = [
        size_text(back.input_shape if back.input_shape[0] > 1 else back.input_shape[1:]),
        f"-k {size_text(back.kernel_shape)}",
        _flag("--stride", spec.stride, 1),
        "" if spec.padding.mode is PaddingMode.SAME else f"-p {padding_text(spec.padding)}",
        _flag("--dilation", spec.dilation, 1),
        f"--groups {spec.groups}" if spec.groups > 1 else "",
    ]
    if back.op is Op.CONV2D_TRANSPOSE:
        words.append("--transpose")
        if back.output_shape[1:3] != plans.default_sizes(back):
            words.append(_flag("--output-padding", plans.chosen_padding(back)))
    return list(filter(None, words))
