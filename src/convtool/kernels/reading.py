"""What every reader of kernels shares: numbers, text, and faults that know their line."""

import os
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from convtool.errors import KernelError, did_you_mean


class Problem(NamedTuple):
    """What is wrong with a kernel file; line 0 stands for the file as a whole."""

    line: int
    message: str
    hint: str = ""

    def error(self, path: Path | str) -> KernelError:
        """Return it as an error that names the place."""
        place = f"{path}:{self.line}" if self.line else f"{path}"
        return KernelError(f"{place}: {self.message}", self.hint)


class LineError(KernelError):
    """A fault in a line of a text; the door that knows the file adds its name."""

    def __init__(self, message: str, hint: str = "", line: int = 0) -> None:
        super().__init__(message, hint)
        self.line = line


def number(token: str, line: int = 0) -> float:
    """Read ``1``, ``-.5``, ``2e-3`` or ``1/9``; a typeset minus is one too.

    Raises
    ------
    LineError
        For what is no number, or none that is finite.
    """
    above, slash, below = token.replace("\N{MINUS SIGN}", "-").partition("/")
    try:
        if "_" in token:
            raise ValueError
        value = float(above) / float(below) if slash else float(above)
    except ValueError:
        raise LineError(
            f"{token!r} is not a number", "taps are written 2, -0.5, 1e-3 or 1/9", line
        ) from None
    except ZeroDivisionError:
        raise LineError(f"{token!r} divides by zero", line=line) from None
    if not isfinite(value):
        raise LineError(f"taps must be finite, but one is {token}", line=line)
    return value


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises
    ------
    KernelError
        Where it is missing, unreadable or no UTF-8 text; the message does not name the file.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LineError(
            f"byte 0x{data[error.start]:02x} is not UTF-8 text", "save the file as UTF-8", line
        ) from None


def read_bytes(path: Path, count: int = -1) -> bytes:
    """Read a file, or its first bytes, or say in a few words why it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError:
        raise KernelError("no such file", _near(path) if path.parent.is_dir() else "") from None
    except OSError as error:
        raise KernelError(f"the file cannot be read: {os.strerror(error.errno or 0)}") from None


def _near(path: Path) -> str:
    """Ask for the file of the same type that is spelt alike; the suffix alone makes none alike."""
    stems = [entry.stem for entry in path.parent.iterdir() if entry.suffix == path.suffix]
    near = did_you_mean(path.stem, stems)
    return f"{near.removesuffix('?')}{path.suffix}?" if near.startswith("did") else ""
