"""Lines of Python that several frameworks' code has in common."""

from math import isfinite

from convtool.frameworks.model import Side, is_transposed
from convtool.geometry import ConvPlan
from convtool.terms import BorderMode

# The widest line of code, so that it fits under a margin on a terminal of 80 columns.
WIDTH = 76

# numpy.pad's words for the borders that are not one number.
NUMPY_MODES = {
    BorderMode.EDGE: "edge",
    BorderMode.REFLECT: "reflect",
    BorderMode.SYMMETRIC: "symmetric",
    BorderMode.WRAP: "wrap",
}


def call(head: str, *arguments: str, tail: str = ")") -> list[str]:
    """Write a call, on as few lines as it needs; arguments that are "" are left out."""
    given = [argument for argument in arguments if argument]
    line = head + ", ".join(given) + tail
    if len(line) <= WIDTH:
        return [line]
    lines, current = [head], "   "
    for number, argument in enumerate(given):
        piece = f" {argument}" + ("," if number < len(given) - 1 else tail)
        if len(current + piece) > WIDTH and current.strip():
            lines.append(current)
            current = "   "
        current += piece
    return [*lines, current]


def option(name: str, value: object, default: object = None) -> str:
    """Write ``name=value``; "" where that is the default."""
    return "" if value == default else f"{name}={value}"


def literal(value: float) -> str:
    """Write a number so that Python reads the same one again.

    Examples
    --------
    >>> literal(128.0), literal(123.456789), literal(float("-inf"))
    ('128', '123.456789', 'float("-inf")')
    """
    if not isfinite(value):
        return f'float("{value}")'
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def kernel_lines(plan: ConvPlan, both: tuple[Side, Side] | None = None) -> list[str]:
    """Bring the kernel to rank 4: HWIO, or HWOI for conv2d_transpose.

    Parameters
    ----------
    plan : ConvPlan
    both : (Side, Side), optional
        With the dilation, where it has to be moved into the kernel.
    """
    lines = []
    if plan.per_channel:
        c = plan.input_shape[3]
        if plan.filters == 1:
            lines.append(f"w = np.tile(w[:, :, None, None], (1, 1, 1, {c}))  # for each channel")
        else:
            lines.append("w = np.moveaxis(w, 0, -1)[:, :, None]  # (filters, kh, kw) to HWIO")
            lines.append(f"w = np.tile(w, (1, 1, 1, {c}))  # for each channel")
    if plan.spec.flip:
        lines.append("w = np.flip(w, (0, 1)).copy()  # true convolution: rotated by 180°")
    if both is not None:
        kh, kw = both[0].window, both[1].window
        dh, dw = both[0].d, both[1].d
        lines.append(f"dilated = np.zeros(({kh}, {kw}, *w.shape[2:]), w.dtype)")
        lines.append(f"dilated[::{dh}, ::{dw}] = w  # the dilation as zeros between the taps")
        lines.append("w = dilated")
    return lines


def index_lines(plan: ConvPlan, both: tuple[Side, Side]) -> tuple[list[str], list[tuple[str, int]]]:
    """Write which lines of the image stand in a border that a framework does not know.

    Returns
    -------
    lines : list of str
    taken : list of (name, axis)
        The indices, and which axis they belong to: 0 the rows, 1 the columns.
    """
    mode = NUMPY_MODES[plan.spec.border.mode]
    lines, taken = [], []
    for axis, (name, side) in enumerate(zip(("rows", "cols"), both, strict=True)):
        if any(side.around):
            size = plan.input_shape[1 + axis]
            lines.append(f'{name} = np.pad(np.arange({size}), {side.around}, mode="{mode}")')
            taken.append((name, axis))
    return lines, taken


def layout_of(plan: ConvPlan) -> str:
    """Name the layout of the kernel."""
    return "HWOI" if is_transposed(plan) else "HWIO"
