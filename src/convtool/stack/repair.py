"""What would repair a stack in which a layer does not fit: found by trying it.

Every change that is named makes the whole stack work, not just the layer that breaks: each is
tried by settling the stack anew, the simplest first.
"""

from collections.abc import Callable, Iterator, Sequence
from math import gcd, isqrt
from typing import NamedTuple

from convtool.errors import ConvtoolError
from convtool.geometry import ConvSpec, Padding, Shape, size_text, transposed_sizes
from convtool.stack.chain import BrokenLayer, KernelOf, place, settle
from convtool.stack.layers import Layer, LayerKind
from convtool.terms import PaddingMode

# So many changes of layers are named, and beside them the input that would do.
NAMED = 2

# Inputs up to this many pixels along an axis are tried.
LARGEST_INPUT = 2**14

# So many pixels up and down, but not more than a quarter, a size is looked for where larger is
# not better.
BESIDE = 32


class Change(NamedTuple):
    """A layer instead of the one there is.

    Parameters
    ----------
    what : str
        Of two changes of the same thing only the simpler one is worth naming.
    words : str
        For the person who is to make it.
    layers : tuple of Layer
        What stands in the place of the layer.
    """

    what: str
    words: str
    layers: tuple[Layer, ...]


def explained(
    broken: BrokenLayer, layers: Sequence[Layer], input_shape: Shape, kernel_of: KernelOf
) -> BrokenLayer:
    """Return the error with a hint that names what makes the whole stack work.

    Parameters
    ----------
    broken : BrokenLayer
    layers : sequence of Layer
        The stack as it is.
    input_shape : (N, H, W, C)
    kernel_of : callable
        See `convtool.stack.chain.chain`.
    """

    def works(trial: Sequence[Layer], shape: Shape) -> bool:
        try:
            settle(trial, shape, kernel_of)
        except ConvtoolError:
            return False
        return True

    before = settle(layers[: broken.number - 1], input_shape, kernel_of)
    shape = before[-1].output_shape if before else input_shape
    found: dict[str, str] = {}
    for at, change in _changes(broken.number - 1, layers, shape):
        trial = [*layers[:at], *change.layers, *layers[at + 1 :]]
        if change.what not in found and works(trial, input_shape):
            where = "there" if at == broken.number - 1 else f"in {place(layers[at], at + 1)}"
            found[change.what] = f"{change.words} {where}"
        if len(found) == NAMED:
            break
    everywhere = [_respecified(layer, padding=Padding()) for layer in layers]
    if not found and works(everywhere, input_shape):
        found["padding"] = "padding same in all layers"
    size = _nearest_input(input_shape, lambda shape: works(layers, shape))
    ways = [*found.values(), *([size] if size else [])]
    hint = f"the stack works with {'; or with '.join(ways)}" if ways else broken.hint
    error = BrokenLayer(broken.message, hint, broken.number)
    error.status = broken.status
    return error


def _changes(index: int, layers: Sequence[Layer], shape: Shape) -> Iterator[tuple[int, Change]]:
    """List what could be changed and where, the simplest first; nothing is tried yet."""
    layer = layers[index]
    for change in _changes_of(layer, shape):
        yield index, change
    if layer.kind is LayerKind.RESHAPE and layer.target and index:
        height, width, channels = layer.target
        units = height * width * channels
        if layers[index - 1].kind is LayerKind.DENSE:
            changed = layers[index - 1]._replace(filters=units)
            yield index - 1, Change("units", f"{units} units", (changed,))
    for at in range(index - 1, -1, -1):
        if layers[at].spec.stride != (1, 1):
            yield at, Change("stride", "stride 1", (_respecified(layers[at], stride=(1, 1)),))


def _respecified(layer: Layer, **changed: object) -> Layer:
    spec: ConvSpec = layer.spec._replace(**changed)  # type: ignore[arg-type]
    return layer._replace(spec=spec)


def _changes_of(layer: Layer, shape: Shape) -> Iterator[Change]:
    """List what could stand in the place of a layer."""
    match layer.kind:
        case LayerKind.RESHAPE:
            yield from _reshapes(layer, shape)
        case LayerKind.DENSE:
            yield Change("flatten", "flatten and then dense", (Layer(LayerKind.FLATTEN), layer))
        case LayerKind.TRANSPOSE:
            yield from _output_sizes(layer, shape)
            yield from _channels(layer, shape[3])
            yield from _windows(layer)
        case LayerKind.CONV:
            yield from _channels(layer, shape[3])
            yield from _windows(layer)
        case LayerKind.DEPTHWISE | LayerKind.POOL:
            yield from _windows(layer)


