"""PyTorch: ``torch.nn``, NCHW, kernels OIHW; padding is the same before and after."""

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
from convtool.frameworks.writing import call, index_lines, kernel_lines, literal, option
from convtool.geometry import Axis, ConvPlan, Pair, size_text
from convtool.terms import BorderMode

_MODES = {
    BorderMode.EDGE: "replicate",
    BorderMode.REFLECT: "reflect",
    BorderMode.WRAP: "circular",
}


def idiom(plan: ConvPlan) -> Idiom:
    """Return what people write: half a kernel of padding, and output_padding for the rest."""
    return _idiom_back(plan) if is_transposed(plan) else _idiom_forward(plan)


def _idiom_forward(plan: ConvPlan) -> Idiom:
    axes, mode = (plan.rows, plan.cols), plan.spec.padding.mode
    if mode in grids.SAME:
        if plan.spec.stride == (1, 1):
            rows, cols = (grids.tensorflow_same(axis) for axis in axes)
            return Idiom('padding="same"', (rows, cols))
        p = (axes[0].window - 1) // 2, (axes[1].window - 1) // 2
        refuses = 'padding="same" takes stride 1 only'
    elif _is_symmetric(axes):
        p, refuses = (axes[0].before, axes[1].before), ""
    else:
        return Idiom("F.pad before it", grids.own(plan), "padding is the same on both sides")
    found = grids.symmetric(axes[0], p[0]), grids.symmetric(axes[1], p[1])
    if found[0] is None or found[1] is None:
        return Idiom(f"padding={_number(p)}", None, f"no window fits with padding {size_text(p)}")
    return Idiom(f"padding={_number(p)}", (found[0], found[1]), refuses)


def _idiom_back(plan: ConvPlan) -> Idiom:
    axes = plan.rows, plan.cols
    if plan.spec.padding.mode in grids.SAME:
        both = grids.least_symmetric(axes[0]), grids.least_symmetric(axes[1])
        p, extra = (both[0][0], both[1][0]), (both[0][1], both[1][1])
    elif _is_symmetric(axes):
        p, extra = (axes[0].before, axes[1].before), (axes[0].dropped, axes[1].dropped)
    else:
        return Idiom("crop after it", grids.own(plan), "padding is the same on both sides")
    refuses = ""
    if any(e >= max(axis.s, axis.d) for e, axis in zip(extra, axes, strict=True)):
        refuses = f"output_padding {size_text(extra)} is not below the stride or the dilation"
        extra = 0, 0
    rows, cols = (
        grids.symmetric_back(axis, q, e) for axis, q, e in zip(axes, p, extra, strict=True)
    )
    text = f"padding={_number(p)}"
    text += f", output_padding={_number(extra)}" if any(extra) else ""
    if min(rows.size, cols.size) < 1:
        return Idiom(text, None, "nothing is left of the output")
    return Idiom(text, (rows, cols), refuses)


def code(plan: ConvPlan) -> list[str]:
    """Write the plan as a module with its weights, and the call of it."""
    both = sides(plan)
    lines, image = _border_lines(plan, both)
    head = kernel_lines(plan)
    if is_transposed(plan):
        return [*head, *lines, *_back(plan, both, image)]
    return [*head, *lines, *_forward(plan, both, image)]


def _forward(plan: ConvPlan, both: tuple[Side, Side], image: str) -> list[str]:
    t, b, left, r = pads_of(both)
    padding = (t, left)
    if (t, left) != (b, r):
        image, padding = f"F.pad({image}, ({left}, {r}, {t}, {b}))", (0, 0)
    return [
        *_module("nn.Conv2d(", plan, both, option("padding", _number(padding), "0")),
        "conv.weight.data = torch.tensor(w.transpose(3, 2, 0, 1))  # HWIO to OIHW",
        f"y = conv({image})" + ("  # left, right, top, bottom" if (t, left) != (b, r) else ""),
    ]


def _back(plan: ConvPlan, both: tuple[Side, Side], image: str) -> list[str]:
    cuts = [_cut(side) for side in both]
    p, extra = (cuts[0][0], cuts[1][0]), (cuts[0][1], cuts[1][1])
    crop = [_slice(side, q, e) for side, q, e in zip(both, p, extra, strict=True)]
    part = "" if crop == [":", ":"] else f"[:, :, {crop[0]}, {crop[1]}]"
    return [
        *_module(
            "nn.ConvTranspose2d(",
            plan,
            both,
            option("padding", _number(p), "0"),
            option("output_padding", _number(extra), "0"),
        ),
        "conv.weight.data = torch.tensor(w.transpose(3, 2, 0, 1))  # HWOI to IOHW",
        f"y = conv({image}){part}",
    ]


def _module(head: str, plan: ConvPlan, both: tuple[Side, Side], *padding: str) -> list[str]:
    dilations, strides = dilations_of(both), strides_of(both)
    return call(
        f"conv = {head}",
        f"{plan.input_shape[3]}, {plan.output_shape[3]}, {_number((both[0].k, both[1].k))}",
        option("stride", _number(strides), "1"),
        *padding,
        option("dilation", _number(dilations), "1"),
        option("groups", plan.groups, 1),
        "bias=False",
    )


def _cut(side: Side) -> Pair:
    """Return (padding, output_padding) for what is cut off, as far as they reach.

    Padding cuts both ends alike, and output_padding, which is less than the stride or the
    dilation, gives back at the end; the rest is left to a slice.
    """
    missing = side.before - side.after
    over = min(max(missing - max(side.s, side.d) + 1, 0), side.before)
    return side.before - over, max(missing - over, 0)


def _slice(side: Side, p: int, extra: int) -> str:
    start, size = side.before - p, side.covered - 2 * p + extra
    stop = start + side.outputs
    return f"{start or ''}:{stop if stop != size else ''}"


def _border_lines(plan: ConvPlan, both: tuple[Side, Side]) -> tuple[list[str], str]:
    """Return lines that come first, and what the module is then called with."""
    t, b, left, r = around_of(both)
    if not any((t, b, left, r)):
        return [], "x"
    border, amounts = plan.spec.border, f"({left}, {r}, {t}, {b})"
    if border.is_fill:
        return [], f"F.pad(x, {amounts}, value={literal(border.value)})"
    mode = _MODES.get(border.mode)
    if mode and (border.mode is BorderMode.EDGE or fits_inside(plan, both)):
        return [], f'F.pad(x, {amounts}, mode="{mode}")'
    lines, taken = index_lines(plan, both)
    lines += [f"x = x[{':, ' * (2 + axis)}{name}]" for name, axis in taken]
    return lines, "x"


def _is_symmetric(axes: tuple[Axis, Axis]) -> bool:
    return all(axis.before == axis.after for axis in axes)


def _number(pair: Pair) -> str:
    """Write a pair as PyTorch's arguments are mostly written: one number where it is twice."""
    return str(pair[0]) if pair[0] == pair[1] else str(pair)
