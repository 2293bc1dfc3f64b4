"""From a kernel to the text of its loop over rows.

The loop is `k(args, lo, hi) -> rows without a result`; `args` points at a block of 64-bit words,
laid out by `Layout`. Scalars of the state live in variables while a row is worked on.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from types import SimpleNamespace

from orrery_kernels.engine.lint import refuse
from orrery_kernels.engine.lower import Lowering
from orrery_kernels.engine.spec import Input, Kernel, f64, i64

VERSION = 1  # of the generated code; part of every digest

# Words of the argument block that every kernel has; inputs, outputs and constants follow.
IDS, STATE, STRIDE, KINDS, KINDS_STEP, KIND, SKIPPED = range(7)
FIRST = 7
AHEAD_ROWS = 24  # how far ahead a symbol's record is fetched
RING_AHEAD_ROWS = 12  # and, by then in cache, the place in each ring that will be written


@dataclass(frozen=True)
class Layout:
    """Where things are in a kernel's argument block and in a symbol's record."""

    inputs: dict[str, int]  # argument -> word
    outputs: list[int]
    constants: dict[str, tuple[int, str]]  # parameter -> word, i64 | f64 | table
    scalars: dict[tuple[str, ...], tuple[int, str]]  # path -> byte offset, kind
    rings: dict[tuple[str, ...], tuple[int, str]]  # path -> word that holds its byte offset
    words: int

    @property
    def scalar_bytes(self) -> int:
        return 8 * len(self.scalars)


def layout_of(kernel: Kernel) -> Layout:
    """Return the layout; constants are typed by a trial binding of the defaults."""
    word = FIRST
    inputs = {}
    for item in kernel.inputs:
        inputs[item.name], word = word, word + 1
    outputs = list(range(word, word + len(kernel.outputs)))
    word += len(outputs)
    constants = {}
    for name, kind in constant_kinds(kernel).items():
        constants[name], word = (word, kind), word + 1
    scalars = {path: (8 * k, kind) for k, (path, kind) in enumerate(kernel.state.scalars())}
    rings = {}
    for path, spec in kernel.state.rings():
        rings[path], word = (word, spec.kind), word + 1
    return Layout(inputs, outputs, constants, scalars, rings, word)


def constant_kinds(kernel: Kernel) -> dict[str, str]:
    """Return parameter or constant -> i64, f64 or table."""
    kinds = {}
    for name, value in vars(kernel.bind({})).items():
        spec = kernel.params.get(name)
        if isinstance(value, list | tuple):
            kinds[name] = "table"
        elif spec is not None:
            kinds[name] = i64 if spec.whole or spec.choices else f64
        else:
            kinds[name] = i64 if isinstance(value, int) else f64
    return kinds


@dataclass(frozen=True)
class Source:
    """The generated text, the pure helpers it calls, and the digest of everything that decides it."""

    name: str
    text: str
    helpers: dict[str, str]  # name -> text, callees first
    digest: bytes


def generate(kernel: Kernel) -> Source:
    """Return the loop of `kernel` as Python text for the compiler."""
    layout = layout_of(kernel)
    lowering = Lowering(kernel.function)
    body = lowering.statements(_emit_outputs(kernel))
    states = _States(kernel, layout)
    body = [states.visit(statement) for statement in body]
    body = _private_names(kernel, states, body)
    text = _loop(kernel, layout, states, body)
    helpers = pure_texts(lowering)
    digest = hashlib.blake2b(digest_size=32)
    for part in (str(VERSION), kernel.rows, text, *helpers, *helpers.values()):
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    return Source(f"k_{kernel.name}", text, helpers, digest.digest())


def _private_names(kernel: Kernel, states: _States, body: list[ast.stmt]) -> list[ast.stmt]:
    """Give the variables of a step names of their own, so that none can be the loop's row or record."""
    names = [n for statement in body for n in ast.walk(statement) if isinstance(n, ast.Name)]
    ours = {x.name for x in kernel.inputs} | {f"out{k}" for k in range(len(kernel.outputs))}
    ours |= {"s_" + "_".join(path) for path in (*states.read, *states.written)}
    theirs = {n.id for n in names if isinstance(n.ctx, ast.Store)} - ours
    for name in names:
        if name.id in theirs:
            name.id = f"v_{name.id}"
    return body


def _emit_outputs(kernel: Kernel):  # noqa: ANN202
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
        return [
            ast.Assign([ast.Name(f"out{k}", ast.Store())], _call("as_f64", v))
            for k, v in enumerate(values)
        ]

    return emit


def _call(name: str, *arguments: ast.expr) -> ast.Call:
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
            return _call("to_int", *node.args)
        if name in ("min", "max"):
            return _call(f"{name}2", *node.args)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        if _cheap(node.body) and _cheap(node.orelse):
            return _call("select", node.test, node.body, node.orelse)
        return node


def _cheap(node: ast.expr) -> bool:
    allowed = (
        ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Load, ast.operator,
        ast.unaryop, ast.cmpop,
    )  # fmt: skip
    count = 0
    for part in ast.walk(node):
        if not isinstance(part, allowed) or isinstance(part, ast.Div | ast.Mod | ast.FloorDiv):
            return False
        if isinstance(part, ast.Call) and part.func.id not in ("select", "min2", "max2", "abs"):  # type: ignore[attr-defined]
            return False
        count += isinstance(part, ast.BinOp)
    return count <= 4


