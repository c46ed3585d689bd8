"""`convtool doctor`: what this machine has, and compiled code made ahead of time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convtool.batch import Failed, Source
from convtool.doctor import facts, gpu, trial, warm
from convtool.doctor.gpu import Gpu
from convtool.engine.cpu import machine
from convtool.engine.cuda import device
from convtool.engine.cuda.device import Device
from convtool.engine.cuda.rates import Rates
from convtool.errors import DeviceError, ImageError
from convtool.report import doctor as report
from shell import run


def in_a_process(*arguments, cache=None, code="import sys; from convtool.cli import main"):
    """Run a command, perhaps with a folder of compiled code of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"{code}\nsys.exit(main(sys.argv[1:]))", *map(str, arguments)],
        # Without its GPUs, of which a real one would be measured.
        env=os.environ
        | {"CUDA_VISIBLE_DEVICES": "-1"}
        | ({} if cache is None else {"XDG_CACHE_HOME": str(cache)}),
        capture_output=True,
        text=True,
    )


@pytest.fixture
def fake_python(tmp_path, monkeypatch):
    """Have the cpu engine tried by a script in place of Python."""

    def install(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return install


NO_GPU = Gpu("the engine cuda needs the package numba-cuda, which is missing", "pip install it")


@pytest.fixture
def works(fake_python, monkeypatch):
    """Spare a test the trial of the engine, and the look for a GPU."""
    fake_python("exit 0")
    monkeypatch.setattr(gpu, "look", lambda: NO_GPU)


# ---------------------------------------------------------------- facts


def test_everything_is_there(monkeypatch):
    monkeypatch.setattr(gpu, "look", lambda: NO_GPU)
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    headings = [line.split()[0] for line in ran.out.splitlines() if line[0] != " "]
    assert headings == [
        *("version", "processor", "engines", "compiled", "images", "kernels", "environment")
    ]
    for part in (
        "NumPy 2.",
        "Numba 0.",
        "cpu     works",
        f"{machine.registers()[0]} vector registers",
        str(machine.folder()),
        "JPEG      read, written   libjpeg",
        "16-bit and float colour: ",
        "28 presets, 0 of your own",
        "standard output is no terminal",
    ):
        assert part in ran.out


def test_the_keys_of_json(works, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    ran = run("doctor", "--json")
    assert ran.code == 0
    [line] = ran.out.splitlines()
    found = json.loads(line)
    assert list(found) == [
        *("versions", "processor", "engines", "cache", "formats", "deep", "kernels"),
        *("environment", "terminal", "problems"),
    ]
    assert found["engines"]["cpu"] == {"works": True, "problem": "", "loading": machine.how()}
    assert found["cache"].keys() == {"folder", "problem", "units", "bytes", "stale"}
    assert {"format": "GIF", "read": True, "written": True, "library": ""} in found["formats"]
    assert found["environment"]["NO_COLOR"] == "1"
    assert found["terminal"] is False
    assert found["problems"] == []


def test_numba_is_not_imported():
    code = (
        "import sys; from convtool import cli\n"
        "def main(words):\n"
        "    status = cli.main(words)\n"
        "    print('NUMBA', 'numba' in sys.modules)\n"
        "    return status"
    )
    done = in_a_process("doctor", "--json", code=code)
    assert done.stdout.splitlines()[-1] == "NUMBA False", done.stderr


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -11 $$", "it was ended by signal 11"),
        ("echo first; echo 'no memory may be executed'; exit 1", "no memory may be executed"),
        ("echo 'ImportError: no llvmlite' >&2; exit 1", "ImportError: no llvmlite"),
        ("exit 3", "it ended with status 3"),
    ],
)
def test_a_cpu_engine_that_does_not_work(fake_python, script, message):
    fake_python(script)
    ran = run("doctor")
    assert ran.code == 1
    assert "cpu     does not work here" in ran.out
    assert ran.err.startswith(f"warning: the cpu engine does not work here: {message} (hint: ")
    assert "--engine numpy does without it" in ran.err


def test_a_trial_that_cannot_be_made(monkeypatch, tmp_path, fake_python):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    assert trial.elsewhere("any") == ("", "it cannot be started: No such file or directory")
    fake_python("sleep 5")
    monkeypatch.setattr(trial, "PATIENCE", 0.05)
    assert trial.elsewhere("any") == ("", "it has not ended after 0.05 seconds")


