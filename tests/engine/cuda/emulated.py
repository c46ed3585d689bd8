"""Stands for `numba.cuda` and a GPU: kernels are compiled to PTX, which `ptx` runs.

A stream does nothing before somebody waits for it, and all that is in it then: so whoever looks at
results too early, or gives memory away too early, is found out. What is new in memory is NaN or
large.

All tests of the engine can be run so, in some minutes::

    PYTHONPATH=src:tests/engine/cuda CONVTOOL_TEST_GPU=1 CONVTOOL_TEST_EXAMPLES=20 \\
        python -m pytest -p emulated tests/engine/cuda/test_conformance.py
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba.cuda import dispatcher, types
from numba.cuda.compiler import _compile_pyfunc_with_fixup
from ptx import Kernel, Memory, Vector, address

from convtool.engine.cuda import device

ARCHITECTURE = (9, 0)

FREE = 1 << 30


class Stream:
    """Work that is done in order, when somebody waits for it."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def synchronize(self) -> None:
        """Do all of it."""
        while self.work:
            self.work.pop(0)()


class Event:
    """A place in a stream."""

    def __init__(self) -> None:
        self.passed, self.stream = False, Stream()

    def record(self, stream: Stream) -> None:
        """Mark the end of what is in a stream."""
        self.passed, self.stream = False, stream
        stream.work.append(lambda: setattr(self, "passed", True))

    def synchronize(self) -> None:
        """Have done what comes before."""
        while not self.passed:
            self.stream.work.pop(0)()


class Array:
    """A vector in the memory of the GPU.

    Parameters
    ----------
    numbers : ndarray
    offset : int
        How many bytes behind an address that is a multiple of all sizes.
    """

    def __init__(self, numbers: Vector, offset: int = 0) -> None:
        self.numbers, self.offset = numbers, offset
        self.size, self.dtype, self.nbytes = numbers.size, numbers.dtype, numbers.nbytes

    def __getitem__(self, some: slice) -> "Array":
        start, _, step = some.indices(self.size)
        assert step == 1
        return Array(self.numbers[some], self.offset + start * self.dtype.itemsize)

    def view(self, dtype: Any) -> "Array":
        """Return the same bytes as other numbers."""
        return Array(self.numbers.view(dtype), self.offset)

    def copy_to_device(self, source: Vector, stream: Stream | None = None) -> None:
        """Copy an array here."""
        self._copied(source, self.numbers, stream)

    def copy_to_host(self, target: Vector | None = None, stream: Stream | None = None) -> Vector:
        """Copy this to an array."""
        target = np.empty(self.size, self.dtype) if target is None else target
        self._copied(self.numbers, target, stream)
        return target

    def _copied(self, source: Vector, target: Vector, stream: Stream | None) -> None:
        assert (source.size, source.dtype) == (target.size, target.dtype)
        if stream is None:
            target[...] = source
        else:
            stream.work.append(lambda: np.copyto(target, source))


class Dispatcher:
    """A kernel, which is compiled for the arguments that it is launched with.

    Takes a grid, a block and a stream in brackets, as Numba's do.
    """

    def __init__(self, function: Any, bounds: tuple[int, int]) -> None:
        self.py_func, self.bounds = function, bounds
        self.targetoptions = {"launch_bounds": bounds}
        self.compiled: dict[tuple[Any, ...], Kernel] = {}

    def __getitem__(self, where: tuple[Any, Any, Stream]) -> Callable[..., None]:
        grid, block, stream = where
        assert np.prod(block) <= self.bounds[0], "more threads than the compiler was told of"

        def enqueue(*arguments: Any) -> None:
            stream.work.append(lambda: self._launch(_three(grid), _three(block), arguments))

        return enqueue

    def _launch(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]
    ) -> None:
        parameters: list[Any] = []
        arrays: list[Memory] = []
        for argument in arguments:
            if isinstance(argument, Array):
                place = address(len(arrays)) + argument.offset
                arrays.append(Memory(argument.numbers.view(np.uint8), place))
                size, item = argument.size, argument.dtype.itemsize
                # Owner and parent, how many, how large, where; shape, strides.
                parameters += [0, 0, size, item, place, size, item]
            else:
                parameters += argument if isinstance(argument, tuple) else [argument]
        kernel = self._kernel(tuple(map(_kind, arguments)))
        launched[kernel] = launched.get(kernel, 0) + kernel.launch(grid, block, parameters, arrays)

    def _kernel(self, kinds: tuple[Any, ...]) -> Kernel:
        if kinds not in self.compiled:
            library, _ = _compile_pyfunc_with_fixup(
                self.py_func,
                types.void(*kinds),
                device=False,
                abi="numba",
                cc=ARCHITECTURE,
                launch_bounds=self.bounds,
            )
            self.compiled[kinds] = Kernel(library.get_asm_str(cc=ARCHITECTURE))
        return self.compiled[kinds]


# How many instructions of each kernel were done.
launched: dict[Kernel, int] = {}


def _kind(argument: Any) -> Any:
    """Return the type that Numba gives an argument."""
    if isinstance(argument, Array):
        return types.Array(getattr(types, argument.dtype.name), 1, "C")
    if isinstance(argument, tuple):
        return types.UniTuple(_kind(argument[0]), len(argument))
    return {int: types.int64, np.float32: types.float32}[type(argument)]


def _three(shape: Any) -> tuple[int, ...]:
    shape = shape if isinstance(shape, tuple) else (shape,)
    return (*shape, 1, 1)[:3]


def _unwritten(count: int, dtype: np.dtype[Any]) -> Vector:
    """Return memory that nobody has written."""
    return np.full(count * dtype.itemsize, 0xFF, np.uint8).view(dtype)


class Cuda:
    """Stands for the module `numba.cuda`."""

    stream, event = Stream, Event
    pinned_array = staticmethod(_unwritten)

    def jit(self, launch_bounds: tuple[int, int]) -> Callable[[Any], Dispatcher]:
        return lambda function: Dispatcher(function, launch_bounds)

    def device_array(self, count: int, dtype: np.dtype[Any]) -> Array:
        return Array(_unwritten(count, dtype))

    def to_device(self, numbers: Vector) -> Array:
        return Array(numbers.copy())

    @property
    def gpus(self) -> list[AbstractContextManager[None]]:
        return [nullcontext()]

    def current_context(self) -> Any:
        return SimpleNamespace(get_memory_info=lambda: (FREE, FREE))


def install() -> None:
    """Let the engine cuda use this."""
    here = Cuda()
    device.problem = lambda number=0: None  # type: ignore[assignment]
    device.numba_cuda = lambda: here  # type: ignore[assignment]
    # What a kernel calls is compiled for the device that is there.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=ARCHITECTURE)


def pytest_configure(config: Any) -> None:
    """Use this in all tests: see above."""
    install()
