"""Layers one after another, each settled on what comes out of the one before it.

`settle` decides sizes and counts costs; `chain` adds what the outputs see of the stack's input, and
where a layer does not fit, what would repair the stack.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from convtool.errors import ArrayError, ConvtoolError, GeometryError, UsageError
from convtool.fields import (
    LONGEST_AXIS,
    Field,
    GappedInfluence,
    Influence,
    Reach,
    Step,
    has_gaps,
)
from convtool.geometry import (
    ConvPlan,
    Note,
    Shape,
    across_channels,
    plan,
    size_text,
)
from convtool.stack.layers import Layer, LayerKind
from convtool.terms import Op

# A kernel's shape, and how many filters a per-channel one has.
KernelSize = tuple[tuple[int, ...], int]
KernelOf = Callable[[Layer], KernelSize]

FLOAT32 = 4  # bytes

# So many spans of receptive fields are put together for a stack: about a third of a second.
MOST_SPANS = 2**18

# Where outputs may have no taps there are two sets for each layer before, so that the work grows
# with the square of their number: so many positions times the square, about half a second. A set
# of fewer positions than the other number is no quicker.
MOST_GAPPED = 2**24
SHORTEST_SET = 2**10


class Settled(NamedTuple):
    """One layer of a stack with every number settled.

    Parameters
    ----------
    layer : Layer
    number : int
        From 1 on.
    op : str
        As in JSON.
    input_shape, output_shape : (N, H, W, C)
    kernel_shape : tuple of int
        HWIO, of a transpose HWOI, of a dense layer (inputs, units), of a pool its window; empty
        where there is none.
    plan : ConvPlan, optional
        Of what has a window: convolutions and pools.
    parameters, biases : int
        Weights; and biases, if the layer has any.
    macs : int
        Multiply-adds for the whole batch, those with padding included.
    activation_bytes : int
        Size of the output as float32.
    field : Field, optional
        What one output sees of the stack's input; None behind a flatten, dense or reshape.
    padded_share : float, optional
        Share of the outputs that are influenced by something beyond the image, through all layers
        so far; None like `field`.
    """

    layer: Layer
    number: int
    op: str
    input_shape: Shape
    output_shape: Shape
    kernel_shape: tuple[int, ...] = ()
    plan: ConvPlan | None = None
    parameters: int = 0
    biases: int = 0
    macs: int = 0
    field: Field | None = None
    padded_share: float | None = None

    @property
    def activation_bytes(self) -> int:
        """Size of the output as float32."""
        return _product(self.output_shape) * FLOAT32

    @property
    def notes(self) -> tuple[Note, ...]:
        """What its plan has to say."""
        return self.plan.notes if self.plan else ()

    @property
    def steps(self) -> tuple[Step, Step] | None:
        """How the layer moves over its input along height and width, if it does."""
        if self.plan:
            turned = self.plan.op is Op.CONV2D_TRANSPOSE
            return (
                Step.of(self.plan.rows, transposed=turned),
                Step.of(self.plan.cols, transposed=turned),
            )
        if self.layer.kind is LayerKind.UPSAMPLE and self.layer.size:
            height, width = self.layer.size
            return Step.nearest(height), Step.nearest(width)
        return None


class BrokenLayer(GeometryError):
    """A layer that does not fit what comes before it.

    Parameters
    ----------
    message, hint : str
    number : int
        Of the layer, from 1 on.
    """

    def __init__(self, message: str, hint: str = "", number: int = 0) -> None:
        super().__init__(message, hint)
        self.number = number


def chain(
    layers: Sequence[Layer],
    input_shape: Shape,
    kernel_of: KernelOf | None = None,
    folder: Path = Path(),
) -> tuple[Settled, ...]:
    """Settle a stack on an input.

    Parameters
    ----------
    layers : sequence of Layer
    input_shape : (N, H, W, C)
    kernel_of : callable, optional
        Returns the shape of the kernel that a layer names, and its number of filters; by default
        it is loaded.
    folder : Path
        That the relative names of kernel files start from.

    Raises
    ------
    BrokenLayer
        Where a layer does not fit; names it, and the nearest changes with which the whole stack
        works.
    KernelError
        Where a kernel cannot be read.
    """
    look = _remembered(kernel_of or (lambda layer: stored_kernel(layer, folder)))
    try:
        return tuple(_with_fields(settle(layers, input_shape, look)))
    except BrokenLayer as broken:
        from convtool.stack import repair  # only a stack that breaks pays for it

        raise repair.explained(broken, layers, input_shape, look) from None


def stored_kernel(layer: Layer, folder: Path = Path()) -> KernelSize:
    """Load the kernel that a layer names, and return its shape and number of filters."""
    from convtool.stack import weights

    kernel = weights.load_kernel(layer, folder)
    return kernel.shape, kernel.filters


def _remembered(kernel_of: KernelOf) -> KernelOf:
    """Load each kernel once, however often its layer is settled."""
    known: dict[tuple[str, str, str], KernelSize] = {}

    def look(layer: Layer) -> KernelSize:
        key = layer.kernel, layer.layout, layer.kind
        if key not in known:
            known[key] = kernel_of(layer)
        return known[key]

    return look


# Sizes and costs


def settle(layers: Sequence[Layer], input_shape: Shape, kernel_of: KernelOf) -> tuple[Settled, ...]:
    """Settle sizes and costs, without fields and without advice.

    Raises
    ------
    BrokenLayer
        Where a layer does not fit; names it.
    """
    done: list[Settled] = []
    shape = input_shape
    for number, layer in enumerate(layers, 1):
        try:
            settled = _SETTLE[layer.kind](layer, number, shape, kernel_of)
        except (GeometryError, UsageError) as error:
            where = f"{place(layer, number)}, input {size_text(shape)}"
            broken = BrokenLayer(f"{where}: {error.message}", error.hint, number)
            broken.status = error.status
            raise broken from None
        except ConvtoolError as error:
            raise error.within(place(layer, number)) from None
        done.append(settled)
        shape = settled.output_shape
    return tuple(done)


def place(layer: Layer, number: int) -> str:
    """Name a layer for a message: ``layer 2 (conv 3x3 x32)``."""
    where = layer.written if layer.written.startswith("layer ") else f"layer {number}"
    return f"{where}, {layer.name} ({layer.text})" if layer.name else f"{where} ({layer.text})"


def _convolution(layer: Layer, number: int, shape: Shape, kernel_of: KernelOf) -> Settled:
    """Settle a conv, transpose or depthwise layer."""
    spec = layer.spec
    size, filters = kernel_of(layer) if layer.kernel else (_kernel_shape(layer, shape[3]), 1)
    if layer.kind is LayerKind.DEPTHWISE and len(size) == 4:
        spec = spec._replace(groups=shape[3])
    settled = plan(spec, shape, size, filters)
    _check_bias(layer, settled.filters, "filter")
    return Settled(
        layer,
        number,
        layer.op,
        shape,
        settled.output_shape,
        settled.kernel_shape,
        settled,
        settled.parameters,
        settled.filters,
        settled.macs,
    )


def _check_bias(layer: Layer, filters: int, what: str) -> None:
    """See that a bias has as many numbers as there are filters; arrays are seen where they run."""
    if len(layer.biases) not in (0, 1, filters):
        raise ArrayError(
            f"bias must be one number or one per {what}, {filters} in all, but there are "
            f"{len(layer.biases)}"
        )


def _kernel_shape(layer: Layer, channels: int) -> tuple[int, ...]:
    """Return the shape of a kernel of which the size and the filters are given."""
    assert layer.size is not None, "make_layer sees to it"
    filters, groups = layer.filters or 1, layer.spec.groups
    if layer.kind is LayerKind.DEPTHWISE:
        return *layer.size, 1, channels * filters
    if filters % groups or channels % groups:
        what, count = (
            ("the filters", filters) if filters % groups else ("the input channels", channels)
        )
        raise GeometryError(f"groups must divide {what}, but {groups} does not divide {count}")
    if layer.kind is LayerKind.TRANSPOSE:
        return *layer.size, filters // groups, channels
    return across_channels(layer.size, channels, groups, filters)


def _pool(layer: Layer, number: int, shape: Shape, kernel_of: KernelOf) -> Settled:
    """Settle a pool: its window goes over each channel as a filter of one's own does."""
    assert layer.size is not None, "make_layer sees to it"
    settled = plan(layer.spec, shape, layer.size)
    return Settled(layer, number, layer.op, shape, settled.output_shape, layer.size, settled)


