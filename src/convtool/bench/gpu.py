"""The cuda engine beside other libraries on the same GPU.

Everything lies in the device's memory, and what is timed is the device's work, by events: from
when the first kernel begins until the last one ends. A device that waits for Python would be
measured waiting: so each call is put behind other work, of a millisecond or more. The whole of a
call, from an array to an array, is timed besides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.bench import gpu_peers
from convtool.bench.cases import Case
from convtool.bench.floors import device_floor_seconds
from convtool.bench.peers import Task
from convtool.bench.run import (
    Result,
    Settings,
    difference,
    finish_for,
    our_way,
    prepare,
    side_by_side,
    take_turns,
    tolerance,
    wall,
)
from convtool.engine import choose, finished
from convtool.engine.cuda import device as door
from convtool.engine.cuda import rates
from convtool.errors import ConvtoolError, DeviceError
from convtool.terms import EngineName, MethodName

# How long a device is kept busy before what is timed, in seconds: longer than Python takes to ask
# for all the kernels of a call. Several times what ours took, between a least and a most.
AHEAD = 3
AHEAD_LEAST, AHEAD_MOST = 1e-3, 0.05


@dataclass(frozen=True)
class Facts:
    """The device of a run.

    Parameters
    ----------
    number : int
    name, compute : str
        Compute capability, as 9.0.
    multiprocessors, memory : int
        Memory in bytes.
    driver, toolkit : str
        Versions.
    """

    number: int
    name: str
    compute: str
    multiprocessors: int
    memory: int
    driver: str
    toolkit: str


@dataclass(frozen=True)
class DeviceFloors:
    """What the device does at best; see `engine.cuda.rates`.

    Parameters
    ----------
    copy_gb_per_s : float
        In its own memory, bytes read and bytes written together.
    multiply_add_gflops : float
        float32, a multiply-add as two operations.
    up_gb_per_s, down_gb_per_s : float
        To the device and from it.
    start_seconds : float
        How long loading the engine takes.
    """

    copy_gb_per_s: float
    multiply_add_gflops: float
    up_gb_per_s: float
    down_gb_per_s: float
    start_seconds: float


class Gpu:
    """A device that cases are measured on; its floors are measured when it is made.

    Parameters
    ----------
    number : int

    Raises
    ------
    DeviceError
        Where it cannot be used.
    """

    def __init__(self, number: int) -> None:
        door.require(number)
        self.number = number
        self.rates = rates.measure(number)
        self._multipliers: rates.Multipliers | None = None
        self._ahead = AHEAD_LEAST

    @property
    def facts(self) -> Facts:
        """What it is."""
        found = door.devices()[self.number]
        compute = ".".join(map(str, found.compute))
        driver, toolkit = door.driver_version(), door.toolkit()
        return Facts(
            self.number,
            found.name,
            compute,
            found.multiprocessors,
            found.memory,
            driver,
            toolkit,
        )

    @property
    def floors(self) -> DeviceFloors:
        """What it does at best."""
        found = self.rates
        return DeviceFloors(
            found.copy * 1e-9,
            2 * found.multiply_adds * 1e-9,
            found.up * 1e-9,
            found.down * 1e-9,
            found.start,
        )

    def measure(self, case: Case, settings: Settings) -> Result:
        """Measure one case.

        Raises
        ------
        EngineError
            Where the method asked for cannot do it.
        DeviceError
            Where it failed on the device, or its results are not those of the cpu engine.
        """
        gpu_peers.release()
        try:
            return self._measured(prepare(case, settings), settings)
        except ConvtoolError:
            raise
        except Exception as error:  # of the driver, for one: the other cases go on
            raise DeviceError(f"{case.name}: {type(error).__name__}: {error}") from error

    def _measured(self, task: Task, settings: Settings) -> Result:
        ours = _Ours(task, settings.method, self.number)
        ours.resident.launch()  # which may compile
        expected = ours.resident.result()
        asking = AHEAD * wall(ours.resident.launch)
        self._ahead = min(max(asking, AHEAD_LEAST), AHEAD_MOST)
        _compare(task, {"on the device": expected, "with transfers": ours.whole()})
        times, peers, failed = side_by_side(
            task, ours.resident.launch, expected, settings, ours.clock, self._busy
        )
        whole = take_turns({"": ours.whole}, [""], settings)[""]
        floor = device_floor_seconds(
            task.settled, task.images.itemsize, self.rates.copy, self.rates.multiply_adds
        )
        return Result(task.case, task.settled, ours.choice, times, floor, peers, failed, whole)

    def _busy(self) -> None:
        """Keep the device busy for a moment, on the stream that all others wait for."""
        if door.simulated():
            return
        with door.numba_cuda().gpus[self.number]:
            if self._multipliers is None:
                self._multipliers = rates.Multipliers(self.number)
            rounds = self._ahead * self.rates.multiply_adds / self._multipliers.in_round()
            self._multipliers.launch(ceil(rounds), 0)


class _Ours:
    """Our way to compute a case on a device.

    Parameters
    ----------
    task : Task
    method : MethodName
    number : int
        Of the device.
    """

    def __init__(self, task: Task, method: MethodName, number: int) -> None:
        from convtool.engine.cuda.resident import resident

        self.task, x, settled = task, task.images, task.settled
        self.weights = task.weights[None] if settled.per_channel else task.weights
        self.finish = finish_for(x.dtype)
        self.choice = choose(
            settled, EngineName.CUDA, method, weights=self.weights, dtype=x.dtype, device=number
        )
        taps = np.ascontiguousarray(self.weights, np.float64)
        self.resident = resident(x, taps, settled, self.choice.method, self.finish, number)
        self._out = np.zeros(settled.output_shape, x.dtype)

    def clock(self, launch: Callable[[], object]) -> float:
        """Compute once; return the device's seconds, or the simulator's, which has no events."""
        return wall(launch) if door.simulated() else float(self.resident.seconds(1)[0])

    def whole(self) -> NDArray[Any]:
        """Compute once, from an array to an array that is there."""
        images, settled = self.task.images, self.task.settled
        results, _ = finished(
            images, self.weights, settled, self.choice, self.finish, out=self._out
        )
        return results


def _compare(task: Task, results: Mapping[str, NDArray[Any]]) -> None:
    """Compare our results with those of the cpu engine."""
    _, reference = our_way(task, MethodName.AUTO)
    expected = reference()
    for how, result in results.items():
        apart, limit = difference(result, expected, (0, 0)), tolerance(task)
        if apart > limit:
            raise DeviceError(
                f"{task.case.name}: the cuda engine's results {how} must be within {limit:.3g} of "
                f"the cpu engine's, but are {apart:.3g} apart",
                "please report this, with what convtool doctor says",
            )
