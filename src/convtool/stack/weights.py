"""What the layers of a stack compute with: kernels and biases, out of presets and files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convtool import bank, kernels
from convtool.errors import ConvtoolError, KernelError, UsageError
from convtool.geometry import Shape, size_text
from convtool.kernels import Kernel, tensors
from convtool.stack.chain import BrokenLayer, Settled, chain, place
from convtool.stack.layers import Layer, LayerKind, Stack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The layers that multiply.
WEIGHTED = frozenset({LayerKind.CONV, LayerKind.TRANSPOSE, LayerKind.DEPTHWISE, LayerKind.DENSE})


class Weights(NamedTuple):
    """What one layer computes with.

    Parameters
    ----------
    kernel : Kernel, optional
        Of a conv, transpose or depthwise layer; per channel, or across channels as the engines
        read it.
    matrix : ndarray (in, units), or (units, in) as PyTorch stores it; float64, optional
        Of a dense layer.
    bias : ndarray (n,), float64, optional
        One number, or one for each filter or unit.
    """

    kernel: Kernel | None = None
    matrix: "NDArray[np.float64] | None" = None
    bias: "NDArray[np.float64] | None" = None


def load(stack: Stack, upto: int | None = None) -> dict[int, Weights]:
    """Load what every layer computes with.

    Parameters
    ----------
    stack : Stack
    upto : int, optional
        The number of the last layer that is needed; None for all.

    Returns
    -------
    dict
        By the layers' numbers, from 1; layers without weights are left out.

    Raises
    ------
    ConvtoolError
        Where a layer says only how large its kernel is, or its arrays cannot be read or used;
        names the layer.
    """
    loaded = {}
    for number, layer in enumerate(stack.layers[:upto], 1):
        if layer.kind in WEIGHTED:
            try:
                loaded[number] = _load_one(layer, stack.folder)
            except ConvtoolError as error:
                raise error.within(place(layer, number)) from None
    return loaded


def settle(
    stack: Stack, input_shape: Shape, weights: Mapping[int, Weights], upto: int | None = None
) -> tuple[Settled, ...]:
    """Settle a stack on an input, with the weights that it runs with.

    Parameters
    ----------
    stack : Stack
    input_shape : (N, H, W, C)
    weights : mapping of int to Weights
        Of `load`.
    upto : int, optional
        The number of the last layer that is needed; None for all.

    Raises
    ------
    BrokenLayer
        Where a layer does not fit; where its kernel would in another order of axes, the hint
        says so.
    """
    layers = stack.layers[:upto]
    known = {
        _key(layer): (found.kernel.shape, found.kernel.filters)
        for number, layer in enumerate(layers, 1)
        if (found := weights.get(number)) and found.kernel
    }

    def kernel_of(layer: Layer) -> tuple[tuple[int, ...], int]:
        kernel = load_kernel(layer, stack.folder)
        return kernel.shape, kernel.filters

    try:
        return chain(layers, input_shape, lambda layer: known.get(_key(layer)) or kernel_of(layer))
    except BrokenLayer as broken:
        raise _with_layout(broken, stack, input_shape) from None


def _key(layer: Layer) -> tuple[str, str, str]:
    return layer.kernel, layer.layout, layer.kind


def load_kernel(layer: Layer, folder: Path = Path()) -> Kernel:
    """Load the kernel of a conv, transpose or depthwise layer.

    Parameters
    ----------
    layer : Layer
    folder : Path
        What a file's relative name begins at.

    Returns
    -------
    Kernel
        Per channel ``(kh, kw)``; or HWIO, HWOI for a transpose. Of a depthwise layer
        ``(kh, kw, 1, channels · filters)``, also where it is stored as TensorFlow does,
        ``(kh, kw, channels, filters)``.

    Raises
    ------
    KernelError
        Where it cannot be found or read.
    """
    kernel = _stored(layer, folder)
    if layer.kind is not LayerKind.DEPTHWISE or len(kernel.shape) == 2 or kernel.shape[2] == 1:
        return kernel
    kh, kw, channels, filters = kernel.shape
    shape = kh, kw, 1, channels * filters
    weights = kernel.weights.reshape(shape)
    return replace(kernel, shape=shape, filters=shape[3], make=lambda: weights)


def _stored(layer: Layer, folder: Path) -> Kernel:
    text = kernels.from_folder(layer.kernel, folder)
    kernel = bank.load([text], layout=layer.layout, op=layer.spec.op)
    if layer.layout and len(kernel.shape) != 4:
        raise KernelError(
            f"layout {layer.layout} names the four axes of a kernel across channels, but "
            f"{layer.kernel} has {len(kernel.shape)}: {size_text(kernel.shape)}",
            "leave the layout out",
        )
    return kernel


def _load_one(layer: Layer, folder: Path) -> Weights:
    if not layer.kernel:
        raise UsageError(
            "to run, a layer needs weights, and this one says only how large they are",
            "say kernel=sobel, kernel=weights.npy or kernel=net.safetensors:conv1.weight; "
            "'convtool shape' needs none",
        )
    bias = tensors.vector(layer.bias, folder) if layer.bias else None
    if layer.kind is LayerKind.DENSE:
        return Weights(matrix=_matrix(layer, folder), bias=bias)
    kernel = load_kernel(layer, folder)
    if bias is None and kernel.bias is not None:
        import numpy as np

        bias = np.array(kernel.bias, np.float64)
    return Weights(kernel, None, bias)


def _matrix(layer: Layer, folder: Path) -> "NDArray[np.float64]":
    """Read the matrix of a dense layer, as it is stored."""
    import numpy as np

    path, member = tensors.split(layer.kernel)
    if path.suffix.lower() not in tensors.SUFFIXES:
        raise KernelError(
            f"the kernel of a dense layer is an array in a file, but {layer.kernel!r} is none",
            f"such files end in {', '.join(tensors.SUFFIXES)}",
        )
    try:
        array = tensors.read(folder / path, member)
    except KernelError as error:
        raise error.within(str(folder / path)) from None
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise KernelError(
            f"the kernel of a dense layer is a matrix of real numbers, but {layer.kernel} is "
            f"{array.dtype} of shape {size_text(array.shape) or 'a single number'}"
        )
    return array.astype(np.float64)


def _with_layout(broken: BrokenLayer, stack: Stack, input_shape: Shape) -> BrokenLayer:
    """Say so where the kernel would fit if its axes stood in another order."""
    layer = stack.layers[broken.number - 1]
    if not layer.kernel or layer.kind is LayerKind.DENSE:
        return broken
    before = settle(stack, input_shape, {}, broken.number - 1)
    channels = before[-1].output_shape[3] if before else input_shape[3]
    groups = channels if layer.kind is LayerKind.DEPTHWISE else layer.spec.groups
    shape = _stored(layer, stack.folder).shape
    layout = tensors.fitting_layout(shape, layer.layout, layer.spec.op, channels, groups)
    if not layout:
        return broken
    hint = f'the axes would fit as {layout}: layout = "{layout}"'
    error = BrokenLayer(broken.message, hint, broken.number)
    error.status = broken.status
    return error