def _upsample(layer: Layer, number: int, shape: Shape, kernel_of: KernelOf) -> Settled:
    assert layer.size is not None, "make_layer sees to it"
    n, h, w, c = shape
    out = n, h * layer.size[0], w * layer.size[1], c
    return Settled(layer, number, layer.op, shape, out)


def _flatten(layer: Layer, number: int, shape: Shape, kernel_of: KernelOf) -> Settled:
    n, *image = shape
    return Settled(layer, number, layer.op, shape, (n, 1, 1, _product(image)))


def _dense(layer: Layer, number: int, shape: Shape, kernel_of: KernelOf) -> Settled:
    n, h, w, c = shape
    if (h, w) != (1, 1):
        raise GeometryError(
            f"a dense layer takes one row of values, but there are {h}x{w} pixels of {c}",
            "put flatten before it",
        )
    units = layer.filters or 1
    _check_bias(layer, units, "unit")
    return Settled(
        *(layer, number, layer.op, shape, (n, 1, 1, units)),
        kernel_shape=(c, units),
        parameters=c * units,
        biases=units,
        macs=n * c * units,
    )


def _reshape(layer: Layer, number: int, shape: Shape, kernel_of: KernelOf) -> Settled:
    assert layer.target is not None, "make_layer sees to it"
    n, *image = shape
    if _product(image) != _product(layer.target):
        raise GeometryError(
            f"a reshape keeps the number of values, but {size_text(image)} are "
            f"{_product(image):,} and {size_text(layer.target)} are {_product(layer.target):,}"
        )
    return Settled(layer, number, layer.op, shape, (n, *layer.target))


