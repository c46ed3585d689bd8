"""Kernels with their loops written out: what keeps sums in registers.

A GPU keeps an array in registers only where every index is known when it is compiled, and its
compiler gives up on nests as deep as a kernel's rows, columns, filters and pixels. So kernels are
written as loops over `unroll` and arrays of `registers`, and written out here, before anybody
compiles them::

    y = registers(2)
    for i in unroll(2):             y_0 = x[0] * 3
        y[i] = x[i] * SCALE   ──▶   y_1 = x[1] * 3
    store(out, 0, y[0:2])           store(out, 0, (y_0, y_1))

The simulator runs the same text as the GPU.
"""

import ast
import inspect
import operator
import textwrap
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any

from convtool.engine.cuda.device import simulated

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def unroll(*bounds: int) -> range:
    """Stand for a loop that is written out, with bounds as for `range`; constants all."""
    return range(*bounds)


def registers(*shape: int) -> Any:
    """Stand for an array that is kept in registers; every index of it becomes a constant."""
    raise NotImplementedError("registers are there only in kernels that were written out")


def written_out(function: Callable[..., None], constants: Mapping[str, int]) -> Any:
    """Return the function with its constants put in and its loops over `unroll` written out.

    Parameters
    ----------
    function : callable
        Of a module whose source can be read.
    constants : mapping of str to int
        What the names in capitals stand for.
    """
    tree = _parsed(function)
    # Shared memory lies where vectors may be loaded from; the simulator knows no alignment.
    known = {**constants, "ALIGNMENT": None if simulated() else 16}
    definition = _Writer(known).visit(deepcopy(tree.body[0]))
    module = ast.Module([definition], [])
    found: dict[str, Any] = {}
    text = compile(ast.fix_missing_locations(module), inspect.getfile(function), "exec")
    exec(text, function.__globals__, found)
    return found[function.__name__]


@lru_cache(maxsize=32)
def _parsed(function: Callable[..., None]) -> ast.Module:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    ast.increment_lineno(tree, inspect.getsourcelines(function)[1] - 1)
    return tree


class _Writer(ast.NodeTransformer):
    """Puts in what is known, and leaves out what is never done."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        self.registers: dict[str, tuple[int, ...]] = {}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self.known:
            return ast.copy_location(ast.Constant(self.known[node.id]), node)
        return node

    def visit_For(self, node: ast.For) -> Any:
        call = node.iter
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == "unroll"
        ):
            return self.generic_visit(node)
        assert isinstance(node.target, ast.Name)
        name, before = node.target.id, self.known
        bounds = [self._constant(bound) for bound in call.args]
        body: list[ast.stmt] = []
        for i in range(*bounds):
            self.known = {**before, name: i}
            body += self._statements(node.body)
        self.known = before
        return body

    def visit_If(self, node: ast.If) -> Any:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self._statements(node.body if test.value else node.orelse)
        node.test = test
        node.body = self._statements(node.body) or [ast.Pass()]
        node.orelse = self._statements(node.orelse)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self.visit(node.body if test.value else node.orelse)
        node.test, node.body, node.orelse = test, self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        value, target = node.value, node.targets[0]
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id == "registers"
        ):
            assert isinstance(target, ast.Name)
            self.registers[target.id] = tuple(self._constant(size) for size in value.args)
            return []
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if not (isinstance(node.value, ast.Name) and node.value.id in self.registers):
            folded: ast.expr = self.generic_visit(node)  # type: ignore[assignment]
            return folded
        name, index = node.value.id, node.slice
        places = index.elts if isinstance(index, ast.Tuple) else [index]
        if not isinstance(places[-1], ast.Slice):
            return ast.copy_location(self._register(name, places, node.ctx), node)
        lower, upper = places[-1].lower, places[-1].upper
        assert lower is not None
        assert upper is not None
        several: list[ast.expr] = [
            self._register(name, [*places[:-1], ast.Constant(i)], node.ctx)
            for i in range(self._constant(lower), self._constant(upper))
        ]
        return ast.copy_location(ast.Tuple(several, node.ctx), node)

    def _register(self, name: str, places: list[ast.expr], ctx: ast.expr_context) -> ast.Name:
        numbers = tuple(self._constant(place) for place in places)
        shape = self.registers[name]
        fits = len(numbers) == len(shape) and all(
            0 <= number < size for number, size in zip(numbers, shape, strict=True)
        )
        assert fits, f"{name}{list(numbers)} is not in {name}{list(shape)}"
        return ast.Name("_".join([name, *map(str, numbers)]), ctx)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(left, ast.Constant) and isinstance(right, ast.Constant):
            value = _OPERATORS[type(node.op)](left.value, right.value)
            return ast.copy_location(ast.Constant(value), node)
        node.left, node.right = left, right
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.comparators[0])
        known = isinstance(left, ast.Constant) and isinstance(right, ast.Constant)
        if known and len(node.ops) == 1:
            value = _OPERATORS[type(node.ops[0])](left.value, right.value)
            return ast.copy_location(ast.Constant(value), node)
        node.left = left
        node.comparators = [right, *map(self.visit, node.comparators[1:])]
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """Leave out what decides nothing, and stop at what decides all."""
        decides = isinstance(node.op, ast.Or)
        left: list[ast.expr] = []
        for value in map(self.visit, node.values):
            if not isinstance(value, ast.Constant):
                left.append(value)
            elif bool(value.value) is decides:
                return ast.copy_location(ast.Constant(decides), node)
        if not left:
            return ast.copy_location(ast.Constant(not decides), node)
        node.values = left
        return left[0] if len(left) == 1 else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        value = self.visit(node.operand)
        if isinstance(value, ast.Constant) and isinstance(node.op, ast.Not):
            return ast.copy_location(ast.Constant(not value.value), node)
        if isinstance(value, ast.Constant) and isinstance(node.op, ast.USub):
            assert isinstance(value.value, int)
            return ast.copy_location(ast.Constant(-value.value), node)
        node.operand = value
        return node

    def _statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Write out statements; what is left as they are may be written out again."""
        done: list[ast.stmt] = []
        for statement in body:
            result = self.visit(deepcopy(statement))
            done += result if isinstance(result, list) else [result]
        return done

    def _constant(self, node: ast.expr) -> int:
        found = self.visit(deepcopy(node))
        assert isinstance(found, ast.Constant), f"{ast.unparse(node)} is no constant"
        assert isinstance(found.value, int)
        return found.value
