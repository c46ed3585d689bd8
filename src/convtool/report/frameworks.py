"""One layer in every framework, side by side, and the code that writes it there."""

from convtool.frameworks import View
from convtool.frameworks.writing import layout_of
from convtool.geometry import ConvPlan, Pair, size_text
from convtool.report.lines import BAD, DIM, GOOD, HEAD, MARGIN, WARN, Line, entry

# A row that would be wider has what is written there on a line of its own.
_WIDEST = 80

_OTHER_BORDER = "same, other border"


def views_json(views: tuple[View, ...]) -> list[dict[str, object]]:
    """Return one object for each framework; pads and shifts as [h, w] or by side."""
    return [
        {
            "framework": view.framework,
            "idiom": view.idiom,
            "size": view.size and list(view.size),
            "padding": view.pads
            and dict(zip(("top", "bottom", "left", "right"), view.pads, strict=True)),
            "shift": list(view.shift),
            "agrees": view.agrees,
            "refuses": view.refuses,
            "note": view.note,
            "code": list(view.code),
        }
        for view in views
    ]


def table(settled: ConvPlan, views: tuple[View, ...]) -> list[Line]:
    """Return the frameworks' own paddings side by side, and the code of exactly this layer."""
    return [*side_by_side(settled, views), *code_lines(settled, views)]


def side_by_side(settled: ConvPlan, views: tuple[View, ...]) -> list[Line]:
    """Return one line for each framework: what people write there, and what it does."""
    rows = [("", "size", "pads h, w", "grid"), *(_cells(settled, view) for view in views)]
    widths = [max(map(len, column)) + 2 for column in list(zip(*rows, strict=True))[1:]]
    lines: list[Line] = [
        [],
        entry("frameworks", ("".join(_padded(rows[0], widths)) + "written there", DIM)),
    ]
    for cells, view in zip(rows[1:], views, strict=True):
        lines += _view_lines(view, _padded(cells, widths))
    if any(cells[3] == _OTHER_BORDER for cells in rows):
        by_hand = f"what is written there pads with zeros, not {settled.spec.border}"
        lines.append(entry("", (by_hand, WARN)))
    return lines


def _cells(settled: ConvPlan, view: View) -> tuple[str, str, str, str]:
    pads = "-"
    if view.pads:
        top, bottom, left, right = view.pads
        pads = f"{top},{bottom} {left},{right}"
    size = size_text(view.size) if view.size else "refused"
    return view.framework, size, pads, grid_text(settled, view)


def _padded(cells: tuple[str, ...], widths: list[int]) -> list[str]:
    return [f"{cell:<{width}}" for cell, width in zip(cells[1:], widths, strict=True)]


def _view_lines(view: View, cells: list[str]) -> list[Line]:
    size, pads, grid = cells
    row = entry(view.framework, f"{size}{pads}", (grid, GOOD if view.agrees else BAD))
    texts = [(view.refuses, WARN), (view.note, DIM)]
    if sum(len(text) for text, _ in row) + len(view.idiom) > _WIDEST:
        texts.insert(0, (view.idiom, ""))
    else:
        row.append((view.idiom, ""))
    return [row, *(line for text, style in texts if text for line in _wrapped(text, style))]


def _wrapped(text: str, style: str) -> list[Line]:
    from textwrap import wrap

    return [entry("", (part, style)) for part in wrap(text, _WIDEST - MARGIN)]


def grid_text(settled: ConvPlan, view: View) -> str:
    """Say whether the same pixels are meant."""
    if view.size is None:
        return "-"
    if view.size != settled.output_shape[1:3]:
        return "another size"
    shifted = _shift_text(view.shift)
    if shifted:
        return shifted
    return "same" if view.agrees else _OTHER_BORDER


def _shift_text(shift: Pair) -> str:
    """Write ``1 px up and left``; "" where there is no shift."""
    parts = [
        (abs(n), words[n > 0])
        for n, words in zip(shift, (("up", "down"), ("left", "right")), strict=True)
        if n
    ]
    if len({n for n, _ in parts}) == 1:
        return f"{parts[0][0]} px {' and '.join(word for _, word in parts)}"
    return ", ".join(f"{n} px {word}" for n, word in parts)


def code_lines(settled: ConvPlan, views: tuple[View, ...]) -> list[Line]:
    """Return the code that gives exactly this layer in each framework."""
    kernel = size_text(settled.kernel_shape)
    if settled.per_channel:
        layout = "on every channel by itself"
        if settled.filters > 1:
            kernel = f"{settled.filters}x{kernel}"
    else:
        layout = layout_of(settled)
    lines: list[Line] = [
        [],
        entry("code", "of exactly this layer: x is the input, NHWC (NCHW in PyTorch and ONNX),"),
        entry("", f"w the kernel {kernel}, {layout}, a NumPy array"),
    ]
    for view in views:
        lines.append([(view.framework, HEAD)])
        lines += [[("  " + line, "")] for line in view.code]
    return lines
