"""Which processor this is, found out without LLVM where the system tells."""

import os
import sys
from functools import cache
from typing import NamedTuple

# What of /proc/cpuinfo says what a processor can do; the rest are clock rates and core numbers.
_TELLING = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),  # Arm
)


class Processor(NamedTuple):
    """A processor.

    Parameters
    ----------
    name : str
        As people know it.
    features : frozenset of str
        What it can do, in the words of Linux or LLVM, which are the same where it matters here.
    identity : str
        Differs wherever machine code may have to.
    """

    name: str
    features: frozenset[str]
    identity: str


@cache
def processor() -> Processor:
    """Return the processor that this process runs on."""
    told = _told_by_linux() if sys.platform == "linux" else {}
    features = told.get("flags") or told.get("Features")
    if features:
        name = told.get("model name") or "Arm"
        identity = "\n".join([os.uname().machine, *(f"{k}: {v}" for k, v in told.items())])
        return Processor(name, frozenset(features.split()), identity)
    import llvmlite.binding as llvm

    name, able = llvm.get_host_cpu_name(), llvm.get_host_cpu_features()
    words = frozenset(word for word, has in able.items() if has)
    return Processor(name, words, f"{name} {able.flatten()}")


def _told_by_linux() -> dict[str, str]:
    """Return the lines about the first core that tell."""
    told = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if not key.strip():
                    break
                if key.strip() in _TELLING:
                    told[key.strip()] = value.strip()
    except OSError:
        return {}
    return told


@cache
def registers() -> tuple[int, int]:
    """Return the vector registers of this processor: how many, and of how many float32."""
    able = processor().features
    if {"avx512f", "avx512vl"} <= able:
        return 32, 16
    if {"avx2", "fma"} <= able:
        return 16, 8
    return (32, 4) if able & {"neon", "asimd"} else (16, 4)