def test_what_the_trial_says():
    code = (
        "import sys, convtool.engine\n"
        "from convtool.doctor.trial import main\n"
        "from convtool.errors import EngineError\n"
        "def fail(*_, engine, **__):\n"
        "    if engine == 'cpu':\n"
        "        raise EngineError('no memory', 'get some')\n"
        "def wrong(images, *_, engine, **__):\n"
        "    return images + (engine == 'cpu')\n"
        "convtool.engine.conv2d = {'fail': fail, 'wrong': wrong}[sys.argv[1]]\n"
        "sys.exit(main())\n"
    )
    for kind, said in (
        ("fail", "no memory (hint: get some)"),
        ("wrong", "its results are not those of the reference"),
    ):
        done = subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (1, said)


def test_a_cache_that_cannot_be_used(works, monkeypatch):
    state = machine.State(Path("/cache"), "others than its owner may write to the folder", 0, 0, 0)
    monkeypatch.setattr(facts.machine, "state", lambda: state)
    ran = run("doctor")
    assert ran.code == 0
    assert ran.err == (
        "warning: compiled code cannot be kept in /cache: others than its owner may write to the "
        "folder (hint: every run compiles anew; make it a folder that you alone can write to, or "
        "set XDG_CACHE_HOME to another one)\n"
    )


@pytest.mark.parametrize(
    ("state", "lines"),
    [
        (
            (0, 0, 0),
            ["0 units, 0 kB   in /c", "convtool doctor --warm compiles what the presets need"],
        ),
        ((1, 3600, 1), ["1 unit, 4 kB", "1 file was made for other versions or processors"]),
        ((300, 2_345_678, 2), ["300 units, 2.3 MB", "2 files were made for other versions"]),
    ],
)
def test_the_cache(works, monkeypatch, state, lines):
    monkeypatch.setattr(facts.machine, "state", lambda: machine.State(Path("/c"), "", *state))
    none = machine.State(Path("/c"), "", 0, 0, 0)
    monkeypatch.setattr(facts.cuda_kept, "state", lambda: none)
    monkeypatch.setattr(gpu, "rates_kept", lambda: 0)
    out = run("doctor").out
    for line in lines:
        assert line in out


def test_a_pillow_without_a_library(works, monkeypatch):
    from PIL import features

    missing = ("webp", "libjpeg_turbo", "zlib_ng", "avif")
    have = features.check
    monkeypatch.setattr(features, "check", lambda name: name not in missing and have(name))
    ran = run("doctor")
    assert ran.code == 0
    assert "WebP      neither read nor written" in ran.out
    assert "JPEG      read, written   libjpeg " in ran.out
    assert "PNG       read, written   zlib " in ran.out
    assert "warning: this Pillow was built without the library for WebP (hint: 'pip" in ran.err


