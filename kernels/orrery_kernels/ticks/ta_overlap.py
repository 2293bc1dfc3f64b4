"""TA-Lib's overlap studies as streams: the same numbers, warm-up included, per symbol, in one
pass."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, sqrt, struct
from orrery_kernels.engine.order import extreme, highest_push, lowest_push
from orrery_kernels.engine.spec import Size, Struct
from orrery_kernels.engine.windows import (
    moments,
    moments_mean,
    moments_push,
    moments_variance,
    rolling,
    rolling_push,
    sums,
    sums_push,
    trend,
    trend_push,
    trend_weighted_mean,
)
from orrery_kernels.ticks.averages import SEEDED, seeded_push
from orrery_kernels.ticks.parameters import EMA_K, period
from orrery_kernels.ticks.ta_averages import bands, kind

_SAME = {"scale": ({"x": 1}, 1), "shift": ({"x": 1}, 1)}


@kernel(
    inputs={"x": "close"}, state={"w": sums("period")}, params=period(30), memory="period", **_SAME
)
def ta_sma(s, p, x):
    """Simple moving average (TA-Lib SMA).

    Formula: mean of the last `period` values
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function SMA
    """
    total = sums_push(s.w, x, p.period)
    return total / p.period if s.w.n == p.period else nan


@kernel(inputs={"x": "close"}, state={"e": SEEDED}, params=period(30), let=EMA_K, **_SAME)
def ta_ema(s, p, x):
    """Exponential moving average seeded with a plain mean (TA-Lib EMA).

    Formula: m = mean of the first `period` values, then m += 2/(period + 1) (x - m)
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function EMA
    """
    seeded_push(s.e, x, p.period, p.k)
    return s.e.mean if s.e.n == p.period else nan


@kernel(
    inputs={"x": "close"}, state={"w": trend("period")}, params=period(30), memory="period", **_SAME
)
def ta_wma(s, p, x):
    """Linearly weighted moving average, the newest value heaviest (TA-Lib WMA).

    Formula: sum k x_k / sum k, k = 1 for the oldest of the last `period` values
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function WMA
    """
    trend_push(s.w, x, p.period)
    return trend_weighted_mean(s.w) if s.w.n == p.period else nan


@kernel(
    inputs={"x": "close"}, state={"a": SEEDED, "b": SEEDED}, params=period(30), let=EMA_K, **_SAME
)
def ta_dema(s, p, x):
    """Double exponential moving average (TA-Lib DEMA).

    Formula: 2 EMA - EMA(EMA)
    Units: those of the input
    Warm-up: 2 (period - 1) ticks
    Source: Mulloy (1994), Technical Analysis of Stocks & Commodities 12(1); TA-Lib, function DEMA
    """
    seeded_push(s.a, x, p.period, p.k)
    if s.a.n == p.period:
        seeded_push(s.b, s.a.mean, p.period, p.k)
    return 2.0 * s.a.mean - s.b.mean if s.b.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"a": SEEDED, "b": SEEDED, "c": SEEDED},
    params=period(30),
    let=EMA_K,
    **_SAME,
)
def ta_tema(s, p, x):
    """Triple exponential moving average (TA-Lib TEMA).

    Formula: 3 EMA - 3 EMA(EMA) + EMA(EMA(EMA))
    Units: those of the input
    Warm-up: 3 (period - 1) ticks
    Source: Mulloy (1994), Technical Analysis of Stocks & Commodities 12(1); TA-Lib, function TEMA
    """
    seeded_push(s.a, x, p.period, p.k)
    if s.a.n == p.period:
        seeded_push(s.b, s.a.mean, p.period, p.k)
    if s.b.n == p.period:
        seeded_push(s.c, s.b.mean, p.period, p.k)
    return 3.0 * s.a.mean - 3.0 * s.b.mean + s.c.mean if s.c.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"a": SEEDED, "b": SEEDED, "c": SEEDED, "d": SEEDED, "e": SEEDED, "f": SEEDED},
    params={**period(5), "vfactor": param(0.7, "[0, 1]", "how much the smoothing is undone")},
    let={
        **EMA_K,
        "c1": lambda p: -p.vfactor * p.vfactor * p.vfactor,
        "c2": lambda p: 3.0 * (p.vfactor * p.vfactor + p.vfactor * p.vfactor * p.vfactor),
        "c3": lambda p: (
            -6.0 * p.vfactor * p.vfactor - 3.0 * (p.vfactor + p.vfactor * p.vfactor * p.vfactor)
        ),
        "c4": lambda p: (
            1.0 + 3.0 * p.vfactor + p.vfactor * p.vfactor * p.vfactor + 3.0 * p.vfactor * p.vfactor
        ),
    },
    **_SAME,
)
def ta_t3(s, p, x):
    """Tillson's T3 (TA-Lib T3): six averages in a row, weighted so that little lag is left.

    Formula: c1 e6 + c2 e5 + c3 e4 + c4 e3, e_k the k-fold EMA, c from vfactor
    Units: those of the input
    Warm-up: 6 (period - 1) ticks
    Source: Tillson (1998), Technical Analysis of Stocks & Commodities 16(1); TA-Lib, function T3
    """
    seeded_push(s.a, x, p.period, p.k)
    if s.a.n == p.period:
        seeded_push(s.b, s.a.mean, p.period, p.k)
    if s.b.n == p.period:
        seeded_push(s.c, s.b.mean, p.period, p.k)
    if s.c.n == p.period:
        seeded_push(s.d, s.c.mean, p.period, p.k)
    if s.d.n == p.period:
        seeded_push(s.e, s.d.mean, p.period, p.k)
    if s.e.n == p.period:
        seeded_push(s.f, s.e.mean, p.period, p.k)
    smooth = p.c1 * s.f.mean + p.c2 * s.e.mean + p.c3 * s.d.mean + p.c4 * s.c.mean
    return smooth if s.f.n == p.period else nan


def half(period: int) -> int:
    """Return how many values the first of a triangular average's two means has."""
    return (period + 1) // 2


