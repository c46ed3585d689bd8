"""What a GPU was measured to do: how quickly it is reached, copies and multiplies.

The rates are kept beside the compiled code, so that a later run can tell what work would take on
the GPU without loading anything that talks to it.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from convtool.engine import cache as files
from convtool.engine.cuda import device
from convtool.errors import DeviceError

# Bytes that go to the device and back, and that are copied on it: several times its cache, but no
# more than a part of what is free there.
TRANSFER = 1 << 26
COPY = 1 << 29
PART = 4

# Each is the median of so many tries, after one that is not counted.
TRIES = 5

# How long the multiplications of one try are to take, in seconds: much longer than a launch.
MULTIPLY_FOR = 0.003
MOST_ROUNDS = 1 << 20

# Threads of a block, and blocks for each multiprocessor: every device since compute capability 7.5
# holds as many at once, and eight warps keep each of its four schedulers busy.
THREADS = 256
BLOCKS = 4

# What no device reaches: bytes a second, in its memory or to it, and multiply-adds a second. The
# largest of 2025 move 8e12 bytes and do 4e13 multiply-adds in float32.
MOST_BYTES = 1e15
MOST_MULTIPLY_ADDS = 1e16

# An event is this exact, in seconds.
RESOLUTION = 5e-7

# How long loading takes where no process can be had to measure it, in seconds.
ASSUMED_START = 1.0
PATIENCE = 60


class Rates(NamedTuple):
    """What a device does at best.

    Parameters
    ----------
    name : str
        Of the device.
    up, down : float
        Bytes a second to the device and from it, over pinned memory.
    copy : float
        Bytes a second that it copies in its own memory, read and written together.
    multiply_adds : float
        A second, in float32.
    start : float
        Seconds that loading the engine takes, up to a context on the device.
    """

    name: str
    up: float
    down: float
    copy: float
    multiply_adds: float
    start: float


def kept(number: int = 0) -> Rates | None:
    """Return what was measured before, without loading anything that talks to a GPU.

    Where this process has loaded that already, rates of another device or driver are not returned;
    under the simulator none are.
    """
    found = None if device.simulated() else _read(number)
    if found is None:
        return None
    rates, driver = found
    return rates if _fits(number, rates.name, driver) else None


def there(number: int) -> bool:
    """Whether something was kept of a device of that number, be it there or not."""
    return _read(number) is not None


def _read(number: int) -> tuple[Rates, str] | None:
    """Return what was kept that makes sense, and the driver that it was measured with."""
    import json

    content = files.read(_file(number))
    if content is None:
        return None
    try:
        found = json.loads(content)
        driver = found.pop("driver")
        rates = Rates(**found)
        return None if _nonsense(rates) else (rates, driver)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _nonsense(rates: Rates) -> str:
    """Say what of the rates no device does; nothing where all of it may be."""
    for what, most, unit in (
        ("up", MOST_BYTES, "bytes a second"),
        ("down", MOST_BYTES, "bytes a second"),
        ("copy", MOST_BYTES, "bytes a second"),
        ("multiply_adds", MOST_MULTIPLY_ADDS, "a second"),
        ("start", PATIENCE, "seconds"),
    ):
        value = getattr(rates, what)
        if not 0 < value <= most:  # nor is NaN
            return f"{what} must lie between 0 and {most:.3g} {unit}, but is {value:.3g}"
    return ""


def _file(number: int) -> str:
    return f"gpu-{number}-rates"


def _fits(number: int, name: str, driver: str) -> bool:
    """Whether that is the device, as far as this process can tell at no cost."""
    if not device.loaded():
        return True
    if device.problem(number) is not None:
        return False
    return (name, driver) == (_name(number), device.driver_version())


def _name(number: int) -> str:
    name = device.numba_cuda().gpus[number].name
    return name if isinstance(name, str) else name.decode()


def measure(number: int = 0) -> Rates:
    """Measure a device, which takes a moment; under the simulator sizes are tiny.

    Raises
    ------
    DeviceError
        Where there is no such device, or its clock gives what no device does.
    """
    before = device.loaded()
    start = load(number)
    if before and not device.simulated():
        start = _load_elsewhere(number)
    cuda = device.numba_cuda()
    found = device.devices()[number]
    with cuda.gpus[number]:
        up, down = _transfers(cuda)
        copy = _copy(cuda, found.free)
        rates = Rates(found.name, up, down, copy, Multipliers(number).rate(), start)
    _see_that_it_may_be(number, rates)
    return rates


def keep(number: int, rates: Rates) -> None:
    """Keep what was measured, for `auto` to choose by.

    It is for devices that were seen to compute what they should, and that have nothing else to do
    meanwhile: a rate that is wrong stays wrong.

    Raises
    ------
    DeviceError
        Where no device does that.
    """
    import json

    _see_that_it_may_be(number, rates)
    content = {**rates._asdict(), "driver": device.driver_version()}
    files.keep(_file(number), json.dumps(content).encode())


def _see_that_it_may_be(number: int, rates: Rates) -> None:
    if what := _nonsense(rates):
        raise DeviceError(
            f"GPU {number} was measured wrongly: {what}",
            "measure again when nobody else uses it; nvidia-smi says who does",
        )


def load(number: int) -> float:
    """Load all that talks to a device, up to a context; return how long that took, in seconds."""
    started = perf_counter()
    device.require(number)
    cuda = device.numba_cuda()
    with cuda.gpus[number]:
        cuda.current_context()
    return perf_counter() - started


def _load_elsewhere(number: int) -> float:
    """Return how long that takes a process that has loaded nothing yet."""
    code = f"from {__name__} import load; print(load({number}))"
    command = [sys.executable, "-P", "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return float(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        # A device may be set to take one process at a time.
        earlier = kept(number)
        return earlier.start if earlier else ASSUMED_START


def _transfers(cuda: Any) -> tuple[float, float]:
    """Return bytes a second up and down."""
    size, stream = (64 if device.simulated() else TRANSFER), cuda.stream()
    here, there = cuda.pinned_array(size, np.uint8), cuda.device_array(size, np.uint8)
    here[:] = 0
    up = _median(cuda, stream, lambda: there.copy_to_device(here, stream))
    down = _median(cuda, stream, lambda: there.copy_to_host(here, stream))
    return size / up, size / down


def _copy(cuda: Any, free: int) -> float:
    """Return bytes a second, read and written together."""
    size, stream = (64 if device.simulated() else min(COPY, free // PART)), cuda.stream()
    source, target = (cuda.device_array(size, np.uint8) for _ in range(2))
    source.copy_to_device(np.zeros(size, np.uint8))
    return 2 * size / _median(cuda, stream, lambda: target.copy_to_device(source, stream))


def _median(cuda: Any, stream: Any, call: Callable[[], object]) -> float:
    """Return the median of several calls in seconds, after one that is not counted."""
    return median([seconds(cuda, stream, call) for _ in range(TRIES + 1)][1:])


def seconds(cuda: Any, stream: Any, call: Callable[[], object]) -> float:
    """Return how long the device worked on what a call put on a stream, by its own clock.

    The simulator has no such clock: the machine's takes its place.
    """
    before, after = cuda.event(), cuda.event()
    started = perf_counter()
    before.record(stream)
    call()
    after.record(stream)
    after.synchronize()
    if device.simulated():
        return perf_counter() - started
    return max(before.elapsed_time(after) * 1e-3, RESOLUTION)


class Multipliers:
    """All the multipliers of a device at work.

    Parameters
    ----------
    number : int
        Of the device, which is the current one.
    """

    def __init__(self, number: int) -> None:
        self.cuda, self.kernel = device.numba_cuda(), _kernel()
        self.blocks, self.threads = 1, 2
        if not device.simulated():
            self.blocks = BLOCKS * device.devices()[number].multiprocessors
            self.threads = THREADS
        # x ← x·1 + 0: numbers that stay as they are, whatever the number of rounds.
        self.factors = self.cuda.to_device(np.array([1, 0], np.float32))
        self.places = self.cuda.to_device(np.ones(self.blocks * self.threads, np.float32))

    def launch(self, rounds: int, stream: Any) -> None:
        """Put so many rounds on a stream; 0 is the one that every library uses."""
        self.kernel[self.blocks, self.threads, stream](self.factors, rounds, self.places)

    def in_round(self) -> int:
        """Return the multiply-adds of one round."""
        from convtool.engine.cuda.source import peak

        return peak.CHAINS * peak.STEPS * self.blocks * self.threads

    def rate(self) -> float:
        """Measure multiply-adds a second."""
        stream, rounds = self.cuda.stream(), 1

        def launch() -> None:
            self.launch(rounds, stream)

        launch()  # which may compile
        stream.synchronize()
        most = 1 if device.simulated() else MOST_ROUNDS
        while rounds < most and seconds(self.cuda, stream, launch) < MULTIPLY_FOR:
            rounds *= 2
        return rounds * self.in_round() / _median(self.cuda, stream, launch)


@cache
def _kernel() -> Any:
    from convtool.engine.cuda import kept as kernels
    from convtool.engine.cuda.source import peak

    dispatcher = device.numba_cuda().jit(peak.kernel())
    kernels.attach(dispatcher, "peak")
    return dispatcher
