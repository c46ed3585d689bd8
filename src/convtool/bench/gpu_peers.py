"""Other libraries that convolve images on a GPU: how each would be asked for the standard cases.

As in `peers`, with images, kernels and results in the device's memory. All of them, and ours, put
their work on the stream that libraries share unless told otherwise, and each is timed by its own
events.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.bench.peers import Clock, Peer, Task, Way, torch_ways

# So many taps OpenCV's filter has at most.
OPENCV_TAPS = 256


def _cupy(task: Task) -> Iterator[Way]:
    """cupyx.scipy.ndimage, for images."""
    if not task.case.per_channel:
        return
    cupy, ndimage = import_module("cupy"), import_module("cupyx.scipy.ndimage")
    cupy.cuda.Device(task.device).use()
    image, kernel = cupy.asarray(task.image), task.case.kernel
    full, clock = cupy.zeros_like(image), _cupy_clock(cupy)

    def way(name: str, compute: Callable[[], object]) -> Way:
        call = _cupy_strided(cupy, task, full, compute)
        return Way(
            f"CuPy {name}{task.suffix}",
            call,
            lambda result: task.nhwc(cupy.asnumpy(result)),
            clock=clock,
        )

    dense = cupy.asarray(task.dense if image.ndim == 2 else task.dense[:, :, None])
    if kernel.factor is None:
        yield way("correlate", lambda: ndimage.correlate(image, dense, full, mode="mirror"))
        return
    between = cupy.zeros(image.shape, cupy.float32)
    factor = cupy.asarray(kernel.factor.astype(np.float32))

    def twice() -> None:
        ndimage.correlate1d(image, factor, 0, between, "mirror")
        ndimage.correlate1d(between, factor, 1, full, "mirror")

    yield way("correlate1d twice", twice)


def _cupy_strided(
    cupy: Any, task: Task, full: Any, compute: Callable[[], object]
) -> Callable[[], Any]:
    """Leave out the rows and columns that the stride passes over, by a copy."""
    rows, cols = task.settled.rows.centres, task.settled.cols.centres
    place = (slice(rows[0], rows[-1] + 1, rows.step), slice(cols[0], cols[-1] + 1, cols.step))

    def call() -> Any:
        compute()
        return full if task.case.stride == 1 else cupy.ascontiguousarray(full[place])

    return call


def _cupy_clock(cupy: Any) -> Clock:
    def clock(call: Callable[[], object]) -> float:
        before, after = cupy.cuda.Event(), cupy.cuda.Event()
        before.record()
        call()
        after.record()
        after.synchronize()
        return float(cupy.cuda.get_elapsed_time(before, after)) * 1e-3

    return clock


def _torch(task: Task) -> Iterator[Way]:
    """PyTorch's layers, which are cuDNN's: float32 all through, the quickest kind it finds."""
    torch = import_module("torch")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    torch.cuda.set_device(task.device)
    clock = _torch_clock(torch)
    for way in torch_ways(torch, task, torch.device("cuda", task.device)):
        yield replace(way, clock=clock)


def _torch_clock(torch: Any) -> Clock:
    def clock(call: Callable[[], object]) -> float:
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        call()
        after.record()
        after.synchronize()
        return float(before.elapsed_time(after)) * 1e-3

    return clock


def _opencv(task: Task) -> Iterator[Way]:
    """A linear filter, of one channel or four: an RGB image is given an empty fourth."""
    channels = task.images.shape[3]
    if not task.case.per_channel or task.case.stride > 1 or channels not in (1, 3, 4):
        return
    dense = task.dense
    if dense.size > OPENCV_TAPS:
        return
    cv2 = import_module("cv2")
    cv2.cuda.setDevice(task.device)
    image = task.image
    if channels == 3:
        image = np.concatenate([image, np.zeros_like(image[:, :, :1])], 2)
    depth = "8U" if image.dtype == np.uint8 else "32F"
    kind = getattr(cv2, f"CV_{depth}C{1 if channels == 1 else 4}")
    kernel = cv2.cuda.createLinearFilter(kind, kind, dense, borderMode=cv2.BORDER_REFLECT_101)
    source = cv2.cuda_GpuMat(image)
    full = cv2.cuda_GpuMat(source.size(), kind)

    def call() -> Any:
        kernel.apply(source, full)
        return full

    def array(result: Any) -> NDArray[Any]:
        pixels = result.download()
        return task.nhwc(np.ascontiguousarray(pixels[:, :, :3]) if channels == 3 else pixels)

    yield Way("OpenCV createLinearFilter", call, array, clock=_opencv_clock(cv2))


def _opencv_clock(cv2: Any) -> Clock:
    def clock(call: Callable[[], object]) -> float:
        before, after = cv2.cuda.Event(), cv2.cuda.Event()
        before.record()
        call()
        after.record()
        after.waitForCompletion()
        return float(cv2.cuda.Event_elapsedTime(before, after)) * 1e-3

    return clock


def _cupy_version() -> str:
    cupy = import_module("cupy")
    import_module("cupyx.scipy.ndimage")
    return str(cupy.__version__)


def _torch_version() -> str:
    torch = import_module("torch")
    if not torch.cuda.is_available():
        raise ImportError("made without CUDA")
    return f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}"


def _opencv_version() -> str:
    cv2 = import_module("cv2")
    if not cv2.cuda.getCudaEnabledDeviceCount():
        raise ImportError("made without CUDA")
    return str(cv2.__version__)


PEERS = (
    Peer("cupy", "CuPy", "cupy-cuda13x", _cupy_version, _cupy),
    Peer("torch", "PyTorch", "torch", _torch_version, _torch, transposes=True),
    Peer(
        "opencv",
        "OpenCV",
        "opencv-python",
        _opencv_version,
        _opencv,
        origin="build it with CUDA, which pip's is not",
    ),
)


def release() -> None:
    """Give back the device's memory that libraries keep for their next arrays."""
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
