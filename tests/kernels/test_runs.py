"""The loop over runs of one symbol: past its warm-up a step no longer asks about it."""

from __future__ import annotations

import ast
from types import SimpleNamespace
from typing import Any

import pytest
from orrery_kernels.engine import catalog, codegen
from orrery_kernels.engine.layout import layout_of
from orrery_kernels.engine.lower import Lowering
from orrery_kernels.engine.oracle import OracleKernel
from orrery_kernels.engine.rewrite import States
from orrery_kernels.engine.settled import settled
from orrery_kernels.engine.spec import Kernel

from tests.kernels.inputs import small_parameters, ticks

ROWS = 400
WITH_STATE = [n for n, public in catalog.kernels().items() if public.definition.state.fields]
WORDS = {"max2": max, "min2": min, "abs": abs, "as_i64": int, "as_f64": float}
WORDS["select"] = lambda test, yes, no: yes if test else no


def past_warm_up(name: str) -> tuple[list[ast.stmt], list[str]]:
    """Return the step of a kernel past its warm-up, and the conditions for it."""
    kernel: Kernel = catalog.kernels()[name].definition
    layout = layout_of(kernel)
    states = States(kernel, layout)
    body = Lowering(kernel.function).statements(codegen._emit_outputs(kernel))
    return settled(states, layout, [states.visit(statement) for statement in body])


def numbers_after(name: str, rows: int) -> dict[str, Any]:
    """Return the state of one symbol after `rows` ticks, and the parameters, as a loop has them."""
    kernel: Kernel = catalog.kernels()[name].definition
    p: SimpleNamespace = kernel.bind(small_parameters(kernel))
    oracle, batch = OracleKernel(kernel, p), ticks(kernel, rows, symbols=1)
    for row in batch.to_pylist():
        oracle.tick("A", [row[x.column] for x in kernel.inputs])
    found = {f"p_{constant}": getattr(p, constant) for constant in layout_of(kernel).constants}
    for path in layout_of(kernel).scalars:
        value: Any = oracle.states["A"]
        for part in path:
            value = getattr(value, part)
        found["s_" + "_".join(path)] = value
    return found


@pytest.mark.parametrize("name", WITH_STATE)
def test_every_kernel_comes_past_its_warm_up(name: str) -> None:
    _, conditions = past_warm_up(name)

    numbers = numbers_after(name, ROWS)

    assert [c for c in conditions if not eval(c, {**WORDS, **numbers})] == []


@pytest.mark.parametrize("name", ["ta_tema", "ta_t3", "ta_macd", "ta_rsi", "ta_atr", "log_returns"])
def test_a_step_past_its_warm_up_does_not_move_its_counters(name: str) -> None:
    step, _ = past_warm_up(name)

    names = {n.id for s in step for n in ast.walk(s) if isinstance(n, ast.Name)}
    assert not [n for n in names if n.endswith("_n") and n.startswith("s_") and _sets(step, n)]


def _sets(step: list[ast.stmt], name: str) -> bool:
    nodes = [n for s in step for n in ast.walk(s) if isinstance(n, ast.Name) and n.id == name]
    return any(isinstance(n.ctx, ast.Store) for n in nodes)


@pytest.mark.parametrize("name", ["ta_ema", "ta_tema", "ta_t3", "ta_macd", "ta_atr"])
def test_averages_past_their_warm_up_ask_nothing(name: str) -> None:
    step, conditions = past_warm_up(name)

    assert conditions
    assert not [n for s in step for n in ast.walk(s) if isinstance(n, ast.If | ast.IfExp)]


def test_a_choice_by_two_comparisons_looks_at_both_without_a_jump() -> None:
    text = codegen.generate(catalog.kernels()["ta_plus_dm"].definition).text

    choices = [line for line in text.splitlines() if "rise" in line and "select(" in line]
    assert len(choices) == 2
    assert all(") & (" in line and " and " not in line for line in choices)
