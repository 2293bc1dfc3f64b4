"""From a step to straight statements: helpers copied in, returns turned into assignments."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from types import FunctionType

from orrery_kernels.engine.lint import BUILTINS, lint, refuse
from orrery_kernels.engine.step import Helper, Primitive, inf, nan

Emit = Callable[[ast.expr | None], list[ast.stmt]]


class Lowering:
    """One step being flattened; collects the helpers it uses."""

    def __init__(self, function: FunctionType):
        self.root = function
        self.helpers: dict[str, Helper] = {}  # pure ones, called as compiled functions
        self.texts: dict[str, str] = {}  # every helper used, for the digest
        self._count = 0

    def statements(self, emit: Emit) -> list[ast.stmt]:
        """Return the body of the root step, with `emit` in place of each return."""
        node = lint(self.root)
        self._must_return(node)
        body = _Names(self, self.root, {}).block(node.body)
        return straighten(body, emit, self.root)

    def fresh(self, name: str) -> str:
        self._count += 1
        return f"_{name}_{self._count}"

    def pure_name(self, helper: Helper) -> str:
        module = helper.function.__module__.replace(".", "_")
        name = f"{module}_{helper.name}"
        if name not in self.helpers:
            self.helpers[name] = helper
            self.note(helper)
        return name

    def note(self, helper: Helper) -> None:
        key = f"{helper.function.__module__}.{helper.name}"
        if key not in self.texts:
            node = lint(helper.function, pure=helper.pure)
            self.texts[key] = ast.unparse(ast.fix_missing_locations(ast.Module([node], [])))

    def _must_return(self, node: ast.FunctionDef) -> None:
        if falls_through(node.body):
            refuse(self.root, node, "every path must end in `return`; return nan for null")


class _Names(ast.NodeTransformer):
    """Renames locals of a helper, binds arguments, resolves constants, copies in inline calls."""

    def __init__(self, lowering: Lowering, function: FunctionType, bound: dict[str, ast.expr]):
        self.lowering, self.function, self.bound = lowering, function, bound
        self.locals: dict[str, str] = {}
        self.pending: list[ast.stmt] = []
        self.conditional = 0
        self.nested = function is not lowering.root

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        done: list[ast.stmt] = []
        for statement in statements:
            outer, self.pending = self.pending, []
            new = self.statement(copy.deepcopy(statement))
            done += self.pending + new
            self.pending = outer
        return done

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.If):
            node.test = self.visit(node.test)
            node.body, node.orelse = self.block(node.body), self.block(node.orelse)
            return [node]
        if isinstance(node, ast.For):
            node.iter = self.visit(node.iter)
            node.target = self.visit(node.target)
            node.body = self.block(node.body)
            return [node]
        if isinstance(node, ast.AugAssign):
            target = copy.deepcopy(node.target)
            for part in ast.walk(target):
                if hasattr(part, "ctx"):
                    part.ctx = ast.Load()
            node = ast.Assign([node.target], ast.BinOp(target, node.op, node.value))
        if isinstance(node, ast.Assign):
            return self._assign(node)
        if isinstance(node, ast.Expr):
            value = self.visit(node.value)
            return (
                [] if isinstance(value, ast.Name | ast.Tuple | ast.Constant) else [ast.Expr(value)]
            )
        return [self.visit(node)]

    def _assign(self, node: ast.Assign) -> list[ast.stmt]:
        value = self.visit(node.value)
        target = self.visit(node.targets[0])
        if not isinstance(target, ast.Tuple):
            return [ast.Assign([target], value)]
        if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
            refuse(self.function, node, "both sides of `a, b = ...` must have as many parts")
        temps = [self.lowering.fresh("t") for _ in value.elts]
        first = [
            ast.Assign([ast.Name(t, ast.Store())], v)
            for t, v in zip(temps, value.elts, strict=True)
        ]
        then = [
            ast.Assign([a], ast.Name(t, ast.Load()))
            for a, t in zip(target.elts, temps, strict=True)
        ]
        return first + then

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        node.test = self.visit(node.test)
        self.conditional += 1
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        self.conditional -= 1
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        first = self.visit(node.values[0])
        self.conditional += 1
        node.values = [first, *(self.visit(v) for v in node.values[1:])]
        self.conditional -= 1
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        name = node.id
        if name in self.bound:
            if isinstance(node.ctx, ast.Store):
                refuse(
                    self.function,
                    node,
                    f"{name} is an argument and cannot be set here; use a new name",
                )
            return copy.deepcopy(self.bound[name])
        if isinstance(node.ctx, ast.Store) or name in self.locals:
            if self.nested and name not in self.locals:
                self.locals[name] = self.lowering.fresh(name)
            return ast.Name(self.locals.get(name, name), node.ctx)
        value = self.function.__globals__.get(name)
        if value is nan:
            return ast.Name("NAN", ast.Load())
        if isinstance(value, float) and value == inf:
            return ast.Name("INF", ast.Load())
        if isinstance(value, int | float):
            return ast.Constant(value)
        if self.nested and name not in BUILTINS:
            refuse(
                self.function, node, f"{name} is not known here: not an argument, local or constant"
            )
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id
        arguments = [self.visit(a) for a in node.args]
        target = self.function.__globals__.get(name)
        if isinstance(target, Primitive):
            return ast.Call(ast.Name(target.name, ast.Load()), arguments, [])
        if not isinstance(target, Helper):
            return ast.Call(ast.Name(name, ast.Load()), arguments, [])
        if target.pure:
            return ast.Call(ast.Name(self.lowering.pure_name(target), ast.Load()), arguments, [])
        if self.conditional and _writes(target):
            refuse(
                self.function,
                node,
                f"{name} sets state: not inside `... if ...`, `and`, `or`; use an if",
            )
        return self._copied(target, arguments, node)

    def _copied(self, helper: Helper, arguments: list[ast.expr], at: ast.Call) -> ast.AST:
        self.lowering.note(helper)
        body = lint(helper.function)
        names = [a.arg for a in body.args.args]
        if len(names) != len(arguments):
            refuse(
                self.function, at, f"{helper.name} takes {len(names)} arguments: {', '.join(names)}"
            )
        bound: dict[str, ast.expr] = {}
        for parameter, given in zip(names, arguments, strict=True):
            if isinstance(given, ast.Attribute | ast.Constant):
                bound[parameter] = given  # a path into the state, a parameter or a number
            else:
                temp = self.lowering.fresh(parameter)
                self.pending.append(ast.Assign([ast.Name(temp, ast.Store())], given))
                bound[parameter] = ast.Name(temp, ast.Load())
        inner = _Names(self.lowering, helper.function, bound)
        results: list[str] = []
        flat = straighten(inner.block(body.body), self._into(helper, results), helper.function)
        self.pending += flat
        loads: list[ast.expr] = [ast.Name(r, ast.Load()) for r in results]
        return loads[0] if len(loads) == 1 else ast.Tuple(loads, ast.Load())

    def _into(self, helper: Helper, results: list[str]) -> Emit:
        def emit(value: ast.expr | None) -> list[ast.stmt]:
            values = (
                value.elts if isinstance(value, ast.Tuple) else [] if value is None else [value]
            )
            if not results:
                results.extend(self.lowering.fresh(helper.name) for _ in values)
            return [
                ast.Assign([ast.Name(r, ast.Store())], v)
                for r, v in zip(results, values, strict=True)
            ]

        return emit


def _writes(helper: Helper) -> bool:
    """Return whether `helper`, or an inline helper it calls, sets a field or a ring."""
    for part in ast.walk(lint(helper.function)):
        if isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store):
            return True
        if isinstance(part, ast.Call):
            called = helper.function.__globals__.get(part.func.id)  # type: ignore[attr-defined]
            if isinstance(called, Helper) and not called.pure and _writes(called):
                return True
    return False


def falls_through(statements: list[ast.stmt]) -> bool:
    """Return whether control can reach the end of `statements`."""
    for statement in statements:
        if isinstance(statement, ast.Return | ast.Break | ast.Continue):
            return False
        if (
            isinstance(statement, ast.If)
            and statement.orelse
            and not falls_through(statement.body)
            and not falls_through(statement.orelse)
        ):
            return False
    return True


def straighten(statements: list[ast.stmt], emit: Emit, function: FunctionType) -> list[ast.stmt]:
    """Return `statements` without return: what follows a conditional return moves into its else."""
    done: list[ast.stmt] = []
    for k, statement in enumerate(statements):
        if isinstance(statement, ast.Return):
            return done + emit(statement.value)
        if not any(isinstance(part, ast.Return) for part in ast.walk(statement)):
            done.append(statement)
            continue
        if not isinstance(statement, ast.If):
            refuse(
                function, statement, "return inside a loop is not allowed: set a variable and break"
            )
            continue
        rest = statements[k + 1 :]
        body = statement.body + (copy.deepcopy(rest) if falls_through(statement.body) else [])
        orelse = statement.orelse + (rest if falls_through(statement.orelse) else [])
        test = ast.If(
            statement.test,
            straighten(body, emit, function) or [ast.Pass()],
            straighten(orelse, emit, function),
        )
        return [*done, test]
    return done


def pure_text(name: str, helper: Helper, done: dict[str, str]) -> None:
    """Add the compilable text of `helper`, and before it of those it calls, to `done`."""
    from orrery_kernels.engine.rewrite import Choices

    if name in done:
        return
    lowering = Lowering(helper.function)
    node = lint(helper.function, pure=True)
    names = _Names(lowering, helper.function, {})
    body = [Choices().visit(s) for s in names.block(node.body)]
    for inner, called in lowering.helpers.items():
        pure_text(inner, called, done)
    arguments = ", ".join(a.arg for a in node.args.args)
    text = ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
    lines = "\n".join("    " + line for line in text.splitlines())
    done[name] = f"def {name}({arguments}):\n{lines}\n"
