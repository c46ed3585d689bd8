"""The two gradients of conv2d: with respect to its images, and with respect to its kernel.

Of a loss L of ``y = conv2d(x, w)``, with ``g = dL/dy``::

    dL/dx   g sent back through the kernel: conv2d_transpose
    dL/dw   for every tap, the pixels that it met times g, summed over all windows
"""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from convtool.engine import check_device, choose, convolve, numpy_engine, real_array
from convtool.errors import ArrayError, UsageError
from convtool.geometry import (
    Border,
    ConvPlan,
    ConvSpec,
    Padding,
    PaddingLike,
    PairLike,
    choice,
    plan,
    size_text,
)
from convtool.terms import EngineName, Op, PaddingMode


def conv2d_input_gradient(
    gradient: ArrayLike,
    kernel: ArrayLike,
    input_shape: Sequence[int],
    *,
    stride: PairLike = 1,
    padding: PaddingLike = "same",
    dilation: PairLike = 1,
    groups: SupportsIndex = 1,
    border: str | Border = "zero",
    dtype: DTypeLike = "float32",
    engine: str = "auto",
    threads: int | None = None,
    device: int = 0,
) -> NDArray[Any]:
    """Return how a loss changes with the images of a conv2d.

    Parameters
    ----------
    gradient : array_like (N, OH, OW, out)
        How the loss changes with what conv2d gave.
    kernel : array_like (kh, kw, in/groups, out) or (kh, kw)
        As conv2d got it: HWIO, or a filter for every channel by itself.
    input_shape : (N, H, W, C)
        Of the images that conv2d got.
    stride, padding, dilation, groups, border
        As conv2d got them. What a border repeated sends its share to the pixel that it repeats; a
        constant depends on no pixel.
    dtype : str or dtype
        Of the result and of the sums: ``float32``, or ``float64``, in the NumPy engine.
    engine : str
        ``auto``, ``numpy``, ``cpu`` or ``cuda``.
    threads : int, optional
        At most so many in the cpu engine; None for all cores.
    device : int
        The number of the GPU, where the cuda engine computes.

    Returns
    -------
    ndarray (N, H, W, C)

    Raises
    ------
    ConvtoolError
        A ValueError, where the shapes do not go together.

    Source
    ------
    TensorFlow, ``tf.nn.conv2d_transpose``: "the transpose (gradient) of conv2d".

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_input_gradient(np.ones((1, 2, 2, 1)), np.ones((2, 2)), (1, 3, 3, 1),
    ...                       padding="valid")[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32)
    """
    g, w = real_array(gradient, "gradient"), real_array(kernel, "kernel")
    forward = _forward(input_shape, w.shape, stride, padding, dilation, groups, border)
    _check(g, forward)
    kind = _real(dtype)
    if 0 in forward.input_shape:  # padding alone made windows fit
        return np.zeros(forward.input_shape, kind)
    back = _backwards(forward)
    taps = w[None] if w.ndim == 2 else w
    wanted = choice(EngineName, engine, "engine")
    check_device(device)
    if kind == np.float64:
        if wanted not in (EngineName.AUTO, EngineName.NUMPY):
            raise UsageError(
                f"float64 gradients are the NumPy engine's, not {wanted}'s", 'use engine="numpy"'
            )
        found: NDArray[Any] = numpy_engine.convolve(g, taps.astype(np.float64), back)
    else:
        chosen = choose(back, wanted, weights=taps, threads=threads, dtype=g.dtype, device=device)
        found = convolve(g, taps, back, chosen, threads=threads)
    if forward.spec.border.is_fill:
        return found
    return _folded(found, forward)


def _backwards(forward: ConvPlan) -> ConvPlan:
    """Plan the transposed convolution; of the padded images where pixels stand in the border."""
    padded = not forward.spec.border.is_fill
    rows, cols = forward.rows, forward.cols
    pads = (0, 0, 0, 0) if padded else forward.pads
    spec = forward.spec._replace(
        op=Op.CONV2D_TRANSPOSE,
        padding=Padding(PaddingMode.EXPLICIT, pads),
        border=Border(),
        output_shape=(
            rows.i + padded * (rows.before + rows.after),
            cols.i + padded * (cols.before + cols.after),
        ),
    )
    return plan(spec, forward.output_shape, forward.kernel_shape)


