"""Several numbers at a time: loads and stores of up to 16 bytes.

One access of 16 bytes takes a quarter of the instructions that four of 4 bytes take, and all it
asks is that the first number lies at a multiple of its size; rows are laid out for that.

Numba's own indices may be negative and then count from the end, which it looks at in every access:
of the instructions of a large kernel's sums that was two thirds.
"""

from typing import Any

import numpy as np

from convtool.engine.cuda.device import simulated

f4 = np.float32

if simulated():

    def load(array: Any, index: int, count: int, vector: int) -> tuple[Any, ...]:
        """Return `count` numbers from a place on, as float32, so many by one access."""
        return tuple(f4(array[index + i]) for i in range(count))

    def number(array: Any, index: int) -> Any:
        """Return the number at a place, as float32."""
        return f4(array[index])

    def store(array: Any, index: int, values: tuple[Any, ...]) -> None:
        """Put numbers side by side; into whole types, which hold them, rounded to nearest even."""
        for i, value in enumerate(values):
            array[index + i] = value if array.dtype == f4 else int(np.rint(value))

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import intrinsic

    WORD = ir.IntType(32)

    def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
        """Return the address of a number of an array, as that of a vector."""
        data = context.make_array(kind)(context, builder, array).data
        return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

    def _words(size: int, count: int) -> int:
        """Return how many words of 4 bytes so many numbers of that size are."""
        assert size * count in (4, 8, 16), "an access is one, two or four words"
        return size * count // 4

    @intrinsic
    def load(typingctx: Any, array: Any, index: Any, count: Any, vector: Any) -> Any:
        """Return `count` numbers from a place on, as float32, so many by one access."""
        literal = types.IntegerLiteral
        if not (isinstance(count, literal) and isinstance(vector, literal)):
            return None
        number, together = count.literal_value, vector.literal_value
        size = array.dtype.bitwidth // 8
        signature = types.UniTuple(types.float32, number)(array, types.int64, count, vector)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            each: list[Any] = []
            for first in range(0, number, together):
                at = builder.add(args[1], args[1].type(first))
                if together == 1:
                    each.append(_single(context, builder, array, args[0], at, size))
                else:
                    words = _words(size, together)
                    each += _several(context, builder, array, args[0], at, size, words)
            return context.make_tuple(builder, signature.return_type, each)

        return signature, codegen

    @intrinsic
    def number(typingctx: Any, array: Any, index: Any) -> Any:
        """Return the number at a place, as float32."""
        size = array.dtype.bitwidth // 8

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _single(context, builder, array, args[0], args[1], size)

        return types.float32(array, types.int64), codegen

    def _single(context: Any, builder: Any, kind: Any, array: Any, at: Any, size: int) -> Any:
        """Load one number, as float32."""
        single = ir.FloatType() if size == 4 else ir.IntType(8 * size)
        value = builder.load(_place(context, builder, kind, array, at, single))
        return value if size == 4 else _real(builder, builder.zext(value, WORD))

    def _several(
        context: Any, builder: Any, kind: Any, array: Any, at: Any, size: int, words: int
    ) -> list[Any]:
        """Load so many words of 4 bytes, as float32."""
        single = ir.FloatType() if size == 4 else WORD
        vector = ir.VectorType(single, words)
        loaded = builder.load(_place(context, builder, kind, array, at, vector))
        loaded.align = 4 * words
        each = [builder.extract_element(loaded, WORD(i)) for i in range(words)]
        if size == 4:
            return each
        mask = WORD((1 << 8 * size) - 1)
        return [
            _real(builder, builder.and_(builder.lshr(word, WORD(shift)), mask))
            for word in each
            for shift in range(0, 32, 8 * size)
        ]

    def _real(builder: Any, whole: Any) -> Any:
        """Return a whole number below 2^23 as float32; converting takes four times as long."""
        above = builder.bitcast(builder.or_(whole, WORD(0x4B000000)), ir.FloatType())
        return builder.fsub(above, ir.Constant(ir.FloatType(), 8388608.0))

    @intrinsic
    def store(typingctx: Any, array: Any, index: Any, values: Any) -> Any:
        """Put numbers side by side; into whole types, which hold them, rounded to nearest even."""
        size, number = array.dtype.bitwidth // 8, len(values)
        words = 0 if number == 1 else _words(size, number)
        signature = types.void(array, types.int64, values)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            each = cgutils.unpack_tuple(builder, args[2])
            if size < 4:
                each = [_whole(builder, value, size) for value in each]
            if words == 0:
                kind = ir.FloatType() if size == 4 else ir.IntType(8 * size)
                value = each[0] if size == 4 else builder.trunc(each[0], kind)
                builder.store(value, _place(context, builder, array, args[0], args[1], kind))
                return context.get_dummy_value()
            if size < 4:
                each = _packed(builder, each, size)
            vector = ir.VectorType(each[0].type, words)
            together = ir.Constant(vector, ir.Undefined)
            for i, value in enumerate(each):
                together = builder.insert_element(together, value, WORD(i))
            place = _place(context, builder, array, args[0], args[1], vector)
            builder.store(together, place).align = 4 * words
            return context.get_dummy_value()

        return signature, codegen

    def _whole(builder: Any, value: Any, size: int) -> Any:
        """Return a number from 0 on as a whole one; converting takes four times as long.

        Of float32 between 2^23 and 2^24 the last bits are those of the whole number above 2^23,
        and the addition rounds as all additions do.
        """
        above = builder.fadd(value, ir.Constant(ir.FloatType(), 8388608.0))
        return builder.and_(builder.bitcast(above, WORD), WORD((1 << 8 * size) - 1))

    def _packed(builder: Any, whole: list[Any], size: int) -> list[Any]:
        """Return whole numbers as words of 4 bytes."""
        per, words = 4 // size, []
        for first in range(0, len(whole), per):
            word = whole[first]
            for i in range(1, per):
                word = builder.or_(word, builder.shl(whole[first + i], WORD(8 * size * i)))
            words.append(word)
        return words