def _one(p: object) -> int:
    return half(p.period)


def _two(p: object) -> int:
    return p.period - half(p.period) + 1


@kernel(
    inputs={"x": "close"},
    state={"a": sums(_one), "b": sums(_two)},
    params=period(30),
    let={"one": _one, "two": _two},
    memory="period",
    **_SAME,
)
def ta_trima(s, p, x):
    """Triangular moving average (TA-Lib TRIMA): a mean of means, the middle heaviest.

    Formula: mean of b means of a values, a = (period + 1) // 2, b = period - a + 1
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function TRIMA
    """
    first = sums_push(s.a, x, p.one) / p.one
    if s.a.n < p.one:
        return nan
    second = sums_push(s.b, first, p.two) / p.two
    return second if s.b.n == p.two else nan


def kama(size: Size) -> Struct:
    """Return the layout of Kaufman's average over `size` changes."""
    return struct(past=rolling(size), moves=sums(size), n=i64, last=f64, value=f64)


@inline
def kama_push(a, x, period):
    """Fold x in; the average is there once a.n > 0."""
    first = a.past.n == 0
    full = a.past.n == period
    before = a.last
    a.last = x
    old = rolling_push(a.past, x, period)
    if not first:
        total = sums_push(a.moves, abs(x - before), period)
        if full:
            a.value = before if a.n == 0 else a.value
            a.n = 1
            way = x - old
            efficiency = abs(way / total) if total > way and total > 0.0 else 1.0
            c = efficiency * (2.0 / 3.0 - 2.0 / 31.0) + 2.0 / 31.0
            a.value = a.value + c * c * (x - a.value)


