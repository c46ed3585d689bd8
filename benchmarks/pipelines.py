"""Whole processes side by side: one picture, and a folder of photographs.

    python benchmarks/pipelines.py [--rounds N] [--files N] [--convtool PATH] [--help]

Sobel's horizontal derivative by convtool, by libvips (``vips conv``, and pyvips where it is
installed) and by ImageMagick (``convert``, ``mogrify``): the time from the start of a process to
its end, files read and written. Pictures are made here: a sample scaled up, with noise, so that
they compress as photographs do. Every round runs each program once, so that a noisy machine is
noisy for all of them; a first round fills caches and is not counted. What is printed are tables in
Markdown. A program that is missing is left out.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image

SAMPLE = Path(__file__).parent.parent / "sample_images" / "astronaut.png"
MASK = "sobel.mat"
SOBEL = "3 3 1 0\n-1 0 1\n-2 0 2\n-1 0 1\n"  # as vips reads it: width, height, scale, offset
MORPHOLOGY = ("-morphology", "Convolve", "Sobel")
NOISE = 4  # standard deviation, of 255
AS_CAMERAS_DO = {"quality": 92, "subsampling": "4:2:0"}
DIFFERENT = 20  # photographs of the folder; the others are further names of these
SHIFT = 64  # the most that they are moved against each other, in the sample's pixels
FEW = 50  # files of the smaller batch whose memory is measured
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# Python programs that are timed: threads, one more word, the folder of outputs, the inputs.
PILLOW = """
import sys
from concurrent.futures import ThreadPoolExecutor
from os.path import basename, join
from PIL import Image

threads, what, folder, *names = sys.argv[1:]
options = {} if what == "default" else {"quality": "keep"}
result = None
if what not in ("default", "keep"):  # a result of convtool, which is written for every photograph
    result = Image.open(what)
    result.load()

def copy(name):
    with Image.open(name) as image:
        image.load()
        (result or image).save(join(folder, basename(name)), **options)

with ThreadPoolExecutor(int(threads)) as pool:
    list(pool.map(copy, names))
"""
PYVIPS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from os.path import basename, join
import pyvips

threads, mask, folder, *names = sys.argv[1:]
mask = pyvips.Image.matrixload(mask)

def filtered(name):
    image = pyvips.Image.new_from_file(name, access="sequential")
    image.conv(mask).write_to_file(join(folder, basename(name)))

with ThreadPoolExecutor(int(threads)) as pool:
    list(pool.map(filtered, names))
"""
# A child's peak counts what its parent held when it was forked, so a small process stands between.
MEMORY = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


class Programs(NamedTuple):
    """Where the programs are; an empty name for one that is missing."""

    convtool: str
    vips: str
    convert: str
    mogrify: str
    pyvips: str  # an interpreter that has it


class Contender(NamedTuple):
    """One way to filter the photographs of a folder, which is the working folder meanwhile."""

    name: str
    outputs: str  # a folder
    files: list[str]
    command: list[str]
    listed: bool = False  # the files are named on standard input, not in the command
    variables: Mapping[str, str] = {}

    def run(self, folder: Path) -> None:
        names = "\n".join(Path(file).name for file in self.files) if self.listed else ""
        call(self.command, folder, names, **self.variables)


def main() -> None:
    wanted = arguments()
    programs = Programs(
        wanted.convtool,
        first_of("vips"),
        # `convert` may be something else that is first on the path.
        first_of("convert-im6.q16", "/usr/bin/convert", "convert"),
        first_of("mogrify-im6.q16", "/usr/bin/mogrify", "mogrify"),
        wanted.pyvips_python if has_pyvips(wanted.pyvips_python) else "",
    )
    print_versions(programs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / MASK).write_text(SOBEL)
        if "single" in wanted.part:
            single(folder, programs, wanted.rounds)
        if "batch" in wanted.part:
            batch(folder, programs, wanted)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=str(__doc__).partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    beside = str(Path(sys.executable).with_name("convtool"))
    parts = ["single", "batch"]
    add = parser.add_argument
    add("--part", nargs="+", choices=parts, default=parts, help="one picture, a folder of them")
    add("--rounds", type=int, default=7, metavar="N", help="with one picture")
    add("--batch-rounds", type=int, default=3, metavar="N", help="with a folder")
    add("--files", type=int, default=500, metavar="N", help="photographs in the folder")
    add("--peer-files", type=int, default=60, metavar="N", help="of them for slow programs")
    add("--convtool", type=os.path.abspath, default=beside, metavar="PATH", help="as installed")
    add("--pyvips-python", default=sys.executable, metavar="PATH", help="that can import pyvips")
    return parser.parse_args()


