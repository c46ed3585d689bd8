"""Run the command line in this process, as a shell would."""

import io
import sys
from dataclasses import dataclass

from convtool.cli import main


@dataclass
class Ran:
    """What a command left behind."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()


def run(*arguments: object, stdin: bytes = b"") -> Ran:
    """Run ``convtool arguments…``."""
    streams = sys.stdin, sys.stdout, sys.stderr
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(err, encoding="utf-8", write_through=True)
    try:
        code = main([str(argument) for argument in arguments])
        sys.stdout.flush()
    finally:
        written = sys.stdout, sys.stderr  # kept alive: closing them would close the buffers
        sys.stdin, sys.stdout, sys.stderr = streams
    result = Ran(code, out.getvalue(), err.getvalue().decode())
    del written
    return result
