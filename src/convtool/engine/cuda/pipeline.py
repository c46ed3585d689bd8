"""Chunks on their way: up to the GPU, through its kernels, and down again, three at a time.

    chunk 1   copied │ up │ computed │ down │ copied
    chunk 2            copied │ up │ computed │ down │ copied
    chunk 3                     copied │ up │ computed │ down │ copied

Each is on its way in a slot: a stream, memory on the GPU, and pinned memory, which the GPU reads
and writes by itself while this side copies for another slot. Slots stay for the next image.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cuda import device as devices
from convtool.engine.cuda import launches
from convtool.engine.cuda.launches import Launch, Ready
from convtool.engine.cuda.layout import Chunk, Layout, chunks, stage, unstage
from convtool.engine.finish import Finish, Summary
from convtool.errors import EngineError

# How many chunks are on their way.
SLOTS = 3

# So many vectors of one memory are remembered.
FEW = 16

# Of the memory that is free on the GPU, this share may be used, by all slots together.
SHARE = 0.8


class Store:
    """Memory that grows to what is asked of it: pinned, or on the GPU."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._bytes: Any = None
        self._lent: dict[tuple[int, Any], Any] = {}

    def of(self, numbers: int, dtype: Any) -> Any:
        """Return a vector of so many numbers; what was there before may be lost."""
        kind = np.dtype(dtype)
        lent = self._lent.get((numbers, kind))
        if lent is not None:
            return lent  # to cut another one takes as long as a launch
        size = max(numbers, 1) * kind.itemsize
        if size > self.held:
            # What was there is given back before more is taken.
            self.clear()
            self._bytes = self._make(size, np.dtype(np.uint8))
        if len(self._lent) > FEW:
            self._lent.clear()
        lent = self._lent[numbers, kind] = self._bytes[:size].view(kind)[:numbers]
        return lent

    @property
    def held(self) -> int:
        """How many bytes there are."""
        return 0 if self._bytes is None else int(self._bytes.nbytes)

    def clear(self) -> None:
        """Give all of it back."""
        self._lent.clear()
        self._bytes = None


class Slot:
    """One chunk's way."""

    def __init__(self, cuda: Any) -> None:
        self.stream = cuda.stream()
        self.arrived = cuda.event()
        self.pinned_in, self.pinned_out = Store(cuda.pinned_array), Store(cuda.pinned_array)
        self.images, self.results = Store(cuda.device_array), Store(cuda.device_array)
        self.extremes, self.counts = Store(cuda.device_array), Store(cuda.device_array)
        self.seen_extremes = Store(cuda.pinned_array)
        self.seen_counts = Store(cuda.pinned_array)

    @property
    def held(self) -> int:
        """How many bytes of the GPU's memory it has for images and results."""
        return self.images.held + self.results.held


class Work(NamedTuple):
    """A convolution on the GPU.

    Parameters
    ----------
    layout : Layout
    dtype : dtype
        Of the images as they go to the GPU.
    finish : Finish
    parts : dict of int to (Ready, tuple)
        What makes a part, by its place, with its weights on the GPU.
    bias : device array or None
    nothing : device array or None
        What an output becomes that no tap reaches, where there are such.
    """

    layout: Layout
    dtype: np.dtype[Any]
    finish: Finish
    parts: dict[int, tuple[Ready, tuple[Any, ...]]]
    bias: Any
    nothing: Any

    def launches(self, chunk: Chunk) -> Iterator[tuple[Launch, tuple[Any, ...]]]:
        """Yield what makes a chunk, with its weights on the GPU."""
        for band in chunk.bands:
            ready, weights = self.parts[id(band.part)]
            yield ready.launch(self.layout, chunk, band), weights


_slots: dict[int, list[Slot]] = {}
_busy = Lock()


@contextmanager
def slots(number: int) -> Iterator[list[Slot]]:
    """Lend the slots of a device to one convolution at a time."""
    cuda = devices.numba_cuda()
    with _busy, devices.said(), cuda.gpus[number]:
        if number not in _slots:
            _slots[number] = [Slot(cuda) for _ in range(SLOTS)]
        try:
            yield _slots[number]
        except BaseException:
            # What was begun must not write into memory that is given to others.
            for slot in _slots.pop(number):
                with suppress(EngineError), devices.said():
                    slot.stream.synchronize()
            raise


