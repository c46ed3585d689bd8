"""benchmarks/gpu.py: what it says of figures, and that a step that fails stops no other."""

import importlib.util
import json
import os
import sys
from argparse import Namespace
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "gpu.py"
if not SCRIPT.exists():
    pytest.skip("the benchmarks are in the repository alone", allow_module_level=True)

spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
gpu = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu)


def way(ratio, *, agrees=True, approximate=False):
    return {
        "seconds": ratio * 1e-3,
        "best": ratio * 0.9e-3,
        "calls": 5,
        "ratio": ratio,
        "agrees": agrees,
        "approximate": approximate,
        "difference": 0.0 if agrees else None,
    }


def case(name="3x3 RGB float32", kernel="random 3x3", op="conv2d", share=0.85, **peers):
    return {
        "name": name,
        "kernel": kernel,
        "op": op,
        "dtype": name.split()[-1],
        "failed": {},
        "ours": {"method": "direct", "seconds": 1e-3, "best": 0.9e-3, "calls": 7},
        "whole": {"seconds": 0.09, "best": 0.08, "calls": 3},
        "floor_seconds": share * 1e-3,
        "share_of_floor": share,
        "peers": peers,
    }


def said(case):
    return [(bar.what, bar.figure, bar.verdict) for bar in gpu.bars(case)]


def test_a_filter_has_to_be_near_a_copy_and_ahead():
    peers = {
        "CuPy correlate": way(4.0),
        "PyTorch NCHW": way(0.97),
        "PyTorch channels_last": way(1.4),
    }
    assert said(case(**peers)) == [
        ("80% of the copy bandwidth", "85.0%", "yes"),
        ("ahead of CuPy", "4.00", "yes"),
        ("ahead of PyTorch", "0.97", "no"),
    ]
    assert said(case(share=0.799, **peers))[0] == ("80% of the copy bandwidth", "79.9%", "no")
    # PyTorch has no 8-bit convolution.
    assert [bar[0] for bar in said(case("3x3 RGB uint8", **peers))] == [
        *("80% of the copy bandwidth", "ahead of CuPy"),
    ]


@pytest.mark.parametrize(
    ("name", "kernel", "op"),
    [
        ("3x3x64x64, 8x56x56", "random 3x3x64x64", "conv2d"),
        ("4x4x32x64 stride 2, 8x64x64", "random 4x4x32x64", "conv2d_transpose"),
        ("4x4 stride 2, 4096x4096", "random 4x4", "conv2d_transpose"),
    ],
)
def test_a_layer_has_its_ratio_reported(name, kernel, op):
    what = "the time of cuDNN (PyTorch, tf32 off) over ours"
    layer = case(name, kernel, op, **{"PyTorch NCHW": way(0.7), "PyTorch channels_last": way(0.6)})
    assert said(layer) == [(what, "0.60", "reported")]
    assert said(case(name, kernel, op)) == [(what, "PyTorch took no part", "not measured")]


def test_who_computes_something_else_or_fails_is_not_compared_with():
    other = case(**{"CuPy correlate": way(0.1, agrees=False), "CuPy near": way(3.0)})
    assert said(other)[1] == ("ahead of CuPy", "3.00", "yes")
    del other["peers"]["CuPy near"]
    assert said(other)[1] == ("ahead of CuPy", "other results", "not measured")
    other["peers"], other["failed"] = {}, {"CuPy": "OutOfMemory: a|b\nmore"}
    assert said(other)[1] == ("ahead of CuPy", "OutOfMemory: a\\|b more", "not measured")


MEASURED = {
    "device": {
        "name": "A GPU",
        "compute": "9.0",
        "multiprocessors": 132,
        "memory": 8e10,
        "driver": "13.0",
        "toolkit": "numba-cuda 0.30.4",
    },
    "machine": {"processor": "A processor", "cores": 16, "peers": {"CuPy": "14.0"}},
    "floors": {
        "copy_gb_per_s": 3000.0,
        "multiply_add_gflops": 60000.0,
        "up_gb_per_s": 25.0,
        "down_gb_per_s": 24.0,
        "start_seconds": 0.7,
    },
    "cases": [case(**{"CuPy correlate": way(4.0), "CuPy other": way(2.0, agrees=False)})],
    "left_out": [{"name": "5x5 RGB float32", "reason": "RuntimeError: no memory"}],
}


