"""The text of a kernel's loop: `k(args, lo, hi) -> rows without a result`.

Two forms with the same bits. Over rows: each row loads its symbol's scalars, works, stores them;
rows of different symbols overlap in the processor. Over runs: while the symbol stays the same its
scalars stay in registers, which is quicker for one long series; and rows are looked over in blocks,
so that where nothing is missing each row is computed without asking.
"""

from __future__ import annotations

import ast

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
from orrery_kernels.engine.spec import Input, Kernel, f64, i64

AHEAD_ROWS = 24  # how far ahead a symbol's record is fetched
BLOCK_ROWS = 64  # looked over together
RING_AHEAD_ROWS = 12  # and, by then in cache, the place in each ring that will be written

_COMMON = {
    "ids": IDS,
    "state": STATE,
    "stride": STRIDE,
    "kinds": KINDS,
    "kinds_step": KINDS_STEP,
    "kind": KIND,
}
_WANTED = "ldi8(kinds, i * kinds_step) == kind"
_LOAD = {f64: "ldf", i64: "ldi"}
_STORE = {f64: "stf", i64: "sti"}


def loop_over_rows(kernel: Kernel, layout: Layout, states: States, body: list[ast.stmt]) -> str:
    """Return the loop in which every row finds its symbol's record."""
    keyed = bool(kernel.state.fields)
    lines = [
        f"def k_{kernel.name}(args, lo, hi):",
        *_head(layout),
        "    for i in range(lo, hi):",
        *(_fetch_ahead(layout) if keyed else []),
        f"        wanted = {_WANTED}",
        *(f"        {x.name} = {_load(x)}" for x in kernel.inputs),
        *(["        symbol = ldi32(ids, i * 4)"] if keyed else []),
        f"        if wanted and {_present(kernel, keyed)}:",
        *(["            rec = state + symbol * stride"] if keyed else []),
        *_indented(_loads(layout, states), 3),
        *_indented(_text(body), 3),
        *_indented(_stores(layout, states), 3),
        *_indented(_nothing(kernel), 2),
        *_indented(_results(kernel), 2),
    ]
    return "\n".join([*lines, *_tail()]) + "\n"


def loop_over_runs(kernel: Kernel, layout: Layout, states: States, body: list[ast.stmt]) -> str:
    """Return the loop in which a run of one symbol keeps its scalars in registers."""
    lines = [
        f"def k_{kernel.name}(args, lo, hi):",
        *_head(layout),
        "    first = lo",
        "    while first < hi:",
        "        symbol = ldi32(ids, first * 4)",
        *_indented(_run_end(), 2),
        "        rec = state + max2(symbol, 0) * stride",
        *_indented(_loads(layout, states), 2),
        "        end = after",
        "        while first < end:",
        f"            after = min2(first + {BLOCK_ROWS}, end)",
        *_indented([*_missing(kernel), *_block(kernel, body)], 3),
        "            first = after",
        "        if symbol >= 0:",
        *_indented([*_stores(layout, states), "pass"], 3),
    ]
    return "\n".join([*lines, *_tail()]) + "\n"


def _missing(kernel: Kernel) -> list[str]:
    """Return the lines that find out whether rows of a block lack something the step needs."""
    return [
        "missing = as_i64(symbol < 0)",
        "if kinds_step != 0:",
        "    for i in range(first, after):",
        "        missing |= ldi8(kinds, i) ^ kind",
        "for i in range(first, after):",
        *(f"    {x.name} = {_load(x)}" for x in kernel.inputs),
        *(f"    missing |= {lack}" for lack in _lacks(kernel)),
        "    pass",
    ]


def _lacks(kernel: Kernel) -> list[str]:
    """Return expressions over the inputs of a row that are 0 when all is there."""
    lacks = []
    for item in kernel.inputs:
        if item.kind == i64 and not item.optional:
            lacks.append(f"as_i64({item.name} == {NULL_I64})")
        elif not item.optional:
            lacks.append(f"bits_of({item.name} - {item.name})")  # +0, or NaN of NaN and inf
    lacks_all = " & ".join(f"bits_of({x.name} - {x.name})" for x in kernel.inputs if x.optional)
    return [*lacks, lacks_all] if lacks_all else lacks


