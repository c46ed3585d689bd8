"""The first picture, decoded while the rest of the program is still being imported.

Pillow decodes a large photograph in about the time that NumPy and the engine take to be imported,
and it needs neither. Whoever opens the picture then finds it open, and its pixels decoded.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convtool.images.reader import Opened

# Bytes of a file. Smaller ones are decoded before they are missed, and the threads would only wait
# for one another.
LARGE = 1 << 20

_begun: dict[Path, "Ahead"] = {}


class Ahead(Thread):
    """A picture on its way.

    Parameters
    ----------
    path : Path
    max_pixels : int
        As for `reader.opened`.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        super().__init__(name="convtool-ahead", daemon=True)
        self.path, self.max_pixels = path, max_pixels
        self.identity = _identity(path)
        self.opened: Opened | None = None
        # Closes the file; nothing is in it until the picture is decoded.
        self.stack = ExitStack()
        self._looked = Event()

    def run(self) -> None:
        """Open and decode; what goes wrong is left for the next one who opens it to find out."""
        from convtool.errors import ImageError
        from convtool.images import reader

        try:
            with ExitStack() as stack:
                opened = stack.enter_context(reader.open_now(self.path, "", self.max_pixels))
                self.opened = opened
                self._looked.set()
                opened.begin()
                self.stack = stack.pop_all()
        except ImageError:
            self.opened = None
        except BaseException:  # a bug, which whoever opens it meets as well
            self.opened = None
            raise
        finally:
            self._looked.set()

    def is_for(self, max_pixels: int) -> bool:
        """Whether that many pixels were allowed, and the file is still the same."""
        return self.max_pixels == max_pixels and _identity(self.path) == self.identity

    def wait_for_header(self) -> "Opened | None":
        """Return the picture as soon as its header is known."""
        self._looked.wait()
        return self.opened


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        told = os.stat(path)
    except OSError:
        return None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


def begin_large(name: str, max_pixels: int) -> None:
    """Begin with a file that takes so long to decode that it pays to do it meanwhile."""
    if os.path.isfile(name) and os.path.getsize(name) >= LARGE:
        begin(Path(name), max_pixels)


def begin(path: Path, max_pixels: int) -> None:
    """Begin to open and to decode a picture that will be wanted."""
    _begun[path] = ahead = Ahead(path, max_pixels)
    ahead.start()


def look(path: object, max_pixels: int) -> "Opened | None":
    """Return a picture that is on its way, for its header."""
    ahead = _begun.get(path) if isinstance(path, Path) and _begun else None
    return ahead.wait_for_header() if ahead and ahead.is_for(max_pixels) else None


def take(path: object, max_pixels: int) -> Ahead | None:
    """Wait for a picture that was on its way, and hand it over; whoever takes it closes it."""
    ahead = _begun.pop(path, None) if isinstance(path, Path) and _begun else None
    if ahead is None:
        return None
    ahead.join()
    if ahead.opened is None or not ahead.is_for(max_pixels):
        ahead.stack.close()
        return None
    return ahead
