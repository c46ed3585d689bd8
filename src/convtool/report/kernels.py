"""Kernels as a table, as a heat map with its properties, and as JSON."""

import json
import sys
import textwrap
from collections.abc import Sequence
from math import floor, log10
from typing import TYPE_CHECKING

from convtool.kernels import Kernel, Problem
from convtool.kernels.definition import Definition
from convtool.kernels.presets import Entry
from convtool.report.lines import BAD, DIM, GOOD, HEAD, MARGIN, WARN, Line, emit, entry

if TYPE_CHECKING:
    from convtool.kernels.analysis import Analysis

WIDTH = 80

# Two hues that every kind of colour vision tells apart, with white between: blue for negative,
# orange for positive.
_NEGATIVE, _ZERO, _POSITIVE = (33, 102, 172), (247, 247, 247), (230, 97, 1)

# Without colour, a large map is drawn in glyphs: four steps on either side of zero.
_BELOW, _NOTHING, _ABOVE = "-=≡#", "·", "░▒▓█"
_BARS = "▁▂▃▄▅▆▇█"


# ---------------------------------------------------------------- list


def show_list(entries: Sequence[Entry], *, as_json: bool) -> None:
    """Print every preset: two lines at most for each, or one JSON object."""
    good = [(e, e.definition, e.definition.kernel()) for e in entries if e.definition]
    if as_json:
        for item, definition, kernel in good:
            _print_json(
                kernel_json(kernel) | {"aliases": list(definition.aliases), "own": item.own}
            )
    else:
        emit(_table(good))
    for item in entries:
        if item.definition is None:
            emit([_problem_line(item.path, item.problems[0])], sys.stderr)


def _table(rows: Sequence[tuple[Entry, Definition, Kernel]]) -> list[Line]:
    name = max([len(kernel.name) for *_, kernel in rows] + [4]) + 2
    heading = f"{'NAME':<{name}}{'SIZE':<7}{'SUM':<6}{'FILTERS':<13}DESCRIPTION"
    lines: list[Line] = [[(heading, HEAD)]]
    room = WIDTH - name - 26
    for item, definition, kernel in rows:
        filters = f"{kernel.filters}" + (f" {kernel.combine}" if kernel.combine else "")
        description = kernel.description
        if len(description) > room:
            description = description[: room - 1] + "…"
        lines.append(
            [
                (f"{kernel.name:<{name}}", GOOD),
                (f"{_size(kernel.shape):<7}{_sums_text(kernel):<6}{filters:<13}{description}", ""),
            ]
        )
        details = [f"{s.name}={s.value}" for s in kernel.parameters]
        if definition.aliases:
            details.append(f"(also {', '.join(definition.aliases)})")
        if item.own:
            details.append("(your own)")
        for line in textwrap.wrap("  ".join(details), WIDTH - 2, break_on_hyphens=False):
            lines.append([(f"  {line}", DIM)])
    return lines


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _sums_text(kernel: Kernel) -> str:
    low, high = min(kernel.sums), max(kernel.sums)
    return f"{low:.4g}" if high - low < 1e-9 else f"{low:.3g}..{high:.3g}"


# ---------------------------------------------------------------- JSON


def kernel_json(kernel: Kernel) -> dict[str, object]:
    """Return the keys that list and show share."""
    return {
        "name": kernel.name,
        "shape": list(kernel.shape),
        "filters": kernel.filters,
        "filter_names": list(kernel.filter_names),
        "combine": kernel.combine or "each",
        "sum": list(kernel.sums),
        "bias": kernel.bias and list(kernel.bias),
        "parameters": [s._asdict() for s in kernel.parameters],
        "description": kernel.description,
        "source": kernel.source,
        "meaning": kernel.meaning,
        "origin": kernel.origin,
    }


def _analysis_json(analysis: "Analysis") -> dict[str, object]:
    return {
        "sum": analysis.total,
        "gain": analysis.gain,
        "noise_gain": analysis.noise_gain,
        "response_range": [analysis.low, analysis.high],
        "min": analysis.least,
        "max": analysis.greatest,
        "symmetry": analysis.symmetry,
        "rank": analysis.rank,
        "separable": analysis.rank == 1,
        "column": list(analysis.column),
        "row": list(analysis.row),
        "frequency_response": {key: list(value) for key, value in analysis.response.items()},
    }


