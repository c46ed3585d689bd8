"""Every kernel, as it is compiled for representative work, and what it may take of a GPU.

The budgets are what the compiler took when they were written, with a little room: a change that
makes a kernel spill, or takes threads from a multiprocessor, is to be seen. 65,536 registers make
2048 threads of 32, 1024 of 64, 512 of 128.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from convtool.engine.cuda import launches
from convtool.engine.cuda.layout import chunk_of, lay_out, parts_of
from convtool.engine.finish import Finish
from convtool.geometry import ConvSpec, plan
from convtool.terms import Activation, Combine, MethodName, Op, RangeMode


class Case(NamedTuple):
    """Work that a kernel is compiled for.

    Parameters
    ----------
    name : str
    dtype : str
        Of the images.
    shape : (N, H, W, C)
    kernel : tuple of int
        (F, kh, kw), or HWIO.
    method : MethodName
    finish : Finish
    options : dict
        Of the geometry.
    registers : int
        Of a thread, at most; 128 where the compiler is told so (`launches.AT_ONCE`).
    shared : int
        Bytes of a block, at most.
    spilled : int
        Bytes that are stored and loaded for want of registers, at most.
    """

    name: str
    dtype: str
    shape: tuple[int, int, int, int]
    kernel: tuple[int, ...]
    method: MethodName
    registers: int = 128
    shared: int = 0
    finish: Finish = Finish()
    options: Mapping[str, Any] = MappingProxyType({})
    separable: bool = False
    spilled: int = 0


class Variant(NamedTuple):
    """A kernel that can be compiled, with its budget: see `Case`."""

    name: str
    function: Any
    signature: Any
    threads: int
    registers: int
    shared: int
    stack: int = 0
    spilled: int = 0
    bounds: tuple[int, int] | None = None


BYTES = Finish(range=RangeMode.CLIP, full_in=255, full_out=255, dtype="uint8")
FULL = BYTES._replace(
    bias=np.ones(2, np.float32),
    activation=Activation.SIGMOID,
    combine=Combine.MAGNITUDE,
    range=RangeMode.SIGNED,
    full_in=65535,
    summarise=True,
)
SUMMED = BYTES._replace(summarise=True)
WORDS = BYTES._replace(dtype="uint16")
D, S, G = MethodName.DIRECT, MethodName.SEPARABLE, MethodName.GEMM
RGB, GREY, LAYER = (1, 2000, 2000, 3), (1, 2000, 2000, 1), (8, 56, 56, 64)
SUMMARY = 6 * 1024
TILE = 4 * launches.TILE

TRANSPOSED = {"op": "conv2d_transpose", "stride": 2}
EACH = FULL._replace(bias=np.ones(64, np.float32), combine=Combine.EACH)
LEFT, NARROW = 16_896, 20_992  # of blocks that are 64 and 32 filters wide

CASES = [
    Case("3x3 float32", "float32", RGB, (1, 3, 3), D, registers=56),
    Case("5x5 float32", "float32", RGB, (1, 5, 5), D, registers=72),
    Case("7x7 float32", "float32", GREY, (1, 7, 7), D, registers=72),
    Case("3x3 8-bit", "uint8", RGB, (1, 3, 3), D, finish=BYTES, registers=80),
    Case("3x3 8-bit, summed up", "uint8", RGB, (1, 3, 3), D, shared=SUMMARY, finish=SUMMED),
    Case("3x3 8-bit, 16 channels", "uint8", (1, 500, 500, 16), (1, 3, 3), D, finish=BYTES),
    Case("3x7, 5 channels", "float32", (1, 500, 500, 5), (1, 3, 7), D),
    Case("5x5 8-bit", "uint8", RGB, (1, 5, 5), D, finish=BYTES, registers=80),
    Case("7x7 16-bit", "uint16", GREY, (1, 7, 7), D, finish=WORDS, registers=96),
    Case("two 3x3, all of the finish", "uint16", RGB, (2, 3, 3), D, shared=SUMMARY, finish=FULL),
    Case("two 3x3, each", "uint8", RGB, (2, 3, 3), D, registers=80),
    Case("4x4 / 2, transposed", "float32", RGB, (1, 4, 4), D, options=TRANSPOSED, registers=64),
    Case("31x31", "float32", RGB, (1, 31, 31), D, shared=TILE),
    Case("31x31 8-bit", "uint8", RGB, (1, 31, 31), D, shared=TILE, finish=BYTES),
    Case("5x5 / 2", "float32", RGB, (1, 5, 5), D, shared=TILE, options={"stride": 2}),
    Case("all", "uint16", RGB, (2, 31, 31), D, shared=TILE + SUMMARY, finish=FULL),
    Case("depthwise 3x3", "float32", LAYER, (3, 3, 1, 64), D, options={"groups": 64}),
    Case("depthwise / 2", "float32", LAYER, (3, 3, 1, 64), D, options={"groups": 64, "stride": 2}),
    Case("31", "float32", RGB, (1, 31, 31), S, shared=TILE, separable=True),
    Case("31 8-bit", "uint8", RGB, (1, 31, 31), S, shared=TILE, finish=BYTES, separable=True),
    Case(
        "31 / 2", "float32", RGB, (1, 31, 31), S, shared=TILE, options={"stride": 2}, separable=True
    ),
    Case(
        "all",
        "uint16",
        RGB,
        (2, 3, 3),
        S,
        shared=TILE + SUMMARY,
        finish=FULL,
        separable=True,
        spilled=128,  # behind all sums
    ),
    Case("64 to 64", "float32", LAYER, (3, 3, 64, 64), G, registers=168, shared=LEFT),
    Case(
        "3 to 32 8-bit", "uint8", (8, 224, 224, 3), (3, 3, 3, 32), G, registers=168, shared=NARROW
    ),
    Case(
        "4 to 32 by 2",
        "float32",
        (8, 56, 56, 8),
        (5, 5, 4, 64),
        G,
        registers=168,
        shared=NARROW,
        options={"groups": 2},
    ),
    Case(
        "all",
        "float32",
        LAYER,
        (3, 3, 64, 64),
        G,
        registers=168,
        shared=LEFT + SUMMARY,
        finish=EACH,
    ),
    Case(
        "4x4 / 2, transposed",
        "float32",
        LAYER,
        (4, 4, 32, 64),
        G,
        registers=168,
        shared=NARROW,
        options=TRANSPOSED,
    ),
]


def launch_of(case: Case) -> launches.Launch:
    """Return how the first part of a case is launched."""
    options = dict(case.options)
    op = Op(options.pop("op", "conv2d"))
    per_channel = len(case.kernel) == 3
    shape = case.kernel[1:] if per_channel else case.kernel
    filters = case.kernel[0] if per_channel and op is Op.CONV2D else 1
    settled = plan(ConvSpec.of(op, **options), case.shape, shape, filters)
    weights = (
        np.ones(case.kernel) if case.separable else np.random.default_rng(1).random(case.kernel)
    )
    parts = parts_of(settled, weights)
    channels = settled.output_shape[3]
    if case.finish.combine is not Combine.EACH:
        channels //= settled.filters
    layout = lay_out(settled, parts, channels)
    chunk = chunk_of(layout, (0, case.shape[0]), (0, settled.output_shape[1]))
    size = np.dtype(case.dtype).itemsize
    return launches.ready(parts[0], case.method, case.finish, size).launch(
        layout, chunk, chunk.bands[0]
    )


def variants() -> list[Variant]:
    """Return every kernel of the catalogue, written out, and one more."""
    from numba.cuda import types

    from convtool.engine.cuda.source import peak

    def vector(dtype: str) -> Any:
        return types.Array(getattr(types, dtype), 1, "C")

    floats, whole, real = vector("float32"), types.int64, types.float32
    found = [
        Variant(
            "fill",
            launches.function("fill", ()),
            types.void(vector("uint8"), whole, whole, whole, floats),
            threads=256,
            registers=40,
            shared=0,
            bounds=launches.bounds("fill", (), 256),
        ),
        Variant("peak", peak.kernel(), peak.SIGNATURE, 256, 32, 0),
    ]
    for case in CASES:
        launch = launch_of(case)
        threads = launch.block[0] * launch.block[1]
        weights = {"walk": 0, "separable": 2}.get(launch.name, 1)
        numbers = [
            types.UniTuple(real, len(number)) if isinstance(number, tuple) else whole
            for number in launch.numbers
        ]
        signature = types.void(
            vector(case.dtype),
            *[whole] * len(launch.x),
            *[floats] * weights,
            *numbers,
            vector(case.finish.dtype),
            *[whole] * len(launch.out),
            floats,
            *[real] * 4,
            floats,
            vector("int32"),
        )
        found.append(
            Variant(
                f"{launch.name}: {case.name}",
                launches.function(launch.name, launch.constants),
                signature,
                threads,
                case.registers,
                case.shared,
                stack=case.spilled,
                spilled=case.spilled,
                bounds=launches.bounds(launch.name, launch.constants, threads),
            )
        )
    return found
