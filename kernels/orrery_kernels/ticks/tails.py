"""Tails of one series: value at risk and what lies beyond it."""

from __future__ import annotations

from orrery_kernels.engine import f64, inline, kernel, nan, param
from orrery_kernels.engine.functions import ceil, floor, log, power
from orrery_kernels.engine.heaps import split, split_push, split_quantile
from orrery_kernels.engine.normal import norm_inv
from orrery_kernels.engine.order import ordered, ordered_get, ordered_push, ordered_quantile
from orrery_kernels.ticks.parameters import window


@kernel(
    inputs={"x": "pnl"},
    state={"w": split("window")},
    **window(250, 1, alpha=param(0.05, "(0, 1)", "share of the worst outcomes")),
    outputs="var",
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, -1),
)
def historical_var(s, p, x):
    """Historical value at risk of the last `window` outcomes, a loss as a positive number.

    Formula: minus the quantile alpha, interpolated (type 7)
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: Hendricks (1996), FRBNY Economic Policy Review 2(1); Hyndman & Fan (1996)
    """
    split_push(s.w, x, p.window, p.alpha)
    return -split_quantile(s.w, p.window, p.alpha) if s.w.n >= p.min_periods else nan


@inline
def _tail_mean(w, alpha):
    """Return the mean of the alpha n smallest values, the last one counted in part."""
    size = alpha * w.n
    whole = int(floor(size))
    total = 0.0
    for k in range(whole):
        total += ordered_get(w, k)
    part = size - whole
    total += part * ordered_get(w, whole if whole < w.n else w.n - 1)
    return total / size


@kernel(
    inputs={"x": "pnl"},
    state={"w": ordered("window")},
    **window(250, 1, alpha=param(0.05, "(0, 1)", "share of the worst outcomes")),
    outputs="cvar",
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, -1),
)
def historical_cvar(s, p, x):
    """Mean of the outcomes beyond the historical value at risk, a loss as a positive number.

    Formula: minus the mean of the outcomes at or below the quantile alpha (type 7)
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: Rockafellar & Uryasev (2000), Journal of Risk 2(3), 21-41
    """
    ordered_push(s.w, x, p.window)
    limit = ordered_quantile(s.w, p.alpha)
    total = 0.0
    count = 0
    for k in range(s.w.n):
        value = ordered_get(s.w, k)
        if value > limit:
            break
        total += value
        count += 1
    return -total / count if s.w.n >= p.min_periods and count > 0 else nan


@kernel(
    inputs={"x": "pnl"},
    state={"w": ordered("window")},
    **window(250, 1, alpha=param(0.05, "(0, 1)", "share of the worst outcomes")),
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, -1),
)
def expected_shortfall(s, p, x):
    """Expected shortfall: mean of exactly the worst alpha n outcomes, the last of them in part.

    Formula: -(sum of the floor(alpha n) smallest + rest times the next) / (alpha n)
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: Acerbi & Tasche (2002), Journal of Banking & Finance 26(7), 1487-1503
    """
    ordered_push(s.w, x, p.window)
    return -_tail_mean(s.w, p.alpha) if s.w.n >= p.min_periods else nan


@kernel(
    params={"alpha": param(0.05, "(0, 0.5)", "share of the worst outcomes")},
    let={"z": lambda p: norm_inv(p.alpha)},
    outputs={"cf_var": f64, "cf_valid": "i8"},
    memory=1,
)
def cornish_fisher_var(p, mean, stddev, skew, kurt):
    """Value at risk of a distribution known by four moments (kurt in excess of the normal's).

    Formula: w = z + (z^2 - 1) S/6 + (z^3 - 3 z) K/24 - (2 z^3 - 5 z) S^2/36, z the normal quantile;
        -(mean + w sd); cf_valid 1 where the expansion rises at z, else 0
    Units: those of mean, a loss as a positive number
    Warm-up: none
    Source: Cornish & Fisher (1937); Zangari (1996), RiskMetrics Monitor; Favre & Galeano (2002)
    """
    z = p.z
    w = z + (z * z - 1.0) * skew / 6.0 + (z * z * z - 3.0 * z) * kurt / 24.0
    w = w - (2.0 * z * z * z - 5.0 * z) * skew * skew / 36.0
    slope = (
        1.0 + z * skew / 3.0 + (z * z - 1.0) * kurt / 8.0 - (6.0 * z * z - 5.0) * skew * skew / 36.0
    )
    return -(mean + w * stddev), 1.0 if slope > 0.0 else 0.0


@kernel(
    inputs={"x": "loss"},
    state={"w": ordered("window")},
    **window(
        500,
        10,
        rules={"u < p": lambda p: p.u < p.p},
        u=param(0.95, "(0, 1)", "quantile beyond which losses are extreme"),
        p=param(0.99, "(0, 1)", "level of the value at risk"),
    ),
    outputs=("pot_var", "pot_es"),
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def evt_pot_var(s, p, x):
    """Value at risk and expected shortfall from the tail beyond a threshold (peaks over threshold).

    Formula: excesses over the quantile u of the window, generalised Pareto by probability-weighted
        moments: xi = 2 - a0/(a0 - 2 a1), beta = 2 a0 a1/(a0 - 2 a1); VaR = u + beta/xi [((n/N)(1 -
        p))^-xi - 1]; ES = (VaR + beta - xi u)/(1 - xi), null where xi >= 1
    Units: those of the input (losses positive)
    Warm-up: min_periods - 1 ticks; null with fewer than two excesses
    Source: Pickands (1975); Hosking & Wallis (1987), Technometrics 29(3); McNeil & Frey (2000)
    """
    ordered_push(s.w, x, p.window)
    n = s.w.n
    first = int(ceil(p.u * (n - 1) + 1e-12))
    many = n - first
    if n < p.min_periods or many < 2:
        return nan, nan
    limit = ordered_quantile(s.w, p.u)
    a0 = 0.0
    a1 = 0.0
    for k in range(many):
        excess = ordered_get(s.w, first + k) - limit
        a0 += excess
        a1 += excess * (many - 1.0 - k) / (many - 1.0)
    a0 = a0 / many
    a1 = a1 / many
    spread = a0 - 2.0 * a1
    if not spread > 0.0 or not a0 > 0.0:
        return nan, nan
    xi = 2.0 - a0 / spread
    beta = 2.0 * a0 * a1 / spread
    ratio = (1.0 * n) / many * (1.0 - p.p)
    growth = (power(ratio, -xi) - 1.0) / xi if abs(xi) > 1e-9 else -log(ratio)
    var = limit + beta * growth
    return var, (var + beta - xi * limit) / (1.0 - xi) if xi < 1.0 else nan