def test_no_pyvips(works, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    ran = run("doctor")
    assert ran.err == ""
    assert "not without pyvips   pip install 'pyvips[binary]'" in ran.out


def test_kernels_of_ones_own(works, monkeypatch, tmp_path):
    folder = tmp_path / "convtool" / "kernels"
    folder.mkdir(parents=True)
    (folder / "good.toml").write_text('name = "good"\ntaps = [[1, -1]]\n')
    (folder / "bad.toml").write_text("taps = 1\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    ran = run("doctor")
    assert ran.code == 0
    assert f"28 presets, 1 of your own in {folder}" in ran.out
    bad = folder / "bad.toml"
    assert ran.err == (
        f"warning: {bad} is no kernel (hint: 'convtool kernels check {bad}' says why)\n"
    )


# ---------------------------------------------------------------- GPUs

H200 = Device(0, "NVIDIA H200", (9, 0), 132, 150 << 30, 149 << 30)
OTHER = Device(1, "NVIDIA T4", (7, 5), 40, 16 << 30, 15 << 30)
RATES = Rates("NVIDIA H200", 5.5e10, 5.25e10, 4e12, 3e13, 0.75)
FOUND = Gpu(driver="13.0", toolkit="numba-cuda 0.30.4", devices=(H200, OTHER),
            failures=("", ""), rates=(RATES, None))  # fmt: skip


def test_no_gpu_is_no_trouble(works):
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert (
        "            cuda    not here   optional; needs the package numba-cuda, which is missing: "
        "pip install it\n"
    ) in ran.out
    assert "\ngpu " not in ran.out


def test_gpus_with_their_memory_and_what_was_measured_of_them(works, monkeypatch):
    monkeypatch.setattr(gpu, "look", lambda: FOUND)
    monkeypatch.setattr(report, "simulated", lambda: False)
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert (
        "            cuda    works   numba-cuda 0.30.4\n"
        "gpu         0  NVIDIA H200   149.0 of 150.0 GiB are free"
        "   compute capability 9.0, driver for CUDA 13.0\n"
        "               55 GB/s there, 52.5 GB/s back, 4,000 GB/s within, 60,000 GFLOP/s, "
        "0.8 s to begin\n"
        "            1  NVIDIA T4   15.0 of 16.0 GiB are free"
        "   compute capability 7.5, driver for CUDA 13.0\n"
        "               not measured: --engine auto leaves it alone"
        "   convtool doctor --warm measures it\n"
    ) in ran.out
    cuda = json.loads(run("doctor", "--json").out)["engines"]["cuda"]
    assert list(cuda) == "works problem driver toolkit devices kernels".split()
    assert (cuda["works"], cuda["problem"], cuda["driver"]) == (True, "", "13.0")
    first, second = cuda["devices"]
    more = {"compute": [9, 0], "problem": "", "rates": RATES._asdict()}
    assert first == H200._asdict() | more
    assert second["rates"] is None


def test_a_cuda_engine_that_does_not_work(works, monkeypatch):
    broken = Gpu(failure="it was ended by signal 11", toolkit="numba-cuda 0.30.4")
    monkeypatch.setattr(gpu, "look", lambda: broken)
    ran = run("doctor")
    assert ran.code == 0
    assert "            cuda    does not work here   it was ended by signal 11\n" in ran.out
    assert ran.err == (
        "warning: the cuda engine does not work here: it was ended by signal 11 (hint: --engine "
        "cpu does without it; 'pip install --force-reinstall numba-cuda' mends what is damaged)\n"
    )


def test_a_gpu_that_computes_wrongly_beside_one_that_does_not(works, monkeypatch):
    monkeypatch.setattr(gpu, "look", lambda: FOUND._replace(failures=("", "no memory")))
    monkeypatch.setattr(report, "simulated", lambda: False)
    ran = run("doctor")
    assert ran.code == 0
    assert "            cuda    works   numba-cuda 0.30.4\n" in ran.out
    assert "               does not work: no memory\n" in ran.out
    assert "not measured" not in ran.out
    assert ran.err == (
        "warning: the cuda engine does not work on GPU 1: no memory (hint: choose another with "
        "--device; nvidia-smi says who else uses it)\n"
    )
    _, second = json.loads(run("doctor", "--json").out)["engines"]["cuda"]["devices"]
    assert second["problem"] == "no memory"


def test_the_look_for_a_gpu(monkeypatch, fake_python):
    fake_python(f"echo noise; echo '{json.dumps(FOUND._asdict())}'")
    monkeypatch.setattr(gpu.util, "find_spec", lambda name: "there")
    assert gpu.look() == FOUND
    fake_python("kill -11 $$")
    assert gpu.look().failure == "it was ended by signal 11"
    monkeypatch.setattr(gpu.util, "find_spec", lambda name: None)
    gpu.device.problem.cache_clear()
    found = gpu.look()
    gpu.device.problem.cache_clear()
    assert found.missing == "the engine cuda needs the package numba-cuda, which is missing"
    assert found.hint == device.INSTALL


DRIVER = "the engine cuda needs a GPU of NVIDIA and its driver, but the driver"


@pytest.mark.parametrize(
    ("what", "absent"),
    [
        (f"{DRIVER} (libcuda) is not installed", True),
        (f"{DRIVER} finds no device", True),
        ("the engine cuda is turned off by NUMBA_DISABLE_CUDA", True),
        (f"{DRIVER} says CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", False),
        ("the package numba-cuda cannot be loaded: no module named cuda", False),
        ("the driver goes up to CUDA 12.4, but numba-cuda is installed for CUDA 13", False),
    ],
)
def test_what_is_not_there_is_no_trouble_and_what_is_broken_is(
    works, monkeypatch, capsys, what, absent
):
    monkeypatch.setattr(gpu.device, "problem", lambda: device.Problem(what, "a way out", absent))
    monkeypatch.setattr(gpu.device, "driver_version", lambda: "12.4")
    monkeypatch.setattr(gpu.device, "toolkit", lambda: "numba-cuda 0.30.4")
    assert gpu.main() == 0
    found = Gpu(**json.loads(capsys.readouterr().out))
    assert (found.missing, found.failure) == ((what, "") if absent else ("", what))
    assert (found.hint, found.works) == ("a way out", False)
    monkeypatch.setattr(gpu, "look", lambda: found._replace(devices=(), failures=(), rates=()))
    ran = run("doctor")
    why = what.removeprefix("the engine cuda ")
    if absent:
        assert f"            cuda    not here   optional; {why}\n" in ran.out
        assert ran.err == ""
    else:
        assert f"            cuda    does not work here   {what}\n" in ran.out
        assert ran.err == (
            f"warning: the cuda engine does not work here: {what} (hint: a way out)\n"
        )


def test_every_gpu_is_tried(monkeypatch, capsys):
    said = {0: "its results are not those of the reference", 1: ""}
    monkeypatch.setattr(gpu.device, "problem", lambda: None)
    monkeypatch.setattr(gpu.device, "devices", lambda: [H200, OTHER])
    monkeypatch.setattr(gpu.device, "driver_version", lambda: "13.0")
    monkeypatch.setattr(gpu, "trouble", lambda engine, number: said[number])
    monkeypatch.setattr(gpu.rates, "kept", lambda number: RATES if number == 0 else None)
    gpu.main()
    found = Gpu(**json.loads(capsys.readouterr().out))
    assert (found.failure, found.failures) == ("", [said[0], ""])
    assert found.rates == [list(RATES), None]
    said[1] = "no memory"
    gpu.main()
    assert json.loads(capsys.readouterr().out)["failure"] == said[0]


def test_variables_that_hide_gpus_are_shown(works, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("NUMBA_DISABLE_CUDA", "1")
    monkeypatch.setenv("NO_COLOR", "")
    found = json.loads(run("doctor", "--json").out)["environment"]
    assert (found["CUDA_VISIBLE_DEVICES"], found["NUMBA_DISABLE_CUDA"]) == ("", "1")
    assert "NO_COLOR" not in found


def test_what_is_kept_for_a_gpu_is_not_stale(works, monkeypatch):
    states = (
        machine.State(Path("/c"), "", 5, 9000, 10),
        machine.State(Path("/c"), "", 3, 4000, 12),
    )
    monkeypatch.setattr(facts.machine, "state", lambda: states[0])
    monkeypatch.setattr(facts.cuda_kept, "state", lambda: states[1])
    monkeypatch.setattr(gpu, "rates_kept", lambda: 1)
    out = run("doctor").out
    assert "compiled    5 units, 9 kB   in /c\n            3 kernels for GPUs, 4 kB\n" in out
    assert "            6 files were made for other versions or processors" in out


def test_warming_measures_the_gpus_and_keeps_what_came_of_it(monkeypatch, capsys):
    kept = {}
    monkeypatch.setattr(warm.device, "simulated", lambda: False)
    monkeypatch.setattr(gpu, "look", lambda: FOUND)
    monkeypatch.setattr(warm.rates, "measure", lambda number: RATES._replace(start=number + 1.0))
    monkeypatch.setattr(warm.rates, "keep", kept.__setitem__)
    assert report.show_rates(warm.measure(), as_json=False) == 0
    told = "55 GB/s there, 52.5 GB/s back, 4,000 GB/s within, 60,000 GFLOP/s"
    assert capsys.readouterr().out == (
        f"GPU 0 measured: {told}, 1.0 s to begin\nGPU 1 measured: {told}, 2.0 s to begin\n"
    )
    assert kept == {0: RATES._replace(start=1.0), 1: RATES._replace(start=2.0)}
    assert report.show_rates(warm.measure(), as_json=True) == 0
    first, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"gpu": 0, **RATES._asdict(), "start": 1.0}


def wrongly(number):
    raise DeviceError("it was measured wrongly", "measure again")


@pytest.mark.parametrize(
    ("found", "said", "status"),
    [
        (FOUND._replace(failures=("wrong", "")), ["GPU 0 not measured: wrong"], 1),
        (Gpu(failure="the driver says no"), ["no GPU measured: the driver says no"], 1),
        (Gpu("no driver", toolkit="numba-cuda"), ["no GPU measured: no driver"], 0),
        (NO_GPU, [], 0),
    ],
)
def test_what_does_not_compute_right_is_not_measured(monkeypatch, capsys, found, said, status):
    monkeypatch.setattr(warm.device, "simulated", lambda: False)
    monkeypatch.setattr(gpu, "look", lambda: found)
    monkeypatch.setattr(warm.rates, "measure", wrongly)
    if len(found.devices) == 2:
        said = [*said, "GPU 1 not measured: it was measured wrongly (hint: measure again)"]
    assert report.show_rates(warm.measure(), as_json=False) == status
    assert capsys.readouterr().out.splitlines() == said
    report.show_rates(warm.measure(), as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["not_measured"] for line in lines] == [text.split(": ", 1)[1] for text in said]


def test_the_simulator_is_not_measured(monkeypatch, capsys):
    monkeypatch.setattr(warm.device, "simulated", lambda: True)
    assert report.show_rates(warm.measure(), as_json=False) == 0
    assert capsys.readouterr().out == "no GPU measured: a simulated GPU is not measured\n"


# ---------------------------------------------------------------- compiled code

# As the presets and the pictures, but fewer: each kind of kernel compiles for a second.
FEW = """
import sys
from convtool import kernels
from convtool.cli import main
from convtool.doctor import warm
few = [e for e in kernels.entries() if e.path.stem in ("sobel", "gaussian", "sharpen", "bilinear")]
kernels.entries = lambda: few
del warm.PICTURES["rgba.png"], warm.PICTURES["array.npy"]
"""


def write_photographs(folder, samples):
    """Write a grey and a coloured picture that are large enough for the cpu engine."""
    from PIL import Image

    folder.mkdir()
    with Image.open(samples / "astronaut.png") as image:
        for mode, name in (("RGB", "colour.jpg"), ("L", "grey.png")):
            image.convert(mode).resize((1500, 1000)).save(folder / name)
    return sorted(map(str, folder.iterdir()))


def test_after_warming_nothing_is_compiled(tmp_path, samples):
    cache, folder = tmp_path / "cache", tmp_path / "cache" / "convtool" / "machine-code"
    done = in_a_process("doctor", "--warm", "--json", cache=cache, code=FEW)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[0])
    units = sorted(folder.iterdir())
    assert (said["folder"], said["compiled"]) == (str(folder), len(units))
    assert len(units) > 3
    assert (said["there"], said["whole"]) == (0, True)

    again = in_a_process("doctor", "--warm", cache=cache, code=FEW)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("0 units compiled in ")
    assert f", {len(units)} there before; kept in {folder}" in again.stdout

    photographs = write_photographs(tmp_path / "photographs", samples)
    for line in (
        *("apply -k sobel", "apply -k gaussian:sigma=2", "apply -k sharpen --stride 2"),
        "transpose -k bilinear --stride 2 --border edge",
    ):
        words = [*line.split(), "--engine", "cpu", "-o", f"{tmp_path}/out/"]
        done = in_a_process(*words, *photographs, cache=cache)
        assert done.returncode == 0, done.stderr
        assert "engine      cpu" in done.stdout
        assert "compiling" not in done.stderr, line
    assert sorted(folder.iterdir()) == units


def test_warming_wants_a_cache(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    done = in_a_process("doctor", "--warm", cache=blocked)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"error: compiled code cannot be kept in {blocked}/convtool/machine-code: "
    )
    assert "hint: make it a folder that you alone can write to" in done.stderr


def test_clearing_removes_our_own_files_alone(tmp_path):
    folder = tmp_path / "convtool" / "machine-code"
    folder.mkdir(parents=True, mode=0o700)
    for name in ("walk.1234.unit", "store.5678.unit", "notes.txt"):
        (folder / name).touch()
    done = in_a_process("doctor", "--clear", cache=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"2 files removed from {folder}\n")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    done = in_a_process("doctor", "--clear", "--json", cache=tmp_path)
    assert json.loads(done.stdout) == {"folder": str(folder), "removed": 0}


def test_a_folder_that_cannot_be_emptied(monkeypatch):
    def refuse():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(warm.machine, "clear", refuse)
    ran = run("doctor", "--clear")
    assert (ran.code, ran.out) == (1, "")
    assert f"error: {machine.folder()} cannot be emptied: Permission denied" in ran.err
    assert "hint: see whom the folder belongs to" in ran.err


def test_warming_that_is_interrupted(capsys):
    def events():
        yield object()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report.follow_warming(events(), 3, as_json=False)
    assert "0 units compiled in 0.0 s, not to the end, " in capsys.readouterr().out


def test_a_picture_that_fails_while_warming(capsys):
    failed = Failed(Source("rgb.png"), ImageError("no space left", "make some"))
    assert report.follow_warming([failed], 1, as_json=False) == 1
    captured = capsys.readouterr()
    assert captured.err == "error: rgb.png: no space left (hint: make some)\n"
    assert "not to the end" not in captured.out


def test_every_preset_is_warmed_in_every_way(tmp_path):
    from convtool import kernels

    errands = warm.prepare(tmp_path)
    done = {
        (
            errand.request.spec.op,
            errand.request.kernel.name,
            errand.request.spec.stride,
            Path(name).name,
        )
        for errand in errands
        for name in errand.names
    }
    presets = [entry.path.stem for entry in kernels.entries()]
    ways = [("conv2d", preset, (stride, stride)) for preset in presets for stride in (1, 2)]
    ways.append(("conv2d_transpose", "bilinear", (2, 2)))
    assert done == {
        (*way, name) for way in ways for name in ("grey.png", "rgb.png", "rgba.png", "array.npy")
    }
    assert sum(len(errand.names) for errand in errands) == len(done)
