"""Rewriting statements for the compiler: fields become variables, rings memory, choices selects."""

from __future__ import annotations

import ast

from orrery_kernels.engine.layout import Layout
from orrery_kernels.engine.lint import refuse
from orrery_kernels.engine.spec import Kernel, f64, i64


def call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _path(node: ast.expr) -> tuple[str, ...] | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) and parts else None


class Choices(ast.NodeTransformer):
    """min, max and `a if c else b` of cheap values become select, which has no branch."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id
        if name == "int":
            return call("to_int", *node.args)
        if name in ("min", "max"):
            return call(f"{name}2", *node.args)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        counted = _is_count(node.test)
        self.generic_visit(node)
        if not counted and _cheap(node.body) and _cheap(node.orelse):
            return call("select", node.test, node.body, node.orelse)
        return node


def _is_count(test: ast.expr) -> bool:
    """Return whether a test is of a whole number of the state, as in `s.n == 0`: a branch that the
    processor foresees, where a select would lengthen the chain from row to row."""
    if not isinstance(test, ast.Compare) or not isinstance(test.left, ast.Attribute):
        return False
    return test.left.attr == "n"


def _cheap(node: ast.expr) -> bool:
    allowed = (
        ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Load,
        ast.operator, ast.unaryop, ast.cmpop,
    )  # fmt: skip
    count = 0
    for part in ast.walk(node):
        if not isinstance(part, allowed) or isinstance(part, ast.Div | ast.Mod | ast.FloorDiv):
            return False
        if isinstance(part, ast.Call) and part.func.id not in ("select", "min2", "max2", "abs"):  # type: ignore[attr-defined]
            return False
        count += isinstance(part, ast.BinOp)
    return count <= 4


class States(Choices):
    """s.x becomes a variable, s.ring[i] a load or store, p.x a variable."""

    def __init__(self, kernel: Kernel, layout: Layout):
        self.kernel, self.layout = kernel, layout
        self.read: dict[tuple[str, ...], None] = {}
        self.written: dict[tuple[str, ...], None] = {}

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        path = _path(node)
        if path and path[0] == "p" and len(path) == 2:
            self._constant(node, path[1])
            return ast.Name(f"p_{path[1]}", ast.Load())
        if path and path[0] == "s" and path[1:] in self.layout.scalars:
            self.read[path[1:]] = None
            return ast.Name("s_" + "_".join(path[1:]), node.ctx)
        name = ".".join(path) if path else ast.unparse(node)
        refuse(self.kernel.function, node, f"{name} is not a number of the state or a parameter")
        return node

    def _constant(self, node: ast.AST, name: str) -> None:
        if name not in self.layout.constants:
            known = ", ".join(self.layout.constants) or "none"
            refuse(self.kernel.function, node, f"p.{name} is not a parameter; there is: {known}")

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        place, kind = self._place(node)
        return call("ldi" if kind == i64 else "ldf", *place)

    def _place(self, node: ast.Subscript) -> tuple[list[ast.expr], str]:
        index = ast.BinOp(self.visit(node.slice), ast.Mult(), ast.Constant(8))
        path = _path(node.value)
        if path and path[0] == "p" and self.layout.constants.get(path[1], (0, ""))[1] == "table":
            return [ast.Name(f"p_{path[1]}", ast.Load()), index], f64
        if not path or path[0] != "s" or path[1:] not in self.layout.rings:
            refuse(
                self.kernel.function, node, f"{ast.unparse(node.value)} is not a ring or a table"
            )
            raise AssertionError
        offset = ast.Name("r_" + "_".join(path[1:]), ast.Load())
        kind = self.layout.rings[path[1:]][1]
        return [ast.Name("rec", ast.Load()), ast.BinOp(offset, ast.Add(), index)], kind

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        value, target = self.visit(node.value), node.targets[0]
        if isinstance(target, ast.Subscript):
            place, kind = self._place(target)
            return ast.Expr(call("sti" if kind == i64 else "stf", *place, value))
        if isinstance(target, ast.Attribute):
            path = _path(target) or ()
            if path[0] != "s" or path[1:] not in self.layout.scalars:
                refuse(
                    self.kernel.function, node, f"{ast.unparse(target)} is not a field of the state"
                )
            self.written[path[1:]] = None
            kind = self.layout.scalars[path[1:]][1]
            name = "s_" + "_".join(path[1:])
            return ast.Assign([ast.Name(name, ast.Store())], call(f"as_{kind}", value))
        return ast.Assign([target], value)
