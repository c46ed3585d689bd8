"""What is missing is said in one line each, and what the driver refuses."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="the extra convtool[cuda] is not installed")

from convtool import conv2d, engine
from convtool.engine import offload, planner
from convtool.engine.cuda import device, pipeline
from convtool.engine.cuda.rates import Rates
from convtool.errors import DeviceError, EngineError
from convtool.terms import EngineName


@pytest.fixture(autouse=True)
def asked_anew():
    device.problem.cache_clear()
    yield
    device.problem.cache_clear()


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(device.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="needs the package numba-cuda, which is missing") as told:
        device.require()
    assert told.value.hint == device.INSTALL
    assert device.problem().absent
    assert told.value.status == 1


def test_the_simulated_gpu_is_the_only_one():
    if not device.simulated():
        pytest.skip("a real GPU is tried")
    assert device.problem(0) is None
    assert device.problem(1) == device.Problem(
        "there is no GPU 1: the only one is 0", "leave --device out"
    )


def test_a_driver_older_than_the_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(device, "driver_version", lambda: "12.4")
    monkeypatch.setattr(device, "_compiles_for", lambda: 13)
    found = device._old_driver()
    assert found.what == "the driver goes up to CUDA 12.4, but numba-cuda is installed for CUDA 13"
    assert "580" in found.hint
    monkeypatch.setattr(device, "driver_version", lambda: "13.2")
    assert device._old_driver() is None
    monkeypatch.setattr(device, "driver_version", lambda: "")
    assert device._old_driver() is None


@pytest.mark.parametrize(("compute", "good"), [((7, 0), False), ((7, 5), True), ((12, 0), True)])
def test_a_gpu_older_than_the_compiler_is_refused(compute, good):
    found = device._old_device(SimpleNamespace(compute_capability=compute, id=3))
    assert (found is None) is good
    if not good:
        assert found.what == "GPU 3 has compute capability 7.0, but CUDA 13 needs 7.5 or more"


def test_memory_is_shared_by_all_types_and_grows():
    made = []

    def make(size, dtype):
        made.append(size)
        return np.zeros(size, dtype)

    store = pipeline.Store(make)
    floats = store.of(100, np.float32)
    assert (floats.size, floats.dtype, store.held) == (100, np.float32, 400)
    assert store.of(100, "float32") is floats
    small = store.of(300, np.uint8)
    assert np.shares_memory(small, floats)
    assert (small.size, store.held) == (300, 400)
    assert store.of(401, np.uint8).size == 401
    assert made == [400, 401]


FAST = Rates("simulated", 1e15, 1e15, 1e15, 1e15, 0.0)


@pytest.fixture
def measured(monkeypatch):
    """A GPU that pays, by its rates."""
    monkeypatch.setattr(offload, "kept", lambda number: FAST)
    monkeypatch.setattr(offload, "LEAST", 0.0)
    monkeypatch.setattr(offload, "LEAST_BEGUN", 0.0)
    monkeypatch.setattr(offload, "usable", lambda number: True)
    monkeypatch.setattr(planner.offload, "start", lambda rates: 0.0)


def full(*given):
    return 10


def test_a_gpu_that_nobody_asked_for_does_not_fail_the_work(measured, monkeypatch, caplog):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 9, (1, 40, 50, 3)).astype(np.float32)
    kernel = rng.integers(-9, 10, (9, 9))
    monkeypatch.setattr(pipeline, "room", full)
    engine._say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "convtool"):
        for _ in range(2):
            found = conv2d(x, kernel)
    np.testing.assert_array_equal(found, conv2d(x, kernel, engine="numpy"))
    (said,) = caplog.messages
    assert said.startswith("the cpu engine computes: a row of results and what it is made of take")


def test_a_gpu_that_was_asked_for_is_not_replaced(measured, monkeypatch):
    monkeypatch.setattr(pipeline, "room", full)
    with pytest.raises(EngineError, match="the GPU has 10 for them"):
        conv2d(np.ones((1, 40, 50, 3)), np.ones((9, 9)), engine="cuda")


def test_auto_names_who_computes_otherwise(measured):
    from convtool.geometry import ConvSpec, plan

    settled = plan(ConvSpec.of(), (1, 400, 500, 3), (9, 9))
    chosen = engine.choose(settled, weights=np.ones((1, 9, 9)))
    assert chosen.engine is EngineName.CUDA
    assert chosen.otherwise.engine is EngineName.CPU
    asked = engine.choose(settled, EngineName.CUDA, weights=np.ones((1, 9, 9)))
    assert asked.otherwise is None
