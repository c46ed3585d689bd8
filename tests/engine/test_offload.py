"""When a GPU is taken, by what it was measured to do: no GPU is needed for that."""

import json
import sys
from math import inf
from types import ModuleType

import numpy as np
import pytest

from convtool import conv2d, engine
from convtool.engine import cache, offload, planner
from convtool.engine.cuda import device, rates
from convtool.engine.cuda.rates import Rates
from convtool.errors import DeviceError, EngineError
from convtool.geometry import ConvSpec, plan
from convtool.terms import EngineName, MethodName, Op

CUDA = EngineName.CUDA
RATES = Rates("some GPU", up=2e10, down=1e10, copy=1e12, multiply_adds=1e13, start=0.5)

GAUSS = np.outer(np.hanning(33), np.hanning(33))[None, 1:-1, 1:-1]
FULL = np.random.default_rng(0).standard_normal((1, 15, 15))
LARGE = (1, 4000, 4000, 3)


def settled(shape, weights, op=Op.CONV2D, **options):
    """Plan for a bank of per-channel filters, or a kernel of rank 4."""
    size = weights.shape if weights.ndim == 4 else weights.shape[1:]
    return plan(ConvSpec.of(op, **options), shape, size, filters=len(weights))


def refuse(*_):
    raise AssertionError("this was not to be asked")


@pytest.fixture
def measured(monkeypatch):
    """Have rates kept of a GPU that is there; this process has not begun to use it."""
    monkeypatch.delitem(sys.modules, "numba.cuda", raising=False)
    monkeypatch.setattr(offload, "kept", lambda number: RATES)
    monkeypatch.setattr(device, "problem", lambda number=0: None)
    monkeypatch.setattr(device, "simulated", lambda: False)


@pytest.fixture
def begun(measured, monkeypatch):
    """Have the process use the GPU already."""
    monkeypatch.setitem(sys.modules, "numba.cuda", ModuleType("numba.cuda"))


# What it takes


def test_the_longest_of_the_ways_there_and_back_and_the_sums_and_a_tenth():
    # There, 1e9 bytes: 0.05 s; back 0.01 s; half of 1e12 bytes/s for 1.1e9: 0.0022 s.
    assert offload.seconds(offload.Load(1e9, 1e8, 1e6), RATES) == pytest.approx(1.1 * 0.05)
    assert offload.seconds(offload.Load(1e8, 1e9, 1e6), RATES) == pytest.approx(1.1 * 0.1)
    assert offload.seconds(offload.Load(1e8, 1e8, 1e13), RATES) == pytest.approx(1.1 * 2)
    slow = RATES._replace(copy=1e9)
    assert offload.seconds(offload.Load(1e8, 1e8, 1e6), slow) == pytest.approx(1.1 * 0.4)


def test_the_bytes_are_those_of_the_pixels_and_of_what_is_stored(begun):
    def gpu_seconds(dtype, stored):
        chosen = engine.choose(settled(LARGE, FULL), weights=FULL, dtype=dtype, stored=stored)
        return min(option.seconds for option in chosen.options if option.engine is CUDA)

    numbers = 4000 * 4000 * 3
    assert gpu_seconds("float32", 4) == pytest.approx(1.1 * numbers * 4 / 1e10)
    assert gpu_seconds("int64", 4) == gpu_seconds("float32", 4)  # which it is turned into
    assert gpu_seconds("uint16", 1) == pytest.approx(1.1 * numbers * 2 / 2e10)
    assert gpu_seconds("uint8", 2) == pytest.approx(1.1 * numbers * 2 / 1e10)


def test_what_is_kept_is_read_and_what_is_not_is_not_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "machine-code")
    monkeypatch.setattr(device, "simulated", lambda: False)
    monkeypatch.delitem(sys.modules, "numba.cuda", raising=False)
    written = json.dumps({**RATES._asdict(), "driver": "13.0"}).encode()
    cache.keep(rates._file(1), written)
    assert offload.kept(1) == RATES
    with monkeypatch.context() as simulator:
        simulator.setattr(device, "simulated", lambda: True)
        assert offload.kept(1) is None
    monkeypatch.setattr(rates, "kept", refuse)
    assert offload.kept(0) is None


