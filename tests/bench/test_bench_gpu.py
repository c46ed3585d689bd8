"""The bench on a GPU: its cases, its floors, its peers by stand-ins; no time is asserted."""

import json
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from convtool.bench import cases, floors, gpu, gpu_peers, peers, run
from convtool.bench.cases import Case, Image, Taps
from convtool.bench.gpu import DeviceFloors, Facts, Gpu
from convtool.bench.run import Settings, Timing
from convtool.engine import Choice
from convtool.engine.cuda.rates import Rates
from convtool.errors import DeviceError, UsageError
from convtool.terms import EngineName, MethodName
from program import environment, program

FAST = Settings(repeat=1, turn=0, patience=10, device=0)
RATES = Rates("A GPU", 2e9, 1e9, 1e6, 1e6, 0.5)


def test_the_cases_that_a_gpu_is_worth():
    kinds = cases.kinds((4096, 4096), ["1", "3"], ["uint8", "float32"])
    found = cases.standard(["gpu"], kinds)
    assert [(case.name, case.shape, case.dtype) for case in found[:4]] == [
        ("3x3 RGB uint8", (1, 8192, 8192, 3), "uint8"),
        ("5x5 RGB uint8", (1, 8192, 8192, 3), "uint8"),
        ("3x3 RGB float32", (1, 8192, 8192, 3), "float32"),
        ("5x5 RGB float32", (1, 8192, 8192, 3), "float32"),
    ]
    assert [(case.name, case.plan().output_shape) for case in found[4:]] == [
        ("3x3x64x64, 8x56x56", (8, 56, 56, 64)),
        ("3x3x128x256, 8x28x28", (8, 28, 28, 256)),
        ("4x4x32x64 stride 2, 8x64x64", (8, 128, 128, 32)),
        ("4x4 stride 2, 4096x4096", (1, 8192, 8192, 3)),
    ]
    assert {case.group for case in found} == {"gpu"}
    small = cases.standard(["gpu"], kinds[:1], (10, 7))
    assert [(case.name, case.shape) for case in small] == [
        ("3x3 RGB uint8", (1, 10, 7, 3)),
        ("5x5 RGB uint8", (1, 10, 7, 3)),
    ]


def test_the_floor_on_a_device():
    image = cases.standard(["gpu"], cases.kinds((1, 1), ["3"], ["uint8"]), (40, 30))[0]
    assert floors.device_floor_seconds(image.plan(), 1, 1e6, 1) == 2 * 40 * 30 * 3 / 1e6
    layer = cases.standard(["network"], cases.kinds((1, 1), ["3"], ["float32"]))[0]
    size, macs = 4 * (2 * 8 * 56 * 56 * 64 + 3 * 3 * 64 * 64), 8 * 56 * 56 * 64 * 64 * 9
    assert floors.device_floor_seconds(layer.plan(), 4, 1e6, 1e12) == size / 1e6
    assert floors.device_floor_seconds(layer.plan(), 4, 1e9, 1e6) == macs / 1e6


class FakeResident:
    """Has the results of the cpu engine; its device takes a quarter of a second for all."""

    def __init__(self, task, change=0):
        self.right = run.our_way(task, MethodName.AUTO)[1]() + task.images.dtype.type(change)
        self.results = np.zeros_like(self.right)

    def launch(self):
        self.results = self.right

    def seconds(self, repeats):
        return [0.25] * repeats

    def result(self):
        return self.results


@pytest.fixture
def device(monkeypatch):
    """A GPU whose results are those of the cpu engine, changed by `changes`."""
    changes = {"resident": 0, "whole": 0}

    class Ours(gpu._Ours):
        def __init__(self, task, method, number):
            self.task, self.choice = task, Choice(EngineName.CUDA, MethodName.DIRECT, "as asked")
            self.resident = FakeResident(task, changes["resident"])

        def whole(self):
            return FakeResident(self.task, changes["whole"]).right

    monkeypatch.setattr(gpu, "_Ours", Ours)
    monkeypatch.setattr(gpu.door, "require", lambda number: None)
    monkeypatch.setattr(gpu.door, "simulated", lambda: False)
    monkeypatch.setattr(Gpu, "_busy", lambda self: None)
    monkeypatch.setattr(gpu.rates, "measure", lambda number: RATES)
    found = Gpu(0)
    found.changes = changes
    return found


CASE = Case("small", "3x3", (1, 20, 24, 3), "uint8", Taps("random", (3, 3)))


def test_ours_is_timed_by_the_device_and_whole(device):
    result = device.measure(CASE, FAST)
    assert result.ours == Timing(0.25, 0.25, 1)
    assert result.whole.calls == 1
    assert 0 < result.whole.seconds != 0.25
    assert result.floor == 2 * 20 * 24 * 3 / 1e6
    assert result.share_of_floor == result.floor / 0.25
    assert result.choice.engine is EngineName.CUDA
    assert device.floors == DeviceFloors(1e-3, 2e-3, 2, 1, 0.5)


