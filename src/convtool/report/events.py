"""The course of a batch: what was planned, what each image became, what failed."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from threading import Lock
from time import perf_counter
from typing import TextIO

from convtool.batch import (
    Crew,
    Done,
    Event,
    Failed,
    Job,
    LeftOut,
    Planned,
    Request,
    Skipped,
    Target,
    Verified,
)
from convtool.engine import offload
from convtool.engine.planner import START, Choice, Option
from convtool.geometry import Note, size_text
from convtool.report.lines import BAD, DIM, GOOD, WARN, Line, emit, entry
from convtool.report.plans import (
    geometry_json,
    note_lines,
    notes_json,
    operator_entry,
    reach_lines,
    transposed_json,
)
from convtool.terms import Combine, EngineName, RangeMode

ARROW = " → "

# Lines above a progress bar come in lots, so many seconds apart at least.
REDRAW = 0.1

# The exit status after Ctrl-C.
INTERRUPTED = 130

# Responses that lie within so much of the largest one differ by no more than rounding.
TOLERANCE = 1e-4


class Report:
    """Prints events as they come.

    The plan is printed when it differs from the one before: once for a thousand photographs of
    one size. A note is printed the first time it applies.

    Parameters
    ----------
    request : Request
    inputs : int
        How many inputs there are.
    quiet : bool
        Print errors only.
    verbose : bool
        Say what the other engines and methods would have cost.
    as_json : bool
        Print one object for each input.
    to_stderr : bool
        Standard output holds an image.
    dry_run : bool
        Nothing is written.
    """

    def __init__(
        self,
        request: Request,
        inputs: int,
        *,
        quiet: bool,
        verbose: bool = False,
        as_json: bool,
        to_stderr: bool,
        dry_run: bool,
    ) -> None:
        self.request = request
        self.inputs = inputs
        self.quiet = quiet
        self.verbose = verbose
        self.as_json = as_json
        self.stream = sys.stderr if to_stderr else sys.stdout
        self.dry_run = dry_run
        self._shown: list[Line] = []
        self._told: set[str] = set()

    def follow(self, happening: Crew[Event]) -> int:
        """Print every event as it happens, then the sum.

        Returns
        -------
        int
            The exit status: 0, or 1 where an input failed, or 130 where Ctrl-C ended it.
        """
        started = perf_counter()
        counts: Counter[str] = Counter()
        hidden = self.quiet or self.dry_run
        try:
            with Progress(self.inputs, hidden=hidden) as progress, listening(hidden, progress):
                for event in happening:
                    counts[type(event).__name__] += 1
                    self._print(event, progress)
                    progress.advance()
        finally:  # a batch that breaks off has its sum, too
            self._sum_up(counts, perf_counter() - started, happening)
        if happening.interrupted:
            return INTERRUPTED
        return 1 if counts["Failed"] else 0

    def _sum_up(self, counts: Counter[str], seconds: float, happening: Crew[Event]) -> None:
        if happening.interrupted:
            # Also where nothing else is said: what is done and what is not must be known.
            stream = sys.stderr if self.quiet or self.as_json else self.stream
            emit([self._sum(counts, seconds, happening)], stream)
        elif self.inputs > 1 and not self.quiet and not self.as_json:
            emit([self._sum(counts, seconds, happening)], self.stream)

    def _print(self, event: Event, progress: "Progress") -> None:
        if self.as_json:
            import json

            record = event_json(self.request, event, verbose=self.verbose)
            progress.print([[(json.dumps(record, allow_nan=False), "")]], self.stream)
        if isinstance(event, Failed):
            progress.print([failure_line(event)], sys.stderr)
        elif not self.quiet and not self.as_json:
            progress.print(self._lines(event), self.stream)

    def _lines(self, event: Done | Skipped | Planned | LeftOut) -> list[Line]:
        if isinstance(event, LeftOut):
            return [[(event.source.name, ""), (" left out: an earlier output", DIM)]]
        if isinstance(event, Skipped):
            return [[(event.source.name, ""), (" skipped: its output exists", DIM)]]
        job = event.job
        notes = job.notes if isinstance(event, Planned) else event.notes
        lines = plan_lines(self.request, job)
        if self.verbose:
            lines += option_lines(self.request, job)
        if lines == self._shown:
            lines = []
        else:
            self._shown = lines.copy()
        lines.append(image_line(event))
        if isinstance(event, Done) and event.verified:
            lines.append(verified_line(event.verified))
        return lines + note_lines(self._new(notes))

    def _new(self, notes: tuple[Note, ...]) -> tuple[Note, ...]:
        fresh = tuple(note for note in notes if _kind(note) not in self._told)
        self._told.update(map(_kind, fresh))
        return fresh

    def _sum(self, counts: Counter[str], seconds: float, happening: Crew[Event]) -> Line:
        words = [
            f"{counts[kind]} {word}"
            for kind, word in (
                ("Done", "done"),
                ("Planned", "planned"),
                ("Skipped", "skipped"),
                ("LeftOut", "left out"),
                ("Failed", "failed"),
            )
            if counts[kind]
        ]
        left = self.inputs - sum(counts.values())
        words += [f"{happening.broken_off} broken off"] * bool(happening.broken_off)
        left -= happening.broken_off
        words += [f"{left} not begun"] * bool(left)
        how = "interrupted: " if happening.interrupted else ""
        rate = ""
        if counts["Done"] > 1:
            rate = f" ({counts['Done'] / seconds:.3g} images/s, {happening.size} at a time)"
        return [(f"{how}{', '.join(words)} in {seconds_text(seconds)}{rate}", DIM)]


def _kind(note: Note) -> str:
    """Say what two notes share of which one is enough: their code, where numbers may differ."""
    return note.message if note.code in ("converted", "not-carried", "light") else note.code


class Progress:
    """A progress bar on a terminal's standard error, for several images; nothing elsewhere."""

    def __init__(self, total: int, *, hidden: bool, of: str = "images") -> None:
        self._bar, self._of = None, of
        self._waiting, self._shown, self._lock = list[Line](), 0.0, Lock()
        self._done, self._started = 0, perf_counter()
        if total > 1 and not hidden and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
            )
            console = Console(stderr=True, highlight=False)
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task("", total=total, rate="")

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._show()
        if self._bar:
            self._bar.stop()

    def print(self, lines: list[Line], stream: TextIO) -> None:
        """Print lines: above the bar, where both are on the screen, and then not one by one.

        To draw the bar anew takes a few milliseconds, which a hundred images a second do not have.
        """
        if not self._bar or not stream.isatty():
            emit(lines, stream)
            return
        with self._lock:  # what the engines say comes from threads
            self._waiting += lines
        if perf_counter() - self._shown > REDRAW:
            self._show()

    def _show(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, []
        if self._bar and lines:
            from rich.text import Text

            text = Text("\n").join(Text.assemble(*line) for line in lines)
            self._bar.console.print(text, soft_wrap=True)
            self._shown = perf_counter()

    def advance(self) -> None:
        """Count one image."""
        self._done += 1
        if self._bar:
            rate = f"{self._done / (perf_counter() - self._started):.3g} {self._of}/s"
            self._bar.update(self._task, advance=1, rate=rate)


@contextmanager
def listening(deaf: bool, progress: Progress) -> Iterator[None]:
    """Print what the engines log, such as that they compile, to standard error."""
    if deaf:
        yield
        return
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            progress.print([[("note: ", WARN), (record.getMessage(), "")]], sys.stderr)

    logger, handler = logging.getLogger("convtool"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def plan_lines(request: Request, job: Job) -> list[Line]:
    """Say what is done to images of one shape."""
    if request.stack is not None:
        from convtool.report import stacked  # and with it all that stacks need

        return stacked.plan_lines(request.stack, job)
    settled, kernel = job.plan, request.kernel
    shapes = f"{size_text(job.header.shape)}{ARROW}{size_text(job.output_shape)}"
    filters = f", {combined(job.combine, kernel.filters)}" if kernel.filters > 1 else ""
    lines = [
        entry(
            "shape",
            (shapes, GOOD),
            f"   {kernel.name} {size_text(kernel.shape)}{filters}",
        ),
        operator_entry(settled),
        *reach_lines(settled),
        entry("engine", who_text(job.choice), (f"   {job.choice.reason}", DIM)),
    ]
    if job.header.alpha:
        lines.insert(-1, entry("alpha", str(job.alpha) if job.alpha else "an input channel"))
    return lines


def option_lines(request: Request, job: Job) -> list[Line]:
    """Say what every way to compute the plan would cost, by estimate; the one taken has a star.

    Where the engine was chosen, what it takes to begin with each stands beside it, once for all
    images: the quickest way is not taken where that is more than it saves.
    """
    if job.chain:
        from convtool.report import stacked

        return stacked.option_lines(job)
    chosen = (job.choice.engine, job.choice.method)
    return [
        entry(
            "" if number else "estimates",
            f"{'*' if (option.engine, option.method) == chosen else ' '} "
            f"{option.engine}, {option.method}",
            (f"   {estimate_text(option)}", GOOD),
            (_beginning(option, job.choice) if request.engine is EngineName.AUTO else "", ""),
            (f"   {option.how}" if option.how else "", DIM),
        )
        for number, option in enumerate(job.choice.options)
    ]


def _beginning(option: Option, choice: Choice) -> str:
    """Say what it takes to begin with an engine."""
    seconds = 0.0
    if option.engine is EngineName.CPU:
        seconds = START
    elif option.engine is EngineName.CUDA and (rates := offload.kept(choice.device)):
        seconds = rates.start
    return f" + {seconds_text(seconds)} to begin with" if seconds else ""


def who_text(choice: Choice) -> str:
    """Say who computes, and how; which GPU, where it is not the first."""
    gpu = f" {choice.device}" if choice.engine is EngineName.CUDA and choice.device else ""
    return f"{choice.engine}{gpu}, {choice.method}"


def estimate_text(option: Option) -> str:
    """Write what a way is estimated to take, where something was measured to estimate by."""
    return seconds_text(option.seconds) if isfinite(option.seconds) else "not measured"


def option_json(option: Option) -> dict[str, object]:
    """Return one way to compute, with what it is estimated to take; JSON has no infinity."""
    seconds = option.seconds if isfinite(option.seconds) else None
    return {**option._asdict(), "seconds": seconds}


def verified_line(verified: Verified) -> Line:
    """Say how far a result is from the reference engine's."""
    pixels = ", every stored value equal"
    if verified.pixels:
        pixels = f", stored values differ by at most {verified.pixels:.3g}"
    elif verified.pixels is None:
        pixels = ""
    good = verified.error <= TOLERANCE * max(verified.largest, 1e-30)
    return entry(
        "verified",
        f"largest error {verified.error:.3g} of values up to {verified.largest:.6g}{pixels}",
        ("" if good else "   beyond rounding", BAD),
    )


def combined(how: Combine, filters: int) -> str:
    """Say what becomes of the responses of several filters."""
    if how is Combine.EACH:
        return f"{filters} filters"
    return f"{how} of {filters} filters"


def image_line(event: Done | Planned) -> Line:
    """Say what one image became."""
    job = event.job
    line: Line = [(f"{job.source.name}{ARROW}{outputs_text(job)}", "")]
    if isinstance(event, Planned):
        return [*line, ("  not written: dry run", DIM)]
    whole = event.read + event.compute + event.write
    parts = ", ".join(
        f"{word} {seconds_text(part)}"
        for word, part in (("read", event.read), ("compute", event.compute), ("write", event.write))
    )
    return [
        *line,
        (f"  {values_text(event)}", GOOD),
        (f"  {seconds_text(whole)} ({parts})", DIM),
    ]


def outputs_text(job: Job) -> str:
    """Name the outputs, or the first and the last of many."""
    names = [target.name for target in job.targets]
    if len(names) <= 2:
        return ", ".join(names)
    return f"{names[0]} … {names[-1]} ({len(names)} files)"


def values_text(event: Done) -> str:
    """Say how the responses lay and what saturation did to them."""
    ends = [end for end in (event.minimum, event.maximum) if end is not None and isfinite(end)]
    if len(ends) < 2:
        return "no finite values"
    low, high = number_texts(*ends)
    if event.job.chain:  # every map of a sheet has a range of its own
        return f"values {low} to {high}"
    text = f"values {low} to {high}, {event.job.range}"
    if event.job.range is RangeMode.RAW:
        return text
    return f"{text}: {share_text(event.clipped)} clipped"


def number_texts(low: float, high: float) -> tuple[str, str]:
    """Write the ends of a range, with 0 for what is nothing beside its width."""
    least = max(abs(low), abs(high)) * 1e-6
    low, high = (0.0 if abs(end) < least else end for end in (low, high))
    return f"{low:.6g}", f"{high:.6g}"


def share_text(share: float) -> str:
    """Write a share between 0 and 1 in percent; never 0 for what is not nothing."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return "nothing" if share == 0 else f"{share:.1%}"


def seconds_text(seconds: float) -> str:
    """Write a time with a sensible unit."""
    if seconds < 1:
        return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"
    return f"{seconds:.2f} s"


def failure_line(event: Failed) -> Line:
    """Say in one line what is wrong with one input, and the way out."""
    name, message = event.source.name, event.error.message
    # Some begin with the input's name as it is.
    told = message if message.startswith(f"{name} ") else f"{name}: {message}"
    line: Line = [("error: ", BAD), (told, "")]
    if event.error.hint:
        line.append((f" (hint: {event.error.hint})", GOOD))
    return line


def event_json(request: Request, event: Event, *, verbose: bool = False) -> dict[str, object]:
    """Return the object that `--json` prints for one input."""
    if isinstance(event, Failed):
        return {
            "input": event.source.name,
            "error": event.error.message,
            "hint": event.error.hint,
        }
    if isinstance(event, LeftOut):
        return {"input": event.source.name, "left_out": True}
    if isinstance(event, Skipped):
        return {
            **_asked_json(request, event.source.name, event.targets),
            "skipped": True,
        }
    job = event.job
    record = {
        **_asked_json(request, job.source.name, job.targets),
        **_job_json(request, job, verbose=verbose),
    }
    if isinstance(event, Done):
        if event.verified:
            record["verified"] = _finite(event.verified._asdict())
        clipped = {} if job.chain else {"clipped": event.clipped}
        record["values"] = _finite({"min": event.minimum, "max": event.maximum, **clipped})
        record["seconds"] = {
            "read": event.read,
            "compute": event.compute,
            "write": event.write,
        }
        record["notes"] = notes_json(event.notes)
    else:
        record["planned"] = True
    return record


def _finite(numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return nothing for what is not finite, as JSON has neither NaN nor infinity."""
    return {key: None if n is None or not isfinite(n) else n for key, n in numbers.items()}


def _job_json(request: Request, job: Job, *, verbose: bool) -> dict[str, object]:
    """Return what is settled about an input."""
    if request.stack is not None:
        from convtool.report import stacked

        return stacked.job_json(request.stack, job, verbose=verbose)
    record: dict[str, object] = {
        "input_shape": list(job.header.shape),
        "output_shape": list(job.output_shape),
        **geometry_json(job.plan),
        **transposed_json(job.plan),
        "combine": job.combine,
        "range": job.range,
        "alpha": job.alpha,
        "engine": job.choice.engine,
        "method": job.choice.method,
        "reason": job.choice.reason,
    }
    if job.choice.engine is EngineName.CUDA:
        record["device"] = job.choice.device
    if verbose:
        record["estimates"] = [option_json(option) for option in job.choice.options]
    return record


def _asked_json(request: Request, name: str, targets: tuple[Target, ...]) -> dict[str, object]:
    """Return what is known of an input before it is read."""
    outputs = [target.name for target in targets]
    if request.stack is not None:
        return {
            "input": name,
            "outputs": outputs,
            "op": "stack",
            "stack": request.stack.stack.name,
        }
    kernel = request.kernel
    return {
        "input": name,
        "outputs": outputs,
        "op": request.spec.op,
        "kernel": {
            "name": kernel.name,
            "shape": list(kernel.shape),
            "filters": kernel.filters,
            "flipped": request.spec.flip,
        },
        "linear": request.linear,
    }
