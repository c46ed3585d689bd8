"""Whether a GPU pays: what a convolution takes there, with the ways to it and back.

Of the processor the planner knows what each part of the work takes. Of a GPU it is known what it
was measured to do (`cuda.rates`): how many bytes it takes, gives back and moves in its memory, and
how many multiply-adds it does. Nothing here is loaded or opened for work that is too small.
"""

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from convtool.engine.cuda.rates import Rates

# The share of a device's measured rates that kernels reach. An assumption: they have not been
# measured beside these rates yet.
REACHED = 0.5

# Transfers there, sums, and transfers back go on at the same time, piece by piece: together they
# take what the longest of them takes, and a tenth for the first piece and the last.
ENDS = 1.1

# Multiply-adds that an ordinary GPU does while it moves a byte in its memory: by their data sheets
# 6 (A100) to 41 (RTX 4090), 10 of an H100. Puts methods in order where nothing was measured.
BALANCE = 10

# Below so many seconds of work on the processor nobody asks for a GPU: to begin with one, and once
# that is done to send it anything, takes longer.
LEAST, LEAST_BEGUN = 0.1, 1e-3


class Load(NamedTuple):
    """What a GPU has to do.

    Parameters
    ----------
    up, down : float
        Bytes that go there, and come back.
    macs : float
        Multiply-adds.
    """

    up: float
    down: float
    macs: float

    @property
    def effort(self) -> float:
        """Compare ways on a device of which nothing was measured, in bytes moved in its memory."""
        return max(self.up + self.down, self.macs / BALANCE)


def seconds(load: Load, rates: "Rates") -> float:
    """Estimate what a device of these rates takes, with the transfers; without loading the engine.

    It reads its input once and stores its output once, or is busy with sums for longer than that.
    """
    computing = max((load.up + load.down) / rates.copy, load.macs / rates.multiply_adds) / REACHED
    return ENDS * max(load.up / rates.up, computing, load.down / rates.down)


def start(rates: "Rates") -> float:
    """Return how many seconds loading the engine takes: none once this process has done so."""
    return 0.0 if _begun() else rates.start


def kept(number: int) -> "Rates | None":
    """Return what was measured of a device, if something was; needs no device.

    Nothing under the simulator, which is for tests and slow beyond measure.

    Where nothing was, which is so on most machines, that costs a look into a folder: to import what
    reads and measures rates takes longer than many a photograph.
    """
    from convtool.engine import cache

    if not os.path.exists(cache.folder() / f"gpu-{number}-rates{cache.SUFFIX}"):
        return None
    from convtool.engine.cuda import rates

    return rates.kept(number)


def kept_if_worth(least: float, number: int) -> "Rates | None":
    """Return what was measured, if the processor is busy for so long that a GPU may be quicker."""
    return kept(number) if least > (LEAST_BEGUN if _begun() else LEAST) else None


def usable(number: int) -> bool:
    """Whether the device is there, and is the one that was measured; loads what talks to it."""
    from convtool.engine.cuda import device

    if device.simulated() or device.problem(number):
        return False
    return kept(number) is not None  # which, with all that loaded, looks at the device's name


def require(number: int) -> None:
    """Raise DeviceError where there is no such device."""
    from convtool.engine.cuda import device

    device.require(number)


def _begun() -> bool:
    """Whether this process uses a GPU already; as `device.loaded`, without importing it."""
    return "numba.cuda" in sys.modules
