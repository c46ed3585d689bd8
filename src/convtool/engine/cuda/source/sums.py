"""Sums in registers: tuples of float32, and the blocks of multiply-adds on them.

Written as statements, a block of some hundred multiply-adds takes Numba seconds to understand; here
each is one operation, which writes the multiply-adds itself. What a GPU compiles is the same.
"""

from typing import Any

import numpy as np

from convtool.engine.cuda.device import simulated

f4 = np.float32
Values = tuple[Any, ...]

if simulated():

    def zeros(count: int) -> Values:
        """Return so many sums of nothing."""
        return (f4(0),) * count

    def placed(values: Values, place: int, value: Any) -> Values:
        """Return the values with another one at a place."""
        return (*values[:place], value, *values[place + 1 :])

    def picked(values: Values, place: int) -> Any:
        """Return the value at a place that is found out at run time."""
        return values[place]

    def replaced(values: Values, place: int, value: Any) -> Values:
        """Return the values with another one at a place that is found out at run time."""
        return placed(values, place, value)

    def rounded(value: Any) -> Any:
        """Round to nearest even."""
        return f4(np.rint(value))

    def within(value: Any, full: Any) -> Any:
        """Limit a number to what is from 0 to full; what is no number becomes 0."""
        value = value if value > 0 else f4(0)
        return value if value < full else full

    def outer(sums: Values, left: Values, right: Values) -> Values:
        """Add every product of a number on the left and one on the right."""
        wide = len(right)
        return tuple(
            sums[i * wide + n] + left[i] * right[n] for i in range(len(left)) for n in range(wide)
        )

    def slid(sums: Values, window: Values, weight: Any, first: int) -> Values:
        """Add the numbers of a window, which begins at a place and goes around, times a weight."""
        count = len(sums)
        return tuple(sums[i] + weight * window[(first + i) % count] for i in range(count))

    def walked(
        sums: Values, row: Values, weights: Values, rows: int, columns: int, apart: int
    ) -> Values:
        """Move sums (filters, rows, wide) up by a row, and add a row's products to all.

        Parameters
        ----------
        sums : tuple
            Those of `rows` output rows for each filter, of which the first gets its last products.
        row : tuple
            Numbers of an input row; a tap further on reads `apart` numbers further on.
        weights : tuple
            (filters, rows, columns).
        """
        filters = len(weights) // (rows * columns)
        wide = len(sums) // (filters * rows)
        found = []
        for f in range(filters):
            for s in range(rows):
                at = (f * rows + rows - 1 - s) * columns
                for v in range(wide):
                    sum_ = sums[(f * rows + s + 1) * wide + v] if s + 1 < rows else f4(0)
                    for b in range(columns):
                        sum_ = sum_ + weights[at + b] * row[v + b * apart]
                    found.append(sum_)
        return tuple(found)

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import intrinsic

    FLOAT = ir.FloatType()
    NOTHING = ir.Constant(FLOAT, 0.0)

    def _literal(value: Any) -> bool:
        return isinstance(value, types.IntegerLiteral)

    def _tuple_of(count: int) -> Any:
        return types.UniTuple(types.float32, count)

    @intrinsic
    def zeros(typingctx: Any, count: Any) -> Any:
        """Return so many sums of nothing."""
        if not _literal(count):
            return None
        signature = _tuple_of(count.literal_value)(count)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = signature.return_type
            return context.make_tuple(builder, kind, [NOTHING] * kind.count)

        return signature, codegen

    @intrinsic
    def placed(typingctx: Any, values: Any, place: Any, value: Any) -> Any:
        """Return the values with another one at a place."""
        if not _literal(place):
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.insert_value(args[0], args[2], place.literal_value)

        return values(values, place, types.float32), codegen

    # A tuple has no address: whichever place it is, is chosen among all of them. That takes as many
    # steps as there are values, which matters at the end of the work only.

    @intrinsic
    def picked(typingctx: Any, values: Any, place: Any) -> Any:
        """Return the value at a place that is found out at run time."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            found, *others = cgutils.unpack_tuple(builder, args[0])
            for number, value in enumerate(others, start=1):
                here = builder.icmp_signed("==", args[1], args[1].type(number))
                found = builder.select(here, value, found)
            return found

        return types.float32(values, types.int64), codegen

    @intrinsic
    def replaced(typingctx: Any, values: Any, place: Any, value: Any) -> Any:
        """Return the values with another one at a place that is found out at run time."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            made = [
                builder.select(
                    builder.icmp_signed("==", args[1], args[1].type(number)), args[2], old
                )
                for number, old in enumerate(cgutils.unpack_tuple(builder, args[0]))
            ]
            return context.make_tuple(builder, signature.return_type, made)

        return values(values, types.int64, types.float32), codegen

    @intrinsic
    def rounded(typingctx: Any, value: Any) -> Any:
        """Round to nearest even."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            # Not by adding and subtracting, which would be made one with a scale before it.
            kind = ir.FunctionType(FLOAT, [FLOAT])
            rint = cgutils.get_or_insert_function(builder.module, kind, "__nv_rintf")
            return builder.call(rint, [args[0]])

        return types.float32(types.float32), codegen

    @intrinsic
    def within(typingctx: Any, value: Any, full: Any) -> Any:
        """Limit a number to what is from 0 to full; what is no number becomes 0."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            # Of a number and one that is none, these return the number.
            kind = ir.FunctionType(FLOAT, [FLOAT, FLOAT])
            least, greatest = (
                cgutils.get_or_insert_function(builder.module, kind, name)
                for name in ("__nv_fmaxf", "__nv_fminf")
            )
            return builder.call(greatest, [builder.call(least, [args[0], NOTHING]), args[1]])

        return types.float32(types.float32, types.float32), codegen

    @intrinsic
    def outer(typingctx: Any, sums: Any, left: Any, right: Any) -> Any:
        """Add every product of a number on the left and one on the right."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            each, a, b = (cgutils.unpack_tuple(builder, arg) for arg in args)
            pairs = [(x, y) for x in a for y in b]
            made = [builder.fma(x, y, s) for (x, y), s in zip(pairs, each, strict=True)]
            return context.make_tuple(builder, signature.return_type, made)

        return sums(sums, left, right), codegen

    @intrinsic
    def slid(typingctx: Any, sums: Any, window: Any, weight: Any, first: Any) -> Any:
        """Add the numbers of a window, which begins at a place and goes around, times a weight."""
        if not _literal(first):
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            each, numbers = (cgutils.unpack_tuple(builder, arg) for arg in args[:2])
            count, start = len(each), first.literal_value
            made = [
                builder.fma(args[2], numbers[(start + i) % count], each[i]) for i in range(count)
            ]
            return context.make_tuple(builder, signature.return_type, made)

        return sums(sums, window, types.float32, first), codegen

    @intrinsic
    def walked(
        typingctx: Any, sums: Any, row: Any, weights: Any, rows: Any, columns: Any, apart: Any
    ) -> Any:
        """Move sums (filters, rows, wide) up by a row, and add a row's products to all."""
        if not (_literal(rows) and _literal(columns) and _literal(apart)):
            return None
        high, across, step = rows.literal_value, columns.literal_value, apart.literal_value
        filters = weights.count // (high * across)
        wide = sums.count // (filters * high)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            each, numbers, taps = (cgutils.unpack_tuple(builder, arg) for arg in args[:3])
            made: list[Any] = []
            for f in range(filters):
                for s in range(high):
                    at = (f * high + high - 1 - s) * across
                    below = (f * high + s + 1) * wide
                    some = each[below : below + wide] if s + 1 < high else [NOTHING] * wide
                    for b in range(across):
                        some = [
                            builder.fma(taps[at + b], numbers[v + b * step], some[v])
                            for v in range(wide)
                        ]
                    made += some
            return context.make_tuple(builder, signature.return_type, made)

        return sums(sums, row, weights, rows, columns, apart), codegen