def _windows(layer: Layer) -> Iterator[Change]:
    """List paddings, kernels and dilations that need less of the image."""
    spec = layer.spec
    if spec.padding.mode is not PaddingMode.SAME:
        yield Change("padding", "padding same", (_respecified(layer, padding=Padding()),))
    if layer.size:
        kind = "window" if layer.kind is LayerKind.POOL else "kernel"
        for k in range(max(layer.size) - 1, 0, -1):
            size = min(layer.size[0], k), min(layer.size[1], k)
            yield Change("size", f"a {kind} of {size_text(size)}", (layer._replace(size=size),))
    for d in range(max(spec.dilation) - 1, 0, -1):
        dilation = min(spec.dilation[0], d), min(spec.dilation[1], d)
        words = f"dilation {size_text(dilation)}"
        yield Change("dilation", words, (_respecified(layer, dilation=dilation),))


def _output_sizes(layer: Layer, shape: Shape) -> Iterator[Change]:
    """List the legal size nearest to the one that a transpose was asked for."""
    spec = layer.spec
    if layer.size is None or spec.padding.mode is PaddingMode.FIT:
        return
    axes = zip(shape[1:3], layer.size, spec.stride, spec.dilation, spec.padding.axes, strict=True)
    legal = [transposed_sizes(*axis) for axis in axes]
    if spec.output_shape and all(legal):
        rows, cols = map(_nearest, legal, spec.output_shape)
        changed = _respecified(layer, output_shape=(rows, cols), output_padding=None)
        yield Change("output", f"output_shape {rows}x{cols}", (changed,))
    if spec.output_padding:
        rows, cols = map(min, spec.output_padding, (s - 1 for s in spec.stride))
        changed = _respecified(layer, output_shape=None, output_padding=(rows, cols))
        yield Change("output", f"output_padding {rows}x{cols}", (changed,))


def _nearest(legal: range, goal: int) -> int:
    return min(max(goal, legal[0]), legal[-1])


def _channels(layer: Layer, channels: int) -> Iterator[Change]:
    """List groups, and numbers of filters, that go with the channels."""
    groups, filters = layer.spec.groups, layer.filters
    if groups == 1:
        return
    common = gcd(channels, filters) if filters else channels
    for fewer in range(min(groups, common), 0, -1):
        if common % fewer == 0:
            yield Change("groups", f"groups {fewer}", (_respecified(layer, groups=fewer),))
    if filters:
        more = -(-filters // groups) * groups
        yield Change("filters", f"{more} filters", (layer._replace(filters=more),))


def _reshapes(layer: Layer, shape: Shape) -> Iterator[Change]:
    """List shapes of as many values: other channels for the same pixels, or another square."""
    if layer.target is None:
        return
    height, width, channels = layer.target
    values = shape[1] * shape[2] * shape[3]
    side = isqrt(values // channels)
    for target in ((height, width, values // (height * width)), (side, side, channels)):
        changed = layer._replace(target=target)
        yield Change("target" + size_text(target), size_text(target), (changed,))


def _nearest_input(shape: Shape, works: Callable[[Shape], bool]) -> str:
    """Name the smallest input, not below the one given, with which the stack as written works."""
    n, h, w, c = shape

    def at_least(size: int) -> Shape:
        return n, max(h, size), max(w, size), c

    powers = (2**power for power in range(LARGEST_INPUT.bit_length()))
    size = next((power for power in powers if works(at_least(power))), 0)
    if not size:
        return _input_beside(shape, works)
    too_small = size // 2
    while size - too_small > 1:
        middle = (size + too_small) // 2
        if works(at_least(middle)):
            size = middle
        else:
            too_small = middle
    return f"an input of at least {size_text(at_least(size)[1:])}"


def _input_beside(shape: Shape, works: Callable[[Shape], bool]) -> str:
    """Look a few pixels up and down: to some paddings parity is all that counts."""
    n, h, w, c = shape
    for by in range(1, min(max(h, w) // 4 + 1, BESIDE) + 1):
        for height, width in ((h + by, w + by), (h - by, w - by), (h + by, w), (h, w + by)):
            if min(height, width) > 0 and works((n, height, width, c)):
                return f"an input of {height}x{width}x{c}"
    return ""
