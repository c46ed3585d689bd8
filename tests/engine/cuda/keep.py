"""Ask for a kernel as on an H100, with no driver; say where it came from. For a process of its own.

    python keep.py VARIANT

Whatever asks the driver something is told what an H100 would say; the compiler and the linker are
the real ones. In place of being loaded, the machine code is looked at.
"""

import hashlib
import json
import sys
from types import SimpleNamespace
from typing import Any

from numba import cuda
from numba.cuda import codegen, dispatcher
from numba.cuda.cudadrv import nvvm

from convtool.engine.cuda import device, kept

H100 = SimpleNamespace(compute_capability=(9, 0), id=0)

compilations = []


def scale(places: Any, factor: Any) -> None:
    """Multiply in place."""
    i = cuda.grid(1)
    if i < places.size:
        places[i] *= factor


def shift(places: Any, factor: Any) -> None:
    """Add in place."""
    i = cuda.grid(1)
    if i < places.size:
        places[i] += factor


def pretend() -> None:
    """Answer for the driver, and count what is compiled."""
    device.problem = lambda number=0: None
    cuda.get_current_device = dispatcher.get_current_device = lambda: H100
    codegen.CUDACodeLibrary._ensure_cc = lambda self, cc: cc or (9, 0, "a")
    dispatcher._Kernel.bind = lambda self: self._codelibrary.get_cubin()
    compile_ir = nvvm.compile_ir

    def counted(*args: Any, **options: Any) -> Any:
        compilations.append(options["arch"])
        return compile_ir(*args, **options)

    nvvm.compile_ir = counted


def main(variant: str) -> None:
    """Compile or load a kernel, and print what came of it."""
    pretend()
    function = shift if variant == "shift" else scale
    kernel = cuda.jit(function, fastmath=variant == "fast")
    kept.attach(kernel, "scale-3x3")
    if variant == "disabled":
        kernel._cache.disable()
    types = "float64" if variant == "float64" else "float32"
    compiled = kernel.compile(f"void({types}[::1], {types})")
    library = compiled.library
    facts = {
        "compilations": len(compilations),
        "cubin": hashlib.sha256(library.get_cubin().code).hexdigest(),
        "name": compiled.entry_name,
        "arguments": [str(kind) for kind in compiled.argument_types],
        "state": kept.state()[2:],
    }
    # Another GPU, later in the same process: from the intermediate code.
    facts["other"] = len(library.get_cubin(cc=(8, 0)).code) > 0
    facts["after"] = compilations
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
