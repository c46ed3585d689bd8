"""A plan as a table of its numbers and formulas, and as JSON."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from convtool.geometry import (
    LINES,
    Axis,
    ConvPlan,
    Note,
    Pair,
    ReceptiveField,
    beyond,
    last_lines,
    overlaps,
    size_text,
    transposed_sizes,
)
from convtool.report.lines import DIM, GOOD, WARN, Line, emit, entry
from convtool.terms import Op, PaddingMode

if TYPE_CHECKING:
    from convtool.fields import Field
    from convtool.frameworks import View

# Notes that `padding_lines` and `dropped_text` tell.
TOLD_IN_PLACE = ("odd-padding", "dropped", "unused-padding")


def show(settled: ConvPlan, views: "tuple[View, ...]" = (), *, as_json: bool) -> None:
    """Print one layer, and how frameworks see it, where that is given."""
    if as_json:
        import json

        record = layers_json([settled])
        if views:
            from convtool.report import frameworks

            record["frameworks"] = frameworks.views_json(views)
        json.dump(record, sys.stdout)
        sys.stdout.write("\n")
        return
    lines = table(settled)
    if views:
        from convtool.report import frameworks

        lines += frameworks.table(settled, views)
    emit(lines)


def layers_json(layers: list[ConvPlan]) -> dict[str, object]:
    """Return the object that `convtool shape --json` prints."""
    return {
        "layers": [layer_json(layer) for layer in layers],
        "output_shape": list(layers[-1].output_shape),
    }


def layer_json(settled: ConvPlan) -> dict[str, object]:
    """Return one layer: shapes as lists, pairs as [h, w]."""
    return {
        "op": settled.op,
        "input_shape": list(settled.input_shape),
        "output_shape": list(settled.output_shape),
        "kernel_shape": list(settled.kernel_shape),
        "filters": settled.filters,
        **geometry_json(settled),
        "windows": settled.windows,
        "parameters": settled.parameters,
        "macs": settled.macs,
        "receptive_field": field_json(settled),
        "notes": notes_json(settled.notes),
        **transposed_json(settled),
    }


def field_json(settled: ConvPlan) -> dict[str, object] | None:
    """Return the receptive field; a transposed one has a `least` size beside its greatest."""
    if settled.op is Op.CONV2D_TRANSPOSE:
        field = transposed_field(settled)
        return field and {
            "size": list(field.size),
            "least": list(field.least),
            "jump": list(field.jump),
            "start": list(field.start),
        }
    forward = settled.receptive_field
    return forward and {
        "size": list(forward.size),
        "jump": list(forward.jump),
        "start": list(forward.start),
    }


def transposed_field(settled: ConvPlan) -> "Field | None":
    """Return the receptive field of a transposed convolution; None for an enormous stride."""
    from convtool import fields

    if max(settled.spec.stride) > fields.MOST_PHASES:
        return None
    rows, cols = (fields.Step.of(axis, transposed=True) for axis in (settled.rows, settled.cols))
    return fields.field([rows], [cols])


def transposed_json(settled: ConvPlan) -> dict[str, object]:
    """Return what a transposed convolution has beside: its legal sizes, pairs of (least, most)."""
    if settled.op is not Op.CONV2D_TRANSPOSE:
        return {}
    legal = legal_sizes(settled)
    return {
        "legal_sizes": [[sizes[0], sizes[-1]] for sizes in legal],
        "output_padding": list(chosen_padding(settled)),
        "overlaps": [list(overlaps(axis)) for axis in (settled.rows, settled.cols)],
    }


def legal_sizes(settled: ConvPlan) -> tuple[range, range]:
    """List the sizes (heights, widths) that a transposed convolution could have given."""
    rows, cols = (
        transposed_sizes(axis.o, axis.k, axis.s, axis.d, padding)
        for axis, padding in zip(
            (settled.rows, settled.cols), settled.spec.padding.axes, strict=True
        )
    )
    return rows, cols


def chosen_padding(settled: ConvPlan) -> Pair:
    """Return the output_padding (h, w) that gives the size of a transposed convolution."""
    rows, cols = legal_sizes(settled)
    # A range without sizes below 1 still ends where the whole one does.
    return (
        settled.rows.i - (rows.stop - settled.rows.s),
        settled.cols.i - (cols.stop - settled.cols.s),
    )


def default_sizes(settled: ConvPlan) -> Pair:
    """Return the size (h, w) of a transposed convolution that is told none."""
    rows, cols = legal_sizes(settled)
    if settled.spec.padding.mode in (PaddingMode.SAME, PaddingMode.SAME_LOWER):
        return rows[-1], cols[-1]
    return rows.stop - settled.rows.s, cols.stop - settled.cols.s


def geometry_json(settled: ConvPlan) -> dict[str, object]:
    """Return the keys that every command's JSON shares."""
    top, bottom, left, right = settled.pads
    rows, cols = settled.dropped
    return {
        "stride": list(settled.spec.stride),
        "dilation": list(settled.spec.dilation),
        "groups": settled.groups if not settled.per_channel else settled.spec.groups,
        "padding": {
            "mode": settled.spec.padding.mode,
            "top": top,
            "bottom": bottom,
            "left": left,
            "right": right,
        },
        "border": str(settled.spec.border),
        "dropped": {"rows": rows, "cols": cols},
    }


