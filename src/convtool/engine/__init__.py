"""conv2d and conv2d_transpose on arrays: the door that checks, plans, chooses and runs.

Every engine is a function ``convolve(images, weights, plan, …) -> NHWC`` in a room of its own,
imported when it is first chosen; none of them decides anything about sizes.
"""

import operator
import sys
from functools import lru_cache
from math import prod
from typing import Any, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from convtool.engine import planner
from convtool.engine.cores import cores
from convtool.engine.finish import Finish, Summary
from convtool.engine.planner import METHODS, Choice
from convtool.errors import ArrayError, EngineError, UsageError
from convtool.geometry import (
    Border,
    ConvPlan,
    ConvSpec,
    PaddingLike,
    PairLike,
    choice,
    plan,
    size_text,
)
from convtool.terms import Combine, EngineName, MethodName, Op, RangeMode

Real = TypeVar("Real", np.float32, np.float64)

__all__ = [
    "METHODS",
    "Choice",
    "Finish",
    "Summary",
    "check_device",
    "check_threads",
    "choose",
    "conv2d",
    "conv2d_transpose",
    "convolve",
    "filter_bias",
    "finished",
    "real_array",
    "saturate",
]


def choose(
    settled: ConvPlan,
    engine: EngineName = EngineName.AUTO,
    method: MethodName = MethodName.AUTO,
    *,
    weights: NDArray[np.generic] | None = None,
    threads: int | None = None,
    macs: int | None = None,
    dtype: DTypeLike = "float32",
    stored: float = 4,
    device: int = 0,
) -> Choice:
    """Choose the engine and the method for images of `dtype`: see `planner.choose`."""
    if settled.spec.flip and weights is not None:
        weights = _flipped(weights, settled)
    count = min(threads or cores(), cores())
    kind = np.dtype(dtype)
    return planner.choose(
        settled,
        engine,
        method,
        weights=weights,
        threads=count,
        macs=macs,
        taken=kind.itemsize if kind in (np.uint8, np.uint16) else 4,  # others become float32
        stored=stored,
        device=device,
    )


