"""ONNX: nodes Conv and ConvTranspose, NCHW, kernels OIHW; run by ONNX Runtime."""

from convtool.frameworks import grids
from convtool.frameworks.model import (
    Idiom,
    Side,
    around_of,
    dilations_of,
    fits_inside,
    is_transposed,
    pads_of,
    sides,
    strides_of,
)
from convtool.frameworks.writing import (
    NUMPY_MODES,
    call,
    index_lines,
    kernel_lines,
    literal,
    option,
)
from convtool.geometry import ConvPlan, size_text
from convtool.terms import BorderMode, PaddingMode

_NO_DILATION = "ONNX Runtime takes no dilation with auto_pad; pads=[…] it does"


def idiom(plan: ConvPlan) -> Idiom:
    """Return what people write: a word or the pads themselves, which may be uneven."""
    mode = plan.spec.padding.mode
    if mode not in grids.SAME:
        return Idiom('auto_pad="VALID"' if _all_valid(plan) else "pads=[…]", grids.own(plan))
    word = "SAME_UPPER" if mode is PaddingMode.SAME else "SAME_LOWER"
    text = f'auto_pad="{word}"'
    if not is_transposed(plan):
        dilated = plan.spec.dilation != (1, 1)
        return Idiom(text, grids.own(plan), _NO_DILATION if dilated else "")
    note = ""
    if any((axis.before + axis.after) % 2 for axis in (plan.rows, plan.cols)):
        note = "with output_shape but without auto_pad the odd pixel is cut at the start"
    return Idiom(
        f"{text}, output_shape={size_text(plan.output_shape[1:3])}", grids.own(plan), note=note
    )


def _all_valid(plan: ConvPlan) -> bool:
    return plan.spec.padding.mode is PaddingMode.VALID and not any(plan.dropped)


def code(plan: ConvPlan) -> list[str]:
    """Write the plan as nodes; ``w`` becomes the initializer of that name."""
    both = sides(plan)
    t, b, left, r = pads_of(both)
    lines, image = _border_lines(plan, both)
    extra = [max(-b, 0), max(-r, 0)] if is_transposed(plan) else [0, 0]
    op, layouts = ("ConvTranspose", "HWOI to IOHW") if is_transposed(plan) else ("Conv", "")
    return [
        *kernel_lines(plan),
        f"w = w.transpose(3, 2, 0, 1)  # {layouts or 'HWIO to OIHW'}",
        *lines,
        *call(
            "conv = onnx.helper.make_node(",
            f'"{op}", ["{image}", "w"], ["y"]',
            option("strides", list(strides_of(both))),
            option("pads", [t, left, max(b, 0), max(r, 0)]),
            option("output_padding", extra, [0, 0]),
            option("dilations", list(dilations_of(both)), [1, 1]),
            option("group", plan.groups, 1),
        ),
    ]


def _border_lines(plan: ConvPlan, both: tuple[Side, Side]) -> tuple[list[str], str]:
    """Return the nodes and initializers that come first, and what the convolution then reads."""
    t, b, left, r = around_of(both)
    if not any((t, b, left, r)):
        return [], "x"
    border = plan.spec.border
    native = border.is_fill or border.mode is BorderMode.EDGE
    if native or (border.mode is not BorderMode.SYMMETRIC and fits_inside(plan, both)):
        mode = "constant" if border.is_fill else NUMPY_MODES[border.mode]
        lines = [f"pads = np.array([0, 0, {t}, {left}, 0, 0, {b}, {r}])  # an initializer"]
        inputs = '"x", "pads"'
        if border.is_fill:
            lines.append(f"value = np.float32({literal(border.value)})  # an initializer")
            inputs += ', "value"'
        lines += call(
            "pad = onnx.helper.make_node(", f'"Pad", [{inputs}], ["padded"], mode="{mode}"'
        )
        return lines, "padded"
    lines, taken = index_lines(plan, both)
    lines = [f"{line}  # an initializer" for line in lines]
    image = "x"
    for name, axis in taken:
        lines += call(
            f"take_{name} = onnx.helper.make_node(",
            f'"Gather", ["{image}", "{name}"], ["x_{name}"]',
            f"axis={2 + axis}",
        )
        image = f"x_{name}"
    return lines, image
