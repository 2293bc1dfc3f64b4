"""What a row of every kernel costs: python -m tests.benchmarks.kernel_costs [rows]

The loop of each kernel alone, its default parameters, 1,000 symbols interleaved, symbols known:
least CPU time of some passes over the same ticks. Kept in the table of kernels/README.md.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pyarrow as pa
from orrery_kernels import Chain
from orrery_kernels.engine import catalog
from orrery_kernels.engine.plan import canonical
from orrery_kernels.engine.program import native_call
from orrery_kernels.engine.spec import Kernel

from tests.kernels import table
from tests.kernels.inputs import COLUMNS, market

ROWS, SYMBOLS = 100_000, 1_000
SECONDS, ROUNDS_MIN, ROUNDS_MAX = 0.2, 3, 60  # of CPU time a kernel


def columns(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    known = market(rng, rows)
    return known | {name: draw(rng, rows, known) for name, draw in COLUMNS.items()}


def ticks(kernel: Kernel, known: dict[str, np.ndarray], symbol: pa.Array) -> pa.RecordBatch:
    """Return what `kernel` reads; a column nobody draws is the time, or a log return."""
    given: dict[str, object] = {"symbol": symbol}
    for item in kernel.inputs:
        spare = "ts_event_ns" if item.kind == "i64" else "log_return"
        names = [n for n in (item.column, canonical(item.column)) if n in known]
        values = known[names[0] if names else spare]
        given[item.column] = pa.array(values, pa.int64() if item.kind == "i64" else pa.float64())
    return pa.RecordBatch.from_pydict(given)


def cost(kernel: Kernel, batch: pa.RecordBatch) -> float:
    """Return the nanoseconds of CPU time a row."""
    chain = Chain([{"kernel": kernel.name}])
    state = chain.new_state()
    chain.run(state, batch, threads=1)
    loop, session = native_call("run_one"), state.session
    spent: list[float] = []
    while len(spent) < ROUNDS_MIN or (sum(spent) < SECONDS and len(spent) < ROUNDS_MAX):
        begin = time.process_time()
        loop(session.address, 0, batch.num_rows)
        spent.append(time.process_time() - begin)
    return min(spent) / batch.num_rows * 1e9


def measure(rows: int = ROWS) -> dict[str, float]:
    """Return kernel -> ns a row."""
    known = columns(rows)
    codes = np.random.default_rng(4).integers(0, SYMBOLS, rows).astype(np.int32)
    symbol = pa.DictionaryArray.from_arrays(codes, [f"S{k:05d}.XNAS" for k in range(SYMBOLS)])
    kernels = [public.definition for public in catalog.kernels().values()]
    return {k.name: cost(k, ticks(k, known, symbol)) for k in kernels}


def keep(costs: dict[str, float]) -> None:
    table.write({name: f"{ns:.1f}" for name, ns in costs.items()})


if __name__ == "__main__":
    found = measure(*map(int, sys.argv[1:]))
    keep(found)
    sys.stdout.write(
        f"{len(found)} kernels, {np.median([*found.values()]):.1f} ns a row in the median\n"
    )
