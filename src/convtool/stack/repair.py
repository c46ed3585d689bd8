"""What would repair a stack in which a layer does not fit: found by trying it.

Every change that is named makes the whole stack work, not just the layer that breaks: each is
tried by settling the stack anew from there on, the simplest first. How much is tried has a limit,
so that the error of a stack of thousands of layers does not keep a person waiting.
"""

from collections.abc import Callable, Iterator, Sequence
from math import isqrt
from typing import NamedTuple

from convtool.divisors import common_divisors
from convtool.errors import ConvtoolError
from convtool.geometry import ConvSpec, Padding, Shape, size_text, transposed_sizes
from convtool.stack.chain import BrokenLayer, KernelOf, Settled, place, settle
from convtool.stack.layers import Layer, LayerKind
from convtool.terms import PaddingMode

# So many changes of layers are named, and beside them the input that would do.
NAMED = 2

# Inputs up to this many pixels along an axis are tried.
LARGEST_INPUT = 2**14

# So many pixels up and down, but not more than a quarter, a size is looked for where larger is
# not better.
BESIDE = 32

# So many layers are settled in search of a change, and as many in search of an input; a layer
# takes about 30 µs.
MOST_SETTLED = 2**13


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


class Smaller(NamedTuple):
    """Changes to a smaller number, of which the largest that works is worth naming.

    Parameters
    ----------
    what : str
        As of a `Change`.
    most : int
        The largest number to be tried; 1 is the smallest.
    change : callable
        Returns the change to a number.
    """

    what: str
    most: int
    change: Callable[[int], Change]


class Trials:
    """Stacks that are tried in the place of one that breaks.

    Parameters
    ----------
    before : sequence of Settled
        The layers before the one that breaks.
    input_shape : (N, H, W, C)
    kernel_of : callable
        See `convtool.stack.chain.chain`.
    """

    def __init__(self, before: Sequence[Settled], input_shape: Shape, kernel_of: KernelOf) -> None:
        self._before, self._shape, self._kernel_of = before, input_shape, kernel_of
        self._left = MOST_SETTLED

    @property
    def spent(self) -> bool:
        """Whether nothing more is tried."""
        return self._left <= 0

    def shape_at(self, index: int) -> Shape:
        """Return what goes into a layer up to the one that breaks; the first is 0."""
        return self._before[index - 1].output_shape if index else self._shape

    def works(self, layers: Sequence[Layer], shape: Shape) -> bool:
        """Tell whether layers fit an input; no once `MOST_SETTLED` layers have been tried."""
        if self.spent:
            return False
        settled, fits = len(layers), True
        try:
            settle(layers, shape, self._kernel_of)
        except BrokenLayer as broken:
            settled, fits = broken.number, False
        except ConvtoolError:
            fits = False
        self._left -= settled
        return fits


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
    before = settle(layers[: broken.number - 1], input_shape, kernel_of)
    found = _found_changes(broken.number - 1, layers, Trials(before, input_shape, kernel_of))
    inputs = Trials(before, input_shape, kernel_of)
    size = _nearest_input(layers, input_shape, inputs)
    ways = [*found, *([size] if size else [])]
    hint = f"the stack works with {'; or with '.join(ways)}" if ways else broken.hint
    error = BrokenLayer(broken.message, hint, broken.number)
    error.status = broken.status
    return error


def _found_changes(index: int, layers: Sequence[Layer], trials: Trials) -> list[str]:
    """Name the simplest changes with which the stack works, and where each is to be made."""
    found: dict[str, str] = {}
    for at, proposal in _changes(index, layers, trials.shape_at(index)):
        if proposal.what in found:
            continue

        def works(change: Change, at: int = at) -> bool:
            return trials.works([*change.layers, *layers[at + 1 :]], trials.shape_at(at))

        change = _working(proposal, works)
        if change:
            where = "there" if at == index else f"in {place(layers[at], at + 1)}"
            found[change.what] = f"{change.words} {where}"
        if len(found) == NAMED:
            break
    everywhere = [_respecified(layer, padding=Padding()) for layer in layers]
    if not found and trials.works(everywhere, trials.shape_at(0)):
        return ["padding same in all layers"]
    return list(found.values())


