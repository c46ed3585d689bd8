"""What becomes of pictures in a stack: its layers one below the other, and as JSON."""

from collections.abc import Sequence

from convtool.batch import Job
from convtool.batch.stacked import Stacked
from convtool.engine import Choice
from convtool.geometry import size_text
from convtool.report.lines import DIM, GOOD, HEAD, Line, entry
from convtool.report.stacks import layer_json
from convtool.stack.chain import Settled

# Characters that a line has where its words can be shortened to it.
WIDTH = 96
SHORTEST = 24


def plan_lines(stacked: Stacked, job: Job) -> list[Line]:
    """Say what is done to images of one shape, layer by layer up to the last one shown."""
    return [_heading(stacked, job), *_layer_lines(stacked, job)]


def _heading(stacked: Stacked, job: Job) -> Line:
    shapes = f"{size_text(job.header.shape)} → {size_text(job.chain[-1].output_shape)}"
    shown = f"shown: layer{'s' * (len(stacked.shown) > 1)} {_numbers(stacked.shown)}"
    alpha = ""
    if job.header.alpha:
        alpha = f", alpha {'left out' if job.alpha else 'an input channel'}"
    return entry("stack", (shapes, GOOD), f"   {stacked.stack.name}, {shown}{alpha}")


def _numbers(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if len(numbers) > 3 and len(numbers) == last - first + 1:
        return f"{first} to {last}"
    return ", ".join(map(str, numbers))


def _layer_lines(stacked: Stacked, job: Job) -> list[Line]:
    """Align number, name, words, output and who computes; the words give way to the width."""
    names = _aligned([layer.layer.name for layer in job.chain])
    sizes = _aligned([size_text(layer.output_shape[1:]) for layer in job.chain], right=True)
    ends = [
        "".join(f"  {text}" for text in (_way(choice), _dropped(layer)) if text)
        for layer, choice in zip(job.chain, job.choices, strict=True)
    ]
    # A number, and two spaces behind the name and the words.
    others = len("*12 ") + len(names[0]) + 2 + 2 + len(sizes[0]) + max(map(len, ends))
    room = max(WIDTH - others, SHORTEST)
    words = _aligned([_shortened(layer.layer.text, room) for layer in job.chain])
    lines: list[Line] = []
    for layer, name, text, size, end in zip(job.chain, names, words, sizes, ends, strict=True):
        mark = "*" if layer.number in stacked.shown and len(job.chain) > 1 else " "
        lines.append(
            [
                (f"{mark}{layer.number:>2} ", HEAD),
                (f"{name}  " if name else "", ""),
                (f"{text}  ", ""),
                (size, GOOD),
                (end, DIM),
            ]
        )
    return lines


def _aligned(texts: Sequence[str], *, right: bool = False) -> list[str]:
    width = max(map(len, texts))
    return [text.rjust(width) if right else text.ljust(width) for text in texts]


def _shortened(text: str, width: int) -> str:
    """Leave out the middle of what is too long: a file's folder, and not a layer's options."""
    if len(text) <= width:
        return text
    before = (width - 1) // 3
    return f"{text[:before]}…{text[len(text) - (width - 1 - before) :]}"


def _way(choice: Choice | None) -> str:
    return f"{choice.engine}, {choice.method}" if choice else ""


def _dropped(layer: Settled) -> str:
    """Say how much of its input a layer leaves unread, where it does."""
    if layer.plan is None or not any(layer.plan.dropped):
        return ""
    told = [note.message for note in layer.notes if note.code == "dropped"]
    return f"drops {size_text(layer.plan.dropped)}" if told else ""


def option_lines(job: Job) -> list[Line]:
    """Say what every way to compute each layer would cost, by estimate; the one taken first."""
    from convtool.report.events import seconds_text

    lines: list[Line] = []
    for layer, choice in zip(job.chain, job.choices, strict=True):
        if choice is None:
            continue
        taken = (choice.engine, choice.method)
        every = sorted(choice.options, key=lambda option: (option.engine, option.method) != taken)
        texts = [f"{o.engine}, {o.method} {seconds_text(o.seconds)}" for o in every]
        heading = "" if lines else "estimates"
        lines.append(entry(heading, f"{layer.number:>2}  ", (texts[0], GOOD), *_rest(texts[1:])))
    return lines


def _rest(texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"; {text}", DIM) for text in texts]


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
    if verbose:
        record["estimates"] = [option._asdict() for option in choice.options] if choice else []
    return record
