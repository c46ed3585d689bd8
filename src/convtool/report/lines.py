"""Lines of text in which words carry a style: coloured on a terminal, plain elsewhere."""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from convtool.errors import ConvtoolError


class ReportError(ConvtoolError):
    """A report that cannot be written where it should go."""

    status = 1


# A line is a list of (text, style); styles are rich's.
Span = tuple[str, str]
Line = list[Span]

HEAD, DIM, GOOD, WARN, BAD = "bold", "dim", "cyan", "yellow", "bold red"

# The width of the column of headings.
MARGIN = 12


def entry(heading: str, *spans: Span | str) -> Line:
    """Make a line with a heading in a column of its own."""
    return [
        (f"{heading:<{MARGIN}}", HEAD),
        *(s if isinstance(s, tuple) else (s, "") for s in spans),
    ]


def emit(lines: Iterable[Line], stream: TextIO | None = None) -> None:
    """Print lines; rich is imported only where there is colour to show."""
    stream = sys.stdout if stream is None else stream
    if not _coloured(stream):
        try:
            stream.write("".join("".join(t for t, _ in line).rstrip() + "\n" for line in lines))
            stream.flush()
        except BrokenPipeError:
            raise  # who reads has seen enough
        except OSError as error:
            raise ReportError(f"the report cannot be written: {error.strerror}") from None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for line in lines:
        console.print(Text.assemble(*line))


def _coloured(stream: TextIO) -> bool:
    """Follow no-color.org and its counterpart FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
