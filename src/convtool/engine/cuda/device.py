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
INSTALL = "pip install 'numba-cuda[cu13]>=0.30.4,<0.31'"

# What the compiler of CUDA 13 writes for, at least.
LEAST_COMPUTE = (7, 5)


class Problem(NamedTuple):
    """Why no GPU can be used, and a way out.

    Parameters
    ----------
    what, hint : str
    absent : bool
        Whether something is not there, which is so on most machines and well; else something is
        there that does not work.
    """

    what: str
    hint: str
    absent: bool = False


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
        return Problem(
            f"the engine cuda needs the package {PACKAGE}, which is missing", INSTALL, True
        )
    if simulated():
        return None if number == 0 else _no_device(number, 1)
    if old := _old_driver():
        return old
    try:
        cuda = _module()
    except ImportError as error:
        text = " ".join(str(error).split())
        return Problem(f"the package {PACKAGE} cannot be loaded: {text}", INSTALL)
    if not cuda.is_available():
        return _trouble()
    found = len(cuda.gpus)
    if number >= found:
        return _no_device(number, found)
    return _old_device(cuda.gpus[number])


def _no_device(number: int, found: int) -> Problem:
    if found == 1:
        return Problem(f"there is no GPU {number}: the only one is 0", "leave --device out")
    have = f"there are 0 to {found - 1}"
    return Problem(f"there is no GPU {number}: {have}", "choose another with --device")


def _trouble() -> Problem:
    hint = "install NVIDIA's driver, 580 or later, or leave --engine out"
    needs = "the engine cuda needs a GPU of NVIDIA and its driver, but the driver"
    if os.environ.get("NUMBA_DISABLE_CUDA", "0") not in ("", "0"):
        return Problem("the engine cuda is turned off by NUMBA_DISABLE_CUDA", "unset it", True)
    try:
        from cuda.bindings import driver

        (status,) = driver.cuInit(0)
    except ImportError as error:
        return Problem(f"the package cuda-bindings cannot be loaded: {error}", INSTALL)
    except Exception:
        return Problem(f"{needs} (libcuda) is not installed", hint, True)
    if status == driver.CUresult.CUDA_ERROR_NO_DEVICE:
        return Problem(f"{needs} finds no device", hint, True)
    if status != driver.CUresult.CUDA_SUCCESS:
        return Problem(f"{needs} says {status.name}", hint)
    return Problem(
        "the engine cuda needs NVIDIA's compiler, nvidia-nvvm, which is missing", INSTALL, True
    )


def _old_driver() -> Problem | None:
    """Say whether the driver is older than what the compiler writes for."""
    has, needs = driver_version(), _compiles_for()
    if not has or not needs or int(has.partition(".")[0]) >= needs:
        return None
    return Problem(
        f"the driver goes up to CUDA {has}, but {PACKAGE} is installed for CUDA {needs}",
        "install a newer driver: 580 or later has CUDA 13",
    )


def _old_device(gpu: Any) -> Problem | None:
    compute = tuple(gpu.compute_capability)
    if compute >= LEAST_COMPUTE:
        return None
    return Problem(
        f"GPU {gpu.id} has compute capability {compute[0]}.{compute[1]}, but CUDA 13 needs "
        f"{LEAST_COMPUTE[0]}.{LEAST_COMPUTE[1]} or more",
        "choose another with --device, or leave --engine out",
    )


def _compiles_for() -> int | None:
    """Return the CUDA release of the compiler that is installed; None where that is not known."""
    try:
        return int(metadata.version("nvidia-nvvm").partition(".")[0])
    except metadata.PackageNotFoundError:
        return None


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
    from cuda.core._utils.cuda_utils import CUDAError
    from numba.cuda.cudadrv import error as errors

    refusals = (CUDAError, errors.CudaDriverError, errors.CudaSupportError, errors.NvvmError)
    try:
        yield
    except refusals as error:
        text = " ".join(str(error).split())
        raise EngineError(f"the GPU's driver says {text}", "use --engine cpu") from None


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
    try:
        from cuda.bindings import driver

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
