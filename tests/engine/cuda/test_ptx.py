"""Every kernel compiled and assembled for GPUs that are not here, and held against its budget."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import assemble
import pytest
from assemble import Report, Usage

HERE = Path(__file__).parent

# The H100 and H200, which the kernels are shaped for, and the oldest that CUDA 13 compiles for.
ARCHITECTURES = ["sm_90", "sm_75"]

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("numba_cuda") is None,
        reason="numba-cuda is not installed: pip install -e '.[gpu-test]'",
    ),
    pytest.mark.skipif(
        assemble.ptxas() is None,
        reason="the assembler ptxas is not installed: pip install -e '.[gpu-test]'",
    ),
]


def reports(module: str, shares: int, *architectures: str) -> list[Report]:
    """Compile the kernels of a module in processes of their own, where nothing is simulated."""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    environment.pop("NUMBA_ENABLE_CUDASIM", None)
    processes = [
        subprocess.Popen(
            [sys.executable, HERE / "assemble.py", module, str(n), str(shares), *architectures],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for n in range(shares)
    ]
    said = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors
    found = [Report(*json.loads(line)) for lines, _ in said for line in lines.splitlines()]
    return [report._replace(usage=report.usage and Usage(*report.usage)) for report in found]


def test_every_kernel_is_assembled_and_keeps_within_its_budget():
    found = reports("catalogue", 2, *ARCHITECTURES)
    for report in found:
        print(report.architecture, report.name, report.usage)
    assert {report.architecture for report in found} == set(ARCHITECTURES)
    assert len({report[:2] for report in found}) == len(found), "two kernels of one name"
    wrong = [f"{r.architecture} {r.name}: {what}" for r in found for what in r.wrong]
    assert not wrong, "\n".join(wrong)


def test_what_a_kernel_takes_too_much_is_told():
    found = {report.name: report for report in reports("greedy", 1, "sm_90")}
    taken = {name: report.usage for name, report in found.items()}
    told = {name: report.wrong for name, report in found.items()}
    assert told.pop("modest") == []
    assert told.pop("local memory, allowed") == []

    registers = taken["many registers"].registers
    assert told.pop("many registers") == [f"registers: {registers}, but the budget is 2"]
    assert told.pop("local memory") == ["stack: 256, but the budget is 0"]
    assert told.pop("shared memory") == ["shared: 4096, but the budget is 4095"]
    assert told.pop("spills") == [f"{taken['spills'].spilled} bytes of registers are spilled"]
    assert taken["spills"].spilled > 0
    (threads,) = told.pop("too many threads")
    assert threads.startswith("1024 threads take ")
    assert threads.endswith(" registers, but there are 65536")
    assert told == {}


def test_an_assembler_older_than_the_compiler_is_told():
    ptx = ".version 99.0\n.target sm_90\n.address_size 64\n"
    with pytest.raises(ValueError, match=r"Unsupported \.version 99\.0"):
        assemble.assemble(ptx, "sm_90")


def test_what_the_assembler_says_is_read():
    said = (
        "ptxas info    : 0 bytes gmem\n"
        "ptxas info    : Compiling entry function 'k' for 'sm_90'\n"
        "ptxas info    : Function properties for k\n"
        "    24 bytes stack frame, 20 bytes spill stores, 40 bytes spill loads\n"
        "ptxas info    : Used 40 registers, used 1 barriers, 24 bytes cumulative stack size, "
        "4096 bytes smem, 424 bytes cmem[0]\n"
    )
    assert assemble.read(said) == Usage(registers=40, stack=24, spilled=60, shared=4096)