def _print_json(record: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


# ---------------------------------------------------------------- show


def show(kernel: Kernel, *, as_json: bool) -> None:
    """Print one kernel: what it is, each filter's taps as a heat map, and their properties."""
    from convtool.kernels.analysis import analyse

    weights = kernel.weights
    if weights.ndim == 4:
        # HWIO: what one filter does to one input channel is a 2-D filter.
        weights = weights.transpose(3, 2, 0, 1).reshape(-1, *weights.shape[:2])
    analyses = [analyse(taps) for taps in weights]
    if as_json:
        details = [
            _analysis_json(analysis) | {"taps": taps.tolist()}
            for analysis, taps in zip(analyses, weights, strict=True)
        ]
        _print_json(kernel_json(kernel) | {"weights": details})
        return
    lines = _head(kernel)
    for index, (taps, analysis) in enumerate(zip(weights.tolist(), analyses, strict=True)):
        lines.append([])
        if title := _title(kernel, index):
            lines.append([(title, HEAD)])
        lines += [*heat_map(taps), [], *_properties(analysis, kernel.shape)]
    emit(lines)


def _head(kernel: Kernel) -> list[Line]:
    lines: list[Line] = [
        [(kernel.name, f"{HEAD} {GOOD}"), (f"  {kernel.description}".rstrip(), "")],
        [],
        entry("shape", _shape_text(kernel)),
    ]
    if kernel.filters > 1:
        names = f": {', '.join(kernel.filter_names)}" if kernel.filter_names else ""
        lines += _paragraph("filters", f"{kernel.filters}{names}")
        how = str(kernel.combine or "each")
        lines.append(entry("combine", "each response is kept" if how == "each" else how))
    if kernel.bias:
        lines += _paragraph("bias", ", ".join(f"{b:.6g}" for b in kernel.bias))
    for number, setting in enumerate(kernel.parameters):
        value = f"{setting.name}={setting.value}"
        heading = "" if number else "parameters"
        for line in textwrap.wrap(setting.help, WIDTH - MARGIN - 18):
            lines.append(entry(heading, f"{value:<18}", (line, DIM)))
            heading = value = ""
    lines += _paragraph("meaning", kernel.meaning) if kernel.meaning else []
    lines += _paragraph("source", kernel.source) if kernel.source else []
    return [*lines, *_paragraph("origin", kernel.origin)]


def _shape_text(kernel: Kernel) -> str:
    if len(kernel.shape) == 4:
        return f"{_size(kernel.shape)} HWIO, across the channels"
    height, width = kernel.shape
    if height % 2 and width % 2:
        return f"{height}x{width}, on each channel by itself"
    anchor = f"row {(height - 1) // 2}, column {(width - 1) // 2}"
    return f"{height}x{width}, on each channel; anchor at {anchor} (padding same)"


def _paragraph(heading: str, text: str) -> list[Line]:
    wrapped = textwrap.wrap(text, WIDTH - MARGIN, break_on_hyphens=False) or [""]
    return [entry(heading if i == 0 else "", line) for i, line in enumerate(wrapped)]


def _title(kernel: Kernel, index: int) -> str:
    if len(kernel.shape) == 4:
        channels = kernel.shape[2]
        return f"filter {index // channels}, input channel {index % channels}"
    if kernel.filter_names:
        return f"filter {kernel.filter_names[index]}"
    return f"filter {index}" if kernel.filters > 1 else ""


def _properties(analysis: "Analysis", shape: Sequence[int]) -> list[Line]:
    low, high = f"{analysis.low:.4g}", f"{analysis.high:.4g}"
    lines = [
        entry("sum", f"{analysis.total:.6g}", (f"   taps {_span(analysis)}", DIM)),
        entry(
            "gain",
            f"{analysis.gain:.4g}",
            (f"   {low} to {high} for inputs in 0..1; noise x {analysis.noise_gain:.4g}", DIM),
        ),
        *_paragraph("symmetry", _symmetry_text(analysis, shape)),
        entry("rank", f"{analysis.rank}", (f"   {_rank_text(analysis, shape)}", DIM)),
    ]
    if analysis.rank == 1 and min(shape[:2]) > 1:
        for heading, factor in (("  column", analysis.column), ("  row", analysis.row)):
            lines.append(entry(heading, _factor_text(factor)))
    peak = max(max(values) for values in analysis.response.values())
    lines.append(entry("frequency", (f"response from 0 to Nyquist; a full bar is {peak:.4g}", DIM)))
    for direction, values in analysis.response.items():
        bars = "".join(_bar(value, peak) for value in values)
        ends = f"{_small(values[0], peak):>6} {{}} {_small(values[-1], peak)}"
        left, right = ends.split("{}")
        lines.append(entry(f"  {direction}", (left, ""), (bars, GOOD), (right, "")))
    lines.append(entry("", (f"{'':7}0{'Nyquist':>32}", DIM)))
    return lines


def _span(analysis: "Analysis") -> str:
    return f"{analysis.least:.4g} to {analysis.greatest:.4g}"


def _small(value: float, peak: float) -> str:
    return "0" if value < 1e-9 * peak else f"{value:.3g}"


def _bar(value: float, peak: float) -> str:
    if value <= 0.01 * peak:
        return " "
    return _BARS[min(len(_BARS) - 1, int(value / peak * len(_BARS)))]


def _symmetry_text(analysis: "Analysis", shape: Sequence[int]) -> str:
    words = [
        f"{turn} {parity}"
        for turn, parity in analysis.symmetry.items()
        if parity != "none" and not (turn == "transpose" and shape[0] != shape[1])
    ]
    return ", ".join(words) or "none"


def _rank_text(analysis: "Analysis", shape: Sequence[int]) -> str:
    height, width = shape[:2]
    if min(height, width) == 1:
        return "a single row or column"
    if analysis.rank == 1:
        return f"separable: {height} + {width} multiplications instead of {height * width}"
    return "not separable" if analysis.rank else "every tap is zero"


def _factor_text(factor: Sequence[float]) -> str:
    texts = [_short(value) for value in factor]
    if len(", ".join(texts)) > WIDTH - MARGIN - 2:
        texts = [*texts[:3], "…", *texts[-3:]]
    return f"[{', '.join(texts)}]"


def _short(value: float) -> str:
    """Write a tap in few characters: integers whole, others with three digits."""
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.3g}"


