"""What the rivals run beside the kernels: polars, pandas, TA-Lib, and as-of joins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import talib
from orrery_kernels.engine import catalog
from talib import abstract


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
        (
            (r - r.ewm_mean(alpha=0.06, adjust=False))
            / r.ewm_std(alpha=0.06, adjust=False, bias=True)
        )
        .over(key)
        .alias("ew_zscore"),
        ((r - r.rolling_mean(100)) / r.rolling_std(100)).over(key).alias("zscore"),
        p.rolling_min(100).over(key).alias("min"),
        p.rolling_max(100).over(key).alias("max"),
        (100 - 100 / (1 + rs)).over(key).alias("rsi"),
        (line - line.ewm_mean(span=9, adjust=False)).over(key).alias("macd_hist"),
        ((p * pl.col("size")).cum_sum() / pl.col("size").cum_sum()).over(key).alias("vwap"),
        flow.over(key).alias("ofi"),
    )


P = pl.col("price")
# name -> our step, polars' expression, and pandas' work on prices grouped by symbol
KEYED: dict[str, tuple[dict, pl.Expr, Callable[[pd.api.typing.SeriesGroupBy], object]]] = {
    "diff": ({"kernel": "diff"}, P.diff(), lambda g: g.diff()),
    "ewma": (
        {"kernel": "ewma"},
        P.ewm_mean(alpha=0.06, adjust=False),
        lambda g: g.ewm(alpha=0.06, adjust=False).mean(),
    ),
    "ew_var": (
        {"kernel": "ew_var"},
        P.ewm_var(alpha=0.06, adjust=False, bias=True),
        lambda g: g.ewm(alpha=0.06, adjust=False).var(bias=True),
    ),
    "sma 100": (
        {"kernel": "sma", "window": 100}, P.rolling_mean(100), lambda g: g.rolling(100).mean(),
    ),
    "rolling_std 100": (
        {"kernel": "rolling_std", "window": 100},
        P.rolling_std(100),
        lambda g: g.rolling(100).std(),
    ),
    "rolling_skew 100": (
        {"kernel": "rolling_skew", "window": 100},
        P.rolling_skew(100),
        lambda g: g.rolling(100).skew(),
    ),
    "rolling_max 100": (
        {"kernel": "rolling_max", "window": 100},
        P.rolling_max(100),
        lambda g: g.rolling(100).max(),
    ),
    "rolling_median 100": (
        {"kernel": "rolling_median", "window": 100},
        P.rolling_median(100),
        lambda g: g.rolling(100).median(),
    ),
}  # fmt: skip


def talib_functions(columns: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
    """Return our ta_ kernel -> what TA-Lib runs for it, with its defaults, over the same arrays."""
    names = [name for name in catalog.kernels() if name.startswith("ta_")]
    return {n: partial(abstract.Function(n[3:].upper()), columns) for n in names}


def one_series(x: np.ndarray) -> dict[str, tuple[str, dict, Callable[[], object]]]:
    """Return name -> goal, our step, TA-Lib's function, for those with a goal of their own."""
    return {
        "EMA": ("<= 1.0", {"kernel": "ewma", "alpha": 2 / 31}, lambda: talib.EMA(x)),
        "MACD": ("<= 0.6", {"kernel": "macd"}, lambda: talib.MACD(x)),
        "STDDEV": ("<= 1.6", {"kernel": "rolling_std", "window": 5}, lambda: talib.STDDEV(x)),
        "RSI": ("<= 2.1", {"kernel": "rsi"}, lambda: talib.RSI(x)),
    }
