"""Compile kernels to PTX, assemble them for GPUs that are not here, and say what each one takes.

    python assemble.py MODULE SHARE SHARES ARCHITECTURE...

`MODULE.variants()` names the kernels; every one of so many processes does its share of them. They
are processes of their own, for the simulator and the compiler cannot be had in one. Each prints a
report for a kernel and an architecture as a line of JSON.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

# A multiprocessor has so many registers, and gives them out to warps by the 8 for each thread.
REGISTERS, GRANULE = 65536, 8

# What a block may have for itself without asking for more.
SHARED = 48 << 10


class Usage(NamedTuple):
    """What a kernel takes: registers and bytes of a thread, and shared bytes of a block."""

    registers: int
    stack: int
    spilled: int
    shared: int


class Report(NamedTuple):
    """What became of a kernel: its usage, and what is wrong with it."""

    name: str
    architecture: str
    usage: Usage | None
    wrong: list[str]


def ptxas() -> str | None:
    """Return where the assembler is; None if it is not installed."""
    try:
        from cuda.pathfinder import find_nvidia_binary_utility
    except ImportError:
        return None
    found: str | None = find_nvidia_binary_utility("ptxas")
    return found


def assemble(ptx: str, architecture: str) -> Usage:
    """Assemble a kernel; a ValueError says why that cannot be, in the assembler's words."""
    with TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        command = [
            str(ptxas()),
            "-v",
            f"-arch={architecture}",
            "-o",
            f"{folder}/cubin",
            str(source),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise ValueError(said.strip())
    return read(said)


def read(said: str) -> Usage:
    """Read what the assembler says of a kernel, and of functions that stayed apart from it."""
    stores, loads = _numbers(said, "spill stores"), _numbers(said, "spill loads")
    return Usage(
        registers=max(map(int, re.findall(r"Used (\d+) registers", said))),
        stack=_numbers(said, "stack frame"),
        spilled=stores + loads,
        shared=_numbers(said, "smem"),
    )


def _numbers(said: str, what: str) -> int:
    """Add up the bytes of something."""
    return sum(map(int, re.findall(rf"(\d+) bytes {what}", said)))


def over(usage: Usage, variant: Any) -> list[str]:
    """Return where a kernel takes more than its budget, or than there is."""
    wrong = []
    if usage.spilled > variant.spilled:
        wrong.append(f"{usage.spilled} bytes of registers are spilled")
    for what in ("registers", "stack", "shared"):
        taken, budget = getattr(usage, what), getattr(variant, what)
        if taken > budget:
            wrong.append(f"{what}: {taken}, but the budget is {budget}")
    given = -(-usage.registers // GRANULE) * GRANULE * variant.threads
    if given > REGISTERS:
        wrong.append(f"{variant.threads} threads take {given} registers, but there are {REGISTERS}")
    if usage.shared > SHARED:
        wrong.append(f"{usage.shared} bytes shared, but a block has {SHARED}")
    return wrong


def reports(variant: Any, architectures: list[str]) -> Iterator[Report]:
    """Compile a kernel, and assemble it for each architecture.

    Numba does its part once for all of them, which takes most of the time.
    """
    from numba.cuda import dispatcher
    from numba.cuda.compiler import _compile_pyfunc_with_fixup

    numbers = {name: divmod(int(name.removeprefix("sm_")), 10) for name in architectures}
    oldest = min(numbers.values())
    # What a kernel calls is compiled for the device that is there.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=oldest)
    library, _ = _compile_pyfunc_with_fixup(
        variant.function,
        variant.signature,
        device=False,
        abi="numba",
        cc=oldest,
        launch_bounds=variant.bounds,
    )
    for name in architectures:
        try:
            usage = assemble(library.get_asm_str(cc=numbers[name]), name)
        except ValueError as error:
            yield Report(variant.name, name, None, [str(error)])
        else:
            yield Report(variant.name, name, usage, over(usage, variant))


def main(module: str, share: str, shares: str, *architectures: str) -> None:
    """Print the reports of one share of the kernels."""
    for variant in import_module(module).variants()[int(share) :: int(shares)]:
        for report in reports(variant, list(architectures)):
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
