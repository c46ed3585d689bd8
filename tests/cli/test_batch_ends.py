"""How a batch ends before its end: killed, interrupted, its reader gone, the disk full."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from program import (
    IDENTITY,
    PATIENCE,
    SHARPEN,
    SUFFIXES,
    Ended,
    album,
    assert_no_traceback,
    command,
    contents,
    environment,
    noise,
    pixels_of,
    program,
    save,
    started,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits are POSIX")

MOMENTS = 10


class Undisturbed(NamedTuple):
    """What a whole run makes of some pictures, and how long it takes."""

    pictures: list[str]
    outputs: dict[str, bytes]
    begin: float  # seconds until the first output is there
    work: float  # seconds from then to the last one

    def __repr__(self) -> str:  # pytest would print the bytes
        return f"<{len(self.pictures)} pictures, {self.begin:.2f} s + {self.work:.2f} s>"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    pictures = album(folder / "in", 60, side=64)
    begun = time.perf_counter()
    with started("apply", *SHARPEN, "-q", "-o", f"{folder}/out/", *pictures) as process:
        wait_for_outputs(process, folder / "out", 1)
        first = time.perf_counter()
        wait_for_outputs(process, folder / "out", len(pictures))
        last = time.perf_counter()
        assert process.wait(PATIENCE) == 0
    outputs = contents(folder / "out")
    assert len(outputs) == len(pictures)
    for name in outputs:
        assert pixels_of(folder / "out" / name).size
    return Undisturbed(pictures, outputs, first - begun, last - first)


def looking_like_outputs(folder: Path) -> list[str]:
    """Name the files that somebody would take for results."""
    return [n for n in os.listdir(folder) if n.endswith(SUFFIXES)] if folder.is_dir() else []


def wait_for_outputs(process: subprocess.Popen[bytes], folder: Path, count: int) -> None:
    """Wait until so many outputs are there, or the process has ended."""
    patient_until = time.perf_counter() + PATIENCE
    while len(looking_like_outputs(folder)) < count and process.poll() is None:
        assert time.perf_counter() < patient_until, "no outputs appear"
        time.sleep(0.001)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_batch_killed_at_any_moment_goes_on_where_it_stopped(here, undisturbed, seed):
    print(f"seed {seed}, {undisturbed}")
    random = Random(seed)
    number = landed = 0
    for moment in range(MOMENTS):
        folder = here / f"out{number}"
        arguments = ("-q", "--skip-existing", "-o", f"{folder}/", *undisturbed.pictures)
        before = len(contents(folder))
        with started("apply", *SHARPEN, *arguments) as process:
            # Every fifth moment is counted from the start of the process, the others from its
            # first output, over the time that what is left should take.
            if moment % 5 == 4:
                time.sleep(random.random() * undisturbed.begin)
            else:
                wait_for_outputs(process, folder, before + 1)
                share_left = 1 - before / len(undisturbed.outputs)
                time.sleep(random.random() * undisturbed.work * share_left)
            process.kill()
            _, err = process.communicate(timeout=PATIENCE)
        assert err == b""
        found = looking_like_outputs(folder)
        for name in found:
            assert (folder / name).read_bytes() == undisturbed.outputs[name], (moment, name)
        landed += before < len(found) < len(undisturbed.outputs)
        if process.returncode == 0 or len(found) == len(undisturbed.outputs):
            number += 1  # all done: the next moments are those of a new batch
    # Otherwise the moments were no moments of work.
    print(f"{landed} of {MOMENTS} moments were in the middle of the work")
    assert landed >= 2
    for last in range(number + 1):
        folder = here / f"out{last}"
        arguments = ("--skip-existing", "-o", f"{folder}/", *undisturbed.pictures)
        ran = program("apply", *SHARPEN, *arguments)
        assert (ran.code, ran.errors) == (0, [])
        assert sorted(looking_like_outputs(folder)) == sorted(undisturbed.outputs)
        for name, data in undisturbed.outputs.items():
            assert (folder / name).read_bytes() == data


def interrupted(process: subprocess.Popen[bytes]) -> Counter[str]:
    """See an interrupted process end in order; return the numbers of its last line by word."""
    # It takes about a second; the limit is for a busy machine.
    out, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert_no_traceback(err.decode())
    last = out.decode().splitlines()[-1]
    print(last)
    return Counter({word: int(n) for n, word in re.findall(r"(\d+) ([a-z ]+?)(?:,| in )", last)})


@pytest.mark.parametrize("outputs", [1, 50])
def test_an_interrupted_batch_says_how_far_it_came(here, undisturbed, outputs):
    inputs = ["missing.png", *undisturbed.pictures * 10]
    there = [here / "out" / f"{index}{Path(inputs[index]).suffix}" for index in (2, 5, 9)]
    (here / "out").mkdir()
    for path in there:
        path.write_bytes(b"there")
    arguments = ("--skip-existing", "-o", "out/{index}{ext}", *inputs)
    with started("apply", *SHARPEN, *arguments) as process:
        wait_for_outputs(process, here / "out", len(there) + outputs)
        process.send_signal(signal.SIGINT)
        counts = interrupted(process)
    assert set(counts) <= {"done", "skipped", "failed", "not begun", "broken off"}
    assert counts["not begun"] > 0
    assert sum(counts.values()) == len(inputs)
    assert counts["failed"] == 1
    made = [name for name in looking_like_outputs(here / "out") if here / "out" / name not in there]
    # On a busy machine what was begun may take longer than it is given, and be whole by then.
    assert counts["done"] <= len(made) <= counts["done"] + counts["broken off"]
    for name in made:
        picture = Path(inputs[int(name.split(".")[0])])
        [whole] = [d for n, d in undisturbed.outputs.items() if n.startswith(f"{picture.stem}.")]
        assert (here / "out" / name).read_bytes() == whole


@pytest.mark.parametrize("times", [1, 2])
def test_what_takes_long_does_not_hold_an_interrupt_up(here, times):
    save("small.npy", noise(9, 8))
    save("large.npy", noise(1000, 1000, 3))
    save("kernel.npy", np.random.default_rng(0).random((61, 61)))
    # Tens of seconds each: the method that is the slowest for so large a kernel.
    arguments = ("-k", "kernel.npy", "--engine", "numpy", "-o", "out/{index}.png")
    with started("apply", *arguments, "small.npy", *["large.npy"] * 4) as process:
        wait_for_outputs(process, here / "out", 1)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        counts = interrupted(process)
    assert counts["done"] == 1
    assert counts["broken off"] + counts["not begun"] == 4
    assert looking_like_outputs(here / "out") == ["0.png"]
    assert pixels_of("out/0.png").shape == (9, 8)


# The reader goes away


def read_and_close(*arguments: object, lines: int = 0, count: int = 0) -> Ended:
    """Read some of the standard output, as ``head`` does, then close it."""
    with started(*arguments) as process:
        stream = process.stdout
        read = b"".join(stream.readline() for _ in range(lines)) or stream.read(count)
        stream.close()
        err = process.stderr.read().decode()
        code = process.wait(PATIENCE)
    assert_no_traceback(err)
    assert "Errno" not in err
    return Ended(code, read, err)


# Done all the same, or ended as the shell says it of what the signal killed.
CLOSED_PIPE = (0, 128 + signal.SIGPIPE)


@pytest.mark.parametrize("form", [["--json"], ["--json", "--dry-run"], []])
def test_a_report_into_a_closed_pipe(here, undisturbed, form):
    # More lines than a pipe holds, so that some are certain to find it closed.
    inputs = undisturbed.pictures * 5
    arguments = (*form, "-o", "out/{index}{ext}", *inputs)
    ended = read_and_close("apply", *SHARPEN, *arguments, lines=1)
    assert ended.code in CLOSED_PIPE
    if "--json" in form:
        assert ended.records[0]["input"] == inputs[0]
    else:
        assert ended.out.startswith("shape ")


def test_an_image_into_a_closed_pipe(here):
    save("a.png", noise(300, 300, 3))
    ended = read_and_close("apply", *IDENTITY, "-o", "-", "a.png", count=10)
    assert ended.code in CLOSED_PIPE
    assert ended.raw.startswith(b"\x89PNG")


# The disk is full


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("output", [["-o", "-"], [], ["--json"], ["--dry-run"]])
def test_standard_output_on_a_full_disk(here, output):
    save("a.png", noise(90, 80, 3))
    with open("/dev/full", "wb") as full:
        ran = program("apply", *SHARPEN, "a.png", *output, stdout=full)
    assert ran.code == 1
    [line] = ran.errors
    assert "no space left" in line.lower()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_batch_reporting_onto_a_full_disk_says_so_once(here, undisturbed):
    with open("/dev/full", "wb") as full:
        ran = program("apply", *SHARPEN, "-o", "out/", *undisturbed.pictures, stdout=full)
    assert ran.code == 1
    [line] = ran.errors
    assert "no space left" in line.lower()
    for name in looking_like_outputs(here / "out"):
        assert (here / "out" / name).read_bytes() == undisturbed.outputs[name]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_device_that_is_full(here):
    save("a.png", noise(90, 80, 3))
    os.symlink("/dev/full", "out.png")
    ran = program("apply", *SHARPEN, "-o", "out.png", "a.png")
    assert ran.code == 1
    [line] = ran.errors
    assert line.startswith("error: a.png: ")
    assert "no space left" in line.lower()


def limited(size: int) -> list[str]:
    """A command before a command, whose files may grow to so many bytes and no further."""
    # The interpreter ignores SIGXFSZ, and so does what it becomes: writing fails with an error.
    source = (
        "import os, resource, sys;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", source]


def test_no_half_file_is_left_where_the_disk_is_full(here):
    for suffix in SUFFIXES:
        save(f"small{suffix}", noise(20, 20, 3))
        save(f"large{suffix}", noise(300, 300, 3))
    large, small = ([f"{size}{suffix}" for suffix in SUFFIXES] for size in ("large", "small"))
    names = [name for pair in zip(large, small, strict=True) for name in pair]
    ran = program("apply", *IDENTITY, "-o", "out/{stem}{ext}", *names, within=limited(40_000))
    assert ran.code == 1
    assert [line.split(": ")[1] for line in ran.errors] == large
    for line in ran.errors:
        assert re.search("file too large|no space left", line, re.IGNORECASE)
    assert sorted(os.listdir("out")) == sorted(small)
    for name in small:
        assert pixels_of(f"out/{name}").shape[-3:] == (20, 20, 3)
    assert f"{len(small)} done, {len(large)} failed in" in ran.out


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams_are_no_tracebacks(here, closed):
    save("a.png", noise(9, 8))
    words = " ".join(map(shlex.quote, command("apply", "-k", "identity", "a.png", "-o", "out.png")))
    done = subprocess.run(
        ["sh", "-c", f"{words} {closed}"], capture_output=True, env=environment(), timeout=60
    )
    assert done.returncode == 0
    assert_no_traceback(done.stderr.decode())
    assert pixels_of("out.png").shape == (9, 8)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [("--help",), ("kernels", "export", "sobel"), ("--version",)])
def test_what_is_only_printed_onto_a_full_disk(here, arguments):
    with open("/dev/full", "wb") as full:
        ran = program(*arguments, stdout=full)
    assert ran.code == 1
    assert "cannot be written: No space left on device" in ran.err
