"""What becomes of pictures in a stack: its layers one below the other, and as JSON."""

import shutil
from collections.abc import Sequence

from convtool.batch import Job
from convtool.batch.stacked import Stacked
from convtool.engine import Choice
from convtool.geometry import size_text
from convtool.report.lines import DIM, GOOD, HEAD, MARGIN, Line, entry
from convtool.report.stacks import layer_json
from convtool.stack.chain import Settled
from convtool.terms import EngineName

# Characters of a name that the lines of layers show.
LONGEST_NAME = 20

# Characters before a name: what is shown has a star, and numbers have two digits.
NUMBER = len("*12 ")


def plan_lines(stacked: Stacked, job: Job) -> list[Line]:
    """Say what is done to images of one shape, layer by layer up to the last one shown."""
    width = shutil.get_terminal_size().columns
    return [_heading(stacked, job, width), *_layer_lines(stacked, job, width)]


def _heading(stacked: Stacked, job: Job, width: int) -> Line:
    shapes = f"{size_text(job.header.shape)} → {size_text(job.chain[-1].output_shape)}"
    shown = f"shown: layer{'s' * (len(stacked.shown) > 1)} {_numbers(stacked.shown)}"
    alpha = ""
    if job.header.alpha:
        alpha = f", alpha {'left out' if job.alpha else 'an input channel'}"
    room = width - MARGIN - len(shapes) - len("   ")
    return entry(
        "stack", (shapes, GOOD), "   ", _shortened(f"{stacked.stack.name}, {shown}{alpha}", room)
    )


def _numbers(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if len(numbers) > 3 and len(numbers) == last - first + 1:
        return f"{first} to {last}"
    return ", ".join(map(str, numbers))


def _layer_lines(stacked: Stacked, job: Job, width: int) -> list[Line]:
    """Align number, name, words, output and who computes.

    Words that are too long for that go on in lines below, and the rest stands behind the last.
    """
    names = _aligned([_shortened(layer.layer.name, LONGEST_NAME) for layer in job.chain])
    sizes = _aligned([size_text(layer.output_shape[1:]) for layer in job.chain], right=True)
    ends = [
        "".join(f"  {text}" for text in (_way(choice), _dropped(layer)) if text)
        for layer, choice in zip(job.chain, job.choices, strict=True)
    ]
    # Two spaces stand behind the name and behind the words.
    indent = NUMBER + len(names[0]) + 2 * bool(names[0])
    room = width - indent - 2 - len(sizes[0]) - max(map(len, ends))
    words = [_wrapped(layer.layer.text, room, width - indent) for layer in job.chain]
    column = max(len(texts[-1]) for texts in words)
    lines: list[Line] = []
    for layer, name, texts, size, end in zip(job.chain, names, words, sizes, ends, strict=True):
        mark = "*" if layer.number in stacked.shown and len(job.chain) > 1 else " "
        line: Line = [(f"{mark}{layer.number:>2} ", HEAD), (f"{name}  " if name else "", "")]
        for text in texts[:-1]:
            lines.append([*line, (text, "")])
            line = [(" " * indent, "")]
        lines.append([*line, (f"{texts[-1]:<{column}}  ", ""), (size, GOOD), (end, DIM)])
    return lines


def _wrapped(text: str, room: int, width: int) -> list[str]:
    """Return a text in lines of a width, of which the last one leaves room for what follows it."""
    if len(text) <= room:
        return [text]
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {_shortened(word, width)}".lstrip()
    return lines if len(lines[-1]) <= room else [*lines, ""]


def _aligned(texts: Sequence[str], *, right: bool = False) -> list[str]:
    width = max(map(len, texts))
    return [text.rjust(width) if right else text.ljust(width) for text in texts]


def _shortened(text: str, width: int) -> str:
    """Leave out the middle of what is too long: a file's folder, and not a layer's options."""
    if len(text) <= width:
        return text
    before = max(width - 1, 2) // 3
    return f"{text[:before]}…{text[len(text) - max(width - 1 - before, 1) :]}"


def _way(choice: Choice | None) -> str:
    from convtool.report.events import who_text

    return who_text(choice) if choice else ""


def _dropped(layer: Settled) -> str:
    """Say how much of its input a layer leaves unread, where it does."""
    if layer.plan is None or not any(layer.plan.dropped):
        return ""
    told = [note.message for note in layer.notes if note.code == "dropped"]
    return f"drops {size_text(layer.plan.dropped)}" if told else ""


def option_lines(job: Job) -> list[Line]:
    """Say what every way to compute each layer would cost, by estimate; the one taken first."""
    from convtool.report.events import estimate_text

    lines: list[Line] = []
    room = shutil.get_terminal_size().columns - MARGIN - NUMBER
    for layer, choice in zip(job.chain, job.choices, strict=True):
        if choice is None:
            continue
        taken = (choice.engine, choice.method)
        every = sorted(choice.options, key=lambda option: (option.engine, option.method) != taken)
        texts = [f"{o.engine}, {o.method} {estimate_text(o)}" for o in every]
        first, *rest = _packed(texts, room)
        others = first.removeprefix(texts[0])
        heading = "" if lines else "estimates"
        lines.append(entry(heading, f"{layer.number:>2}  ", (texts[0], GOOD), (others, DIM)))
        lines += [entry("", " " * NUMBER, (row, DIM)) for row in rest]
    return lines


def _packed(texts: Sequence[str], width: int) -> list[str]:
    """Join texts with semicolons, in as many lines of a width as they need."""
    rows = [texts[0]]
    for text in texts[1:]:
        rows[-1] += ";"
        if len(rows[-1]) + len(f" {text};") > width:
            rows.append(text)
        else:
            rows[-1] += f" {text}"
    return rows


def job_json(stacked: Stacked, job: Job, *, verbose: bool) -> dict[str, object]:
    """Return what `--json` prints of a stack on one input, beside its names."""
    return {
        "input_shape": list(job.header.shape),
        "output_shape": list(job.output_shape),
        "layers": [
            layer_json(layer) | _choice_json(choice, verbose=verbose)
            for layer, choice in zip(job.chain, job.choices, strict=True)
        ],
        "shown": list(stacked.shown),
        "scale": stacked.scale,
        "alpha": job.alpha,
    }


def _choice_json(choice: Choice | None, *, verbose: bool) -> dict[str, object]:
    record: dict[str, object] = {
        "engine": choice and choice.engine,
        "method": choice and choice.method,
    }
    if choice and choice.engine is EngineName.CUDA:
        record["device"] = choice.device
    if verbose:
        from convtool.report.events import option_json

        record["estimates"] = [option_json(o) for o in choice.options] if choice else []
    return record
