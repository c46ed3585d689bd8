"""`convtool bench` as a person and a script use it, on tiny images; no time is asserted."""

import json

import pytest
from PIL import Image

from convtool.bench import curves, peers, run
from convtool.bench.cases import GROUPS
from shell import run as convtool

TINY = ("bench", "--quick", "--size", "24x20", "--peers", "none")
SMALL = (*TINY, "--group", "small", "--channels", "1")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Tries and curves that end at once."""
    from convtool.bench import floors

    monkeypatch.setattr(floors, "TRY_FOR", 0)
    monkeypatch.setattr(floors, "ROUND_SECONDS", 0.001)
    monkeypatch.setattr(curves, "SIZES", (3, 5))


def benched(*arguments, code=0):
    ran = convtool(*arguments)
    assert ran.code == code, ran.err + ran.out
    assert "Traceback" not in ran.err
    return ran


def test_the_keys_that_stay(tmp_path):
    path = tmp_path / "deep" / "speed.json"
    drawn = tmp_path / "curves.png"
    ran = benched(*SMALL, "--threads", 2, "--json", path, "--picture", drawn)
    found = json.loads(path.read_text())
    assert list(found) == [
        *("machine", "command", "floors", "cases", "left_out"),
        *("curves", "crossings", "interrupted"),
    ]
    assert list(found["machine"]) == [
        *("processor", "system", "cores", "threads", "versions", "peers")
    ]
    assert list(found["machine"]["versions"]) == ["convtool", "python", "numpy", "numba"]
    assert found["command"] == (
        "convtool bench --group small --size 24x20 --channels 1 --threads 2 --peers none --quick "
        f"--json {path} --picture {drawn}"
    )
    assert list(found["floors"]) == ["copy_gb_per_s", "copy_bytes", "multiply_add_gflops"]
    names = [case["name"] for case in found["cases"]]
    assert names == ["3x3 grey uint8", "5x5 grey uint8", "3x3 grey float32", "5x5 grey float32"]
    case = found["cases"][0]
    assert list(case) == [
        *("group", "name", "op", "shape", "output_shape", "dtype", "kernel", "stride", "dilation"),
        *("groups", "padding", "border", "macs", "bytes", "ours", "floor_seconds"),
        *("share_of_floor", "gflops", "ns_per_output", "peers", "fastest_peer", "ratio"),
        "failed",
    ]
    assert list(case["ours"]) == ["engine", "method", "seconds", "best", "calls"]
    assert (case["shape"], case["kernel"]) == ([1, 24, 20, 1], "random 3x3")
    assert case["ours"]["engine"] == "cpu"
    assert (case["peers"], case["fastest_peer"], case["ratio"]) == ({}, None, None)
    assert [size for size, _ in found["curves"]["direct"]] == [3, 5]
    assert found["interrupted"] is False
    with Image.open(drawn) as image:
        assert image.size == (1200, 800)
    assert "measured    4 cases, none with a peer" in ran.out


def test_the_table_with_peers_is_plain(monkeypatch):
    def ways(task):
        y = run.our_way(task, run.MethodName.AUTO)[1]().copy()
        yield peers.Way("Right one", lambda: y, lambda y: y)
        yield peers.Way("Wrong one", lambda: y // 2, lambda y: y)

    peer = peers.Peer("fake", "Fake", "fake", lambda: "1.2", ways)
    monkeypatch.setattr(peers, "chosen", lambda text, known: [peer])
    ran = benched("bench", "--quick", "--size", "24", "--group", "gaussian", "--dtype", "uint8")
    assert ran.err == ""
    assert "\x1b" not in ran.out
    lines = ran.out.splitlines()
    assert lines[2] == "peers       Fake 1.2"
    assert lines[3].startswith("floors      copying ")
    rows = [line for line in lines if line.startswith("  ")]
    rows = [line for line in rows if "grey" in line or "RGB" in line]
    assert len(rows) == 8
    assert all(row.endswith("  Right one") and "x " in row for row in rows)
    assert "of 8 cases that a peer did as well" in ran.out
    assert "not counted Wrong one: other results in 8 cases, up to " in ran.out
    assert max(map(len, lines)) <= 110


def test_json_on_standard_output_leaves_the_table_to_standard_error():
    ran = benched(*SMALL, "--dtype", "uint8", "--json", "-")
    assert len(json.loads(ran.out)["cases"]) == 2
    assert "3x3 grey uint8" in ran.err


def test_quiet():
    ran = benched(*SMALL, "--dtype", "uint8", "-q")
    assert (ran.out, ran.err) == ("", "")


def test_a_method_that_cannot(tmp_path):
    path = tmp_path / "b.json"
    ran = benched(*TINY, "--group", "full-rank", "--group", "box", "--method", "separable",
                  "--channels", "1", "--dtype", "uint8", "--json", path)  # fmt: skip
    found = json.loads(path.read_text())
    assert len(found["left_out"]) >= 1
    assert found["left_out"][-1]["name"] == "127x127 grey uint8"
    assert "separable" in found["left_out"][-1]["reason"]
    assert f"left out    {len(found['left_out'])} case" in ran.out


def test_a_method_that_can_do_no_case(tmp_path):
    path = tmp_path / "b.json"
    ran = benched(*SMALL, "--method", "gemm", "-q", "--json", path, code=2)
    assert (ran.out, path.exists()) == ("", False)
    assert ran.err == (
        "error: every case is left out: the method gemm cannot do this in the engine cpu: it sums "
        "across channels\n\nhint: use --method direct or fft, or leave it out\n"
    )


def test_an_interrupt_leaves_what_there_is(tmp_path, monkeypatch):
    take_turns, calls = run.take_turns, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return take_turns(*arguments)

    monkeypatch.setattr(run, "take_turns", interrupted)
    path = tmp_path / "b.json"
    ran = benched(*SMALL, "--json", path, "--picture", tmp_path / "c.png", code=130)
    found = json.loads(path.read_text())
    assert [len(found["cases"]), found["interrupted"]] == [2, True]
    assert "interrupted: this is what was measured so far" in ran.out
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--group", "smal"], "--group must be one of", "did you mean small?"),
        (["--dtype", "float16"], "--dtype must be one of uint8, float32", ""),
        (["--channels", "1,x"], "--channels must be numbers of at least 1, not 'x'", "1,3"),
        (["--peers", "opencl"], "there is no peer 'opencl'", "did you mean opencv?"),
        (["--method", "quick"], "--method must be one of", ""),
        (["--threads", "0"], "threads must be a whole number of at least 1", ""),
        (["--size", "0x5"], "--size must be at least 1", ""),
        (["--engine", "numpy"], "--engine must be one of cpu, cuda, not 'numpy'", "the reference"),
        (["--engine", "auto"], "--engine must be one of cpu, cuda, not 'auto'", "chooses among"),
        (["--engine", "gpu"], "--engine must be one of auto, ", "did you mean cuda?"),
        (["--device", "1"], "--device 1 chooses a GPU, but the engine cpu uses", "--engine cuda"),
        (["--engine", "cuda", "--picture", "a.png"], "--picture a.png is for the engine cpu", ""),
        (["--engine", "cuda", "--peers", "pillow"], "there is no peer 'pillow'", ""),
        (["--json", "."], ". is a folder", "bench"),
        (["--picture", "."], ". is a folder", "bench"),
    ],
)
def test_what_cannot_be(arguments, message, hint):
    ran = convtool("bench", "--quick", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert hint in ran.err


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is none: its work is the cpu engine's, and takes half a second."""
    from convtool.bench import gpu, gpu_peers
    from convtool.engine import Choice
    from convtool.engine.cuda.device import Device
    from convtool.engine.cuda.rates import Rates
    from convtool.terms import EngineName, MethodName

    class Resident:
        def __init__(self, call):
            self.launch = self.result = call

        def seconds(self, repeats):
            return [0.5] * repeats

    class Ours(gpu._Ours):
        def __init__(self, task, method, number):
            self.task, self.choice = task, Choice(EngineName.CUDA, MethodName.DIRECT, "as asked")
            self.resident = Resident(self.whole)

        def whole(self):
            if self.task.case.shape[3] == 3:
                raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED")
            return run.our_way(self.task, MethodName.AUTO)[1]()

    monkeypatch.setattr(gpu, "_Ours", Ours)
    monkeypatch.setattr(gpu.door, "require", lambda number: None)
    monkeypatch.setattr(gpu.door, "simulated", lambda: False)
    monkeypatch.setattr(gpu.Gpu, "_busy", lambda self: None)
    monkeypatch.setattr(gpu.door, "devices", lambda: [Device(0, "A GPU", (9, 0), 132, 8e10, 7e10)])
    monkeypatch.setattr(gpu.door, "driver_version", lambda: "13.0")
    monkeypatch.setattr(gpu.door, "toolkit", lambda: "numba-cuda 0.30.4")
    rates = Rates("A GPU", 2e10, 1e10, 3e12, 3e13, 0.5)
    monkeypatch.setattr(gpu.rates, "measure", lambda number: rates)

    def ways(task):
        y = run.our_way(task, MethodName.AUTO)[1]().copy()
        yield peers.Way("CuPy correlate", lambda: y, lambda y: y, clock=lambda call: 1.5)

    there = peers.Peer("cupy", "CuPy", "cupy-cuda13x", lambda: "14.0", ways)
    missing = peers.Peer("torch", "PyTorch", "torch", lambda: 1 / 0, ways)
    monkeypatch.setattr(gpu_peers, "PEERS", (there, missing))


