"""The cuda engine as the program offers it: in Numba's simulator, or on the GPU where tests are
told to use it; and where there is none.
"""

import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from convtool import engine
from convtool.batch import stacked
from convtool.engine.cuda.device import INSTALL
from convtool.terms import EngineName
from program import SHARPEN, contents, environment, noise, pixels_of, program, save
from shell import run

# In the simulator every thread of the device is one of Python's: pictures are tiny.
SIDE = 16

needs_package = pytest.mark.skipif(
    util.find_spec("numba_cuda") is None, reason="the extra convtool[cuda] is not installed"
)


def simulated(*arguments):
    """Run a command in the simulator, whatever there is; see that it ends well."""
    done = program(*arguments, env=environment(NUMBA_ENABLE_CUDASIM="1"))
    assert (done.code, done.errors) == (0, []), done.err
    return done


def on_cpu(*arguments):
    """Run the same with the cpu engine, for which this process will do."""
    ran = run(*arguments, "--engine", "cpu")
    assert ran.code == 0, ran.err
    return ran


def on_gpu(*arguments):
    """Run the same with the cuda engine."""
    done = program(*arguments, "--engine", "cuda")
    assert (done.code, done.errors) == (0, []), done.err
    return done


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("a.png", noise(SIDE, SIDE, 3))
    save("b.png", noise(SIDE, SIDE + 3, seed=1))
    save("alpha.png", noise(SIDE, SIDE, 4, seed=2))
    save("deep.npy", noise(1, SIDE, SIDE, 2, seed=3).astype(np.float32))
    save("across.npy", noise(3, 3, 3, 4, seed=4).astype(np.float32) % 8)
    save("back.npy", noise(4, 4, 2, 3, seed=5).astype(np.float32) % 8)
    return tmp_path


# ---------------------------------------------------------------- what it computes


