"""The run itself: ours and every peer in turn, round after round.

What is compared is timed side by side. In every round each way to compute a case has a *turn*, of
one call or of as many as fit a moment, and the order rotates from round to round: so that a
machine that is slow for a while is slow for all of them. The first calls, in which code is
compiled and memory is found, are not counted; their results are compared instead.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.bench.cases import Case, Image, full_rank, images
from convtool.bench.floors import (
    bytes_moved,
    copy_bandwidth,
    floor_seconds,
    multiply_peak,
    thread_count,
)
from convtool.bench.peers import Clock, Peer, Task, Way
from convtool.engine import Choice, Finish, choose, finished
from convtool.errors import ConvtoolError
from convtool.geometry import ConvPlan
from convtool.terms import EngineName, MethodName, Op, RangeMode

# Some libraries' threads spin for a while when they have done their work, in wait for more.
SETTLE = 0.004

# No clock is finer, in seconds: what it calls nothing took so long at most.
LEAST = 1e-9

# A turn ends after so many times its length too, where clocks count less than what passes: a GPU's
# work alone, of calls that take Python much longer.
IDLE = 20

# Who takes so many times as long as the quickest will not be the quickest.
FAR_BEHIND = 4

# How far results may differ: 8-bit ones by a level, for sums are rounded to even, rounded up or
# cut off; others by so much of the greatest sum there can be, which FFTs keep to as well.
LEVELS = 1.0
SHARE = 1e-5

# Results are compared in a band of so many rows at the top, in the middle and at the bottom.
BAND = 256


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Parameters
    ----------
    repeat : int
        Rounds for each case.
    seconds : float
        After so long no new round is begun; one there always is.
    turn : float
        How long a turn is at least, in seconds.
    patience : float
        How long a peer's call may take by estimate; what is slower is left out.
    threads : int, optional
        None for all cores.
    method : MethodName
        Of ours.
    peers : tuple of Peer
    device : int, optional
        The number of the GPU that computes; None for the cpu engine.
    """

    repeat: int = 5
    seconds: float = 8.0
    turn: float = 0.02
    patience: float = 1.5
    threads: int | None = None
    method: MethodName = MethodName.AUTO
    peers: tuple[Peer, ...] = ()
    device: int | None = None

    @property
    def count(self) -> int:
        """Threads of every library that can be told."""
        return thread_count(self.threads)


STANDARD = Settings()
QUICK = Settings(repeat=1, turn=0.01, patience=0.03)


@dataclass(frozen=True)
class Timing:
    """Times of calls in seconds: the median, the least, and how many there were."""

    seconds: float
    best: float
    calls: int


@dataclass(frozen=True)
class PeerTiming:
    """What came of one way of a peer.

    Parameters
    ----------
    timing : Timing
    difference : float
        The greatest between its results and ours; infinite where shapes differ.
    agrees : bool
        Whether that is rounding.
    approximate : bool
        Whether it is meant to be near the kernel only.
    """

    timing: Timing
    difference: float
    agrees: bool
    approximate: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is the same work as ours."""
        return self.agrees and not self.approximate


@dataclass(frozen=True)
class Result:
    """One case, measured.

    Parameters
    ----------
    case : Case
    settled : ConvPlan
    choice : Choice
        Ours.
    ours : Timing
    floor : float
        In seconds; see `floors`.
    peers : dict
        From names of ways to what came of them.
    failed : dict
        From names of ways to what they raised.
    whole : Timing, optional
        Of ours on a GPU, images and results being in the machine's memory; `ours` is then what
        the device worked, and so is what peers took.
    """

    case: Case
    settled: ConvPlan
    choice: Choice
    ours: Timing
    floor: float
    peers: Mapping[str, PeerTiming] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    whole: Timing | None = None

    @property
    def share_of_floor(self) -> float:
        """1 where ours is as quick as the machine can be."""
        return self.floor / self.ours.seconds

    @property
    def gflops(self) -> float:
        """The kernel's multiply-adds, as two operations each, in a second.

        Those of the direct sum, whatever the method did instead.
        """
        return 2 * self.settled.macs / self.ours.seconds * 1e-9

    @property
    def bytes_moved(self) -> int:
        """Bytes of images and results."""
        return bytes_moved(self.settled, np.dtype(self.case.dtype).itemsize)

    @property
    def nanoseconds_per_output(self) -> float:
        """Time for each number of the result."""
        return self.ours.seconds / float(np.prod(self.settled.output_shape)) * 1e9

    @property
    def fastest_peer(self) -> str | None:
        """The quickest by its median, of those that do the same work."""
        able = {name: peer.timing.seconds for name, peer in self.peers.items() if peer.counts}
        return min(able, key=able.__getitem__, default=None)

    def ratio_of(self, name: str) -> float:
        """Return a peer's time over ours: above 1, ours is quicker."""
        return self.peers[name].timing.seconds / self.ours.seconds

    @property
    def ratio(self) -> float | None:
        """That of the quickest peer."""
        return None if self.fastest_peer is None else self.ratio_of(self.fastest_peer)


