"""The reference engine: the three steps of tf.nn.conv2d, and nothing but NumPy.

1. The filter is flattened to a matrix (kh·kw·in, out).
2. From the padded images a patch is extracted for every window: (windows, kh·kw·in).
3. Each patch is multiplied by the filter matrix.

Source: TensorFlow's documentation of ``tf.nn.conv2d``.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from convtool.geometry import ConvPlan

# Patches repeat every pixel kh·kw times: they are made for as many output rows at a time as
# give about this many numbers (1 MB), which stay in the cache until the product reads them.
BAND = 2**18


def convolve(
    images: NDArray[np.generic],
    weights: NDArray[np.float32],
    settled: ConvPlan,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Execute `settled`; see `convtool.engine.convolve`."""
    if out is None:
        out = np.empty(settled.output_shape, np.float32)
    kh, kw = settled.kernel_shape[:2]
    rows = max(1, BAND // (settled.cols.o * kh * kw * settled.input_shape[3]))
    for image, result in zip(images, out, strict=True):
        patches = _windows(_padded(image, settled), settled)
        for top in range(0, settled.rows.o, rows):
            band = slice(top, top + rows)
            if settled.per_channel:
                _product_per_channel(patches[band], weights, result[band])
            else:
                _product_grouped(patches[band], weights, settled.groups, result[band])
    return out


def _padded(image: NDArray[np.generic], settled: ConvPlan) -> NDArray[np.generic]:
    """Return the image (H, W, C) with its border."""
    top, bottom, left, right = settled.pads
    around = ((top, bottom), (left, right), (0, 0))
    border = settled.spec.border
    if not border.is_fill:
        return np.pad(image, around, mode=border.mode.value)  # type: ignore[call-overload]
    if border.value:  # which need not be a number that the image's type can hold
        image = image.astype(np.float32)
    return np.pad(image, around, constant_values=border.value)


def _windows(padded: NDArray[np.generic], settled: ConvPlan) -> NDArray[np.generic]:
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
    patches: NDArray[np.generic], weights: NDArray[np.float32], result: NDArray[np.float32]
) -> None:
    """Filter every channel by itself: (rows, OW, kh, kw, C) and (F, kh, kw).

    Here a patch is a column, so that what lies side by side in the image is copied side by side:
    three times as quick as patches in rows.
    """
    rows, ow, kh, kw, c = patches.shape
    columns = patches.transpose(2, 3, 0, 1, 4).astype(np.float32, order="C")
    product = weights.reshape(-1, kh * kw) @ columns.reshape(kh * kw, rows * ow * c)
    result[...] = product.T.reshape(result.shape)


def _product_grouped(
    patches: NDArray[np.generic],
    weights: NDArray[np.float32],
    groups: int,
    result: NDArray[np.float32],
) -> None:
    """Filter each group of channels: (rows, OW, kh, kw, C) and HWIO."""
    rows, ow, kh, kw, c = patches.shape
    inputs, outputs = c // groups, weights.shape[3] // groups
    for group in range(groups):
        taken = slice(group * inputs, (group + 1) * inputs)
        given = slice(group * outputs, (group + 1) * outputs)
        flat = patches[..., taken].astype(np.float32, order="C")
        matrix = weights[..., given].reshape(kh * kw * inputs, outputs)
        result[..., given] = (flat.reshape(rows * ow, -1) @ matrix).reshape(rows, ow, outputs)