def notes_json(notes: tuple[Note, ...]) -> list[Mapping[str, str]]:
    """Return notes as objects."""
    return [{"code": n.code, "message": n.message, "hint": n.hint} for n in notes]


def operator_entry(settled: ConvPlan) -> Line:
    """Say in one line what the operator is and how it steps, under a heading that fits."""
    heading = "transpose" if settled.op is Op.CONV2D_TRANSPOSE else str(settled.op)
    return entry(heading, operator_text(settled))


def operator_text(settled: ConvPlan) -> str:
    """Say in one line what the operator is and how it steps."""
    spec = settled.spec
    if settled.op is Op.CONV2D_TRANSPOSE:
        what = f"{settled.op} ({'kernel rotated 180°' if spec.flip else 'no flip'})"
    elif spec.flip:
        what = "true convolution (kernel rotated 180°)"
    else:
        what = "cross-correlation (no flip)"
    words = [
        what,
        f"stride {size_text(spec.stride)}",
        f"padding {spec.padding}",
    ]
    if spec.dilation != (1, 1):
        words.append(f"dilation {size_text(spec.dilation)}")
    if spec.groups > 1:
        words.append(f"{spec.groups} groups")
    return ", ".join(words)


def padding_text(settled: ConvPlan) -> str:
    """Say how much is added on each side, and what stands there."""
    top, bottom, left, right = settled.pads
    if not any(settled.pads):
        return "none"
    text = f"top {top}, bottom {bottom}, left {left}, right {right}"
    if settled.op is Op.CONV2D_TRANSPOSE:
        return text
    return f"{text}; border {settled.spec.border}"


def dropped_text(settled: ConvPlan) -> str:
    """Say how many lines at the end no window reaches."""
    if settled.op is Op.CONV2D_TRANSPOSE:
        return _beyond_reach(settled)
    told = [note.message for note in settled.notes if note.code in ("dropped", "unused-padding")]
    if any(note.code == "gaps" for note in settled.notes):
        return "; ".join(told) or "nothing at the end, but the stride leaves gaps: see below"
    return "; ".join(told) or "nothing: every row and column is read"


def _beyond_reach(settled: ConvPlan) -> str:
    """Say how many lines at the end of the output no pixel of the input reaches."""
    # What is dropped is padding first, and only then a part of the output.
    axes = zip((settled.rows, settled.cols), LINES, strict=True)
    lost = [(max(axis.dropped - axis.after, 0), line) for axis, line in axes]
    if any(n for n, _ in lost):
        return f"{last_lines(lost)} reached by no pixel of the input"
    if any(note.code == "unreached" for note in settled.notes):
        return "nothing at the end, but the stride leaves gaps: see below"
    return "nothing: every row and column is reached"


