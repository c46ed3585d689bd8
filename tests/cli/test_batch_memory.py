"""The memory of a batch does not grow with the number of its pictures."""

import os
import sys

import pytest

from program import SHARPEN, noise, program, save

# A small process in between: a child's peak counts what its parent held when it was forked.
_MEASURED = (
    "import resource, subprocess, sys;"
    "code = subprocess.call(sys.argv[1:]);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
    "sys.exit(code)"
)
_UNIT = 1 if sys.platform == "darwin" else 1024


def peak(*arguments: str) -> int:
    """Return the largest resident size of a quiet run, in bytes."""
    ran = program("apply", *SHARPEN, "-q", *arguments, within=[sys.executable, "-c", _MEASURED])
    assert (ran.code, ran.err) == (0, "")
    return int(ran.out) * _UNIT


@pytest.mark.skipif(os.name != "posix", reason="resource usage is POSIX")
@pytest.mark.parametrize("engine", ["numpy", "cpu"])
def test_four_times_as_many_pictures_need_no_more_memory(tmp_path, monkeypatch, engine):
    monkeypatch.chdir(tmp_path)
    save("large.jpg", noise(600, 800, 3))
    for number in range(24):
        save(f"{number}.jpg", noise(64, 80 + number, 3, seed=number))
    each = ["large.jpg", *(f"{number}.jpg" for number in range(24))]
    for number in range(400):
        os.link(each[number % 25], f"link{number}.jpg")
    links = [f"link{number}.jpg" for number in range(400)]
    options = ("--engine", engine, "-o", "out{index}{ext}")
    # What is compiled on the first use of a kernel size on a machine is no part of the batch.
    peak(*options, *links[:26])
    # With fewer, large pictures hardly ever come at the same time.
    few, many = peak(*options, *links[:100]), peak(*options, *links)
    print(f"{few / 1e6:.0f} MB for 100, {many / 1e6:.0f} MB for 400")
    assert many < max(1.2 * few, few + 30e6)
