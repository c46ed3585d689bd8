"""What there is for the cuda engine: package, driver, devices, and what was measured of them.

Loading what talks to a GPU takes a second, and what is wrong there may end a process: it is looked
at in a process of its own, this module's `main`.
"""

import json
import sys
from importlib import util
from typing import Any, NamedTuple

from convtool.doctor.trial import elsewhere, trouble
from convtool.engine.cuda import device, rates
from convtool.engine.cuda.device import Device, Problem
from convtool.engine.cuda.rates import Rates
from convtool.terms import EngineName


class Gpu(NamedTuple):
    """What was found.

    Parameters
    ----------
    missing : str
        What there is not, of package, driver and device; nothing where all of it is there.
    hint : str
        A way out of what is missing or fails.
    failure : str
        Why the cuda engine does not work although nothing is missing; nothing where it does.
    driver : str
        Up to which CUDA the driver goes; nothing where there is none.
    toolkit : str
        What compiles kernels, with versions; nothing where it is not installed.
    devices : tuple of Device
    failures : tuple of str
        Why the engine does not work on each device; nothing where it does.
    rates : tuple of Rates or None
        What was measured of each device.
    """

    missing: str = ""
    hint: str = ""
    failure: str = ""
    driver: str = ""
    toolkit: str = ""
    devices: tuple[Device, ...] = ()
    failures: tuple[str, ...] = ()
    rates: tuple[Rates | None, ...] = ()

    @property
    def works(self) -> bool:
        """Whether the engine was tried, and did what it should on a device at least."""
        return not self.missing and not self.failure


def look() -> Gpu:
    """Look for GPUs, and try the cuda engine on each."""
    if util.find_spec("numba_cuda") is None and (problem := device.problem()):
        return Gpu(problem.what, problem.hint)
    said, failure = elsewhere("convtool.doctor.gpu")
    if failure:
        return Gpu(failure=failure, toolkit=device.toolkit())
    found = json.loads(said.splitlines()[-1])
    return Gpu(
        **found
        | {
            "devices": tuple(map(_device, found["devices"])),
            "failures": tuple(found["failures"]),
            "rates": tuple(each and Rates(*each) for each in found["rates"]),
        }
    )


def _device(fields: list[Any]) -> Device:
    found = Device(*fields)
    return found._replace(compute=(found.compute[0], found.compute[1]))


# GPUs of a machine, at most.
MOST = 16


def rates_kept() -> int:
    """Return of how many GPUs rates are kept, whether they are there or not."""
    return sum(rates.there(number) for number in range(MOST))


def main() -> int:
    """Print what there is, as one object."""
    problem = device.problem()
    found = _what_is_wrong(problem) if problem else _tried(device.devices())
    print(json.dumps(found._asdict()))
    return 0


def _what_is_wrong(problem: Problem) -> Gpu:
    """Tell what is not there, which is no trouble, from what is there and does not work."""
    found = Gpu(hint=problem.hint, driver=_driver(), toolkit=device.toolkit())
    if problem.absent:
        return found._replace(missing=problem.what)
    return found._replace(failure=problem.what)


def _driver() -> str:
    try:
        return device.driver_version()
    except ImportError:  # of a package that is damaged
        return ""


def _tried(devices: list[Device]) -> Gpu:
    """Try the engine on every device."""
    failures = tuple(trouble(EngineName.CUDA, one.number) for one in devices)
    return Gpu(
        failure=failures[0] if all(failures) else "",
        driver=device.driver_version(),
        toolkit=device.toolkit(),
        devices=tuple(devices),
        failures=failures,
        rates=tuple(rates.kept(one.number) for one in devices),
    )


if __name__ == "__main__":
    sys.exit(main())
