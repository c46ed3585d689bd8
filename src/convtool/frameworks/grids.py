"""What the paddings that frameworks offer do along one axis, by their own documents."""

from convtool.frameworks.model import Grid
from convtool.geometry import Axis, ConvPlan, same_pads, windows
from convtool.terms import PaddingMode

SAME = (PaddingMode.SAME, PaddingMode.SAME_LOWER)


def own(plan: ConvPlan) -> tuple[Grid, Grid]:
    """Return the grids of the plan itself: of an idiom that takes its numbers as they are."""
    rows, cols = plan.rows, plan.cols
    height, width = plan.output_shape[1:3]
    return Grid(height, rows.before, rows.after), Grid(width, cols.before, cols.after)


def tensorflow_same(axis: Axis) -> Grid:
    """TensorFlow's SAME, and ONNX's SAME_UPPER: the odd pixel of padding at the end."""
    return Grid(axis.o, *same_pads(axis.i, axis.k, axis.s, axis.d))


def tensorflow_same_back(axis: Axis, size: int) -> Grid:
    """Return the gradient of TensorFlow's SAME from an image of `size` pixels."""
    return Grid(size, *same_pads(size, axis.k, axis.s, axis.d))


def symmetric(axis: Axis, p: int) -> Grid | None:
    """PyTorch's padding: `p` on both sides; None where no window fits.

    Source: torch.nn.Conv2d, ``floor((i + 2p - d(k - 1) - 1) / s + 1)``.
    """
    size = windows(axis.i, axis.k, axis.s, axis.d, p, p)
    return Grid(size, p, p) if size else None


def symmetric_back(axis: Axis, p: int, output_padding: int) -> Grid:
    """PyTorch's transposed padding.

    Source: torch.nn.ConvTranspose2d, ``(i - 1)s - 2p + d(k - 1) + output_padding + 1``.
    """
    return Grid((axis.o - 1) * axis.s - 2 * p + axis.window + output_padding, p, p)


def least_symmetric(axis: Axis) -> tuple[int, int]:
    """Return (p, output_padding) that people use to reach a size with equal padding.

    It is the smallest p with which the windows do not cover more than the size; what is then
    missing is output_padding.
    """
    total = (axis.o - 1) * axis.s + axis.window - axis.i
    p = max((total + 1) // 2, 0)
    return p, 2 * p - total


def chosen(plan: ConvPlan) -> bool:
    """Whether a person chose the size of a transposed convolution."""
    return plan.spec.output_shape is not None or plan.spec.output_padding is not None
