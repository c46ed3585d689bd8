"""The kernels as they are compiled, run by an interpreter; and the interpreter itself."""

import importlib.util
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import ptx
import pytest
from ptx import Fault, Kernel, Memory

HERE = Path(__file__).parent

needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason="numba-cuda is not installed: pip install -e '.[gpu-test]'",
)


def reports(*shares):
    """Run shares of the cases in processes of their own, where nothing is simulated."""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    environment.pop("NUMBA_ENABLE_CUDASIM", None)
    processes = [
        subprocess.Popen(
            [sys.executable, HERE / "run_compiled.py", *share],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for share in shares
    ]
    said = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(line) for lines, _ in said for line in lines.splitlines()]


@needs_compiler
def test_compiled_kernels_compute_what_numpy_computes():
    from run_compiled import CASES

    found = reports(["direct"], ["separable", "gemm", "planted"])
    wrong = {name: error for name, error, _ in found}
    misaligned = wrong.pop("rows that begin anywhere")
    outside = wrong.pop("no memory behind the images")
    assert len(found) == len(CASES) + 2
    assert not any(wrong.values()), "\n".join(filter(None, wrong.values()))

    assert "Fault: no multiple of 16 bytes: thread " in misaligned
    assert "ld.global.v4.f32" in misaligned
    assert "Fault: outside of array 0, of " in outside

    # Every part that is written only where a constant has a value was there.
    values = defaultdict(set)
    for _, _, kernels in found:
        for name, constants in kernels:
            for constant, value in constants.items():
                values[name, constant].add(value)
    assert "fill" in {name for _, _, kernels in found for name, _ in kernels}
    for name in ("walk", "taps", "separable", "products"):
        assert values[name, "BIAS"] >= {0, 1}
        assert values[name, "SUMMARISE"] == values[name, "WHOLE"] == {0, 1}
    assert values["taps", "BIAS"] == {0, 1, 2}
    for constant in ("SHARED", "SLIDE", "DEPTH"):
        assert values["taps", constant] == {0, 1}
    assert values["separable", "SLIDE"] == values["separable", "NEXT"] == {0, 1}
    assert values["products", "VECTOR"] == values["products", "STORED"] == {0, 1}
    assert values["products", "DEEP"] == {8, 16}
    assert values["products", "WIDE"] == {32, 64}
    assert values["walk", "APART"] == {0, 1}
    assert values["walk", "VECTOR"] > {1, 4}
    assert values["walk", "COMBINE"] >= {0, 1, 2, 3, 4}
    assert values["walk", "LIMITS"] == {0, 1, 2, 3}
    assert values["walk", "SCALE"] == {0, 1, 2}


# The interpreter

REGISTERS = """
    .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f32 %f<9>;
"""

# A thread's place in %r1; in %rd1 and %rd2 where it reads and writes, four bytes for each thread.
HEAD = """
    ld.param.u64 %rd1, [k_0];
    ld.param.u64 %rd2, [k_1];
    mov.u32 %r1, %tid.x;
    mul.wide.s32 %rd3, %r1, 4;
    add.s64 %rd1, %rd1, %rd3;
    add.s64 %rd2, %rd2, %rd3;
"""

LENT = ".shared .align 4 .b8 lent[16];"


def run(body, numbers, dtype="f4", threads=None, head=HEAD, blocks=1):
    """Run a kernel on a vector; return another one, as long, of the same type."""
    numbers = np.array(numbers, dtype)
    results = np.zeros_like(numbers)
    text = (
        f"{LENT}\n.visible .entry k(.param .u64 k_0, .param .u64 k_1)\n"
        f"{{ {REGISTERS} {head} {body} ret; }}"
    )
    places = [ptx.address(0), ptx.address(1)]
    arrays = [
        Memory(array.view(np.uint8), place)
        for array, place in zip((numbers, results), places, strict=True)
    ]
    Kernel(text).launch((blocks, 1, 1), (threads or numbers.size, 1, 1), places, arrays)
    return results


