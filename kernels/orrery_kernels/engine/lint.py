"""What a step may say. Else its bits would depend on the machine, or its cost have no bound."""

from __future__ import annotations

import ast
from types import FunctionType

from orrery_kernels.engine.step import tree_of
from orrery_kernels.errors import StepError

_ALWAYS = (
    ast.FunctionDef, ast.arguments, ast.arg, ast.Expr, ast.Constant, ast.Name, ast.Load, ast.Store,
    ast.Assign, ast.AugAssign, ast.Return, ast.If, ast.IfExp, ast.For, ast.Break, ast.Continue,
    ast.Pass, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Tuple, ast.Attribute,
    ast.Subscript, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.Not,
    ast.And, ast.Or, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
)  # fmt: skip
_PURE_ONLY = (ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor, ast.Invert)
BUILTINS = ("abs", "min", "max", "float", "int", "range")
_TAKEN = {*BUILTINS, "nan", "inf"}
_INSTEAD = {
    ast.Pow: "use a product, sqrt or power(x, y)",
    ast.While: "use `for _ in range(bound)` with break",
    ast.Lambda: "write an @inline helper",
    ast.ListComp: "use a ring and a loop",
    ast.JoinedStr: "steps know no text",
    ast.Try: "steps raise nothing; return nan",
    ast.Raise: "steps raise nothing; return nan",
    ast.Import: "import at the top of the module",
    ast.ImportFrom: "import at the top of the module",
}


def lint(function: FunctionType, pure: bool = False) -> ast.FunctionDef:
    """Return the parsed step, or raise StepError with the line and what to write instead."""
    node = tree_of(function)
    allowed = _ALWAYS + _PURE_ONLY if pure else _ALWAYS
    body = _without_docstring(node)
    for statement in body:
        for part in ast.walk(statement):
            if not isinstance(part, allowed):
                advice = _INSTEAD.get(
                    type(part), "only + - * /, comparisons, if, bounded loops and helpers"
                )
                where = part if hasattr(part, "lineno") else statement
                refuse(function, where, f"{type(part).__name__} is not allowed in a step: {advice}")
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                _lint_variable(function, part)
            if isinstance(part, ast.Call):
                _lint_call(function, part)
            if isinstance(part, ast.For):
                _lint_for(function, part)
            if isinstance(part, ast.Constant) and not isinstance(part.value, int | float):
                refuse(function, part, f"a constant must be a number, was {part.value!r}")
    return ast.FunctionDef(node.name, node.args, body, [], None, None, lineno=node.lineno)


def refuse(function: FunctionType, part: ast.AST, why: str) -> None:
    """Raise StepError naming the step, the file and the line."""
    code = function.__code__
    line = getattr(part, "lineno", code.co_firstlineno)
    raise StepError(f"{function.__name__}: {why} ({code.co_filename}:{line})")


def _without_docstring(node: ast.FunctionDef) -> list[ast.stmt]:
    first = node.body[0]
    is_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return node.body[1:] if is_doc and isinstance(first.value.value, str) else node.body


def _lint_variable(function: FunctionType, name: ast.Name) -> None:
    if name.id in _TAKEN:
        refuse(function, name, f"{name.id} has its meaning in a step; name the variable otherwise")


def _lint_call(function: FunctionType, call: ast.Call) -> None:
    from orrery_kernels.engine.step import Helper, Primitive

    if not isinstance(call.func, ast.Name) or call.keywords:
        refuse(function, call, "only plain calls f(a, b) of helpers are allowed")
        return
    target = function.__globals__.get(call.func.id)
    if not isinstance(target, Helper | Primitive) and call.func.id not in BUILTINS:
        known = ", ".join(BUILTINS)
        refuse(
            function,
            call,
            f"{call.func.id} is neither a helper (@inline, @pure) nor one of {known}",
        )
    if call.func.id in ("min", "max") and len(call.args) != 2:
        refuse(function, call, f"{call.func.id} takes two numbers here")


def _lint_for(function: FunctionType, loop: ast.For) -> None:
    over = loop.iter
    bounded = (
        isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and over.func.id == "range"
    )
    if not bounded or loop.orelse or not isinstance(loop.target, ast.Name):
        refuse(function, loop, "a loop must be `for i in range(...)`")
