"""The threads that do the items of a job."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock, Thread

import numpy as np
from numpy.typing import NDArray

from convtool.engine.cores import cores

_waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
_workers: list[Thread] = []
_lock = Lock()


def share(items: int, threads: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(item, thread)`` once for every item, each thread taking the next one left.

    The calling thread is one of them. The others wait between jobs, since starting a thread takes
    longer than filtering a small image.
    """
    following = iter(range(items))  # next() on it is atomic
    finished: SimpleQueue[BaseException | None] = SimpleQueue()

    def take(thread: int) -> None:
        for item in following:
            work(item, thread)

    def help_out(thread: int) -> Callable[[], None]:
        def helping() -> None:
            try:
                take(thread)
            except BaseException as error:
                finished.put(error)
            else:
                finished.put(None)

        return helping

    helpers = min(threads, items) - 1
    with _enlisted(helpers):
        for thread in range(1, helpers + 1):
            _waiting.put(help_out(thread))
        stopped: BaseException | None = None
        try:
            take(0)
        except BaseException as error:
            stopped = error
            deque(following, maxlen=0)  # nobody begins another item
        # Not even Ctrl-C may leave while helpers work in memory that is then given away.
        while helpers:
            try:
                stopped = finished.get() or stopped
                helpers -= 1
            except KeyboardInterrupt as error:
                stopped = error
                deque(following, maxlen=0)
    if stopped is not None:
        raise stopped


_wanted = 0


@contextmanager
def _enlisted(helpers: int) -> Iterator[None]:
    """See to it that there are workers for this job beside those that other jobs have asked for."""
    global _wanted
    with _lock:
        _wanted += helpers
        while len(_workers) < _wanted:
            worker = Thread(target=_serve, name=f"convtool-{len(_workers)}", daemon=True)
            _workers.append(worker)
            worker.start()
    try:
        yield
    finally:
        with _lock:
            _wanted -= helpers


def _serve() -> None:
    while True:
        _waiting.get()()


# A fork takes the memory of the threads along, but not the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.clear)


# Scratch memory that was used before, for the next job: its pages are there already.
_spare: list[NDArray[np.uint8]] = []
SPARE_BYTES = 1 << 23


@contextmanager
def scratch(size: int, threads: int) -> Iterator[list[int]]:
    """Lend memory of `size` bytes to each thread: addresses that are multiples of 64."""
    lent = []
    for _ in range(threads):
        with _lock:
            fitting = next((n for n, part in enumerate(_spare) if part.size >= size + 64), None)
            part = None if fitting is None else _spare.pop(fitting)
        # Zeros, for what tiles run over into must be numbers that are quick to add.
        lent.append(np.zeros(size + 64, np.uint8) if part is None else part)
    try:
        yield [-(-part.ctypes.data // 64) * 64 for part in lent]
    finally:
        with _lock:
            _spare.extend(part for part in lent if part.size <= SPARE_BYTES)
            del _spare[: -2 * cores()]
