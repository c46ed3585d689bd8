"""Machine code in the user's cache: compiled once, linked without Numba, never trusted blindly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import logging, sys
import numpy as np
from convtool import conv2d
logging.basicConfig(level=logging.INFO, format="%(message)s")
image = np.arange(300 * 3 * 40).reshape(1, 300, 40, 3).astype(np.uint8)
found = conv2d(image, np.ones((3, 3)), engine="cpu", dtype="uint8")
assert (found == conv2d(image, np.ones((3, 3)), engine="numpy", dtype="uint8")).all()
print("numba" in sys.modules)
"""


def first_results(cache: Path) -> tuple[bool, str]:
    """Convolve in a process of its own; return whether it imported Numba, and what it logged."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip() == "True", done.stderr


def test_code_is_compiled_once_and_linked_ever_after(tmp_path):
    compiled, said = first_results(tmp_path)
    assert compiled
    assert said == "compiling for this machine, once: about a second\n"
    files = list(tmp_path.rglob("*.o"))
    assert files
    assert all(file.parent == tmp_path / "convtool" / "machine-code" for file in files)
    assert first_results(tmp_path) == (False, "")
    # A damaged file is not linked, but made anew.
    for file in files:
        file.write_bytes(file.read_bytes()[:-100] + bytes(100))
    compiled, said = first_results(tmp_path)
    assert compiled
    assert said.startswith("compiling")
    assert first_results(tmp_path) == (False, "")
    assert list(tmp_path.rglob("*.o")) == files
    assert not list(tmp_path.rglob("tmp*"))


@pytest.mark.skipif(sys.platform == "win32", reason="a file is no folder there with other words")
def test_a_cache_that_cannot_be_written_is_said_and_done_without(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    compiled, said = first_results(blocked)
    assert compiled
    assert "compiled code cannot be kept in" in said
