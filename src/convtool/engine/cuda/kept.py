"""Compiled kernels, kept on disk between processes.

Numba's own cache is not used. It looks at one source file of each kernel, not at what the kernel
calls; and it unpickles, which is to execute, whatever lies in a folder that nobody looks at. What
is kept here is a cubin and a few facts as JSON, in the folder of compiled code, which is looked at
(`engine.cache`). A process that finds its kernels there compiles nothing.

Numba's intermediate code is kept as well: a process that goes on to a GPU of another kind has the
kernel compiled for that one from there.
"""

import json
import logging
import sys
import zlib
from functools import cache
from importlib import metadata
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from convtool.engine import cache as kept
from convtool.engine.cache import State
from convtool.engine.cuda import device

__all__ = ["attach", "state", "tag"]

logger = logging.getLogger("convtool")

LIBRARIES = "numba", "numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink"

# What Numba is told of a kernel that changes its code.
OPTIONS = "debug fastmath forceinline launch_bounds lineinfo lto max_registers opt".split()

# What of a kernel and of its library is kept, by Numba's names: all that is plain data.
KERNEL = "name cooperative debug lineinfo shared_memory_carveout launch_config_sensitive".split()
LIBRARY = (
    "name entry_name llvm_strs max_registers nvvm_options needs_cudadevrt nrt use_cooperative lto"
).split()

LENGTH_BYTES = 8


def attach(dispatcher: Any, name: str) -> None:
    """Have the kernels of a dispatcher kept, and taken from where they were kept.

    They are compiled without optimisation at link time, with which everything would be compiled
    twice, and the code that runs would not be what the assembler makes of a kernel's PTX, of which
    the tests know how many registers it takes.

    Has no effect under the simulator, which compiles nothing.

    Parameters
    ----------
    dispatcher : numba.cuda.dispatcher.CUDADispatcher
        Of a kernel whose source is in `convtool.engine.cuda.source`.
    name : str
        Of the kernel and what it is specialised for: a part of a file's name.
    """
    if not device.simulated():
        dispatcher.targetoptions["lto"] = False
        dispatcher._cache = Keeper(dispatcher, name)


def state() -> State:
    """Look at the folder: the kernels for these sources and this compiler."""
    return kept.state(tag())


@cache
def tag() -> str:
    """Return a digest of what all kernels depend on: their sources, and what compiles them."""
    digest = kept.blake2b(digest_size=16)
    here = Path(__file__)
    for source in sorted([here, *here.parent.glob("source/*.py")]):
        digest.update(source.read_bytes())
    for text in (sys.version, *map(_version, LIBRARIES)):
        digest.update(text.encode() + b"\0")
    return str(digest.hexdigest())


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:  # NVVM may as well come with a toolkit of the system
        return ""


class Keeper:
    """What stands where a dispatcher has Numba's cache: it has the methods of that.

    Parameters
    ----------
    dispatcher : numba.cuda.dispatcher.CUDADispatcher
    name : str
        As for `attach`.
    """

    cache_path = property(lambda self: str(kept.folder()))

    def __init__(self, dispatcher: Any, name: str) -> None:
        self._name = name
        told = {option: dispatcher.targetoptions.get(option) for option in OPTIONS}
        self._identity = repr((sorted(told.items()), _identity(dispatcher.py_func.__code__)))
        self._enabled = True

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kernel for these types, if it was kept; else None, and it is compiled."""
        if not self._enabled:
            return None
        content = kept.read(self._file(sig))
        if content is None:
            _announce()
            return None
        return Copy.unpack(content).kernel(_types(sig))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel that was compiled."""
        if self._enabled and (copy := Copy.of(data)) is not None:
            kept.keep(self._file(sig), copy.pack())

    def enable(self) -> None:
        """Keep kernels, and take them."""
        self._enabled = True

    def disable(self) -> None:
        """Neither keep kernels nor take them."""
        self._enabled = False

    def flush(self) -> None:
        """Do nothing: a kernel whose source changed has another name."""

    def _file(self, sig: Any) -> str:
        major, minor = device.numba_cuda().get_current_device().compute_capability
        digest = kept.blake2b(digest_size=6)
        digest.update(repr((self._identity, [str(kind) for kind in _types(sig)])).encode())
        return f"gpu-{self._name}-{digest.hexdigest()}-sm_{major}{minor}.{tag()}"


class Copy(NamedTuple):
    """What is kept of a kernel.

    Parameters
    ----------
    told : dict
        Of the kernel and of its library, what KERNEL and LIBRARY name.
    cubin : bytes
        The machine code.
    """

    told: dict[str, dict[str, Any]]
    cubin: bytes

    @classmethod
    def of(cls, compiled: Any) -> "Copy | None":
        """Copy a kernel; nothing if there is more to it than its code.

        Such are kernels made for one size of the grid, with code of others linked in, with own
        ways of taking arguments, or that raise exceptions.
        """
        library = compiled._codelibrary
        more = (
            compiled.launch_config_sensitive,
            compiled.debug,
            compiled.extensions,
            library._linking_files,
            library._setup_functions,
            library._teardown_functions,
        )
        if any(more):
            return None
        states, parts = compiled._reduce_states(), library._reduce_states()
        told = {
            "kernel": {key: states[key] for key in KERNEL},
            "library": {key: parts[key] for key in LIBRARY},
        }
        return cls(told, bytes(library.get_cubin().code))

    def pack(self) -> bytes:
        """Return what is written into the file."""
        told = zlib.compress(json.dumps(self.told).encode())
        return len(told).to_bytes(LENGTH_BYTES, "little") + told + self.cubin

    @classmethod
    def unpack(cls, content: bytes) -> "Copy":
        """Return what `pack` has packed."""
        end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
        return cls(json.loads(zlib.decompress(content[LENGTH_BYTES:end])), content[end:])

    def kernel(self, types: tuple[Any, ...]) -> Any:
        """Make a kernel for arguments of these types again, with nothing to compile."""
        from cuda.core import ObjectCode
        from numba.cuda import types as numba_types
        from numba.cuda.codegen import CUDACodeLibrary
        from numba.cuda.dispatcher import _Kernel
        from numba.cuda.typing import signature

        library = CUDACodeLibrary._rebuild(
            codegen=None, ptx_cache={}, cubin_cache={}, linkerinfo_cache={}, **self.told["library"]
        )
        library._cubin_cache[library._ensure_cc(None)] = ObjectCode.from_cubin(self.cubin)
        return _Kernel._rebuild(
            signature=signature(numba_types.none, *types),
            codelibrary=library,
            call_helper=None,  # for kernels that raise exceptions
            extensions=[],
            **self.told["kernel"],
        )


def _types(sig: Any) -> tuple[Any, ...]:
    from numba.cuda.core.sigutils import normalize_signature

    types, _ = normalize_signature(sig)
    return tuple(types)


def _identity(code: CodeType) -> tuple[Any, ...]:
    """Return what makes a function's code, wherever it stands: kernels are written out as text."""
    constants = [
        _identity(constant) if isinstance(constant, CodeType) else repr(constant)
        for constant in code.co_consts
    ]
    return code.co_name, code.co_code, code.co_names, code.co_varnames, constants


@cache
def _announce() -> None:
    logger.info("compiling for this GPU, once: a few seconds")
