"""Memory at an address: how compiled code reaches the arrays that Python made for it."""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Every unit is called with addresses and whole numbers, and gives nothing back.
ADDRESS = types.uintp
COUNT = types.intp

# No reference counts, since later processes have no Numba to count them; no exceptions.
# Contraction allows fused multiply-adds. No other liberty of fast-math: NaN and infinity must
# come through, and results must not depend on how loops are split.
OPTIONS: Any = {"_nrt": False, "error_model": "numpy", "fastmath": {"contract"}}

# Parts of a unit become one function with it: a call of its own could raise, for all LLVM knows.
PART: Any = {**OPTIONS, "forceinline": True}


def at(kind: Any) -> Any:
    """Return a compiled function (address) -> pointer to `kind`, which is indexed like an array.

    Unlike an array's, its index is not tested for counting from the end, which keeps LLVM from
    vectorising (5 to 10 times slower).
    """

    @intrinsic
    def pointer(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(ADDRESS), codegen

    return pointer


def record_at(dtype: Any) -> Any:
    """Return a compiled function (address) -> record of that structured dtype."""
    kind = numba.from_dtype(dtype)

    @intrinsic
    def record(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(ADDRESS), codegen

    return record


floats = at(types.float32)
numbers = at(types.int64)
addresses = at(types.uintp)


def call(*kinds: Any) -> Any:
    """Return a compiled function (address, *arguments) that calls the unit at that address."""

    @intrinsic
    def calling(typingctx: Any, address: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            values = cgutils.unpack_tuple(builder, args[1])
            unit = ir.FunctionType(ir.VoidType(), [value.type for value in values])
            builder.call(builder.inttoptr(args[0], unit.as_pointer()), values)
            return context.get_dummy_value()

        return types.void(ADDRESS, types.StarArgTuple(kinds)), codegen

    return calling
