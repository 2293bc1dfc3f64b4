"""Online statistics: returns, exponential averages, standard scores."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.functions import log
from orrery_kernels.engine.windows import moments, moments_mean, moments_push, moments_variance


@kernel(
    inputs={"price": "price"},
    state={"n": i64, "last": f64},
    outputs="log_return",
    memory=2,
    scale=({"price": 1}, 0),
)
def log_returns(s, price):
    """Logarithmic return from one tick to the next.

    Formula: r_t = ln(p_t / p_(t-1)); null where a price is not above 0
    Units: none (1 = one e-fold)
    Warm-up: the first tick is null
    Source: Campbell, Lo & MacKinlay (1997), The Econometrics of Financial Markets, section 1.4
    """
    before = s.last
    n = s.n
    s.last = price
    s.n = 1
    if n == 0 or price <= 0.0 or before <= 0.0:
        return nan
    return log(price / before)


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "mean": f64},
    params={"alpha": param(0.06, "(0, 1]", "weight of the newest tick")},
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def ewma(s, p, x):
    """Exponentially weighted moving average.

    Formula: m_t = (1 - alpha) m_(t-1) + alpha x_t, m_0 = x_0
    Units: those of the input
    Warm-up: none
    Source: Roberts (1959), Technometrics 1(3), 239-250
    """
    s.mean = x if s.n == 0 else (1.0 - p.alpha) * s.mean + p.alpha * x
    s.n = 1
    return s.mean


@kernel(
    inputs={"x": "price"},
    state={"w": moments("window")},
    params={
        "window": param(100, "[2, 1000000]", "ticks of the symbol"),
        "min_periods": param("window", "[2, 1000000]", "ticks before the first result"),
    },
    rules={"min_periods <= window": lambda p: p.min_periods <= p.window},
    outputs="zscore",
    memory="window",
    scale=({"x": 1}, 0),
    shift=({"x": 1}, 0),
)
def rolling_zscore(s, p, x):
    """Distance of the newest tick from the window's mean, in its standard deviations.

    Formula: z_t = (x_t - mean) / sd over the last `window` ticks, population sd; null where sd = 0
    Units: none
    Warm-up: min_periods - 1 ticks
    Source: the standard score; sums with a pivot after Chan, Golub & LeVeque (1983)
    """
    moments_push(s.w, x, p.window)
    if s.w.n < p.min_periods:
        return nan
    sd = sqrt(moments_variance(s.w, 0))
    return (x - moments_mean(s.w)) / sd if sd > 0.0 else nan
