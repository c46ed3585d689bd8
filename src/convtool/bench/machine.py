"""What this run runs on: the processor, and the versions of everything that takes part."""

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from convtool.engine.cores import cores
from convtool.version import __version__


@dataclass(frozen=True)
class Machine:
    """The surroundings of a run.

    Parameters
    ----------
    processor, system : str
    cores, threads : int
        Cores that this process may use, and threads that each library was given.
    versions : dict
        From the names of programs to their versions: convtool, Python, NumPy, Numba.
    """

    processor: str
    system: str
    cores: int
    threads: int
    versions: dict[str, str]


def describe(threads: int) -> Machine:
    """Look at the machine."""
    return Machine(
        _processor(),
        f"{platform.system()} {platform.machine()}",
        cores(),
        threads,
        {
            "convtool": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": metadata.version("numba"),
        },
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        word, colon, name = line.partition(":")
        if colon and word.strip() == "model name":
            return name.strip()
    return platform.processor() or platform.machine() or "unknown"