def _block(kernel: Kernel, body: list[ast.stmt]) -> list[str]:
    """Return the lines for a block; nulls are looked for after it, and only where one may be."""
    outs = range(len(kernel.outputs))
    wholes = [*enumerate(kernel.whole_outputs, len(kernel.outputs))]
    return [
        "odd = 0",
        "for i in range(first, after):",
        *(f"    {x.name} = {_load(x)}" for x in kernel.inputs),
        f"    if missing == 0 or ({_WANTED} and {_present(kernel, True)}):",
        *_indented(_text(body), 2),
        "    else:",
        f"        wanted = {_WANTED}",
        *_indented(_nothing(kernel)[1:], 1),
        *(f"    stf(outp{k}, i * 8, out{k})" for k in outs),
        *(f"    sti(outp{j}, i * 8, whole{k})" for j, k in wholes),
        *(f"    odd |= bits_of(out{k} - out{k})" for k in outs),
        "if odd != 0:",
        "    for i in range(first, after):",
        *(f"        out{k} = ldf(outp{k}, i * 8)" for k in outs),
        *(f"        whole{k} = ldi(outp{j}, i * 8)" for j, k in wholes),
        *_indented(_results(kernel), 2),
    ]


def _run_end() -> list[str]:
    """Return the lines that set `after`, where the run of one symbol ends; 64 rows at a time."""
    return [
        "after = first",
        "other = 0",
        "pair = (symbol << 32) | (symbol & 4294967295)",
        "while other == 0 and after + 64 <= hi:",
        "    for k in range(32):",
        "        other |= ldi(ids, (after + 2 * k) * 4) ^ pair",
        "    after += select(other == 0, 64, 0)",
        "while after < hi and ldi32(ids, after * 4) == symbol:",
        "    after += 1",
    ]


def _head(layout: Layout) -> list[str]:
    lines = [f"    {n} = ldi(args, {8 * w})" for n, w in _COMMON.items()]
    lines += [f"    in_{n} = ldi(args, {8 * w})" for n, w in layout.inputs.items()]
    lines += [f"    outp{k} = ldi(args, {8 * w})" for k, w in enumerate(layout.outputs)]
    for name, (word, kind) in layout.constants.items():
        lines.append(f"    p_{name} = {'ldf' if kind == f64 else 'ldi'}(args, {8 * word})")
    for path, (word, _) in layout.rings.items():
        lines.append(f"    r_{'_'.join(path)} = ldi(args, {8 * word})")
    return [*lines, "    skipped = 0", "    nulls = 0"]


def _tail() -> list[str]:
    return [f"    sti(args, {8 * SKIPPED}, ldi(args, {8 * SKIPPED}) + skipped)", "    return nulls"]


def _text(body: list[ast.stmt]) -> list[str]:
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, []))).splitlines()


def _indented(lines: list[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]


def _loads(layout: Layout, states: States) -> list[str]:
    lines = []
    for path in {**states.read, **states.written}:
        offset, kind = layout.scalars[path]
        lines.append(f"s_{'_'.join(path)} = {_LOAD[kind]}(rec, {offset})")
    return lines


def _stores(layout: Layout, states: States) -> list[str]:
    lines = []
    for path in states.written:
        offset, kind = layout.scalars[path]
        lines.append(f"{_STORE[kind]}(rec, {offset}, s_{'_'.join(path)})")
    return lines


def _nothing(kernel: Kernel) -> list[str]:
    """Return the branch of a row that the kernel does not read."""
    outs = [f"    out{k} = NAN" for k in range(len(kernel.outputs))]
    wholes = [f"    whole{k} = 0" for k in kernel.whole_outputs]
    return ["else:", "    if wanted:", "        skipped += 1", *outs, *wholes]


def _results(kernel: Kernel) -> list[str]:
    """Return the lines that write the outputs; NaN has one bit pattern, and is counted."""
    lines = []
    for k in range(len(kernel.outputs)):
        lines.append(f"null{k} = out{k} != out{k}")
        lines.append(f"stf(outp{k}, i * 8, select(null{k}, NAN, out{k}))")
        lines.append(f"nulls += null{k}")
    for j, k in enumerate(kernel.whole_outputs, len(kernel.outputs)):
        lines.append(f"sti(outp{j}, i * 8, select(null{k}, 0, whole{k}))")
    return lines


def _fetch_ahead(layout: Layout) -> list[str]:
    """Return the lines that bring records, then the next places of their rings, into the cache."""
    lines = [f"        prefetch(state + ldi32(ids, (i + {AHEAD_ROWS}) * 4) * stride)"]
    rings = [path for path in layout.rings if (*path[:-1], "at") in layout.scalars]
    if rings:
        soon = f"max2(ldi32(ids, (i + {RING_AHEAD_ROWS}) * 4), 0)"
        lines.append(f"        soon = state + {soon} * stride")
    for path in rings:
        at = layout.scalars[(*path[:-1], "at")][0]
        lines.append(f"        prefetch(soon + r_{'_'.join(path)} + ldi(soon, {at}) * 8)")
    return lines


def _present(kernel: Kernel, keyed: bool) -> str:
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


def _load(item: Input) -> str:
    if item.optional:
        return f"finite_or_nan(ldf(in_{item.name}, i * 8))"
    return f"{_LOAD[item.kind]}(in_{item.name}, i * 8)"
