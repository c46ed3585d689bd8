"""TensorFlow: ``tf.nn.conv2d`` and its gradient, which are the model of this project."""

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
    spread,
    strides_of,
)
from convtool.frameworks.writing import call, index_lines, kernel_lines, literal, option
from convtool.geometry import ConvPlan
from convtool.terms import BorderMode, PaddingMode

_NO_DILATION = "on the CPU conv2d_transpose takes no dilation"
_NO_GROUPS = "on the CPU conv2d_transpose takes no groups"


def idiom(plan: ConvPlan) -> Idiom:
    """Return what people write, which is a word for all but numbers."""
    mode, refuses = plan.spec.padding.mode, _refused(plan)
    if mode is PaddingMode.VALID:
        return Idiom('padding="VALID"', grids.own(plan), refuses)
    if mode not in grids.SAME:
        return Idiom("explicit pads", grids.own(plan), refuses)
    note = "SAME puts the odd pixel at the end" if mode is PaddingMode.SAME_LOWER else ""
    axes = plan.rows, plan.cols
    if is_transposed(plan):
        rows, cols = (grids.tensorflow_same_back(axis, axis.i) for axis in axes)
    else:
        rows, cols = (grids.tensorflow_same(axis) for axis in axes)
    return Idiom('padding="SAME"', (rows, cols), refuses, note)


def _refused(plan: ConvPlan) -> str:
    if not is_transposed(plan):
        return ""
    if plan.spec.dilation != (1, 1):
        return _NO_DILATION
    return _NO_GROUPS if plan.groups > 1 else ""


def code(plan: ConvPlan) -> list[str]:
    """Write the plan so that it runs on the CPU, too."""
    both = sides(plan)
    if not is_transposed(plan):
        return [
            *kernel_lines(plan),
            *_border_lines(plan, both),
            *call(
                "y = tf.nn.conv2d(",
                "x, w",
                option("strides", list(strides_of(both))),
                option("padding", _padding(plan, both)),
                option("dilations", list(dilations_of(both)), [1, 1]),
            ),
        ]
    dilated = plan.spec.dilation != (1, 1)
    lines = [
        *kernel_lines(plan, both if dilated else None),
        *_border_lines(plan, both),
    ]
    return lines + _back(plan, spread(both) if dilated else both)


def _back(plan: ConvPlan, both: tuple[Side, Side]) -> list[str]:
    *size, channels = plan.output_shape
    groups = plan.groups
    settings = (
        option("output_shape", [*size, channels // groups]),
        option("strides", list(strides_of(both))),
        option("padding", _padding(plan, both)),
    )
    if groups == 1:
        return call("y = tf.nn.conv2d_transpose(", "x, w", *settings)
    return [
        f"groups = zip(tf.split(x, {groups}, axis=-1), np.split(w, {groups}, axis=-1))",
        *call("parts = [tf.nn.conv2d_transpose(", "part, kernel", *settings),
        "         for part, kernel in groups]",
        "y = tf.concat(parts, axis=-1)",
    ]


def _padding(plan: ConvPlan, both: tuple[Side, Side]) -> str:
    if plan.spec.padding.mode is PaddingMode.SAME and not any(around_of(both)):
        return '"SAME"'
    # What is missing at the end of a transposed convolution follows from output_shape.
    t, b, left, r = pads = tuple(max(pad, 0) for pad in pads_of(both))
    return f"[[0, 0], [{t}, {b}], [{left}, {r}], [0, 0]]" if any(pads) else '"VALID"'


def _border_lines(plan: ConvPlan, both: tuple[Side, Side]) -> list[str]:
    t, b, left, r = around_of(both)
    if not any((t, b, left, r)):
        return []
    border = plan.spec.border
    head = f"x = tf.pad(x, [[0, 0], [{t}, {b}], [{left}, {r}], [0, 0]]"
    if border.is_fill:
        return [f"{head}, constant_values={literal(border.value)})"]
    if border.mode in (BorderMode.REFLECT, BorderMode.SYMMETRIC) and fits_inside(plan, both):
        return [f'{head}, "{border.mode.upper()}")']
    lines, taken = index_lines(plan, both)
    return [*lines, *(f"x = tf.gather(x, {name}, axis={1 + axis})" for name, axis in taken)]
