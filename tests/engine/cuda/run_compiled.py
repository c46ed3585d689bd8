"""Real work through every kernel as it is compiled, on no GPU: see `emulated` and `ptx`.

    python run_compiled.py METHOD...

Runs the cases of some methods, or `planted` ones that are to go wrong, and prints what became of
each as a line of JSON. For processes of their own, for the simulator and the compiler cannot be had
in one.
"""

import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent))

from test_finish import apply, same

from convtool import engine
from convtool.engine import cuda, phases
from convtool.engine.cuda import launches, layout, resident
from convtool.engine.finish import Finish
from convtool.geometry import ConvSpec, plan
from convtool.terms import Activation, Combine, EngineName, MethodName, Op, RangeMode

D, S, G = MethodName.DIRECT, MethodName.SEPARABLE, MethodName.GEMM

# Some blocks of threads along every axis, with ends that nothing fits.
RGB, GREY = (2, 37, 101, 3), (1, 37, 301, 1)
LAYER = (2, 9, 11)

PLAIN = Finish()
BYTES = Finish(range=RangeMode.CLIP, full_in=255, full_out=255, dtype="uint8", summarise=True)
ROUNDED = BYTES._replace(summarise=False)
WORDS = BYTES._replace(full_in=65535, full_out=65535, dtype="uint16")
TWO = np.array([30, -50], np.float32)

# Bytes of a chunk that make several of each case.
SMALL = 1 << 14


