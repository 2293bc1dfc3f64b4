"""Rows looked over in blocks, so that where nothing is missing each is computed without asking.

A run of one symbol asks nothing at all: where something is missing, or the symbol still warms up,
the block is left to the loop over rows.

What comes out is looked over too: nulls are counted, and given their one bit pattern, only in a
block where something was not a number.
"""

from __future__ import annotations

import ast

from orrery_kernels.engine.layout import NULL_I64, ROWS, Layout
from orrery_kernels.engine.lines import (
    WANTED,
    each_row,
    fetch_ahead,
    indented,
    load,
    loads,
    nothing,
    present,
    results,
    stores,
    text_of,
)
from orrery_kernels.engine.rewrite import States
from orrery_kernels.engine.settled import settled
from orrery_kernels.engine.spec import Kernel, i64

BLOCK_ROWS = 64  # looked over together
SMALL_STATEMENTS = 10  # a step of no more is written out twice
_EACH = "for i in range(first, after):"


def is_small(body: list[ast.stmt]) -> bool:
    """Return whether asking about a row costs as much as the step."""
    statements = [n for s in body for n in ast.walk(s) if isinstance(n, ast.stmt)]
    return len(statements) <= SMALL_STATEMENTS


def rows_in_blocks(
    kernel: Kernel, layout: Layout, states: States, body: list[ast.stmt]
) -> list[str]:
    """Return the lines over all rows of any symbols."""
    keyed = bool(kernel.state.fields)
    if keyed:
        record = ["rec = state + symbol * stride", *loads(layout, states)]
        step = [*record, *text_of(body), *stores(layout, states).values()]
        ahead = [*fetch_ahead(layout), "symbol = ldi32(ids, i * 4)"]
        block = [*_negative(), *missing(kernel), *_asked(kernel, step, ahead, keyed)]
    elif is_small(body):
        block = _tried(kernel, body)
    else:
        block = [*missing(kernel), *_asked(kernel, text_of(body), [], keyed)]
    return [
        "first = lo",
        "while first < hi:",
        f"    after = min2(first + {BLOCK_ROWS}, hi)",
        "    missing = 0",
        *indented([*kinds(), *block, *_odd(kernel)], 1),
        "    first = after",
    ]


def run_in_block(kernel: Kernel, layout: Layout, states: States, body: list[ast.stmt]) -> list[str]:
    """Return the lines for the rows `first` to `after` of one symbol, its scalars in variables.

    They hold the step of a symbol past its warm-up, for a block that lacks nothing; any other block
    is left to the loop over rows.
    """
    lean, guards = settled(states, layout, body)
    step = [*_inputs(kernel), *text_of(lean), *_kept(kernel)]
    others = [
        *stores(layout, states).values(),
        f"nulls += call_step(ldi(args, {8 * ROWS}), args, first, after)",
        *loads(layout, states),
    ]
    return [
        "missing = as_i64(symbol < 0)",
        *kinds(),
        *missing(kernel),
        f"if {' and '.join(['missing == 0', *(f'({g})' for g in guards)])}:",
        "    odd = 0",
        *indented(each_row("first", "after", step), 1),
        *indented(_odd(kernel), 1),
        "else:",
        *indented(others, 1),
    ]


def kinds() -> list[str]:
    """Return the lines that find out whether rows of a block are of another kind."""
    return ["if kinds_step != 0:", f"    {_EACH}", "        missing |= ldi8(kinds, i) ^ kind"]


def _negative() -> list[str]:
    """Return the lines that find out whether rows of a block have no symbol."""
    lines = ["negative = 0", _EACH, "    negative |= ldi32(ids, i * 4)"]
    return [*lines, "missing |= as_i64(negative < 0)"]


def missing(kernel: Kernel) -> list[str]:
    """Return the lines that find out whether rows of a block lack something the step needs."""
    return [_EACH, *indented([*_inputs(kernel), *_lacks(kernel), "pass"], 1)]


def _inputs(kernel: Kernel) -> list[str]:
    return [f"{x.name} = {load(x)}" for x in kernel.inputs]


def _lacks(kernel: Kernel) -> list[str]:
    """Return lines after which `missing` is not 0 when an input of the row is lacking."""
    lacks = []
    for item in kernel.inputs:
        if item.kind == i64 and not item.optional:
            lacks.append(f"as_i64({item.name} == {NULL_I64})")
        elif not item.optional:
            lacks.append(f"bits_of({item.name} - {item.name})")  # +0, or NaN of NaN and inf
    lacks_all = " & ".join(f"bits_of({x.name} - {x.name})" for x in kernel.inputs if x.optional)
    return [f"missing |= {lack}" for lack in [*lacks, *([lacks_all] if lacks_all else [])]]


def _asked(kernel: Kernel, step: list[str], ahead: list[str], keyed: bool) -> list[str]:
    """Return the loop that asks about a row only where something of its block is missing."""
    row = [
        *ahead,
        *_inputs(kernel),
        f"if missing == 0 or ({WANTED} and {present(kernel, keyed)}):",
        *indented(step, 1),
        *_else(kernel),
        *_kept(kernel),
    ]
    return ["odd = 0", *each_row("first", "after", row)]


def _tried(kernel: Kernel, body: list[ast.stmt]) -> list[str]:
    """Return a loop that asks nothing and looks meanwhile; where it should have asked, the rows are
    done again by one that does. Only for steps without a state."""
    return [
        "if missing == 0:",
        "    odd = 0",
        f"    {_EACH}",
        *indented([*_inputs(kernel), *_lacks(kernel), *text_of(body), *_kept(kernel)], 2),
        "if missing != 0:",
        "    odd = 0",
        f"    {_EACH}",
        *indented(_inputs(kernel), 2),
        f"        if {WANTED} and {present(kernel, False)}:",
        *indented(text_of(body), 3),
        *indented([*_else(kernel), *_kept(kernel)], 2),
    ]


def _else(kernel: Kernel) -> list[str]:
    return ["else:", f"    wanted = {WANTED}", *nothing(kernel)[1:]]


def _kept(kernel: Kernel) -> list[str]:
    """Return the lines that write a row's outputs, and note whether one may be a null: then their
    sum is one too."""
    outs = range(len(kernel.outputs))
    wholes = [*enumerate(kernel.whole_outputs, len(kernel.outputs))]
    return [
        *(f"stf(outp{k}, i * 8, out{k})" for k in outs),
        *(f"sti(outp{j}, i * 8, whole{k})" for j, k in wholes),
        f"some = {' + '.join(f'out{k}' for k in outs)}",
        "odd |= bits_of(some - some)",
    ]


def _odd(kernel: Kernel) -> list[str]:
    """Return the lines that look for nulls in a block that may have some."""
    wholes = [*enumerate(kernel.whole_outputs, len(kernel.outputs))]
    return [
        "if odd != 0:",
        f"    {_EACH}",
        *(f"        out{k} = ldf(outp{k}, i * 8)" for k in range(len(kernel.outputs))),
        *(f"        whole{k} = ldi(outp{j}, i * 8)" for j, k in wholes),
        *indented(results(kernel), 2),
    ]