def test_the_page():
    step = gpu.Step("tests", ["python", "-m", "pytest"])
    lines = [f"line {n}" for n in range(gpu.TAIL + 2)]
    outcome = gpu.Outcome(step, 1, "\n".join(lines), 2.5)
    text = gpu.page([outcome], MEASURED, tiny=False).splitlines()
    assert "- device: A GPU, compute capability 9.0, 132 multiprocessors, 80.0 GB" in text
    assert "- compared with: CuPy 14.0" in text
    assert "| tests | failed with status 1 | 2.5 |" in text
    assert "| copying on the device, read + written | 3000 GB/s |" in text
    assert "| 3x3 RGB float32 | ahead of CuPy | 4.00 | yes |" in text
    assert "| 5x5 RGB float32 | a result | RuntimeError: no memory | no |" in text
    assert "| 3x3 RGB float32 | ours, direct | 1 | 0.9 | 7 | 0.85 | 85.0% | 90 | | |" in text
    assert "| | CuPy correlate | 4 | 3.6 | 5 | | | | 4 | the same |" in text
    assert "| | CuPy other | 2 | 1.8 | 5 | | | | 2 | far apart |" in text
    assert text[-3:] == [lines[-2], lines[-1], "```"]
    assert "… 2 lines before" in text
    assert "line 1" not in text
    tables = [line for line in text if line.startswith("|") and "case | who" in line]
    width = tables[0].count("|")
    rows = [line for line in text if line.startswith(("| 3x3 RGB float32 | ours", "| | CuPy"))]
    assert {row.count("|") for row in rows} == {width}
    assert "no figure means anything" not in "\n".join(text)
    assert "no figure means anything" in gpu.page([], MEASURED, tiny=True)
    assert "No benchmarks were made." in gpu.page([outcome], None, tiny=False)


def test_steps_that_fail_stop_no_other(tmp_path, monkeypatch, capsys):
    found = json.dumps({**MEASURED, "left_out": []})
    write = f"import pathlib; pathlib.Path('work/bench.json').write_text({found!r})"

    def steps(work, path, *, tiny):
        yield gpu.Step("missing", [str(tmp_path / "no-such-program")])
        yield gpu.Step("broken", [sys.executable, "-c", "print('said'); raise SystemExit(3)"])
        yield gpu.Step("benchmarks", [sys.executable, "-c", write])

    output = tmp_path / "page.md"
    options = Namespace(output=output, work=tmp_path / "work", device=0, tiny=True)
    monkeypatch.setattr(gpu, "arguments", lambda: options)
    monkeypatch.setattr(gpu, "trouble", lambda *given: [])
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(gpu, "steps", steps)
    assert gpu.main() == 1
    out = capsys.readouterr().out
    assert "said" in out
    assert "== failed: missing, broken" in out
    text = output.read_text()
    assert "| missing | failed with status 127 |" in text
    assert "| broken | failed with status 3 |" in text
    assert "| benchmarks | well |" in text
    assert "| 3x3 RGB float32 | ahead of CuPy | 4.00 | yes |" in text


def test_what_is_missing_is_said_before_anything_is_made(tmp_path, monkeypatch, capsys):
    options = Namespace(output=None, work=tmp_path / "work", device=0, tiny=False)
    monkeypatch.setattr(gpu, "arguments", lambda: options)
    monkeypatch.setattr(gpu, "NEEDED", ("json", "no_such_module"))
    assert gpu.main() == 1
    said = capsys.readouterr().err
    assert said == f"error: not installed: no_such_module\n\nhint: {gpu.INSTALL}\n"
    monkeypatch.setattr(gpu, "NEEDED", ("json",))
    monkeypatch.setattr(gpu, "PROBLEM", "print('there is no GPU 0'); print('buy one')")
    assert gpu.main() == 1
    assert capsys.readouterr().err == "error: there is no GPU 0\n\nhint: buy one\n"
    assert not (tmp_path / "work").exists()


def test_all_that_is_kept_goes_into_the_work_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    real = gpu.environment(tmp_path, tiny=False)
    assert real["CONVTOOL_TEST_GPU"] == "1"
    assert "NUMBA_ENABLE_CUDASIM" not in real
    inside = {key for key, value in real.items() if value.startswith(str(tmp_path))}
    wanted = {"TMPDIR", "XDG_CACHE_HOME", "HYPOTHESIS_STORAGE_DIRECTORY"}
    assert inside - os.environ.keys() | wanted == inside
    assert gpu.environment(tmp_path, tiny=True)["NUMBA_ENABLE_CUDASIM"] == "1"
    bench = list(gpu.steps(tmp_path, tmp_path / "bench.json", tiny=False))[-1]
    assert bench.command[1:] == [
        *("-m", "convtool", "bench", "--engine", "cuda", "--group", "gpu"),
        *("--json", str(tmp_path / "bench.json")),
    ]


@pytest.mark.parametrize(
    ("visible", "device", "alone"),
    [
        (None, 0, "0"),
        (None, 2, "2"),
        ("", 1, "1"),
        ("3,5", 1, "5"),
        ("GPU-ab, GPU-cd", 1, "GPU-cd"),
    ],
)
def test_every_step_sees_the_gpu_that_was_chosen_and_no_other(monkeypatch, visible, device, alone):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu.alone(device) == {"CUDA_VISIBLE_DEVICES": alone}