def convolve(
    images: NDArray[np.generic],
    weights: NDArray[np.generic],
    settled: ConvPlan,
    chosen: Choice,
    *,
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Execute a plan.

    Parameters
    ----------
    images : ndarray (N, H, W, C)
        Any real dtype, any strides; not modified.
    weights : ndarray (F, kh, kw) or HWIO
        A bank of per-channel filters, or a kernel of rank 4.
    settled : ConvPlan
        Made for these shapes.
    chosen : Choice
    threads : int, optional
        At most so many; None for all cores. The NumPy engine leaves it to BLAS.
    out : ndarray, optional
        Contiguous memory for the result.

    Returns
    -------
    ndarray (N, OH, OW, OC), float32
    """
    if chosen.compiled:
        return finished(images, weights, settled, chosen, Finish(), threads=threads, out=out)[0]
    from convtool.engine import numpy_engine

    if 0 in settled.output_shape:
        return np.zeros(settled.output_shape, np.float32)
    with np.errstate(all="ignore"):
        return numpy_engine.convolve(images, _taps(weights, settled, np.float32), settled, out)


def finished(
    images: NDArray[np.generic],
    weights: NDArray[np.generic],
    settled: ConvPlan,
    chosen: Choice,
    finish: Finish,
    *,
    threads: int | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], Summary | None]:
    """Execute a plan in a compiled engine, up to what is stored.

    Parameters
    ----------
    finish : Finish
        What becomes of a sum, before it leaves the first cache or the registers.
    images, weights, settled, chosen, threads, out
        As for `convolve`.

    Returns
    -------
    results : ndarray (N, OH, OW, OC), of the finish's dtype
        OC is the number of channels for filters that were combined.
    summary : Summary or None
        If the finish asks for it.
    """
    if 0 in settled.output_shape:
        channels = settled.output_shape[3]
        if finish.combine is not Combine.EACH:
            channels //= settled.filters
        empty = np.zeros((*settled.output_shape[:3], channels), finish.dtype)
        return empty, Summary(None, None, 0, 0, 0, 0, 0) if finish.summarise else None
    # Values that do not fit float32 become infinite, and infinity times 0 is NaN: both are
    # results here, not accidents to warn of.
    with np.errstate(all="ignore"):
        taps = _taps(weights, settled, np.float64)
        if chosen.engine is EngineName.CUDA:
            from convtool.engine import cuda

            try:
                return cuda.convolve(
                    images, taps, settled, chosen.method, finish, out, device=chosen.device
                )
            except EngineError as error:
                if chosen.otherwise is None:  # it was asked for
                    raise
                # A GPU that nobody asked for must not fail what the processor can do.
                _say_once(f"the cpu engine computes: {error.message}")
                method = chosen.otherwise.method
        else:
            method = chosen.method
        from convtool.engine import cpu

        return cpu.convolve(images, taps, settled, method, threads, finish, out)


@lru_cache  # `cache` is a module here
def _say_once(text: str) -> None:
    import logging

    logging.getLogger("convtool").warning(text)


def _taps(weights: NDArray[np.generic], settled: ConvPlan, dtype: type[Real]) -> NDArray[Real]:
    """Return the weights as engines read them: contiguous, flipped if so planned."""
    if settled.spec.flip:
        weights = _flipped(weights, settled)
    return np.ascontiguousarray(weights, dtype)


def _flipped(weights: NDArray[np.generic], settled: ConvPlan) -> NDArray[np.generic]:
    return weights[:, ::-1, ::-1] if settled.per_channel else weights[::-1, ::-1]


def conv2d(
    images: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: PairLike = 1,
    padding: PaddingLike = "same",
    dilation: PairLike = 1,
    groups: SupportsIndex = 1,
    border: str | Border = "zero",
    bias: ArrayLike | None = None,
    dtype: DTypeLike = "float32",
    engine: str = "auto",
    method: str = "auto",
    threads: int | None = None,
    device: int = 0,
) -> NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.uint16]:
    """Convolve a batch of images as tf.nn.conv2d does: cross-correlation, without a flip.

    Parameters
    ----------
    images : array_like (N, H, W, C)
        Any real dtype.
    kernel : array_like (kh, kw, in/groups, out) or (kh, kw)
        HWIO; a kernel of 2 axes is applied to every channel by itself.
    stride, dilation : int or (h, w)
        In pixels, at least 1.
    padding : str, int, (h, w) or ((top, bottom), (left, right))
        ``valid``, ``same`` (TensorFlow's SAME), ``same-lower``, ``full``, ``fit``, or pixels.
    groups : int
        Splits the channels into groups with filters of their own.
    border : str
        What stands in the padding: ``zero``, ``constant:V``, ``edge``, ``reflect``,
        ``symmetric`` or ``wrap``, in numpy.pad's words.
    bias : float or array_like, optional
        Added to the responses: one number, or one per filter.
    dtype : str or dtype
        Of the result: ``float32``; or ``uint8``, ``uint16``: rounded to nearest even, saturated.
    engine : str
        ``auto``, ``numpy``, ``cpu`` (machine code, all cores) or ``cuda`` (an NVIDIA GPU).
    method : str
        ``auto``, ``direct``, ``separable``, ``gemm`` or ``fft``: see `convtool.engine.planner`.
    threads : int, optional
        At most so many in the cpu engine; None for all cores. NumPy's own are its BLAS's affair.
    device : int
        The number of the GPU, where the cuda engine computes.

    Returns
    -------
    ndarray (N, OH, OW, out)
        ``out`` is the number of channels for a kernel of 2 axes. Sums are made in float32:
        exact for integers below 2^24.

    Raises
    ------
    ConvtoolError
        A ValueError that names the numbers that do not go together, and a way out.

    Source
    ------
    TensorFlow, ``tf.nn.conv2d``; Dumoulin & Visin, arXiv 1603.07285.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[4, 3, 1, 0], [2, 1, 0, 1], [1, 2, 4, 1], [3, 1, 0, 2]])
    >>> kernel = np.array([[1, 0, 1], [2, 1, 0], [0, 0, 1]])
    >>> conv2d(image[None, :, :, None], kernel, padding="valid")[0, :, :, 0]
    array([[14.,  6.],
           [ 6., 12.]], dtype=float32)
    """
    spec = ConvSpec.of(
        stride=stride, padding=padding, dilation=dilation, groups=groups, border=border
    )
    return _convolved(spec, images, kernel, bias, dtype, engine, method, threads, device)


def conv2d_transpose(
    images: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: PairLike = 1,
    padding: PaddingLike = "same",
    dilation: PairLike = 1,
    groups: SupportsIndex = 1,
    output_shape: PairLike | None = None,
    output_padding: PairLike | None = None,
    border: str | Border = "zero",
    bias: ArrayLike | None = None,
    dtype: DTypeLike = "float32",
    engine: str = "auto",
    method: str = "auto",
    threads: int | None = None,
    device: int = 0,
) -> NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.uint16]:
    """Run a convolution backwards, as tf.nn.conv2d_transpose does: the gradient of conv2d.

    Parameters
    ----------
    images : array_like (N, H, W, C)
        Any real dtype; as large as the output of the convolution that is transposed.
    kernel : array_like (kh, kw, out/groups, in) or (kh, kw)
        HWOI: the HWIO kernel of that convolution, its inputs being the outputs here; a kernel of
        2 axes is applied to every channel by itself.
    stride, padding, dilation, groups
        Of that convolution, as for `conv2d`; not ``fit``.
    output_shape : int or (h, w), optional
        Which of the sizes that the convolution would turn into (H, W): see
        `geometry.transposed_sizes`.
    output_padding : int or (h, w), optional
        The same, as the distance from the smallest of them.
    border : str
        What stands beyond the images' edges, where windows of outputs reach there. Only ``zero``
        gives the gradient; ``edge`` keeps enlarged photographs from fading towards their rim.
    bias, dtype, engine, method, threads, device
        As for `conv2d`.

    Returns
    -------
    ndarray (N, OH, OW, out)
        ``out`` is the number of channels for a kernel of 2 axes.

    Raises
    ------
    ConvtoolError
        A ValueError that names the numbers that do not go together, and a way out.

    Source
    ------
    TensorFlow, ``tf.nn.conv2d_transpose``; Dumoulin & Visin, arXiv 1603.07285, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[4.5, 5.4], [8.1, 9.0]])
    >>> conv2d_transpose(image[None, :, :, None], np.ones((3, 3)), padding="valid")[0, :, :, 0]
    array([[ 4.5,  9.9,  9.9,  5.4],
           [12.6, 27. , 27. , 14.4],
           [12.6, 27. , 27. , 14.4],
           [ 8.1, 17.1, 17.1,  9. ]], dtype=float32)
    """
    spec = ConvSpec.of(
        Op.CONV2D_TRANSPOSE,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        border=border,
        output_shape=output_shape,
        output_padding=output_padding,
    )
    return _convolved(spec, images, kernel, bias, dtype, engine, method, threads, device)


def _convolved(
    spec: ConvSpec,
    images: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    dtype: DTypeLike,
    engine: str,
    method: str,
    threads: int | None,
    device: int,
) -> NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.uint16]:
    x = real_array(images, "images")
    w = real_array(kernel, "kernel")
    if x.ndim != 4:
        raise ArrayError(
            f"images must have 4 axes (NHWC), not {x.ndim}: shape {x.shape}",
            "a grey image of shape (H, W) is image[None, :, :, None]",
        )
    settled = plan(spec, x.shape, w.shape)
    if 4 * prod(settled.output_shape) > sys.maxsize:
        raise ArrayError(
            f"the result would be {size_text(settled.output_shape)}: more than memory can hold",
            f"the stride is {size_text(spec.stride)}, the padding {spec.padding}",
        )
    wanted = _dtype(dtype)
    check_threads(threads)
    check_device(device)
    w = w[None] if w.ndim == 2 else w
    chosen = choose(
        settled,
        choice(EngineName, engine, "engine"),
        choice(MethodName, method, "method"),
        weights=w,
        threads=threads,
        dtype=x.dtype,
        stored=np.dtype(wanted).itemsize,
        device=device,
    )
    added = None if bias is None else filter_bias(bias, settled)
    if chosen.compiled:
        finish = Finish(bias=added, dtype=wanted)
        if wanted != "float32":
            full = float(np.iinfo(wanted).max)
            finish = finish._replace(range=RangeMode.CLIP, full_in=full, full_out=full)
        return finished(x, w, settled, chosen, finish, threads=threads)[0]
    y = convolve(x, w, settled, chosen, threads=threads)
    if added is not None:
        y += added
    return y if wanted == "float32" else saturate(y, wanted)


def _dtype(dtype: DTypeLike) -> str:
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in ("float32", "uint8", "uint16") or dtype is None:
        raise UsageError(f"dtype must be float32, uint8 or uint16, not {dtype!r}")
    return name


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that is none; None stands for all cores."""
    if threads is None:
        return
    if not _is_whole(threads, 1):
        raise UsageError(
            f"threads must be a whole number of at least 1, but is {threads}",
            "leave it out for all cores",
        )


