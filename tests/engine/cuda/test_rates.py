"""What a GPU was measured to do, under the simulator, and what is kept of it; no time is asserted.

The simulator has to be asked for before Numba is imported: so it runs in processes of its own.
"""

import json
import os
import subprocess
import sys

import pytest

from convtool.engine import cache
from convtool.engine.cuda import device, rates
from convtool.engine.cuda.rates import Rates
from program import environment

FOUND = Rates("A GPU", 20e9, 21e9, 3e12, 3e13, 0.7)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of compiled code, in a process that has not begun to use CUDA."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "machine-code")
    monkeypatch.setattr(device, "loaded", lambda: False)
    monkeypatch.setattr(device, "simulated", lambda: False)
    monkeypatch.setattr(device, "driver_version", lambda: "13.0")
    return tmp_path / "machine-code"


def test_what_was_kept_is_found_again_by_the_number_of_the_device(folder):
    assert rates.kept() is None
    rates.keep(1, FOUND)
    assert rates.kept() is None
    assert rates.kept(1) == FOUND
    assert [number for number in range(3) if rates.there(number)] == [1]
    assert [path.name for path in folder.iterdir()] == ["gpu-1-rates.unit"]
    assert cache.clear() == 1
    assert rates.kept(1) is None


WHOLE = {**FOUND._asdict(), "driver": "13.0"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"7",
        b"{}",
        b"{",
        b"\xff",
        json.dumps({**WHOLE, "more": 1}).encode(),
        json.dumps({k: v for k, v in WHOLE.items() if k != "driver"}).encode(),
        json.dumps({k: v for k, v in WHOLE.items() if k != "copy"}).encode(),
        json.dumps({**WHOLE, "copy": 0}).encode(),
        json.dumps({**WHOLE, "copy": float("nan")}).encode(),
        json.dumps({**WHOLE, "copy": float("inf")}).encode(),
        json.dumps({**WHOLE, "copy": "fast"}).encode(),
        json.dumps({**WHOLE, "up": 1.1e15}).encode(),
        json.dumps({**WHOLE, "multiply_adds": 1.1e16}).encode(),
        json.dumps({**WHOLE, "start": 61}).encode(),
    ],
)
def test_what_makes_no_sense_is_not_used(folder, content):
    cache.keep("gpu-0-rates", json.dumps(WHOLE).encode())
    assert rates.kept() == FOUND
    cache.keep("gpu-0-rates", content)
    assert rates.kept() is None


def test_beside_a_device_its_name_and_driver_must_be_those_that_were_measured(folder, monkeypatch):
    rates.keep(0, FOUND)
    monkeypatch.setattr(device, "loaded", lambda: True)
    monkeypatch.setattr(device, "problem", lambda number: None)
    monkeypatch.setattr(rates, "_name", lambda number: "A GPU")
    assert rates.kept() == FOUND
    monkeypatch.setattr(device, "driver_version", lambda: "13.1")
    assert rates.kept() is None
    monkeypatch.setattr(device, "driver_version", lambda: "13.0")
    monkeypatch.setattr(rates, "_name", lambda number: "Another")
    assert rates.kept() is None
    monkeypatch.setattr(rates, "_name", lambda number: "A GPU")
    monkeypatch.setattr(device, "problem", lambda number: device.Problem("it is gone", ""))
    assert rates.kept() is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"copy": 2e15}, "copy must lie between 0 and 1e+15 bytes a second, but is 2e+15"),
        ({"up": 0.0}, "up must lie between 0 and 1e+15 bytes a second, but is 0"),
        ({"down": float("nan")}, "down must lie between 0 and 1e+15 bytes a second, but is nan"),
        (
            {"multiply_adds": float("inf")},
            "multiply_adds must lie between 0 and 1e+16 a second, but is inf",
        ),
        ({"start": -1.0}, "start must lie between 0 and 60 seconds, but is -1"),
    ],
)
def test_what_no_device_does_is_refused(folder, wrong, message):
    with pytest.raises(device.DeviceError) as found:
        rates.keep(1, FOUND._replace(**wrong))
    assert found.value.message == f"GPU 1 was measured wrongly: {message}"
    assert found.value.hint == "measure again when nobody else uses it; nvidia-smi says who does"
    assert not folder.exists()


