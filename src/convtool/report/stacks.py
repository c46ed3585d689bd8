"""A stack as a table of its layers with sums below, and as JSON."""

import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple

from convtool.fields import Field
from convtool.geometry import ConvPlan, Note, Pair, size_text
from convtool.report.lines import DIM, GOOD, HEAD, WARN, Line, Span, emit, entry
from convtool.report.plans import geometry_json, notes_json
from convtool.stack.chain import FLOAT32, Settled
from convtool.stack.layers import LayerKind, Pooling
from convtool.stack.sight import Sight, last_map

LEGEND = (
    "pads: pixels at top, bottom, left, right. dropped: rows x columns at the end,",
    "pads included, that no window comes to. memory: the output as float32. field:",
    "pixels of the input that one output sees; jump: how far the next output's is;",
    "start: the first one's centre, where 0 is the first pixel. padded: outputs that",
    "would differ if the image went on beyond its edge.",
)


# Characters of a name that the table shows.
LONGEST_NAME = 20


class Column(NamedTuple):
    """A heading and a text for every row; numbers stand at the right."""

    heading: str
    cells: list[str]
    right: bool = True

    @property
    def width(self) -> int:
        """Characters that it needs; looks at every cell."""
        return max(map(len, [self.heading, *self.cells]))


def show(
    layers: Sequence[Settled],
    *,
    name: str = "",
    at: tuple[Pair, Settled, Sight, Sight] | None = None,
    as_json: bool = False,
) -> None:
    """Print a stack.

    Parameters
    ----------
    layers : sequence of Settled
    name : str
        Of the stack.
    at : tuple, optional
        An output, its layer, and what it sees along both axes.
    as_json : bool
    """
    if as_json:
        import json

        record = stack_json(layers, name)
        if at:
            record["sees"] = _sees_json(*at)
        json.dump(record, sys.stdout)
        sys.stdout.write("\n")
        return
    width = shutil.get_terminal_size().columns
    legend: list[Line] = [[(line, DIM)] for line in LEGEND]
    seen = _sees(*at) if at else []
    emit([*table(layers, width), [], *legend, [], *sums(layers, name), *seen, *_notes(layers)])


# The table


def table(layers: Sequence[Settled], width: int = 80) -> list[Line]:
    """Return a row for each layer, in two blocks where one is too wide.

    Parameters
    ----------
    layers : sequence of Settled
    width : int
        Characters that a line may have.
    """
    which, sizes, costs = _which(layers), _sizes(layers), _costs(layers)
    if _width([*which, *sizes, *costs]) <= width:
        return _block([*which, *sizes, *costs])
    first, second = [*which, *sizes], [*which, *costs]
    # A long name has its place in the first block, and is known by its number in the second.
    return [*_block(first), [], *_block(second if _width(second) <= width else second[:1] + costs)]


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width + 2 for column in columns) - 2


def _block(columns: Sequence[Column]) -> list[Line]:
    widths = [column.width for column in columns]
    lines: list[Line] = [_row([(c.heading, HEAD) for c in columns], columns, widths)]
    for cells in zip(*(column.cells for column in columns), strict=True):
        lines.append(_row([(cell, "") for cell in cells], columns, widths))
    return lines


def _row(cells: Sequence[Span], columns: Sequence[Column], widths: Sequence[int]) -> Line:
    line: Line = []
    for (text, style), column, width in zip(cells, columns, widths, strict=True):
        cell = text.rjust(width) if column.right else text.ljust(width)
        output = column.heading == "output" and not style
        line.append(("  " * bool(line) + cell, GOOD if output else style))
    return line


def _column(
    heading: str,
    layers: Sequence[Settled],
    cell: Callable[[Settled], str],
    *,
    image: str = "",
    right: bool = True,
) -> Column:
    """Make a column with a cell for the image and one for each layer."""
    return Column(heading, [image, *map(cell, layers)], right)


def _which(layers: Sequence[Settled]) -> list[Column]:
    columns = [
        _column("", layers, lambda layer: str(layer.number)),
        _column("layer", layers, _kind, image="input", right=False),
        _column("name", layers, _name, right=False),
    ]
    return columns if any(columns[-1].cells) else columns[:-1]


