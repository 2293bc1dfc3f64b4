"""The step of a symbol whose counters have reached their ends: no warm-up left to ask about.

A counter is a whole number of the state that stops, as `n` does in `if n < period: n += 1`. Once it
has, it stays as it is, and the statements that move it are dead. Nothing else is left out, so the
bits are the same.
"""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter

from orrery_kernels.engine.layout import Layout
from orrery_kernels.engine.rewrite import States
from orrery_kernels.engine.spec import i64

_CALLS = {"select", "max2", "min2", "as_i64", "as_f64", "abs"}


def settled(
    states: States, layout: Layout, body: list[ast.stmt]
) -> tuple[list[ast.stmt], list[str]]:
    """Return what is left of `body`, and the conditions under which that may be run instead."""
    held = {name(path) for path in states.written if layout.scalars[path][1] == i64}
    held -= _begun_again(body, held)
    while True:
        guards: dict[str, None] = {}
        left = _reduced(_without_copies(copy.deepcopy(body), held), held, guards)
        moving = assigned(left) & held
        if not moving:
            return left, list(guards)
        held -= moving


def _without_copies(body: list[ast.stmt], held: set[str]) -> list[ast.stmt]:
    """Return `body` with what is asked of a counter in place of the variable that was set to it."""
    nodes = [n for statement in body for n in ast.walk(statement)]
    names = [n for n in nodes if isinstance(n, ast.Name)]
    stores = Counter(n.id for n in names if isinstance(n.ctx, ast.Store))
    copies: dict[str, ast.expr] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if target not in held and stores[target] == 1 and _of_counters(node.value, held):
                copies[target] = node.value
    return [_Instead(copies).visit(statement) for statement in body]


class _Instead(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr]):
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self.values.get(node.id)
        return node if value is None or isinstance(node.ctx, ast.Store) else copy.deepcopy(value)


def _begun_again(body: list[ast.stmt], held: set[str]) -> set[str]:
    """Return the variables set to a constant in one place and to something else in another."""
    values: dict[str, set[str]] = {}
    for node in (n for statement in body for n in ast.walk(statement)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values.setdefault(node.targets[0].id, set()).add(ast.unparse(node.value))
    constant = re.compile(r"as_i64\(-?\d+\)")
    return {n for n in held if len(values[n]) > 1 and any(map(constant.fullmatch, values[n]))}


def name(path: tuple[str, ...]) -> str:
    """Return the variable that holds a number of the state."""
    return "s_" + "_".join(path)


def assigned(body: list[ast.stmt]) -> set[str]:
    """Return the variables that `body` sets."""
    nodes = [n for statement in body for n in ast.walk(statement)]
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _reduced(body: list[ast.stmt], held: set[str], guards: dict[str, None]) -> list[ast.stmt]:
    left: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.If):
            left += _branch(statement, held, guards)
            continue
        statement = _Ended(held, guards).visit(statement)
        if not (isinstance(statement, ast.Assign) and _stays(statement, held, guards)):
            if isinstance(statement, ast.For):
                statement.body = _reduced(statement.body, held, guards) or [ast.Pass()]
            left.append(statement)
    return left


def _branch(statement: ast.If, held: set[str], guards: dict[str, None]) -> list[ast.stmt]:
    """Return the branch taken once counters are at their ends, if that is known; else both."""
    test, branches = statement.test, []
    for branch in (statement.body, statement.orelse):
        needs: dict[str, None] = {}
        branches.append((_reduced(branch, held, needs), needs))
    taken = _at_end(test, held)
    if taken is None and _of_counters(test, held):
        moves = [bool(assigned(left) & held) for left, _ in branches]
        taken = moves[1] if moves[0] != moves[1] else None
    if taken is not None:
        left, needs = branches[not taken]
        guards.update({_text(test, taken): None, **needs})
        return left
    for (_, needs), true in zip(branches, (True, False), strict=True):
        unless = f"{_text(test, not true)} or " if _of_parameters(test) else ""
        guards.update({f"{unless}{g}": None for g in needs})
    return [ast.If(test, branches[0][0] or [ast.Pass()], branches[1][0])]


class _Ended(ast.NodeTransformer):
    """Values chosen by a counter become the one chosen at its end, where the other is a null."""

    def __init__(self, held: set[str], guards: dict[str, None]):
        self.held, self.guards = held, guards

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return self._chosen(node, node.test, node.body, node.orelse)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if node.func.id == "select":  # type: ignore[attr-defined]
            return self._chosen(node, *node.args)
        return node

    def _chosen(self, node: ast.expr, test: ast.expr, yes: ast.expr, no: ast.expr) -> ast.expr:
        end = _at_end(test, self.held)
        other = no if end else yes
        if end is None or not (isinstance(other, ast.Name) and other.id == "NAN"):
            return node
        self.guards[_text(test, end)] = None
        return yes if end else no


def _at_end(test: ast.expr, held: set[str]) -> bool | None:
    """Return what a test of a counter is once that has risen to its end; None if it is not one."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        end = _at_end(test.operand, held)
        return None if end is None else not end
    if isinstance(test, ast.BoolOp):
        ends = {_at_end(value, held) for value in test.values}
        return ends.pop() if len(ends) == 1 else None
    if not isinstance(test, ast.Compare) or len(test.ops) > 1 or not _of_counters(test, held):
        return None
    if not isinstance(test.left, ast.Name) or test.left.id not in held:
        return None
    kind, limit = test.ops[0], test.comparators[0]
    if isinstance(kind, ast.Gt | ast.GtE | ast.Lt | ast.LtE):
        return isinstance(kind, ast.Gt | ast.GtE)
    if isinstance(limit, ast.Constant) and limit.value == 0:
        return isinstance(kind, ast.NotEq)
    return isinstance(kind, ast.Eq) if _of_parameters(limit) else None


def _stays(statement: ast.Assign, held: set[str], guards: dict[str, None]) -> bool:
    """Return whether a counter is set to itself, under a condition that is added to `guards`."""
    target, value = statement.targets[0], statement.value
    if not isinstance(target, ast.Name) or target.id not in held:
        return False
    while isinstance(value, ast.Call) and value.func.id == "as_i64":  # type: ignore[attr-defined]
        value = value.args[0]
    if isinstance(value, ast.Constant):
        guards[f"{target.id} == {value.value}"] = None
        return True
    if isinstance(value, ast.IfExp):
        test, yes, no = value.test, value.body, value.orelse
    elif isinstance(value, ast.Call) and value.func.id == "select":  # type: ignore[attr-defined]
        test, yes, no = value.args
    else:
        return False
    for kept, true in ((yes, True), (no, False)):
        if isinstance(kept, ast.Name) and kept.id == target.id and _of_counters(test, held):
            guards[_text(test, true)] = None
            return True
    return False


def _of_parameters(test: ast.expr) -> bool:
    names = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)} - _CALLS
    return bool(names) and all(n.startswith("p_") for n in names)


def _of_counters(test: ast.expr, held: set[str]) -> bool:
    """Return whether `test` asks about counters and parameters only."""
    names = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)} - _CALLS
    calls = [n for n in ast.walk(test) if isinstance(n, ast.Call)]
    plain = all(n.func.id in _CALLS for n in calls)  # type: ignore[attr-defined]
    return plain and bool(names & held) and all(n in held or n.startswith("p_") for n in names)


def _text(test: ast.expr, true: bool) -> str:
    return ast.unparse(test if true else ast.UnaryOp(ast.Not(), test))
