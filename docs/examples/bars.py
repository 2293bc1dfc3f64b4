"""Bars by time and by volume from one stream of trades, and the volatility seen in each."""

import numpy as np
import pyarrow as pa
from orrery_kernels import Stream, parkinson_vol, resample_ohlc, volume_bars

rng = np.random.default_rng(5)
rows = 50_000
waits = rng.exponential(1.0 + 3.0 * (np.arange(rows) % 20_000 > 10_000))  # busy and quiet hours
trades = pa.table(
    {
        "symbol": ["BTC-USD"] * rows,
        "ts_event_ns": (np.cumsum(waits) * 1e9).astype(np.int64),
        "price": 50_000.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-4, rows))),
        "size": rng.exponential(0.2, rows),
    }
)
forms = {
    "five minutes": lambda b: resample_ohlc(b, freq_s=300.0),
    "50 coins": lambda b: volume_bars(b, threshold=50.0),
}
for name, form in forms.items():
    made = Stream.from_table(trades).map(form).to_table()
    bars = made.filter(made["bar_close"].is_valid())
    vol = parkinson_vol(bars, "bar_high", "bar_low", window=20)["parkinson_vol"].drop_null()
    counts = bars["bar_trades"].to_numpy()
    print(
        f"{name}: {len(bars)} bars, {counts.min()} to {counts.max()} trades, "
        f"volatility of a bar {vol.to_numpy().min():.2%} to {vol.to_numpy().max():.2%}"
    )

# prints:
#   five minutes: 365 bars, 53 to 345 trades, volatility of a bar 0.07% to 0.17%
#   50 coins: 200 bars, 191 to 307 trades, volatility of a bar 0.13% to 0.17%
