"""Speed of the kernels, rivals beside them: python -m tests.benchmarks.kernels [rows]

CPU time of the process, one thread unless said, least of several interleaved rounds. A ratio over 1
means the kernels are that many times quicker; for TA-Lib the share of its time is printed. Memory
that was freed is used again, so that rivals do not pay for fresh pages that our loops write to in
turn. The table is printed, and kept in docs/benchmarks.md.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

os.environ["POLARS_MAX_THREADS"] = "1"

import numpy as np
import polars as pl
import pyarrow as pa
from orrery_kernels import Chain, asof_join, ewma
from orrery_kernels.engine import catalog, loader, parallel
from orrery_kernels.engine.program import native_call

from tests.benchmarks import kernel_costs
from tests.benchmarks.kernel_rivals import KEYED, one_series, polars_chain, talib_functions
from tests.benchmarks.road_table import HEAD, PAGE, machine
from tests.kernels import test_accuracy

HEADING = "## The kernels"
ROUNDS = 5
CHAIN = [
    {"kernel": "log_returns"},
    {"kernel": "ewma", "column": "log_return", "alpha": 0.06},
    {"kernel": "rolling_zscore", "column": "log_return", "window": 100},
    {"kernel": "ew_zscore", "column": "log_return", "alpha": 0.06},
    {"kernel": "rolling_min", "window": 100},
    {"kernel": "rolling_max", "window": 100},
    {"kernel": "rsi"},
    {"kernel": "macd"},
    {"kernel": "vwap"},
    {"kernel": "ofi"},
]


def market(rows: int, symbols: int) -> pa.RecordBatch:
    rng = np.random.default_rng(1)
    names = np.array([f"S{k:05d}.XNAS" for k in range(symbols)])
    price = 100.0 + np.cumsum(rng.normal(0.0, 0.01, rows))
    sizes = [rng.integers(1, 100, rows).astype(float) for _ in range(3)]
    return pa.RecordBatch.from_pydict(
        {
            "symbol": names[rng.integers(0, symbols, rows)],
            "price": price,
            "size": sizes[0],
            "bid": price - 0.01,
            "ask": price + 0.01,
            "bid_size": sizes[1],
            "ask_size": sizes[2],
        }
    )


def least(jobs: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the least CPU seconds of each job, rounds interleaved."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            begin = time.process_time()
            job()
            best[name] = min(best.get(name, 1e9), time.process_time() - begin)
    return best


class Table:
    """Rows are printed as they are measured, and kept at the end."""

    def __init__(self) -> None:
        self.lines = ["| work | goal | measured | load |", "|---|---|---|---|"]

    def say(self, work: str, goal: str, measured: str) -> None:
        self.lines.append(f"| {work} | {goal} | {measured} | {os.getloadavg()[0]:.0f} |")
        sys.stdout.write(self.lines[-1] + "\n")
        sys.stdout.flush()

    def keep(self, rows: int) -> None:
        """Put the table into its section of the page; the other sections stay."""
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        about = (
            f"Measured {when} UTC on {machine()}, {rows:,} rows unless said, rivals in the same "
            "process. CPU time, one thread unless said, least of several rounds; memory that was "
            "freed is used again. `load` is that of the last minute."
        )
        text = "\n".join([HEADING, "", about, "", *self.lines, ""])
        page = PAGE.read_text() if PAGE.exists() else HEAD
        section = re.compile(rf"^{HEADING}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
        if section.search(page):
            page = section.sub(lambda _: text + "\n", page, count=1).rstrip("\n") + "\n"
        else:
            page = page.rstrip("\n") + "\n\n" + text
        PAGE.write_text(page)


table = Table()
say = table.say


def chains(rows: int) -> None:
    chain = Chain(CHAIN)
    for symbols, goal in ((1, 3), (1_000, 8), (100_000, 20)):
        batch = market(rows, symbols)
        frame = pl.from_arrow(batch)
        state = chain.new_state()
        best = least(
            {
                "ours": lambda b=batch, s=state: chain.run(s, b, threads=1),
                "polars": lambda f=frame: polars_chain(f),
            },
            3,
        )
        ours, theirs = (best[k] / rows * 1e9 for k in ("ours", "polars"))
        say(
            f"ten kernels, {symbols:,} symbols, text keys, Arrow in and out",
            f">= {goal}x polars",
            f"{ours:.0f} ns/row, polars {theirs:.0f}: {theirs / ours:.1f}x",
        )


def loop_alone(step: dict, columns: dict[str, np.ndarray]) -> Callable[[], object]:
    """Return what runs only the loop of one kernel over one series, long runs taken as such."""
    chain = Chain([step])
    state = chain.new_state()
    batch = pa.RecordBatch.from_pydict(columns)
    chain.run(state, batch, threads=1)
    one, session = native_call("run_one"), state.session
    return lambda: one(session.address, 0, batch.num_rows)


def bars(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    close = 100.0 + np.cumsum(rng.normal(0.0, 0.01, rows))
    opened = close + rng.normal(0.0, 0.01, rows)
    reach = np.abs(rng.normal(0.0, 0.01, rows))
    high, low = np.maximum(opened, close) + reach, np.minimum(opened, close) - reach
    volume = rng.integers(1, 100, rows).astype(float)
    return {
        "price": close,
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "x": high,
        "y": low,
        "periods": np.round(rng.uniform(2.0, 30.0, rows)),
    }


def singles(rows: int) -> None:
    """One series as arrays, the loop alone, TA-Lib's default windows, against TA-Lib in C."""
    b = bars(rows)
    for name, (goal, step, rival) in one_series(b["close"]).items():
        best = least({"ours": loop_alone(step, b), "talib": rival}, 11)
        ours, theirs = (best[k] / rows * 1e9 for k in ("ours", "talib"))
        measured = f"{ours:.2f} ns/row, TA-Lib {theirs:.2f}: {ours / theirs:.2f} of its time"
        say(f"{name}, one series, loop alone", goal, measured)
    shares = {}
    for name, rival in talib_functions(b).items():
        best = least({"ours": loop_alone({"kernel": name}, b), "talib": rival}, 5)
        shares[name] = best["ours"] / best["talib"]
    ranked = sorted(shares, key=shares.__getitem__)
    ends = ", ".join(f"{n[3:]} {shares[n]:.2f}" for n in (*ranked[:3], *ranked[-3:]))
    say(
        f"all {len(shares)} of TA-Lib, one series, loop alone",
        "median <= 1.0",
        f"median {np.median([*shares.values()]):.2f} of its time, "
        f"{sum(v <= 1.0 for v in shares.values())} not above 1; least and most: {ends}",
    )


