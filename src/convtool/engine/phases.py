"""A transposed convolution as convolutions of stride 1, one for each residue of its outputs.

No product with an inserted zero is computed: output rows and columns whose places agree modulo the
stride are reached by the same taps, and are together an ordinary convolution of the input::

    stride 2, kernel 4x4        x . x . x .       four convolutions with kernels of 2x2,
                                . o . o . o       each writing every other pixel of every
                                x . x . x .       other row
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.geometry import (
    Axis,
    Border,
    ConvPlan,
    ConvSpec,
    Padding,
    Pair,
    Phase,
    beyond,
    phases,
    plan,
)
from convtool.terms import PaddingMode

# So many parts are remembered for the next image of the same kind.
FEW = 64


class Part(NamedTuple):
    """A convolution that makes some of the outputs.

    Parameters
    ----------
    plan : ConvPlan
        Of a conv2d.
    rows, cols : Phase
        Which lines it reads, with which taps, and where the first of its results goes.
    """

    plan: ConvPlan
    rows: Phase
    cols: Phase

    def read(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the part of the images (N, H, W, C) that it reads."""
        rows, cols = self.rows.reads, self.cols.reads
        return images[:, rows.start : rows.stop, cols.start : cols.stop]

    def results(self, out: NDArray[Any], settled: ConvPlan) -> NDArray[Any]:
        """Return the part of the output (N, OH, OW, OC) that it makes."""
        down, across = settled.spec.stride
        return out[:, self.rows.first :: down, self.cols.first :: across]

    def weights(self, taps: NDArray[Any]) -> NDArray[Any]:
        """Return its weights, of those of the whole: (1, kh, kw), or HWIO from HWOI."""
        down, across = _slice(self.rows.taps), _slice(self.cols.taps)
        if taps.ndim == 3:
            return taps[:, down, across]
        some = taps[down, across]
        kh, kw, outputs, inputs = some.shape
        groups = self.plan.spec.groups
        split = some.reshape(kh, kw, outputs, groups, inputs // groups)
        return split.transpose(0, 1, 4, 3, 2).reshape(kh, kw, inputs // groups, groups * outputs)


def _slice(taps: range) -> slice:
    """Return the slice of these taps, which come from the last to the first."""
    return slice(taps.start, taps.stop if taps.stop >= 0 else None, taps.step)


def with_border(settled: ConvPlan, images: NDArray[Any]) -> tuple[ConvPlan, NDArray[Any]]:
    """Put a border that repeats pixels around the images; others are left to the convolutions.

    Returns
    -------
    ConvPlan
        The same outputs of the larger images.
    ndarray (N, H + …, W + …, C)
    """
    border = settled.spec.border
    if border.is_fill:
        return settled, images
    around = (beyond(settled.rows), beyond(settled.cols))
    padded = np.pad(images, ((0, 0), *around, (0, 0)), mode=border.mode.value)  # type: ignore[call-overload]
    rows, cols = _grown(settled.rows, around[0]), _grown(settled.cols, around[1])
    n, _, _, c = settled.input_shape
    larger = settled._replace(
        spec=settled.spec._replace(border=Border()),
        input_shape=(n, rows.o, cols.o, c),
        rows=rows,
        cols=cols,
    )
    return larger, padded


def _grown(axis: Axis, around: Pair) -> Axis:
    return axis._replace(o=axis.o + sum(around), before=axis.before + around[0] * axis.s)


def parts(settled: ConvPlan) -> Iterable[Part]:
    """Take a transposed convolution apart; its border is one number.

    Outputs that no tap reaches are in none of the parts.
    """
    return _few(settled) if count(settled) <= FEW else _parts(settled)


def count(settled: ConvPlan) -> int:
    """Return how many parts there are."""
    return len(phases(settled.rows)) * len(phases(settled.cols))


def unreached(settled: ConvPlan) -> int:
    """Return how many outputs, of all images, are in none of the parts."""
    n, height, width, _ = settled.output_shape
    high, wide = (
        sum(phase.axis.o for phase in phases(axis)) for axis in (settled.rows, settled.cols)
    )
    return n * (height * width - high * wide)


@lru_cache(maxsize=64)
def _few(settled: ConvPlan) -> tuple[Part, ...]:
    return tuple(_parts(settled))


def _parts(settled: ConvPlan) -> Iterator[Part]:
    for rows in phases(settled.rows):
        for cols in phases(settled.cols):
            yield _part(settled, rows, cols)


def alike(settled: ConvPlan) -> list[tuple[Part, int]]:
    """Return one part of each size of kernel, and how many there are of it."""
    return [
        (_part(settled, rows, cols), high * wide)
        for rows, high in _by_taps(phases(settled.rows))
        for cols, wide in _by_taps(phases(settled.cols))
    ]


def _by_taps(found: tuple[Phase, ...]) -> list[tuple[Phase, int]]:
    sizes = Counter(len(phase.taps) for phase in found)
    return [
        (next(phase for phase in found if len(phase.taps) == size), number)
        for size, number in sizes.items()
    ]


def _part(settled: ConvPlan, rows: Phase, cols: Phase) -> Part:
    n, _, _, c = settled.input_shape
    out, groups = settled.output_shape[3], settled.spec.groups
    pads = (rows.axis.before, rows.axis.after, cols.axis.before, cols.axis.after)
    spec = ConvSpec(
        padding=Padding(PaddingMode.EXPLICIT, pads),
        dilation=(rows.axis.d, cols.axis.d),
        groups=groups,
        border=settled.spec.border,
    )
    size = (rows.axis.k, cols.axis.k)
    kernel = size if settled.per_channel else (*size, c // groups, out)
    return Part(plan(spec, (n, rows.axis.i, cols.axis.i, c), kernel), rows, cols)


def nothing(settled: ConvPlan) -> ConvPlan:
    """Plan one output that no tap reaches: a convolution of padding alone."""
    c = settled.input_shape[3]
    out, groups = settled.output_shape[3], settled.spec.groups
    spec = ConvSpec(padding=Padding(PaddingMode.EXPLICIT, (1, 0, 1, 0)), groups=groups)
    kernel = (1, 1) if settled.per_channel else (1, 1, c // groups, out)
    return plan(spec, (1, 0, 0, c), kernel)