def check_device(device: int) -> None:
    """Refuse a number of a GPU that is none, whether there is such a GPU or not."""
    if not _is_whole(device, 0):
        raise UsageError(
            f"device must be a whole number of at least 0, but is {device}",
            "leave it out for the first GPU; convtool doctor lists them",
        )


def _is_whole(number: object, least: int) -> bool:
    whole = isinstance(number, SupportsIndex) and not isinstance(number, bool)
    return whole and operator.index(number) >= least  # type: ignore[arg-type]


def real_array(value: ArrayLike, name: str) -> NDArray[np.generic]:
    """Turn `value` into an array of real numbers, or say what it is instead."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArrayError(f"{name} is no array of numbers: {error}") from None
    if array.dtype.kind not in "buif":
        raise ArrayError(f"{name} must hold real numbers, not {array.dtype}")
    return array


def filter_bias(bias: ArrayLike, settled: ConvPlan) -> NDArray[np.float32]:
    """Spread one bias over the filters, or take one for each.

    Returns
    -------
    ndarray (1,) for a kernel of 2 axes, (O,) for one of rank 4; float32
    """
    values = real_array(bias, "bias").astype(np.float32)
    if values.ndim > 1 or values.size not in (1, settled.filters):
        raise ArrayError(
            f"bias must be one number or one per filter, {settled.filters} in all, "
            f"but has shape {values.shape}"
        )
    return np.full(settled.filters, values) if values.size == 1 else values


def saturate(y: NDArray[np.float32], dtype: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Round to nearest even and limit to what `dtype` holds; NaN becomes 0."""
    y = np.nan_to_num(np.rint(y), nan=0.0, posinf=np.inf, neginf=-np.inf)
    return np.clip(y, 0, np.iinfo(dtype).max).astype(dtype)
