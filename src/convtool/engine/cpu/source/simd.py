"""Vectors in registers: what the innermost loops are written in.

LLVM does not keep a Numba array of accumulators in registers, and it vectorises a loop over taps
only when their number is known. So the innermost loops are emitted as they should run: vectors of
float32, a block of accumulators, one multiply-add for each. An `Emitter` is a thin layer over
llvmlite's builder that makes such a loop read like its pseudocode.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir
from numba.core import cgutils

FLOAT = ir.FloatType()
INT = ir.IntType(64)
PIXELS = {"uint8": ir.IntType(8), "uint16": ir.IntType(16), "float32": FLOAT}


class Emitter:
    """Emits code over vectors of `lanes` float32."""

    def __init__(self, builder: ir.IRBuilder, lanes: int) -> None:
        self.builder = builder
        self.lanes = lanes
        self.vector = ir.VectorType(FLOAT, lanes)
        self.zero = ir.Constant(self.vector, None)
        # Fused where the processor can, and always the same two steps where it cannot.
        self._fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fmuladd.v{lanes}f32",
        )

    def number(self, value: int) -> ir.Constant:
        """Return an integer constant."""
        return ir.Constant(INT, value)

    def floats(self, address: ir.Value) -> ir.Value:
        """Take an address as a pointer to float32."""
        return self.builder.inttoptr(address, FLOAT.as_pointer())

    def integers(self, address: ir.Value) -> ir.Value:
        """Take an address as a pointer to int64."""
        return self.builder.inttoptr(address, INT.as_pointer())

    def add(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        """Add two integers."""
        return self.builder.add(a, self.number(b) if isinstance(b, int) else b)

    def times(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        """Multiply two integers."""
        return self.builder.mul(a, self.number(b) if isinstance(b, int) else b)

    def at(self, pointer: ir.Value, index: ir.Value | int) -> ir.Value:
        """Return the pointer `index` elements further on."""
        return self.builder.gep(pointer, [self.number(index) if isinstance(index, int) else index])

    def item(self, pointer: ir.Value, index: ir.Value | int) -> ir.Value:
        """Load one number."""
        return self.builder.load(self.at(pointer, index))

    def load(self, pointer: ir.Value, index: ir.Value | int = 0) -> ir.Value:
        """Load a vector, from any address that a float32 may have."""
        place = self.builder.bitcast(self.at(pointer, index), self.vector.as_pointer())
        return self.builder.load(place, align=4)

    def store(self, value: ir.Value, pointer: ir.Value, index: ir.Value | int = 0) -> None:
        """Store a vector likewise."""
        place = self.builder.bitcast(self.at(pointer, index), self.vector.as_pointer())
        self.builder.store(value, place, align=4)

    def load_some(self, pointer: ir.Value, index: ir.Value, lanes: int) -> ir.Value:
        """Load a vector of any number of lanes."""
        kind = ir.VectorType(FLOAT, lanes)
        place = self.builder.bitcast(self.at(pointer, index), kind.as_pointer())
        return self.builder.load(place, align=4)

    def store_some(self, value: ir.Value, pointer: ir.Value, index: ir.Value) -> None:
        """Store a vector of any number of lanes."""
        place = self.builder.bitcast(self.at(pointer, index), value.type.as_pointer())
        self.builder.store(value, place, align=4)

    def splat(self, pointer: ir.Value, index: ir.Value | int = 0) -> ir.Value:
        """Load one number into every lane."""
        return self.fill(self.item(pointer, index))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return a·b + c."""
        return self.builder.call(self._fma, [a, b, c])

    def accumulator(self) -> ir.Value:
        """Return a variable that holds a vector of zeros; LLVM keeps it in a register."""
        variable = cgutils.alloca_once_value(self.builder, self.zero)
        self.builder.store(self.zero, variable)
        return variable

    def accumulate(self, a: ir.Value, b: ir.Value, variable: ir.Value) -> None:
        """Add a·b to an accumulator."""
        self.builder.store(self.fma(a, b, self.builder.load(variable)), variable)

    @contextmanager
    def loop(self, stop: ir.Value, step: int = 1) -> Iterator[ir.Value]:
        """Repeat what is emitted inside for 0, step, 2·step … below `stop`."""
        slices = cgutils.for_range_slice(self.builder, self.number(0), stop, self.number(step))
        with slices as (index, _):
            yield index

    def fill(self, value: ir.Value, count: int = 0) -> ir.Value:
        """Return a vector of one number."""
        count = count or self.lanes
        nothing = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
        return self._shuffle(one, nothing, [0] * count)

    def pixels(self, address: ir.Value, kind: str) -> ir.Value:
        """Take an address as a pointer to pixels of a type by its NumPy name."""
        return self.builder.inttoptr(address, PIXELS[kind].as_pointer())

    def widen(self, pixels: ir.Value, index: ir.Value) -> ir.Value:
        """Load pixels as a vector of float32."""
        kind = pixels.type.pointee
        vector = ir.VectorType(kind, self.lanes)
        place = self.builder.bitcast(self.at(pixels, index), vector.as_pointer())
        loaded = self.builder.load(place, align=1 if kind == PIXELS["uint8"] else 2)
        if kind == FLOAT:
            loaded.align = 4
            return loaded
        whole = self.builder.zext(loaded, ir.VectorType(ir.IntType(32), self.lanes))
        return self.builder.sitofp(whole, self.vector)

    def pick(self, vectors: list[ir.Value], places: list[int]) -> ir.Value:
        """Return the lanes at `places` of the vectors laid end to end."""
        whole = vectors[0]
        for vector in vectors[1:]:
            size, more = whole.type.count, vector.type.count
            if more < size:  # both sides of a shuffle must be as wide
                vector = self._shuffle(vector, vector, [*range(more), *[0] * (size - more)])
            whole = self._shuffle(whole, vector, list(range(size + more)))
        return self._shuffle(whole, whole, places)

    def _shuffle(self, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
        index = ir.IntType(32)
        mask = ir.Constant(ir.VectorType(index, len(lanes)), [ir.Constant(index, n) for n in lanes])
        return self.builder.shuffle_vector(a, b, mask)

    def narrow(self, value: ir.Value, full: ir.Value, pixels: ir.Value, index: ir.Value) -> None:
        """Store a vector as pixels: whole numbers rounded to even and limited to 0 … full."""
        b, kind, count = self.builder, pixels.type.pointee, value.type.count
        align = 4
        if kind != FLOAT:
            align = kind.width // 8
            floats, integers = ir.VectorType(FLOAT, count), ir.VectorType(ir.IntType(32), count)
            zero, top = ir.Constant(floats, None), self.fill(full, count)
            value = b.select(b.fcmp_ordered(">", value, zero), value, zero)  # NaN is not
            value = b.select(b.fcmp_ordered("<", value, top), value, top)
            rint = cgutils.get_or_insert_function(
                b.module,
                ir.FunctionType(integers, [floats]),
                f"llvm.lrint.v{count}i32.v{count}f32",
            )
            value = b.trunc(b.call(rint, [value]), ir.VectorType(kind, count))
        place = b.bitcast(self.at(pixels, index), value.type.as_pointer())
        b.store(value, place, align=align)
