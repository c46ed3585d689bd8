"""What was measured, as a table that grows while it runs, and as JSON."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from convtool.bench.curves import Point, crossings, lines
from convtool.bench.machine import Machine
from convtool.bench.run import Floors, LeftOut, PeerTiming, Result
from convtool.errors import ConvtoolError, DeviceError
from convtool.report.events import Progress, listening
from convtool.report.lines import BAD, DIM, GOOD, HEAD, WARN, Line, emit, entry

if TYPE_CHECKING:
    from convtool.bench.gpu import DeviceFloors, Facts

NAME_WIDTH = 31
HEADINGS = f"{'ours':<10}{'ms':>8}{'floor':>7}{'GFLOP/s':>9}{'ratio':>9}{'ms':>9}  fastest peer"

LEGEND = (
    "floor: that of a copy of the image, or of a layer's multiply-adds at the peak, over ours;",
    "GFLOP/s: multiply-adds of the direct sum, whatever the method does instead;",
    "ratio: the fastest peer that gives the same results, over ours: above 1 ours is ahead",
)

GPU_HEADINGS = (
    f"{'ours':<10}{'ms':>8}{'least':>8}{'whole':>8}"
    f"{'floor ms':>10}{'floor':>7}{'ratio':>8}{'ms':>8}  fastest peer"
)

GPU_LEGEND = (
    "ms, least: the device's time, by events, median and least; peers are timed likewise;",
    "whole: ours from array to array, with the transfers and all of Python;",
    "floor ms: that of a copy on the device, or of a layer's multiply-adds at the peak;",
    "floor: that over ours; images that fit the device's cache can come out above 100%;",
    "ratio: the fastest peer that gives the same results, over ours: above 1 ours is ahead",
)


class Report:
    """Prints results as they come, and keeps them.

    Parameters
    ----------
    machine : Machine
    floors : Floors or DeviceFloors
    peers : dict
        From the titles of the peers that take part to their versions.
    total : int
        How many results and sizes of kernels there will be.
    quiet : bool
        Print nothing.
    to_stderr : bool
        Standard output holds the JSON.
    device : Facts, optional
        The GPU that computes; without it the cpu engine does.
    absent : dict
        From the titles of peers that are not installed to how they come to be.
    """

    def __init__(
        self,
        machine: Machine,
        floors: "Floors | DeviceFloors",
        peers: Mapping[str, str],
        total: int,
        *,
        quiet: bool,
        to_stderr: bool = False,
        device: "Facts | None" = None,
        absent: Mapping[str, str] | None = None,
    ) -> None:
        self.machine, self.floors, self.peers = machine, floors, peers
        self.device, self.absent = device, absent or {}
        self.total, self.quiet = total, quiet
        self.stream = sys.stderr if to_stderr else sys.stdout
        self.results = list[Result]()
        self.left_out = list[LeftOut]()
        self.points = list[Point]()
        self.interrupted = False
        self._group = ""

    def follow(
        self, happening: Iterable[Result | LeftOut], curves: Iterable[list[Point]] = ()
    ) -> int:
        """Print every result as it comes, then the sum, of what there is after an interrupt too.

        Returns
        -------
        int
            The exit status: 0, 1 where a case failed on a device, or 130 where it was interrupted.
        """
        self._emit(self._header())
        try:
            bar = Progress(self.total, hidden=self.quiet, of="cases")
            with bar as progress, listening(self.quiet, progress):
                for result in happening:
                    parts = self._take(result)
                    if not self.quiet:
                        progress.print(parts, self.stream)
                    progress.advance()
                for points in curves:
                    self.points += points
                    progress.advance()
        except KeyboardInterrupt:
            self.interrupted = True
        self._emit(self._sum())
        failed = any(isinstance(each.error, DeviceError) for each in self.left_out)
        return 130 if self.interrupted else int(failed)

    @property
    def refused(self) -> ConvtoolError | None:
        """Why no case can be done as asked; None where one was, or failed on its way."""
        errors = [each.error for each in self.left_out]
        done = self.results or self.points or self.interrupted
        if done or any(isinstance(error, DeviceError) for error in errors):
            return None
        return errors[0] if errors else None

    def _header(self) -> list[Line]:
        others = ", ".join(f"{name} {version}" for name, version in self.peers.items())
        parts = machine_lines(self.machine, self.device)
        parts.append(entry("peers", others or "none"))
        if self.absent:
            parts.append(
                entry(
                    "not there", "; ".join(f"{name}: {hint}" for name, hint in self.absent.items())
                )
            )
        return [*parts, floor_line(self.floors)]

    def _emit(self, parts: Iterable[Line]) -> None:
        if not self.quiet:
            emit(parts, self.stream)

    def _take(self, result: Result | LeftOut) -> list[Line]:
        """Keep a result; return what is to be printed of it."""
        if isinstance(result, LeftOut):
            self.left_out.append(result)
            return []
        self.results.append(result)
        parts: list[Line] = []
        legend, headings = (GPU_LEGEND, GPU_HEADINGS) if self.device else (LEGEND, HEADINGS)
        if not self._group:
            parts += [entry("" if n else "columns", (text, DIM)) for n, text in enumerate(legend)]
        if result.case.group != self._group:
            self._group = result.case.group
            parts += [[], [(f"{self._group:{NAME_WIDTH}}{headings}", HEAD)]]
        return [*parts, row(result)]

    def _sum(self) -> list[Line]:
        parts: list[Line] = [[], *summary(self.results)]
        failed = [each for each in self.left_out if isinstance(each.error, DeviceError)]
        parts += [entry("failed", (each.error.message, BAD)) for each in failed]
        if unable := [each for each in self.left_out if each not in failed]:
            names = {each.error.message for each in unable}
            count = _count(len(unable), "case")
            parts.append(entry("left out", f"{count}: {'; '.join(sorted(names))}"))
        for crossing in crossings(self.points):
            parts.append(
                entry(
                    "crossing",
                    f"{crossing.before} to {crossing.after} at {crossing.size:.3g} rows and "
                    f"columns, {crossing.seconds * 1e3:.3g} ms",
                )
            )
        if self.interrupted:
            parts.append([("interrupted: this is what was measured so far", WARN)])
        return parts

    def json(self, command: str) -> str:
        """Return what ``--json`` writes: one object, each case on a line of its own.

        Parameters
        ----------
        command : str
            The command line that made it.
        """
        parts = []
        for key, value in self._document(command).items():
            text = json.dumps(value)
            if isinstance(value, list) and value:
                text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n]"
            parts.append(f"{json.dumps(key)}: {text}")
        return "{\n" + ",\n".join(parts) + "\n}\n"

    def _document(self, command: str) -> dict[str, object]:
        return {
            "machine": {**asdict(self.machine), "peers": dict(self.peers)},
            **({"device": asdict(self.device)} if self.device else {}),
            "command": command,
            "floors": asdict(self.floors),
            "cases": [result_json(result) for result in self.results],
            "left_out": [
                {"group": each.case.group, "name": each.case.name, "reason": each.error.message}
                for each in self.left_out
            ],
            "curves": {
                name: [[point.size, point.seconds] for point in curve]
                for name, curve in lines(self.points).items()
            },
            "crossings": [asdict(crossing) for crossing in crossings(self.points)],
            "interrupted": self.interrupted,
        }


def machine_lines(machine: Machine, device: "Facts | None" = None) -> list[Line]:
    """Return the machine, its GPU if that computes, and what of ours does."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    parts = [entry("machine", f"{machine.processor}, {machine.cores} cores, {machine.system}")]
    who = f"the cpu engine with {_count(machine.threads, 'thread')}"
    if device is not None:
        text = (
            f"{device.number}: {device.name}, compute capability {device.compute}, "
            f"{_figure(device.memory / 1e9)} GB, driver for CUDA {device.driver or 'unknown'}"
        )
        parts.append(entry("gpu", text))
        versions, who = f"{versions}, {device.toolkit}", "the cuda engine"
    return [*parts, entry("ours", f"{versions}; {who}")]


