"""The plain-Python twin: the same steps, run by the interpreter, one row at a time.

Slow and obvious. Compiled kernels are compared with it bit for bit.
"""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

from orrery_kernels.engine.spec import Kernel, Ring, Struct, i64
from orrery_kernels.engine.step import to_int, tree_of


def divide(a: float, b: float) -> float:
    """Return a / b as the processor does: +-inf or NaN where b is 0."""
    if b != 0:
        return a / b
    if a != a or a == 0:
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


class _AsMachine(ast.NodeTransformer):
    """Python raises where a processor goes on; replace those operations."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Div):
            return ast.Call(ast.Name("_divide", ast.Load()), [node.left, node.right], [])
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        target = copy.deepcopy(node.target)
        target.ctx = ast.Load()
        return self.visit(ast.Assign([node.target], ast.BinOp(target, node.op, node.value)))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "int":
            node.func.id = "_to_int"
        return node


def as_python(function: FunctionType) -> Callable[..., Any]:
    """Return `function` with division and int() as the compiled code does them."""
    node = copy.deepcopy(tree_of(function))
    node.decorator_list, node.returns = [], None
    for argument in node.args.args:
        argument.annotation = None
    module = ast.fix_missing_locations(ast.Module([_AsMachine().visit(node)], []))
    names = {**function.__globals__, "_divide": divide, "_to_int": to_int}
    exec(compile(module, function.__code__.co_filename, "exec"), names)
    return names[function.__name__]


class OracleState:
    """State as attributes; integers stay integers, floats stay floats."""

    def __init__(self, layout: Struct, p: SimpleNamespace):
        kinds = {}
        for name, spec in layout.fields:
            if isinstance(spec, Struct):
                value: Any = OracleState(spec, p)
            elif isinstance(spec, Ring):
                value = [0 if spec.kind == i64 else 0.0] * spec.length(p)
            else:
                kinds[name] = spec
                value = 0 if spec == i64 else 0.0
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_kinds", kinds)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = self._kinds[name]
        if kind == i64 and isinstance(value, float):
            raise TypeError(f"state field {name} is an integer, was set to {value!r}")
        object.__setattr__(self, name, int(value) if kind == i64 else float(value))


class OracleKernel:
    """One kernel with its parameters, keyed by symbol."""

    def __init__(self, kernel: Kernel, p: SimpleNamespace):
        self.kernel, self.p = kernel, p
        self.step = as_python(kernel.function)
        code = kernel.function.__code__
        self.names = code.co_varnames[: code.co_argcount]
        self.states: dict[str | None, OracleState] = {}

    def tick(self, symbol: str | None, values: list[float | int | None]) -> list[float | None]:
        """Return the outputs for one row; None is null."""
        nothing: list[float | None] = [None] * len(self.kernel.outputs)
        there = [v is not None and v - v == 0 for v in values]
        optional = [x.optional for x in self.kernel.inputs]
        if not all(t or o for t, o in zip(there, optional, strict=True)):
            return nothing
        if any(optional) and not any(t and o for t, o in zip(there, optional, strict=True)):
            return nothing
        values = [v if t else math.nan for v, t in zip(values, there, strict=True)]
        if symbol not in self.states:
            self.states[symbol] = OracleState(self.kernel.state, self.p)
        special = {"s": self.states[symbol], "p": self.p}
        columns = iter(values)
        got = self.step(*(special[n] if n in special else next(columns) for n in self.names))
        outputs = got if isinstance(got, tuple) else (got,) * len(nothing)
        return [
            None if v != v else to_int(v) if output.kind == i64 else float(v)
            for v, output in zip(outputs, self.kernel.outputs, strict=True)
        ]