@needs_package
@pytest.mark.parametrize(
    "words",
    [
        ["apply", *SHARPEN, "a.png", "b.png", "alpha.png", "deep.npy"],
        ["apply", "-k", "sobel", "--stride", "2", "--border", "edge", "a.png"],
        ["apply", "-k", "box:size=5", "--method", "separable", "--range", "signed", "a.png"],
        ["apply", "-k", "across.npy", "--activation", "relu", "-o", "y.npy", "a.png"],
        ["transpose", "-k", "2x2: 1,2 3,4", "--stride", "2", "a.png", "deep.npy"],
        ["transpose", "-k", "back.npy", "--stride", "2", "-o", "y.npy", "a.png"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_results_are_those_of_the_cpu_engine_byte_by_byte(folder, words):
    sets = []
    given = set(contents(folder))
    for run_it in (on_cpu, on_gpu):
        run_it(*words)
        made = {name: data for name, data in contents(folder).items() if name not in given}
        assert made
        for name in made:
            (folder / name).unlink()
        sets.append(made)
    assert sets[0] == sets[1]


@needs_package
def test_the_report_names_the_engine_and_verify_finds_no_difference(folder):
    done = simulated("apply", *SHARPEN, "--engine", "cuda", "-v", "--verify", "a.png")
    assert "engine      cuda, direct   as asked\n" in done.out
    assert "            * cuda, direct   not measured\n" in done.out
    assert "verified    largest error 0 of values up to " in done.out
    assert ", every stored value equal\n" in done.out


@needs_package
def test_the_record_for_programs(folder):
    options = ("--engine", "cuda", "--json", "-v")
    [record] = simulated("apply", *SHARPEN, *options, "a.png").records
    assert (record["engine"], record["method"], record["device"]) == ("cuda", "direct", 0)
    times = {(way["engine"], way["method"]): way["seconds"] for way in record["estimates"]}
    assert times["cuda", "direct"] is None
    assert times["cpu", "direct"] > 0
    assert "device" not in json.loads(on_cpu("apply", *SHARPEN, "--json", "a.png").out)


@needs_package
def test_several_files_at_a_time(folder):
    for number in range(5):
        save(f"{number}.png", noise(9, 11, seed=number))
    names = [f"{number}.png" for number in range(5)]
    on_gpu("apply", *SHARPEN, "-j", "4", "-o", "cuda/", *names)
    on_cpu("apply", *SHARPEN, "-o", "cpu/", *names)
    assert contents(folder / "cuda") == contents(folder / "cpu")
    assert len(contents(folder / "cuda")) == len(names)


@needs_package
def test_a_stack_runs_on_the_gpu_as_a_whole(folder):
    layers = ("--layer", "conv kernel=across.npy relu", "--layer", "pool 2")
    layers += ("--layer", 'conv kernel="3x3: 1,2,1 0,0,0 -1,-2,-1" valid')
    words = ("apply", *layers, "--show", "3", "a.png", "-o")
    [record] = on_gpu(*words, "cuda.npy", "--json").records
    assert [layer["engine"] for layer in record["layers"]] == ["cuda", None, "cuda"]
    on_cpu(*words, "cpu.npy")
    np.testing.assert_array_equal(pixels_of("cuda.npy"), pixels_of("cpu.npy"))


@needs_package
def test_python_takes_the_engine_by_its_name():
    code = (
        "import numpy as np\n"
        "from convtool import conv2d, conv2d_input_gradient, conv2d_transpose\n"
        "x = np.random.default_rng(0).integers(0, 256, (1, 9, 8, 3))\n"
        "k = np.random.default_rng(1).integers(-9, 10, (3, 3))\n"
        "for call in (\n"
        "    lambda **o: conv2d(x, k, stride=2, dtype='uint8', bias=3, **o),\n"
        "    lambda **o: conv2d_transpose(x, k, stride=2, border='edge', **o),\n"
        "    lambda **o: conv2d_input_gradient(x, k, x.shape, border='wrap', **o),\n"
        "):\n"
        "    np.testing.assert_array_equal(call(engine='cuda'), call(engine='cpu'))\n"
        "    assert call(engine='cuda').dtype == call(engine='cpu').dtype\n"
        "try:\n"
        "    conv2d(x, k, engine='cuda', device=1)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(NUMBA_ENABLE_CUDASIM="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("there is no GPU 1: the only one is 0 (hint: leave --device out)\n")


@needs_package
def test_auto_never_takes_the_simulator(folder):
    assert "engine      numpy" in simulated("apply", *SHARPEN, "a.png").out


# ---------------------------------------------------------------- what auto is told


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (["-k", "blur", "a.png"], 1),
        (["-k", "sobel", "a.png"], 1 / 2),  # two filters make one magnitude
        (["-k", "sobel", "--combine", "each", "-o", "{filter}.png", "a.png"], 1),
        (["-k", "blur", "--depth", "16", "b.png"], 2),
        (["-k", "blur", "-o", "y.npy", "a.png"], 4),
        (["-k", "blur", "--linear", "a.png"], 4),
        # What is not finished by the engine comes back as float32.
        (["-k", "sobel", "--range", "stretch", "a.png"], 4),
        (["-k", "blur", "alpha.png"], 4),
    ],
    ids=str,
)
def test_how_many_bytes_come_back_for_each_number(folder, monkeypatch, words, stored):
    told = []
    original = engine.choose

    def spy(*arguments, **options):
        told.append((options["stored"], options["device"]))
        return original(*arguments, **options)

    monkeypatch.setattr(engine, "choose", spy)
    ran = run("apply", *words, "--device", "5", "-n")
    assert ran.code == 0, ran.err
    assert told == [(stored, 5)]


def test_a_stack_has_one_engine():
    numpy, cpu, cuda = EngineName.NUMPY, EngineName.CPU, EngineName.CUDA
    for each, together in (
        (set(), numpy),
        ({numpy}, numpy),
        ({numpy, cpu}, cpu),
        ({cpu, cuda}, cpu),
        ({cuda}, cuda),
    ):
        assert stacked._one_engine(each) is together


# ---------------------------------------------------------------- no GPU


def refused(*arguments, code=1):
    """Run a command where no GPU can be seen, and see that it did nothing."""
    before = contents(Path())
    hidden = environment(NUMBA_ENABLE_CUDASIM="0", CUDA_VISIBLE_DEVICES="-1")
    done = program(*arguments, env=hidden)
    assert (done.code, done.out) == (code, "")
    assert contents(Path()) == before
    message, _, hint = done.err.partition("\n\nhint: ")
    return message, hint.rstrip("\n")


@needs_package
@pytest.mark.parametrize(
    "command", [["apply", "--json"], ["transpose", "-n", "--device", "1"]], ids=" ".join
)
def test_no_driver_or_no_device_is_one_line(folder, command):
    # The file is not even looked for.
    message, hint = refused(*command, *SHARPEN, "--engine", "cuda", "missing.png")
    assert message.startswith("error: the engine cuda needs a GPU of NVIDIA and its driver, but ")
    assert message.endswith(("the driver (libcuda) is not installed", "the driver finds no device"))
    assert hint == "install NVIDIA's driver, 580 or later, or leave --engine out"


@needs_package
def test_a_stack_without_a_gpu_says_so_before_it_is_read(folder):
    message, _ = refused("apply", "--stack", "missing.toml", "--engine", "cuda", "a.png")
    assert message.startswith("error: the engine cuda needs a GPU of NVIDIA and its driver, but ")


def test_a_package_that_is_missing_is_one_line(folder):
    code = (
        "import sys\n"
        "sys.modules['numba_cuda'] = None  # as if it were not installed\n"
        "from convtool.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ("apply", *SHARPEN, "--engine", "cuda", "missing.png")
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: the engine cuda needs the package numba-cuda, which is missing\n\n"
        f"hint: {INSTALL}\n"
    )


@needs_package
def test_a_number_that_no_gpu_has(folder):
    words = ("apply", *SHARPEN, "--engine", "cuda", "--device", "2", "a.png")
    done = program(*words, env=environment(NUMBA_ENABLE_CUDASIM="1"))
    assert done.code == 1
    assert done.err == ("error: there is no GPU 2: the only one is 0\n\nhint: leave --device out\n")


@pytest.mark.parametrize("name", ["gpu", "GPU", "nvidia"])
def test_what_people_call_it_is_understood(folder, name):
    ran = run("apply", *SHARPEN, "--engine", name, "a.png")
    assert ran.code == 2
    assert ran.err == (
        f"error: --engine must be one of auto, numpy, cpu, cuda, not {name!r}\n\n"
        "hint: did you mean cuda?\n"
    )


@pytest.mark.parametrize("name", ["numpy", "cpu"])
def test_device_is_for_gpus(folder, name):
    ran = run("apply", *SHARPEN, "--engine", name, "--device", "1", "a.png")
    assert ran.code == 2
    assert ran.err == (
        f"error: --device 1 chooses a GPU, but the engine {name} uses none\n\n"
        "hint: leave --device out, or use --engine cuda\n"
    )
    assert run("transpose", *SHARPEN, "--device", "-1", "a.png").code == 2
    # With auto it says which GPU would be taken.
    assert run("apply", *SHARPEN, "--device", "1", "a.png").code == 0


# ---------------------------------------------------------------- doctor


@needs_package
def test_doctor_where_there_is_no_gpu():
    hidden = environment(NUMBA_ENABLE_CUDASIM="0", CUDA_VISIBLE_DEVICES="-1")
    done = program("doctor", "--json", env=hidden)
    assert done.code == 0
    [record] = done.records
    assert not any("cuda" in problem["message"] for problem in record["problems"])
    cuda = record["engines"]["cuda"]
    assert (cuda["works"], cuda["devices"]) == (False, [])
    assert cuda["problem"].startswith("the engine cuda needs a GPU of NVIDIA and its driver")
    assert "numba-cuda " in cuda["toolkit"]


@needs_package
def test_doctor_tries_the_engine_where_there_is_one():
    done = simulated("doctor")
    assert "            cuda    works   numba-cuda " in done.out
    assert "\ngpu         0  simulated   1.0 of 1.0 GiB are free" in done.out
    assert "               simulated: for tests; --engine auto leaves it alone\n" in done.out
    assert "NUMBA_ENABLE_CUDASIM=1" in done.out.splitlines()[-1]