def floor_line(floors: "Floors | DeviceFloors") -> Line:
    """Return what the machine, or a GPU, does at best."""
    copy = f"copying {_figure(floors.copy_gb_per_s)} GB/s, read + written"
    multiply = f"multiply-add {_figure(floors.multiply_add_gflops)} GFLOP/s, float32"
    if isinstance(floors, Floors):
        return entry("floors", f"{copy} ({_figure(floors.copy_bytes / 1e6)} MB); {multiply}")
    up, down = _figure(floors.up_gb_per_s), _figure(floors.down_gb_per_s)
    return entry("floors", f"{copy}; {multiply}; to the device {up}, back {down} GB/s")


def row(result: Result) -> Line:
    """Return one case."""
    if result.whole is None:
        width, between = (
            9,
            [
                (f"{result.share_of_floor:>7.1%}", DIM),
                (f"{_figure(result.gflops):>9}", DIM),
            ],
        )
    else:
        width, between = (
            8,
            [
                (f"{_figure(result.ours.best * 1e3):>8}", ""),
                (f"{_figure(result.whole.seconds * 1e3):>8}", ""),
                (f"{_figure(result.floor * 1e3):>10}", DIM),
                (f"{result.share_of_floor:>7.1%}", DIM),
            ],
        )
    line: Line = [
        (f"  {result.case.name}".ljust(NAME_WIDTH), ""),
        (f"{result.choice.method:<10}", DIM),
        (f"{_figure(result.ours.seconds * 1e3):>8}", ""),
        *between,
    ]
    name = result.fastest_peer
    if name is None:
        return [*line, (f"{'-':>{width}}", DIM)]
    ratio = result.ratio_of(name)
    return [
        *line,
        (f"{_figure(ratio) + 'x':>{width}}", GOOD if ratio >= 1 else BAD),
        (f"{_figure(result.peers[name].timing.seconds * 1e3):>{width}}", ""),
        (f"  {name}", ""),
    ]