def keyed(rows: int) -> None:
    """Each kernel that polars and pandas have too, text keys, Arrow in and out."""
    batch = market(rows, 1_000)
    frame, pandas = pl.from_arrow(batch), batch.to_pandas()
    for name, (step, expression, by_pandas) in KEYED.items():
        chain = Chain([step])
        state = chain.new_state()
        jobs = {
            "ours": lambda c=chain, s=state: c.run(s, batch, threads=1),
            "polars": lambda e=expression: frame.select(e.over("symbol")),
            "pandas": lambda f=by_pandas: f(pandas.groupby("symbol", sort=False)["price"]),
        }
        best = {k: v / rows * 1e9 for k, v in least(jobs, 3).items()}
        ratios = [f"{k} {best[k]:.0f}: {best[k] / best['ours']:.1f}x" for k in ("polars", "pandas")]
        say(
            f"{name}, 1,000 symbols, text keys",
            ">= 4x polars, >= 10x pandas",
            f"{best['ours']:.1f} ns/row, {', '.join(ratios)}",
        )


def every_kernel() -> None:
    """The loop of each kernel over 1,000 symbols; kept in the lab's README too."""
    costs = kernel_costs.measure()
    kernel_costs.keep(costs)
    quarters = np.percentile([*costs.values()], [25, 50, 75])
    say(
        f"each of {len(costs)} kernels, 1,000 symbols, loop alone",
        "median <= 5 ns/row",
        f"median {quarters[1]:.1f} ns/row, quartiles {quarters[0]:.1f} and {quarters[2]:.1f}, "
        f"{sum(ns <= 5.0 for ns in costs.values())} not above 5 ({kernel_costs.ROWS:,} rows)",
    )


