"""Machine code: compiled by Numba once, kept as object files, loaded without Numba ever after.

The engine's loops are *units*: functions of addresses and whole numbers that cannot raise. Numba
compiles a unit the first time this machine needs it; the object file goes to the user's cache
folder, and from then on llvmlite alone links it, in a few milliseconds.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from time import perf_counter
from typing import Any

import llvmlite
import llvmlite.binding as llvm

logger = logging.getLogger("convtool")

# A unit's name in its object file.
SYMBOL = "convtool_unit"

Constants = tuple[int | str, ...]

_lock = Lock()
_announced = False


@cache
def address(module: str, *constants: int | str) -> int:
    """Return the address of a unit's machine code, which is compiled if need be.

    Parameters
    ----------
    module : str
        The module of `convtool.engine.cpu.source` whose ``unit(*constants)`` gives the function
        and its signature.
    constants : int or str
        What the unit is specialised for.
    """
    with _lock:
        path = _folder() / f"{_name(module, constants)}.o"
        code = _read(path)
        if code is None:
            code = _compile(module, constants)
            _keep(path, code)
        return _link(code)


@cache
def processor() -> str:
    """Name the processor and its features, as LLVM calls them."""
    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


@cache
def registers() -> tuple[int, int]:
    """Return the vector registers of this processor: how many, and of how many float32."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f") and features.get("avx512vl"):
        return 32, 16
    if features.get("avx2") and features.get("fma"):
        return 16, 8
    return (32, 4) if features.get("neon") else (16, 4)


@cache
def _source() -> str:
    """Return a digest of everything that a unit's machine code depends on, but its constants."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for part in sorted([here / "job.py", here / "machine.py", *here.glob("source/*.py")]):
        digest.update(part.read_bytes())
    # Numba's version as its file has it: importing Numba, or asking for its metadata, takes longer
    # than linking.
    numba = find_spec("numba")
    if numba is not None and numba.origin is not None:
        digest.update((Path(numba.origin).parent / "_version.py").read_bytes())
    for text in (llvmlite.__version__, sys.version, processor()):
        digest.update(text.encode())
    return digest.hexdigest()


def _name(module: str, constants: Constants) -> str:
    text = "-".join([module, *map(str, constants)])
    return f"{text}-{hashlib.sha256((_source() + text).encode()).hexdigest()[:16]}"


@cache
def _folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("convtool", appauthor=False) / "machine-code"


def _read(path: Path) -> bytes | None:
    """Return the object file, if it is there and whole: its digest stands before it."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:32], data[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    """Write an object file whole or not at all; where that cannot be, go on without."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(file.name, path)
    except OSError as error:
        logger.info("compiled code cannot be kept in %s: %s", path.parent, error.strerror)


def _compile(module: str, constants: Constants) -> bytes:
    global _announced
    if not _announced:
        _announced = True
        logger.info("compiling for this machine, once: about a second")
    from numba import cfunc

    from convtool.engine.cpu.source.memory import OPTIONS

    unit: Callable[..., Any] = import_module(f"convtool.engine.cpu.source.{module}").unit
    signature, function = unit(*constants)
    started = perf_counter()
    compiled: Any = cfunc(signature, **OPTIONS)(function)
    text = compiled.inspect_llvm().replace(compiled._wrapper_name, SYMBOL)
    code: bytes = _machine().emit_object(llvm.parse_assembly(text))
    logger.debug("compiled %s %s in %.2f s", module, constants, perf_counter() - started)
    return code


@cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="pic",
        codemodel="jitdefault",
    )


@cache
def _linker() -> Any:
    return llvm.create_lljit_compiler(_machine(), use_jit_link=False)


# Linked code lives as long as something holds its tracker.
_linked: list[Any] = []


def _link(code: bytes) -> int:
    library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    tracker = library.export_symbol(SYMBOL).link(_linker(), f"unit{len(_linked)}")
    _linked.append(tracker)
    return int(tracker[SYMBOL])