def summary(results: Sequence[Result]) -> list[Line]:
    """Return how many cases were ahead, who else was, and what was not counted."""
    compared = [result for result in results if result.ratio is not None]
    ahead = sum(result.ratio >= 1 for result in compared if result.ratio is not None)
    parts = []
    if compared:
        alone = len(results) - len(compared)
        rest = f"; {_count(alone, 'case')} that no peer did" if alone else ""
        count = f"{ahead} of {_count(len(compared), 'case')} that a peer did as well{rest}"
        parts.append(entry("ahead in", (count, HEAD)))
    elif results:
        parts.append(entry("measured", f"{_count(len(results), 'case')}, none with a peer"))
    # By library: a way's name begins with it.
    first = Counter(
        r.fastest_peer.split()[0]
        for r in compared
        if r.fastest_peer is not None and r.ratio_of(r.fastest_peer) < 1
    )
    if first:
        others = ", ".join(f"{name} in {count}" for name, count in first.most_common())
        parts.append(entry("behind", others))
    return parts + _not_counted(results)


def _not_counted(results: Sequence[Result]) -> list[Line]:
    """Return who computes something else, and who failed."""
    parts = []
    uncounted: dict[str, list[PeerTiming]] = {}
    failed = dict[str, str]()
    for result in results:
        failed |= result.failed
        for name, peer in result.peers.items():
            if not peer.counts:
                uncounted.setdefault(name, []).append(peer)
    for name, timings in uncounted.items():
        most = max(timing.difference for timing in timings)
        why = "an approximation" if all(t.approximate for t in timings) else "other results"
        text = f"{name}: {why} in {_count(len(timings), 'case')}, up to {_figure(most)} off"
        parts.append(entry("not counted", text))
    for name, reason in failed.items():
        parts.append(entry("failed", f"{name}: {reason}"))
    return parts


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def _figure(value: float) -> str:
    """Write a number with three digits, and more only before the point."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}" if value else "0"


def result_json(result: Result) -> dict[str, object]:
    """Return one case; times in seconds, as they were measured."""
    case = result.case
    return {
        "group": case.group,
        "name": case.name,
        "op": case.op,
        "shape": list(case.shape),
        "output_shape": list(result.settled.output_shape),
        "dtype": case.dtype,
        "kernel": str(case.kernel),
        "stride": case.stride,
        "dilation": case.dilation,
        "groups": case.groups,
        "padding": case.padding,
        "border": case.border,
        "macs": result.settled.macs,
        "bytes": result.bytes_moved,
        "ours": {
            "engine": result.choice.engine,
            "method": result.choice.method,
            **asdict(result.ours),
        },
        "floor_seconds": result.floor,
        "share_of_floor": result.share_of_floor,
        "gflops": result.gflops,
        "ns_per_output": result.nanoseconds_per_output,
        "peers": {name: peer_json(result, name) for name in result.peers},
        "fastest_peer": result.fastest_peer,
        "ratio": result.ratio,
        "failed": dict(result.failed),
        **({"whole": asdict(result.whole)} if result.whole else {}),
    }


def peer_json(result: Result, name: str) -> dict[str, object]:
    """Return what came of one way of a peer."""
    peer = result.peers[name]
    # JSON has no infinity.
    apart = peer.difference if peer.difference < float("inf") else None
    return {
        **asdict(peer.timing),
        "ratio": result.ratio_of(name),
        "agrees": peer.agrees,
        "difference": apart,
        "approximate": peer.approximate,
    }