def test_under_the_simulator_nothing_that_was_kept_is_used(folder, monkeypatch):
    rates.keep(0, FOUND)
    monkeypatch.setattr(device, "simulated", lambda: True)
    assert rates.kept() is None
    assert rates.there(0)


def test_loading_is_measured_in_another_process_or_remembered_or_assumed(folder, monkeypatch):
    def ends(text):
        return lambda *a, **k: subprocess.CompletedProcess(a, 0, text, "")

    monkeypatch.setattr(subprocess, "run", ends("0.25\n"))
    assert rates._load_elsewhere(0) == 0.25
    monkeypatch.setattr(subprocess, "run", ends("no GPU"))
    assert rates._load_elsewhere(0) == rates.ASSUMED_START
    rates.keep(0, FOUND)
    assert rates._load_elsewhere(0) == 0.7


def simulated(code, tmp_path):
    """Run code in a process that has the simulator; return what it printed."""
    if device.PACKAGE not in installed():
        pytest.skip(f"{device.PACKAGE} is not installed")
    return printed(code, NUMBA_ENABLE_CUDASIM="1", XDG_CACHE_HOME=str(tmp_path))


def printed(code, **variables):
    """Run code in a process that is told of these variables; return what it printed."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(**variables), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def installed():
    from importlib import metadata

    return {found.metadata["Name"] for found in metadata.distributions()}


MEASURE = """
import sys
from convtool.engine.cuda import rates
rates.kept()
print(sorted(m for m in ("numba", "cuda") if m in sys.modules))
found = rates.measure()
print(found.name, all(value > 0 for value in found[1:]))
print(rates.kept())
"""


def test_the_simulator_is_measured_and_nothing_is_kept_by_that(tmp_path):
    assert simulated(MEASURE, tmp_path) == ["[]", "simulated True", "None"]
    assert list(tmp_path.rglob("*rates*")) == []


REAL = """
from convtool.engine.cuda import rates
found = rates.measure()
assert rates.kept() is None
rates.keep(0, found)
assert rates.kept() == found
print(*found[1:])
"""


@pytest.mark.skipif(
    os.environ.get("CONVTOOL_TEST_GPU", "0") == "0", reason="needs a GPU, and CONVTOOL_TEST_GPU=1"
)
def test_a_real_gpu_is_measured_and_its_rates_can_be_kept(tmp_path):
    [line] = printed(REAL, NUMBA_ENABLE_CUDASIM="0", XDG_CACHE_HOME=str(tmp_path))
    up, down, copy, multiply_adds, start = map(float, line.split())
    # A device copies in its own memory more quickly than over a bus; nothing is as slow as this.
    assert copy > max(up, down) > 1e8
    assert multiply_adds > 1e10
    assert 0 < start < 60
    assert [path.name for path in tmp_path.rglob("*rates*")] == ["gpu-0-rates.unit"]


MULTIPLY = """
import numpy as np
from numba import cuda
from convtool.engine.cuda.source import peak
places = np.array([1, 2], np.float32)
cuda.jit(peak.kernel())[1, 2](np.array([1, 1], np.float32), 3, places)
print(*map(int, places), peak.CHAINS, peak.STEPS)
"""


def test_the_kernel_multiplies_and_adds_as_often_as_is_counted(tmp_path):
    [line] = simulated(MULTIPLY, tmp_path)
    *sums, chains, steps = map(int, line.split())
    # Chains begin at 1, 2, 3 … or 2, 3, 4 …, and every step adds 1.
    assert sums == [sum(begun + n + 3 * steps for n in range(chains)) for begun in (1, 2)]


def test_without_a_gpu_nothing_is_measured(monkeypatch):
    problem = device.Problem("the engine cuda needs a GPU of NVIDIA", "leave --engine out")
    monkeypatch.setattr(device, "problem", lambda number=0: problem)
    with pytest.raises(device.DeviceError, match="needs a GPU of NVIDIA") as found:
        rates.measure()
    assert found.value.hint == "leave --engine out"
