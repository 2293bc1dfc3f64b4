"""Online statistics: returns, exponential averages, standard scores."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, ring, sqrt
from orrery_kernels.engine.functions import log
from orrery_kernels.engine.windows import (
    comoments,
    comoments_push,
    comoments_sums,
    moments,
    moments_mean,
    moments_push,
    moments_variance,
)
from orrery_kernels.ticks.averages import ew_mean
from orrery_kernels.ticks.parameters import window


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
    s.mean = ew_mean(s.mean, x, p.alpha, s.n)
    s.n = 1
    return s.mean


@kernel(
    inputs={"x": "price"},
    state={"w": moments("window")},
    **window(100, 2),
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


@kernel(
    inputs={"price": "price"},
    state={"n": i64, "last": f64},
    outputs="simple_return",
    memory=2,
    scale=({"price": 1}, 0),
)
def simple_return(s, price):
    """Return from one tick to the next, as a share of the price before.

    Formula: r_t = p_t / p_(t-1) - 1; null where the price before is 0
    Units: none (0.01 = one percent)
    Warm-up: the first tick is null
    Source: Campbell, Lo & MacKinlay (1997), The Econometrics of Financial Markets, section 1.4
    """
    before = s.last
    n = s.n
    s.last = price
    s.n = 1
    return (price - before) / before if n > 0 and before != 0.0 else nan


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "mean": f64, "squares": f64},
    outputs=("mean", "variance", "stddev"),
)
def welford_mean_var(s, x):
    """Mean, sample variance and standard deviation of every tick so far.

    Formula: m += (x - m) / n; M2 += (x - m_before)(x - m); s^2 = M2 / (n - 1)
    Units: those of the input, variance in their square
    Warm-up: mean none; variance and stddev the first tick
    Source: Welford (1962), Technometrics 4(3), 419-420
    """
    s.n += 1
    gap = x - s.mean
    s.mean += gap / s.n
    s.squares += gap * (x - s.mean)
    variance = s.squares / (s.n - 1) if s.n > 1 else nan
    return s.mean, variance, sqrt(variance)


@kernel(
    inputs={"x": "price"},
    state={"weight": f64, "mean": f64},
    params={"alpha": param(0.06, "(0, 1]", "weight of the newest tick")},
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def ewma_adjusted(s, p, x):
    """Exponentially weighted mean with weights that sum to one from the first tick on.

    Formula: sum (1 - alpha)^i x_(t-i) / sum (1 - alpha)^i (pandas: adjust=True)
    Units: those of the input
    Warm-up: none
    Source: Holt (1957); the weights' sum in closed recursion
    """
    s.weight = (1.0 - p.alpha) * s.weight + 1.0
    s.mean += (x - s.mean) / s.weight
    return s.mean


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "mean": f64, "variance": f64},
    params={"alpha": param(0.06, "(0, 1]", "weight of the newest tick")},
    scale=({"x": 1}, 2),
    shift=({"x": 1}, 0),
)
def ew_var(s, p, x):
    """Exponentially weighted variance about the exponentially weighted mean.

    Formula: d = x - m; m += alpha d; v = (1 - alpha)(v + alpha d^2); v_0 = 0 (pandas:
        ewm(adjust=False).var(bias=True))
    Units: square of those of the input
    Warm-up: none
    Source: Finch (2009), Incremental calculation of weighted mean and variance
    """
    gap = x - s.mean if s.n > 0 else 0.0
    s.mean = s.mean + p.alpha * gap if s.n > 0 else x
    s.variance = (1.0 - p.alpha) * (s.variance + p.alpha * gap * gap)
    s.n = 1
    return s.variance


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "mean": f64, "variance": f64},
    params={"alpha": param(0.06, "(0, 1]", "weight of the newest tick")},
    scale=({"x": 1}, 0),
    shift=({"x": 1}, 0),
)
def ew_zscore(s, p, x):
    """Distance of the newest tick from the exponential mean, in exponential standard deviations.

    Formula: z = (x - m) / sqrt(v), m and v as in ew_var with this tick folded in; null where v = 0
    Units: none
    Warm-up: the first tick is null
    Source: Finch (2009), Incremental calculation of weighted mean and variance
    """
    gap = x - s.mean if s.n > 0 else 0.0
    s.mean = s.mean + p.alpha * gap if s.n > 0 else x
    s.variance = (1.0 - p.alpha) * (s.variance + p.alpha * gap * gap)
    s.n = 1
    return (x - s.mean) / sqrt(s.variance) if s.variance > 0.0 else nan


@kernel(
    state={"n": i64, "mean_x": f64, "mean_y": f64, "cov": f64},
    params={"alpha": param(0.06, "(0, 1]", "weight of the newest tick")},
    scale=({"x": 1, "y": 1}, 2),
    shift=({"x": 1, "y": 1}, 0),
)
def ewcov(s, p, x, y):
    """Exponentially weighted covariance of two columns.

    Formula: dx, dy against the means before; C = (1 - alpha)(C + alpha dx dy); C_0 = 0
    Units: product of those of the inputs
    Warm-up: none
    Source: Finch (2009), Incremental calculation of weighted mean and variance
    """
    dx = x - s.mean_x if s.n > 0 else 0.0
    dy = y - s.mean_y if s.n > 0 else 0.0
    s.mean_x = s.mean_x + p.alpha * dx if s.n > 0 else x
    s.mean_y = s.mean_y + p.alpha * dy if s.n > 0 else y
    s.cov = (1.0 - p.alpha) * (s.cov + p.alpha * dx * dy)
    s.n = 1
    return s.cov


@kernel(
    state={"n": i64, "mean_x": f64, "mean_y": f64, "xx": f64, "yy": f64, "xy": f64},
    params={"alpha": param(0.06, "(0, 1]", "weight of the newest tick")},
    scale=({"x": 1}, 0),
)
def ewcorr(s, p, x, y):
    """Exponentially weighted correlation of two columns, one weight for all moments.

    Formula: C_xy / sqrt(C_xx C_yy), each as in ewcov; null where either does not vary
    Units: -1 to 1
    Warm-up: the first tick is null
    Source: J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, section 5.2
    """
    dx = x - s.mean_x if s.n > 0 else 0.0
    dy = y - s.mean_y if s.n > 0 else 0.0
    s.mean_x = s.mean_x + p.alpha * dx if s.n > 0 else x
    s.mean_y = s.mean_y + p.alpha * dy if s.n > 0 else y
    keep = 1.0 - p.alpha
    s.xx = keep * (s.xx + p.alpha * dx * dx)
    s.yy = keep * (s.yy + p.alpha * dy * dy)
    s.xy = keep * (s.xy + p.alpha * dx * dy)
    s.n = 1
    both = sqrt(s.xx) * sqrt(s.yy)
    return min(max(s.xy / both, -1.0), 1.0) if both > 0.0 else nan


def _fractional_weights(p: object) -> list[float]:
    """Return (1 - B)^d as weights, newest first, until one falls below tau."""
    weights = [1.0]
    while len(weights) < p.lags_max:
        k = len(weights)
        weight = -weights[-1] * (p.d - k + 1.0) / k
        if abs(weight) < p.tau:
            break
        weights.append(weight)
    return weights


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "at": i64, "ring": ring(lambda p: len(_fractional_weights(p)))},
    params={
        "d": param(0.4, "[0, 2]", "order of differencing; 0 leaves the series, 1 is diff"),
        "tau": param(1e-4, "(0, 1)", "weight below which the past is cut off"),
        "lags_max": param(10_000, "[2, 1000000]", "most lags kept, whatever tau"),
    },
    let={
        "weights": _fractional_weights,
        "lags": lambda p: len(_fractional_weights(p)),
    },
    memory=lambda p: len(_fractional_weights(p)),
    scale=({"x": 1}, 1),
)
def frac_diff(s, p, x):
    """Fractional difference of fixed width: stationary, and still with memory.

    Formula: sum w_k x_(t-k), w_0 = 1, w_k = -w_(k-1) (d - k + 1) / k, while |w_k| >= tau
    Units: those of the input
    Warm-up: as many ticks as there are weights, less one
    Source: Granger & Joyeux (1980); Hosking (1981); fixed width: Lopez de Prado (2018), chapter 5
    """
    s.ring[s.at] = x
    newest = s.at
    s.at = s.at + 1 if s.at + 1 < p.lags else 0
    s.n = s.n + 1 if s.n < p.lags else s.n
    total = 0.0
    if s.n == p.lags:
        for k in range(newest + 1):
            total += p.weights[k] * s.ring[newest - k]
        for k in range(newest + 1, p.lags):
            total += p.weights[k] * s.ring[newest - k + p.lags]
    return total if s.n == p.lags else nan


@kernel(
    state={"w": comoments("window")},
    **window(100, 2),
    memory="window",
    scale=({"x": 1, "y": 1}, 0),
    shift=({"x": 1, "y": 1}, 0),
)
def rolling_beta(s, p, x, y):
    """Slope of y on x over the last `window` ticks.

    Formula: cov(x, y) / var(x); null where x does not vary
    Units: those of y per those of x
    Warm-up: min_periods - 1 ticks
    Source: Sharpe (1963), Management Science 9(2), 277-293
    """
    comoments_push(s.w, x, y, p.window)
    sxx, _, sxy = comoments_sums(s.w)
    return sxy / sxx if s.w.n >= p.min_periods and sxx > 0.0 else nan
