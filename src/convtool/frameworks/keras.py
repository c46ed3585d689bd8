"""Keras 3: layers with same or valid padding; everything else is a layer before or behind."""

from convtool.frameworks import grids
from convtool.frameworks.model import (
    Grid,
    Idiom,
    Side,
    around_of,
    dilations_of,
    is_transposed,
    pads_of,
    sides,
    spread,
    strides_of,
)
from convtool.frameworks.writing import call, index_lines, kernel_lines, literal, option
from convtool.geometry import Axis, ConvPlan, Pair, size_text
from convtool.terms import PaddingMode

_REFUSED = "strides and dilation_rate above 1 at the same time"


def idiom(plan: ConvPlan) -> Idiom:
    """Return what people write: a word, and a layer of padding or cropping for numbers."""
    mode = plan.spec.padding.mode
    words = {
        PaddingMode.VALID: 'padding="valid"',
        PaddingMode.SAME: 'padding="same"',
        PaddingMode.SAME_LOWER: 'padding="same"',
    }
    other = "Cropping2D after it" if is_transposed(plan) else "ZeroPadding2D"
    text = words.get(mode, other)
    if _refused(plan):
        return Idiom(text, None, _REFUSED)
    if mode not in words:
        return Idiom(text, grids.own(plan))
    if not is_transposed(plan):
        if mode is PaddingMode.VALID:
            return Idiom(text, grids.own(plan))
        rows, cols = (grids.tensorflow_same(axis) for axis in (plan.rows, plan.cols))
        note = "same puts the odd pixel at the end" if mode is PaddingMode.SAME_LOWER else ""
        return Idiom(text, (rows, cols), note=note)
    return _idiom_back(plan, text)


def _idiom_back(plan: ConvPlan, text: str) -> Idiom:
    valid = plan.spec.padding.mode is PaddingMode.VALID
    axes = plan.rows, plan.cols
    if not grids.chosen(plan):
        rows, cols = (_default_back(axis, valid) for axis in axes)
        return Idiom(text, (rows, cols))
    extra = _output_padding(axes[0], valid), _output_padding(axes[1], valid)
    text += f", output_padding={_number(extra)}"
    if any(not 0 <= e < axis.s for e, axis in zip(extra, axes, strict=True)):
        return Idiom(text, None, f"output_padding {size_text(extra)} is not from 0 to stride - 1")
    if valid:
        return Idiom(text, grids.own(plan))
    rows, cols = (grids.tensorflow_same_back(axis, axis.i) for axis in axes)
    return Idiom(text, (rows, cols))


def _default_back(axis: Axis, valid: bool) -> Grid:
    """Return what Conv2DTranspose gives without output_padding.

    Source: keras.src.ops.operation_utils.compute_conv_transpose_output_shape.
    """
    if valid:
        return Grid(axis.o * axis.s + max(axis.window - axis.s, 0), 0, 0)
    return grids.tensorflow_same_back(axis, axis.o * axis.s)


def _output_padding(axis: Axis, valid: bool) -> int:
    """Return Keras' number for a size: ``(i - 1)s + k_eff - 2p + n``, p = k_eff // 2 for same."""
    p = 0 if valid else axis.window // 2
    return axis.i - ((axis.o - 1) * axis.s + axis.window - 2 * p)


def _refused(plan: ConvPlan) -> bool:
    return max(plan.spec.stride) > 1 and max(plan.spec.dilation) > 1


def code(plan: ConvPlan) -> list[str]:
    """Write the plan as a layer with its weights, and the call of it."""
    both = sides(plan)
    head = kernel_lines(plan, both if _refused(plan) else None)
    head += _border_lines(plan, both)
    if _refused(plan):
        both = spread(both)
    return head + (_back(plan, both) if is_transposed(plan) else _forward(plan, both))