def _folded(gradient: NDArray[Any], forward: ConvPlan) -> NDArray[Any]:
    """Send what came to the border to the pixels that stood there."""
    border = forward.spec.border.mode.value
    for number, axis in ((1, forward.rows), (2, forward.cols)):
        pixels = np.pad(np.arange(axis.i), (axis.before, axis.after), mode=border)  # type: ignore[call-overload]
        shape = list(gradient.shape)
        shape[number] = axis.i
        folded = np.zeros(shape, gradient.dtype)
        np.add.at(folded, (*[slice(None)] * number, pixels), gradient)
        gradient = folded
    return gradient


def conv2d_kernel_gradient(
    images: ArrayLike,
    gradient: ArrayLike,
    kernel_shape: Sequence[int],
    *,
    stride: PairLike = 1,
    padding: PaddingLike = "same",
    dilation: PairLike = 1,
    groups: SupportsIndex = 1,
    border: str | Border = "zero",
    dtype: DTypeLike = "float32",
) -> NDArray[Any]:
    """Return how a loss changes with the kernel of a conv2d.

    Parameters
    ----------
    images : array_like (N, H, W, C)
        As conv2d got them.
    gradient : array_like (N, OH, OW, out)
        How the loss changes with what conv2d gave.
    kernel_shape : (kh, kw, in/groups, out) or (kh, kw)
        Of the kernel that conv2d got.
    stride, padding, dilation, groups, border
        As conv2d got them.
    dtype : str or dtype
        Of the result and of the sums: ``float32`` or ``float64``.

    Returns
    -------
    ndarray of shape `kernel_shape`

    Raises
    ------
    ConvtoolError
        A ValueError, where the shapes do not go together.

    Source
    ------
    TensorFlow, ``tf.raw_ops.Conv2DBackpropFilter``.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> conv2d_kernel_gradient(image, np.ones((1, 2, 2, 1)), (2, 2), padding="valid")
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    x, g = real_array(images, "images"), real_array(gradient, "gradient")
    forward = _forward(x.shape, kernel_shape, stride, padding, dilation, groups, border)
    _check(g, forward)
    kind = _real(dtype)
    found = np.zeros(forward.kernel_shape, kind)
    for image, result in zip(x, g.astype(kind), strict=True):
        met = numpy_engine.windows(numpy_engine.padded(image, forward), forward)
        for a in range(forward.rows.k):
            for b in range(forward.cols.k):
                pixels = met[:, :, a, b].astype(kind).reshape(-1, x.shape[3])
                found[a, b] += _product(pixels, result.reshape(-1, g.shape[3]), forward)
    return found


def _product(pixels: NDArray[Any], result: NDArray[Any], forward: ConvPlan) -> Any:
    """Sum, over all windows, the pixels (windows, C) that one tap met times what came of them."""
    if forward.per_channel:
        return np.vdot(pixels, result)
    groups = forward.groups
    inputs, outputs = pixels.shape[1] // groups, result.shape[1] // groups
    sums = [
        pixels[:, n * inputs : (n + 1) * inputs].T @ result[:, n * outputs : (n + 1) * outputs]
        for n in range(groups)
    ]
    return np.concatenate(sums, axis=1)


def _forward(
    input_shape: Sequence[int],
    kernel_shape: Sequence[int],
    stride: PairLike,
    padding: PaddingLike,
    dilation: PairLike,
    groups: SupportsIndex,
    border: str | Border,
) -> ConvPlan:
    spec = ConvSpec.of(
        stride=stride, padding=padding, dilation=dilation, groups=groups, border=border
    )
    return plan(spec, tuple(input_shape), tuple(kernel_shape))


def _check(gradient: NDArray[Any], forward: ConvPlan) -> None:
    if gradient.shape != forward.output_shape:
        raise ArrayError(
            f"the gradient must have the shape of what conv2d gives, "
            f"{size_text(forward.output_shape)}, but has {size_text(gradient.shape)} "
            f"(images {size_text(forward.input_shape)}, kernel {size_text(forward.kernel_shape)})"
        )


def _real(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if dtype is None or kind not in (np.float32, np.float64):
        raise UsageError(f"dtype must be float32 or float64, not {dtype!r}")
    return kind