# ---------------------------------------------------------------- heat map


def heat_map(taps: Sequence[Sequence[float]]) -> list[Line]:
    """Draw taps as cells from blue (negative) over white to orange.

    The numbers stand in the cells where they fit into 80 columns. A larger filter is drawn in
    cells of two characters, each of them the strongest of the taps that it stands for.
    """
    peak = max(abs(tap) for row in taps for tap in row) or 1
    whole = all(tap == round(tap) for row in taps for tap in row)
    digits = 0 if whole else min(5, max(0, 2 - floor(log10(peak))))
    texts = [["0" if tap == 0 else f"{tap:.{digits}f}" for tap in row] for row in taps]
    width = max(len(text) for row in texts for text in row) + 2
    if width * len(taps[0]) <= WIDTH - 4 and len(taps) <= 25:
        return [
            [
                ("  ", ""),
                *(
                    (f"{text:>{width - 1}} ", _style(tap / peak))
                    for text, tap in zip(line, row, strict=True)
                ),
            ]
            for line, row in zip(texts, taps, strict=True)
        ]
    step = -(-max(len(taps[0]), len(taps)) // ((WIDTH - 4) // 2))
    lines: list[Line] = [
        [("  ", ""), *((2 * _glyph(t / peak), _style(t / peak, hide=True)) for t in row)]
        for row in _pooled(taps, step)
    ]
    each = f"each cell the strongest of {step}x{step} taps; " if step > 1 else ""
    negative = any(tap < -1e-9 * peak for row in taps for tap in row)
    # Steps of the square root, as in the cells.
    steps = [s / 4 for s in range(-4 if negative else 0, 5)]
    swatches: Line = [(2 * _glyph(s * abs(s)), _style(s * abs(s), hide=True)) for s in steps]
    least = f"{-peak:.3g} " if negative else "0 "
    legend: Line = [(f"  {each}{least}", DIM), *swatches, (f" {peak:.3g}", DIM)]
    return [*lines, [], legend]


def _pooled(taps: Sequence[Sequence[float]], step: int) -> list[list[float]]:
    """Keep the strongest tap of every block, so that thin lines survive."""
    return [
        [
            max((tap for row in taps[i : i + step] for tap in row[j : j + step]), key=abs)
            for j in range(0, len(taps[0]), step)
        ]
        for i in range(0, len(taps), step)
    ]


def _glyph(share: float) -> str:
    # The square root brings out what is small, as in the colours.
    step = round(4 * abs(share) ** 0.5)
    if step == 0:
        return _NOTHING
    return (_ABOVE if share > 0 else _BELOW)[step - 1]


def _style(share: float, *, hide: bool = False) -> str:
    end = _POSITIVE if share > 0 else _NEGATIVE
    mix = abs(share) ** 0.5
    red, green, blue = (round(z + (e - z) * mix) for z, e in zip(_ZERO, end, strict=True))
    back = f"#{red:02x}{green:02x}{blue:02x}"
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 120
    return f"{back if hide else '#000000' if light else '#ffffff'} on {back}"


# ---------------------------------------------------------------- check


def show_checks(checks: Sequence[tuple[str, list[Problem], Kernel | None]]) -> None:
    """Print one line for each good file, or one for each problem."""
    lines: list[Line] = []
    for path, problems, kernel in checks:
        lines += [_problem_line(path, problem) for problem in problems]
        if kernel is not None:
            named = f" ({', '.join(kernel.filter_names)})" if kernel.filter_names else ""
            count = f"{kernel.filters} filter{'s' if kernel.filters > 1 else ''}{named}"
            what = f"{kernel.name}, {_size(kernel.shape)}, {count}, sum {_sums_text(kernel)}"
            lines.append([("ok ", GOOD), (f"{path}: {what}", "")])
    emit(lines)


def _problem_line(path: object, problem: Problem) -> Line:
    place = f"{path}:{problem.line}" if problem.line else f"{path}"
    line: Line = [(f"{place}: ", BAD), (problem.message, "")]
    if problem.hint:
        line.append((f" ({problem.hint})", WARN))
    return line
