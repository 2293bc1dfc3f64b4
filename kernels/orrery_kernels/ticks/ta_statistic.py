"""TA-Lib's statistic functions as streams: the same numbers, warm-up included."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.functions import ceil
from orrery_kernels.engine.order import ordered, ordered_get, ordered_push
from orrery_kernels.engine.ranks import ranked, ranked_push
from orrery_kernels.engine.trigonometry import PI, atan
from orrery_kernels.engine.windows import (
    comoments,
    comoments_push,
    comoments_sums,
    moments,
    moments_push,
    moments_variance,
    rolling,
    rolling_push,
    sums,
    sums_push,
    trend,
    trend_mean,
    trend_push,
    trend_slope,
)
from orrery_kernels.ticks.parameters import period

_LEVEL = {"scale": ({"x": 1}, 1), "shift": ({"x": 1}, 1)}
_SPREAD = {"scale": ({"x": 1}, 1), "shift": ({"x": 1}, 0)}


@kernel(
    inputs={"x": "close"}, state={"w": moments("period")},
    params={**period(5), "nbdev": param(1.0, "(-inf, inf)", "multiple of the deviation")},
    memory="period", **_SPREAD,
)  # fmt: skip
def ta_stddev(s, p, x):
    """Standard deviation, population (TA-Lib STDDEV).

    Formula: nbdev sqrt(mean (x - mean)^2) over the last `period` values
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function STDDEV
    """
    moments_push(s.w, x, p.period)
    return p.nbdev * sqrt(moments_variance(s.w, 0)) if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"}, state={"w": moments("period")}, params=period(5), memory="period",
    scale=({"x": 1}, 2), shift=({"x": 1}, 0),
)  # fmt: skip
def ta_var(s, p, x):
    """Variance, population (TA-Lib VAR).

    Formula: mean (x - mean)^2 over the last `period` values
    Units: square of those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function VAR
    """
    moments_push(s.w, x, p.period)
    return moments_variance(s.w, 0) if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"}, state={"w": rolling("period"), "total": sums("period")},
    params=period(14), memory="period", **_SPREAD,
)  # fmt: skip
def ta_avgdev(s, p, x):
    """Mean absolute deviation from the mean (TA-Lib AVGDEV).

    Formula: mean |x - mean| over the last `period` values; a tick costs a pass over the window
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function AVGDEV
    """
    rolling_push(s.w, x, p.period)
    mean = sums_push(s.total, x, p.period) / p.period
    deviation = 0.0
    for k in range(s.w.n):
        deviation += abs(s.w.ring[k] - mean)
    return deviation / p.period if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"w": trend("period")},
    params=period(14),
    memory="period",
    **_LEVEL,
)
def ta_linearreg(s, p, x):
    """End of the least-squares line through the last values (TA-Lib LINEARREG).

    Formula: value at the newest tick of the line of x on 0 ... period - 1
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function LINEARREG
    """
    trend_push(s.w, x, p.period)
    end = trend_mean(s.w) + trend_slope(s.w) * (p.period - 1.0) / 2.0
    return end if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"w": trend("period")},
    params=period(14),
    memory="period",
    **_SPREAD,
)
def ta_linearreg_slope(s, p, x):
    """Slope of the least-squares line through the last values (TA-Lib LINEARREG_SLOPE).

    Formula: slope of x on 0 ... period - 1
    Units: those of the input per tick
    Warm-up: period - 1 ticks
    Source: TA-Lib, function LINEARREG_SLOPE
    """
    trend_push(s.w, x, p.period)
    return trend_slope(s.w) if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"w": trend("period")},
    params=period(14),
    memory="period",
    **_LEVEL,
)
def ta_linearreg_intercept(s, p, x):
    """Start of the least-squares line through the last values (TA-Lib LINEARREG_INTERCEPT).

    Formula: value at the oldest tick of the line of x on 0 ... period - 1
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function LINEARREG_INTERCEPT
    """
    trend_push(s.w, x, p.period)
    start = trend_mean(s.w) - trend_slope(s.w) * (p.period - 1.0) / 2.0
    return start if s.w.n == p.period else nan


@kernel(inputs={"x": "close"}, state={"w": trend("period")}, params=period(14), memory="period")
def ta_linearreg_angle(s, p, x):
    """Angle of the least-squares line through the last values (TA-Lib LINEARREG_ANGLE).

    Formula: atan(slope) 180 / pi
    Units: degrees
    Warm-up: period - 1 ticks
    Source: TA-Lib, function LINEARREG_ANGLE
    """
    trend_push(s.w, x, p.period)
    return atan(trend_slope(s.w)) * 180.0 / PI if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"w": trend("period")},
    params=period(14),
    memory="period",
    **_LEVEL,
)
def ta_tsf(s, p, x):
    """Forecast of the next value by the least-squares line (TA-Lib TSF).

    Formula: value one tick after the newest of the line of x on 0 ... period - 1
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function TSF
    """
    trend_push(s.w, x, p.period)
    ahead = trend_mean(s.w) + trend_slope(s.w) * (p.period + 1.0) / 2.0
    return ahead if s.w.n == p.period else nan


@kernel(
    state={"w": comoments("period")}, params=period(30), memory="period",
    scale=({"x": 1, "y": 1}, 0), shift=({"x": 1, "y": 1}, 0),
)  # fmt: skip
def ta_correl(s, p, x, y):
    """Pearson's correlation of two columns (TA-Lib CORREL); 0 where either does not vary.

    Formula: Sxy / sqrt(Sxx Syy) over the last `period` pairs
    Units: -1 to 1
    Warm-up: period - 1 ticks
    Source: TA-Lib, function CORREL
    """
    comoments_push(s.w, x, y, p.period)
    sxx, syy, sxy = comoments_sums(s.w)
    both = sqrt(sxx) * sqrt(syy)
    value = sxy / both if both > 0.0 else 0.0
    return value if s.w.n == p.period else nan


@kernel(
    state={"n": i64, "x": f64, "y": f64, "w": comoments("period")}, params=period(5),
    memory=lambda p: p.period + 1, scale=({"x": 1, "y": 1}, 0),
)  # fmt: skip
def ta_beta(s, p, x, y):
    """Slope of the returns of y on those of x (TA-Lib BETA); 0 where x does not move.

    Formula: cov(rx, ry) / var(rx) over `period` simple returns; a return on 0 counts as 0
    Units: none
    Warm-up: period ticks
    Source: TA-Lib, function BETA
    """
    rx = (x - s.x) / s.x if s.x != 0.0 else 0.0
    ry = (y - s.y) / s.y if s.y != 0.0 else 0.0
    n = s.n
    s.x = x
    s.y = y
    s.n = 1
    if n == 0:
        return nan
    comoments_push(s.w, rx, ry, p.period)
    sxx, _, sxy = comoments_sums(s.w)
    value = sxy / sxx if sxx > 0.0 else 0.0
    return value if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"w": ordered("period")},
    params={
        **period(30, 1),
        "percentile": param(50.0, "[0, 100]", "share of the values, in percent"),
    },
    let={"place": lambda p: max(int(ceil(p.percentile / 100.0 * p.period)) - 1, 0)},
    memory="period",
    **_LEVEL,
)
def ta_percentile(s, p, x):
    """Percentile by the nearest rank (TA-Lib PERCENTILE).

    Formula: the ceil(percentile/100 period)-th smallest of the last `period` values
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function PERCENTILE
    """
    ordered_push(s.w, x, p.period)
    return ordered_get(s.w, p.place) if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"}, state={"w": ranked("period")}, params=period(100, 1),
    memory=lambda p: p.period + 1, scale=({"x": 1}, 0), shift=({"x": 1}, 0),
)  # fmt: skip
def ta_percentrank(s, p, x):
    """Rank among the values before, in percent (TA-Lib PERCENTRANK).

    Formula: 100 (values below x among the `period` before) / period
    Units: 0 to 100
    Warm-up: period ticks
    Source: TA-Lib, function PERCENTRANK
    """
    full = s.w.n == p.period
    left = 1 if s.w.ring[s.w.at] < x else 0
    below, _ = ranked_push(s.w, x, p.period)
    return 100.0 * (below + left) / p.period if full else nan
