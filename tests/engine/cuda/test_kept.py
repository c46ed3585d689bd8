"""Compiled kernels come from where they were kept: in processes where nothing is simulated."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convtool.engine.cuda import kept

HERE = Path(__file__).parent

compiles = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason="numba-cuda is not installed: pip install -e '.[gpu-test]'",
)


def ask(cache: Path, variant: str = "scale") -> dict[str, Any]:
    """Ask for a kernel in a process of its own."""
    environment = {**os.environ, "PYTHONWARNINGS": "error", "XDG_CACHE_HOME": str(cache)}
    environment.pop("NUMBA_ENABLE_CUDASIM", None)
    done = subprocess.run(
        [sys.executable, str(HERE / "keep.py"), variant],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(cache) -> dict[str, Any]:
    """What the first process was given, which found nothing."""
    return ask(cache)


def files(cache: Path) -> list[Path]:
    return sorted((cache / "convtool" / "machine-code").iterdir())


@compiles
def test_the_next_process_compiles_nothing_and_has_the_same_code(cache, first):
    before = files(cache)
    then = ask(cache)
    assert (first["compilations"], then["compilations"]) == (1, 0)
    for what in ("cubin", "name", "arguments"):
        assert then[what] == first[what]
    assert first["arguments"] == ["array(float32, 1d, C)", "float32"]
    assert files(cache) == before


@compiles
def test_a_kept_kernel_is_compiled_for_another_gpu_from_its_intermediate_code(cache, first):
    assert first["other"]
    then = ask(cache)
    assert then["other"]
    assert then["after"] == ["compute_80"]


@compiles
@pytest.mark.parametrize("variant", ["shift", "fast", "float64"])
def test_another_body_or_option_or_type_is_another_kernel(cache, first, variant):
    other = ask(cache, variant)
    assert other["compilations"] == 1
    assert other["cubin"] != first["cubin"]


@compiles
def test_what_is_not_to_be_kept_is_not(tmp_path):
    assert ask(tmp_path, "disabled")["compilations"] == 1
    assert not (tmp_path / "convtool").exists()


@compiles
def test_a_file_that_others_may_write_to_or_that_is_cut_is_not_taken(tmp_path):
    assert ask(tmp_path)["compilations"] == 1
    (file,) = files(tmp_path)
    file.chmod(0o666)
    assert ask(tmp_path)["compilations"] == 1  # and it is written anew
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    assert ask(tmp_path)["compilations"] == 1
    assert ask(tmp_path)["compilations"] == 0


@compiles
def test_files_tell_the_kernel_the_gpu_and_the_version(cache, first):
    units, size, stale = first["state"]
    assert (units, stale) == (1, 0)
    assert size > len("ELF")
    for file in files(cache):
        assert file.name.startswith("gpu-scale-3x3-")
        assert file.name.endswith(f"-sm_90.{kept.tag()}.unit")


def test_the_simulator_keeps_nothing(monkeypatch):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    stand_in = object()
    kept.attach(stand_in, "scale")  # which has no place for a cache


def test_a_copy_is_packed_and_unpacked():
    copy = kept.Copy({"kernel": {"name": "k"}, "library": {"llvm_strs": ["define"]}}, b"\x7fELF\0")
    assert kept.Copy.unpack(copy.pack()) == copy
