"""Volatility of bars, from their open, high, low and close."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.functions import LN2, log
from orrery_kernels.engine.windows import (
    moments,
    moments_push,
    moments_variance,
    sums,
    sums_push,
)
from orrery_kernels.ticks.parameters import window


@kernel(
    state={"w": sums("window")},
    **window(20, 1, "bars"),
    outputs=("gk_vol", "gk_var"),
    memory="window",
    scale=({"open": 1, "high": 1, "low": 1, "close": 1}, 0),
)
def gk_vol(s, p, open, high, low, close):
    """Garman-Klass volatility of a bar, from its open, high, low and close.

    Formula: var = mean of 1/2 ln^2(H/L) - (2 ln 2 - 1) ln^2(C/O); vol = sqrt(var)
    Units: return per bar
    Warm-up: min_periods - 1 bars; a bar with a price not above 0 is null and does not enter
    Source: Garman & Klass (1980), Journal of Business 53(1), 67-78
    """
    if min(min(open, high), min(low, close)) <= 0.0:
        return nan, nan
    spread = log(high / low)
    move = log(close / open)
    total = sums_push(s.w, 0.5 * spread * spread - (2.0 * LN2 - 1.0) * move * move, p.window)
    variance = total / s.w.n if s.w.n >= p.min_periods else nan
    return sqrt(max(variance, 0.0)) if s.w.n >= p.min_periods else nan, variance


@kernel(
    state={"w": sums("window")},
    **window(20, 1, "bars"),
    outputs=("parkinson_vol", "parkinson_var"),
    memory="window",
    scale=({"high": 1, "low": 1}, 0),
)
def parkinson_vol(s, p, high, low):
    """Parkinson volatility of a bar, from its high and low.

    Formula: var = mean of ln^2(H/L) / (4 ln 2); vol = sqrt(var)
    Units: return per bar
    Warm-up: min_periods - 1 bars; a bar with a price not above 0 is null and does not enter
    Source: Parkinson (1980), Journal of Business 53(1), 61-65
    """
    if min(high, low) <= 0.0:
        return nan, nan
    spread = log(high / low)
    total = sums_push(s.w, spread * spread / (4.0 * LN2), p.window)
    variance = total / s.w.n if s.w.n >= p.min_periods else nan
    return sqrt(variance), variance


@kernel(
    state={"w": sums("window")},
    **window(20, 1, "bars"),
    outputs=("rogers_satchell_vol", "rogers_satchell_var"),
    memory="window",
    scale=({"open": 1, "high": 1, "low": 1, "close": 1}, 0),
)
def rogers_satchell_vol(s, p, open, high, low, close):
    """Rogers-Satchell volatility of a bar: right whatever the drift.

    Formula: var = mean of ln(H/C) ln(H/O) + ln(L/C) ln(L/O); vol = sqrt(var)
    Units: return per bar
    Warm-up: min_periods - 1 bars; a bar with a price not above 0 is null and does not enter
    Source: Rogers & Satchell (1991), Annals of Applied Probability 1(4), 504-512
    """
    if min(min(open, high), min(low, close)) <= 0.0:
        return nan, nan
    term = log(high / close) * log(high / open) + log(low / close) * log(low / open)
    total = sums_push(s.w, term, p.window)
    variance = total / s.w.n if s.w.n >= p.min_periods else nan
    return sqrt(max(variance, 0.0)) if s.w.n >= p.min_periods else nan, variance


@kernel(
    state={
        "n": i64,
        "last": f64,
        "night": moments("window"),
        "day": moments("window"),
        "w": sums("window"),
    },
    params={"window": param(20, "[2, 1000000]", "bars")},
    let={"k": lambda p: 0.34 / (1.34 + (p.window + 1.0) / (p.window - 1.0))},
    outputs=("yang_zhang_vol", "yang_zhang_var"),
    memory=lambda p: p.window + 1,
    scale=({"open": 1, "high": 1, "low": 1, "close": 1}, 0),
)
def yang_zhang_vol(s, p, open, high, low, close):
    """Yang-Zhang volatility of a bar: right whatever the drift and the gap at the open.

    Formula: var = V(ln O_t/C_(t-1)) + k V(ln C/O) + (1 - k) RS, V sample variances over the window,
        k = 0.34 / (1.34 + (n + 1)/(n - 1)); vol = sqrt(var)
    Units: return per bar
    Warm-up: window bars; a bar with a price not above 0 is null and does not enter
    Source: Yang & Zhang (2000), Journal of Business 73(3), 477-491
    """
    if min(min(open, high), min(low, close)) <= 0.0:
        return nan, nan
    before = s.last
    first = s.n == 0
    s.last = close
    s.n = 1
    if first:
        return nan, nan
    moments_push(s.night, log(open / before), p.window)
    moments_push(s.day, log(close / open), p.window)
    term = log(high / close) * log(high / open) + log(low / close) * log(low / open)
    total = sums_push(s.w, term, p.window)
    if s.w.n < p.window:
        return nan, nan
    steady = p.k * moments_variance(s.day, 1) + (1.0 - p.k) * total / p.window
    variance = max(moments_variance(s.night, 1) + steady, 0.0)
    return sqrt(variance), variance
