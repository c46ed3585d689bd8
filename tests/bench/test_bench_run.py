"""Turns, comparisons and ratios; no time is asserted."""

import numpy as np
import pytest

import naive
from convtool import conv2d
from convtool.bench import cases, peers, run
from convtool.bench.cases import Case, Taps
from convtool.bench.peers import Peer, Way
from convtool.bench.run import LeftOut, PeerTiming, Result, Settings, Timing
from convtool.engine import Choice
from convtool.errors import UsageError
from convtool.terms import EngineName, MethodName

QUICK = Settings(repeat=1, turn=0, patience=10)
CASE = Case("small", "3x3", (1, 20, 24, 1), "uint8", Taps("random", (3, 3)))


def fake(name, change=lambda y: y, **options):
    """Return a peer that knows the right result, and changes it."""

    def ways(task):
        y = conv2d(task.images, task.weights, border=task.case.border, dtype="uint8")
        yield Way(name, lambda: change(y.copy()), lambda result: result, **options)

    return Peer(name, name, name, lambda: "1", ways)


def off_by_two(y):
    y[0, 10, 10] += 2
    return y


def wrong_at_the_rim(y):
    y[:, 0] += 50
    return y


def broken(y):
    raise RuntimeError("out of order")


def test_ours_is_right():
    for case in (CASE, Case("stride", "", (1, 19, 18, 3), "float32", Taps("random", (9, 9)), 2)):
        task = run.prepare(case, QUICK)
        choice, call = run.our_way(task, MethodName.AUTO)
        assert choice.engine is EngineName.CPU
        result = call()
        assert result is call() or np.shares_memory(result, call())
        pads = ((task.settled.rows.before, task.settled.rows.after),) * 2
        pads = (pads[0], (task.settled.cols.before, task.settled.cols.after))
        channels = case.shape[3]
        expected = naive.conv2d(
            task.images,
            naive.depthwise(task.weights, channels),
            stride=(case.stride,) * 2,
            pads=pads,
            dilation=(1, 1),
            groups=channels,
            border="reflect",
        )
        assert result.dtype == np.dtype(case.dtype)
        np.testing.assert_allclose(result, expected, atol=0.5001 if case is CASE else 1e-5)


def test_peers_that_agree_and_peers_that_do_not():
    there = (
        fake("Same"),
        fake("Off", off_by_two),
        fake("Rim", wrong_at_the_rim),
        fake("Inside", wrong_at_the_rim, rim=False),
        fake("About", approximate=True),
        fake("Broken", broken),
        fake("Cropped", lambda y: y[:, 1:]),
    )
    result = run.measure(CASE, Settings(repeat=1, turn=0, peers=there))
    agrees = {name: peer.agrees for name, peer in result.peers.items()}
    assert agrees == {
        "Same": True,
        "Off": False,
        "Rim": False,
        "Inside": True,
        "About": True,
        "Cropped": False,
    }
    assert result.peers["Off"].difference == 2
    assert result.peers["Cropped"].difference == np.inf
    assert not result.peers["About"].counts
    assert result.failed == {"Broken": "RuntimeError: out of order"}
    assert result.fastest_peer in ("Same", "Inside")


def test_a_peer_that_fails_before_it_begins():
    def ways(task):
        raise OSError("no library")
        yield

    peer = Peer("bad", "Bad", "bad", lambda: "1", ways)
    result = run.measure(CASE, Settings(repeat=1, turn=0, peers=(peer,)))
    assert result.failed == {"Bad": "OSError: no library"}
    assert result.fastest_peer is None
    assert result.ratio is None


def result_of(ours, **others):
    timings = {
        name: PeerTiming(Timing(seconds, seconds, 1), 0, *flags)
        for name, (seconds, *flags) in others.items()
    }
    choice = Choice(EngineName.CPU, MethodName.DIRECT, "as asked")
    return Result(CASE, CASE.plan(), choice, Timing(ours, ours, 1), ours / 4, timings)


def test_ratios_count_peers_that_do_the_same_work():
    result = result_of(
        2.0, quick=(3.0, True), slow=(5.0, True), wrong=(0.5, False), about=(0.1, True, True)
    )
    assert result.fastest_peer == "quick"
    assert result.ratio == 1.5
    assert result.ratio_of("wrong") == 0.25
    assert result_of(2.0, wrong=(0.5, False)).ratio is None