GPU = ("bench", "--engine", "cuda", "--quick", "--size", "24x20", "--group", "small")


def test_the_table_of_a_gpu(gpu):
    ran = benched(*GPU, "--channels", "1", "--dtype", "uint8")
    lines = ran.out.splitlines()
    assert lines[1] == "gpu         0: A GPU, compute capability 9.0, 80.0 GB, driver for CUDA 13.0"
    assert lines[2].endswith(", numba-cuda 0.30.4; the cuda engine")
    assert lines[3:6] == [
        "peers       CuPy 14.0",
        "not there   PyTorch: pip install 'torch'",
        "floors      copying 3000 GB/s, read + written; multiply-add 60000 GFLOP/s, float32; "
        "to the device 20.0, back 10.0 GB/s",
    ]
    [row] = [line.split() for line in lines if line.startswith("  3x3 grey")]
    whole = row.pop(6)
    assert float(whole) > 0
    assert row == [
        *("3x3", "grey", "uint8", "direct", "500", "500"),
        *("3.20e-07", "0.0%", "3.00x", "1500", "CuPy", "correlate"),
    ]
    assert "ahead in    2 of 2 cases that a peer did as well" in ran.out


def test_the_json_of_a_gpu(gpu, tmp_path):
    path = tmp_path / "gpu.json"
    benched(*GPU, "--channels", "1", "--dtype", "uint8", "--device", "0", "--json", path)
    found = json.loads(path.read_text())
    assert found["command"] == (
        "convtool bench --group small --size 24x20 --channels 1 --dtype uint8 --engine cuda "
        f"--device 0 --quick --json {path}"
    )
    assert found["device"] == {
        "number": 0,
        "name": "A GPU",
        "compute": "9.0",
        "multiprocessors": 132,
        "memory": 8e10,
        "driver": "13.0",
        "toolkit": "numba-cuda 0.30.4",
    }
    assert found["floors"] == pytest.approx(
        {
            "copy_gb_per_s": 3000,
            "multiply_add_gflops": 60000,
            "up_gb_per_s": 20,
            "down_gb_per_s": 10,
            "start_seconds": 0.5,
        }
    )
    case = found["cases"][0]
    assert case["ours"] == {
        "engine": "cuda",
        "method": "direct",
        "seconds": 0.5,
        "best": 0.5,
        "calls": 1,
    }
    assert list(case["whole"]) == ["seconds", "best", "calls"]
    assert case["peers"]["CuPy correlate"]["ratio"] == 3


