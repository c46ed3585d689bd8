"""What the outputs of a chain of layers see of its input, exactly, one axis at a time.

A layer is a `Step` on each axis. Forwards, output u of a convolution or a pool reads the positions
``u*s - before + a*d`` for the taps a < k; output t of a transposed convolution reads every j with
``t + before = j*s + a*d``. Nearest upsampling by f is a transposed step of kernel f and stride f.

Two questions are answered. On a grid without end: from which pixel to which does an output see
(`Reach`, `Field`)? After a transposed step this varies with the output's phase, in a pattern that
repeats. On a grid with ends: which outputs are influenced by what is not in the image
(`untouched`), and which pixels does one output read (`seen`)? There a set of positions is an
integer, a bit for each, so that layers are shifts and photographs take no longer than thumbnails.

Source: Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks",
Distill 2019; here with dilation, and with transposed layers in every phase.
"""

from collections.abc import Iterable, Sequence
from math import gcd
from typing import NamedTuple

from convtool.errors import GeometryError, UsageError
from convtool.geometry import Axis, Pair

Span = tuple[int, int]

# So many phases are told apart; a pattern that is longer would take seconds.
MOST_PHASES = 2**12

# Axes up to this size, in pixels, are looked at position by position.
LONGEST_AXIS = 2**20


class Step(NamedTuple):
    """One layer along one axis.

    Parameters
    ----------
    k, s, d : int
        Kernel size, stride, dilation.
    before : int
        Padding at the start, in pixels; of a transposed step that of the convolution which it is
        the gradient of, cut off its output.
    transposed : bool
    """

    k: int
    s: int = 1
    d: int = 1
    before: int = 0
    transposed: bool = False

    @classmethod
    def of(cls, axis: Axis, *, transposed: bool = False) -> "Step":
        """Return the step of a settled axis."""
        return cls(axis.k, axis.s, axis.d, axis.before, transposed)

    @classmethod
    def nearest(cls, factor: int) -> "Step":
        """Return the step of upsampling by repetition."""
        return cls(factor, factor, transposed=True)


# On a grid without end


