"""The cuda engine: kernels in Python that Numba compiles for an NVIDIA GPU.

What comes in is cut into chunks (`layout`), which are copied with their border, sent up, computed
and brought down while others are on their way (`pipeline`). `launches` says which kernel does which
part of the work; `source` has them, `kept` keeps them on disk. `device` is the door to the GPU.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine import phases
from convtool.engine.finish import Finish, Summary
from convtool.geometry import Border, ConvPlan
from convtool.terms import Combine, MethodName, Op

if TYPE_CHECKING:
    from convtool.engine.cuda import pipeline

# Types that are read as they are.
NATIVE = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


def convolve(
    images: NDArray[np.generic],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    method: MethodName,
    finish: Finish,
    out: NDArray[Any] | None = None,
    *,
    device: int = 0,
) -> tuple[NDArray[Any], Summary | None]:
    """Execute `settled` on a GPU; see `convtool.engine.finished`.

    Parameters
    ----------
    device : int
        Which GPU.

    Raises
    ------
    DeviceError
        Where there is no such GPU, no driver, or no package.
    EngineError
        Where the method cannot do this, or the GPU has too little memory for a row of it.
    """
    from convtool.engine.cuda import pipeline

    nothing, seen = None, None
    if settled.op is Op.CONV2D_TRANSPOSE:
        settled, images = phases.with_border(settled, images)
        if left := phases.unreached(settled):
            nothing, seen = _nothing(images, settled, finish, device)
    if out is None:
        shape = (*settled.output_shape[:3], stored_channels(settled, finish))
        out = np.empty(shape, finish.dtype)
    with pipeline.slots(device) as lent:
        work = prepare(images.dtype, weights, settled, method, finish, nothing)
        summary = pipeline.run(work, images, out, lent, pipeline.room(lent))
    if summary is not None and seen is not None:
        summary = summary.joined(seen.times(left))
    return out, summary


def prepare(
    dtype: np.dtype[Any],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    method: MethodName,
    finish: Finish,
    nothing: NDArray[Any] | None = None,
) -> "pipeline.Work":
    """Lay out a convolution of images of `dtype`, and send its weights to the GPU."""
    from convtool.engine.cuda import launches, layout, pipeline

    kind = dtype if dtype in NATIVE and _holds(dtype, settled.spec.border) else np.dtype("float32")
    parts = layout.parts_of(settled, weights)
    laid_out = layout.lay_out(settled, parts, stored_channels(settled, finish))
    made = [launches.ready(part, method, finish, kind.itemsize) for part in parts]
    told = [vector for vector in (finish.bias, nothing) if vector is not None]
    on_gpu = pipeline.send([*told, *(array for ready in made for array in ready.weights)])
    bias = None if finish.bias is None else next(on_gpu)
    unreached = None if nothing is None else next(on_gpu)
    with_weights = {
        id(part): (ready, tuple(next(on_gpu) for _ in ready.weights))
        for part, ready in zip(parts, made, strict=True)
    }
    return pipeline.Work(laid_out, kind, finish, with_weights, bias, unreached)


def stored_channels(settled: ConvPlan, finish: Finish) -> int:
    """Return the channels of what is stored."""
    channels = settled.output_shape[3]
    return channels if finish.combine is Combine.EACH else channels // settled.filters


def _holds(dtype: np.dtype[Any], border: Border) -> bool:
    """Whether a type holds the number that fills a border."""
    if dtype.kind == "f" or not border.is_fill:
        return True
    return 0 <= border.value <= np.iinfo(dtype).max and float(border.value).is_integer()


def _nothing(
    images: NDArray[Any], settled: ConvPlan, finish: Finish, device: int
) -> tuple[NDArray[Any], Summary | None]:
    """Return what becomes of no sum at all."""
    plan = phases.nothing(settled)
    shape = plan.kernel_shape if len(plan.kernel_shape) == 4 else (1, 1, 1)
    method = MethodName.DIRECT if plan.per_channel else MethodName.GEMM
    none = images[:1, :0, :0]
    return convolve(none, np.zeros(shape), plan, method, finish, device=device)
