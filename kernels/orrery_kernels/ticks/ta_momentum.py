"""TA-Lib's momentum indicators of one price as streams: the same numbers, warm-up included."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param
from orrery_kernels.engine.order import (
    extreme,
    highest_push,
    lowest_push,
)
from orrery_kernels.engine.windows import rolling, rolling_push, sums, sums_push
from orrery_kernels.ticks.averages import SEEDED, WILDER, seeded_push, wilder_push
from orrery_kernels.ticks.parameters import EMA_K, fast_and_slow, period
from orrery_kernels.ticks.ta_averages import difference, kind, percentage, stochastic_rsi

_LEVEL = {"scale": ({"x": 1}, 1), "shift": ({"x": 1}, 0)}
_RATIO = {"scale": ({"x": 1}, 0)}
_RSI_ROUNDED = 1e-12  # of 100: less is no difference


@kernel(inputs={"x": "close"}, state={"past": rolling("period")}, params=period(10, 1),
        memory=lambda p: p.period + 1, **_LEVEL)  # fmt: skip
def ta_mom(s, p, x):
    """Momentum (TA-Lib MOM).

    Formula: x_t - x_(t-period)
    Units: those of the input
    Warm-up: period ticks
    Source: TA-Lib, function MOM
    """
    full = s.past.n == p.period
    old = rolling_push(s.past, x, p.period)
    return x - old if full else nan


@kernel(inputs={"x": "close"}, state={"past": rolling("period")}, params=period(10, 1),
        memory=lambda p: p.period + 1, **_RATIO)  # fmt: skip
def ta_roc(s, p, x):
    """Rate of change in percent (TA-Lib ROC); 0 where the old value is 0.

    Formula: 100 (x_t / x_(t-period) - 1)
    Units: percent
    Warm-up: period ticks
    Source: TA-Lib, function ROC
    """
    full = s.past.n == p.period
    old = rolling_push(s.past, x, p.period)
    rate = (x / old - 1.0) * 100.0 if old != 0.0 else 0.0
    return rate if full else nan


@kernel(inputs={"x": "close"}, state={"past": rolling("period")}, params=period(10, 1),
        memory=lambda p: p.period + 1, **_RATIO)  # fmt: skip
def ta_rocp(s, p, x):
    """Rate of change as a share (TA-Lib ROCP); 0 where the old value is 0.

    Formula: (x_t - x_(t-period)) / x_(t-period)
    Units: none
    Warm-up: period ticks
    Source: TA-Lib, function ROCP
    """
    full = s.past.n == p.period
    old = rolling_push(s.past, x, p.period)
    rate = (x - old) / old if old != 0.0 else 0.0
    return rate if full else nan


@kernel(inputs={"x": "close"}, state={"past": rolling("period")}, params=period(10, 1),
        memory=lambda p: p.period + 1, **_RATIO)  # fmt: skip
def ta_rocr(s, p, x):
    """Rate of change as a ratio (TA-Lib ROCR); 0 where the old value is 0.

    Formula: x_t / x_(t-period)
    Units: none
    Warm-up: period ticks
    Source: TA-Lib, function ROCR
    """
    full = s.past.n == p.period
    old = rolling_push(s.past, x, p.period)
    rate = x / old if old != 0.0 else 0.0
    return rate if full else nan


@kernel(inputs={"x": "close"}, state={"past": rolling("period")}, params=period(10, 1),
        memory=lambda p: p.period + 1, **_RATIO)  # fmt: skip
def ta_rocr100(s, p, x):
    """Rate of change as a ratio in percent (TA-Lib ROCR100); 0 where the old value is 0.

    Formula: 100 x_t / x_(t-period)
    Units: percent
    Warm-up: period ticks
    Source: TA-Lib, function ROCR100
    """
    full = s.past.n == p.period
    old = rolling_push(s.past, x, p.period)
    rate = x / old * 100.0 if old != 0.0 else 0.0
    return rate if full else nan


@kernel(
    inputs={"x": "close"},
    state={"w": WILDER},
    params=period(14),
    **_RATIO,
)
def ta_rsi(s, p, x):
    """Relative strength index (TA-Lib RSI); 0 where nothing has moved.

    Formula: 100 U / (U + D), Wilder's averages of rises and falls, seeded with plain means
    Units: 0 to 100
    Warm-up: period ticks
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 6; TA-Lib, function
        RSI
    """
    wilder_push(s.w, x, p.period)
    total = s.w.up + s.w.down
    value = 100.0 * s.w.up / total if total > 0.0 else 0.0
    return value if s.w.n > p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"w": WILDER},
    params=period(14),
    **_RATIO,
)
def ta_cmo(s, p, x):
    """Chande momentum oscillator (TA-Lib CMO); 0 where nothing has moved.

    Formula: 100 (U - D) / (U + D), averages as in ta_rsi
    Units: -100 to 100
    Warm-up: period ticks
    Source: Chande & Kroll (1994), The New Technical Trader; TA-Lib, function CMO
    """
    wilder_push(s.w, x, p.period)
    total = s.w.up + s.w.down
    value = 100.0 * (s.w.up - s.w.down) / total if total > 0.0 else 0.0
    return value if s.w.n > p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"a": SEEDED, "b": SEEDED, "c": SEEDED, "last": f64, "n": i64},
    params=period(30, 1),
    let=EMA_K,
    **_RATIO,
)
def ta_trix(s, p, x):
    """One-tick rate of change of a triple exponential average (TA-Lib TRIX).

    Formula: 100 (e3_t / e3_(t-1) - 1)
    Units: percent
    Warm-up: 3 (period - 1) + 1 ticks
    Source: Hutson (1983), Technical Analysis of Stocks & Commodities 1(5); TA-Lib, function TRIX
    """
    seeded_push(s.a, x, p.period, p.k)
    if s.a.n == p.period:
        seeded_push(s.b, s.a.mean, p.period, p.k)
    if s.b.n == p.period:
        seeded_push(s.c, s.b.mean, p.period, p.k)
    if s.c.n < p.period:
        return nan
    before = s.last
    first = s.n == 0
    s.n = 1
    s.last = s.c.mean
    rate = (s.last / before - 1.0) * 100.0 if before != 0.0 else 0.0
    return nan if first else rate


@kernel(
    inputs={"x": "close"},
    state={"n": i64, "fast": SEEDED, "slow": SEEDED, "line": SEEDED},
    **fast_and_slow(12, 26, 9),
    outputs=("ta_macd", "ta_macd_signal", "ta_macd_hist"),
    **_LEVEL,
)
def ta_macd(s, p, x):
    """Moving average convergence/divergence (TA-Lib MACD).

    Formula: EMA_fast - EMA_slow, both seeded with means that end at the tick `slow`; signal: EMA
        of it
    Units: those of the input
    Warm-up: slow + signal - 2 ticks, for all three
    Source: Appel (1979); TA-Lib, function MACD
    """
    late = s.n >= p.slow - p.fast
    s.n = s.n + 1 if s.n < p.slow else s.n
    seeded_push(s.slow, x, p.slow, p.b)
    if late:
        seeded_push(s.fast, x, p.fast, p.a)
    if s.slow.n < p.slow:
        return nan, nan, nan
    line = s.fast.mean - s.slow.mean
    seeded_push(s.line, line, p.signal, p.c)
    if s.line.n < p.signal:
        return nan, nan, nan
    return line, s.line.mean, line - s.line.mean


@kernel(
    inputs={"x": "close"},
    state={"fast": SEEDED, "slow": SEEDED},
    **fast_and_slow(12, 26),
    composed=({"matype": kind("ema")}, difference),
    **_LEVEL,
)
def ta_apo(s, p, x):
    """Absolute price oscillator (TA-Lib APO).

    Formula: EMA_fast - EMA_slow, or the averages that matype names
    Units: those of the input
    Warm-up: slow - 1 ticks
    Source: TA-Lib, function APO
    """
    seeded_push(s.fast, x, p.fast, p.a)
    seeded_push(s.slow, x, p.slow, p.b)
    fast = s.fast.mean
    slow = s.slow.mean
    return fast - slow if s.slow.n == p.slow else nan


@kernel(
    inputs={"x": "close"},
    state={"fast": SEEDED, "slow": SEEDED},
    **fast_and_slow(12, 26),
    composed=({"matype": kind("ema")}, percentage),
    **_RATIO,
)
def ta_ppo(s, p, x):
    """Percentage price oscillator (TA-Lib PPO); 0 where slow is 0.

    Formula: 100 (EMA_fast - EMA_slow) / EMA_slow, or the averages that matype names
    Units: percent
    Warm-up: slow - 1 ticks
    Source: TA-Lib, function PPO
    """
    seeded_push(s.fast, x, p.fast, p.a)
    seeded_push(s.slow, x, p.slow, p.b)
    fast = s.fast.mean
    slow = s.slow.mean
    value = (fast - slow) / slow * 100.0 if slow != 0.0 else 0.0
    return value if s.slow.n == p.slow else nan


@kernel(
    inputs={"x": "close"},
    state={
        "w": WILDER,
        "high": extreme("fastk"), "low": extreme("fastk"), "d": sums("fastd"),
    },
    params={
        **period(14),
        "fastk": param(5, "[1, 100000]", "values of the RSI in the range"),
        "fastd": param(3, "[1, 100000]", "values averaged for %D"),
    },
    outputs=("ta_stochrsi_k", "ta_stochrsi_d"),
    composed=({"fastd_matype": kind()}, stochastic_rsi),
)  # fmt: skip
def ta_stochrsi(s, p, x):
    """Stochastic of the relative strength index (TA-Lib STOCHRSI).

    Formula: 100 (RSI - min RSI) / (max RSI - min RSI) over `fastk` values, 0 where they are equal
        (within 1e-12, for RSI is rounded where the price stands still); its mean, or the average
        that fastd_matype names
    Units: 0 to 100
    Warm-up: period + fastk + fastd - 2 ticks, for both
    Source: Chande & Kroll (1994), The New Technical Trader; TA-Lib, function STOCHRSI
    """
    wilder_push(s.w, x, p.period)
    if s.w.n <= p.period:
        return nan, nan
    total = s.w.up + s.w.down
    rsi = 100.0 * s.w.up / total if total > 0.0 else 0.0
    top = highest_push(s.high, rsi, p.fastk)
    bottom = lowest_push(s.low, rsi, p.fastk)
    if s.high.n < p.fastk:
        return nan, nan
    k = 100.0 * (rsi - bottom) / (top - bottom) if top - bottom > _RSI_ROUNDED else 0.0
    d = sums_push(s.d, k, p.fastd) / p.fastd
    full = s.d.n == p.fastd
    return k if full else nan, d if full else nan
