"""Machine code: compiled by Numba once, kept in the user's cache, loaded without Numba ever after.

The engine's loops are *units*: functions of addresses and whole numbers that cannot raise. Numba
compiles a unit the first time this machine needs it. What is kept is a flat image where that can be
(`flat`), which a later process copies into memory of its own and calls, else the object file, which
llvmlite links: that takes no Numba either, but an import of 25 to 100 ms.
"""

import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

from convtool.engine.cpu import cache as kept
from convtool.engine.cpu.cache import State, clear, folder
from convtool.engine.cpu.flat import Image
from convtool.engine.cpu.processor import processor, registers
from convtool.errors import EngineError

__all__ = ["State", "address", "clear", "folder", "how", "processor", "registers", "state"]

logger = logging.getLogger("convtool")

# A unit's name in its object file.
SYMBOL = "convtool_unit"

Constants = tuple[int | str, ...]

# What a kept file holds behind its kind.
_FLAT, _OBJECT = b"F", b"O"

_lock = Lock()


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
        name = f"{'-'.join([module, *map(str, constants)])}.{tag()}"
        content = kept.read(name)
        if content is None:
            content = _compile(module, constants)
            kept.keep(name, content)
        return _load(content)


def state() -> State:
    """Look at the folder where compiled code is kept."""
    return kept.state(tag())


def how() -> str:
    """Say how kept code is loaded on this machine."""
    if _flat_machine():
        return "copied into memory as it is"
    return "linked by llvmlite"


@cache
def tag() -> str:
    """Return a digest of everything that machine code depends on, but a unit's constants."""
    digest = kept.blake2b(digest_size=16)
    here = Path(__file__).parent
    sources = (here / name for name in ("job.py", "machine.py", "flat.py"))
    for part in sorted([*sources, *here.glob("source/*.py")]):
        digest.update(part.read_bytes())
    # Versions as their files have them: importing Numba, or asking for metadata, takes longer
    # than all the rest.
    for library in ("numba", "llvmlite"):
        found = find_spec(library)
        if found is not None and found.origin is not None:
            digest.update((Path(found.origin).parent / "_version.py").read_bytes())
    for text in (sys.version, processor().identity):
        digest.update(text.encode())
    return str(digest.hexdigest())


def _flat_machine() -> bool:
    """Whether flat images run here: the system calls and the object files are known."""
    return sys.platform == "linux" and os.uname().machine == "x86_64"


@cache
def _announce() -> None:
    logger.info("compiling for this machine, once: about a second")


def _compile(module: str, constants: Constants) -> bytes:
    _announce()
    import llvmlite.binding as llvm
    from numba import cfunc

    from convtool.engine.cpu.flat import flatten
    from convtool.engine.cpu.source.memory import OPTIONS

    unit: Callable[..., Any] = import_module(f"convtool.engine.cpu.source.{module}").unit
    signature, function = unit(*constants)
    started = perf_counter()
    compiled: Any = cfunc(signature, **OPTIONS)(function)
    text = compiled.inspect_llvm().replace(compiled._wrapper_name, SYMBOL)
    code: bytes = _target().emit_object(llvm.parse_assembly(text))
    logger.debug("compiled %s %s in %.2f s", module, constants, perf_counter() - started)
    image = flatten(code, SYMBOL) if _flat_machine() else None
    if image is None:
        return _OBJECT + code
    return _FLAT + image.pack()


@cache
def _target() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="pic",
        # The parts of one flat image lie near one another, those that a linker puts anywhere may
        # not.
        codemodel="small" if _flat_machine() else "jitdefault",
    )


def _load(content: bytes) -> int:
    kind, content = content[:1], content[1:]
    if kind == _OBJECT:
        return _link(content)
    return _place(Image.unpack(content))


# Code lives as long as something holds its memory.
_held: list[Any] = []


def _place(image: Image) -> int:
    """Copy a flat image into memory that may then be executed, and no longer written to."""
    import ctypes
    import mmap

    memory = mmap.mmap(-1, len(image.code), prot=mmap.PROT_READ | mmap.PROT_WRITE)
    memory.write(image.code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    library = ctypes.CDLL(None, use_errno=True)
    for name, at in image.imports:
        function = ctypes.cast(getattr(library, name), ctypes.c_void_p)
        ctypes.c_uint64.from_buffer(memory, at).value = function.value or 0
    protect = library.mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    if protect(start, len(image.code), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        number = ctypes.get_errno()
        raise EngineError(
            f"the cpu engine needs memory that may be executed: {os.strerror(number)}",
            "use --engine numpy",
        )
    _held.append(memory)
    return start + image.entry


def _link(code: bytes) -> int:
    import llvmlite.binding as llvm

    library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    tracker = library.export_symbol(SYMBOL).link(_linker(), f"unit{len(_held)}")
    _held.append(tracker)
    return int(tracker[SYMBOL])


@cache
def _linker() -> Any:
    import llvmlite.binding as llvm

    return llvm.create_lljit_compiler(_target(), use_jit_link=False)