def _name(layer: Settled) -> str:
    """Return the name given to a layer, or its kernel's, as far as there is room for it."""
    name = layer.layer.name or layer.layer.kernel
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _kind(layer: Settled) -> str:
    if layer.layer.kind is not LayerKind.POOL:
        return layer.layer.kind
    return "max pool" if layer.layer.pooling is Pooling.MAX else "average pool"


def _sizes(layers: Sequence[Settled]) -> list[Column]:
    def of_plan(heading: str, cell: Callable[[ConvPlan], str]) -> Column:
        return _column(heading, layers, lambda layer: cell(layer.plan) if layer.plan else "")

    image = _image(layers[0].input_shape)
    columns = [
        _column("kernel", layers, _kernel, right=False),
        of_plan("stride", lambda plan: _pair(plan.spec.stride)),
        of_plan("pads", _pads),
        of_plan("dropped", _dropped),
        _column("output", layers, lambda layer: _image(layer.output_shape), image=image),
    ]
    return [column for column in columns if any(column.cells)]


def _kernel(layer: Settled) -> str:
    """Return what is of interest of a kernel beside its channels: size, dilation, groups."""
    if layer.layer.kind is LayerKind.UPSAMPLE and layer.layer.size:
        return size_text(layer.layer.size)
    if layer.plan is None:
        return ""
    words = [size_text(layer.kernel_shape[:2])]
    if layer.plan.spec.dilation != (1, 1):
        words.append(f"dilation {_pair(layer.plan.spec.dilation)}")
    if layer.layer.kind is not LayerKind.DEPTHWISE and layer.plan.spec.groups > 1:
        words.append(f"{layer.plan.spec.groups} groups")
    return ", ".join(words)


def _pads(plan: ConvPlan) -> str:
    return str(plan.pads[0]) if len(set(plan.pads)) == 1 else ",".join(map(str, plan.pads))


def _dropped(plan: ConvPlan) -> str:
    return size_text(plan.dropped) if any(plan.dropped) else ""


def _image(shape: Sequence[int]) -> str:
    return size_text(shape[1:] if shape[0] == 1 else shape)


def _pair(pair: tuple[float, float], between: str = "x") -> str:
    first, second = (f"{number:g}" for number in pair)
    return first if first == second else f"{first}{between}{second}"


def _costs(layers: Sequence[Settled]) -> list[Column]:
    placed = _placed(layers)

    def unknown(layer: Settled) -> str:
        return "?" if layer.number <= placed else ""

    def of_field(heading: str, cell: Callable[[Field], str], image: str) -> Column:
        def text(layer: Settled) -> str:
            return cell(layer.field) if layer.field else unknown(layer)

        return _column(heading, layers, text, image=image)

    image = _memory(layers[0].input_shape)
    return [
        _column("parameters", layers, _parameters),
        _column("macs", layers, lambda layer: short(layer.macs) if layer.macs else ""),
        _column("memory", layers, lambda layer: _memory(layer.output_shape), image=image),
        of_field("field", _field, "1"),
        of_field("jump", lambda field: _pair(field.jump), "1"),
        of_field("start", lambda field: _pair(field.start, ","), "0"),
        _column("padded", layers, lambda layer: _padded(layer) or unknown(layer)),
    ]


def _placed(layers: Sequence[Settled]) -> int:
    """Count the layers up to the first whose outputs have no place in the image."""
    return sum(1 for _ in takewhile(lambda layer: layer.steps, layers))


def _parameters(layer: Settled) -> str:
    return f"{layer.parameters:,}" if layer.parameters else ""


def _memory(shape: Sequence[int]) -> str:
    return short(_bytes(shape), "B")


def _bytes(shape: Sequence[int]) -> int:
    count = FLOAT32
    for size in shape:
        count *= size
    return count


def _field(field: Field) -> str:
    """Write the size of a field; ``3-5`` where it varies."""
    spans = [
        f"{most}" if least == most else f"{least}-{most}"
        for least, most in zip(field.least, field.size, strict=True)
    ]
    return spans[0] if spans[0] == spans[1] else "x".join(spans)


def _padded(layer: Settled) -> str:
    if layer.padded_share is None:
        return ""
    if 0 < layer.padded_share < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= layer.padded_share < 1 else f"{layer.padded_share:.0%}"


