"""Multiply-adds and nothing else: how many a GPU can do.

A chain is x ← x·a + b, over and over in one register. One chain waits for each of its results;
several of them in each thread, and many threads, keep every multiplier busy. Nothing is loaded or
stored meanwhile, and many steps stand between two branches.
"""

from typing import Any

from numba import cuda, types

from convtool.engine.cuda.source.unroll import registers, unroll, written_out

# Of each thread: side by side, and one after the other in a round.
CHAINS = 8
STEPS = 32

FLOATS = types.Array(types.float32, 1, "C")
SIGNATURE = types.void(FLOATS, types.int64, FLOATS)


def multiply(factors, rounds, places):
    """Run the chains of every thread; add them up into `places`, where they began.

    Parameters
    ----------
    factors : (2,) float32
        a and b: numbers that the compiler does not know cannot be computed beforehand.
    rounds : int
        Each of STEPS multiply-adds in CHAINS chains.
    places : (threads,) float32
    """
    a, b = factors[0], factors[1]
    place = cuda.grid(1)
    x = registers(CHAINS)
    x[0] = places[place]
    for chain in unroll(1, CHAINS):  # no two are alike, or they would be made one
        x[chain] = x[chain - 1] + a
    for _ in range(rounds):
        for _step in unroll(STEPS):
            for chain in unroll(CHAINS):
                x[chain] = cuda.fma(x[chain], a, b)
    for chain in unroll(1, CHAINS):
        x[0] += x[chain]
    places[place] = x[0]


def kernel() -> Any:
    """Return the function that is compiled, with its loops written out."""
    return written_out(multiply, {"CHAINS": CHAINS, "STEPS": STEPS})