@dataclass(frozen=True)
class Floors:
    """What the machine does at best; see `floors`.

    Parameters
    ----------
    copy_gb_per_s : float
        Bytes read and bytes written together.
    copy_bytes : int
        How many these were: as many as the largest case moves.
    multiply_add_gflops : float
        float32, a multiply-add as two operations.
    """

    copy_gb_per_s: float
    copy_bytes: int
    multiply_add_gflops: float


def find_floors(cases: Iterable[Case], kind: Image, settings: Settings) -> Floors:
    """Measure the floors for cases, or for filters of one kind of image where there are none."""
    every = [*cases, full_rank(1, kind)]
    size = max(bytes_moved(case.plan(), np.dtype(case.dtype).itemsize) for case in every)
    return Floors(
        copy_bandwidth(size, settings.count) * 1e-9,
        size,
        multiply_peak(settings.count) * 1e-9,
    )


def copy_seconds(kind: Image, settings: Settings) -> float:
    """Return the floor of filters of one kind of image."""
    return floor_seconds(full_rank(1, kind).plan(), np.dtype(kind.dtype).itemsize, settings.count)


@dataclass(frozen=True)
class LeftOut:
    """A case that the method asked for cannot do, or that failed on the device."""

    case: Case
    error: ConvtoolError


def run(
    cases: Iterable[Case],
    settings: Settings,
    measure_one: Callable[[Case, Settings], Result],
) -> Iterator[Result | LeftOut]:
    """Measure case after case, and yield each when it is done.

    Parameters
    ----------
    cases : iterable of Case
    settings : Settings
    measure_one : callable
        `measure` for the cpu engine, or that of a `gpu.Gpu`.
    """
    for case in cases:
        try:
            yield measure_one(case, settings)
        except ConvtoolError as error:
            yield LeftOut(case, error)


def measure(case: Case, settings: Settings) -> Result:
    """Measure one case.

    Raises
    ------
    EngineError
        Where the method asked for cannot do it.
    """
    task = prepare(case, settings)
    choice, ours = our_way(task, settings.method)
    times, peers, failed = side_by_side(task, ours, ours(), settings)
    floor = floor_seconds(task.settled, task.images.itemsize, task.threads)
    return Result(case, task.settled, choice, times, floor, peers, failed)


def side_by_side(
    task: Task,
    ours: Callable[[], object],
    expected: NDArray[Any],
    settings: Settings,
    clock: Clock | None = None,
    ahead: Callable[[], None] | None = None,
) -> tuple[Timing, dict[str, PeerTiming], dict[str, str]]:
    """Compare and time the peers beside ours.

    Parameters
    ----------
    task : Task
    ours : callable
        Was called before.
    expected : ndarray (N, OH, OW, OC)
        What came of it.
    settings : Settings
    clock : callable, optional
        What times ours, where it returns before its work is done.
    ahead : callable, optional
        Called before each timing.

    Returns
    -------
    Timing
        Of ours.
    peers, failed : dict
        See `Result`.
    """
    ways, failed, found = list[Way](), dict[str, str](), dict[str, tuple[float, bool]]()
    for way in ways_of(task, settings.peers, failed):
        difference, agrees = attempt(task, way, expected, failed)
        if way.name not in failed:
            ways.append(way)
            found[way.name] = difference, agrees
    # Ours goes under an empty name, which no way has.
    calls = {"": ours} | {way.name: way.call for way in ways}
    clocks = {"": clock or wall} | {way.name: way.clock or wall for way in ways}
    if ahead is not None:
        clocks = {name: _after(ahead, each) for name, each in clocks.items()}
    times = take_turns(calls, [""], settings, clocks)
    peers = {
        way.name: PeerTiming(times[way.name], *found[way.name], way.approximate) for way in ways
    }
    return times[""], peers, failed


def prepare(case: Case, settings: Settings) -> Task:
    """Make the arrays of a case."""
    return Task(
        case,
        images(case.shape, case.dtype),
        case.kernel.weights(),
        case.plan(),
        settings.count,
        settings.patience,
        settings.device or 0,
    )


def our_way(task: Task, method: MethodName) -> tuple[Choice, Callable[[], NDArray[Any]]]:
    """Return who computes, and the call: the cpu engine, into memory that is there.

    Raises
    ------
    EngineError
        Where the method cannot do the case.
    """
    x, settled, threads = task.images, task.settled, task.threads
    w = task.weights[None] if settled.per_channel else task.weights
    choice = choose(settled, EngineName.CPU, method, weights=w, threads=threads, dtype=x.dtype)
    out = np.zeros(settled.output_shape, x.dtype)
    finish = finish_for(x.dtype)
    return choice, lambda: finished(x, w, settled, choice, finish, threads=threads, out=out)[0]


