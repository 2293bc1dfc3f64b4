"""Trades: volume-weighted prices."""

from __future__ import annotations

from orrery_kernels.engine import f64, kernel, nan


@kernel(
    rows="trade",
    state={"notional": f64, "volume": f64},
    scale=({"price": 1}, 1),
)
def vwap(s, price, size):
    """Volume-weighted average price since the symbol's first trade.

    Formula: sum(p v) / sum(v)
    Units: those of price
    Warm-up: null until some volume has traded
    Source: Berkowitz, Logue & Noser (1988), Journal of Finance 43(1), 97-112
    """
    s.notional += price * size
    s.volume += size
    return s.notional / s.volume if s.volume > 0.0 else nan
