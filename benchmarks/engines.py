"""The two engines side by side on square 8-bit RGB images, 3x3 on every channel.

    python benchmarks/engines.py

Runs are interleaved; what is printed are medians of calls after the first.
"""

import statistics
from time import perf_counter

import numpy as np

from convtool import conv2d

SIZES = (512, 2048, 3464)
ROUNDS = 9


def main() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3))
    for size in SIZES:
        images = rng.integers(0, 256, (1, size, size, 3)).astype(np.uint8)
        times: dict[str, list[float]] = {"numpy": [], "cpu": []}
        for number in range(ROUNDS + 1):
            for engine, taken in times.items():
                started = perf_counter()
                conv2d(images, kernel, engine=engine)
                if number:
                    taken.append(perf_counter() - started)
        medians = "   ".join(
            f"{engine} {statistics.median(taken) * 1e3:6.1f} ms" for engine, taken in times.items()
        )
        print(f"{size}x{size}   {medians}")


if __name__ == "__main__":
    main()