def short(number: int, unit: str = "") -> str:
    """Write a number with three digits and a prefix of the SI.

    Examples
    --------
    >>> short(1_849_688_064), short(999), short(12_845_056, "B"), short(999_999)
    ('1.85 G', '999', '12.8 MB', '1.00 M')
    """
    if number < 1000:
        return f"{number} {unit}".rstrip()
    value, prefixes = float(number), iter("kMGTPEZY")
    prefix = ""
    while float(f"{value:.3g}") >= 1000 and (more := next(prefixes, "")):
        value, prefix = value / 1000, more
    digits = 2 if float(f"{value:.3g}") < 10 else 1 if float(f"{value:.3g}") < 100 else 0
    return f"{value:.{digits}f} {prefix}{unit}"


# What stands below it


def sums(layers: Sequence[Settled], name: str = "") -> list[Line]:
    """Return the sums over all layers, and the field of the last in words."""
    first, last = layers[0], layers[-1]
    weights = sum(layer.parameters for layer in layers)
    biases = sum(layer.biases for layer in layers)
    macs = sum(layer.macs for layer in layers)
    title = f"{name}, " if name else ""
    return [
        entry(
            "stack",
            title + f"{len(layers)} layer{'s' * (len(layers) > 1)}: ",
            (size_text(first.input_shape), GOOD),
            " → ",
            (size_text(last.output_shape), GOOD),
        ),
        entry(
            "parameters",
            f"{weights:,}",
            (f"   {weights + biases:,} with {_biases(biases)}", DIM),
        ),
        entry("macs", f"{macs:,} multiply-adds" + _images(first.input_shape[0])),
        *_memory_lines(layers, weights + biases),
        *_field_lines(layers),
        *_unknown_lines(layers),
    ]


def _biases(count: int) -> str:
    return "1 bias, of the one filter" if count == 1 else f"{count:,} biases, one for each filter"


def _images(n: int) -> str:
    return f" for the {n} images" if n > 1 else ""


def _memory_lines(layers: Sequence[Settled], parameters: int) -> list[Line]:
    every = sum(layer.activation_bytes for layer in layers)
    pairs = [_bytes(layer.input_shape) + layer.activation_bytes for layer in layers]
    most = max(pairs)
    return [
        entry(
            "memory",
            f"{short(every, 'B')} for all outputs, {short(parameters * FLOAT32, 'B')} for the "
            "parameters, in float32",
        ),
        entry(
            "",
            f"{short(most, 'B')} for input and output of one layer at a time, at most: layer "
            f"{layers[pairs.index(most)].number}",
        ),
    ]


def _field_lines(layers: Sequence[Settled]) -> list[Line]:
    """Say in sentences what an output of the last layer sees."""
    last = last_map(layers)
    if last is None or last.field is None:
        return []
    field = last.field
    size = size_text(field.size)
    if field.least != field.size:
        size = f"{size_text(field.least)} to {size}"
    whose = "" if last is layers[-1] else f" of layer {last.number}"
    start = ", ".join(f"{number:g}" for number in field.start)
    lines = [
        entry(
            "receptive",
            f"field {size}, jump {numbers_text(field.jump)}, first centre at {start}{whose}",
        )
    ]
    if field.least != field.size:
        rows, cols = field.period
        lines.append(entry("", f"it varies from output to output, and repeats every {rows}x{cols}"))
    if not all(field.least):
        lines.append(entry("", "at the least nothing: some outputs have no taps"))
    image = layers[0].input_shape[1:3]
    if any(seen > there for seen, there in zip(field.size, image, strict=True)):
        told = f"that is more than the image of {size_text(image)}: it is counted without edges"
        lines.append(entry("", told))
    if last.padded_share:
        share = "all" if last.padded_share == 1 else _padded(last)
        lines.append(
            entry("padded", f"{share} of the outputs{whose} would differ if the image went on")
        )
    return lines + _placeless_lines(layers)


def _placeless_lines(layers: Sequence[Settled]) -> list[Line]:
    """Say why the figures are those of an earlier layer, where they are."""
    placed = _placed(layers)
    if not 0 < placed < len(layers):
        return []
    first = layers[placed]
    told = f"behind layer {first.number} ({first.layer.kind}) nothing has a place in the image"
    return [entry("", told)]