class Case(NamedTuple):
    """A convolution that is to come out as in the numpy engine.

    Parameters
    ----------
    name : str
    dtype : str
        Of the images.
    shape : (N, H, W, C)
    kernel : tuple of int
        (F, kh, kw), or as `plan` takes it.
    method : MethodName
    finish : Finish
    options : dict
        Of the geometry.
    terms : int
        How many outer products a filter is a sum of.
    others : bool
        Whether there are values that are no numbers.
    exact : bool
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    method: MethodName
    finish: Finish = PLAIN
    options: Mapping[str, Any] = MappingProxyType({})
    terms: int = 1
    others: bool = False
    exact: bool = True


class Report(NamedTuple):
    """What became of a case: what is wrong, and the kernels that made it, with their constants."""

    name: str
    wrong: str
    kernels: list[tuple[str, dict[str, int]]]


def finish_of(base: Finish, combine: Combine = Combine.EACH, **others: Any) -> Finish:
    return base._replace(bias=TWO, combine=combine, **others)


BY_TWO = {"stride": 2}
BACK = {"op": "conv2d_transpose", "stride": 2}
RELU, ABS = Activation.RELU, Activation.ABS

CASES = [
    # walk: types in and out, each way to end, and results that lie apart
    Case("3x3", "float32", RGB, (1, 3, 3), D),
    Case("5x5", "uint8", RGB, (1, 5, 5), D, BYTES, {"border": "reflect"}),
    Case("7x7", "uint16", GREY, (1, 7, 7), D, WORDS, {"padding": "valid"}),
    Case("each", "uint8", RGB, (2, 3, 3), D, finish_of(BYTES, activation=ABS)),
    Case(
        "magnitude, signed, divided",
        "uint16",
        RGB,
        (2, 3, 3),
        D,
        finish_of(BYTES, Combine.MAGNITUDE, activation=RELU, range=RangeMode.SIGNED, full_in=65535),
    ),
    Case(
        "mean, abs, multiplied",
        "uint8",
        RGB,
        (2, 3, 3),
        D,
        finish_of(WORDS, Combine.MEAN, range=RangeMode.ABS, full_in=255),
    ),
    Case(
        "max, not all numbers",
        "float32",
        RGB,
        (2, 1, 5),
        D,
        finish_of(BYTES, Combine.MAX),
        others=True,
    ),
    Case(
        "sigmoid",
        "uint8",
        RGB,
        (2, 3, 3),
        D,
        finish_of(PLAIN, Combine.SUM, activation=Activation.SIGMOID, summarise=True),
        exact=False,
    ),
    Case("4x4 / 2, transposed", "float32", RGB, (1, 4, 4), D, options=BACK),
    Case("4x4 / 2, bytes", "uint8", RGB, (1, 4, 4), D, ROUNDED, {**BACK, "border": "edge"}),
    Case(
        "2x2 / 3, transposed",
        "uint8",
        RGB,
        (1, 2, 2),
        D,
        ROUNDED._replace(bias=TWO[:1]),
        {**BACK, "stride": 3, "padding": "valid"},
    ),
    # taps: through shared memory or not, rows that share lines or not, a filter for each channel
    Case("11x9", "float32", RGB, (1, 11, 9), D),
    Case("11x9, dilated", "float32", RGB, (1, 11, 9), D, options={"dilation": 3}),
    Case(
        "5x5 / 2",
        "uint16",
        RGB,
        (2, 5, 5),
        D,
        finish_of(BYTES, Combine.ABSMAX, range=RangeMode.SIGNED, full_in=65535),
        BY_TWO,
    ),
    Case("5x5 / 40", "uint8", (1, 9, 300, 3), (1, 5, 5), D, BYTES, {"stride": 40, "dilation": 9}),
    Case("depthwise", "float32", (*LAYER, 40), (3, 3, 1, 40), D, options={"groups": 40}),
    Case(
        "depthwise / 2",
        "float32",
        (*LAYER, 3),
        (3, 3, 1, 6),
        D,
        PLAIN._replace(bias=np.arange(6, dtype=np.float32), activation=RELU),
        {**BY_TWO, "groups": 3},
    ),
    # separable: rows that share lines or not, neighbours that share numbers or not
    Case("11x9", "float32", RGB, (1, 11, 9), S),
    Case("7x12, two terms", "float32", RGB, (1, 7, 12), S, terms=2, exact=False),
    Case(
        "5x7, dilated, each",
        "uint8",
        (1, 20, 30, 5),
        (2, 5, 7),
        S,
        finish_of(BYTES),
        {"dilation": 2},
    ),
    Case(
        "5x5 / 2",
        "uint16",
        RGB,
        (2, 5, 5),
        S,
        finish_of(WORDS, Combine.MAX, activation=ABS),
        BY_TWO,
    ),
    # products: 16 bytes at a time or number by number, of every width and depth
    Case("16 to 8", "float32", (*LAYER, 16), (3, 3, 16, 8), G),
    Case("16 to 8, transposed", "float32", (*LAYER, 8), (4, 4, 16, 8), G, options=BACK),
    Case(
        "3 to 5",
        "uint8",
        (*LAYER, 3),
        (3, 3, 3, 5),
        G,
        BYTES._replace(bias=np.arange(5, dtype=np.float32) * 10, activation=RELU),
    ),
    Case(
        "4 to 36 by two",
        "float32",
        (*LAYER, 8),
        (3, 2, 4, 72),
        G,
        BYTES,
        {"groups": 2, "stride": (1, 2), "dilation": (2, 1)},
    ),
    Case("18 to 35", "float32", (*LAYER, 18), (2, 2, 18, 35), G, options={"padding": "valid"}),
]


def images_of(case: Case) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    if case.dtype == "float32":
        images = rng.integers(-9, 10, case.shape).astype(np.float32)
    else:
        images = rng.integers(0, np.iinfo(case.dtype).max, case.shape, case.dtype, endpoint=True)
    if case.others:
        images[0, 4, 30, 1], images[1, 9, 9, 0], images[0, 20, 30, 2] = np.nan, np.inf, -np.inf
    return images


def weights_of(case: Case) -> np.ndarray[Any, Any]:
    """Return whole numbers, but for filters that are sums of outer products: see `factors`."""
    rng = np.random.default_rng(4)
    if case.method is not S:
        return rng.integers(-3, 4, case.kernel).astype(np.float64)
    filters, kh, kw = case.kernel
    columns = rng.integers(-2, 3, (filters, case.terms, kh)).astype(np.float64)
    rows = rng.integers(-2, 3, (filters, case.terms, kw))
    return np.einsum("fta,ftb->fab", columns, rows) * (1 if case.terms == 1 else 1e-3)


def settled_of(case: Case) -> Any:
    options = dict(case.options)
    spec = ConvSpec.of(Op(options.pop("op", "conv2d")), **options)
    per_channel = len(case.kernel) == 3
    shape = case.kernel[1:] if per_channel else case.kernel
    filters = case.kernel[0] if per_channel and spec.op is Op.CONV2D else 1
    return plan(spec, case.shape, shape, filters)


def check(case: Case) -> None:
    """Run a case, whole, in chunks, and on images that are there already."""
    images, weights, settled = images_of(case), weights_of(case), settled_of(case)
    plain = engine.choose(settled, EngineName.NUMPY, weights=weights)
    with np.errstate(invalid="ignore"):
        sums = engine.convolve(images, weights, settled, plain)
        expected = apply(sums, case.finish, settled.filters)
    for most in (layout.CHUNK, SMALL):
        with pytest.MonkeyPatch.context() as change:
            change.setattr(layout, "CHUNK", most)
            found = cuda.convolve(images, weights, settled, case.method, case.finish)
        same(found, expected, case.exact)
    if not phases.unreached(settled):
        kept = resident.resident(images, weights, settled, case.method, case.finish)
        kept.launch()
        same((kept.result(), None), (expected[0], None), case.exact)


def report(case: Case, used: list[tuple[str, launches.Constants]]) -> Report:
    """Run a case; say what is wrong, and which kernels it took."""
    used.clear()
    try:
        check(case)
        wrong = ""
    except Exception:
        wrong = traceback.format_exc()
    return Report(case.name, wrong, [(name, dict(constants)) for name, constants in used])


def watched() -> list[tuple[str, launches.Constants]]:
    """Have the kernels that are asked for listed."""
    used: list[tuple[str, launches.Constants]] = []
    compiled = launches.compiled

    def asked(name: str, constants: launches.Constants, threads: int) -> Any:
        if (name, constants) not in used:
            used.append((name, constants))
        return compiled(name, constants, threads)

    launches.compiled = asked  # type: ignore[assignment]
    return used


def planted(used: list[tuple[str, launches.Constants]]) -> Iterator[Report]:
    """Run a case where images are laid out so that the kernel goes wrong."""
    case = CASES[0]
    with pytest.MonkeyPatch.context() as change:
        change.setattr(layout, "PITCH", 1)
        yield report(case._replace(name="rows that begin anywhere"), used)
    with pytest.MonkeyPatch.context() as change:
        change.setattr(layout, "BEHIND", 0)
        change.setattr(layout, "_beyond", lambda band: 0)
        yield report(case._replace(name="no memory behind the images"), used)


def main(*methods: str) -> None:
    """Print the reports of the cases of some methods, or of what is planted."""
    import emulated

    emulated.install()
    used = watched()
    for case in CASES:
        if case.method in methods:
            print(json.dumps(report(case, used)), flush=True)
    for found in planted(used) if "planted" in methods else ():
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
