"""One number everywhere: for outputs of a transposed convolution that no tap reaches."""

from typing import Any

from numba import cuda

from convtool.engine.cuda.source.memory import store


def fill(out: Any, lines: Any, pitch: Any, channels: Any, values: Any) -> None:
    """Put a pixel's numbers (channels,), float32, into every pixel of every line."""
    first = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    for place in range(first, lines * pitch, cuda.gridDim.x * cuda.blockDim.x):
        store(out, place, (values[place % pitch % channels],))
