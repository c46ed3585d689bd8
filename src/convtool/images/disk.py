"""A file's bytes → the disk, whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convtool.errors import ImageError

# What the system says when there is no room, with the file's size and folder in our own words.
_NO_ROOM = {
    errno.ENOSPC: "no space left on {folder} for its {size} bytes",
    errno.EDQUOT: "no space left in the quota on {folder} for its {size} bytes",
    errno.EFBIG: "file too large: its {size} bytes are more than a file may have on {folder}",
}


def write_atomically(path: Path, data: bytes | bytearray | memoryview) -> None:
    """Write a file whole or not at all; missing folders are made.

    Where the system can, the bytes go to a file without a name, of which nothing is left even when
    the program is killed; it is given its name when it is whole. Elsewhere they go to a file
    beside the target, which is removed by whatever ends the program, short of a kill. An existing
    target is replaced by a file with the usual mode, and stays as it was until then.

    Parameters
    ----------
    path : Path
        The target. A link is followed; what is no regular file (``/dev/null``, a pipe) is
        written to directly.
    data : buffer
        All of it.

    Raises
    ------
    ImageError
        With the system's reason.
    """
    folder = path.parent
    try:
        target = Path(os.path.realpath(path))  # which takes a link to itself as it is
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_bytes(data)
            return
        folder = target.parent
        folder.mkdir(parents=True, exist_ok=True)
        if not _write_unnamed(target, data):
            _write_beside(target, data)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "choose another place with --output"
        if error.errno in _NO_ROOM:
            size = memoryview(data).nbytes
            reason = _NO_ROOM[error.errno].format(folder=folder, size=size)
            hint = f"make room, or {hint}"
        raise ImageError(f"{path} cannot be written: {reason}", hint) from None


def _write_unnamed(target: Path, data: bytes | bytearray | memoryview) -> bool:
    """Write a file that gets its name last, and tell whether that can be done here."""
    try:
        unnamed = os.open(target.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (AttributeError, OSError):  # another system, or a file system without such files
        return False
    link = f"/proc/self/fd/{unnamed}"

    def name(path: Path) -> None:
        # With a descriptor, though an unneeded one, Python asks for the link to be followed.
        os.link(link, path, src_dir_fd=unnamed, follow_symlinks=True)

    with open(unnamed, "wb") as file:
        file.write(data)
        file.flush()
        try:
            name(target)
        except FileExistsError:
            _replace(target, name)
        except OSError:  # no /proc, or a file system that gives no names afterwards
            return False
    return True


def _write_beside(target: Path, data: bytes | bytearray | memoryview) -> None:
    def make(part: Path) -> None:
        # Not tempfile, whose files are private: the umask alone should decide.
        with part.open("xb") as file:
            file.write(data)

    _replace(target, make)


def _replace(target: Path, make: Callable[[Path], Any]) -> None:
    """Let `make` make a file beside the target, and put it in the target's place."""
    part = target.parent / f".convtool-{os.urandom(8).hex()}.part"
    _parts.add(part)
    try:
        make(part)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        _parts.discard(part)


# Files that are not whole yet.
_parts: set[Path] = set()


def remove_parts() -> None:
    """Remove what is being written, for a program that ends while threads still write."""
    for part in list(_parts):
        part.unlink(missing_ok=True)
