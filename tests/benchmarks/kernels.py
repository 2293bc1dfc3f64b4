"""Speed of the kernels, rivals beside them: python -m tests.benchmarks.kernels [rows]

CPU time of the process, one thread unless said, least of several interleaved rounds. A ratio over 1
means the kernels are that many times quicker; for TA-Lib the share of its time is printed. The
table is printed, and kept in docs/benchmarks.md.
"""

from __future__ import annotations

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
import talib
from orrery_kernels import Chain, ewma
from orrery_kernels.engine.program import native_call

from tests.benchmarks.road_table import HEAD, PAGE, machine

HEADING = "## The kernels"
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


class Table:
    """Rows are printed as they are measured, and kept at the end."""

    def __init__(self) -> None:
        self.lines = ["| work | goal | measured |", "|---|---|---|"]

    def say(self, work: str, goal: str, measured: str) -> None:
        self.lines.append(f"| {work} | {goal} | {measured} |")
        sys.stdout.write(self.lines[-1] + "\n")
        sys.stdout.flush()

    def keep(self, rows: int) -> None:
        """Put the table into its section of the page; the other sections stay."""
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        about = (
            f"Measured {when} UTC on {machine()}, {rows:,} rows, load average "
            f"{os.getloadavg()[0]:.0f}. CPU time, one thread unless said, least of several rounds."
        )
        text = "\n".join([HEADING, "", about, "", *self.lines, ""])
        page = PAGE.read_text() if PAGE.exists() else HEAD
        section = re.compile(rf"^{HEADING}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
        rest = section.sub("", page).rstrip("\n")
        PAGE.write_text(f"{rest}\n\n{text}")


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
    }


def singles(rows: int) -> None:
    """One series as arrays, the loop alone, TA-Lib's default windows, against TA-Lib in C."""
    b = bars(rows)
    x, high, low, c, v = (b[k] for k in ("close", "high", "low", "close", "volume"))
    work = {
        "EMA": ("<= 1.0", {"kernel": "ewma", "alpha": 2 / 31}, lambda: talib.EMA(x)),
        "MACD": ("<= 0.6", {"kernel": "macd"}, lambda: talib.MACD(x)),
        "STDDEV": ("<= 1.6", {"kernel": "rolling_std", "window": 5}, lambda: talib.STDDEV(x)),
        "RSI": ("<= 2.1", {"kernel": "rsi"}, lambda: talib.RSI(x)),
        "SMA": ("", {"kernel": "ta_sma"}, lambda: talib.SMA(x)),
        "MAX": ("", {"kernel": "rolling_max", "window": 30}, lambda: talib.MAX(x)),
        "WMA": ("", {"kernel": "ta_wma"}, lambda: talib.WMA(x)),
        "DEMA": ("", {"kernel": "ta_dema"}, lambda: talib.DEMA(x)),
        "KAMA": ("", {"kernel": "ta_kama"}, lambda: talib.KAMA(x)),
        "BBANDS": ("", {"kernel": "ta_bbands"}, lambda: talib.BBANDS(x)),
        "CCI": ("", {"kernel": "ta_cci"}, lambda: talib.CCI(high, low, c)),
        "STOCH": ("", {"kernel": "ta_stoch"}, lambda: talib.STOCH(high, low, c)),
        "ADX": ("", {"kernel": "ta_adx"}, lambda: talib.ADX(high, low, c)),
        "ATR": ("", {"kernel": "ta_atr"}, lambda: talib.ATR(high, low, c)),
        "MFI": ("", {"kernel": "ta_mfi"}, lambda: talib.MFI(high, low, c, v)),
        "OBV": ("", {"kernel": "ta_obv"}, lambda: talib.OBV(x, v)),
        "SAR": ("", {"kernel": "ta_sar"}, lambda: talib.SAR(high, low)),
        "CORREL": (
            "",
            {"kernel": "ta_correl", "x": "high", "y": "low"},
            lambda: talib.CORREL(high, low),
        ),
    }
    shares = []
    for name, (goal, step, rival) in work.items():
        best = least({"ours": loop_alone(step, b), "talib": rival}, 11)
        ours, theirs = (best[k] / rows * 1e9 for k in ("ours", "talib"))
        shares.append(ours / theirs)
        measured = f"{ours:.2f} ns/row, TA-Lib {theirs:.2f}: {ours / theirs:.2f} of its time"
        say(f"{name}, one series, loop alone", goal, measured)
    say(f"median of these {len(shares)}", "<= 1.0", f"{np.median(shares):.2f} of TA-Lib's time")


