"""Kernels that take one thing too many each, and one that does not: what `assemble` must tell."""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda, types


class Variant(NamedTuple):
    name: str
    function: Any
    signature: Any
    threads: int
    registers: int
    shared: int
    stack: int = 0
    spilled: int = 0
    bounds: Any = None


def modest(places):
    """Take one number each."""
    i = cuda.grid(1)
    if i < places.size:
        places[i] += types.float32(1)


def local(places):
    """Have an array of one's own, written to at places that nobody knows beforehand."""
    own = cuda.local.array(64, types.float32)
    for n in range(64):
        own[n] = types.float32(n)
    for n in range(places.size):
        own[int(places[n]) & 63] += types.float32(1)
    for n in range(64):
        places[n] = own[n]


def sharing(places):
    """Pass numbers on within a block."""
    tile = cuda.shared.array(1024, types.float32)
    i = cuda.threadIdx.x
    tile[i] = places[i]
    cuda.syncthreads()
    places[i] = tile[1023 - i]


def hoarder(count):
    """Return a kernel that holds so many numbers at once, of two registers each."""
    lines = ["def hoarding(places):", "    i = uint64(cuda.grid(1))"]
    lines += [f"    x{n} = places[i + at{n}]" for n in range(count)]
    lines += ["    cuda.syncthreads()"]
    lines += [f"    places[i + at{n}] = x{count - 1 - n}" for n in range(count)]
    # Unsigned, for Numba looks at each signed index whether it counts from the end.
    scope = {"cuda": cuda, "uint64": np.uint64} | {f"at{n}": np.uint64(n) for n in range(count)}
    exec("\n".join(lines), scope)
    return scope["hoarding"]


def variants() -> list[Variant]:
    """Return them; the budgets are what compilers of some years keep within, but for one each."""
    takes = types.void(types.Array(types.float32, 1, "C"))
    wide = types.void(types.Array(types.float64, 1, "C"))
    return [
        Variant("modest", modest, takes, 256, 40, 0),
        Variant("many registers", modest, takes, 256, 2, 0),
        Variant("local memory", local, takes, 256, 255, 0),
        Variant("local memory, allowed", local, takes, 256, 255, 0, stack=256),
        Variant("shared memory", sharing, takes, 1024, 64, 4095),
        Variant("spills", hoarder(130), wide, 32, 255, 0, stack=1024),
        Variant("too many threads", hoarder(40), wide, 1024, 255, 0),
    ]