def padding_lines(settled: ConvPlan) -> list[Line]:
    """Return the pads, and under them which side got the odd pixel."""
    odd = [entry("", note.message) for note in settled.notes if note.code == "odd-padding"]
    return [entry("padding", padding_text(settled)), *odd]


def _border_lines(settled: ConvPlan) -> list[Line]:
    """Say what stands beyond the input of a transposed convolution, where it is not nothing."""
    border = settled.spec.border
    (top, bottom), (left, right) = beyond(settled.rows), beyond(settled.cols)
    if (border.is_fill and not border.value) or not any((top, bottom, left, right)):
        return []
    return [
        entry(
            "border",
            f"{border} beyond the input: top {top}, bottom {bottom}, left {left}, right {right}",
        )
    ]


def note_lines(notes: tuple[Note, ...]) -> list[Line]:
    """Return one line for each note that does not stand beside its numbers already."""
    lines: list[Line] = []
    for note in notes:
        if note.code in TOLD_IN_PLACE:
            continue
        line: Line = [("note: ", WARN), (note.message, "")]
        if note.hint:
            line.append((f" ({note.hint})", GOOD))
        lines.append(line)
    return lines


def table(settled: ConvPlan) -> list[Line]:
    """Return the numbers of one layer with the formulas that gave them."""
    return [
        operator_entry(settled),
        *_shape_lines(settled),
        *reach_lines(settled),
        *_cost_lines(settled),
        *_field_lines(settled),
        *note_lines(settled.notes),
    ]


def reach_lines(settled: ConvPlan) -> list[Line]:
    """Say what is padded and left over, and which sizes a transposed convolution can make."""
    if settled.op is Op.CONV2D:
        return [*padding_lines(settled), entry("dropped", dropped_text(settled))]
    return [
        *legal_lines(settled),
        *padding_lines(settled),
        *([_padding_of(settled)] if any(settled.pads) else []),
        *_border_lines(settled),
        *_overlap_lines(settled),
        entry("unreached", dropped_text(settled)),
    ]


def _shape_lines(settled: ConvPlan) -> list[Line]:
    n, h, w, c = settled.input_shape
    _, oh, ow, out = settled.output_shape
    return [
        entry(
            "input",
            (size_text(settled.input_shape), GOOD),
            (f"   {_count(n, 'image')} of {h}x{w}, {_count(c, 'channel')}", DIM),
        ),
        entry(
            "kernel", (size_text(settled.kernel_shape), GOOD), (f"   {_filters_text(settled)}", DIM)
        ),
        entry(
            "output",
            (size_text(settled.output_shape), GOOD),
            (f"   {_count(out, 'feature map')} of {oh}x{ow}", DIM),
        ),
        entry("  height", formula(settled.rows, settled)),
        entry("  width", formula(settled.cols, settled)),
    ]


def _filters_text(settled: ConvPlan) -> str:
    if settled.per_channel:
        each = "the same filter" if settled.filters == 1 else f"{settled.filters} filters"
        return f"{each} on every channel by itself"
    if settled.op is Op.CONV2D_TRANSPOSE:
        inputs = settled.kernel_shape[3] // settled.groups
    else:
        inputs = settled.kernel_shape[2]
    return f"{_count(settled.filters, 'filter')} across {_count(inputs, 'channel')}"


def legal_lines(settled: ConvPlan) -> list[Line]:
    """Say which sizes were possible, which one was taken, and how to take another."""
    rows, cols = legal_sizes(settled)
    height, width = settled.output_shape[1:3]
    if len(rows) == len(cols) == 1:
        return [entry("legal", f"{height}x{width} alone")]
    taken = chosen_padding(settled)
    least = taken[0] - (height - rows[0]), taken[1] - (width - cols[0])
    most = taken[0] + (rows[-1] - height), taken[1] + (cols[-1] - width)
    ends = [least, most, taken]
    first, last, now = map(_pair, ends) if all(h == w for h, w in ends) else map(size_text, ends)
    return [
        entry(
            "legal",
            f"{rows[0]}x{cols[0]} to {rows[-1]}x{cols[-1]}, output_padding {first} to {last}; "
            f"taken {now}",
        ),
        entry("", ("--output-shape or --output-padding takes another", DIM)),
    ]


