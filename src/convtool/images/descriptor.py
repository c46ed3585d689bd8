"""Where Pillow's encoder of JPEG writes: a file of the system's, in memory.

It holds the interpreter's lock while it fills buffers of Python's. Only when it writes to a file
descriptor may other threads run meanwhile. (That of PNG lets them run by itself.)
"""

import io
import os
from collections.abc import Callable
from typing import IO


def written(save: Callable[[IO[bytes]], object]) -> bytes:
    """Return all that `save` writes into the file that it is given.

    Parameters
    ----------
    save : callable
        May be called a second time, where the system has no files in memory or limits them.
    """
    try:
        with open(os.memfd_create("convtool"), "w+b") as file:
            save(file)
            size = file.seek(0, io.SEEK_END)
            # Encoders do not see when a limit cuts their write short; another byte cannot follow.
            file.write(b"\0")
            file.seek(0)
            return file.read(size)
    except (AttributeError, OSError):
        buffer = io.BytesIO()
        save(buffer)
        return buffer.getvalue()
