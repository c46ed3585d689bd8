"""The door to the decoders: whatever they raise on hostile bytes becomes one clear line."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image, UnidentifiedImageError

from convtool.errors import ConvtoolError, ImageError


class _Aside:
    """Pillow's own pixel limit and its warnings, set aside while at least one thread is inside.

    Both are settings of the whole process. Entering and leaving them in each thread by itself
    would let two threads restore each other's temporary state, so the first one in saves and the
    last one out restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._stack.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None
                self._stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stack.close()


_aside = _Aside()


@contextmanager
def guarded(doing: str) -> Iterator[None]:
    """Turn everything a third-party coder raises into an ImageError.

    On damaged or hostile bytes Pillow, NumPy and libvips raise nearly anything: OSError,
    SyntaxError, ValueError, IndexError, struct.error, zlib.error, AssertionError, MemoryError.
    All of it says the same to a user, so Exception is caught here and nowhere else.

    Parameters
    ----------
    doing : str
        What failed, for the message: ``"cannot be read"``.
    """
    with _aside:
        try:
            yield
        except (ConvtoolError, UnidentifiedImageError):
            raise
        except MemoryError:
            raise ImageError(f"{doing}: there is not enough memory for its pixels") from None
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"{doing}: {text}") from None
