"""What is particular to conv2d_transpose on pictures: its kernel, and the phases of its outputs.

At stride s an output gets only every s-th tap, and which ones depends on where it lies: outputs
fall into s phases along each axis, which repeat. What a kernel's taps sum to is therefore a
different number for each phase::

    stride 2, kernel a b c d    output    0    1    2    3    4    5
                                taps sum  b+d  a+c  b+d  a+c  b+d  a+c
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from convtool import bank
from convtool.errors import UsageError
from convtool.geometry import Axis, ConvPlan, ConvSpec, phases
from convtool.kernels import Kernel
from convtool.kernels.kernel import NEGLIGIBLE
from convtool.terms import Op


def kernel_for(spec: ConvSpec, kernel: Kernel, *, normalize: bool = False) -> Kernel:
    """Return a kernel as the operator reads it: that of a conv2d_transpose is HWOI.

    Parameters
    ----------
    spec : ConvSpec
    kernel : Kernel
        ``(kh, kw)``, HWIO or HWOI.
    normalize : bool
        Scale every filter to sum 1.

    Returns
    -------
    Kernel
        Whose `filters` are the operator's output channels, or those on each channel.

    Raises
    ------
    UsageError
        For a bank of filters, of which conv2d_transpose takes one.
    """
    if spec.op is Op.CONV2D:
        return bank.normalized(kernel) if normalize else kernel
    if len(kernel.shape) == 2:
        if kernel.filters > 1:
            first = kernel.filter_names[0] if kernel.filter_names else "0"
            raise UsageError(
                f"conv2d_transpose takes one filter for every channel, but {kernel.name} is a bank "
                f"of {kernel.filters}",
                f"pick one of them, as in --kernel {kernel.name}:filter={first}",
            )
        return bank.normalized(kernel) if normalize else kernel
    kh, kw, outputs, inputs = kernel.shape
    groups = spec.groups
    whole = replace(kernel, filters=outputs * groups)
    if not normalize or inputs % groups:  # groups that do not divide are the plan's to refuse
        return whole
    forward = replace(
        whole,
        shape=(kh, kw, inputs // groups, outputs * groups),
        make=lambda: exchanged(kernel.weights, groups),
    )
    scaled = bank.normalized(forward)
    return replace(whole, make=lambda: exchanged(scaled.weights, groups))


def exchanged(weights: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Write HWOI weights as HWIO, or the other way round: each group's two axes change places.

    Parameters
    ----------
    weights : ndarray (kh, kw, a, groups·b)
    groups : int

    Returns
    -------
    ndarray (kh, kw, b, groups·a)
    """
    kh, kw, a, b = weights.shape
    parts = weights.reshape(kh, kw, a, groups, b // groups)
    return parts.transpose(0, 1, 4, 3, 2).reshape(kh, kw, b // groups, groups * a)


def input_channels(kernel: Kernel, spec: ConvSpec) -> int:
    """Return how many channels a kernel of rank 4 takes."""
    return kernel.shape[3] if spec.op is Op.CONV2D_TRANSPOSE else kernel.shape[2] * spec.groups


def tap_sums(kernel: Kernel, settled: ConvPlan) -> NDArray[np.float64]:
    """Sum the taps that meet in one output.

    Returns
    -------
    ndarray (P, Q, M)
        P x Q is the period in which outputs differ, the first sum that of output (0, 0): 1 x 1 for
        conv2d; for conv2d_transpose the stride, or less where the output is smaller. M is the
        filters; for a kernel across channels every pair of channels that it joins. What only
        rounding keeps from 0 is 0.
    """
    taps = kernel.weights
    taps = taps.transpose(1, 2, 0) if settled.per_channel else taps.reshape(*taps.shape[:2], -1)
    if settled.op is Op.CONV2D:
        sums, sizes = (part.sum(axis=(0, 1), keepdims=True) for part in (taps, np.abs(taps)))
    else:
        if settled.spec.flip:
            taps = taps[::-1, ::-1]
        sums, sizes = (_by_phase(part, settled.rows, settled.cols) for part in (taps, np.abs(taps)))
    return np.where(np.abs(sums) <= NEGLIGIBLE * sizes, 0.0, sums)


def _by_phase(taps: NDArray[np.float64], rows: Axis, cols: Axis) -> NDArray[np.float64]:
    down, across = (_membership(axis) for axis in (rows, cols))
    result: NDArray[np.float64] = np.einsum("pa,qb,abm->pqm", down, across, taps, optimize=True)
    return result


def _membership(axis: Axis) -> NDArray[np.float64]:
    """Say which taps reach which output of one period: 1 or 0, (outputs, taps)."""
    reached = np.zeros((min(axis.s, axis.i), axis.k))
    for phase in phases(axis):
        reached[phase.first, phase.taps] = 1
    return reached


def over_outputs(sums: NDArray[np.float64], settled: ConvPlan) -> NDArray[np.float32]:
    """Repeat the sums of one period over all outputs: (OH, OW, M), or (1, 1, M) for one phase."""
    down, across, _ = sums.shape
    if down == across == 1:
        return sums.astype(np.float32)
    rows, cols = np.arange(settled.output_shape[1]) % down, np.arange(settled.output_shape[2])
    return sums.astype(np.float32)[rows[:, None], cols % across]


def nearest_inputs(axis: Axis) -> NDArray[np.intp]:
    """Name the input nearest to each output of a transposed axis.

    Input j lies at output ``j·s - before + (window - 1) / 2``, the middle of what it reaches; of
    two that are as near, the first. At the ends a number may be none of an input's.
    """
    # Twice the distance from where input 0 lies, so that halves are whole numbers.
    distance = 2 * (np.arange(axis.i) + axis.before) - (axis.window - 1)
    return -((axis.s - distance) // (2 * axis.s))
