"""The text of a kernel's loop: `k(args, lo, hi) -> rows without a result`.

Two forms with the same bits. Over rows: each row loads its symbol's scalars, works, stores them;
rows of different symbols overlap in the processor. Over runs: while the symbol stays the same its
scalars stay in registers, which is quicker for one long series. Small steps, and runs, are looked
over in blocks (lookover.py).
"""

from __future__ import annotations

import ast

from orrery_kernels.engine.layout import Layout
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
    whole,
)
from orrery_kernels.engine.lookover import BLOCK_ROWS, is_small, rows_in_blocks, run_in_block
from orrery_kernels.engine.rewrite import States
from orrery_kernels.engine.settled import assigned, name
from orrery_kernels.engine.spec import Kernel


def loop_over_rows(kernel: Kernel, layout: Layout, states: States, body: list[ast.stmt]) -> str:
    """Return the loop in which every row finds its symbol's record."""
    looked_over = not kernel.state.fields or (is_small(body) and not layout.rings)
    lines = (rows_in_blocks if looked_over else _rows_in_turn)(kernel, layout, states, body)
    return whole(kernel, layout, lines)


def loop_over_runs(kernel: Kernel, layout: Layout, states: States, body: list[ast.stmt]) -> str:
    """Return the loop in which a run of one symbol keeps its scalars in registers."""
    lines = [
        "first = lo",
        "while first < hi:",
        "    symbol = ldi32(ids, first * 4)",
        *indented(_run_end(), 1),
        "    rec = state + max2(symbol, 0) * stride",
        *indented(loads(layout, states), 1),
        "    end = after",
        "    while first < end:",
        f"        after = min2(first + {BLOCK_ROWS}, end)",
        *indented(run_in_block(kernel, layout, states, body), 2),
        "        first = after",
        "    if symbol >= 0:",
        *indented([*stores(layout, states).values(), "pass"], 2),
    ]
    return whole(kernel, layout, lines)


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


def _rows_in_turn(
    kernel: Kernel, layout: Layout, states: States, body: list[ast.stmt]
) -> list[str]:
    body, stored = _sunk(body, layout, states)
    row = [
        *fetch_ahead(layout),
        f"wanted = {WANTED}",
        *(f"{x.name} = {load(x)}" for x in kernel.inputs),
        "symbol = ldi32(ids, i * 4)",
        f"if wanted and {present(kernel, True)}:",
        "    rec = state + symbol * stride",
        *indented([*loads(layout, states), *text_of(body), *stored], 1),
        *nothing(kernel),
        *results(kernel),
    ]
    return each_row("lo", "hi", row)


def _sunk(body: list[ast.stmt], layout: Layout, states: States) -> tuple[list[ast.stmt], list[str]]:
    """Return `body` that stores where they are set the numbers not every row sets; the others'
    stores are returned too. Stores are what a row of a window has most of."""
    lines = {name(path): line for path, line in stores(layout, states).items()}
    always = _always(body) & lines.keys()
    return _sink(body, lines, always), [line for n, line in lines.items() if n in always]


def _sink(body: list[ast.stmt], lines: dict[str, str], kept: set[str]) -> list[ast.stmt]:
    """Return `body` with the stores of its branches in them, but for the numbers in `kept`."""
    done: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.If):
            branches = []
            for branch in (statement.body, statement.orelse):
                here = (_always(branch) & lines.keys()) - kept
                store = ast.parse("\n".join(lines[n] for n in sorted(here))).body
                branches.append([*_sink(branch, lines, kept | here), *store])
            statement = ast.If(statement.test, *branches)
        done.append(statement)
    return done


def _always(body: list[ast.stmt]) -> set[str]:
    """Return the variables that are set whichever way `body` goes; a loop counts as gone through,
    for what it has not set is stored as it was."""
    names: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.If):
            names |= _always(statement.body) & _always(statement.orelse)
        else:
            names |= assigned([statement])
    return names
