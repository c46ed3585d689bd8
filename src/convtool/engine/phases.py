"""A transposed convolution as convolutions of stride 1, one for each residue of its outputs.

No product with an inserted zero is computed: output rows and columns whose places agree modulo the
stride are reached by the same taps, and are together an ordinary convolution of the input::

    stride 2, kernel 4x4        x . x . x .       four convolutions with kernels of 2x2,
                                . o . o . o       each writing every other pixel of every
                                x . x . x .       other row
"""

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

    @property
    def reached(self) -> bool:
        """Whether any tap reaches these outputs; if not, they are the bias alone."""
        return bool(self.rows.taps and self.cols.taps)

    def read(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the part of the images (N, H, W, C) that it reads."""
        rows, cols = self.rows.reads, self.cols.reads
        if not self.reached:
            return images[:, :0, :0]
        return images[:, rows.start : rows.stop, cols.start : cols.stop]

    def results(self, out: NDArray[Any], settled: ConvPlan) -> NDArray[Any]:
        """Return the part of the output (N, OH, OW, OC) that it makes."""
        down, across = settled.spec.stride
        return out[:, self.rows.first :: down, self.cols.first :: across]

    def weights(self, taps: NDArray[Any]) -> NDArray[Any]:
        """Return its weights, of those of the whole: (1, kh, kw), or HWIO from HWOI."""
        if not self.reached:
            shape = self.plan.kernel_shape
            return np.zeros(shape if len(shape) == 4 else (1, *shape), taps.dtype)
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


@lru_cache(maxsize=256)
def parts(settled: ConvPlan) -> tuple[Part, ...]:
    """Take a transposed convolution apart; its border is one number."""
    return tuple(
        _part(settled, rows, cols) for rows in phases(settled.rows) for cols in phases(settled.cols)
    )


def _part(settled: ConvPlan, rows: Phase, cols: Phase) -> Part:
    border = settled.spec.border
    if not (rows.taps and cols.taps):
        rows, cols, border = _nothing(rows), _nothing(cols), Border()
    n, _, _, c = settled.input_shape
    out = settled.output_shape[3]
    groups = settled.spec.groups
    size = (rows.axis.k, cols.axis.k)
    spec = ConvSpec(
        padding=Padding(
            PaddingMode.EXPLICIT,
            (rows.axis.before, rows.axis.after, cols.axis.before, cols.axis.after),
        ),
        dilation=(rows.axis.d, cols.axis.d),
        groups=groups,
        border=border,
    )
    shape = (n, rows.axis.i, cols.axis.i, c)
    return Part(
        plan(spec, shape, size if settled.per_channel else (*size, c // groups, out)), rows, cols
    )


def _nothing(phase: Phase) -> Phase:
    """Return the phase with one tap that reads padding alone."""
    outputs = phase.axis.o
    return Phase(phase.first, range(0), range(0), Axis(0, 1, 1, 1, outputs, 0, outputs))
