"""Realized volatility from returns."""

from __future__ import annotations

from orrery_kernels.engine import kernel, nan, param
from orrery_kernels.engine.windows import sums, sums_push


@kernel(
    inputs={"r": "log_return"},
    state={"w": sums("window")},
    params={
        "window": param(20, "[1, 1000000]", "returns of the symbol"),
        "min_periods": param("window", "[1, 1000000]", "returns before the first result"),
    },
    rules={"min_periods <= window": lambda p: p.min_periods <= p.window},
    memory="window",
    scale=({"r": 1}, 2),
)
def realized_var(s, p, r):
    """Realized variance of the last `window` returns.

    Formula: sum(r^2)
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Andersen & Bollerslev (1998), International Economic Review 39(4), 885-905
    """
    total = sums_push(s.w, r * r, p.window)
    return total if s.w.n >= p.min_periods else nan
