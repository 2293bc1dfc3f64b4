"""From a kernel to the text of its loop over rows, and the digest of everything that decides it."""

from __future__ import annotations

import ast
import copy
import hashlib
from dataclasses import dataclass

from orrery_kernels.engine.layout import VERSION, layout_of
from orrery_kernels.engine.lint import refuse
from orrery_kernels.engine.loops import loop_over_rows, loop_over_runs
from orrery_kernels.engine.lower import Emit, Lowering, pure_text
from orrery_kernels.engine.rewrite import States, call
from orrery_kernels.engine.spec import Kernel


@dataclass(frozen=True)
class Source:
    """The generated text, the pure helpers it calls, and the digest of all that decides it."""

    name: str
    text: str
    helpers: dict[str, str]  # name -> text, callees first
    digest: bytes


def generate(kernel: Kernel, runs: bool = False) -> Source:
    """Return the loop of `kernel` as text to compile: over rows, or over runs of one symbol.

    Without a state both are one.
    """
    layout = layout_of(kernel)
    lowering = Lowering(kernel.function)
    states = States(kernel, layout)
    body = [states.visit(statement) for statement in lowering.statements(_emit_outputs(kernel))]
    _rename_variables(kernel, states, body)
    text = (loop_over_runs if runs and kernel.state.fields else loop_over_rows)(
        kernel, layout, states, body
    )
    helpers = pure_texts(lowering)
    digest = hashlib.blake2b(digest_size=32)
    for part in (str(VERSION), kernel.rows, text, *helpers, *helpers.values()):
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    return Source(f"k_{kernel.name}", text, helpers, digest.digest())


def _rename_variables(kernel: Kernel, states: States, body: list[ast.stmt]) -> None:
    """Give the variables of a step names of their own, so that none is the loop's row or record."""
    names = [n for statement in body for n in ast.walk(statement) if isinstance(n, ast.Name)]
    ours = {x.name for x in kernel.inputs} | {f"out{k}" for k in range(len(kernel.outputs))}
    ours |= {f"whole{k}" for k in kernel.whole_outputs}
    ours |= {"s_" + "_".join(path) for path in (*states.read, *states.written)}
    theirs = {n.id for n in names if isinstance(n.ctx, ast.Store)} - ours
    for name in names:
        if name.id in theirs:
            name.id = f"v_{name.id}"


def _emit_outputs(kernel: Kernel) -> Emit:
    def emit(value: ast.expr | None) -> list[ast.stmt]:
        values = value.elts if isinstance(value, ast.Tuple) else [value]
        if (
            len(values) == 1 < len(kernel.outputs)
            and isinstance(value, ast.Name)
            and value.id == "NAN"
        ):
            values = [value] * len(kernel.outputs)  # `return nan`: every output is null
        if len(values) != len(kernel.outputs) or value is None:
            names = ", ".join(o.name for o in kernel.outputs)
            refuse(
                kernel.function, value or ast.Pass(), f"must return {len(kernel.outputs)}: {names}"
            )
        targets = [(f"out{k}", "as_f64", v) for k, v in enumerate(values)]
        targets += [(f"whole{k}", "to_int", copy.deepcopy(values[k])) for k in kernel.whole_outputs]
        return [ast.Assign([ast.Name(t, ast.Store())], call(f, v)) for t, f, v in targets]

    return emit


def pure_texts(lowering: Lowering) -> dict[str, str]:
    """Return the text of each pure helper used, callees before callers."""
    done: dict[str, str] = {}
    for name, helper in list(lowering.helpers.items()):
        pure_text(name, helper, done)
    return done