class _States(Choices):
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
        return _call("ldi" if kind == i64 else "ldf", *place)

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
            return ast.Expr(_call("sti" if kind == i64 else "stf", *place, value))
        if isinstance(target, ast.Attribute):
            path = _path(target) or ()
            if path[0] != "s" or path[1:] not in self.layout.scalars:
                refuse(
                    self.kernel.function, node, f"{ast.unparse(target)} is not a field of the state"
                )
            self.written[path[1:]] = None
            kind = self.layout.scalars[path[1:]][1]
            name = "s_" + "_".join(path[1:])
            return ast.Assign([ast.Name(name, ast.Store())], _call(f"as_{kind}", value))
        return ast.Assign([target], value)


def _loop(kernel: Kernel, layout: Layout, states: _States, body: list[ast.stmt]) -> str:
    head = [
        f"def k_{kernel.name}(args, lo, hi):",
        *(f"    {n} = ldi(args, {8 * w})" for n, w in _COMMON),
        *(f"    in_{n} = ldi(args, {8 * w})" for n, w in layout.inputs.items()),
        *(f"    outp{k} = ldi(args, {8 * w})" for k, w in enumerate(layout.outputs)),
    ]
    for name, (word, kind) in layout.constants.items():
        head.append(f"    p_{name} = {'ldf' if kind == f64 else 'ldi'}(args, {8 * word})")
    for path, (word, _) in layout.rings.items():
        head.append(f"    r_{'_'.join(path)} = ldi(args, {8 * word})")
    keyed = bool(kernel.state.fields)
    touched = {**states.read, **states.written}
    row = [
        "    skipped = 0",
        "    nulls = 0",
        "    for i in range(lo, hi):",
        *(_fetch_ahead(layout) if keyed else []),
        "        wanted = ldi8(kinds, i * kinds_step) == kind",
        *(f"        {x.name} = {_load(x)}" for x in kernel.inputs),
        *(["        symbol = ldi32(ids, i * 4)"] if keyed else []),
        f"        if wanted and {_present(kernel, keyed)}:",
        *(["            rec = state + symbol * stride"] if keyed else []),
    ]
    for path in touched:
        offset, kind = layout.scalars[path]
        row.append(f"            s_{'_'.join(path)} = {_LOAD[kind]}(rec, {offset})")
    text = ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
    row += ["            " + line for line in text.splitlines()]
    for path in states.written:
        offset, kind = layout.scalars[path]
        row.append(
            f"            {'sti' if kind == i64 else 'stf'}(rec, {offset}, s_{'_'.join(path)})"
        )
    row += ["        else:", "            if wanted:", "                skipped += 1"]
    row += [f"            out{k} = NAN" for k in range(len(layout.outputs))]
    for k in range(len(layout.outputs)):
        row.append(f"        null{k} = out{k} != out{k}")
        row.append(f"        stf(outp{k}, i * 8, select(null{k}, NAN, out{k}))")
        row.append(f"        nulls += null{k}")
    row += [f"    sti(args, {8 * SKIPPED}, ldi(args, {8 * SKIPPED}) + skipped)", "    return nulls"]
    return "\n".join(head + row) + "\n"


def _fetch_ahead(layout: Layout) -> list[str]:
    """Return the lines that bring records, then the next places of their rings, into the cache."""
    lines = [f"        prefetch(state + ldi32(ids, (i + {AHEAD_ROWS}) * 4) * stride)"]
    rings = [path for path in layout.rings if (*path[:-1], "at") in layout.scalars]
    if rings:
        lines.append(
            f"        soon = state + max2(ldi32(ids, (i + {RING_AHEAD_ROWS}) * 4), 0) * stride"
        )
    for path in rings:
        at = layout.scalars[(*path[:-1], "at")][0]
        lines.append(f"        prefetch(soon + r_{'_'.join(path)} + ldi(soon, {at}) * 8)")
    return lines


_COMMON = (
    ("ids", IDS), ("state", STATE), ("stride", STRIDE), ("kinds", KINDS), ("kinds_step", KINDS_STEP),
    ("kind", KIND),
)  # fmt: skip
_LOAD = {f64: "ldf", i64: "ldi"}
NULL_I64 = -(2**63)  # what a null integer is loaded as


def _present(kernel: Kernel, keyed: bool) -> str:
    tests = ["symbol >= 0"] if keyed else []
    for item in kernel.inputs:
        if not item.optional:
            whole = item.kind == i64
            tests.append(f"{item.name} != {NULL_I64}" if whole else f"is_finite({item.name})")
    some = " | ".join(f"(is_finite({x.name}))" for x in kernel.inputs if x.optional)
    if some:
        tests.append(some)
    return " & ".join(f"({t})" for t in tests) or "True"


def _load(item: Input) -> str:
    if item.optional:
        return f"finite_or_nan(ldf(in_{item.name}, i * 8))"
    return f"{_LOAD[item.kind]}(in_{item.name}, i * 8)"


def pure_texts(lowering: Lowering) -> dict[str, str]:
    """Return the text of each pure helper used, callees before callers."""
    from orrery_kernels.engine.lower import pure_text

    done: dict[str, str] = {}
    for name, helper in list(lowering.helpers.items()):
        pure_text(name, helper, done)
    return done


def record_bytes(kernel: Kernel, p: SimpleNamespace) -> tuple[int, int, list[int]]:
    """Return (bytes used, stride, byte offset of each ring) of one symbol's record."""
    offset = 8 * len(kernel.state.scalars())
    rings = []
    for _, spec in kernel.state.rings():
        rings.append(offset)
        offset += 8 * spec.length(p)
    if offset <= 64:
        stride = 16
        while stride < offset:
            stride *= 2
    else:
        stride = (offset + 63) // 64 * 64
    return offset, stride, rings
