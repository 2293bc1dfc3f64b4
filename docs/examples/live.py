"""Tick by tick: an instance answers in microseconds, and its state moves to another process."""

import numpy as np
import pyarrow as pa
from orrery_kernels import Chain, ewma

smooth = ewma(alpha=0.5)
print("ticks:", [smooth.tick("AAPL.XNAS", price) for price in (190.0, 191.0, 190.5)])

elsewhere = ewma(alpha=0.5)
elsewhere.restore(smooth.state_bytes())
print("goes on:", elsewhere.tick("AAPL.XNAS", 192.0) == smooth.tick("AAPL.XNAS", 192.0))

chain = Chain(
    [
        {"kernel": "log_returns"},
        {"kernel": "realized_var", "window": 50},
        {"kernel": "ewma", "column": "realized_var", "alpha": 0.1, "output": "variance"},
    ]
)
state = chain.new_state()
rng = np.random.default_rng(2)
for _ in range(3):
    prices = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, 1_000)))
    out = chain.run(state, pa.record_batch({"symbol": ["AAPL.XNAS"] * 1_000, "price": prices}))
print("columns:", out.schema.names, "rows folded:", state.rows)

# prints:
#   ticks: [190.0, 190.5, 190.5]
#   goes on: True
#   columns: ['log_return', 'realized_var', 'variance'] rows folded: 3000
