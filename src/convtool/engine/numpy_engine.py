"""The reference engine: the three steps of tf.nn.conv2d, and nothing but NumPy.

1. The filter is flattened to a matrix (kh·kw·in, out).
2. From the padded images a patch is extracted for every window: (windows, kh·kw·in).
3. Each patch is multiplied by the filter matrix.

Source: TensorFlow's documentation of ``tf.nn.conv2d``.

conv2d_transpose is the same read backwards: each pixel is multiplied with the whole kernel, and the
products are added up where the kernel lies.
"""

from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from convtool.geometry import Axis, Border, ConvPlan, Pair, beyond
from convtool.terms import Op

Real = TypeVar("Real", np.float32, np.float64)

# Patches repeat every pixel kh·kw times: they are made for as many output rows at a time as
# give about this many numbers (1 MB), which stay in the cache until the product reads them.
BAND = 2**18


def convolve(
    images: NDArray[np.generic],
    weights: NDArray[Real],
    settled: ConvPlan,
    out: NDArray[Real] | None = None,
) -> NDArray[Real]:
    """Execute `settled` in the type of the weights; see `convtool.engine.convolve`."""
    if out is None:
        out = np.empty(settled.output_shape, weights.dtype)
    if settled.op is Op.CONV2D_TRANSPOSE:
        for image, result in zip(images, out, strict=True):
            _transposed(image, weights, settled, result)
        return out
    kh, kw = settled.kernel_shape[:2]
    rows = max(1, BAND // (settled.cols.o * kh * kw * settled.input_shape[3]))
    for image, result in zip(images, out, strict=True):
        patches = windows(padded(image, settled), settled)
        for top in range(0, settled.rows.o, rows):
            band = slice(top, top + rows)
            if settled.per_channel:
                _product_per_channel(patches[band], weights, result[band])
            else:
                _product_grouped(patches[band], weights, settled.groups, result[band])
    return out


def padded(image: NDArray[np.generic], settled: ConvPlan) -> NDArray[np.generic]:
    """Return the image (H, W, C) with its border."""
    top, bottom, left, right = settled.pads
    return _bordered(image, ((top, bottom), (left, right)), settled.spec.border)


def _bordered(
    image: NDArray[np.generic], pads: tuple[Pair, Pair], border: Border
) -> NDArray[np.generic]:
    around = (*pads, (0, 0))
    if not border.is_fill:
        return np.pad(image, around, mode=border.mode.value)  # type: ignore[call-overload]
    if border.value:  # which need not be a number that the image's type can hold
        image = image.astype(np.result_type(image.dtype, np.float32))
    return np.pad(image, around, constant_values=border.value)


def windows(padded: NDArray[np.generic], settled: ConvPlan) -> NDArray[np.generic]:
    """Return every window as a view: (OH, OW, kh, kw, C)."""
    rows, cols = settled.rows, settled.cols
    down, right, channel = padded.strides
    return as_strided(
        padded,
        (rows.o, cols.o, rows.k, cols.k, padded.shape[2]),
        (down * rows.s, right * cols.s, down * rows.d, right * cols.d, channel),
        writeable=False,
    )


def _product_per_channel(
    patches: NDArray[np.generic], weights: NDArray[Real], result: NDArray[Real]
) -> None:
    """Filter every channel by itself: (rows, OW, kh, kw, C) and (F, kh, kw).

    Here a patch is a column, so that what lies side by side in the image is copied side by side:
    three times as quick as patches in rows.
    """
    rows, ow, kh, kw, c = patches.shape
    columns = patches.transpose(2, 3, 0, 1, 4).astype(weights.dtype, order="C")
    product = weights.reshape(-1, kh * kw) @ columns.reshape(kh * kw, rows * ow * c)
    result[...] = product.T.reshape(result.shape)


def _product_grouped(
    patches: NDArray[np.generic],
    weights: NDArray[Real],
    groups: int,
    result: NDArray[Real],
) -> None:
    """Filter each group of channels: (rows, OW, kh, kw, C) and HWIO."""
    rows, ow, kh, kw, c = patches.shape
    inputs, outputs = c // groups, weights.shape[3] // groups
    for group in range(groups):
        taken = slice(group * inputs, (group + 1) * inputs)
        given = slice(group * outputs, (group + 1) * outputs)
        flat = patches[..., taken].astype(weights.dtype, order="C")
        matrix = weights[..., given].reshape(kh * kw * inputs, outputs)
        result[..., given] = (flat.reshape(rows * ow, -1) @ matrix).reshape(rows, ow, outputs)


def _transposed(
    image: NDArray[np.generic], weights: NDArray[Real], settled: ConvPlan, result: NDArray[Real]
) -> None:
    """Add up what every pixel of (H, W, C) gives, tap by tap; weights (1, kh, kw) or HWOI."""
    rows, cols = settled.rows, settled.cols
    around = ((0, 0), (0, 0))
    if not _is_nothing(settled.spec.border):
        around = (beyond(rows), beyond(cols))
    pixels = _bordered(image, around, settled.spec.border).astype(weights.dtype)
    result[...] = 0
    for a in range(rows.k):
        gives, down = _reached(rows, a, around[0])
        for b in range(cols.k):
            gives_too, across = _reached(cols, b, around[1])
            some = pixels[gives, gives_too]
            if not some.size:
                continue
            if settled.per_channel:
                result[down, across] += some * weights[0, a, b]
            else:
                result[down, across] += _given(some, weights[a, b], settled.groups)


def _is_nothing(border: Border) -> bool:
    return border.is_fill and border.value == 0


def _reached(axis: Axis, tap: int, around: Pair) -> tuple[slice, slice]:
    """Return which inputs, with so many before and after them, reach an output through a tap.

    Returns
    -------
    inputs, outputs : slice
        As many of one as of the other.
    """
    place = tap * axis.d - axis.before  # the output that input 0 reaches
    first = max(-(place // axis.s), -around[0])
    last = min((axis.i - 1 - place) // axis.s, axis.o - 1 + around[1])
    if last < first:
        return slice(0), slice(0)
    start, stop = place + first * axis.s, place + last * axis.s + 1
    return slice(first + around[0], last + around[0] + 1), slice(start, stop, axis.s)


def _given(pixels: NDArray[Real], tap: NDArray[Real], groups: int) -> NDArray[Real]:
    """Multiply each group of channels (H, W, C) with its part of a tap (out/groups, in)."""
    h, w, c = pixels.shape
    outputs, inputs = tap.shape[0], c // groups
    given = np.empty((h, w, groups * outputs), pixels.dtype)
    flat = pixels.reshape(h * w, c)
    for group in range(groups):
        taken = slice(group * inputs, (group + 1) * inputs)
        product = flat[:, taken] @ tap[:, taken].T
        given[..., group * outputs : (group + 1) * outputs] = product.reshape(h, w, outputs)
    return given