def asof(rows: int) -> None:
    """Trades meet quotes, backward, by symbol; half of the rows each."""
    rng = np.random.default_rng(5)
    names = np.array([f"S{k:05d}.XNAS" for k in range(1_000)])
    sides = []
    for column in ("price", "bid"):
        columns = {
            "symbol": names[rng.integers(0, 1_000, rows // 2)],
            "ts_event_ns": np.sort(rng.integers(0, 10**12, rows // 2)),
            column: rng.normal(100.0, 1.0, rows // 2),
        }
        sides.append(pa.RecordBatch.from_pydict(columns))
    left, right = map(pl.from_arrow, sides)
    best = least(
        {
            "ours": lambda: asof_join(*sides),
            "polars": lambda: left.join_asof(
                right, on="ts_event_ns", by="symbol", check_sortedness=False
            ),
        },
        5,
    )
    ours, theirs = (best[k] / rows * 1e9 for k in ("ours", "polars"))
    measured = f"{ours:.1f} ns/row, polars {theirs:.1f}: {ours / theirs:.2f} of its time"
    say("as-of join, 1,000 symbols, per input row", "<= 0.7 of polars", measured)


def windows(rows: int) -> None:
    """What a longer window costs: the loop alone, one series, W = 2,000 beside W = 20."""
    x = {"price": bars(rows)["close"]}
    order = ("rolling_median", "rolling_quantile", "rolling_rank", "robust_hampel")
    for name in ("sma", "rolling_std", "rolling_skew", "rolling_max", *order):
        jobs = {w: loop_alone({"kernel": name, "window": w}, x) for w in (20, 2_000)}
        best = {w: seconds / rows * 1e9 for w, seconds in least(jobs, 7).items()}
        goal = "O(log W) or better" if name in order else "within 1.3x"
        measured = f"{best[20]:.1f} and {best[2_000]:.1f} ns/row: {best[2_000] / best[20]:.2f}x"
        measured += f" ({rows:,} rows)"
        say(f"{name}, W = 20 and 2,000", goal, measured)


def repeat(job: Callable[[], object], times: int) -> None:
    for _ in range(times):
        job()


def small() -> None:
    chain = Chain(CHAIN)
    state = chain.new_state()
    row = market(1, 1)
    smooth = ewma(alpha=0.06)
    smooth.tick("A", 1.0)
    repeats = 4_000
    best = least(
        {
            "batch": lambda: repeat(lambda: chain.run(state, row), repeats),
            "tick": lambda: repeat(lambda: smooth.tick("A", 1.0), repeats),
        }
    )
    say(
        "one row through ten kernels, Arrow in and out",
        "<= 10 us",
        f"{best['batch'] / repeats * 1e6:.1f} us",
    )
    say("tick() of ewma", "<= 1 us", f"{best['tick'] / repeats * 1e6:.2f} us")


def threads(rows: int) -> None:
    """The clock where the machine is quiet; else the CPU time of the busier of two threads."""
    spent: list[float] = []

    class Watched(parallel.Wavefront):
        def _work(self) -> None:
            begin = time.thread_time()
            super()._work()
            spent.append(time.thread_time() - begin)

    parallel.Wavefront, plain = Watched, parallel.Wavefront
    chain, batch = Chain(CHAIN), market(rows, 1_000)
    state = chain.new_state()
    clock, critical = {1: 1e9, 2: 1e9}, {1: 1e9, 2: 1e9}
    for _ in range(2 * ROUNDS):
        for count in clock:
            spent.clear()
            begin, cpu = time.perf_counter(), time.thread_time()
            chain.run(state, batch, threads=count)
            mine = time.thread_time() - cpu
            clock[count] = min(clock[count], time.perf_counter() - begin)
            critical[count] = min(critical[count], max([mine, *spent]))
    parallel.Wavefront = plain
    measured = (
        f"{clock[1] / clock[2]:.2f}x by the clock, "
        f"{critical[1] / critical[2]:.2f}x by CPU time of the busier thread"
    )
    say("two threads, ten kernels, 1,000 symbols", ">= 1.8x", measured)


def fresh() -> None:
    """A new process, by its CPU time: the clock counts what else the machine does.

    The batch is made of a buffer: from a list, pyarrow would import pandas where there is one.
    """
    code = (
        "import time; begin = time.process_time();"
        "import numpy, pyarrow as pa; there = time.process_time();"
        "two = pa.py_buffer(numpy.array([1.0, 2.0]));"
        "two = pa.Array.from_buffers(pa.float64(), 2, [None, two]);"
        "b = pa.RecordBatch.from_arrays([two], ['price']);"
        "from orrery_kernels import ewma;"
        "ewma(b); done = time.process_time(); print(done - there, done)"
    )
    compiled = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    ready, whole = [], []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=compiled
        )
        first, total = map(float, done.stdout.split())
        ready.append(first)
        whole.append(total)
    say(
        "fresh process: from numpy and pyarrow to a result",
        "<= 50 ms",
        f"{min(ready) * 1e3:.0f} ms",
    )
    say("fresh process: from `python` to a result", "<= 0.4 s", f"{min(whole):.2f} s")


def digits(ticks: int) -> None:
    """The largest error at any tick of a series with shocks; `make soak` takes ten million."""
    worst = test_accuracy.worst_errors(ticks)
    say(
        f"rolling variance, skew, kurtosis: largest error of {ticks:,} ticks with shocks",
        " / ".join(f"<= {goal:.0e}" for goal in test_accuracy.GOALS.values()),
        " / ".join(f"{worst[name]:.1e}" for name in test_accuracy.GOALS),
    )


def use_memory_again() -> None:
    """Keep what is freed, where the C library is glibc: arrays of 8 MB come from there."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD, the most there may be
        library.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


def must_be_built() -> None:
    """End where kernels would be compiled meanwhile: that takes minutes, and is no speed."""
    missing = catalog.kernels().keys() - loader.catalog().keys()
    if missing:
        raise SystemExit(
            f"every kernel must be compiled before, {len(missing)} were not; run: "
            "python -m orrery_kernels.engine.build"
        )


def main() -> None:
    must_be_built()
    use_memory_again()
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    sys.stdout.write("\n".join(table.lines) + "\n")
    chains(rows)
    singles(rows)
    keyed(rows)
    every_kernel()
    asof(rows)
    windows(rows // 10)
    small()
    threads(rows)
    fresh()
    digits(rows)
    table.keep(rows)


if __name__ == "__main__":
    main()
