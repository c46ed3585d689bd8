"""Time against the size of the kernel: every method of ours and every peer, and who is ahead where.

That is what decides between methods: where their curves cross.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

from convtool.bench.cases import Case, Image, full_rank, rank_one
from convtool.bench.run import Settings, attempt, our_way, prepare, take_turns, ways_of
from convtool.engine import METHODS
from convtool.errors import ConvtoolError
from convtool.terms import EngineName, MethodName

# The sizes of kernels along a curve.
SIZES = (3, 5, 7, 9, 11, 15, 21, 31, 45, 63, 91, 127)

# What is added to the name of a method that was given kernels of rank 1.
RANK_ONE = " (rank 1)"


@dataclass(frozen=True)
class Point:
    """A point of a curve: what a way takes for a kernel of so many rows and columns."""

    curve: str
    ours: bool
    size: int
    seconds: float


def measure(
    image: Image, settings: Settings, sizes: Iterable[int] = SIZES
) -> Iterator[list[Point]]:
    """Measure kernels of full rank of growing size, with every method of ours and every peer.

    A method that takes kernels of another kind only, outer products, has a Gaussian instead.
    Whatever took longer than a quarter of the time for a point is left out from there on.

    Yields
    ------
    list of Point
        All the points of one size of the kernel.
    """
    slow = set[str]()
    for k in sizes:
        case = full_rank(k, image)
        calls = _our_curves(case, settings, slow)
        ours = set(calls)
        task, failed = prepare(case, settings), dict[str, str]()
        expected = our_way(task, MethodName.AUTO)[1]()
        for way in ways_of(task, settings.peers, failed):
            if way.name not in slow and attempt(task, way, expected, failed)[1]:
                calls[way.name] = way.call
        times = take_turns(calls, ours, settings)
        yield [Point(name, name in ours, k, time.seconds) for name, time in times.items()]
        slow |= {name for name, time in times.items() if time.best > settings.seconds / 4}


def _our_curves(
    case: Case, settings: Settings, slow: Collection[str]
) -> dict[str, Callable[[], object]]:
    """Return the calls of all our methods that can do a case, or one like it of rank one.

    Each was made once.
    """
    calls: dict[str, Callable[[], object]] = {}
    for method in METHODS[EngineName.CPU]:
        for each, name in ((case, str(method)), (rank_one(case), f"{method}{RANK_ONE}")):
            try:
                call = our_way(prepare(each, settings), method)[1]
                if name not in slow:
                    call()
                    calls[name] = call
                break
            except ConvtoolError:
                continue
    return calls


@dataclass(frozen=True)
class Crossing:
    """Where another of our methods becomes the quickest.

    Parameters
    ----------
    before, after : str
        The quickest for smaller and for larger kernels.
    size : float
        Of the kernel, between the sizes that were measured.
    seconds : float
    """

    before: str
    after: str
    size: float
    seconds: float


def lines(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Return the points of each curve by the size of the kernel, in the order of the names."""
    curves: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda point: (not point.ours, point.curve, point.size)):
        curves.setdefault(point.curve, []).append(point)
    return curves


def crossings(points: Iterable[Point]) -> list[Crossing]:
    """Find where the quickest of our methods changes, on straight lines between the points.

    Methods that were measured with a kernel of another kind take no part.
    """
    times: dict[int, dict[str, float]] = {}
    for point in points:
        if point.ours and not point.curve.endswith(RANK_ONE):
            times.setdefault(point.size, {})[point.curve] = point.seconds
    found = []
    for k, next_k in pairwise(sorted(times)):
        here, there = times[k], times[next_k]
        before, after = min(here, key=here.__getitem__), min(there, key=there.__getitem__)
        if before == after or after not in here or before not in there:
            continue
        apart = log(here[after] / here[before])
        share = apart / (apart + log(there[before] / there[after]))
        size = exp(log(k) + share * log(next_k / k))
        seconds = exp(log(here[before]) + share * log(there[before] / here[before]))
        found.append(Crossing(before, after, size, seconds))
    return found
