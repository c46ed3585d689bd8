"""What can go wrong, in words a person can act on.

Every error says what must hold, with the numbers that break it; its hint says a way out.
"""

from collections.abc import Iterable


class ConvtoolError(ValueError):
    """Something the caller can mend.

    Parameters
    ----------
    message : str
        What must hold, both numbers, and where. One line, no full stop.
    hint : str, optional
        What to do instead. One line, no full stop.
    """

    # The exit status of a command that ends with it: 2, or 1 where an input is at fault.
    status = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message

    def within(self, context: str) -> "ConvtoolError":
        """Return the same error with the place it happened in put before it."""
        return type(self)(f"{context}: {self.message}", self.hint)


class UsageError(ConvtoolError):
    """The request itself is wrong, whatever the input is."""


class GeometryError(ConvtoolError):
    """Sizes, channels, stride, padding, dilation or groups that do not go together."""

    status = 1


class KernelError(ConvtoolError):
    """A kernel that cannot be found, read or used."""


class ImageError(ConvtoolError):
    """An image that cannot be read, or held by the format it should be written to."""

    status = 1


class ArrayError(ConvtoolError):
    """An array of the wrong rank or type."""


class EngineError(ConvtoolError):
    """An engine or method that cannot do the case it was asked for."""


class DeviceError(EngineError):
    """A GPU that is not there, or has no driver, or no package that talks to it."""

    status = 1


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a hint that names what was perhaps meant, or every choice."""
    import difflib

    known = list(choices)
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"choose from {', '.join(known)}" if known else ""
