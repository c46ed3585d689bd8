"""Several inputs at a time: threads that take the next one, and results in the inputs' order.

The codecs and the engine let go of the interpreter's lock, so threads are enough: one decodes while
another computes and a third compresses, and each keeps one picture in memory at most.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import Empty, SimpleQueue
from time import perf_counter
from types import FrameType
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

# After an interrupt, what is being worked on gets so many seconds to come to its end.
GRACE = 0.6

_Answer = tuple[int, Any, BaseException | None]


class Crew(Generic[Result]):
    """Iterates over the results of ``do(item)`` for every item, in order, as they become known.

    Parameters
    ----------
    items : sequence
    do : callable
        Called in threads. What it raises is raised here.
    size : int
        How many threads at most.
    last : callable, optional
        Whether a result is one after which nothing more is begun.
    around : context manager, optional
        What is in force while it works.
    """

    def __init__(
        self,
        items: Sequence[Any],
        do: Callable[[Any], Result],
        size: int,
        *,
        last: Callable[[Result], bool] | None = None,
        around: AbstractContextManager[None] | None = None,
    ) -> None:
        self._items, self._do, self._last = items, do, last
        self._around = around or nullcontext()
        self._size = min(size, len(items))
        self._answers: SimpleQueue[_Answer | None] = SimpleQueue()
        self._next = iter(range(len(items)))
        self._lock = threading.Lock()
        self._stopped = False
        self._begun = self._ended = self._received = 0
        self.interrupted = False

    @property
    def size(self) -> int:
        """How many items are done at a time."""
        return self._size

    @property
    def busy(self) -> int:
        """How many items are being worked on or about to be, one thread each."""
        return min(self._size, len(self._items) - self._ended)

    @property
    def broken_off(self) -> int:
        """How many were begun, and not waited for any longer after an interrupt."""
        return self._begun - self._received

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    def __iter__(self) -> Iterator[Result]:
        threads = [
            threading.Thread(target=self._work, name=f"convtool-job-{n}", daemon=True)
            for n in range(self._size)
        ]
        with self._around, self._interruptible():
            for thread in threads:
                thread.start()
            try:
                yield from self._in_order()
            finally:
                self.stop()

    def _work(self) -> None:
        while True:
            with self._lock:
                number = None if self._stopped else next(self._next, None)
                if number is None:
                    break
                self._begun += 1
            answer: _Answer
            try:
                answer = (number, self._do(self._items[number]), None)
            except BaseException as error:  # raised again where results are waited for
                answer = (number, None, error)
                self.stop()
            with self._lock:
                self._ended += 1
            if answer[2] is None and self._last is not None and self._last(answer[1]):
                self.stop()
            self._answers.put(answer)

    def _in_order(self) -> Iterator[Result]:
        early: dict[int, Result] = {}
        due = 0
        deadline = 0.0
        while True:
            with self._lock:
                over = self._begun == len(self._items) or self._stopped
                if over and self._received == self._begun:
                    break
            left = None
            if self.interrupted:
                deadline = deadline or perf_counter() + GRACE
                left = deadline - perf_counter()
                if left <= 0:
                    break  # what is not done by now never will be
            answer = self._wait(left)
            if answer is None:
                continue
            number, result, error = answer
            self._received += 1
            if error is not None:
                raise error
            early[number] = result
            while due in early:
                yield early.pop(due)
                due += 1
        # Where it was stopped, some of the inputs between were never begun.
        for number in sorted(early):
            yield early[number]

    def _wait(self, seconds: float | None) -> _Answer | None:
        # On Windows a wait without an end is not interrupted by Ctrl-C.
        seconds = 0.2 if seconds is None and os.name == "nt" else seconds
        try:
            return self._answers.get(timeout=seconds)
        except Empty:
            return None

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl-C stop the crew, instead of breaking in wherever this thread is."""
        here = threading.current_thread() is threading.main_thread()
        if not here or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            yield  # in the background of a script Ctrl-C is meant for somebody else
            return

        def interrupt(number: int, frame: FrameType | None) -> None:
            if self.interrupted:  # twice: at once
                raise KeyboardInterrupt
            self.interrupted = True
            self.stop()
            self._answers.put(None)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class Lending:
    """Lends memory: waits until there is enough, but always lets one have what it needs.

    Parameters
    ----------
    total : float
        Bytes.
    """

    def __init__(self, total: float) -> None:
        self._total, self._lent = total, 0.0
        self._change = threading.Condition()

    @contextmanager
    def lend(self, amount: float) -> Iterator[None]:
        """Count `amount` bytes as taken while the body runs."""
        with self._change:
            self._change.wait_for(lambda: not self._lent or self._lent + amount <= self._total)
            self._lent += amount
        try:
            yield
        finally:
            with self._change:
                self._lent -= amount
                self._change.notify_all()
