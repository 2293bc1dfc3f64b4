"""Volatility: what moved, from returns or from bars, with and without jumps."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.trigonometry import PI
from orrery_kernels.engine.windows import (
    sums,
    sums_push,
)
from orrery_kernels.ticks.parameters import window

_MED = PI / (6.0 - 4.0 * sqrt(3.0) + PI)
_MIN = PI / (PI - 2.0)


@kernel(
    inputs={"r": "log_return"},
    state={"w": sums("window")},
    **window(20, 1, "returns of the symbol"),
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


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "last": f64, "w": sums(lambda p: p.window - 1)},
    **window(20, 2, "returns of the symbol"),
    memory="window",
    scale=({"r": 1}, 2),
)
def bipower_var(s, p, r):
    """Bipower variation: variance of the window that a jump does not enter.

    Formula: pi/2 n/(n-1) sum |r_j| |r_(j-1)| over the n returns of the window
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Barndorff-Nielsen & Shephard (2004), Journal of Financial Econometrics 2(1), 1-37
    """
    n = s.n
    product = abs(r) * abs(s.last)
    s.last = r
    s.n = n + 1 if n < p.window else n
    if n == 0:
        return nan
    total = sums_push(s.w, product, p.window - 1)
    return 0.5 * PI * s.n / (s.n - 1.0) * total if s.n >= p.min_periods else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "one": f64, "two": f64, "w": sums(lambda p: p.window - 2)},
    **window(20, 3, "returns of the symbol"),
    memory="window",
    scale=({"r": 1}, 2),
)
def medrv(s, p, r):
    """Variance of the window from medians of three neighbouring returns: robust to jumps and zeros.

    Formula: pi / (6 - 4 sqrt(3) + pi) n/(n-2) sum med(|r_(i-1)|, |r_i|, |r_(i+1)|)^2
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Andersen, Dobrev & Schaumburg (2012), Journal of Econometrics 169(1), 75-93
    """
    n = s.n
    a = abs(r)
    middle = max(min(a, s.one), min(max(a, s.one), s.two))
    s.two = s.one
    s.one = a
    s.n = n + 1 if n < p.window else n
    if n < 2:
        return nan
    total = sums_push(s.w, middle * middle, p.window - 2)
    return _MED * s.n / (s.n - 2.0) * total if s.n >= p.min_periods else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "last": f64, "w": sums(lambda p: p.window - 1)},
    **window(20, 2, "returns of the symbol"),
    memory="window",
    scale=({"r": 1}, 2),
)
def minrv(s, p, r):
    """Variance of the window from the smaller of two neighbouring returns: robust to jumps.

    Formula: pi / (pi - 2) n/(n-1) sum min(|r_i|, |r_(i+1)|)^2
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Andersen, Dobrev & Schaumburg (2012), Journal of Econometrics 169(1), 75-93
    """
    n = s.n
    smaller = min(abs(r), s.last)
    s.last = abs(r)
    s.n = n + 1 if n < p.window else n
    if n == 0:
        return nan
    total = sums_push(s.w, smaller * smaller, p.window - 1)
    return _MIN * s.n / (s.n - 1.0) * total if s.n >= p.min_periods else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "variance": f64},
    params={"lambda_": param(0.94, "[0, 1)", "weight of the past: 0.94 daily, 0.97 monthly")},
    scale=({"r": 1}, 1),
)
def riskmetrics_vol(s, p, r):
    """Exponentially weighted volatility with mean zero.

    Formula: v_t = lambda v_(t-1) + (1 - lambda) r_t^2, v_0 = r_0^2; sqrt(v_t)
    Units: return
    Warm-up: none
    Source: J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, section 5.2
    """
    s.variance = p.lambda_ * s.variance + (1.0 - p.lambda_) * r * r if s.n > 0 else r * r
    s.n = 1
    return sqrt(s.variance)


@kernel(
    inputs={"r": "log_return"},
    state={"up": sums("window"), "down": sums("window")},
    **window(20, 1, "returns of the symbol"),
    outputs=("realized_semivar_down", "realized_semivar_up"),
    memory="window",
    scale=({"r": 1}, 2),
)
def realized_semivar(s, p, r):
    """Realized variance of the falls and of the rises of the window.

    Formula: sum r^2 1{r < 0}; sum r^2 1{r > 0}
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Barndorff-Nielsen, Kinnebrock & Shephard (2010), in Volatility and Time Series
        Econometrics
    """
    down = sums_push(s.down, r * r if r < 0.0 else 0.0, p.window)
    up = sums_push(s.up, r * r if r > 0.0 else 0.0, p.window)
    full = s.up.n >= p.min_periods
    return down if full else nan, up if full else nan