def keyed(rows: int) -> None:
    batch = market(rows, 1_000)
    frame, pandas = pl.from_arrow(batch), batch.to_pandas()
    groups, p = pandas.groupby("symbol", sort=False)["price"], pl.col("price")
    work = {
        "ewma": (
            {"kernel": "ewma"},
            p.ewm_mean(alpha=0.06, adjust=False),
            lambda: groups.ewm(alpha=0.06, adjust=False).mean(),
        ),
        "rolling_std 100": (
            {"kernel": "rolling_std", "window": 100},
            p.rolling_std(100),
            lambda: groups.rolling(100).std(),
        ),
        "rolling_max 100": (
            {"kernel": "rolling_max", "window": 100},
            p.rolling_max(100),
            lambda: groups.rolling(100).max(),
        ),
    }
    for name, (step, expression, by_pandas) in work.items():
        chain = Chain([step])
        state = chain.new_state()
        jobs = {
            "ours": lambda c=chain, s=state: c.run(s, batch, threads=1),
            "polars": lambda e=expression: frame.select(e.over("symbol")),
            "pandas": by_pandas,
        }
        best = {k: v / rows * 1e9 for k, v in least(jobs, 3).items()}
        ratios = [f"{k} {best[k]:.0f}: {best[k] / best['ours']:.1f}x" for k in ("polars", "pandas")]
        goal = ">= 4x polars, >= 10x pandas"
        say(
            f"{name}, 1,000 symbols, text keys",
            goal,
            f"{best['ours']:.1f} ns/row, {', '.join(ratios)}",
        )


def windows(rows: int) -> None:
    """What a longer window costs: the loop alone, one series, W = 2,000 beside W = 20."""
    x = {"price": bars(rows)["close"]}
    order = ("rolling_median", "rolling_quantile")
    for name in ("sma", "rolling_std", "rolling_skew", "rolling_max", *order):
        jobs = {w: loop_alone({"kernel": name, "window": w}, x) for w in (20, 2_000)}
        best = {w: seconds / rows * 1e9 for w, seconds in least(jobs, 7).items()}
        goal = "O(log W) or better" if name in order else "within 1.3x"
        measured = f"{best[20]:.1f} and {best[2_000]:.1f} ns/row: {best[2_000] / best[20]:.2f}x"
        say(f"{name}, W = 20 and 2,000", goal, measured)


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
    say(
        "one row through ten kernels, Arrow in and out",
        "<= 10 us",
        f"{best['batch'] / repeats * 1e6:.1f} us",
    )
    say("tick() of ewma", "<= 1 us", f"{best['tick'] / repeats * 1e6:.2f} us")


def threads(rows: int) -> None:
    chain = Chain(CHAIN)
    batch = market(rows, 1_000)
    state = chain.new_state()
    best = {1: 1e9, 2: 1e9}
    for _ in range(ROUNDS):
        for count in best:
            begin = time.perf_counter()
            chain.run(state, batch, threads=count)
            best[count] = min(best[count], time.perf_counter() - begin)
    measured = f"{best[1] / best[2]:.2f}x by the clock"
    say("two threads, ten kernels, 1,000 symbols", ">= 1.8x", measured)


def fresh() -> None:
    """A new process, by its CPU time: the clock counts what else the machine does."""
    code = (
        "import time; begin = time.process_time();"
        "import numpy, pyarrow as pa; there = time.process_time();"
        "from orrery_kernels import ewma; b = pa.RecordBatch.from_pydict({'price': [1.0, 2.0]});"
        "ewma(b); done = time.process_time(); print(done - there, done)"
    )
    ready, whole = [], []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
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


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    sys.stdout.write("\n".join(table.lines) + "\n")
    chains(rows)
    singles(rows)
    keyed(rows)
    windows(rows // 10)
    small()
    threads(rows)
    fresh()
    table.keep(rows)


if __name__ == "__main__":
    main()
