"""Does the flow of orders at the best quotes explain the moves of the mid?

Cont, Kukanov & Stoikov (2014) say so; here on a simulated book.
"""

import numpy as np
import pyarrow as pa
from orrery_kernels import midprice, ofi, rolling_beta

rng = np.random.default_rng(11)
bid, ask, bid_size, ask_size = 10_000, 10_001, 10.0, 10.0  # a book of ten lots a level, in ticks
quotes = []
for change in rng.integers(-4, 5, 20_000).tolist():
    if rng.random() < 0.5:
        bid_size += change
        bid, ask = (bid - 1, ask - 1) if bid_size <= 0 else (bid, ask)
        bid_size = 10.0 if bid_size <= 0 else min(bid_size, 20.0)
    else:
        ask_size += change
        bid, ask = (bid + 1, ask + 1) if ask_size <= 0 else (bid, ask)
        ask_size = 10.0 if ask_size <= 0 else min(ask_size, 20.0)
    quotes.append((bid / 100, ask / 100, bid_size, ask_size))
names = ["bid", "ask", "bid_size", "ask_size"]
book = pa.record_batch(dict(zip(names, map(list, zip(*quotes, strict=True)), strict=True)))

out = ofi(midprice(book))
flow = out["ofi"].to_numpy(zero_copy_only=False)[1:].reshape(-1)
move = np.diff(out["midprice"].to_numpy())
per = 50  # quotes in one interval
flows = flow[: len(flow) // per * per].reshape(-1, per).sum(axis=1)
moves = move[: len(move) // per * per].reshape(-1, per).sum(axis=1)
beta = rolling_beta(pa.record_batch({"x": flows, "y": moves}), window=len(flows))["rolling_beta"]
print(f"share of the moves explained: {np.corrcoef(flows, moves)[0, 1] ** 2:.2f}")
print(f"impact of a lot: {beta[-1].as_py() * 100:.3f} ticks")

# prints:
#   share of the moves explained: 0.78
#   impact of a lot: 0.035 ticks
