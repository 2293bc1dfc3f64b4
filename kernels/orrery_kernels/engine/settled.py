"""The step of a symbol whose counters have reached their ends: no warm-up left to ask about.

A counter is a whole number of the state that stops, as `n` does in `if n < period: n += 1`. Once it
has, it stays as it is, and the statements that move it are dead. Nothing else is left out, so the
bits are the same.
"""

from __future__ import annotations

import ast
import copy

from orrery_kernels.engine.layout import Layout
from orrery_kernels.engine.rewrite import States
from orrery_kernels.engine.spec import i64

_CALLS = {"select", "max2", "min2", "as_i64", "as_f64", "abs"}


def settled(
    states: States, layout: Layout, body: list[ast.stmt]
) -> tuple[list[ast.stmt], list[str]]:
    """Return what is left of `body`, and the conditions under which that may be run instead."""
    held = {name(path) for path in states.written if layout.scalars[path][1] == i64}
    while True:
        guards: dict[str, None] = {}
        left = _reduced(copy.deepcopy(body), held, guards)
        moving = assigned(left) & held
        if not moving:
            return left, list(guards)
        held -= moving


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
        elif not (isinstance(statement, ast.Assign) and _stays(statement, held, guards)):
            if isinstance(statement, ast.For):
                statement.body = _reduced(statement.body, held, guards) or [ast.Pass()]
            left.append(statement)
    return left


def _branch(statement: ast.If, held: set[str], guards: dict[str, None]) -> list[ast.stmt]:
    """Return the branch that moves no counter, where the other does; else both."""
    yes, no = (bool(assigned(b) & held) for b in (statement.body, statement.orelse))
    if yes != no and _of_counters(statement.test, held):
        guards[_text(statement.test, no)] = None
        return _reduced(statement.body if no else statement.orelse, held, guards)
    statement.body = _reduced(statement.body, held, guards) or [ast.Pass()]
    statement.orelse = _reduced(statement.orelse, held, guards)
    return [statement]


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


def _of_counters(test: ast.expr, held: set[str]) -> bool:
    """Return whether `test` asks about counters and parameters only."""
    names = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)} - _CALLS
    calls = [n for n in ast.walk(test) if isinstance(n, ast.Call)]
    plain = all(n.func.id in _CALLS for n in calls)  # type: ignore[attr-defined]
    return plain and bool(names & held) and all(n in held or n.startswith("p_") for n in names)


def _text(test: ast.expr, true: bool) -> str:
    return ast.unparse(test if true else ast.UnaryOp(ast.Not(), test))
