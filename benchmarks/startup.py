"""How long a command takes to start, in bare interpreter starts.

    python benchmarks/startup.py [ROUNDS]

Every round runs each command once, so that a noisy machine is noisy for all of them. What is
printed are medians, and their ratio to the median of ``python -c pass``.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

SAMPLES = Path(__file__).parent.parent / "sample_images"


def commands(folder: Path) -> dict[str, list[str]]:
    convtool = [str(Path(sys.executable).with_name("convtool"))]
    camera = str(SAMPLES / "camera.png")
    apply = ["apply", "-q", "-o", str(folder / "out.png")]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy": [sys.executable, "-c", "import numpy"],
        "import typer": [sys.executable, "-c", "import typer"],
        "import PIL.Image": [sys.executable, "-c", "import PIL.Image"],
        "import numpy, typer, PIL.Image, no exit": [
            *(sys.executable, "-c", "import numpy, typer, PIL.Image, os; os._exit(0)")
        ],
        "--version": [*convtool, "--version"],
        "--help": [*convtool, "--help"],
        "apply --help": [*convtool, "apply", "--help"],
        "shape 28x28x1 -k 3x3 --filters 32": [
            *(*convtool, "shape", "28x28x1", "-k", "3x3", "--filters", "32")
        ],
        "shape 28x28x1 -k sobel --json": [*convtool, "shape", "28x28x1", "-k", "sobel", "--json"],
        "shape camera.png -k 3x3": [*convtool, "shape", camera, "-k", "3x3"],
        "apply -k sobel camera.png (512x512)": [*convtool, *apply, "-k", "sobel", camera],
        "the same with --engine cpu": [*convtool, *apply, "-k", "sobel", "--engine", "cpu", camera],
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    # Compiled modules are used as after any installation.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        todo = commands(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in todo}
        for number in range(rounds + 1):
            for name, command in todo.items():
                started = perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
                if number:  # the first round fills caches
                    times[name].append(perf_counter() - started)
    bare = statistics.median(times["python -c pass"])
    print(f"{'':40} {'median':>8} {'least':>8}  starts")
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"{name:40} {middle * 1e3:5.0f} ms {min(taken) * 1e3:5.0f} ms {middle / bare:6.1f}")


if __name__ == "__main__":
    main()
