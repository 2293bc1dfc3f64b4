"""Speed of the kernels, rivals beside them: python -m tests.benchmarks.kernels [rows]

CPU time of the process, one thread unless said, least of several interleaved rounds. A ratio over 1
means the kernels are that many times quicker; for TA-Lib the share of its time is printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

os.environ["POLARS_MAX_THREADS"] = "1"

import numpy as np
import polars as pl
import pyarrow as pa
import talib
from orrery_kernels import Chain, ewma
from orrery_kernels.engine.program import native_call

ROUNDS = 5
CHAIN = [
    {"kernel": "log_returns"},
    {"kernel": "ewma", "column": "log_return", "alpha": 0.06},
    {"kernel": "rolling_zscore", "column": "log_return", "window": 100},
    {"kernel": "rolling_zscore", "column": "price", "window": 100, "output": "price_zscore"},
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


def polars_chain(frame: pl.DataFrame) -> pl.DataFrame:
    p, key = pl.col("price"), "symbol"
    r = (p / p.shift(1)).log()
    move = p.diff()
    up, down = move.clip(lower_bound=0.0), (-move).clip(lower_bound=0.0)
    rs = up.ewm_mean(alpha=1 / 14, adjust=False) / down.ewm_mean(alpha=1 / 14, adjust=False)
    line = p.ewm_mean(span=12, adjust=False) - p.ewm_mean(span=26, adjust=False)
    b, a, q, s = pl.col("bid"), pl.col("ask"), pl.col("bid_size"), pl.col("ask_size")
    flow = (
        pl.when(b >= b.shift(1)).then(q).otherwise(0.0)
        - pl.when(b <= b.shift(1)).then(q.shift(1)).otherwise(0.0)
        - pl.when(a <= a.shift(1)).then(s).otherwise(0.0)
        + pl.when(a >= a.shift(1)).then(s.shift(1)).otherwise(0.0)
    )
    return frame.select(
        r.over(key).alias("log_return"),
        r.ewm_mean(alpha=0.06, adjust=False).over(key).alias("ewma"),
        ((r - r.rolling_mean(100)) / r.rolling_std(100)).over(key).alias("zscore"),
        ((p - p.rolling_mean(100)) / p.rolling_std(100)).over(key).alias("price_zscore"),
        p.rolling_min(100).over(key).alias("min"),
        p.rolling_max(100).over(key).alias("max"),
        (100 - 100 / (1 + rs)).over(key).alias("rsi"),
        (line - line.ewm_mean(span=9, adjust=False)).over(key).alias("macd_hist"),
        ((p * pl.col("size")).cum_sum() / pl.col("size").cum_sum()).over(key).alias("vwap"),
        flow.over(key).alias("ofi"),
    )


def say(work: str, value: str) -> None:
    sys.stdout.write(f"| {work} | {value} |\n")
    sys.stdout.flush()


def chains(rows: int) -> None:
    chain = Chain(CHAIN)
    for symbols in (1, 1_000, 100_000):
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
            f"ten kernels, {symbols:,} symbols",
            f"{ours:.0f} ns/row, polars {theirs:.0f}: {theirs / ours:.1f}x",
        )


def singles(rows: int) -> None:
    """One series as arrays, the loop alone, against TA-Lib in C."""
    x = market(rows, 1)["price"].to_numpy()
    batch = pa.RecordBatch.from_pydict({"price": x})
    rivals = {
        "ema": ({"kernel": "ewma", "alpha": 2 / 31}, lambda: talib.EMA(x, 30)),
        "macd": ({"kernel": "macd"}, lambda: talib.MACD(x)),
        "stddev": ({"kernel": "rolling_std", "window": 5}, lambda: talib.STDDEV(x, 5)),
        "rsi": ({"kernel": "rsi"}, lambda: talib.RSI(x)),
        "sma": ({"kernel": "sma", "window": 30}, lambda: talib.SMA(x, 30)),
        "max": ({"kernel": "rolling_max", "window": 30}, lambda: talib.MAX(x, 30)),
    }
    one = native_call("run_one")
    for name, (step, rival) in rivals.items():
        chain = Chain([step])
        state = chain.new_state()
        chain.run(state, batch, threads=1)
        address = state.session.address
        best = least({"ours": lambda a=address: one(a, 0, rows), "talib": rival}, 15)
        ours, theirs = (best[k] / rows * 1e9 for k in ("ours", "talib"))
        say(
            f"{name}, one series",
            f"{ours:.2f} ns/row, TA-Lib {theirs:.2f}: {ours / theirs:.2f} of its time",
        )


def keyed(rows: int) -> None:
    batch = market(rows, 1_000)
    frame = pl.from_arrow(batch)
    p = pl.col("price")
    work = {
        "ewma": ({"kernel": "ewma"}, p.ewm_mean(alpha=0.06, adjust=False)),
        "rolling_std 100": ({"kernel": "rolling_std", "window": 100}, p.rolling_std(100)),
        "rolling_max 100": ({"kernel": "rolling_max", "window": 100}, p.rolling_max(100)),
    }
    for name, (step, expression) in work.items():
        chain = Chain([step])
        state = chain.new_state()
        best = least(
            {
                "ours": lambda c=chain, s=state: c.run(s, batch, threads=1),
                "polars": lambda e=expression: frame.select(e.over("symbol")),
            }
        )
        ours, theirs = (best[k] / rows * 1e9 for k in ("ours", "polars"))
        say(
            f"{name}, 1,000 symbols",
            f"{ours:.1f} ns/row with text keys, polars {theirs:.1f}: {theirs / ours:.1f}x",
        )


def small() -> None:
    chain = Chain(CHAIN)
    state = chain.new_state()
    row = market(1, 1)
    smooth = ewma(alpha=0.06)
    smooth.tick("A", 1.0)
    repeats = 4_000
    best = least(
        {
            "batch": lambda: [chain.run(state, row) for _ in range(repeats)],
            "tick": lambda: [smooth.tick("A", 1.0) for _ in range(repeats)],
        }
    )
    say("one row through ten kernels", f"{best['batch'] / repeats * 1e6:.1f} us")
    say("tick()", f"{best['tick'] / repeats * 1e6:.2f} us")


def threads(rows: int) -> None:
    chain = Chain(CHAIN)
    batch = market(rows, 1_000)
    best = {1: 1e9, 2: 1e9}
    state = chain.new_state()
    for _ in range(ROUNDS):
        for count in best:
            begin = time.perf_counter()
            chain.run(state, batch, threads=count)
            best[count] = min(best[count], time.perf_counter() - begin)
    say("two threads, ten kernels (wall)", f"{best[1] / best[2]:.2f}x")


def fresh() -> None:
    code = (
        "import numpy, pyarrow as pa, time; t = time.perf_counter();"
        "from orrery_kernels import ewma; b = pa.RecordBatch.from_pydict({'price': [1.0, 2.0]});"
        "ewma(b); print((time.perf_counter() - t) * 1e3)"
    )
    ready, whole = [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        whole.append(time.perf_counter() - begin)
        ready.append(float(done.stdout))
    say(
        "fresh process, first result (after the imports)",
        f"{min(whole):.2f} s ({min(ready):.0f} ms)",
    )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    say("work", "measured")
    say("---", "---")
    chains(rows)
    singles(rows)
    keyed(rows)
    small()
    threads(rows)
    fresh()


if __name__ == "__main__":
    main()