# Pictures


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    """Scale the sample up, another part of it for every seed, and add a sensor's noise."""
    random = np.random.default_rng(seed)
    with Image.open(SAMPLE) as sample:
        left, top = (int(shift) for shift in random.integers(0, SHIFT, 2))
        box = (left, top, left + sample.width - SHIFT, top + sample.height - SHIFT)
        large = sample.convert("RGB").resize((width, height), Image.Resampling.LANCZOS, box)
    noisy = np.asarray(large) + NOISE * random.standard_normal((height, width, 3), np.float32)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def photographs(folder: Path, count: int) -> list[str]:
    """Write so many JPEG files of two megapixels; return their paths from the folder above."""
    folder.mkdir()
    paths = [folder / f"{number:04}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number < DIFFERENT:
            photograph(1250, 1600, seed=number).save(path, **AS_CAMERAS_DO)
        else:
            os.link(paths[number % DIFFERENT], path)
    return [f"{folder.name}/{path.name}" for path in paths]


# Processes


def first_of(*names: str) -> str:
    """Find the first of some programs that is there."""
    return next((path for path in map(shutil.which, names) if path), "")


def environment(**more: str) -> dict[str, str]:
    """Return the variables of somebody who has installed the programs."""
    # Compiled modules are used as after any installation, and no source tree goes before it.
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    return {k: v for k, v in os.environ.items() if k not in unwanted} | more


def call(command: Sequence[str], folder: Path, names: str = "", **variables: str) -> None:
    """Run a command in a folder to its end, `names` on its standard input."""
    subprocess.run(
        command,
        check=True,
        cwd=folder,
        input=names.encode(),
        stdout=subprocess.DEVNULL,
        env=environment(**variables),
    )


def output_of(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=folder, env=environment()
    )
    return done.stdout


def has_pyvips(interpreter: str) -> bool:
    command = [interpreter, "-c", "import pyvips"]
    return subprocess.run(command, capture_output=True, env=environment()).returncode == 0


def timed(run: Callable[[], object]) -> float:
    started = perf_counter()
    run()
    return perf_counter() - started


def interleaved(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds that every run took, one a round."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            seconds = timed(run)
            if number:  # the first round fills caches
                taken[name].append(seconds)
    return taken


def filtering(programs: Programs, output: str) -> list[str]:
    return [programs.convtool, "apply", "-q", "-k", "sobel:filter=x", "-o", output]


# One picture


def single(folder: Path, programs: Programs, rounds: int) -> None:
    """Compare the programs on a small picture and on two large ones."""
    small, jpeg, png = folder / "small.png", folder / "large.jpg", folder / "large.png"
    shutil.copy(SAMPLE, small)
    large = photograph(3000, 4000)
    large.save(jpeg, **AS_CAMERAS_DO)
    large.save(png)
    print(f"\n## One picture, whole processes; rounds: {rounds}")
    for title, path in (
        ("PNG, 512×512", small),
        ("JPEG, 4000×3000", jpeg),
        ("PNG, 4000×3000", png),
    ):
        print_single(title, path, programs, rounds)


def print_single(title: str, path: Path, programs: Programs, rounds: int) -> None:
    source, folder = path.name, path.parent
    outputs = {name: f"{name}{path.suffix}" for name in ("vips", "convert", "convtool")}
    commands = {
        "vips": [programs.vips, "conv", source, outputs["vips"], MASK],
        "convert": [programs.convert, source, *MORPHOLOGY, outputs["convert"]],
        "convtool": [*filtering(programs, outputs["convtool"]), source],
    }
    runs = {name: partial(call, line, folder) for name, line in commands.items() if line[0]}
    taken = interleaved(runs, rounds)
    vips = statistics.median(taken.get("vips", [float("nan")]))
    print_head(f"{title}, {size_text(path)}", "median", "least", "of vips' time", "written")
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        print_row(
            f"`{name}`",
            f"{middle * 1e3:.0f} ms",
            f"{min(seconds) * 1e3:.0f} ms",
            f"{middle / vips:.2f}",
            size_text(folder / outputs[name]),
        )


# A folder


def batch(folder: Path, programs: Programs, wanted: argparse.Namespace) -> None:
    """Compare ways to filter a folder of photographs."""
    files = photographs(folder / "in", wanted.files)
    few = files[: wanted.peer_files]
    competing = contenders(folder, programs, files, few)
    runs = {one.name: partial(one.run, folder) for one in competing}
    taken = interleaved(runs, wanted.batch_rounds)
    each = {one.name: statistics.median(taken[one.name]) / len(one.files) for one in competing}
    floor = each[competing[-1].name]
    print(f"\n## {len(files)} JPEG photographs, 1600×1250; rounds: {wanted.batch_rounds}\n")
    print(
        f"{DIFFERENT} different ones of {size_text(folder / files[0])} or so, {CORES} cores; "
        "medians. The floor is Pillow\nopening and saving the same files, nothing done in between."
    )
    print_head("", "images/s", "of convtool's time", "share of the floor", "written", "files")
    for one in competing:
        seconds = each[one.name]
        print_row(
            one.name,
            f"{1 / seconds:.1f}",
            f"{seconds / each['`convtool apply`']:.2f}",
            f"{floor / seconds:.0%}",
            size_text(folder / one.outputs / Path(files[0]).name),
            str(len(one.files)),
        )
    print_memory(folder, programs, files)


def contenders(
    folder: Path, programs: Programs, files: list[str], few: list[str]
) -> list[Contender]:
    """Return all that can run here, the floor at the end; their folders are made.

    A process for each file takes long whatever there are of them, so that `few` will do.
    """
    xargs = ["xargs", "-P", str(CORES), "-I{}"]
    convtool = [*filtering(programs, "convtool/{stem}{ext}"), *files]
    found = [Contender("`convtool apply`", "convtool", files, convtool)]
    if programs.vips:
        line = [*xargs, programs.vips, "conv", "in/{}", "vips/{}", MASK]
        alone = {"VIPS_CONCURRENCY": "1"}
        found += [
            Contender("`xargs vips conv`", "vips", few, line, True),
            Contender("`xargs vips conv`, one thread each", "vips", few, line, True, alone),
        ]
    if programs.convert:
        line = [*xargs, programs.convert, "in/{}", *MORPHOLOGY, "convert/{}"]
        found.append(Contender("`xargs convert`", "convert", few, line, True))
    if programs.mogrify:
        line = [programs.mogrify, "-path", "mogrify", *MORPHOLOGY, *few]
        found.append(Contender("`mogrify`", "mogrify", few, line))
    if programs.pyvips:
        found.append(fastest_pyvips(folder, programs, files, few))
    result = str(Path("convtool") / Path(files[0]).name)
    for what, name in (
        ("default", "Pillow alone, quality default"),
        (result, "Pillow alone, reading these and writing convtool's results"),
        ("keep", "Pillow alone, quality keep, the floor"),
    ):
        outputs = "pillow-" + ("results" if what == result else what)
        line = [sys.executable, "-c", PILLOW, str(CORES), what, outputs, *files]
        found.append(Contender(name, outputs, files, line))
    for one in found:
        (folder / one.outputs).mkdir(exist_ok=True)
    return found


def fastest_pyvips(folder: Path, programs: Programs, files: list[str], few: list[str]) -> Contender:
    """Return the best way to use libvips from one process, tried on a few files."""
    (folder / "pyvips").mkdir()

    def way(name: str, threads: int, given: list[str], **variables: str) -> Contender:
        line = [programs.pyvips, "-c", PYVIPS, str(threads), MASK, "pyvips", *given]
        return Contender(f"pyvips, {name}", "pyvips", given, line, False, variables)

    ways = [
        partial(way, "one file after the other", 1),
        partial(way, "a pool of threads", CORES),
        partial(way, "a pool of threads, libvips with one each", CORES, VIPS_CONCURRENCY="1"),
    ]
    trials = [way(few) for way in ways]
    taken = interleaved({one.name: partial(one.run, folder) for one in trials}, 1)
    best = min(range(len(ways)), key=lambda number: taken[trials[number].name])
    return ways[best](files)


def print_memory(folder: Path, programs: Programs, files: list[str]) -> None:
    """Print the largest resident size of convtool with few files and with all."""
    print()
    for given in (files[:FEW], files):
        command = [*filtering(programs, "convtool/{stem}{ext}"), *given]
        peak = int(output_of(sys.executable, "-c", MEMORY, *command, folder=folder)) * PEAK_UNIT
        print(f"Peak memory of convtool with {len(given)} files: {peak / 1e6:.0f} MB")


# Text


def print_versions(programs: Programs) -> None:
    versions = [output_of(programs.convtool, "--version")]
    if programs.vips:
        versions.append(output_of(programs.vips, "--version"))
    if programs.convert:
        said = output_of(programs.convert, "--version")
        versions.append(said.removeprefix("Version: ").partition(" Q")[0])
    if programs.pyvips:
        libvips = "import pyvips as p; print(*map(p.version, range(3)), sep='.')"
        versions.append(f"pyvips with libvips {output_of(programs.pyvips, '-c', libvips)}")
    versions.append(f"Pillow {PIL.__version__}")
    print(f"{platform.machine()}, {CORES} cores; " + "; ".join(map(str.strip, versions)))
    missing = [name for name, path in programs._asdict().items() if not path]
    if missing:
        print(f"Not here, and left out: {', '.join(missing)}")


def size_text(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def print_head(*cells: str) -> None:
    print()
    print_row(*cells)
    print("|---" * len(cells) + "|")


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
