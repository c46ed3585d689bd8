"""The door to the decoders: whatever they raise on hostile bytes becomes one clear line."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image, UnidentifiedImageError

from convtool.errors import ConvtoolError, ImageError

# Pillow's storage comes in blocks of at most so many bytes, 16 MB if nothing is said. A picture in
# one block can be looked at without copying it; what is larger than this still falls into several.
BLOCK = 1 << 30


class _Settings:
    """Pillow's settings as they are wanted here, while at least one thread is inside.

    Its own pixel limit and its warnings are set aside, and its pictures come in large blocks. All
    are settings of the whole process. Entering and leaving them in each thread by itself would
    let two threads restore each other's temporary state, so the first one in saves and the last
    one out restores.
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
                core = Image.core  # type: ignore[attr-defined]
                self._stack.callback(core.set_block_size, core.get_block_size())
                core.set_block_size(BLOCK)
                self._stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stack.close()


settings = _Settings()


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
    with settings:
        try:
            yield
        except (ConvtoolError, UnidentifiedImageError):
            raise
        except MemoryError:
            raise ImageError(f"{doing}: there is not enough memory for its pixels") from None
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"{doing}: {text}") from None