def finish_for(dtype: np.dtype[Any]) -> Finish:
    """Return what makes results of the images' type: float32 as it is, others rounded."""
    if dtype == np.float32:
        return Finish()
    full = float(np.iinfo(dtype).max)
    return Finish(range=RangeMode.CLIP, full_in=full, full_out=full, dtype=dtype.name)


def ways_of(task: Task, peers: Iterable[Peer], failed: dict[str, str]) -> Iterator[Way]:
    """Yield the ways of all peers; note in `failed` what one raised instead."""
    transposed = task.case.op is Op.CONV2D_TRANSPOSE
    for peer in (peer for peer in peers if peer.transposes or not transposed):
        try:
            yield from peer.ways(task)
        except Exception as error:  # other people's code: the run goes on without it
            failed[peer.title] = f"{type(error).__name__}: {error}"


def attempt(
    task: Task, way: Way, expected: NDArray[Any], failed: dict[str, str]
) -> tuple[float, bool]:
    """Call once; return how far the result is from ours, and whether that is rounding.

    What the call raises is noted in `failed`.
    """
    try:
        result = way.array(way.call())
    except Exception as error:
        failed[way.name] = f"{type(error).__name__}: {error}"
        return np.inf, False
    found = difference(result, expected, (0, 0) if way.rim else _rim(task.settled))
    return found, found <= tolerance(task)


def _rim(settled: ConvPlan) -> tuple[int, int]:
    """Return how many rows and columns of the result, at most, have a window on the border."""
    rows, cols = (-(-axis.window // axis.s) for axis in (settled.rows, settled.cols))
    return rows, cols


def tolerance(task: Task) -> float:
    """Return how far apart results may be that differ by rounding alone."""
    if task.images.dtype == np.uint8:
        return LEVELS
    axes = (0, 1) if task.settled.per_channel else (0, 1, 2)
    return SHARE * float(np.abs(task.weights).sum(axes).max()) * float(np.abs(task.images).max())


def difference(result: NDArray[Any], expected: NDArray[Any], rim: tuple[int, int]) -> float:
    """Return the greatest difference inside a rim of so many rows and columns."""
    if result.shape != expected.shape or result.dtype != expected.dtype:
        return np.inf
    top, left = rim
    h, w = (size - 2 * edge for size, edge in zip(expected.shape[1:3], rim, strict=True))
    greatest = 0.0
    for start in sorted({0, max((h - BAND) // 2, 0), max(h - BAND, 0)}):
        rows = slice(top + start, top + max(min(start + BAND, h), 0))
        part = (slice(None), rows, slice(left, left + max(w, 0)))
        apart = np.abs(result[part].astype(np.float32) - expected[part].astype(np.float32))
        # NaN is greater than anything here: a result that is none agrees with nothing.
        greatest = max(greatest, float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)))
    return greatest


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    ours: Collection[str],
    settings: Settings,
    clocks: Mapping[str, Clock] | None = None,
) -> dict[str, Timing]:
    """Time calls side by side, which were all made once before.

    Parameters
    ----------
    calls : dict
        By name.
    ours : collection of str
        Those that take part in every round. Of the others, those that were far behind in the first
        round are not asked again, which leaves the time to those that matter.
    settings : Settings
    clocks : dict, optional
        By name, what times calls that return before their work is done.
    """
    clocks = clocks or {}
    names, times = list(calls), {name: list[float]() for name in calls}
    begun = perf_counter()
    for number in range(settings.repeat):
        if number and perf_counter() - begun > settings.seconds:
            break
        if number == 1:
            limit = FAR_BEHIND * min(map(median, times.values()), default=0)
            names = [name for name in names if name in ours or median(times[name]) <= limit]
        first = number % max(len(names), 1)
        for name in names[first:] + names[:first]:
            sleep(SETTLE)
            times[name] += _turn(calls[name], settings.turn, clocks.get(name, wall))
    return {name: Timing(median(taken), min(taken), len(taken)) for name, taken in times.items()}


def _turn(call: Callable[[], object], seconds: float, clock: Clock) -> list[float]:
    taken, total, begun = list[float](), 0.0, perf_counter()
    while not taken or (total < seconds and perf_counter() - begun < IDLE * seconds):
        taken.append(max(clock(call), LEAST))
        total += taken[-1]
    return taken


def _after(ahead: Callable[[], None], clock: Clock) -> Clock:
    def timed(call: Callable[[], object]) -> float:
        ahead()
        return clock(call)

    return timed


def wall(call: Callable[[], object]) -> float:
    """Time a call that returns when its work is done."""
    started = perf_counter()
    call()
    return perf_counter() - started
