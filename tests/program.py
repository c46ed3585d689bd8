"""Run the program as a process of its own, on pictures that are made here."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

# Whole numbers that stay far below 2^24: equal in every engine, method and order of summing.
SHARPEN = ("-k", "3x3: 0,-1,0 -1,5,-1 0,-1,0")
IDENTITY = ("-k", "identity")

SUFFIXES = (".png", ".jpg", ".tif", ".webp", ".bmp", ".ppm", ".npy")

# Files at a time: as many as the program takes by itself, one, several.
JOBS = ((), ("--jobs", "1"), ("--jobs", "3"))

# A program that hangs fails its test instead of holding it up.
PATIENCE = 60


class Ended(NamedTuple):
    """What a process left behind."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def errors(self) -> list[str]:
        """The lines of standard error that name an error; notes are left out."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "convtool", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """This process's variables; compiled modules are used as after any installation."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | more


def program(
    *arguments: object, stdin: bytes = b"", within: Sequence[str] = (), **options: object
) -> Ended:
    """Run ``convtool arguments…`` to its end, as the last words of another command or by itself."""
    options = {"stdout": subprocess.PIPE, "env": environment()} | options
    done = subprocess.run(
        [*within, *command(*arguments)],
        input=stdin,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        **options,
    )
    ended = Ended(done.returncode, done.stdout or b"", done.stderr.decode())
    assert_no_traceback(ended.err)
    return ended


@contextmanager
def started(*arguments: object, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``convtool arguments…``, its output and errors in pipes; it ends with the block."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment()} | options
    with subprocess.Popen(command(*arguments), stdin=subprocess.DEVNULL, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def assert_no_traceback(err: str) -> None:
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def save(path: str | Path, pixels: np.ndarray) -> np.ndarray:
    if Path(path).suffix == ".npy":
        np.save(path, pixels)
    else:
        exact = {"lossless": True} if Path(path).suffix == ".webp" else {}
        Image.fromarray(pixels).save(path, **exact)
    return pixels


def pixels_of(path: str | Path) -> np.ndarray:
    """Decode a picture, every byte of it."""
    if Path(path).suffix == ".npy":
        return np.load(path)
    with Image.open(path) as image:
        return np.asarray(image)


def album(folder: Path, count: int, *, side: int = 100) -> list[str]:
    """Make pictures of every format and of different sizes; return their paths."""
    folder.mkdir()
    sizes = np.random.default_rng(count).integers(side // 2, side, (count, 2))
    paths = [folder / f"{n:03}{SUFFIXES[n % len(SUFFIXES)]}" for n in range(count)]
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        save(path, noise(*size, 3, seed=number))
    return [str(path) for path in paths]


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder: bytes by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}