def computed(instruction, kind, *operands):
    """Return what an instruction makes of some numbers of a type."""
    short, dtype = {"f": ("f", "f4"), "s": ("r", "i4"), "u": ("r", "u4")}[kind[0]]
    wide = kind[1:] == "64"
    prefix, size = ("rd", 8) if wide else (short, 4)
    numbers = np.array(operands, f"{kind[0].replace('s', 'i')}8" if wide else dtype)
    loads = "".join(
        f"ld.global.{kind} %{prefix}{n + 4}, [%rd1+{n * size}];" for n in range(len(operands))
    )
    values = ", ".join(f"%{prefix}{n + 4}" for n in range(len(operands)))
    made = f"{instruction}.{kind} %{prefix}8, {values};"
    body = f"{loads} {made} st.global.{kind} [%rd2], %{prefix}8;"
    return run(body, numbers, numbers.dtype, threads=1)[0]


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("instruction", "kind", "operands", "expected"),
    [
        ("add", "s32", (2**31 - 1, 1), -(2**31)),
        ("sub", "u32", (0, 1), 2**32 - 1),
        ("mul.lo", "s64", (2**40 + 3, 2**30), 3 * 2**30),
        ("mul.hi", "s64", (-(2**63), 6), -3),
        ("mul.hi", "s64", (-5, 7), -1),
        ("mul.hi", "u64", (2**64 - 1, 7), 6),
        ("div", "s64", (-7, 2), -3),
        ("div", "s64", (7, -2), -3),
        ("div", "s64", (-8, 2), -4),
        ("div", "u32", (2**32 - 2, 2), 2**31 - 1),
        ("rem", "s64", (-7, 2), -1),
        ("rem", "s64", (7, -2), 1),
        ("rem", "u32", (2**32 - 1, 10), 5),
        ("min", "s64", (-1, 1), -1),
        ("max", "u32", (2**31, 1), 2**31),
        ("neg", "s64", (5,), -5),
        # float32 rounds after every operation, to even; a multiply-add only once.
        ("add", "f32", (2.0**24, 1.0), 2.0**24),
        ("add", "f32", (2.0**24, 3.0), 2.0**24 + 4),
        ("mul", "f32", (1 + 2.0**-12, 1 + 2.0**-12), 1 + 2.0**-11),
        ("fma.rn", "f32", (1 + 2.0**-12, 1 + 2.0**-12, -1 - 2.0**-11), 2.0**-24),
        ("div.rn", "f32", (1.0, 3.0), np.float32(1) / np.float32(3)),
        ("sqrt.rn", "f32", (2.0,), np.sqrt(np.float32(2))),
        # The number wins over NaN.
        ("min", "f32", (NAN, 3.0), 3.0),
        ("max", "f32", (-INF, NAN), -INF),
        ("abs", "f32", (-2.5,), 2.5),
        # The sign of the first, the size of the second.
        ("copysign", "f32", (-0.0, 3.0), -3.0),
        ("ex2.approx.ftz", "f32", (3.0,), 8.0),
        ("rcp.approx.ftz", "f32", (4.0,), 0.25),
    ],
)
def test_an_operation(instruction, kind, operands, expected):
    assert computed(instruction, kind, *operands) == expected