def send(arrays: list[NDArray[Any]]) -> Iterator[Any]:
    """Send arrays to the GPU, together; yield each as a vector of float32.

    Each begins where vectors may be loaded from.
    """
    if not arrays:
        return
    places, total = [], 0
    for array in arrays:
        places.append(total)
        total += -(-array.size // 4) * 4
    together = np.zeros(total, np.float32)
    for place, array in zip(places, arrays, strict=True):
        together[place : place + array.size] = array.ravel()
    # On the default stream, for which Numba's others wait.
    on_gpu = devices.numba_cuda().to_device(together)
    for place, array in zip(places, arrays, strict=True):
        yield on_gpu[place : place + array.size]


def room(lent: list[Slot]) -> int:
    """Return how many bytes a chunk may take on the device that is in use."""
    if devices.simulated():
        return 1 << 28
    free, _ = devices.numba_cuda().current_context().get_memory_info()
    held = sum(slot.held for slot in lent)
    return int((free + held) * SHARE) // SLOTS


def run(
    work: Work, images: NDArray[Any], out: NDArray[Any], lent: list[Slot], most: int
) -> Summary | None:
    """Send all chunks on their way, and bring the results."""
    layout, finish = work.layout, work.finish
    size, out_size = work.dtype.itemsize, np.dtype(finish.dtype).itemsize
    summaries: list[Summary] = []
    waiting: list[tuple[Slot, Chunk, int]] = []

    def bring() -> None:
        slot, chunk, blocks = waiting.pop(0)
        slot.arrived.synchronize()
        unstage(slot.pinned_out.of(layout.out_numbers(chunk), finish.dtype), layout, chunk, out)
        if finish.summarise:
            summaries.append(_summary(slot, blocks, chunk, layout))

    for turn, chunk in enumerate(chunks(layout, size, out_size, most)):
        slot = lent[turn % len(lent)]
        if len(waiting) == len(lent):
            bring()
        pinned = slot.pinned_in.of(layout.filled(chunk), work.dtype)
        stage(images, layout, chunk, pinned)
        # What kernels may read behind the images is of no consequence, and not sent.
        on_gpu = slot.images.of(layout.numbers(chunk), work.dtype)
        slot.images.of(pinned.size, work.dtype).copy_to_device(pinned, stream=slot.stream)
        results = slot.results.of(layout.out_numbers(chunk), finish.dtype)
        blocks = compute(work, chunk, on_gpu, results, slot)
        home = slot.pinned_out.of(results.size, finish.dtype)
        results.copy_to_host(home, stream=slot.stream)
        if finish.summarise and blocks:
            slot.extremes.of(2 * blocks, np.float32).copy_to_host(
                slot.seen_extremes.of(2 * blocks, np.float32), stream=slot.stream
            )
            slot.counts.of(4 * blocks, np.int32).copy_to_host(
                slot.seen_counts.of(4 * blocks, np.int32), stream=slot.stream
            )
        slot.arrived.record(slot.stream)
        waiting.append((slot, chunk, blocks))
    while waiting:
        bring()
    return reduce(Summary.joined, summaries) if finish.summarise else None


def compute(work: Work, chunk: Chunk, images: Any, results: Any, slot: Slot) -> int:
    """Enqueue what makes a chunk on a slot's stream; return how many blocks have a summary."""
    told = launches.numbers(work.finish)
    if work.nothing is not None:
        fill = launches.compiled("fill", (), 256)
        pitch = work.layout.out_pitch
        lines = results.size // pitch
        grid = min(-(-results.size // 256), 4096)
        with devices.quietly():
            fill[grid, 256, slot.stream](results, lines, pitch, work.layout.results, work.nothing)
    made = list(work.launches(chunk))
    summarise = work.finish.summarise
    blocks = sum(launch.blocks for launch, _ in made) if summarise else 0
    extremes = slot.extremes.of(max(2 * blocks, 2), np.float32)
    counts = slot.counts.of(max(4 * blocks, 4), np.int32)
    first = 0
    for launch, weights in made:
        threads = launch.block[0] * launch.block[1]
        kernel = launches.compiled(launch.name, launch.constants, threads)
        behind = first + launch.blocks
        with devices.quietly():
            kernel[launch.grid, launch.block, slot.stream](
                images,
                *launch.x,
                *weights,
                *launch.numbers,
                results,
                *launch.out,
                extremes if work.bias is None else work.bias,  # or any vector: it is not read
                *told,
                extremes[2 * first : 2 * behind] if summarise else extremes,
                counts[4 * first : 4 * behind] if summarise else counts,
            )
        first = behind
    return blocks


def _summary(slot: Slot, blocks: int, chunk: Chunk, layout: Layout) -> Summary:
    """Sum up a chunk's blocks."""
    extremes = slot.seen_extremes.of(2 * blocks, np.float32).reshape(-1, 2)
    counts = slot.seen_counts.of(4 * blocks, np.int32).reshape(-1, 4).sum(axis=0, dtype=np.int64)
    least = float(extremes[:, 0].min(initial=np.inf))
    greatest = float(extremes[:, 1].max(initial=-np.inf))
    none = least > greatest
    images = chunk.images[1] - chunk.images[0]
    reached = sum(images * (band.stop - band.start) * band.part.plan.cols.o for band in chunk.bands)
    return Summary(
        None if none else least,
        None if none else greatest,
        others=int(counts[0]),
        below=int(counts[1]),
        above=int(counts[2]),
        nan=int(counts[3]),
        values=reached * layout.results,
    )
