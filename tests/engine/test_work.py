"""The threads that share the items of a job."""

import _thread
import threading
import time

import pytest

from convtool.engine import work


def test_every_item_is_done_once_by_one_of_so_many_threads():
    done = []
    work.share(50, 3, lambda item, thread: done.append((item, thread)))
    assert sorted(item for item, _ in done) == list(range(50))
    assert {thread for _, thread in done} <= {0, 1, 2}


def test_jobs_side_by_side_have_threads_of_their_own():
    barrier = threading.Barrier(6, timeout=5)  # 2 jobs of 3 threads, all of them at a time
    jobs = [
        threading.Thread(target=work.share, args=(3, 3, lambda item, thread: barrier.wait()))
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(10)
    assert not barrier.broken


def test_what_is_raised_in_a_thread_is_raised_here():
    def fail(item: int, thread: int) -> None:
        if item == 3:
            raise RuntimeError("item 3")

    with pytest.raises(RuntimeError, match="item 3"):
        work.share(20, 2, fail)


def test_an_interrupt_waits_for_those_at_work_and_begins_nothing_more():
    """Else they would write into memory that is given away."""
    begun, ended = [], []

    def slow(item: int, thread: int) -> None:
        begun.append(item)
        if len(begun) == 2:
            _thread.interrupt_main()
        time.sleep(0.05)
        ended.append(item)

    with pytest.raises(KeyboardInterrupt):
        work.share(100, 2, slow)
    # The one that the interrupt broke into is this thread's own.
    assert len(begun) - len(ended) <= 1
    assert len(begun) <= 4
