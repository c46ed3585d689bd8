"""All that wants an NVIDIA GPU, by one command: the tests of its engine, then the benchmarks.

    python benchmarks/gpu.py [-o PAGE.md] [--work FOLDER] [--device N]

What is needed is a clone and, in the interpreter that runs this, ``pip install -e '.[cuda,test]'``;
CuPy and PyTorch are compared with where they are installed too. Every step is shown while it runs,
and one that fails does not stop the others. What came of them is written into a page of Markdown;
nothing else is written outside the work folder. The exit status is 0 where every step ended well,
whatever the figures; 1 where one failed, or nothing could be begun; 130 after Ctrl-C.

With --tiny everything runs on images of a few pixels in Numba's simulator, without a GPU: that
tries this script, and its figures mean nothing.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from time import perf_counter, strftime
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent

# What has to be importable, and what brings it.
NEEDED = ("numpy", "numba", "numba_cuda", "PIL", "rich", "typer", "pytest", "hypothesis")
INSTALL = "python -m pip install -e '.[cuda,test]'"
VERSIONS = (
    *("convtool", "numpy", "numba", "llvmlite", "numba-cuda", "cuda-bindings", "cuda-core"),
    *("nvidia-nvvm", "nvidia-nvjitlink", "cupy-cuda12x", "cupy-cuda13x", "torch"),
)

# How near a filter of an image has to come to a copy of as many bytes.
SHARE = 0.8

# The end of a step's output that goes into the page, in lines.
TAIL = 60

# Says in a process of its own why the device cannot be used; nothing where it can.
PROBLEM = """
import sys
from convtool.engine.cuda import device
found = device.problem(int(sys.argv[1]))
print("" if found is None else found.what + chr(10) + found.hint)
"""


class Step(NamedTuple):
    """A command and what it is for."""

    name: str
    command: list[str]


class Outcome(NamedTuple):
    """What came of a step: its exit status, its output, and how long it took in seconds."""

    step: Step
    status: int
    text: str
    seconds: float


class Bar(NamedTuple):
    """Something to be reached, in one case."""

    case: str
    what: str
    figure: str
    verdict: str


def main() -> int:
    options = arguments()
    missing = [name for name in NEEDED if util.find_spec(name) is None]
    if missing:
        print(f"error: not installed: {', '.join(missing)}\n\nhint: {INSTALL}", file=sys.stderr)
        return 1
    work = options.work.resolve()
    variables = environment(work, tiny=options.tiny)
    if problem := trouble(options.device, variables):
        print(f"error: {problem[0]}\n\nhint: {problem[1]}", file=sys.stderr)
        return 1
    variables |= alone(options.device)
    Path(variables["TMPDIR"]).mkdir(parents=True, exist_ok=True)
    # A trial leaves the page of a real run alone.
    output = options.output or (work if options.tiny else ROOT / "benchmarks") / "gpu.md"
    found = work / "bench.json"
    found.unlink(missing_ok=True)
    outcomes, interrupted = list[Outcome](), False
    try:
        for step in steps(work, found, tiny=options.tiny):
            outcomes.append(run(step, variables))
    except KeyboardInterrupt:
        interrupted = True
    measured = load(found)
    output.write_text(page(outcomes, measured, tiny=options.tiny), encoding="utf-8")
    failed = [outcome.step.name for outcome in outcomes if outcome.status]
    print(f"\n== {output} says what came of it; everything else is in {work}")
    print(f"== failed: {', '.join(failed)}" if failed else "== every step ended well")
    return 130 if interrupted else int(bool(failed) or measured is None)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, help="benchmarks/gpu.md")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gpu", help="build/gpu")
    parser.add_argument("--device", type=int, default=0, help="by doctor's numbers; 0")
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args()


def environment(work: Path, *, tiny: bool) -> dict[str, str]:
    """Return the variables of every step: whatever is kept goes into the work folder."""
    variables = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    variables |= {"NUMBA_ENABLE_CUDASIM": "1"} if tiny else {"CONVTOOL_TEST_GPU": "1"}
    return variables | {
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "TMPDIR": str(work / "tmp"),
        "XDG_CACHE_HOME": str(work / "cache"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(work / "hypothesis"),
        "CUDA_CACHE_PATH": str(work / "cuda"),
        "CUPY_CACHE_DIR": str(work / "cupy"),
    }


def trouble(device: int, variables: dict[str, str]) -> list[str]:
    """Return why the device cannot be used and what to do, or nothing."""
    done = subprocess.run(
        [sys.executable, "-c", PROBLEM, str(device)],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return [f"the engine cuda cannot be loaded:\n{done.stderr}", INSTALL]
    return done.stdout.strip().splitlines()


def alone(device: int) -> dict[str, str]:
    """Return the variables with which that GPU is the only one, and so number 0, for every step.

    Tests and peers take the first one they see; what is visible already is counted through.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = visible.split(",") if visible else []
    return {"CUDA_VISIBLE_DEVICES": seen[device].strip() if device < len(seen) else str(device)}


