"""Device functions: what kernels call, compiled into them.

Under the simulator they are plain Python functions; there is nothing for it to simulate in them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from convtool.engine.cuda.device import simulated

Function = TypeVar("Function", bound=Callable[..., Any])


def part(function: Function) -> Function:
    """Make a function part of the kernels that call it."""
    if simulated():
        return function
    from numba import cuda

    compiled: Function = cuda.jit(device=True, forceinline=True)(function)
    return compiled