@kernel(inputs={"x": "close"}, state={"a": kama("period")}, params=period(30), **_SAME)
def ta_kama(s, p, x):
    """Kaufman's adaptive moving average (TA-Lib KAMA): fast in a trend, slow in noise.

    Formula: ER = |x_t - x_(t-period)| / sum of |changes|; c = (ER (2/3 - 2/31) + 2/31)^2; m += c
        (x - m)
    Units: those of the input
    Warm-up: period ticks
    Source: Kaufman (1995), Smarter Trading; TA-Lib, function KAMA
    """
    kama_push(s.a, x, p.period)
    return s.a.value if s.a.n > 0 else nan


@kernel(
    inputs={"x": "close"},
    state={"high": extreme("period"), "low": extreme("period")},
    params=period(14),
    memory="period",
    **_SAME,
)
def ta_midpoint(s, p, x):
    """Middle of the highest and lowest value (TA-Lib MIDPOINT).

    Formula: (max + min) / 2 over the last `period` values
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: TA-Lib, function MIDPOINT
    """
    top = highest_push(s.high, x, p.period)
    bottom = lowest_push(s.low, x, p.period)
    return (top + bottom) / 2.0 if s.high.n == p.period else nan


@kernel(
    state={"high": extreme("period"), "low": extreme("period")},
    params=period(14),
    memory="period",
    scale=({"high": 1, "low": 1}, 1),
    shift=({"high": 1, "low": 1}, 1),
)
def ta_midprice(s, p, high, low):
    """Middle of the highest high and the lowest low (TA-Lib MIDPRICE).

    Formula: (max high + min low) / 2 over the last `period` bars
    Units: those of price
    Warm-up: period - 1 bars
    Source: TA-Lib, function MIDPRICE
    """
    top = highest_push(s.high, high, p.period)
    bottom = lowest_push(s.low, low, p.period)
    return (top + bottom) / 2.0 if s.high.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"w": moments("period")},
    params={
        **period(20),
        "nbdevup": param(2.0, "(-inf, inf)", "deviations up"),
        "nbdevdn": param(2.0, "(-inf, inf)", "deviations down"),
    },
    outputs=("ta_bbands_upper", "ta_bbands_middle", "ta_bbands_lower"),
    composed=({"matype": kind()}, bands),
    memory="period",
    **_SAME,
)
def ta_bbands(s, p, x):
    """Bollinger bands (TA-Lib BBANDS).

    Formula: mean + up sd, mean, mean - down sd over the last `period` values, population sd; with
        another matype its average stands in for the mean, and sd is as it was
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: Bollinger (2001), Bollinger on Bollinger Bands; TA-Lib, function BBANDS
    """
    moments_push(s.w, x, p.period)
    if s.w.n < p.period:
        return nan, nan, nan
    middle = moments_mean(s.w)
    sd = sqrt(moments_variance(s.w, 0))
    return middle + p.nbdevup * sd, middle, middle - p.nbdevdn * sd


@kernel(
    state={"upper": sums("period"), "middle": sums("period"), "lower": sums("period")},
    params=period(20),
    outputs=("ta_accbands_upper", "ta_accbands_middle", "ta_accbands_lower"),
    memory="period",
    scale=({"high": 1, "low": 1, "close": 1}, 1),
)
def ta_accbands(s, p, high, low, close):
    """Acceleration bands (TA-Lib ACCBANDS).

    Formula: means of high (1 + 4 (high - low)/(high + low)), close, low (1 - 4 (high - low)/(high +
        low)); a bar whose high and low add up to 0 counts as it is
    Units: those of price
    Warm-up: period - 1 bars
    Source: Headley (2002), Big Trends in Trading; TA-Lib, function ACCBANDS
    """
    both = high + low
    width = 4.0 * (high - low) / both if both != 0.0 else 0.0
    upper = sums_push(s.upper, high * (1.0 + width), p.period)
    middle = sums_push(s.middle, close, p.period)
    lower = sums_push(s.lower, low * (1.0 - width), p.period)
    if s.middle.n < p.period:
        return nan, nan, nan
    return upper / p.period, middle / p.period, lower / p.period
