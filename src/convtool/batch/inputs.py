"""From what was written as INPUT to a list of sources."""

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from convtool.batch.model import Source
from convtool.errors import UsageError
from convtool.terms import IMAGE_SUFFIXES

# What --recursive looks for in a folder.
SUFFIXES = IMAGE_SUFFIXES | {".npy"}

_PATTERN = re.compile(r"[*?]|\[.+\]")


def expand(
    names: Sequence[str],
    *,
    recursive: bool = False,
    files_from: str | None = None,
    null: bool = False,
) -> list[Source]:
    """Turn what was written as INPUT into sources, in order.

    Parameters
    ----------
    names : sequence of str
        Files, patterns that no shell has expanded (``*.png``, ``photos/**/*.jpg``), folders
        (their images, with `recursive`), ``-`` for standard input.
    recursive : bool
        Look into folders.
    files_from : str, optional
        A file that holds more names, or ``-`` for standard input.
    null : bool
        Names in `files_from` end with NUL instead of a line break.

    Raises
    ------
    UsageError
        Where there is no input at all, or standard input is asked for twice.
    """
    if null and not files_from:
        raise UsageError("-0 says how names end in --files-from, which is not given")
    listed = list(names) + (_listed(files_from, null) if files_from else [])
    if (listed.count("-") + (files_from == "-")) > 1:
        raise UsageError("standard input can be read only once")
    sources: list[Source] = []
    for name in listed:
        path = Path(name)
        if name == "-":
            sources.append(Source("-", data=sys.stdin.buffer.read()))
        elif recursive and path.is_dir():
            sources.extend(_walk(path))
        elif _PATTERN.search(name) and not os.path.lexists(name):
            sources.extend(_matching(name))
        elif _is_stream(path):
            sources.append(_received(name, path))
        else:
            sources.append(Source(name, path))
    if not sources:
        raise UsageError(
            "no input: nothing was named, or the folders hold no images",
            "name image files, a folder with --recursive, or - for standard input",
        )
    return sources


def _listed(files_from: str, null: bool) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if files_from == "-" else Path(files_from).read_bytes()
    except OSError as error:
        raise UsageError(f"--files-from {files_from}: {error.strerror}") from None
    if not null and b"\0" in data:
        raise UsageError(f"the names in {files_from} end with NUL", "add -0")
    names = data.split(b"\0") if null else data.splitlines()
    return [os.fsdecode(name) for name in names if name]


def _matching(pattern: str) -> list[Source]:
    """Return the files that a pattern stands for; where there are none, the pattern as a name."""
    from glob import glob

    names = sorted(name for name in glob(pattern, recursive=True) if not os.path.isdir(name))
    found = [Source(name, Path(name), found=True) for name in names]
    return found or [Source(pattern, Path(pattern), problem="no file matches the pattern")]


def _is_stream(path: Path) -> bool:
    """Whether it can be read only once, like a pipe or ``<(…)``."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def _received(name: str, path: Path) -> Source:
    try:
        return Source(name, path, data=path.read_bytes())
    except OSError as error:
        return Source(name, path, problem=f"it cannot be read: {error.strerror or error}")


def _walk(folder: Path) -> Iterator[Source]:
    refused: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=refused.append):
        folders.sort()
        for file in sorted(files):
            path = Path(parent, file)
            if path.suffix.lower() in SUFFIXES:
                yield Source(str(path), path, Path(parent).relative_to(folder), found=True)
    for error in refused:
        problem = f"the folder cannot be looked into: {error.strerror or error}"
        yield Source(str(error.filename), Path(error.filename), problem=problem)
