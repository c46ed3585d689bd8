"""Multiply-adds and nothing else: how many this processor can do.

A chain is x ← x·a + b, over and over in one register. One chain waits for each of its results;
as many of them side by side as there are registers keep every multiplier busy, and nothing is
loaded or stored meanwhile.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.source.memory import ADDRESS, COUNT
from convtool.engine.cpu.source.simd import Emitter


def chains_of_products(chains: int, lanes: int) -> Any:
    """Return the emitted loop.

    Arguments: the addresses of a and b, a vector each, and of the chains' x, which are read
    before and written after: numbers that LLVM does not know cannot be computed beforehand.
    """

    @intrinsic
    def multiply(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            factors, rounds, places = cgutils.unpack_tuple(builder, args[0])
            factors, places = e.floats(factors), e.floats(places)
            a, b = e.load(factors), e.load(factors, lanes)
            kept = [e.accumulator() for _ in range(chains)]
            for n in range(chains):
                builder.store(e.load(places, n * lanes), kept[n])
            with e.loop(rounds):
                for x in kept:
                    builder.store(e.fma(builder.load(x), a, b), x)
            for n in range(chains):
                e.store(builder.load(kept[n]), places, n * lanes)
            return context.get_dummy_value()

        return types.void(types.StarArgTuple((ADDRESS, COUNT, ADDRESS))), codegen

    return multiply


def unit(chains: int, lanes: int) -> tuple[Any, Any]:
    """Return the unit (factors, rounds, places)."""
    multiply = chains_of_products(chains, lanes)

    def peak(factors: int, rounds: int, places: int) -> None:
        multiply(factors, rounds, places)

    return types.void(ADDRESS, COUNT, ADDRESS), peak