def _unknown_lines(layers: Sequence[Settled]) -> list[Line]:
    """Say what a question mark in the table stands for, where there is one."""
    placed = layers[: _placed(layers)]
    if not placed or (placed[-1].field and placed[-1].padded_share is not None):
        return []
    return [entry("?", "unknown: the layers are too large, or too many, to follow every output")]


def numbers_text(pair: tuple[float, float]) -> str:
    """Write a pair that may have halves."""
    return "x".join(f"{number:g}" for number in pair)


def _notes(layers: Sequence[Settled]) -> list[Line]:
    """Return each note once, with the numbers of the layers that it is about."""
    about: dict[Note, list[int]] = {}
    for layer in layers:
        for note in layer.notes:
            about.setdefault(note, []).append(layer.number)
    lines: list[Line] = []
    for note, numbers in about.items():
        which = f"layer{'s' * (len(numbers) > 1)} {_numbers(numbers)}: "
        line: Line = [("note: ", WARN), (which + note.message, "")]
        if note.hint:
            line.append((f" ({note.hint})", GOOD))
        lines.append(line)
    return lines


def _numbers(numbers: Sequence[int]) -> str:
    """Write numbers, three and more in a row as one: ``1, 2, 4 to 16``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


_SIDES = (("row", "above"), ("row", "below"), ("column", "left"), ("column", "right"))


def _sees(at: Pair, layer: Settled, rows: Sight, cols: Sight) -> list[Line]:
    place = f"output {at[0]},{at[1]} of layer {layer.number}"
    if not (rows.pixels and cols.pixels):
        return [entry("sees", f"{place} sees no pixel of the image")]
    lines = [
        entry("sees", f"{place} sees {_span(rows, 'row')} and {_span(cols, 'column')} of the image")
    ]
    sides = zip((*rows.beyond, *cols.beyond), _SIDES, strict=True)
    beyond = [f"{n} {line if n == 1 else f'{line}s'} {side}" for n, (line, side) in sides if n > 0]
    if beyond:
        lines.append(entry("", f"beyond the image: {', '.join(beyond)}"))
    return lines


def _span(along: Sight, line: str) -> str:
    if along.first == along.last:
        return f"{line} {along.first}"
    span = f"{line}s {along.first} to {along.last}"
    everything = along.last - along.first + 1
    return span if along.pixels == everything else f"{span} ({along.pixels} of these {everything})"


# JSON


def stack_json(layers: Sequence[Settled], name: str = "") -> dict[str, object]:
    """Return the object that `convtool shape --json` prints for a stack."""
    return {
        "name": name,
        "input_shape": list(layers[0].input_shape),
        "layers": [layer_json(layer) for layer in layers],
        "output_shape": list(layers[-1].output_shape),
        "parameters": sum(layer.parameters for layer in layers),
        "biases": sum(layer.biases for layer in layers),
        "macs": sum(layer.macs for layer in layers),
        "activation_bytes": sum(layer.activation_bytes for layer in layers),
    }


def layer_json(layer: Settled) -> dict[str, object]:
    """Return one layer; every layer has every key, null where it has no such thing."""
    absent = dict.fromkeys(("stride", "dilation", "groups", "padding", "border", "dropped"))
    field = layer.field
    return {
        "op": layer.op,
        "name": layer.layer.name,
        "written": layer.layer.text,
        "input_shape": list(layer.input_shape),
        "output_shape": list(layer.output_shape),
        "kernel_shape": list(layer.kernel_shape) or None,
        **(geometry_json(layer.plan) if layer.plan else absent),
        "activation": layer.layer.activation,
        "parameters": layer.parameters,
        "biases": layer.biases,
        "macs": layer.macs,
        "activation_bytes": layer.activation_bytes,
        "receptive_field": field
        and {
            "size": list(field.size),
            "least": list(field.least),
            "jump": list(field.jump),
            "start": list(field.start),
            "period": list(field.period),
        },
        "padded_share": layer.padded_share,
        "notes": notes_json(layer.notes),
    }


def _sees_json(at: Pair, layer: Settled, rows: Sight, cols: Sight) -> dict[str, object]:
    def along(sight: Sight) -> dict[str, object]:
        return {
            "field": sight.field and list(sight.field),
            "image": [sight.first, sight.last] if sight.pixels else None,
            "pixels": sight.pixels,
        }

    return {
        "output": list(at),
        "layer": layer.number,
        "rows": along(rows),
        "cols": along(cols),
    }
