"""The folder of compiled code: what is read from it is executed, so it is looked at first.

A file is taken only if it, and the folder that it lies in, belong to this user and nobody else may
write to them, and if its content has the digest that stands before it. It is written under another
name and then given its own, so that processes side by side see it whole or not at all.
"""

import logging
import os
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

try:  # hashlib, which has the same, loads OpenSSL first, for longer than a unit takes to load
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

logger = logging.getLogger("convtool")

SUFFIX = ".unit"
DIGEST_BYTES = 32
OTHERS_MAY_WRITE = 0o022


__all__ = ["State", "blake2b", "clear", "folder", "keep", "problem", "read", "state"]


class State(NamedTuple):
    """What the folder holds.

    Parameters
    ----------
    folder : Path
    problem : str
        Why code cannot be kept there or is not taken from there; nothing where all is well.
    units : int
        Files for this version on this processor.
    bytes : int
        Of these.
    stale : int
        Files for other versions, sources or processors.
    """

    folder: Path
    problem: str
    units: int
    bytes: int
    stale: int


@cache
def folder() -> Path:
    """Return where compiled code is kept: below XDG_CACHE_HOME, or where the system has caches."""
    if sys.platform == "linux":  # as platformdirs has it, whose import takes as long as all this
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        base = Path(os.path.expanduser(cache), "convtool")
    else:
        from platformdirs import user_cache_path

        base = user_cache_path("convtool", appauthor=False)
    return base / "machine-code"


def read(name: str) -> bytes | None:
    """Return what was kept under a name, if it is there, whole, and to be trusted."""
    try:
        with open(folder() / (name + SUFFIX), "rb") as file:
            told = os.fstat(file.fileno())
            data = file.read()
        if _distrusted(told) or _distrusted(os.stat(folder())):
            why = problem() or f"others than its owner may write to {name}{SUFFIX}"
            _say_once(f"compiled code in {folder()} is not used: {why}")
            return None
    except OSError:
        return None
    digest, content = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    return content if _digest(content) == digest else None


def keep(name: str, content: bytes) -> None:
    """Write a file whole or not at all; where that cannot be, say so and go on without."""
    from tempfile import NamedTemporaryFile

    try:
        folder().parent.mkdir(parents=True, exist_ok=True)
        folder().mkdir(mode=0o700, exist_ok=True)
        if _distrusted(os.stat(folder())):
            _say_once(f"compiled code is not kept in {folder()}: {problem()}")
            return
        # Nobody else may open it.
        with NamedTemporaryFile(dir=folder(), delete=False) as file:
            try:
                file.write(_digest(content) + content)
                file.close()
                os.replace(file.name, folder() / (name + SUFFIX))
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        _say_once(f"compiled code cannot be kept in {folder()}: {error.strerror}")


def state(tag: str) -> State:
    """Look at the folder; files of this version have `tag` in their names."""
    own = stale = size = 0
    try:
        for entry in os.scandir(folder()):
            if not _ours(entry.name):
                continue
            if tag in entry.name:
                own, size = own + 1, size + entry.stat().st_size
            else:
                stale += 1
    except OSError:
        pass
    return State(folder(), problem(), own, size, stale)


def clear() -> int:
    """Remove all compiled code; return how many files that were."""
    removed = 0
    if folder().is_dir():
        for entry in list(os.scandir(folder())):
            if _ours(entry.name):
                os.unlink(entry)
                removed += 1
    return removed


def problem() -> str:
    """Say why code cannot be kept in the folder, or is not taken from it; nothing if it can."""
    place = folder()
    # os.path: what is in a folder that may not be entered is not there.
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    try:
        told = os.stat(place)
    except OSError as error:
        return error.strerror or str(error)
    if not place.is_dir():
        return f"{place} is no folder"
    if place == folder() and _distrusted(told):
        if told.st_uid != os.geteuid():
            return "the folder belongs to another user"
        return "others than its owner may write to the folder"
    return "" if os.access(place, os.W_OK) else f"{place} may not be written to"


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def _ours(name: str) -> bool:
    # .o is what earlier versions wrote; tmp… what a process that was killed left.
    return name.endswith((SUFFIX, ".o")) or name.startswith("tmp")


def _distrusted(told: os.stat_result) -> bool:
    """Whether somebody else could have put this there."""
    if os.name != "posix":
        return False  # the cache folder of Windows is the user's alone
    return told.st_uid != os.geteuid() or bool(told.st_mode & OTHERS_MAY_WRITE)


@cache
def _say_once(text: str) -> None:
    logger.info(text)
