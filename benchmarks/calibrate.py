"""Fit the planner's constants for float32 on this machine: python benchmarks/calibrate.py

Those for narrow pixels are set by hand, from `convtool bench` on 8-bit images.

Every method is timed on one core over sizes of images and kernels, in rounds so that a busy moment
does not fall on one case alone. The nanoseconds of each part of the work are then those that bring
the model nearest to the times, in proportion (least squares, none below zero).
"""

import sys
from time import perf_counter

import numpy as np

from convtool import engine
from convtool.engine import planner
from convtool.geometry import ConvSpec, plan
from convtool.terms import EngineName, MethodName

ROUNDS = 5
RNG = np.random.default_rng(0)


def gaussian(size):
    line = np.exp(-(np.linspace(-2, 2, size) ** 2))
    return np.outer(line, line)[None] / line.sum() ** 2


def cases():
    """Yield (engine, method, images, weights, options)."""
    grey, rgb = (RNG.random((1, 1500, 1500, c), np.float32) for c in (1, 3))
    small = RNG.random((1, 400, 500, 3), np.float32)
    for k in (3, 5, 7, 9, 11, 15, 23):
        full = RNG.standard_normal((1, k, k))
        for x in (grey, rgb):
            yield EngineName.CPU, MethodName.DIRECT, x, full, {}
            yield EngineName.CPU, MethodName.SEPARABLE, x, gaussian(k), {}
            yield EngineName.CPU, MethodName.SEPARABLE, x, np.full((1, k, k), 0.01), {}
        yield EngineName.CPU, MethodName.DIRECT, rgb, full, {"stride": 2}
        yield EngineName.NUMPY, MethodName.GEMM, small, full, {}
    for high, wide in ((15, 3), (3, 15), (41, 3), (3, 41)):  # to tell down from along
        line = gaussian(max(high, wide))[0].sum(0)
        pair = np.outer(line[:high], line[:wide])[None]
        yield EngineName.CPU, MethodName.SEPARABLE, rgb, pair, {}
        yield EngineName.CPU, MethodName.SEPARABLE, rgb, np.full((1, high, wide), 0.01), {}
    for k in (31, 63):
        yield EngineName.CPU, MethodName.SEPARABLE, rgb, gaussian(k), {}
        yield EngineName.CPU, MethodName.SEPARABLE, rgb, np.full((1, k, k), 0.01), {}
    for size, inputs, outputs, k in (
        (56, 64, 64, 3),
        (28, 128, 256, 3),
        (224, 3, 32, 3),
        (64, 16, 16, 5),
    ):
        x = RNG.random((2, size, size, inputs), np.float32)
        w = RNG.standard_normal((k, k, inputs, outputs))
        yield EngineName.CPU, MethodName.GEMM, x, w, {}
        yield EngineName.NUMPY, MethodName.GEMM, x, w, {}


def parts_of(chosen, settled, weights):
    if chosen.engine is EngineName.NUMPY:
        return planner.numpy_parts(settled)
    if chosen.method is MethodName.SEPARABLE:
        return planner.separable(settled, weights)[0]
    return planner.direct(settled) if settled.per_channel else planner.products(settled)


def main():
    names = [name for name in planner.NANOSECONDS if not name.startswith("fourier")]
    work, rows = [], []
    for who, method, x, weights, options in cases():
        shape = weights.shape[1:] if weights.ndim == 3 else weights.shape
        settled = plan(ConvSpec.of(**options), x.shape, shape)
        chosen = engine.choose(settled, who, method, weights=weights)
        out = np.empty(settled.output_shape, np.float32)
        work.append((x, weights, settled, chosen, out))
        parts = parts_of(chosen, settled, weights)
        rows.append([parts.get(name, 0) for name in names])
    times = np.full(len(work), np.inf)
    for _ in range(ROUNDS + 1):
        for n, (x, weights, settled, chosen, out) in enumerate(work):
            started = perf_counter()
            engine.convolve(x, weights, settled, chosen, threads=1, out=out)
            times[n] = min(times[n], perf_counter() - started)
    matrix = np.array(rows) / times[:, None] * 1e-9
    fitted = positive_least_squares(matrix, np.ones(len(times)))
    for name, value in zip(names, fitted, strict=True):
        print(f'    "{name}": {value:.3g},')
    model = matrix @ fitted
    print(
        f"# model over measured: median {np.median(model):.2f}, "
        f"from {model.min():.2f} to {model.max():.2f}",
        file=sys.stderr,
    )
    for (x, weights, _, chosen, _), ratio, time in zip(work, model, times, strict=True):
        print(
            f"# {chosen.engine} {chosen.method} {x.shape} {weights.shape} "
            f"{time * 1e3:.1f} ms, model {ratio:.2f}",
            file=sys.stderr,
        )


def positive_least_squares(matrix, target):
    """Solve, leaving out what would come out negative."""
    kept = list(range(matrix.shape[1]))
    while True:
        solution = np.zeros(matrix.shape[1])
        solution[kept] = np.linalg.lstsq(matrix[:, kept], target, rcond=None)[0]
        negative = [n for n in kept if solution[n] < 0]
        if not negative:
            return solution
        kept.remove(min(negative, key=lambda n: solution[n]))


if __name__ == "__main__":
    main()
