"""A first use of an engine, in a process of its own: what is wrong there may end a process."""

import subprocess
import sys

from convtool.errors import ConvtoolError
from convtool.terms import EngineName

# Compiling takes seconds, even where a machine is busy.
PATIENCE = 120


def elsewhere(module: str) -> tuple[str, str]:
    """Run a module in a process of its own.

    Returns
    -------
    said : str
        What it printed.
    failure : str
        What is wrong; nothing where it ended well.
    """
    # -P: a numpy.py in the folder where this is called is none of our business.
    command = [sys.executable, "-P", "-m", module]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "", f"it has not ended after {PATIENCE} seconds"
    except OSError as error:
        return "", f"it cannot be started: {error.strerror or error}"
    if done.returncode < 0:
        return "", f"it was ended by signal {-done.returncode}"
    if done.returncode > 0:
        said = (done.stdout.strip() or done.stderr.strip()).splitlines()
        return "", said[-1] if said else f"it ended with status {done.returncode}"
    return done.stdout, ""


def trouble(engine: EngineName, device: int = 0) -> str:
    """Filter a small image with an engine and the reference; say what is wrong, or nothing.

    Parameters
    ----------
    engine : EngineName
    device : int
        The number of the GPU, for the cuda engine.
    """
    import numpy as np

    from convtool.engine import conv2d

    image = np.arange(5 * 64, dtype=np.uint8).reshape(1, 5, 64, 1)
    kernel = np.ones((3, 3))
    try:
        found = conv2d(image, kernel, dtype="uint8", engine=engine, device=device)
    except (ConvtoolError, ImportError, OSError) as error:
        return str(error)
    if (found != conv2d(image, kernel, dtype="uint8", engine="numpy")).any():
        return "its results are not those of the reference"
    return ""


def main() -> int:
    """Try the cpu engine; say what is wrong, if something is."""
    found = trouble(EngineName.CPU)
    if found:
        print(found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