# Which methods


@pytest.mark.parametrize(
    ("weights", "options", "methods"),
    [
        (FULL, {}, {"direct"}),
        (GAUSS, {"stride": 2}, {"direct", "separable"}),
        (np.ones((1, 5, 5)), {}, {"direct", "separable"}),  # a box is an outer product
        (np.ones((3, 3, 3, 8)), {}, {"gemm"}),
        (np.ones((3, 3, 1, 6)), {"groups": 3}, {"direct", "gemm"}),
        (FULL, {"op": Op.CONV2D_TRANSPOSE, "stride": 2}, {"direct"}),
        (GAUSS, {"op": Op.CONV2D_TRANSPOSE, "stride": 2}, {"direct", "separable"}),
        (np.ones((4, 4, 8, 3)), {"op": Op.CONV2D_TRANSPOSE, "stride": 2}, {"gemm"}),
    ],
)
def test_methods_are_those_that_the_cpu_engine_could_go(weights, options, methods):
    planned = settled((1, 20, 20, 3), weights, **options)
    found = planner.gpu_options(planned, weights, RATES)
    assert {option.method for option in found} == methods
    on_cpu = {o.method for o in planner.options(planned, weights, 1) if o.engine is EngineName.CPU}
    assert methods <= on_cpu <= methods | {"fft"}


def test_multiply_adds_of_outer_products_and_of_parts():
    busy = RATES._replace(multiply_adds=1.0)  # so that nothing else counts
    planned = settled(LARGE, GAUSS)
    direct, separable = (
        next(o for o in planner.gpu_options(planned, GAUSS, busy) if o.method is method)
        for method in (MethodName.DIRECT, MethodName.SEPARABLE)
    )
    assert direct.seconds == pytest.approx(1.1 * planned.macs / 0.5)
    assert separable.seconds == pytest.approx(direct.seconds * 62 / 31**2)
    assert separable.how == "31 + 31 multiplications instead of 961"
    # Four convolutions share the taps of a transposed one.
    back = settled((1, 100, 100, 1), FULL, Op.CONV2D_TRANSPOSE, stride=2, padding="valid")
    [option] = planner.gpu_options(back, FULL, busy)
    parts = sum(part.macs * times for part, _, times in planner._parts(back, FULL))
    assert option.seconds == pytest.approx(1.1 * parts / 0.5)
    assert option.how == "4 convolutions of stride 1"


# auto


def test_auto_takes_the_gpu_where_the_work_pays_for_the_way_and_the_start(measured):
    planned = settled(LARGE, FULL)
    once = engine.choose(planned, weights=FULL, threads=2, device=3)
    assert once.engine is EngineName.CPU  # half a second to begin
    assert CUDA in {option.engine for option in once.options}
    many = engine.choose(planned, weights=FULL, threads=2, macs=50 * planned.macs, device=3)
    assert (many.engine, many.method, many.device) == (CUDA, MethodName.DIRECT, 3)
    assert many.reason == "the GPU, by measured rates"
    assert many.compiled
    seconds = [option.seconds for option in many.options]
    assert seconds == sorted(seconds)
    # What is asked for is kept to.
    for who in (EngineName.CPU, EngineName.NUMPY):
        assert engine.choose(planned, who, weights=FULL, macs=50 * planned.macs).engine is who
    asked = engine.choose(planned, method=MethodName.FFT, weights=FULL, macs=50 * planned.macs)
    assert (asked.engine, asked.method) == (EngineName.CPU, MethodName.FFT)


def test_a_process_that_uses_the_gpu_does_not_start_again(begun):
    assert engine.choose(settled(LARGE, FULL), weights=FULL, threads=2).engine is CUDA


def test_a_way_that_is_too_slow_is_shown_and_not_taken(begun, monkeypatch):
    monkeypatch.setattr(offload, "kept", lambda number: RATES._replace(up=1e7))
    monkeypatch.setattr(device, "problem", refuse)
    chosen = engine.choose(settled(LARGE, FULL), weights=FULL, threads=2)
    assert chosen.engine is EngineName.CPU
    assert chosen.options[-1].engine is CUDA