class Reach(NamedTuple):
    """From which input to which each output of a chain sees, on a grid without end.

    ``Reach()`` is the chain of no layers, in which every output sees the input of its number.

    Parameters
    ----------
    period : int
        The pattern repeats after so many outputs …
    move : int
        … and is then so many inputs further.
    spans : tuple
        First and last input that the outputs 0 to ``period - 1`` see; None where an output sees
        nothing, as between the taps of a transposed layer whose stride exceeds its kernel.
    """

    period: int = 1
    move: int = 1
    spans: tuple[Span | None, ...] = ((0, 0),)

    def span(self, u: int) -> Span | None:
        """Return the first and the last input that output `u` sees."""
        turns, phase = divmod(u, self.period)
        span = self.spans[phase]
        return span and (span[0] + turns * self.move, span[1] + turns * self.move)

    def through(self, step: Step) -> "Reach":
        """Return the reach behind one more layer.

        Raises
        ------
        GeometryError
            Where the pattern repeats only after more than `MOST_PHASES` outputs.
        """
        period, move = self._pattern(step)
        if period > MOST_PHASES:
            raise GeometryError(
                f"the pattern of receptive fields repeats only after {period:,} outputs, and at "
                f"most {MOST_PHASES:,} are told apart"
            )
        return Reach(period, move, tuple(self._hull(step, u) for u in range(period)))

    def work(self, step: Step) -> int:
        """Count the spans that `through` puts together."""
        period, _ = self._pattern(step)
        taps = -(-step.k * gcd(step.s, step.d) // step.s) if step.transposed else step.k
        return period * min(taps, 2 * self.period)

    def _pattern(self, step: Step) -> Pair:
        """Return the period and the move behind one more layer."""
        if step.transposed:
            return self.period * step.s, self.move
        common = gcd(self.period, step.s)
        return self.period // common, self.move * step.s // common

    def _hull(self, step: Step, u: int) -> Span | None:
        reads = _reads(step, u)
        if len(reads) > 2 * self.period:
            # Inputs that are a whole number of periods apart see the same, further on: the
            # outermost of each phase stand for all.
            reads = [*reads[: self.period], *reads[-self.period :]]
        spans = [span for j in reads if (span := self.span(j)) is not None]
        if not spans:
            return None
        return min(first for first, _ in spans), max(last for _, last in spans)


def _reads(step: Step, u: int) -> range | list[int]:
    """List the positions that output `u` of one layer reads, in order of the taps."""
    if not step.transposed:
        first = u * step.s - step.before
        return range(first, first + step.k * step.d, step.d)
    place, common = u + step.before, gcd(step.s, step.d)
    if place % common:
        return range(0)
    # a*d = place modulo s has one solution modulo s/common.
    every = step.s // common
    tap = place // common * pow(step.d // common, -1, every) % every
    count = len(range(tap, step.k, every))
    first = (place - tap * step.d) // step.s
    return range(first, first - count * (step.d // common), -(step.d // common))


class Field(NamedTuple):
    """What an output sees of the input; every pair is (height, width).

    Parameters
    ----------
    size : (int, int)
        Pixels from the first to the last one seen, in the phase that sees most.
    least : (int, int)
        The same in the phase that sees least; 0 where some outputs see nothing.
    jump : (float, float)
        How much further the next output's field is, on average; a half behind upsampling by 2.
    start : (float, float)
        Centre of the first output's field; 0 is the centre of the first pixel.
    period : (int, int)
        After how many outputs the pattern repeats; 1 without transposed layers.
    """

    size: Pair = (1, 1)
    least: Pair = (1, 1)
    jump: tuple[float, float] = (1.0, 1.0)
    start: tuple[float, float] = (0.0, 0.0)
    period: Pair = (1, 1)

    @classmethod
    def of(cls, rows: Reach, cols: Reach) -> "Field":
        """Put the reaches of both axes together."""
        sizes = [[_length(span) for span in reach.spans] for reach in (rows, cols)]
        return cls(
            (max(sizes[0]), max(sizes[1])),
            (min(sizes[0]), min(sizes[1])),
            (rows.move / rows.period, cols.move / cols.period),
            (_start(rows), _start(cols)),
            (rows.period, cols.period),
        )


def _length(span: Span | None) -> int:
    return span[1] - span[0] + 1 if span else 0


def _start(reach: Reach) -> float:
    """Return the first output's centre; where it sees nothing, as the first that does has it."""
    for phase, span in enumerate(reach.spans):
        if span:
            return sum(span) / 2 - phase * reach.move / reach.period
    return 0.0


def reach(steps: Iterable[Step]) -> Reach:
    """Follow a chain along one axis.

    Parameters
    ----------
    steps : iterable of Step
        From the input on.
    """
    found = Reach()
    for step in steps:
        found = found.through(step)
    return found


def field(rows: Iterable[Step], cols: Iterable[Step]) -> Field:
    """Return the receptive field of a chain.

    Parameters
    ----------
    rows, cols : iterable of Step
        The layers along the height and along the width, from the input on.

    Examples
    --------
    >>> field([Step(3, 2, before=1), Step(3)], [Step(3, 2), Step(5)])
    Field(size=(7, 11), least=(7, 11), jump=(2.0, 2.0), start=(2.0, 5.0), period=(1, 1))

    A transposed convolution of kernel 3 and stride 2 sees one pixel and two in turn:

    >>> field([Step(3, 2, transposed=True)], [Step(4, 2, transposed=True)])
    Field(size=(2, 2), least=(1, 2), jump=(0.5, 0.5), start=(-0.5, -0.5), period=(2, 2))
    """
    return Field.of(reach(rows), reach(cols))


def interval(steps: Iterable[Step], u: int) -> Span | None:
    """Return the first and the last input that output `u` of a chain sees, or None for none.

    The grid has no end: the first may be negative.
    """
    return reach(steps).span(u)


# On a grid with ends: sets of positions are integers, bit p for position p


class Influence(NamedTuple):
    """Which outputs of a chain are influenced by something beyond the image, on both axes.

    A tap reads one position down and one across. So in a chain in which every output has taps, an
    output is influenced where its row or its column is.

    Parameters
    ----------
    rows, cols : int
        The touched ones, as sets.
    size : (int, int)
        How many there are.
    """

    rows: int
    cols: int
    size: Pair

    @classmethod
    def on(cls, size: Pair) -> "Influence":
        """Begin with an image (height, width): none of it is touched."""
        return cls(0, 0, size)

    def through(self, steps: tuple[Step, Step], size: Pair) -> "Influence":
        """Return the same behind one more layer, whose output has this size."""
        (rows, cols), (height, width) = steps, self.size
        return Influence(
            touched_through(rows, self.rows, height, size[0]),
            touched_through(cols, self.cols, width, size[1]),
            size,
        )

    @property
    def share(self) -> float:
        """Share of the outputs that are influenced."""
        height, width = self.size
        clean = (height - self.rows.bit_count()) * (width - self.cols.bit_count())
        return 1 - clean / (height * width)


class Ways(NamedTuple):
    """How far the taps of every output lead along one axis, through values that exist.

    Each set is an integer as above. The sets of a tuple lie one within the other, so that they
    differ in the outputs for which just this layer is the last, or the first.

    Parameters
    ----------
    size : int
        How many outputs there are.
    leaving : tuple of int
        For each layer, from the first on: the outputs whose taps read something that is not there,
        of the input of this layer or a later one.
    reaching : tuple of int
        For each layer, from the first on: the outputs whose taps lead to its input, or further.
    """

    size: int
    leaving: tuple[int, ...] = ()
    reaching: tuple[int, ...] = ()

    def through(self, step: Step, size: int) -> "Ways":
        """Return the same behind one more layer."""
        i, o = self.size, size
        return Ways(
            size,
            tuple(touched_through(step, left, i, o) for left in (*self.leaving, 0)),
            (
                *(touched_through(step, reached, i, o, outside=False) for reached in self.reaching),
                touched_through(step, _ones(i), i, o),
            ),
        )

    @property
    def kinds(self) -> dict[Pair, int]:
        """Count the outputs by (last layer where they leave or 0, first layer that they reach)."""
        every, last = _ones(self.size), len(self.leaving)
        leaves = _each((every, *self.leaving))
        # From the last layer back, so that each set holds those before it.
        ends = _each((every, *reversed(self.reaching)))
        return {
            (a, last + 1 - b): many
            for a, left in leaves.items()
            for b, reached in ends.items()
            if (many := (left & reached).bit_count())
        }


def _each(nested: Sequence[int]) -> dict[int, int]:
    """Return what each set, of several of which each lies within the one before, has to itself."""
    beside = zip(nested, (*nested[1:], 0), strict=True)
    return {n: only for n, (held, within) in enumerate(beside) if (only := held & ~within)}


class GappedInfluence(NamedTuple):
    """What `Influence` is, for chains in which outputs may have no taps.

    Such an output is 0 whatever is around it: one that leaves the image down the rows is influenced
    only if its taps across the columns lead as far as that layer, and the other way round.

    Parameters
    ----------
    rows, cols : Ways
    """

    rows: Ways
    cols: Ways

    @classmethod
    def on(cls, size: Pair) -> "GappedInfluence":
        """Begin with an image (height, width)."""
        return cls(Ways(size[0]), Ways(size[1]))

    def through(self, steps: tuple[Step, Step], size: Pair) -> "GappedInfluence":
        """Return the same behind one more layer, whose output has this size."""
        return GappedInfluence(
            self.rows.through(steps[0], size[0]), self.cols.through(steps[1], size[1])
        )

    @property
    def share(self) -> float:
        """Share of the outputs that are influenced."""
        cols = self.cols.kinds
        influenced = sum(
            many * times
            for (down, reached), many in self.rows.kinds.items()
            for (across, reached_across), times in cols.items()
            if down >= reached_across or across >= reached
        )
        return influenced / (self.rows.size * self.cols.size)


def has_gaps(step: Step) -> bool:
    """Tell whether some outputs of a step have no taps."""
    # With d and s coprime, s neighbouring taps reach every residue modulo s.
    return step.transposed and (step.k < step.s or gcd(step.s, step.d) > 1)


def untouched(steps: Sequence[Step], sizes: Sequence[int]) -> list[bool]:
    """Tell which outputs depend on nothing but the pixels of the image.

    An output is touched where a tap, in whichever layer, falls outside that layer's input, or
    reads a value that is touched itself.

    Parameters
    ----------
    steps : sequence of Step
    sizes : sequence of int
        The input's size in pixels, then that of the output of each step.

    Returns
    -------
    list of bool
        For each output of the last step.
    """
    touched = 0
    for number, step in enumerate(steps):
        touched = touched_through(step, touched, sizes[number], sizes[number + 1])
    return [not touched >> u & 1 for u in range(sizes[-1])]


def touched_through(step: Step, touched: int, i: int, o: int, *, outside: bool = True) -> int:
    """Return the outputs of a step that are touched, as a set.

    Parameters
    ----------
    step : Step
    touched : int
        Its touched inputs, as a set.
    i, o : int
        Sizes of its input and output in pixels.
    outside : bool
        Whether what lies beyond the input counts as touched.
    """
    # As many positions beyond the ends as taps can read.
    if step.transposed:
        beyond = ((step.k - 1) * step.d) // step.s + 1
        after = max((o - 1 + step.before) // step.s - i + 1, 0)
        around = touched << beyond
        if outside:
            around |= _ones(beyond) | _ones(after) << (beyond + i)
        reached = _spread_taps(_stretch(around, step.s), step)
        return reached >> (beyond * step.s + step.before) & _ones(o)
    after = max((o - 1) * step.s - step.before + (step.k - 1) * step.d - i + 1, 0)
    around = touched << step.before
    if outside:
        around |= _ones(step.before) | _ones(after) << (step.before + i)
    return _every(_gather_taps(around, step), step.s) & _ones(o)


def seen(steps: Sequence[Step], sizes: Sequence[int], u: int) -> list[int]:
    """List the pixels of the image that output `u` reads, through values that exist.

    Parameters
    ----------
    steps : sequence of Step
    sizes : sequence of int
        The input's size in pixels, then that of the output of each step.
    u : int
        Number of the output, from 0 on.

    Raises
    ------
    UsageError
        Where it would be from more than `LONGEST_AXIS` positions of a layer's input.
    """
    first, positions = u, 1
    for number in range(len(steps) - 1, -1, -1):
        first, positions = _seen_through(steps[number], first, positions, sizes[number])
    return [first + p for p, bit in enumerate(reversed(f"{positions:b}")) if bit == "1"]


def _seen_through(step: Step, first: int, outputs: int, i: int) -> tuple[int, int]:
    """Return the inputs, of `i` that there are, which a set of outputs reads.

    Both sets begin at a position of their own, the first that they may hold: a few pixels are as
    quickly followed at the far end of an image as at the near one.
    """
    reach = (step.k - 1) * step.d
    span = max(outputs.bit_length() - 1, 0)
    width = (span if step.transposed else span * step.s) + reach + 1
    if width > LONGEST_AXIS:
        raise UsageError(
            f"what an output sees is followed over at most {LONGEST_AXIS:,} pixels, but a kernel "
            f"of {step.k} at stride {step.s} and dilation {step.d} spreads it over {width:,}",
            "leave out --at: the table tells how large the receptive field is",
        )
    if step.transposed:
        lowest = first + step.before - reach
        below = -lowest % step.s
        positions = _every(_spread_taps(outputs, step) >> below, step.s)
        lowest = (lowest + below) // step.s
    else:
        lowest = first * step.s - step.before
        positions = _spread_taps(_stretch(outputs, step.s), step)
    outside = max(-lowest, 0)
    lowest += outside
    return lowest, positions >> outside & _ones(min(max(i - lowest, 0), positions.bit_length()))


def _ones(count: int) -> int:
    return (1 << count) - 1


def _spread_taps(positions: int, step: Step) -> int:
    """Put a copy ``a*d`` higher for every tap a, by doubling."""
    copies = 1
    while copies < step.k:
        more = min(copies, step.k - copies)
        positions |= positions << (more * step.d)
        copies += more
    return positions


def _gather_taps(positions: int, step: Step) -> int:
    """Put a copy ``a*d`` lower for every tap a, by doubling."""
    copies = 1
    while copies < step.k:
        more = min(copies, step.k - copies)
        positions |= positions >> (more * step.d)
        copies += more
    return positions


def _stretch(positions: int, s: int) -> int:
    """Move position p to ``p*s``."""
    return positions if s == 1 or positions <= 1 else int(("0" * (s - 1)).join(f"{positions:b}"), 2)


def _every(positions: int, s: int) -> int:
    """Move position ``p*s`` to p, and leave out those between."""
    return positions if s == 1 else int(f"{positions:b}"[::-s][::-1], 2)