def steps(work: Path, found: Path, *, tiny: bool) -> Iterator[Step]:
    python = sys.executable
    yield Step("convtool doctor", [python, "-m", "convtool", "doctor"])
    if not tiny and shutil.which("nvidia-smi"):
        query = "index,name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.mem"
        yield Step("nvidia-smi", ["nvidia-smi", f"--query-gpu={query}", "--format=csv"])
    tests = "tests/engine/cuda/test_rates.py" if tiny else "tests/engine/cuda"
    options = ["-q", "-rs", "-p", "no:cacheprovider", f"--basetemp={work / 'tests'}"]
    yield Step("tests", [python, "-m", "pytest", *options, tests])
    cases = ["--size", "12x10", "--dtype", "uint8", "--quick"] if tiny else []
    bench = ["bench", "--engine", "cuda", "--group", "gpu", *cases]
    yield Step("benchmarks", [python, "-m", "convtool", *bench, "--json", str(found)])


def run(step: Step, variables: dict[str, str]) -> Outcome:
    """Run a step, and show its output while it comes."""
    print(f"\n== {step.name}\n$ {shlex.join(step.command)}", flush=True)
    lines, started = list[str](), perf_counter()
    try:
        with subprocess.Popen(
            step.command,
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        status = process.returncode
    except OSError as error:
        status = 127
        lines.append(f"{error}\n")
        print(error)
    seconds = perf_counter() - started
    print(f"== {step.name}: {said(status)}, {seconds:.1f} s")
    return Outcome(step, status, "".join(lines), seconds)


def said(status: int) -> str:
    return "well" if status == 0 else f"failed with status {status}"


def load(found: Path) -> dict[str, Any] | None:
    """Read what the benchmarks wrote, if they did."""
    try:
        document: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document


def page(outcomes: list[Outcome], measured: dict[str, Any] | None, *, tiny: bool) -> str:
    """Return the page."""
    parts = ["# On a GPU", "", f"`python benchmarks/gpu.py`, {strftime('%Y-%m-%d %H:%M')}.", ""]
    if tiny:
        parts += ["**A trial in the simulator, of a few pixels: no figure means anything.**", ""]
    parts += [f"- {name}: {text}" for name, text in surroundings(measured)]
    parts += ["", "## Steps", "", "| step | ended | seconds |", "|---|---|---|"]
    parts += [
        f"| {each.step.name} | {said(each.status)} | {each.seconds:.1f} |" for each in outcomes
    ]
    if measured is None:
        parts += ["", "No benchmarks were made."]
    else:
        parts += ["", *results(measured)]
    for each in outcomes:
        lines = each.text.splitlines()
        left = [f"… {len(lines) - TAIL} lines before"] if len(lines) > TAIL else []
        parts += [
            "",
            f"## {each.step.name}",
            "",
            "```console",
            f"$ {shlex.join(each.step.command)}",
        ]
        parts += [*left, *lines[-TAIL:], "```"]
    return "\n".join(parts) + "\n"


def surroundings(measured: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if measured is not None:
        device = measured["device"]
        yield (
            "device",
            f"{device['name']}, compute capability {device['compute']}, "
            f"{device['multiprocessors']} multiprocessors, {device['memory'] / 1e9:.1f} GB",
        )
        yield "driver", f"for CUDA {device['driver'] or 'unknown'}"
        yield "toolkit", device["toolkit"]
        machine = measured["machine"]
        yield "processor", f"{machine['processor']}, {machine['cores']} cores"
        peers = ", ".join(f"{name} {version}" for name, version in machine["peers"].items())
        yield "compared with", peers or "nothing: neither CuPy nor PyTorch is there"
    yield "system", f"{platform.platform()}, Python {platform.python_version()}"
    yield "packages", ", ".join(f"{name} {version}" for name, version in packages())


def packages() -> Iterator[tuple[str, str]]:
    for name in VERSIONS:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def results(measured: dict[str, Any]) -> Iterator[str]:
    """Yield what was measured: floors, what was to be reached, every figure."""
    floors = measured["floors"]
    yield from ("## Floors", "", "| | |", "|---|---|")
    yield f"| copying on the device, read + written | {floors['copy_gb_per_s']:.4g} GB/s |"
    multiply = f"{floors['multiply_add_gflops']:.5g} GFLOP/s"
    yield f"| multiply-adds, float32, two operations each | {multiply} |"
    yield f"| to the device | {floors['up_gb_per_s']:.3g} GB/s |"
    yield f"| from the device | {floors['down_gb_per_s']:.3g} GB/s |"
    yield f"| loading the engine | {floors['start_seconds']:.3g} s |"
    yield from ("", "## What was to be reached", "")
    yield from ("| case | what | measured | reached |", "|---|---|---|---|")
    for case in measured["cases"]:
        for bar in bars(case):
            yield f"| {bar.case} | {bar.what} | {bar.figure} | {bar.verdict} |"
    for left in measured["left_out"]:
        yield f"| {left['name']} | a result | {cell(left['reason'])} | no |"
    yield from ("", "## Every figure", "")
    yield "Milliseconds, of the device but for *whole*; the ratio is a library's time over ours."
    yield ""
    yield "| case | who | median | least | calls | floor | of the floor | whole | ratio | results |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for case in measured["cases"]:
        yield from figures(case)


def bars(case: dict[str, Any]) -> Iterator[Bar]:
    """Say what was to be reached in a case, and what was."""
    name, taps = case["name"], case["kernel"].split()[-1]
    filters = case["op"] == "conv2d" and taps.count("x") == 1
    if filters:
        share = case["share_of_floor"]
        reached = "yes" if share >= SHARE else "no"
        yield Bar(name, f"{SHARE:.0%} of the copy bandwidth", f"{share:.1%}", reached)
        yield ahead(case, "CuPy", "ahead of CuPy")
        if case["dtype"] == "float32":
            yield ahead(case, "PyTorch", "ahead of PyTorch")
        return
    bar = ahead(case, "PyTorch", "the time of cuDNN (PyTorch, tf32 off) over ours")
    yield bar._replace(verdict="reported" if bar.verdict in ("yes", "no") else bar.verdict)


def ahead(case: dict[str, Any], library: str, what: str) -> Bar:
    """Compare with the quickest way of a library that gives the same results."""
    ways = {name: way for name, way in case["peers"].items() if name.startswith(library)}
    ratios = [way["ratio"] for way in ways.values() if way["agrees"] and not way["approximate"]]
    if ratios:
        least = min(ratios)
        return Bar(case["name"], what, f"{least:.2f}", "yes" if least >= 1 else "no")
    failed = [cell(why) for name, why in case["failed"].items() if name.startswith(library)]
    why = "other results" if ways else failed[0] if failed else f"{library} took no part"
    return Bar(case["name"], what, why, "not measured")


def figures(case: dict[str, Any]) -> Iterator[str]:
    ours, floor = case["ours"], case["floor_seconds"] * 1e3
    yield (
        f"| {case['name']} | ours, {ours['method']} | {times(ours)} | {floor:.4g} "
        f"| {case['share_of_floor']:.1%} | {case['whole']['seconds'] * 1e3:.4g} | | |"
    )
    for name, way in case["peers"].items():
        # Nothing stands for infinity.
        apart = "far" if way["difference"] is None else f"{way['difference']:.3g}"
        same = "the same" if way["agrees"] else f"{apart} apart"
        yield f"| | {name} | {times(way)} | | | | {way['ratio']:.3g} | {same} |"
    for name, why in case["failed"].items():
        yield f"| | {name} | failed: {cell(why)} | | | | | | | |"


def times(timing: dict[str, Any]) -> str:
    return f"{timing['seconds'] * 1e3:.4g} | {timing['best'] * 1e3:.4g} | {timing['calls']}"


def cell(text: str) -> str:
    """Return text that can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
