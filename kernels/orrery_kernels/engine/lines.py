"""The lines that every loop is made of: what is loaded and stored, what a row must have."""

from __future__ import annotations

import ast
import copy
import functools

from orrery_kernels.engine.layout import (
    IDS,
    KIND,
    KINDS,
    KINDS_STEP,
    NULL_I64,
    SKIPPED,
    STATE,
    STRIDE,
    Layout,
)
from orrery_kernels.engine.rewrite import States
from orrery_kernels.engine.settled import name
from orrery_kernels.engine.spec import Input, Kernel, f64, i64

AHEAD_ROWS = 24  # how far ahead a symbol's record is fetched
RING_AHEAD_ROWS = 12  # and, by then in cache, the place in each ring that will be written

_COMMON = {
    "ids": IDS,
    "state": STATE,
    "stride": STRIDE,
    "kinds": KINDS,
    "kinds_step": KINDS_STEP,
    "kind": KIND,
}
WANTED = "ldi8(kinds, i * kinds_step) == kind"
_TAIL = [f"    sti(args, {8 * SKIPPED}, ldi(args, {8 * SKIPPED}) + skipped)", "    return nulls"]
_LOAD = {f64: "ldf", i64: "ldi"}
_STORE = {f64: "stf", i64: "sti"}


def whole(kernel: Kernel, layout: Layout, lines: list[str]) -> str:
    """Return the function around the lines of a loop."""
    head = [f"def k_{kernel.name}(args, lo, hi):", *_head(layout)]
    return "\n".join([*head, *indented(lines, 1), *_TAIL]) + "\n"


def _head(layout: Layout) -> list[str]:
    lines = [f"    {n} = ldi(args, {8 * w})" for n, w in _COMMON.items()]
    lines += [f"    in_{n} = ldi(args, {8 * w})" for n, w in layout.inputs.items()]
    lines += [f"    outp{k} = ldi(args, {8 * w})" for k, w in enumerate(layout.outputs)]
    for constant, (word, kind) in layout.constants.items():
        lines.append(f"    p_{constant} = {'ldf' if kind == f64 else 'ldi'}(args, {8 * word})")
    for path, (word, _) in layout.rings.items():
        lines.append(f"    r_{'_'.join(path)} = ldi(args, {8 * word})")
    return [*lines, "    skipped = 0", "    nulls = 0"]


def text_of(body: list[ast.stmt]) -> list[str]:
    body = [_Together().visit(copy.deepcopy(statement)) for statement in body]
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, []))).splitlines()


class _Together(ast.NodeTransformer):
    """`a and b` as the condition of a select becomes `a & b`: told to stop at the first, the
    compiler may make a jump of it, and the processor guess wrong."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if node.func.id == "select":  # type: ignore[attr-defined]
            node.args[0] = _together(node.args[0])
        return node


def _together(test: ast.expr) -> ast.expr:
    if not isinstance(test, ast.BoolOp):
        return test
    parts = [_together(value) for value in test.values]
    if not all(
        isinstance(part, ast.Compare) or part is not value
        for part, value in zip(parts, test.values, strict=True)
    ):
        return test
    both = ast.BitAnd() if isinstance(test.op, ast.And) else ast.BitOr()
    return functools.reduce(lambda one, other: ast.BinOp(one, both, other), parts)


def each_row(lo: str, hi: str, lines: list[str]) -> list[str]:
    """Return the loop around the lines of a step: a `while` counts once a row, a range twice."""
    return [f"i = {lo}", f"while i < {hi}:", *indented([*lines, "i += 1"], 1)]


def indented(lines: list[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]


def loads(layout: Layout, states: States) -> list[str]:
    lines = []
    for path in {**states.read, **states.written}:
        offset, kind = layout.scalars[path]
        lines.append(f"{name(path)} = {_LOAD[kind]}(rec, {offset})")
    return lines


def stores(layout: Layout, states: States) -> dict[tuple[str, ...], str]:
    """Return the line that stores each number the step may set."""
    lines = {}
    for path in states.written:
        offset, kind = layout.scalars[path]
        lines[path] = f"{_STORE[kind]}(rec, {offset}, {name(path)})"
    return lines


def nothing(kernel: Kernel) -> list[str]:
    """Return the branch of a row that the kernel does not read."""
    outs = [f"    out{k} = NAN" for k in range(len(kernel.outputs))]
    wholes = [f"    whole{k} = 0" for k in kernel.whole_outputs]
    return ["else:", "    if wanted:", "        skipped += 1", *outs, *wholes]


def results(kernel: Kernel) -> list[str]:
    """Return the lines that write the outputs; NaN has one bit pattern, and is counted."""
    lines = []
    for k in range(len(kernel.outputs)):
        lines.append(f"null{k} = out{k} != out{k}")
        lines.append(f"stf(outp{k}, i * 8, select(null{k}, NAN, out{k}))")
        lines.append(f"nulls += null{k}")
    for j, k in enumerate(kernel.whole_outputs, len(kernel.outputs)):
        lines.append(f"sti(outp{j}, i * 8, select(null{k}, 0, whole{k}))")
    return lines


def fetch_ahead(layout: Layout) -> list[str]:
    """Return the lines that bring records, then the next places of their rings, into the cache."""
    lines = [f"prefetch(state + ldi32(ids, (i + {AHEAD_ROWS}) * 4) * stride)"]
    rings = [path for path in layout.rings if (*path[:-1], "at") in layout.scalars]
    if rings:
        soon = f"max2(ldi32(ids, (i + {RING_AHEAD_ROWS}) * 4), 0)"
        lines.append(f"soon = state + {soon} * stride")
    for path in rings:
        at = layout.scalars[(*path[:-1], "at")][0]
        lines.append(f"prefetch(soon + r_{'_'.join(path)} + ldi(soon, {at}) * 8)")
    return lines


def present(kernel: Kernel, keyed: bool) -> str:
    """Return the test that a row has a symbol and every number the step needs."""
    tests = ["symbol >= 0"] if keyed else []
    for item in kernel.inputs:
        if not item.optional:
            whole = item.kind == i64
            tests.append(f"{item.name} != {NULL_I64}" if whole else f"is_finite({item.name})")
    some = " | ".join(f"(is_finite({x.name}))" for x in kernel.inputs if x.optional)
    if some:
        tests.append(some)
    return " & ".join(f"({t})" for t in tests) or "True"


def load(item: Input) -> str:
    if item.optional:
        return f"finite_or_nan(ldf(in_{item.name}, i * 8))"
    return f"{_LOAD[item.kind]}(in_{item.name}, i * 8)"