def test_threads_are_not_heeded_by_a_gpu(gpu, tmp_path):
    path = tmp_path / "gpu.json"
    benched(*GPU, "--channels", "1", "--dtype", "uint8", "--threads", "1", "--json", path)
    found = json.loads(path.read_text())
    assert (found["machine"]["threads"], len(found["cases"])) == (1, 2)


def test_a_case_that_fails_on_a_gpu_makes_the_status_1(gpu):
    ran = benched(*GPU, "--dtype", "uint8", code=1)
    lines = ran.out.splitlines()
    for k in (3, 5):
        assert f"failed      {k}x{k} RGB uint8: RuntimeError: CUDA_ERROR_LAUNCH_FAILED" in lines
    assert "left out" not in ran.out
    assert "ahead in    2 of 2 cases" in ran.out


def test_the_cuda_engine_without_a_gpu(monkeypatch, tmp_path):
    from convtool.engine.cuda import device

    problem = device.Problem("the engine cuda needs a GPU of NVIDIA and its driver", "see doctor")
    monkeypatch.setattr(device, "problem", lambda number=0: problem)
    path = tmp_path / "b.json"
    ran = convtool(*GPU, "--peers", "none", "--json", path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: {problem.what}\n\nhint: see doctor\n"
    assert not path.exists()


def test_the_help_names_every_group_and_peer_and_shows_examples():
    text = benched("bench", "--help").out
    words = " ".join(text.split())
    assert ", ".join(GROUPS) in words
    assert ", ".join(peer.name for peer in peers.PEERS) in words
    assert "convtool bench --quick\n" in text
    assert text.count("  convtool bench ") >= 4
