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

_FULL = {"min_periods <= window": lambda p: p.min_periods <= p.window}


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
    s.mean = x if s.n == 0 else (1.0 - p.alpha) * s.mean + p.alpha * x
    s.n = 1
    return s.mean


@kernel(
    inputs={"x": "price"},
    state={"w": sums("window")},
    params={
        "window": param(20, "[1, 1000000]", "ticks of the symbol"),
        "min_periods": param("window", "[1, 1000000]", "ticks before the first result"),
    },
    rules=_FULL,
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
    params={
        "fast": param(12, "[1, 1000000]", "span of the fast average, in ticks"),
        "slow": param(26, "[2, 1000000]", "span of the slow average, in ticks"),
        "signal": param(9, "[1, 1000000]", "span of the average of the difference, in ticks"),
    },
    rules={"fast < slow": lambda p: p.fast < p.slow},
    let={
        "a": lambda p: 2.0 / (p.fast + 1.0),
        "b": lambda p: 2.0 / (p.slow + 1.0),
        "c": lambda p: 2.0 / (p.signal + 1.0),
    },
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
    first = s.n == 0
    s.n = 1
    s.fast = x if first else (1.0 - p.a) * s.fast + p.a * x
    s.slow = x if first else (1.0 - p.b) * s.slow + p.b * x
    line = s.fast - s.slow
    s.line = line if first else (1.0 - p.c) * s.line + p.c * line
    return line, s.line, line - s.line


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "last": f64, "up": f64, "down": f64},
    params={
        "period": param(14, "[1, 1000000]", "moves in the first average, and its memory after")
    },
    scale=({"x": 1}, 0),
    shift=({"x": 1}, 0),
)
def rsi(s, p, x):
    """Relative strength index with Wilder's seed and smoothing.

    Formula: 100 U / (U + D); U, D: the mean rise and fall of the first `period` moves, then
        U_t = ((period - 1) U_(t-1) + rise_t) / period, D alike; null while nothing has moved
    Units: 0 to 100
    Warm-up: period ticks
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 6
    """
    move = x - s.last
    s.last = x
    n = s.n
    s.n = n + 1 if n <= p.period else n
    if n == 0:
        return nan
    rise = max(move, 0.0)
    fall = max(-move, 0.0)
    keep = p.period - 1.0 if n > p.period else n - 1.0
    s.up = (s.up * keep + rise) / (keep + 1.0)
    s.down = (s.down * keep + fall) / (keep + 1.0)
    total = s.up + s.down
    return 100.0 * s.up / total if n >= p.period and total > 0.0 else nan


@kernel(
    inputs={"x": "price"},
    state={"w": moments("window")},
    params={
        "window": param(20, "[2, 1000000]", "ticks of the symbol"),
        "k": param(2.0, "(0, inf)", "width in standard deviations"),
        "min_periods": param("window", "[2, 1000000]", "ticks before the first result"),
    },
    rules=_FULL,
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
    params={
        "window": param(20, "[1, 1000000]", "ticks of the symbol"),
        "min_periods": param("window", "[1, 1000000]", "ticks before the first result"),
    },
    rules=_FULL,
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
