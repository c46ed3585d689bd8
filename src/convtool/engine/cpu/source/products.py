"""Sums across channels: a product of pixels and weights that needs no matrix of patches.

A tile is `pixels` neighbouring windows of one row by `vectors` vectors of output channels, all
kept in registers. For every tap and input channel the weights of these channels are loaded, and
one number of each window, which a row of NHWC pixels holds as it is, is multiplied with them::

    window 0   x₀ · w[o … o + 15]   → sums of window 0
    window 1   x₁ · w[o … o + 15]   → sums of window 1
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convtool.engine.cpu.job import PRODUCTS
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, record_at
from convtool.engine.cpu.source.simd import Emitter

recipe_at = record_at(PRODUCTS)


def tile_of_sums(pixels: int, vectors: int, lanes: int, apart: int) -> Any:
    """Return the emitted tile; neighbouring windows lie `apart` floats from each other.

    Arguments: the addresses of a table of lines, from its first row; of the offsets of the
    kernel's columns; of the weights; of the sums; kernel rows, columns, channels; where the first
    window's pixel lies in a line; how far apart the windows' sums are.
    """

    @intrinsic
    def tile(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(builder, lanes)
            lines, offsets, weights, sums, height, width, channels, start, pitch = (
                cgutils.unpack_tuple(builder, args[0])
            )
            lines, offsets, weights = e.integers(lines), e.integers(offsets), e.floats(weights)
            sums = e.floats(sums)
            kept = [[e.accumulator() for _ in range(vectors)] for _ in range(pixels)]
            with e.loop(height) as a:
                line = e.at(e.floats(e.item(lines, a)), start)
                with e.loop(width) as b:
                    window = e.at(line, e.item(offsets, b))
                    tap = builder.mul(e.add(builder.mul(a, width), b), channels)
                    with e.loop(channels) as c:
                        row = e.times(e.add(tap, c), vectors * lanes)
                        w = [e.load(weights, e.add(row, v * lanes)) for v in range(vectors)]
                        here = e.at(window, c)
                        for p in range(pixels):
                            x = e.splat(here, p * apart)
                            for v in range(vectors):
                                e.accumulate(x, w[v], kept[p][v])
            for p in range(pixels):
                row = e.at(sums, e.times(pitch, p))
                for v in range(vectors):
                    e.store(builder.load(kept[p][v]), row, v * lanes)
            return context.get_dummy_value()

        kinds = (*[ADDRESS] * 4, *[COUNT] * 5)
        return types.void(types.StarArgTuple(kinds)), codegen

    return tile


def unit(pixels: int, vectors: int, lanes: int, apart: int) -> tuple[Any, Any]:
    """Return the unit (recipe, lines, block, columns, scratch)."""
    tile = tile_of_sums(pixels, vectors, lanes, apart)
    wide = vectors * lanes

    def products(address, lines, block, columns, scratch):
        r = recipe_at(address)
        panel_bytes = r.kernel_rows * r.kernel_columns * r.inputs * wide * 4
        panel = 0
        for group in range(r.groups):
            o = group * r.outputs
            while o < (group + 1) * r.outputs:
                for t in range(r.tile_rows):
                    x = 0
                    while x < columns:
                        # The last tile ends with the row and repeats some of the one before.
                        if x + pixels > columns and columns >= pixels:
                            x = columns - pixels
                        tile(
                            lines + t * r.step * 8,
                            r.offsets,
                            r.weights + panel * panel_bytes,
                            block + (t * r.pitch + x * r.depth_pitch + o) * 4,
                            r.kernel_rows,
                            r.kernel_columns,
                            r.inputs,
                            x * apart + group * r.group_inputs,
                            r.depth_pitch,
                        )
                        x += pixels
                o += wide
                panel += 1

    return types.void(ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS), products
