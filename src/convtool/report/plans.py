"""A plan as a table of its numbers and formulas, and as JSON."""

import sys
from collections.abc import Mapping

from convtool.geometry import Axis, ConvPlan, Note, size_text
from convtool.report.lines import DIM, GOOD, WARN, Line, emit, entry
from convtool.terms import PaddingMode

# Notes that `padding_lines` and `dropped_text` tell.
TOLD_IN_PLACE = ("odd-padding", "dropped", "unused-padding")


def show(settled: ConvPlan, *, as_json: bool) -> None:
    """Print one layer."""
    if as_json:
        import json

        json.dump(layers_json([settled]), sys.stdout)
        sys.stdout.write("\n")
    else:
        emit(table(settled))


def layers_json(layers: list[ConvPlan]) -> dict[str, object]:
    """Return the object that `convtool shape --json` prints."""
    return {
        "layers": [layer_json(layer) for layer in layers],
        "output_shape": list(layers[-1].output_shape),
    }


def layer_json(settled: ConvPlan) -> dict[str, object]:
    """Return one layer: shapes as lists, pairs as [h, w]."""
    field = settled.receptive_field
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
        "receptive_field": field
        and {"size": list(field.size), "jump": list(field.jump), "start": list(field.start)},
        "notes": notes_json(settled.notes),
    }


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


def operator_text(settled: ConvPlan) -> str:
    """Say in one line what the operator is and how it steps."""
    spec = settled.spec
    words = [
        "true convolution (kernel rotated 180°)" if spec.flip else "cross-correlation (no flip)",
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
    return f"top {top}, bottom {bottom}, left {left}, right {right}; border {settled.spec.border}"


def dropped_text(settled: ConvPlan) -> str:
    """Say how many lines at the end no window reaches."""
    told = [note.message for note in settled.notes if note.code in ("dropped", "unused-padding")]
    if any(note.code == "gaps" for note in settled.notes):
        return "; ".join(told) or "nothing at the end, but the stride leaves gaps: see below"
    return "; ".join(told) or "nothing: every row and column is read"


def padding_lines(settled: ConvPlan) -> list[Line]:
    """Return the pads, and under them which side got the odd pixel."""
    odd = [entry("", note.message) for note in settled.notes if note.code == "odd-padding"]
    return [entry("padding", padding_text(settled)), *odd]


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
    n, h, w, c = settled.input_shape
    _, oh, ow, out = settled.output_shape
    kernel = size_text(settled.kernel_shape)
    if settled.per_channel:
        each = "the same filter" if settled.filters == 1 else f"{settled.filters} filters"
        filters = f"{each} on every channel by itself"
    else:
        inputs = _count(settled.kernel_shape[2], "channel")
        filters = f"{_count(settled.filters, 'filter')} across {inputs}"
    field = settled.receptive_field
    biases = settled.filters
    lines = [
        entry(str(settled.op), operator_text(settled)),
        entry(
            "input",
            (size_text(settled.input_shape), GOOD),
            (f"   {_count(n, 'image')} of {h}x{w}, {_count(c, 'channel')}", DIM),
        ),
        entry("kernel", (kernel, GOOD), (f"   {filters}", DIM)),
        entry(
            "output",
            (size_text(settled.output_shape), GOOD),
            (f"   {_count(out, 'feature map')} of {oh}x{ow}", DIM),
        ),
        entry("  height", formula(settled.rows, settled)),
        entry("  width", formula(settled.cols, settled)),
        *padding_lines(settled),
        entry("dropped", dropped_text(settled)),
        entry("windows", f"{oh}x{ow} = {settled.windows:,} in each image"),
        entry(
            "parameters",
            f"{settled.parameters:,}",
            (f"   {settled.parameters + biases:,} with a bias for each filter", DIM),
        ),
        entry(
            "macs",
            f"{settled.macs:,} multiply-adds" + (f" for the {n} images" if n > 1 else ""),
        ),
    ]
    if field:
        jump, start = size_text(field.jump), ", ".join(f"{s:g}" for s in field.start)
        lines.append(
            entry(
                "receptive", f"field {size_text(field.size)}, jump {jump}, first centre at {start}"
            )
        )
    return lines + note_lines(settled.notes)


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def formula(axis: Axis, settled: ConvPlan) -> str:
    """Write out how one output size came about, with the numbers put in."""
    window = f"{axis.k}" if axis.d == 1 else f"(({axis.k} - 1)·{axis.d} + 1)"
    general = (
        f"floor(({axis.i} + {axis.before} + {axis.after} - {window}) / {axis.s}) + 1 = {axis.o}"
    )
    if settled.spec.padding.mode in (PaddingMode.SAME, PaddingMode.SAME_LOWER):
        return f"ceil({axis.i} / {axis.s}) = {general}"
    return general
