"""The program's start, for the command ``convtool`` and for ``python -m convtool``."""

import gc
import signal


def entry() -> None:
    """Import the command line and run it."""
    # Of the many objects that imports make, none is garbage.
    gc.set_threshold(100_000, 20, 20)
    # Until there is something to interrupt, Ctrl-C ends the program and says nothing. Where it is
    # ignored, as in the background of a script, it stays so.
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from convtool import cli

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.entry()


if __name__ == "__main__":
    entry()