def _padding_of(settled: ConvPlan) -> Line:
    height, width = settled.output_shape[1:3]
    back = f"{settled.rows.o}x{settled.cols.o}"
    return entry("  cut off", f"here; added by the conv2d that turns {height}x{width} into {back}")


def _overlap_lines(settled: ConvPlan) -> list[Line]:
    """Say how many taps reach an output: by turns, where the stride does not divide the window."""
    down, across = overlaps(settled.rows), overlaps(settled.cols)
    if len(set(down)) == len(set(across)) == 1:
        taps = down[0] * across[0]
        reach = "tap reaches" if taps == 1 else "taps reach"
        return [
            entry("overlap", f"{taps} {reach} every output: {down[0]} down, {across[0]} across")
        ]
    turns = (f"{line}s get {_turns(n)}" for line, n in (("row", down), ("column", across)))
    return [entry("overlap", "taps by turns: " + ", ".join(turns))]


def _turns(counts: tuple[int, ...], most: int = 8) -> str:
    if len(set(counts)) == 1:
        return str(counts[0])
    return " ".join(map(str, counts[:most])) + (" …" if len(counts) > most else "")


def _cost_lines(settled: ConvPlan) -> list[Line]:
    n = settled.input_shape[0]
    windows = f"{settled.rows.o}x{settled.cols.o} = {settled.windows:,} in each image"
    if settled.op is Op.CONV2D_TRANSPOSE:
        windows += ", one for each pixel of the input"
    return [
        entry("windows", windows),
        entry(
            "parameters",
            f"{settled.parameters:,}",
            (f"   {settled.parameters + settled.filters:,} with a bias for each filter", DIM),
        ),
        entry(
            "macs",
            f"{settled.macs:,} multiply-adds" + (f" for the {n} images" if n > 1 else ""),
        ),
    ]


def _field_lines(settled: ConvPlan) -> list[Line]:
    field: ReceptiveField | Field | None = settled.receptive_field
    extent = size_text(field.size) if field else ""
    if settled.op is Op.CONV2D_TRANSPOSE:
        field = transposed_field(settled)
        if field and field.least != field.size:
            extent = f"{size_text(field.least)} to {size_text(field.size)} by turns"
        elif field:
            extent = size_text(field.size)
    if field is None:
        return []
    jump = "x".join(f"{j:.4g}" for j in field.jump)
    start = ", ".join(f"{s:.6g}" for s in field.start)
    return [entry("receptive", f"field {extent}, jump {jump}, first centre at {start}")]


def _pair(pair: Pair) -> str:
    """Write one number where both axes have the same."""
    return str(pair[0]) if pair[0] == pair[1] else size_text(pair)


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def formula(axis: Axis, settled: ConvPlan) -> str:
    """Write out how one output size came about, with the numbers put in."""
    window = f"{axis.k}" if axis.d == 1 else f"(({axis.k} - 1)·{axis.d} + 1)"
    if settled.op is Op.CONV2D_TRANSPOSE:
        more = f" + {axis.dropped}" if axis.dropped else ""
        return f"({axis.o} - 1)·{axis.s} + {window} - {axis.before} - {axis.after}{more} = {axis.i}"
    general = (
        f"floor(({axis.i} + {axis.before} + {axis.after} - {window}) / {axis.s}) + 1 = {axis.o}"
    )
    if settled.spec.padding.mode in (PaddingMode.SAME, PaddingMode.SAME_LOWER):
        return f"ceil({axis.i} / {axis.s}) = {general}"
    return general
