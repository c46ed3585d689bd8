"""Several inputs at a time: order, limits, errors, interrupts."""

import os
import random
import signal
import threading
import time

import pytest

from convtool.batch.workers import Crew, Lending


def test_results_come_in_the_order_of_the_items_whoever_is_first():
    delays = random.Random(3)

    def do(item: int) -> int:
        time.sleep(delays.random() * 0.004)
        return item * item

    assert list(Crew(range(60), do, 4)) == [item * item for item in range(60)]


@pytest.mark.parametrize("size", [1, 3])
def test_no_more_than_so_many_are_done_at_a_time(size):
    lock, now, most = threading.Lock(), [0], [0]

    def do(item: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with lock:
            now[0] -= 1

    crew = Crew(range(30), do, size)
    list(crew)
    assert most[0] == size == crew.size


def test_nothing_to_do():
    assert list(Crew([], print, 4)) == []


def test_what_is_raised_in_a_thread_is_raised_here():
    def do(item: int) -> int:
        return 1 // (item - 5)

    results = iter(Crew(range(1000), do, 2))
    with pytest.raises(ZeroDivisionError):
        list(results)


def test_after_the_last_result_nothing_more_is_begun():
    begun = []

    def do(item: int) -> int:
        begun.append(item)
        time.sleep(0.001)
        return item

    results = list(Crew(range(1000), do, 3, last=lambda result: result == 7))
    assert results == sorted(begun)
    assert 7 in results
    assert len(results) < 20


def test_an_interrupt_lets_what_is_begun_come_to_its_end():
    before = signal.getsignal(signal.SIGINT)
    begun = []

    def do(item: int) -> int:
        begun.append(item)
        if item == 4:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        return item

    crew = Crew(range(1000), do, 2)
    results = list(crew)
    assert crew.interrupted
    assert results == sorted(begun)
    assert crew.broken_off == 0
    assert 5 <= len(results) < 20
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        crew = Crew(range(5), lambda _: os.kill(os.getpid(), signal.SIGINT), 2)
        assert list(crew) == [None] * 5
        assert not crew.interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_takes_too_long_after_an_interrupt_is_broken_off(monkeypatch):
    monkeypatch.setattr("convtool.batch.workers.GRACE", 0.05)
    release = threading.Event()

    def do(item: int) -> int:
        if item == 1:
            os.kill(os.getpid(), signal.SIGINT)
            release.wait(10)
        return item

    crew = Crew(range(3), do, 1)
    assert list(crew) == [0]
    assert crew.broken_off == 1
    release.set()


def test_the_cores_are_shared_by_those_who_are_left():
    seen = []
    crew: Crew[None]

    def do(item: int) -> None:
        seen.append(crew.busy)

    crew = Crew(range(4), do, 1)
    list(crew)
    assert seen == [1] * 4
    crew = Crew(range(2), do, 8)
    assert crew.busy == 2


def test_no_more_memory_is_lent_than_there_is():
    lending, lock, now, most = Lending(100), threading.Lock(), [0], [0]

    def do(amount: int) -> None:
        with lending.lend(amount):
            with lock:
                now[0] += amount
                most[0] = max(most[0], now[0])
            time.sleep(0.002)
            with lock:
                now[0] -= amount

    list(Crew([40] * 20, do, 5))
    assert most[0] == 80


def test_one_that_needs_more_than_all_gets_it_alone():
    lending, inside = Lending(10), []

    def do(amount: int) -> int:
        with lending.lend(amount):
            inside.append(amount)
            assert amount != 500 or len(inside) == 1
            time.sleep(0.002)
            inside.remove(amount)
        return amount

    assert list(Crew([5, 500, 5, 500, 5], do, 3)) == [5, 500, 5, 500, 5]