_SETTLE = {
    LayerKind.CONV: _convolution,
    LayerKind.TRANSPOSE: _convolution,
    LayerKind.DEPTHWISE: _convolution,
    LayerKind.POOL: _pool,
    LayerKind.UPSAMPLE: _upsample,
    LayerKind.FLATTEN: _flatten,
    LayerKind.DENSE: _dense,
    LayerKind.RESHAPE: _reshape,
}


def _product(numbers: Sequence[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


# What the outputs see


def _with_fields(layers: Sequence[Settled]) -> Iterator[Settled]:
    """Add the receptive field and the share of outputs that padding influences."""
    reaches: Reaches | None = Reaches(Reach(), Reach())
    influence = _influence(layers)
    for layer in layers:
        reaches = reaches and reaches.through(layer)
        influence = influence and _influence_through(influence, layer)
        yield layer._replace(
            field=reaches and Field.of(reaches.rows, reaches.cols),
            padded_share=influence and influence.share,
        )


class Reaches(NamedTuple):
    """What the outputs of a layer see along both axes, and the work that it was to find out."""

    rows: Reach
    cols: Reach
    work: int = 0

    def through(self, layer: Settled) -> "Reaches | None":
        """Return the same behind one more layer; None where it is not followed any further."""
        if layer.steps is None:
            return None
        down, across = layer.steps
        alike = (self.rows, down) == (self.cols, across)
        work = self.work + self.rows.work(down) + (0 if alike else self.cols.work(across))
        if work > MOST_SPANS:
            return None
        try:
            rows = self.rows.through(down)
            return Reaches(rows, rows if alike else self.cols.through(across), work)
        except GeometryError:  # a pattern too long to be followed
            return None


def _influence(layers: Sequence[Settled]) -> Influence | GappedInfluence | None:
    """Begin to follow the influence of padding; the careful way only where it must be."""
    if not layers:
        return None
    gapped = any(has_gaps(step) for layer in layers for step in layer.steps or ())
    return (GappedInfluence if gapped else Influence).on(layers[0].input_shape[1:3])


def _influence_through(
    influence: Influence | GappedInfluence, layer: Settled
) -> Influence | GappedInfluence | None:
    if layer.steps is None or not _within_reason(layer):
        return None
    longest = max(*layer.input_shape[1:3], *layer.output_shape[1:3])
    if (
        isinstance(influence, GappedInfluence)
        and max(longest, SHORTEST_SET) * layer.number**2 > MOST_GAPPED
    ):
        return None
    return influence.through(layer.steps, layer.output_shape[1:3])


def _within_reason(layer: Settled) -> bool:
    """Tell whether a layer is small enough to be looked at position by position."""
    sizes = (*layer.input_shape[1:3], *layer.output_shape[1:3])
    reaching = (n for step in layer.steps or () for n in (step.k * step.d, step.s, step.before))
    return max(*sizes, *reaching) <= LONGEST_AXIS