def test_small_work_asks_for_no_gpu(measured, monkeypatch):
    monkeypatch.setattr(offload, "kept", refuse)
    for shape in ((1, 64, 64, 3), (1, 1000, 1000, 3)):
        chosen = engine.choose(settled(shape, GAUSS), weights=GAUSS, threads=2)
        assert chosen.engine is not CUDA


def test_without_rates_the_gpu_itself_is_not_asked_for(measured, monkeypatch):
    monkeypatch.setattr(offload, "kept", lambda number: None)
    monkeypatch.setattr(device, "problem", refuse)
    planned = settled(LARGE, FULL)
    chosen = engine.choose(planned, weights=FULL, macs=50 * planned.macs)
    assert CUDA not in {option.engine for option in chosen.options}


@pytest.mark.parametrize("why", ["gone", "simulated", "another"])
def test_a_gpu_that_is_not_the_one_that_was_measured_is_left_alone(begun, monkeypatch, why):
    told = iter([RATES, None])
    if why == "gone":
        problem = device.Problem("there is no GPU 0", "choose another")
        monkeypatch.setattr(device, "problem", lambda number: problem)
    elif why == "simulated":
        monkeypatch.setattr(device, "simulated", lambda: True)
    else:  # once it is loaded, `kept` compares the names
        monkeypatch.setattr(offload, "kept", lambda number: next(told))
    chosen = engine.choose(settled(LARGE, FULL), weights=FULL, threads=2)
    assert chosen.engine is EngineName.CPU
    assert CUDA not in {option.engine for option in chosen.options}


# cuda, asked for


def test_asked_for_it_is_taken_without_rates(measured, monkeypatch):
    monkeypatch.setattr(offload, "kept", lambda number: None)
    required = []
    monkeypatch.setattr(device, "require", required.append)
    small = settled((1, 16, 16, 3), FULL)
    chosen = engine.choose(small, CUDA, weights=FULL, device=1)
    assert (chosen.engine, chosen.method, chosen.device) == (CUDA, MethodName.DIRECT, 1)
    assert chosen.reason == "as asked"
    assert [o.seconds for o in chosen.options if o.engine is CUDA] == [inf]
    assert required == [1]
    # Without rates the order is that of an ordinary GPU: few taps hide behind the memory.
    three = np.ones((1, 3, 3))
    assert engine.choose(settled(LARGE, three), CUDA, weights=three).method is MethodName.DIRECT
    large = engine.choose(settled(LARGE, GAUSS), CUDA, weights=GAUSS)
    assert large.method is MethodName.SEPARABLE
    assert large.reason == "31 + 31 multiplications instead of 961"


def test_what_cuda_cannot_do_names_what_it_can(monkeypatch):
    monkeypatch.setattr(device, "require", refuse)
    x, across = np.ones((1, 8, 8, 3)), np.ones((3, 3, 3, 2))
    for kernel, method, message, hint in (
        (FULL[0], "fft", "does not have the method fft, only direct, separable, gemm", "leave one"),
        (FULL[0], "separable", "the filters must be outer products", "use --method direct,"),
        (
            FULL[0],
            "gemm",
            "cannot do this in the engine cuda: it sums across",
            "use --method direct,",
        ),
        (across, "direct", "it filters each channel by itself", "use --method gemm,"),
    ):
        with pytest.raises(EngineError) as caught:
            conv2d(x, kernel, engine="cuda", method=method)
        assert message in caught.value.message
        assert hint in caught.value.hint


def test_a_gpu_that_is_not_there_is_said_before_any_work(monkeypatch):
    problem = device.Problem("there is no GPU 7: the only one is 0", "choose another with --device")
    monkeypatch.setattr(device, "problem", lambda number: problem if number == 7 else None)
    monkeypatch.setattr(engine, "finished", refuse)
    with pytest.raises(DeviceError) as caught:
        conv2d(np.ones((1, 8, 8, 3)), FULL[0], engine="cuda", device=7)
    assert (caught.value.message, caught.value.hint) == (problem.what, problem.hint)
    assert caught.value.status == 1
