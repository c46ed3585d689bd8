"""Which pixels of the input one output of a stack sees."""

from collections.abc import Sequence
from typing import NamedTuple

from convtool.errors import UsageError
from convtool.fields import Span, Step, interval, seen
from convtool.geometry import AXES, Pair
from convtool.stack.chain import Settled


class Sight(NamedTuple):
    """What one output sees along one axis, in pixels from 0 on.

    Parameters
    ----------
    field : (int, int), optional
        First and last place of its receptive field, which may lie beyond the image.
    first, last : int
        Of the pixels that it reads; meaningless where there are none.
    pixels : int
        How many it reads: fewer than from first to last where dilation or a stride leaves gaps.
    """

    field: Span | None
    first: int
    last: int
    pixels: int

    @property
    def beyond(self) -> Pair:
        """How far the field goes beyond the first and the last pixel read."""
        if self.field is None or not self.pixels:
            return 0, 0
        return self.first - self.field[0], self.field[1] - self.last


def last_map(layers: Sequence[Settled]) -> Settled | None:
    """Return the last layer whose outputs still have a place in the image, if there is one."""
    placed = [layer for layer in layers if layer.field is not None]
    return placed[-1] if placed else None


def sight(layers: Sequence[Settled], at: Pair) -> tuple[Settled, Sight, Sight]:
    """Look from one output back to the image.

    Parameters
    ----------
    layers : sequence of Settled
    at : (int, int)
        Row and column of the output, from 0 on.

    Returns
    -------
    layer : Settled
        The one whose output it is: the last that has rows and columns of the image.
    rows, cols : Sight

    Raises
    ------
    UsageError
        Where there is no such layer or no such output.
    """
    last = last_map(layers)
    if last is None:
        raise UsageError("no layer keeps the rows and columns of the image, so none can be traced")
    size = last.output_shape[1:3]
    for place, most, axis in zip(at, size, AXES, strict=True):
        if not 0 <= place < most:
            raise UsageError(
                f"there is no output {at[0]},{at[1]}: the {axis} of layer {last.number} is {most}",
                f"rows are 0 to {size[0] - 1}, columns 0 to {size[1] - 1}",
            )
    through = layers[: last.number]
    rows, cols = (_along(through, axis, at[axis]) for axis in (0, 1))
    return last, rows, cols


def _along(layers: Sequence[Settled], axis: int, place: int) -> Sight:
    steps: list[Step] = [layer.steps[axis] for layer in layers if layer.steps]
    sizes = [layers[0].input_shape[1 + axis], *(layer.output_shape[1 + axis] for layer in layers)]
    pixels = seen(steps, sizes, place)
    first, last = (pixels[0], pixels[-1]) if pixels else (0, 0)
    return Sight(interval(steps, place), first, last, len(pixels))
