"""What there is for the cuda engine: package, driver, devices, and what was measured of them.

Loading what talks to a GPU takes a second, and what is wrong there may end a process: it is looked
at in a process of its own, this module's `main`.
"""

import json
import sys
from importlib import util
from typing import NamedTuple

from convtool.doctor.trial import elsewhere, trouble
from convtool.engine.cuda import device, rates
from convtool.engine.cuda.device import Device
from convtool.engine.cuda.rates import Rates
from convtool.terms import EngineName


class Gpu(NamedTuple):
    """What was found.

    Parameters
    ----------
    missing : str
        What there is not, of package, driver and device; nothing where all of it is there.
    hint : str
        A way out.
    failure : str
        Why the cuda engine does not work although nothing is missing; nothing where it does.
    driver : str
        Up to which CUDA the driver goes; nothing where there is none.
    toolkit : str
        What compiles kernels, with versions; nothing where it is not installed.
    devices : tuple of Device
    rates : tuple of Rates or None
        What was measured of each device.
    """

    missing: str = ""
    hint: str = ""
    failure: str = ""
    driver: str = ""
    toolkit: str = ""
    devices: tuple[Device, ...] = ()
    rates: tuple[Rates | None, ...] = ()

    @property
    def works(self) -> bool:
        """Whether the engine was tried, and did what it should."""
        return not self.missing and not self.failure


def look() -> Gpu:
    """Look for GPUs, and try the cuda engine where there is one."""
    if util.find_spec("numba_cuda") is None and (problem := device.problem()):
        return Gpu(problem.what, problem.hint)
    said, failure = elsewhere("convtool.doctor.gpu")
    if failure:
        return Gpu(failure=failure, toolkit=device.toolkit())
    found = json.loads(said.splitlines()[-1])
    devices = tuple(
        Device(**one | {"compute": tuple(one["compute"])}) for one in found.pop("devices")
    )
    return Gpu(**found, devices=devices, rates=tuple(rates.kept(one.number) for one in devices))


# GPUs of a machine, at most.
MOST = 16


def rates_kept() -> int:
    """Return of how many GPUs rates are kept, whether they are there or not."""
    return sum(rates.kept(number) is not None for number in range(MOST))


def main() -> int:
    """Print what there is, as one object."""
    found: dict[str, object] = {
        "driver": device.driver_version(),
        "toolkit": device.toolkit(),
        "devices": [],
    }
    if problem := device.problem():
        found |= {"missing": problem.what, "hint": problem.hint}
    else:
        found |= {
            "devices": [one._asdict() for one in device.devices()],
            "failure": trouble(EngineName.CUDA),
        }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