@pytest.mark.parametrize(
    ("instruction", "value", "expected"),
    [
        ("shr.s64 %rd5, %rd4, 1", -6, -3),
        ("shr.u64 %rd5, %rd4, 1", -6, 2**63 - 3),
        ("shr.s64 %rd5, %rd4, 70", -6, -1),
        ("shr.u64 %rd5, %rd4, 64", -6, 0),
        ("shl.b64 %rd5, %rd4, 63", 3, -(2**63)),
        ("shl.b64 %rd5, %rd4, 64", 3, 0),
        ("not.b64 %rd5, %rd4", 5, -6),
        ("and.b64 %rd5, %rd4, -4", 7, 4),
        ("or.b64 %rd5, %rd4, 8", 5, 13),
        ("xor.b64 %rd5, %rd4, 1", 5, 4),
        ("cvt.u32.u64 %r4, %rd4; cvt.u64.u32 %rd5, %r4", -1, 2**32 - 1),
        ("cvt.u32.u64 %r4, %rd4; cvt.s64.s32 %rd5, %r4", 2**32 - 1, -1),
        ("cvt.u32.u64 %r4, %rd4; mul.wide.s32 %rd5, %r4, -3", 2**31, 3 * 2**31),
        # Bytes 7 to 4 are those of the second; a choice of 8 and more is a byte's sign.
        ("cvt.u32.u64 %r4, %rd4; prmt.b32 %r5, %r4, -1, 0x9410; cvt.u64.u32 %rd5, %r5",
         0x11228344, 0xFFFF8344),
        ("setp.lt.s64 %p1, %rd4, 0; selp.b64 %rd5, 7, %rd4, %p1", -1, 7),
        ("setp.lt.u64 %p1, %rd4, 1; selp.b64 %rd5, 7, %rd4, %p1", -1, -1),
        ("setp.lt.s64 %p1, %rd4, 0; setp.gt.or.s64 %p2, %rd4, 5, %p1; selp.u64 %rd5, 1, 0, %p2",
         -1, 1),
        ("setp.eq.s64 %p1, %rd4, 5; not.pred %p2, %p1; xor.pred %p1, %p1, %p2;"
         "selp.s64 %rd5, -1, 0, %p1", 5, -1),
    ],
)  # fmt: skip
def test_bits_and_conversions(instruction, value, expected):
    body = f"ld.global.u64 %rd4, [%rd1]; {instruction}; st.global.u64 [%rd2], %rd5;"
    (found,) = run(body, [value], "i8")
    assert found == np.array(expected & 2**64 - 1, "u8").astype("i8")


@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        ("eq", [0, 1, 0, 0]),
        ("ne", [1, 0, 1, 0]),
        ("neu", [1, 0, 1, 1]),
        ("equ", [0, 1, 0, 1]),
        ("lt", [1, 0, 0, 0]),
        ("ltu", [1, 0, 0, 1]),
        ("le", [1, 1, 0, 0]),
        ("leu", [1, 1, 0, 1]),
        ("gt", [0, 0, 1, 0]),
        ("gtu", [0, 0, 1, 1]),
        ("ge", [0, 1, 1, 0]),
        ("geu", [0, 1, 1, 1]),
        ("nan", [0, 0, 0, 1]),
        ("num", [1, 1, 1, 0]),
    ],
)
def test_comparisons_of_what_may_be_no_number(compare, expected):
    body = f"""
        ld.global.f32 %f1, [%rd1];
        setp.{compare}.f32 %p1, %f1, 0f3F800000;
        selp.f32 %f2, 0f3F800000, 0f00000000, %p1;
        st.global.f32 [%rd2], %f2;
    """
    assert run(body, [0, 1, 2, NAN]).tolist() == expected


def test_narrow_numbers_are_filled_up():
    body = """
        ld.global.u8 %rs1, [%rd1+1];
        ld.global.s8 %rs2, [%rd1+1];
        cvt.u32.u16 %r2, %rs1;
        cvt.s32.s16 %r3, %rs2;
        cvt.rn.f32.u16 %f1, %rs1;
        st.global.u32 [%rd2], %r2;
        st.global.u32 [%rd2+4], %r3;
        mov.b32 %r4, %f1;
        st.global.u16 [%rd2+8], %r4;
        shr.u32 %r4, %r4, 16;
        st.global.u16 [%rd2+10], %r4;
    """
    found = run(body, [0xFE00, 0, 0], "i4", threads=1)
    assert found[:2].tolist() == [254, -2]
    assert found[2:].view("f4").tolist() == [254.0]


def test_threads_that_part_come_together_again():
    # As many rounds as the thread's number says; odd threads take another way.
    body = """
        mov.f32 %f1, 0f00000000;
        mov.u32 %r2, 0;
    $again:
        setp.ge.s32 %p1, %r2, %r1;
        @%p1 bra $done;
        add.s32 %r2, %r2, 1;
        and.b32 %r3, %r1, 1;
        setp.eq.s32 %p2, %r3, 1;
        @!%p2 bra $even;
        add.f32 %f1, %f1, 0f41200000;
        bra.uni $again;
    $even:
        add.f32 %f1, %f1, 0f3F800000;
        bra.uni $again;
    $done:
        st.global.f32 [%rd2], %f1;
    """
    assert run(body, np.zeros(6)).tolist() == [0, 10, 2, 30, 4, 50]