@pytest.mark.parametrize(
    ("which", "how"), [("resident", "on the device"), ("whole", "with transfers")]
)
def test_results_that_are_not_the_cpu_engines_are_refused(device, which, how):
    device.changes[which] = 1
    assert device.measure(CASE, FAST)
    device.changes[which] = 2
    with pytest.raises(DeviceError) as found:
        device.measure(CASE, FAST)
    assert found.value.message == (
        f"3x3: the cuda engine's results {how} must be within 1 of the cpu engine's, "
        "but are 2 apart"
    )
    assert "report this" in found.value.hint


def test_what_fails_on_the_device_does_not_stop_the_others(device, monkeypatch):
    prepare, called = run.prepare, []

    def fail_once(case, settings):
        called.append(case)
        if len(called) == 1:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        return prepare(case, settings)

    monkeypatch.setattr(gpu, "prepare", fail_once)
    [left_out, result] = run.run([CASE, CASE], FAST, device.measure)
    assert isinstance(left_out.error, DeviceError)
    assert left_out.error.message == "3x3: RuntimeError: CUDA_ERROR_OUT_OF_MEMORY"
    assert result.ours.seconds == 0.25


def test_the_device_is_kept_busy_before_every_timing():
    order = []

    def clock(call):
        order.append("clock")
        call()
        return 0.0

    task = run.prepare(CASE, FAST)
    expected = run.our_way(task, MethodName.AUTO)[1]()

    def theirs():
        order.append("theirs")
        return expected

    def ways(task):
        yield peers.Way("Same", theirs, lambda y: y, clock=clock)

    settings = Settings(repeat=2, turn=0, peers=(peers.Peer("a", "A", "a", str, ways),))
    ours, found, failed = run.side_by_side(
        task,
        lambda: order.append("ours"),
        expected,
        settings,
        clock,
        lambda: order.append("busy"),
    )
    assert order[:1] == ["theirs"]  # to be compared
    one, other = ["busy", "clock", "ours"], ["busy", "clock", "theirs"]
    assert order[1:] == one + other + other + one
    assert ours == found["Same"].timing == Timing(run.LEAST, run.LEAST, 2)
    assert failed == {}


