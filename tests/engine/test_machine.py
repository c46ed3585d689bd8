"""Machine code in the user's cache: compiled once, linked without Numba, never trusted blindly."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convtool.engine.cores import cores
from convtool.engine.cpu import machine

CODE = """
import logging, sys
import numpy as np
from convtool import conv2d
from convtool.engine.cpu import machine
if sys.argv[1:] == ["linked"]:
    machine._flat_machine = lambda: False
logging.basicConfig(level=logging.INFO, format="%(message)s")
image = np.arange(300 * 3 * 40).reshape(1, 300, 40, 3).astype(np.uint8)
found = conv2d(image, np.ones((3, 3)), engine="cpu", dtype="uint8")
assert (found == conv2d(image, np.ones((3, 3)), engine="numpy", dtype="uint8")).all()
print("numba" in sys.modules)
print("llvmlite" in sys.modules)
"""

FLAT = sys.platform == "linux" and os.uname().machine == "x86_64"


def first_results(cache: Path, *how: str) -> tuple[bool, str]:
    """Convolve in a process of its own; return whether it imported Numba, and what it logged."""
    done = convolve(cache, *how)
    return done.stdout.split()[0] == "True", done.stderr


def convolve(cache: Path, *how: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", CODE, *how],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_code_is_compiled_once_and_linked_ever_after(tmp_path):
    compiled, said = first_results(tmp_path)
    assert compiled
    assert said == "compiling for this machine, once: a few seconds\n"
    files = list(tmp_path.rglob("*.unit"))
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
    assert list(tmp_path.rglob("*.unit")) == files
    assert not list(tmp_path.rglob("tmp*"))


BLUR = CODE.replace("np.ones((3, 3))", "np.outer(np.arange(9), np.arange(9))")


@pytest.mark.parametrize("broken", [False, True])
def test_units_that_another_process_compiles_are_used_or_made_here(tmp_path, broken):
    """Where the other process fails, this one does all of it."""
    assert BLUR != CODE
    code = BLUR
    if broken:
        code = "import sys; sys.executable = sys.executable + '-none'\n" + BLUR
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    kinds = set()
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        kinds.add((done.stdout.split()[0], done.stderr))
    said = "compiling for this machine, once: a few seconds\n"
    assert kinds == {("True", said), ("False", "")}
    made = sorted(file.name.split("-")[0].split(".")[0] for file in tmp_path.rglob("*.unit"))
    assert made == ["load", "separable", "store", "walk"]


def test_what_is_missing_is_asked_for_once(tmp_path):
    """Pictures side by side must not have the same units compiled again and again."""
    code = (
        "import sys, threading, subprocess; import numpy as np\n"
        "from convtool import conv2d\n"
        "started, real = [], subprocess.Popen\n"
        "class Counted(real):\n"
        "    def __init__(self, command, **options):\n"
        "        started.append(command); super().__init__(command, **options)\n"
        "subprocess.Popen = Counted\n"
        "image = np.zeros((1, 99, 99, 3), np.uint8)\n"
        "kernel = np.outer(np.arange(9), np.arange(9))\n"
        "def do(): conv2d(image, kernel, engine='cpu', dtype='uint8')\n"
        "threads = [threading.Thread(target=do) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; do()\n"
        "print(len(started), sum(c.count('store') for line in started for c in line))\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    processes, stores = map(int, done.stdout.split())
    assert processes <= max(cores() - 1, 0)
    assert stores <= 1


@pytest.mark.skipif(not FLAT, reason="flat images are for Linux on x86-64; others are linked")
def test_kept_code_is_used_without_llvmlite(tmp_path):
    first_results(tmp_path)
    assert convolve(tmp_path).stdout.split() == ["False", "False"]


def test_linked_code_gives_the_same(tmp_path):
    compiled, _ = first_results(tmp_path, "linked")
    assert compiled
    assert convolve(tmp_path, "linked").stdout.split() == ["False", "True"]


def test_a_kept_file_of_another_kind_of_code_is_not_run(tmp_path):
    first_results(tmp_path)
    (file,) = tmp_path.rglob("fused*.unit")
    other = b"F" + bytes(100)  # whole by its digest, but of nobody's making
    file.write_bytes(hashlib.blake2b(other, digest_size=32).digest() + other)
    file.chmod(0o620)
    compiled, said = first_results(tmp_path)
    assert compiled
    assert "is not used" in said


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_code_that_others_may_have_written_is_neither_used_nor_kept(tmp_path):
    first_results(tmp_path)
    folder = tmp_path / "convtool" / "machine-code"
    (file,) = folder.glob("fused*.unit")
    before = file.stat().st_mtime_ns
    folder.chmod(0o777)
    compiled, said = first_results(tmp_path)
    assert compiled
    assert "is not used: others than its owner may write to the folder" in said
    assert file.stat().st_mtime_ns == before
    folder.chmod(0o700)
    assert first_results(tmp_path) == (False, "")


def test_the_folder_is_looked_at_and_emptied(tmp_path, monkeypatch):
    from convtool.engine import cache

    first_results(tmp_path)
    folder = tmp_path / "convtool" / "machine-code"
    monkeypatch.setattr(cache, "folder", lambda: folder)
    files = list(folder.iterdir())
    (folder / "fused-of-old.o").write_bytes(b"old")
    (folder / "notes.txt").write_text("somebody else's")
    state = machine.state()
    assert (state.problem, state.units, state.stale) == ("", len(files), 1)
    assert state.bytes == sum(file.stat().st_size for file in files)
    assert machine.clear() == len(files) + 1
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


@pytest.mark.skipif(not FLAT, reason="flat images are made of ELF objects for x86-64")
def test_what_a_flat_image_cannot_have_is_left_to_a_linker():
    import llvmlite.binding as llvm

    from convtool.engine.cpu.flat import Image, flatten

    machine_code = machine._target()

    def emitted(text: str) -> bytes:
        return machine_code.emit_object(llvm.parse_assembly(text))

    plain = emitted("define i64 @f(i64 %a) { %b = add i64 %a, 1 ret i64 %b }")
    assert flatten(plain, "f") is not None
    assert flatten(plain, "g") is None
    outside = "declare float @{0}(float) define float @f(float %a) "
    outside += "{{ %b = call float @{0}(float %a) ret float %b }}"
    wanting = flatten(emitted(outside.format("tanhf")), "f")
    assert wanting is not None
    assert [name for name, _ in wanting.imports] == ["tanhf"]
    assert Image.unpack(wanting.pack()) == wanting
    assert flatten(emitted(outside.format("sinf")), "f") is None
    assert flatten(emitted("@m = global i64 1 define ptr @f() { ret ptr @m }"), "f") is None
    assert flatten(b"MZ" + plain, "f") is None


@pytest.mark.skipif(sys.platform == "win32", reason="a file is no folder there with other words")
def test_a_cache_that_cannot_be_written_is_said_and_done_without(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    compiled, said = first_results(blocked)
    assert compiled
    assert "compiled code cannot be kept in" in said
