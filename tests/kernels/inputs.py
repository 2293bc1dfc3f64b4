"""Ticks for the laws: every kernel gets columns by the names it reads, drawn from one small market.

A kernel that needs something special: add its column to COLUMNS or its parameters to PARAMETERS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from orrery_kernels.engine.plan import canonical
from orrery_kernels.engine.spec import Kernel
from orrery_kernels.errors import ParameterError

Draw = Callable[[np.random.Generator, int, dict[str, np.ndarray]], np.ndarray]

# Columns beyond those of `market`: name -> draw(generator, rows, columns so far).
COLUMNS: dict[str, Draw] = {
    "periods": lambda rng, rows, known: rng.uniform(1.0, 12.0, rows),
    "realized_var": lambda rng, rows, known: np.exp(rng.normal(-9.0, 0.5, rows)),
    **{
        f"{side}_{k}": lambda rng, rows, known, side=side, k=k: (
            known[side] + (k - 1 if side == "ask" else 1 - k) / 128.0
        )
        for side in ("bid", "ask")
        for k in range(1, 6)
    },
    **{
        f"{side}_size_{k}": lambda rng, rows, known: rng.integers(2, 900, rows).astype(float)
        for side in ("bid", "ask")
        for k in range(1, 6)
    },
}

# Parameters for the laws, where the defaults made small (see `small_parameters`) do not do.
PARAMETERS: dict[str, dict[str, Any]] = {
    "dollar_bars": {"threshold": 150_000.0},
    "evt_pot_var": {"window": 30, "u": 0.7, "p": 0.9},
    "har_rv": {"week": 2, "month": 4, "min_periods": 8},
    "hasbrouck_impact": {"lags": 2, "horizon": 4, "min_periods": 20},
    "microprice_stoikov": {"tick_size": 1 / 128, "buckets": 3, "every": 10},
    "resample_ohlc": {"freq_s": 2.0},
    "tick_imbalance_bars": {"expected_ticks": 10},
    "trade_quote_match": {"depth": 4, "lag_ms": 100.0},
    "volume_bars": {"threshold": 1_000.0},
    "vpin": {"bucket_volume": 300.0, "buckets": 4},
    "wmr_london": {"fix_s": 35_630, "window_s": 20},  # and it is summer
    "wmr_schedule": {"fix_utc_s": 32_030, "window_s": 20},  # `market` begins at second 32,000
}

_LARGEST_WINDOW = 10


def market(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Return the columns of a small market: prices on a grid of 1/128, to shift exactly."""
    log_return = rng.normal(0.0, 0.004, rows)
    log_return[rng.random(rows) < 0.1] = 0.0
    price = np.round(12_800.0 * np.exp(np.cumsum(log_return))) / 128.0
    bid = price - rng.integers(1, 4, rows) / 128.0
    ask = price + rng.integers(0, 4, rows) / 128.0
    opened, closed = price, np.round(128.0 * price * np.exp(rng.normal(0.0, 0.003, rows))) / 128.0
    high = np.maximum(opened, closed) + rng.integers(0, 9, rows) / 128.0
    low = np.minimum(opened, closed) - rng.integers(0, 9, rows) / 128.0
    x = rng.normal(size=rows)
    return {
        "log_return": log_return,
        "price": price,
        "bid": bid,
        "ask": ask,
        "size": rng.integers(1, 500, rows).astype(float),
        "bid_size": rng.integers(1, 900, rows).astype(float),
        "ask_size": rng.integers(1, 900, rows).astype(float),
        "side": rng.choice([-1.0, 1.0], rows),
        "open": opened,
        "high": high,
        "low": low,
        "close": closed,
        "midprice": (bid + ask) / 2.0,
        "x": x,
        "y": 0.6 * x + rng.normal(size=rows),
        "value": rng.normal(0.03, 0.001, rows),
        "ts_event_ns": 1_760_000_000_000_000_000 + np.cumsum(rng.integers(0, 400_000_000, rows)),
    }


def small_parameters(kernel: Kernel) -> dict[str, Any]:
    """Return parameters with short windows, so that a few hundred rows go round them many times."""
    if kernel.name in PARAMETERS:
        return PARAMETERS[kernel.name]
    whole = {
        name: spec.default
        for name, spec in kernel.params.items()
        if isinstance(spec.default, int) and spec.default > _LARGEST_WINDOW // 2
    }
    by = -(-max(whole.values(), default=1) // _LARGEST_WINDOW)
    small = {name: max(2, default // by) for name, default in whole.items()}
    try:
        kernel.bind(small)
    except ParameterError:
        return {}
    return small


def columns_of(kernel: Kernel, rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Return the columns `kernel` reads, under the names it reads by default."""
    known = market(rng, rows)
    for name, draw in COLUMNS.items():
        known[name] = draw(rng, rows, known)
    read = {}
    for item in kernel.inputs:
        name = item.column if item.column in known else canonical(item.column)
        if name in known:
            read[item.column] = known[name]
        elif item.kind == "i64":
            read[item.column] = known["ts_event_ns"] - rng.integers(0, 3_000_000_000, rows)
        else:
            read[item.column] = rng.normal(size=rows)
    return read


def ticks(
    kernel: Kernel, rows: int, symbols: int = 4, seed: int = 0, missing: float = 0.0
) -> pa.RecordBatch:
    """Return `rows` ticks of `symbols` symbols, interleaved; a share `missing` is null."""
    rng = np.random.default_rng([seed, rows, symbols])
    columns: dict[str, Any] = {"symbol": [f"S{k}.X" for k in rng.integers(0, symbols, rows)]}
    for item in kernel.inputs:
        values = columns_of(kernel, np.random.default_rng([seed, rows, symbols, 1]), rows)[
            item.column
        ]
        mask = rng.random(rows) < missing
        columns[item.column] = pa.array(
            values, pa.int64() if item.kind == "i64" else None, mask=mask
        )
    return pa.RecordBatch.from_pydict(columns)