def test_figures_from_times():
    result = result_of(2.0)
    assert result.share_of_floor == 0.25
    assert result.gflops == pytest.approx(2 * 20 * 24 * 9 / 2.0 * 1e-9)
    assert result.nanoseconds_per_output == pytest.approx(2e9 / (20 * 24))
    assert result.bytes_moved == 2 * 20 * 24


def test_turns_rotate():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    times = run.take_turns(calls, "abc", Settings(repeat=4, turn=0))
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert [timing.calls for timing in times.values()] == [4, 4, 4]
    assert all(timing.best <= timing.seconds for timing in times.values())


def test_there_is_one_round_whatever_the_time():
    times = run.take_turns({"a": lambda: None}, "", Settings(repeat=9, seconds=0, turn=0))
    assert times["a"].calls == 1
    assert run.take_turns({}, "", Settings()) == {}


def test_who_is_far_behind_is_not_asked_again(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(run, "perf_counter", lambda: now[0])
    monkeypatch.setattr(run, "sleep", lambda seconds: None)

    def taking(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds

        return call

    calls = {name: taking(name, seconds) for name, seconds in (("a", 1), ("b", 3), ("c", 5))}
    times = run.take_turns(calls, [], Settings(repeat=3, seconds=99, turn=0))
    assert "".join(order) == "abc" + "ba" + "ab"
    assert times["c"] == Timing(5, 5, 1)
    assert times["a"] == Timing(1, 1, 3)
    order.clear()
    run.take_turns(calls, ["c"], Settings(repeat=2, seconds=99, turn=0))
    assert "".join(order) == "abc" + "bca"


def test_differences():
    y = np.zeros((1, 800, 9, 1), np.float32)
    for row in (0, 400, 799):
        z = y.copy()
        z[0, row, 3] = 2
        assert run.difference(z, y, (0, 0)) == 2
    assert run.difference(z, y, (1, 0)) == 0
    z[0, 400, 4] = np.nan
    assert run.difference(z, y, (1, 1)) == np.inf
    assert run.difference(z[:, :5], y, (0, 0)) == np.inf
    assert run.difference(y.astype(np.uint8), y, (0, 0)) == np.inf
    assert run.difference(y, y, (500, 500)) == 0


def test_a_method_that_cannot_is_left_out():
    full = Case("full-rank", "31x31", (1, 40, 40, 1), "uint8", Taps("random", (31, 31)))
    settings = Settings(repeat=1, turn=0, method=MethodName.SEPARABLE)
    [left_out, done] = run.run([full, cases.rank_one(full)], settings, run.measure)
    assert isinstance(left_out, LeftOut)
    assert "separable" in left_out.error.message
    assert done.choice.method is MethodName.SEPARABLE


def test_who_takes_part():
    assert peers.chosen("none") == []
    assert [peer.name for peer in peers.chosen("Pillow")] == ["pillow"]
    assert "pillow" in [peer.name for peer in peers.chosen("all")]
    with pytest.raises(UsageError, match="there is no peer 'opencl'") as found:
        peers.chosen("pillow,opencl")
    assert "did you mean opencv" in found.value.hint

    def absent():
        raise ImportError("no such module")

    other = Peer("other", "Other", "other-lib", absent, lambda task: iter(()))
    assert peers.chosen("all", (other,)) == []
    with pytest.raises(UsageError, match="Other is not installed") as found:
        peers.chosen("other", (other,))
    assert "pip install 'other-lib'" in found.value.hint


# What comes out other than exact, and is therefore not counted, on images as small as these.
INEXACT = ("SciPy uniform_filter", "libvips convsep integer")


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_what_the_peers_that_are_here_compute(peer):
    if not peers.version(peer):
        pytest.skip(f"{peer.title} is not installed")
    names = set()
    kinds = cases.kinds((50, 70), ["1", "3"], ["uint8", "float32"])
    every = cases.standard([group for group in cases.GROUPS if group != "full-rank"], kinds)
    for case in every + [cases.full_rank(15, kind) for kind in kinds]:
        task = run.prepare(case, QUICK)
        failed = {}
        ways = list(run.ways_of(task, [peer], failed))
        if not ways:
            continue
        expected = run.our_way(task, MethodName.AUTO)[1]()
        for way in ways:
            difference, agrees = run.attempt(task, way, expected, failed)
            names.add(way.name)
            assert agrees or way.approximate or way.name in INEXACT, (case, way.name, difference)
        assert failed == {}
    assert names