def _forward(plan: ConvPlan, both: tuple[Side, Side]) -> list[str]:
    t, b, left, r = pads_of(both)
    word, image = "", "x"
    if plan.spec.padding.mode is PaddingMode.SAME and not any(around_of(both)):
        word = 'padding="same"'
    elif any((t, b, left, r)):
        image = f"keras.layers.ZeroPadding2D((({t}, {b}), ({left}, {r})))(x)"
    return [
        *_layer("conv = keras.layers.Conv2D(", plan.output_shape[3], both, word, plan.groups),
        *_weights(plan.input_shape[3]),
        f"y = conv({image})",
    ]


def _back(plan: ConvPlan, both: tuple[Side, Side]) -> list[str]:
    padding, crop = _words_back(plan, both)
    groups, filters = plan.groups, plan.output_shape[3]
    head = "keras.layers.Conv2DTranspose("
    if groups == 1:
        result = f"keras.layers.Cropping2D({crop})(conv(x))" if crop else "conv(x)"
        return [
            *_layer(f"conv = {head}", filters, both, padding),
            *_weights(plan.input_shape[3]),
            f"y = {result}",
        ]
    return [
        *_layer(f"convs = [{head}", filters // groups, both, padding, tail=")"),
        f"         for _ in range({groups})]  # Conv2DTranspose has no groups",
        f"for conv, part in zip(convs, np.split(w, {groups}, axis=-1)):",
        *(f"    {line}" for line in _weights(plan.input_shape[3] // groups, "part")),
        f"parts = keras.ops.split(x, {groups}, axis=-1)",
        "y = keras.ops.concatenate([f(part) for f, part in zip(convs, parts)], axis=-1)",
        *([f"y = keras.layers.Cropping2D({crop})(y)"] if crop else []),
    ]


def _words_back(plan: ConvPlan, both: tuple[Side, Side]) -> tuple[str, str]:
    """Return the arguments for size and position, and what is cropped behind them."""
    if plan.spec.padding.mode is PaddingMode.SAME and not any(around_of(both)):
        if all(side.outputs == side.inputs * side.s for side in both):
            return 'padding="same"', ""
        extra = (
            _output_padding(plan.rows, valid=False),
            _output_padding(plan.cols, valid=False),
        )
        if all(0 <= e < side.s for e, side in zip(extra, both, strict=True)):
            return f'padding="same", output_padding={_number(extra)}', ""
    extra = max(-both[0].after, 0), max(-both[1].after, 0)
    t, b, left, r = pads_of(both)
    cut = (t, max(b, 0)), (left, max(r, 0))
    # Without it Keras widens what a small kernel leaves out to a whole stride.
    given = any(extra) or any(side.window < side.s for side in both)
    return (
        option("output_padding", _number(extra)) if given else "",
        str(cut) if any(map(any, cut)) else "",
    )


def _layer(
    head: str,
    filters: int,
    both: tuple[Side, Side],
    padding: str,
    groups: int = 1,
    tail: str = ")",
) -> list[str]:
    return call(
        head,
        f"{filters}, {_number((both[0].k, both[1].k))}",
        option("strides", _number(strides_of(both)), "1"),
        padding,
        option("dilation_rate", _number(dilations_of(both)), "1"),
        option("groups", groups, 1),
        "use_bias=False",
        tail=tail,
    )


def _weights(channels: int, name: str = "w") -> list[str]:
    return [f"conv.build((None, None, None, {channels}))", f"conv.set_weights([{name}])"]


def _border_lines(plan: ConvPlan, both: tuple[Side, Side]) -> list[str]:
    t, b, left, r = around_of(both)
    if not any((t, b, left, r)):
        return []
    border = plan.spec.border
    if border.is_fill:
        amounts = f"((0, 0), ({t}, {b}), ({left}, {r}), (0, 0))"
        return [f"x = keras.ops.pad(x, {amounts}, constant_values={literal(border.value)})"]
    lines, taken = index_lines(plan, both)
    return [*lines, *(f"x = keras.ops.take(x, {name}, axis={1 + axis})" for name, axis in taken)]


def _number(pair: Pair) -> str:
    """Write one number where both axes have the same."""
    return str(pair[0]) if pair[0] == pair[1] else str(pair)
