"""JAX: ``jax.lax``, whose convolution takes any pads and any layout."""

from convtool.frameworks import grids
from convtool.frameworks.model import (
    Grid,
    Idiom,
    Side,
    around_of,
    dilations_of,
    is_transposed,
    sides,
    strides_of,
)
from convtool.frameworks.writing import NUMPY_MODES, call, kernel_lines, literal, option
from convtool.geometry import Axis, ConvPlan
from convtool.terms import PaddingMode


def idiom(plan: ConvPlan) -> Idiom:
    """Return what people write: a word; pairs of numbers for a chosen transposed size."""
    mode = plan.spec.padding.mode
    if not is_transposed(plan):
        words = {
            PaddingMode.VALID: "VALID",
            PaddingMode.SAME: "SAME",
            PaddingMode.SAME_LOWER: "SAME_LOWER",
        }
        return Idiom(
            f'padding="{words[mode]}"' if mode in words else "explicit pads", grids.own(plan)
        )
    note = "rotates the kernel as a gradient does only with transpose_kernel=True"
    if grids.chosen(plan) or mode not in (*grids.SAME, PaddingMode.VALID):
        return Idiom("explicit pads", grids.own(plan), note=note)
    rows, cols = (_word_back(axis, mode) for axis in (plan.rows, plan.cols))
    word = "VALID" if mode is PaddingMode.VALID else "SAME"
    return Idiom(f'padding="{word}"', (rows, cols), note=note)


def _word_back(axis: Axis, mode: PaddingMode) -> Grid:
    """Return what lax.conv_transpose makes of its words.

    Source: jax.lax.conv_transpose, whose SAME gives i·s, and VALID i·s + max(k_eff - s, 0).
    """
    if mode is PaddingMode.VALID:
        return Grid(axis.o * axis.s + max(axis.window - axis.s, 0), 0, 0)
    return grids.tensorflow_same_back(axis, axis.o * axis.s)


def code(plan: ConvPlan) -> list[str]:
    """Write the plan; all of it can be said."""
    both = sides(plan)
    lines = [*kernel_lines(plan), *_border_lines(plan, both)]
    if not is_transposed(plan):
        return lines + call(
            "y = lax.conv_general_dilated(",
            "x, w",
            option("window_strides", strides_of(both)),
            option("padding", tuple((side.before, side.after) for side in both)),
            option("rhs_dilation", dilations_of(both), (1, 1)),
            'dimension_numbers=("NHWC", "HWIO", "NHWC")',
            option("feature_group_count", plan.groups, 1),
        )
    padding = tuple(_inserted(side) for side in both)
    if plan.groups == 1:
        # The kernel of the convolution that is transposed, whose output is the input here.
        return lines + call(
            "y = lax.conv_transpose(",
            "x, w",
            option("strides", strides_of(both)),
            option("padding", padding),
            option("rhs_dilation", dilations_of(both), (1, 1)),
            'dimension_numbers=("NHWC", "HWIO", "NHWC")',
            "transpose_kernel=True",
        )
    kh, kw, per_group, inputs = _rank_4(plan)
    each = inputs // plan.groups
    return [
        *lines,
        "w = w[::-1, ::-1]  # lax.conv_transpose has no groups: the same by hand",
        f"w = w.reshape({kh}, {kw}, {per_group}, {plan.groups}, {each})",
        f"w = w.swapaxes(2, 3).reshape({kh}, {kw}, {plan.groups * per_group}, {each})",
        *call(
            "y = lax.conv_general_dilated(",
            "x, w",
            "window_strides=(1, 1)",
            option("padding", padding),
            option("lhs_dilation", strides_of(both)),
            option("rhs_dilation", dilations_of(both), (1, 1)),
            'dimension_numbers=("NHWC", "HWOI", "NHWC")',
            f"feature_group_count={plan.groups}",
        ),
    ]


def _rank_4(plan: ConvPlan) -> tuple[int, int, int, int]:
    if plan.per_channel:
        return (*plan.kernel_shape, 1, plan.input_shape[3])  # type: ignore[return-value]
    kh, kw, per_group, inputs = plan.kernel_shape
    return kh, kw, per_group, inputs


def _inserted(side: Side) -> tuple[int, int]:
    """Return the pads around an input that has s - 1 zeros between its pixels."""
    return side.window - 1 - side.before, side.window - 1 - side.after


def _border_lines(plan: ConvPlan, both: tuple[Side, Side]) -> list[str]:
    t, b, left, r = around_of(both)
    if not any((t, b, left, r)):
        return []
    border = plan.spec.border
    how = (
        f"constant_values={literal(border.value)}"
        if border.is_fill
        else f'mode="{NUMPY_MODES[border.mode]}"'
    )
    return [f"x = jnp.pad(x, ((0, 0), ({t}, {b}), ({left}, {r}), (0, 0)), {how})"]
