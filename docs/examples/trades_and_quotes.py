"""Trades with the quotes that stood when they happened: what they paid, who was the aggressor."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from orrery_kernels import asof_join, effective_spread, midprice, trade_sign

rng = np.random.default_rng(3)
symbols = np.array(["AAPL.XNAS", "MSFT.XNAS"])


def times(rows: int) -> pa.Array:
    return pa.array(np.sort(rng.integers(0, 3_600_000_000_000, rows)), pa.timestamp("ns"))


quoted = 100.0 + np.cumsum(rng.normal(0.0, 0.001, 50_000))
quotes = pa.table(
    {
        "ts_event_ns": times(50_000),
        "symbol": symbols[rng.integers(0, 2, 50_000)],
        "bid": quoted - 0.01,
        "ask": quoted + 0.01,
    }
)
trades = pa.table({"ts_event_ns": times(2_000), "symbol": symbols[rng.integers(0, 2, 2_000)]})

met = asof_join(trades, midprice(quotes), strict=True, tolerance=60_000_000_000)
bought = rng.random(2_000) < 0.5  # a buyer pays the ask, a seller gets the bid
met = met.append_column("price", pc.if_else(pa.array(bought), met["ask"], met["bid"]))
out = trade_sign(effective_spread(met, "price", "midprice"))

age = pc.subtract(out["ts_event_ns"], out["ts_event_ns_right"]).cast("int64")
signs = out["trade_sign"].to_numpy()
print(f"oldest quote met: {pc.max(age).as_py() / 1e9:.1f} s, youngest: {pc.min(age).as_py()} ns")
print(f"mean effective spread: {pc.mean(out['effective_spread']).as_py():.4f}")
print(f"signs found: {np.mean((signs > 0) == bought):.1%}")

# prints:
#   oldest quote met: 1.0 s, youngest: 51917 ns
#   mean effective spread: 0.0200
#   signs found: 100.0%