EXCHANGE = """
    ld.global.f32 %f1, [%rd1];
    shl.b32 %r2, %r1, 2;
    cvt.u64.u32 %rd4, %r2;
    mov.u64 %rd5, lent;
    add.s64 %rd6, %rd5, %rd4;
    st.shared.f32 [%rd6], %f1;
    bar.sync 0;
    sub.s64 %rd7, %rd5, %rd4;
    ld.shared.f32 %f2, [%rd7+12];
    st.global.f32 [%rd2], %f2;
"""


def test_threads_pass_numbers_on():
    assert run(EXCHANGE, [1, 2, 3, 4]).tolist() == [4, 3, 2, 1]


def test_every_block_has_shared_memory_of_its_own():
    head = HEAD.replace(
        "mul.wide", "mov.u32 %r3, %ctaid.x; mad.lo.s32 %r3, %r3, 4, %r1; mul.wide"
    ).replace("%rd3, %r1", "%rd3, %r3")
    numbers = np.arange(8000, dtype="f4")
    found = run(EXCHANGE, numbers, threads=4, blocks=2000, head=head)
    np.testing.assert_array_equal(found, numbers.reshape(-1, 4)[:, ::-1].ravel())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1];",
            r"no multiple of 16 bytes: thread 1 of block 0 .*: ld\.global\.v4\.f32",
        ),
        ("ld.global.f32 %f1, [%rd1+4];", "outside of array 0, of 16 bytes: thread 3 .* at byte 16"),
        ("ld.global.f32 %f1, [%rd1+-4];", "outside of array 0, of 16 .*: thread 0 .* at byte -4"),
        ("st.global.f32 [%rd2+4], %f1;", "outside of array 1"),
        ("ld.global.f32 %f1, [%rd3];", "there is no array at 0x0"),
        ("ld.param.u64 %rd2, [k_1]; st.global.f32 [%rd2], %f1;", "two threads write one number"),
        ("mov.u64 %rd4, lent; ld.shared.f32 %f1, [%rd4+16];", "outside of 16 shared bytes"),
        ("mov.u64 %rd4, lent; ld.shared.f32 %f1, [%rd4+2];", "no multiple of 4 bytes"),
        # Shared memory of floats begins at a multiple of four bytes, by luck at more.
        ("mov.u64 %rd4, lent; ld.shared.v2.f32 {%f1, %f2}, [%rd4];", "no multiple of 8 bytes"),
        ("ld.shared.f32 %f1, [%rd3];", "there is no shared array at 0x0"),
        (
            EXCHANGE.replace("bar.sync 0;", ""),
            "read, with no barrier since another thread wrote",
        ),
        (
            EXCHANGE + "st.shared.f32 [%rd6], %f2;",
            "written, with no barrier since another thread did",
        ),
        (
            "setp.eq.s32 %p1, %r1, 2; @%p1 bra $end; bar.sync 0; $end:",
            "threads of a block wait for others that have ended",
        ),
        ("mov.u32 %r2, 0; div.s32 %r3, %r1, %r2;", "a whole number is divided by 0"),
    ],
)
def test_what_a_gpu_traps_on_or_leaves_to_luck_is_found(body, message):
    with pytest.raises(Fault, match=message):
        run(body, np.zeros(4))


@pytest.mark.parametrize(
    "instruction",
    [
        "sin.approx.f32 %f1, %f2;",
        "cvt.rzi.s32.f32 %r1, %f2;",
        "fma.rz.f32 %f1, %f2, %f2, %f2;",
        "ld.local.f32 %f1, [%rd1];",
        "@%p1 add.f32 %f1, %f1, %f1;",
    ],
)
def test_what_is_not_known_is_told(instruction):
    with pytest.raises(NotImplementedError) as told:
        run(instruction, np.zeros(1))
    assert str(told.value) == instruction


def test_functions_that_are_called_are_not_known():
    with pytest.raises(NotImplementedError, match="a function that is not inlined"):
        Kernel(".func f() { ret; } .entry k() { ret; }")