def numpy_as_cupy(monkeypatch):
    """Put a module in CuPy's place that computes the same in NumPy, and counts events."""

    class Event:
        recorded = 0

        def record(self):
            Event.recorded += 1
            self.at = Event.recorded

        def synchronize(self):
            assert self.at == Event.recorded

    def correlate(image, weights, output, mode):
        assert mode == "mirror"
        pads = [(k // 2, k // 2) for k in weights.shape]
        padded = np.pad(image.astype(np.float64), pads, "reflect")
        total = np.zeros(image.shape)
        for at in np.ndindex(weights.shape):
            total += weights[at] * padded[tuple(map(slice, at, np.add(at, image.shape)))]
        output[...] = total

    def correlate1d(image, weights, axis, output, mode):
        shape = np.ones(image.ndim, int)
        shape[axis] = weights.size
        correlate(image, weights.reshape(shape), output, mode)

    cupy = ModuleType("cupy")
    for name in ("asarray", "zeros", "zeros_like", "float32", "ascontiguousarray"):
        setattr(cupy, name, getattr(np, name))
    cupy.asnumpy, cupy.__version__ = np.array, "14.0"
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None)
    cupy.cuda = SimpleNamespace(
        Device=lambda number: SimpleNamespace(use=lambda: None),
        Event=Event,
        get_elapsed_time=lambda before, after: 1000.0 * (after.at - before.at),
    )
    ndimage = ModuleType("cupyx.scipy.ndimage")
    ndimage.correlate, ndimage.correlate1d = correlate, correlate1d
    for module in (cupy, ndimage, ModuleType("cupyx"), ModuleType("cupyx.scipy")):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def numpy_as_opencv(monkeypatch):
    """Put a module in OpenCV's place that has its way to filter on a GPU."""

    class Mat:
        def __init__(self, first, kind=None):
            self.pixels = np.zeros((*first[::-1], 4)) if kind else np.array(first)

        def size(self):
            return self.pixels.shape[1::-1]

        def download(self):
            return self.pixels

    class Event:
        def record(self):
            pass

        def waitForCompletion(self):
            pass

    def create(kind, result, kernel, borderMode):
        assert kind == result

        def apply(source, target):
            image = source.pixels
            kh, kw = kernel.shape
            pads = [(kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)][: image.ndim]
            padded = np.pad(image.astype(np.float64), pads, "reflect")
            total = np.zeros(image.shape)
            for a, b in np.ndindex(kh, kw):
                total += kernel[a, b] * padded[a : a + image.shape[0], b : b + image.shape[1]]
            target.pixels = total.astype(image.dtype)

        return SimpleNamespace(apply=apply)

    cv2 = ModuleType("cv2")
    cv2.__version__, cv2.BORDER_REFLECT_101, cv2.cuda_GpuMat = "4.13", 4, Mat
    cv2.CV_8UC1, cv2.CV_8UC4, cv2.CV_32FC1, cv2.CV_32FC4 = 1, 2, 3, 4
    cv2.cuda = SimpleNamespace(
        setDevice=lambda number: None,
        createLinearFilter=create,
        Event=Event,
        Event_elapsedTime=lambda before, after: 3000.0,
        getCudaEnabledDeviceCount=lambda: 1,
    )
    monkeypatch.setitem(sys.modules, "cv2", cv2)


STAND_INS = {"cupy": numpy_as_cupy, "opencv": numpy_as_opencv}


@pytest.mark.parametrize("name", STAND_INS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_peers_are_asked_for_the_right_thing(monkeypatch, name, dtype, channels):
    STAND_INS[name](monkeypatch)
    [peer] = [peer for peer in gpu_peers.PEERS if peer.name == name]
    kind = Image((17, 22), channels, dtype)
    every = [case for group in ("small", "stride", "dilation", "gaussian", "box")
             for case in cases.standard([group], [kind]) if case.kernel.shape[0] < 7]  # fmt: skip
    asked = 0
    for case in every:
        task, failed = run.prepare(case, FAST), {}
        expected = run.our_way(task, MethodName.AUTO)[1]()
        for way in run.ways_of(task, [peer], failed):
            asked += 1
            difference, agrees = run.attempt(task, way, expected, failed)
            assert agrees, (case.name, way.name, difference)
            assert way.clock(way.call) == {"cupy": 1, "opencv": 3}[name]
        assert failed == {}
    assert asked == {"cupy": len(every), "opencv": len(every) - 4}[name]
    gpu_peers.release()


def test_peers_that_have_no_gpu_are_not_there(monkeypatch):
    cv2, torch = ModuleType("cv2"), ModuleType("torch")
    cv2.cuda = SimpleNamespace(getCudaEnabledDeviceCount=lambda: 0)
    torch.cuda = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(peers, "version", peers.version.__wrapped__)
    assert peers.absent(gpu_peers.PEERS) == {
        "CuPy": "pip install 'cupy-cuda13x'",
        "PyTorch": "pip install 'torch'",
        "OpenCV": "build it with CUDA, which pip's is not",
    }
    assert peers.chosen("all", gpu_peers.PEERS) == []
    with pytest.raises(UsageError, match="OpenCV is not installed, or does not load") as found:
        peers.chosen("opencv", gpu_peers.PEERS)
    assert found.value.hint == "build it with CUDA, which pip's is not, or use --peers all"


def test_the_device_is_kept_busy_on_the_stream_of_all(monkeypatch):
    launched = []

    class Multipliers:
        def __init__(self, number):
            launched.append(number)

        def in_round(self):
            return 100

        def launch(self, rounds, stream):
            launched.append((rounds, stream))

    monkeypatch.setattr(gpu.rates, "Multipliers", Multipliers)
    monkeypatch.setattr(gpu.rates, "measure", lambda number: RATES._replace(multiply_adds=5.5e5))
    monkeypatch.setattr(gpu.door, "require", lambda number: None)
    monkeypatch.setattr(gpu.door, "simulated", lambda: False)
    monkeypatch.setattr(gpu.door, "numba_cuda", lambda: SimpleNamespace(gpus={3: nullcontext()}))
    found = Gpu(3)
    found._busy()
    found._ahead = 0.01
    found._busy()
    assert launched == [3, (6, 0), (55, 0)]


def test_the_simulator_runs_the_whole_of_it():
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    ended = program(
        *("bench", "--engine", "cuda", "--quick", "--size", "9x8", "--group", "small"),
        *("--channels", "1", "--dtype", "uint8", "--peers", "none", "--json", "-"),
        env=environment(NUMBA_ENABLE_CUDASIM="1"),
    )
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert [case["name"] for case in found["cases"]] == ["3x3 grey uint8", "5x5 grey uint8"]
    assert found["device"]["name"] == "simulated"
    assert found["left_out"] == []
    assert {case["ours"]["engine"] for case in found["cases"]} == {"cuda"}


def test_the_facts_of_a_device(device, monkeypatch):
    from convtool.engine.cuda.device import Device

    monkeypatch.setattr(gpu.door, "devices", lambda: [Device(0, "A GPU", (9, 0), 132, 8e9, 7e9)])
    monkeypatch.setattr(gpu.door, "driver_version", lambda: "13.0")
    monkeypatch.setattr(gpu.door, "toolkit", lambda: "numba-cuda 0.30.4")
    assert device.facts == Facts(0, "A GPU", "9.0", 132, 8e9, "13.0", "numba-cuda 0.30.4")
