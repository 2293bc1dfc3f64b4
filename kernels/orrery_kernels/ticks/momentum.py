"""Momentum and channels: averages, their differences, and where a price stands among its recent
ones."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.order import extreme, highest_push, lowest_push
from orrery_kernels.engine.windows import (
    moments,
    moments_mean,
    moments_push,
    moments_variance,
    sums,
    sums_push,
)
from orrery_kernels.ticks.averages import WILDER, ew_mean, wilder_push
from orrery_kernels.ticks.parameters import fast_and_slow, window


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "mean": f64},
    params={"alpha": param(0.1, "(0, 1]", "weight of the newest tick; 2 / (span + 1) for a span")},
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def ema(s, p, x):
    """Exponential moving average; the same recursion as ewma with the default that chartists use.

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
    state={"w": sums("window")},
    **window(20, 1),
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def sma(s, p, x):
    """Simple moving average.

    Formula: mean of the last `window` ticks
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: definition
    """
    total = sums_push(s.w, x, p.window)
    return total / s.w.n if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "fast": f64, "slow": f64, "line": f64},
    **fast_and_slow(12, 26, 9),
    outputs=("macd", "macd_signal", "macd_hist"),
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 0),
)
def macd(s, p, x):
    """Moving average convergence/divergence; every average starts at the first tick.

    Formula: macd = EMA_fast(x) - EMA_slow(x); signal = EMA_signal(macd); hist = macd - signal
    Units: those of the input
    Warm-up: none (see ta_macd for the form seeded with plain means)
    Source: Appel (1979), The Moving Average Convergence-Divergence Trading Method
    """
    s.fast = ew_mean(s.fast, x, p.a, s.n)
    s.slow = ew_mean(s.slow, x, p.b, s.n)
    line = s.fast - s.slow
    s.line = ew_mean(s.line, line, p.c, s.n)
    s.n = 1
    return line, s.line, line - s.line


@kernel(
    inputs={"x": "price"},
    state={"w": WILDER},
    params={
        "period": param(14, "[1, 1000000]", "moves in the first average, and its memory after")
    },
    scale=({"x": 1}, 0),
    shift=({"x": 1}, 0),
)
def rsi(s, p, x):
    """Relative strength index with Wilder's seed and smoothing.

    Formula: 100 U / (U + D); U, D: the mean rise and fall of the first `period` moves, then U_t =
        ((period - 1) U_(t-1) + rise_t) / period, D alike; null while nothing has moved
    Units: 0 to 100
    Warm-up: period ticks
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 6
    """
    wilder_push(s.w, x, p.period)
    total = s.w.up + s.w.down
    return 100.0 * s.w.up / total if s.w.n > p.period and total > 0.0 else nan


@kernel(
    inputs={"x": "price"},
    state={"w": moments("window")},
    **window(
        20,
        2,
        k=param(2.0, "(0, inf)", "width in standard deviations"),
    ),
    outputs=("bb_mid", "bb_upper", "bb_lower"),
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def bollinger_bands(s, p, x):
    """Bollinger bands: the moving average and a band of k population standard deviations round it.

    Formula: mid = mean; upper, lower = mid +- k sd, sd with divisor n
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: Bollinger (2001), Bollinger on Bollinger Bands
    """
    moments_push(s.w, x, p.window)
    if s.w.n < p.min_periods:
        return nan, nan, nan
    mid = moments_mean(s.w)
    band = p.k * sqrt(moments_variance(s.w, 0))
    return mid, mid + band, mid - band


@kernel(
    inputs={"x": "price"},
    state={"high": extreme("window"), "low": extreme("window")},
    **window(20, 1),
    outputs=("donchian_high", "donchian_low", "donchian_mid"),
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def donchian_channel(s, p, x):
    """Donchian channel: the highest and lowest of the last ticks, and the middle between them.

    Formula: high = max, low = min over the last `window` ticks; mid = (high + low) / 2
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: Donchian (1960), Commodity Year Book; two stacks in one array instead of a rescan
    """
    high = highest_push(s.high, x, p.window)
    low = lowest_push(s.low, x, p.window)
    if s.high.n < p.min_periods:
        return nan, nan, nan
    return high, low, 0.5 * (high + low)


@kernel(
    state={"high": extreme("k_period"), "low": extreme("k_period"), "d": sums("d_period")},
    params={
        "k_period": param(14, "[1, 1000000]", "bars of the range"),
        "d_period": param(3, "[1, 1000000]", "bars averaged for %D"),
    },
    outputs=("stoch_k", "stoch_d"),
    scale=({"high": 1, "low": 1, "close": 1}, 0),
    shift=({"high": 1, "low": 1, "close": 1}, 0),
)
def stochastic_osc(s, p, high, low, close):
    """Stochastic oscillator: where the close lies in the range of the last bars.

    Formula: %K = 100 (close - lowest) / (highest - lowest) over `k_period` bars; %D = mean of the
        last `d_period` %K; null where the range is 0 (such a bar does not enter %D)
    Units: 0 to 100
    Warm-up: %K k_period - 1 bars, %D d_period - 1 more
    Source: Lane (1984), Technical Analysis of Stocks & Commodities 2(3)
    """
    top = highest_push(s.high, high, p.k_period)
    bottom = lowest_push(s.low, low, p.k_period)
    if s.high.n < p.k_period or not top > bottom:
        return nan, nan
    k = 100.0 * (close - bottom) / (top - bottom)
    total = sums_push(s.d, k, p.d_period)
    return k, total / s.d.n if s.d.n >= p.d_period else nan
