"""The course of a batch: what was planned, what each image became, what failed."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from convtool.batch import Done, Event, Failed, Job, LeftOut, Planned, Request, Skipped, Verified
from convtool.geometry import Note, size_text
from convtool.report.lines import BAD, DIM, GOOD, Line, emit, entry
from convtool.report.plans import (
    dropped_text,
    geometry_json,
    note_lines,
    notes_json,
    operator_text,
    padding_lines,
)
from convtool.terms import Combine, RangeMode

ARROW = " → "

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

    def follow(self, happening: Iterable[Event]) -> int:
        """Print every event as it happens, then the sum.

        Returns
        -------
        int
            The exit status: 0, or 1 where an input failed.
        """
        started = perf_counter()
        counts: Counter[str] = Counter()
        hidden = self.quiet or self.dry_run
        try:
            with listening(hidden), Progress(self.inputs, hidden=hidden) as progress:
                for event in happening:
                    counts[type(event).__name__] += 1
                    with progress.aside():
                        self._print(event)
                    progress.advance()
        finally:  # an interrupted batch has its sum, too
            if self.inputs > 1 and not self.quiet and not self.as_json:
                emit([self._sum(counts, perf_counter() - started)], self.stream)
        return 1 if counts["Failed"] else 0

    def _print(self, event: Event) -> None:
        if self.as_json:
            record = event_json(self.request, event, verbose=self.verbose)
            self.stream.write(json.dumps(record) + "\n")
            self.stream.flush()
        if isinstance(event, Failed):
            emit([failure_line(event)], sys.stderr)
        elif not self.quiet and not self.as_json:
            emit(self._lines(event), self.stream)

    def _lines(self, event: Done | Skipped | Planned | LeftOut) -> list[Line]:
        if isinstance(event, LeftOut):
            return [[(event.source.name, ""), (" left out: an earlier output", DIM)]]
        if isinstance(event, Skipped):
            return [[(event.job.source.name, ""), (" skipped: its output exists", DIM)]]
        job = event.job
        notes = job.notes if isinstance(event, Planned) else event.notes
        lines = plan_lines(self.request, job)
        if self.verbose:
            lines += option_lines(job)
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

    def _sum(self, counts: Counter[str], seconds: float) -> Line:
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
        if left:
            words.append(f"{left} not begun")
        return [(f"{', '.join(words)} in {seconds_text(seconds)}", DIM)]


def _kind(note: Note) -> str:
    """Say what two notes share of which one is enough: their code, where numbers may differ."""
    return note.message if note.code in ("converted", "not-carried") else note.code


@contextmanager
def listening(deaf: bool) -> Iterator[None]:
    """Print what the engines log, such as that they compile, to standard error."""
    logger = logging.getLogger("convtool")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    level = logger.level
    if not deaf:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Progress:
    """A progress bar on a terminal's standard error, for several images; nothing elsewhere."""

    def __init__(self, total: int, *, hidden: bool) -> None:
        self._bar = None
        if total > 1 and not hidden and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def aside(self) -> "Aside":
        """Take the bar away while something else is printed."""
        return Aside(self)

    def advance(self) -> None:
        """Count one image."""
        if self._bar:
            self._bar.advance(self._task)


class Aside:
    """The time during which a progress bar is not on the screen."""

    def __init__(self, progress: Progress) -> None:
        self._bar = progress._bar

    def __enter__(self) -> None:
        if self._bar:
            self._bar.stop()

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.start()


def plan_lines(request: Request, job: Job) -> list[Line]:
    """Say what is done to images of one shape."""
    settled, kernel = job.plan, request.kernel
    shapes = f"{size_text(job.header.shape)}{ARROW}{size_text(job.output_shape)}"
    filters = f", {combined(job.combine, kernel.filters)}" if kernel.filters > 1 else ""
    lines = [
        entry(
            "shape",
            (shapes, GOOD),
            f"   {kernel.name} {size_text(kernel.shape)}{filters}",
        ),
        entry(str(settled.op), operator_text(settled)),
        *padding_lines(settled),
        entry("dropped", dropped_text(settled)),
        entry(
            "engine", f"{job.choice.engine}, {job.choice.method}", (f"   {job.choice.reason}", DIM)
        ),
    ]
    if job.header.alpha:
        lines.insert(-1, entry("alpha", str(job.alpha) if job.alpha else "an input channel"))
    return lines


def option_lines(job: Job) -> list[Line]:
    """Say what every way to compute the plan would cost, by estimate; the one taken has a star."""
    chosen = (job.choice.engine, job.choice.method)
    return [
        entry(
            "" if number else "estimates",
            f"{'*' if (option.engine, option.method) == chosen else ' '} "
            f"{option.engine}, {option.method}",
            (f"   {seconds_text(option.seconds)}", GOOD),
            (f"   {option.how}" if option.how else "", DIM),
        )
        for number, option in enumerate(job.choice.options)
    ]


def verified_line(verified: Verified) -> Line:
    """Say how far a result is from the reference engine's."""
    pixels = "every stored value equal"
    if verified.pixels:
        pixels = f"stored values differ by at most {verified.pixels:.3g}"
    good = verified.error <= TOLERANCE * max(verified.largest, 1e-30)
    return entry(
        "verified",
        f"largest error {verified.error:.3g} of values up to {verified.largest:.6g}, {pixels}",
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
    if event.minimum is None or event.maximum is None:
        return "no finite values"
    low, high = number_texts(event.minimum, event.maximum)
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
    line: Line = [("error: ", BAD), (f"{event.source.name}: {event.error.message}", "")]
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
    job, kernel = event.job, request.kernel
    record: dict[str, object] = {
        "input": job.source.name,
        "outputs": [target.name for target in job.targets],
        "op": job.plan.op,
        "kernel": {
            "name": kernel.name,
            "shape": list(kernel.shape),
            "filters": kernel.filters,
            "flipped": request.spec.flip,
        },
        "input_shape": list(job.header.shape),
        "output_shape": list(job.output_shape),
        **geometry_json(job.plan),
        "combine": job.combine,
        "range": job.range,
        "alpha": job.alpha,
        "engine": job.choice.engine,
        "method": job.choice.method,
        "reason": job.choice.reason,
    }
    if verbose:
        record["estimates"] = [
            {
                "engine": option.engine,
                "method": option.method,
                "seconds": option.seconds,
                "how": option.how,
            }
            for option in job.choice.options
        ]
    if isinstance(event, Done):
        if event.verified:
            record["verified"] = {
                "error": event.verified.error,
                "largest": event.verified.largest,
                "pixels": event.verified.pixels,
            }
        record["values"] = {
            "min": event.minimum,
            "max": event.maximum,
            "clipped": event.clipped,
        }
        record["seconds"] = {
            "read": event.read,
            "compute": event.compute,
            "write": event.write,
        }
        record["notes"] = notes_json(event.notes)
    else:
        record["skipped" if isinstance(event, Skipped) else "planned"] = True
    return record
