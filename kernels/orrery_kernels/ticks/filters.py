"""Filters: a level or a trend under noise, and the moment at which it changes."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, ring
from orrery_kernels.engine.functions import exp, log, log1p
from orrery_kernels.engine.normal import lgamma

_LOG_PI = 1.1447298858494002


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "level": f64, "variance": f64},
    params={
        "q": param(0.001, "[0, inf)", "variance of one step of the level"),
        "r": param(0.1, "(0, inf)", "variance of one observation"),
    },
    outputs=("kalman_filtered", "kalman_variance"),
    shift=({"x": 1}, (1, 0)),
)
def kalman_1d(s, p, x):
    """Kalman filter of a level that walks at random under noise; starts at the first tick.

    Formula: P' = P + q; K = P' / (P' + r); m = m + K (x - m); P = (1 - K) P'; m_0 = x_0, P_0 = r
    Units: level in those of the input, variance in their square
    Warm-up: none
    Source: Kalman (1960), Journal of Basic Engineering 82(1), 35-45
    """
    if s.n == 0:
        s.n = 1
        s.level = x
        s.variance = p.r
        return s.level, s.variance
    before = s.variance + p.q
    gain = before / (before + p.r)
    s.level = s.level + gain * (x - s.level)
    s.variance = (1.0 - gain) * before
    return s.level, s.variance


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "now": f64, "before": f64, "a": f64, "b": f64, "c": f64},
    params={"smoothing": param(1600.0, "(0, inf)", "lambda: 1600 quarterly, 129600 monthly data")},
    let={"q": lambda p: 1.0 / p.smoothing},
    outputs=("trend", "cycle"),
    scale=({"x": 1}, 1),
)
def hp_filter(s, p, x):
    """One-sided Hodrick-Prescott filter: each trend value uses the past alone.

    Formula: the last point of argmin sum (x - tau)^2 + lambda sum (second difference of tau)^2 over
        the ticks so far, found by a Kalman filter with variances 1 (noise) and 1 / lambda (trend)
    Units: those of the input
    Warm-up: the first tick is null
    Source: Hodrick & Prescott (1997), Journal of Money, Credit and Banking 29(1), 1-16;
        one-sided: Stock & Watson (1999), Handbook of Macroeconomics 1, 3-64
    """
    n = s.n
    s.n = n + 1 if n < 2 else n
    if (
        n < 2
    ):  # two points and a trend of two values: the fit is exact, its errors those of the points
        s.before = s.now
        s.now = x
        s.a = 1.0
        s.b = 0.0
        s.c = 1.0
        return x if n == 1 else nan, 0.0 if n == 1 else nan
    ahead = 2.0 * s.now - s.before
    a = 4.0 * s.a - 4.0 * s.b + s.c + p.q
    b = 2.0 * s.a - s.b
    gap = x - ahead
    total = a + 1.0
    s.before = s.now + b * gap / total
    s.now = ahead + a * gap / total
    s.c = s.a - b * b / total
    s.b = b - a * b / total
    s.a = a - a * a / total
    return s.now, x - s.now


@inline
def _log_fit(constant, half, kappa, mean, beta, x):
    """Return log p(x) of Student's t with 2 half - 1 degrees of freedom; `constant` is its own
    part."""
    spread = 2.0 * beta * (kappa + 1.0) / kappa
    gap = x - mean
    return constant - 0.5 * log(spread) - half * log1p(gap * gap / spread)


@inline
def _extend(means, betas, to, kappa, mean, beta, x):
    """Write to place `to` what a run with this mean and beta becomes with x."""
    gap = x - mean
    means[to] = mean + gap / (kappa + 1.0)
    betas[to] = beta + 0.5 * kappa * gap * gap / (kappa + 1.0)


@inline
def _lengthen(weights, means, betas, kappa, places, n, x, best):
    """Move every run one place up (place j: j + 1 values); return the sum of the weights moved."""
    last = places - 1
    total = 0.0
    for k in range(n):
        j = n - 1 - k
        weight = exp(weights[j] - best)
        total += weight
        to = j + 1 if j < last else last
        held = weights[last] if to == last and j < last and n == places else 0.0
        if weight >= held:  # the longest place may hold two runs: the heavier one speaks
            _extend(means, betas, to, kappa + j + 1, means[j], betas[j], x)
        weights[to] = weight + held
    return total


@kernel(
    inputs={"x": "log_return"},
    state={
        "n": i64,
        "weight": ring("max_run"),
        "mean": ring("max_run"),
        "beta": ring("max_run"),
    },
    params={
        "hazard": param(
            0.004, "(0, 1)", "chance that a tick starts a new run; 1 / its mean length"
        ),
        "max_run": param(
            250, "[2, 100000]", "longest run told apart; cost of a tick grows with it"
        ),
        "prior_mean": param(0.0, doc="mean of a new run"),
        "kappa": param(1.0, "(0, inf)", "ticks that the prior mean is worth"),
        "alpha": param(1.0, "(0, inf)", "shape of the prior of the variance"),
        "beta": param(1.0, "(0, inf)", "scale of the prior of the variance"),
    },
    let={
        "constant": lambda p: [
            lgamma(p.alpha + 0.5 * r + 0.5) - lgamma(p.alpha + 0.5 * r) - 0.5 * _LOG_PI
            for r in range(p.max_run + 1)
        ],
        "log_hazard": lambda p: log(p.hazard),
        "log_stay": lambda p: log(1.0 - p.hazard),
    },
    outputs={"cp_prob": f64, "run_length": "i32"},
)
def bocpd(s, p, x):
    """Bayesian online change point detection for a normal with unknown mean and variance.

    Formula: the posterior of the run length r, the values of the run before this tick: P(r = 0) ~
        hazard p(x | prior), P(r + 1) ~ (1 - hazard) P(r) p(x | run), normalised; cp_prob = P(r =
        0), run_length = the likeliest r; a run beyond max_run stays at max_run - 1
    Units: cp_prob 0 to 1, run_length ticks
    Warm-up: none; the first tick starts a run for certain
    Source: Adams & MacKay (2007), arXiv 0710.3742; Murphy (2007) for the normal-gamma updates
    """
    n = s.n
    fresh = _log_fit(p.constant[0], p.alpha + 0.5, p.kappa, p.prior_mean, p.beta, x) + p.log_hazard
    best = fresh
    for j in range(n):
        score = -1e300
        if s.weight[j] > 0.0:
            half = p.alpha + 0.5 * (j + 2)
            fit = _log_fit(p.constant[j + 1], half, p.kappa + j + 1, s.mean[j], s.beta[j], x)
            score = fit + p.log_stay + log(s.weight[j])
        s.weight[j] = score
        best = max(best, s.weight[j])
    start = exp(fresh - best)
    total = start + _lengthen(s.weight, s.mean, s.beta, p.kappa, p.max_run, n, x, best)
    s.weight[0] = start
    _extend(s.mean, s.beta, 0, p.kappa, p.prior_mean, p.beta, x)
    s.n = n + 1 if n < p.max_run else n
    longest = 0
    for j in range(s.n):
        s.weight[j] = s.weight[j] / total
        longest = j if s.weight[j] > s.weight[longest] else longest
    return s.weight[0], longest
