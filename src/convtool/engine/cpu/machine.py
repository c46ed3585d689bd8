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
from typing import TYPE_CHECKING, Any

from convtool.engine import cache as kept
from convtool.engine.cache import State, clear, folder
from convtool.engine.cores import cores
from convtool.engine.cpu.flat import Image
from convtool.engine.cpu.processor import processor, registers
from convtool.errors import EngineError

if TYPE_CHECKING:
    from subprocess import Popen

__all__ = [
    "State",
    "address",
    "clear",
    "compile_and_keep",
    "compile_elsewhere",
    "folder",
    "how",
    "name_of",
    "processor",
    "registers",
    "state",
]

logger = logging.getLogger("convtool")

# A unit's name in its object file.
SYMBOL = "convtool_unit"

Constants = tuple[int | str, ...]

# What a kept file holds behind its kind.
_FLAT, _OBJECT = b"F", b"O"

_lock = Lock()
_addresses: dict[tuple[int | str, ...], int] = {}

# Code lives as long as something holds its memory; a process must not be forgotten while it runs.
_held: list[Any] = []


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
    unit = (module, *constants)
    with _lock:  # whoever asks for the same meanwhile waits, and does not compile it again
        if unit not in _addresses:
            name = name_of(module, *constants)
            content = kept.read(name) or _from_elsewhere(name)
            _addresses[unit] = _load(content or compile_and_keep(module, *constants))
        return _addresses[unit]


def name_of(module: str, *constants: int | str) -> str:
    """Return the name under which a unit is kept."""
    return f"{'-'.join([module, *map(str, constants)])}.{tag()}"


def compile_and_keep(module: str, *constants: int | str) -> bytes:
    """Compile a unit; return what was put into the cache, if that can be."""
    content = _compile(module, constants)
    kept.keep(name_of(module, *constants), content)
    return content


# The processes that compile units for this one, by the units' names; and what they were ever asked
# for, for nothing is asked twice.
_elsewhere: dict[str, "Popen[str]"] = {}
_asked: set[tuple[Any, ...]] = set()
_asking = Lock()


def compile_elsewhere(units: list[tuple[Any, ...]]) -> None:
    """Let other processes compile what is missing, while this one compiles something else.

    A blur needs four units, which one after the other take 4 seconds. What the others do not
    manage is compiled here, when it is asked for.

    Parameters
    ----------
    units : list of (module, *constants)
        As for `address`.
    """
    with _asking:
        new = [unit for unit in units if unit not in _asked]
        _asked.update(new)
        missing = [unit for unit in new if kept.read(name_of(*unit)) is None]
        if missing and cores() > 1 and not kept.problem():
            _begin_elsewhere(missing)


def _begin_elsewhere(missing: list[tuple[Any, ...]]) -> None:
    import json
    from subprocess import DEVNULL, PIPE, Popen

    _announce()
    command = [sys.executable, "-P", "-m", "convtool.engine.cpu.elsewhere"]
    others = min(cores() - 1, len(missing))
    for share in (missing[n::others] for n in range(others)):
        try:
            process = Popen(
                [*command, json.dumps(share)], stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, text=True
            )
        except OSError:
            return
        _elsewhere.update({name_of(*unit): process for unit in share})
        _held.append(process)


def _from_elsewhere(name: str) -> bytes | None:
    """Wait for a unit that another process compiles; None where it does not."""
    process = _elsewhere.pop(name, None)
    if process is None or process.stdout is None:
        return None
    for line in process.stdout:
        if line.strip() == name:
            break
    else:
        process.wait()
    return kept.read(name)


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
    logger.info("compiling for this machine, once: a few seconds")


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