def _working(proposal: Change | Smaller, works: Callable[[Change], bool]) -> Change | None:
    """Return a change if it works; of smaller numbers the largest that is found to work.

    The next numbers are all tried. Where none of them works, steps that double come to one that
    does, and halves to the largest one from there, as what fits mostly fits if it is smaller.
    """
    if isinstance(proposal, Change):
        return proposal if works(proposal) else None
    most, change = proposal.most, proposal.change
    for number in range(most, max(most - BESIDE, 0), -1):
        if works(change(number)):
            return change(number)
    too_large, step = most - BESIDE + 1, BESIDE
    while too_large > 1:
        number = max(too_large - step, 1)
        if works(change(number)):
            return change(_largest(number, too_large, lambda n: works(change(n))))
        too_large, step = number, 2 * step
    return None


def _largest(works: int, too_large: int, is_good: Callable[[int], bool]) -> int:
    """Return the largest number below one that is too large, by halves."""
    while too_large - works > 1:
        middle = (works + too_large) // 2
        works, too_large = (middle, too_large) if is_good(middle) else (works, middle)
    return works


def _changes(
    index: int, layers: Sequence[Layer], shape: Shape
) -> Iterator[tuple[int, Change | Smaller]]:
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


def _changes_of(layer: Layer, shape: Shape) -> Iterator[Change | Smaller]:
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


def _windows(layer: Layer) -> Iterator[Change | Smaller]:
    """List paddings, kernels and dilations that need less of the image."""
    spec = layer.spec
    if spec.padding.mode is not PaddingMode.SAME:
        yield Change("padding", "padding same", (_respecified(layer, padding=Padding()),))
    if layer.size:
        yield Smaller("size", max(layer.size) - 1, lambda k: _resized(layer, k))
    yield Smaller("dilation", max(spec.dilation) - 1, lambda d: _less_dilated(layer, d))


def _resized(layer: Layer, most: int) -> Change:
    assert layer.size is not None, "only then is it asked for"
    size = min(layer.size[0], most), min(layer.size[1], most)
    kind = "window" if layer.kind is LayerKind.POOL else "kernel"
    return Change("size", f"a {kind} of {size_text(size)}", (layer._replace(size=size),))


def _less_dilated(layer: Layer, most: int) -> Change:
    rows, cols = layer.spec.dilation
    dilation = min(rows, most), min(cols, most)
    words = f"dilation {size_text(dilation)}"
    return Change("dilation", words, (_respecified(layer, dilation=dilation),))


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
    for fewer in reversed(common_divisors(channels, filters or channels)):
        if fewer <= groups:
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


def _nearest_input(layers: Sequence[Layer], shape: Shape, trials: Trials) -> str:
    """Name the smallest input, not below the one given, with which the stack as written works."""
    n, h, w, c = shape

    def at_least(size: int) -> Shape:
        return n, max(h, size), max(w, size), c

    def works(shape: Shape) -> bool:
        return trials.works(layers, shape)

    powers = (2**power for power in range(LARGEST_INPUT.bit_length()))
    size = next((power for power in powers if works(at_least(power))), 0)
    if not size:
        return _input_beside(shape, works)
    too_small = size // 2
    while size - too_small > 1 and not trials.spent:
        middle = (size + too_small) // 2
        if works(at_least(middle)):
            size = middle
        else:
            too_small = middle
    # Of a stack too long for all trials this one is known to work, and smaller ones may.
    least = "" if trials.spent else "at least "
    return f"an input of {least}{size_text(at_least(size)[1:])}"


def _input_beside(shape: Shape, works: Callable[[Shape], bool]) -> str:
    """Look a few pixels up and down: to some paddings parity is all that counts."""
    n, h, w, c = shape
    for by in range(1, min(max(h, w) // 4 + 1, BESIDE) + 1):
        for height, width in ((h + by, w + by), (h - by, w - by), (h + by, w), (h, w + by)):
            if min(height, width) > 0 and works((n, height, width, c)):
                return f"an input of {height}x{width}x{c}"
    return ""
