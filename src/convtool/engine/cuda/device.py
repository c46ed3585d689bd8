"""The one door to Numba's CUDA target: what is missing, which devices there are.

Nothing here is imported before somebody asks for a GPU: finding out whether there is one takes
longer than filtering a photograph.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata, util
from typing import Any, NamedTuple

from convtool.errors import DeviceError, EngineError

PACKAGE = "numba-cuda"
INSTALL = "pip install 'convtool[cuda]'"


class Problem(NamedTuple):
    """Why no GPU can be used, and a way out."""

    what: str
    hint: str


class Device(NamedTuple):
    """A GPU.

    Parameters
    ----------
    number : int
    name : str
    compute : (int, int)
        Compute capability.
    multiprocessors : int
    memory, free : int
        Bytes in all, and those that nobody uses.
    """

    number: int
    name: str
    compute: tuple[int, int]
    multiprocessors: int
    memory: int
    free: int


def simulated() -> bool:
    """Whether Numba's simulator stands in for the GPU, which is for tests: it is very slow."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def loaded() -> bool:
    """Whether this process has begun to use CUDA."""
    return "numba.cuda" in sys.modules


@cache
def problem(number: int = 0) -> Problem | None:
    """Say what is missing for the device of that number: package, driver or device; or nothing."""
    if util.find_spec("numba_cuda") is None:
        return Problem(f"the engine cuda needs the package {PACKAGE}, which is missing", INSTALL)
    if simulated():
        return None if number == 0 else _no_device(number, 1)
    cuda = _module()
    if not cuda.is_available():
        return Problem(
            f"the engine cuda needs a GPU of NVIDIA and its driver, but {_driver_trouble()}",
            "leave --engine out, or see what convtool doctor says",
        )
    found = len(cuda.gpus)
    return None if number < found else _no_device(number, found)


def _no_device(number: int, found: int) -> Problem:
    have = "the only one is 0" if found == 1 else f"there are 0 to {found - 1}"
    return Problem(f"there is no GPU {number}: {have}", "choose another with --device")


def _driver_trouble() -> str:
    from cuda.bindings import driver

    try:
        (status,) = driver.cuInit(0)
    except Exception:
        return "the driver (libcuda) is not installed"
    if status == driver.CUresult.CUDA_ERROR_NO_DEVICE:
        return "the driver finds no device"
    return f"the driver says {status.name}"


def require(number: int = 0) -> None:
    """Raise DeviceError where the device of that number cannot be used."""
    if found := problem(number):
        raise DeviceError(found.what, found.hint)


def numba_cuda() -> Any:
    """Return `numba.cuda`, for a device that is there."""
    require()
    return _module()


@contextmanager
def said() -> Iterator[None]:
    """Say in one line what the driver refuses: memory that others have, a GPU that is lost."""
    if simulated():  # which has no driver
        yield
        return
    from numba.cuda.cudadrv.error import CudaDriverError

    try:
        yield
    except CudaDriverError as error:
        raise EngineError(f"the GPU's driver says {error}", "use --engine cpu") from None


@contextmanager
def quietly() -> Iterator[None]:
    """Have no warning that a grid is too small for the GPU: a small image needs no larger one."""
    from numba.cuda.core import config

    before = config.CUDA_LOW_OCCUPANCY_WARNINGS
    config.CUDA_LOW_OCCUPANCY_WARNINGS = 0
    try:
        yield
    finally:
        config.CUDA_LOW_OCCUPANCY_WARNINGS = before


def _module() -> Any:
    from numba import cuda

    return cuda


def devices() -> list[Device]:
    """Return every GPU; needs one."""
    if simulated():
        return [Device(0, "simulated", (9, 0), 1, 1 << 30, 1 << 30)]
    cuda = numba_cuda()
    found = []
    for number, gpu in enumerate(cuda.gpus):
        with gpu:
            free, memory = cuda.current_context().get_memory_info()
        found.append(
            Device(
                number,
                gpu.name if isinstance(gpu.name, str) else gpu.name.decode(),
                tuple(gpu.compute_capability),
                gpu.MULTIPROCESSOR_COUNT,
                memory,
                free,
            )
        )
    return found


def driver_version() -> str:
    """Return up to which CUDA the driver goes, as 13.0; nothing where there is no driver."""
    if util.find_spec("numba_cuda") is None:
        return ""
    from cuda.bindings import driver

    try:
        status, version = driver.cuDriverGetVersion()
    except Exception:
        return ""
    if status != driver.CUresult.CUDA_SUCCESS:
        return ""
    return f"{version // 1000}.{version % 1000 // 10}"


def toolkit() -> str:
    """Return what compiles kernels, with versions; nothing where it is not installed."""
    found = []
    for name in (PACKAGE, "nvidia-nvvm", "nvidia-cuda-nvrtc"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
