"""A pair whose hedge ratio drifts: follow it with a Kalman filter and trade the spread."""

import numpy as np
import pyarrow as pa
from orrery_kernels import kalman_hedge_ratio, ou_half_life, rolling_zscore

rng = np.random.default_rng(9)
rows = 5_000
b = 50.0 + np.cumsum(rng.normal(0.0, 0.05, rows))
gap = np.zeros(rows)
for t in range(1, rows):
    gap[t] = 0.95 * gap[t - 1] + rng.normal(0.0, 0.05)  # half-life 13.5 ticks
a = 10.0 + np.linspace(1.2, 1.5, rows) * b + gap
pair = pa.record_batch({"a": a, "b": b})

out = kalman_hedge_ratio(pair, q=1e-6, r=0.01)
out = rolling_zscore(out, "hedge_spread", window=100)
known = ou_half_life(pa.record_batch({"spread": gap}), window=rows - 1)
score = np.nan_to_num(out["zscore"].to_numpy(zero_copy_only=False))
position = np.where(score > 2, -1.0, np.where(score < -2, 1.0, 0.0))  # known at t, held to t + 1
move = np.diff(a) - out["hedge_ratio"].to_numpy()[:-1] * np.diff(b)
print(f"hedge ratio at the end: {out['hedge_ratio'][-1].as_py():.2f} (planted 1.50)")
print(f"half-life of the planted gap: {known['ou_half_life'][-1].as_py():.1f} ticks")
held = position[:-1] != 0
print(f"mean gain of a tick in position: {np.mean((position[:-1] * move)[held]):+.4f}")

# prints:
#   hedge ratio at the end: 1.51 (planted 1.50)
#   half-life of the planted gap: 11.5 ticks
#   mean gain of a tick in position: +0.0060
