"""TA-Lib's newer oscillators as streams: the same numbers, warm-up included."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, sqrt
from orrery_kernels.engine.order import extreme, highest_push, lowest_push
from orrery_kernels.engine.windows import (
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
    trend_weighted_mean,
)
from orrery_kernels.ticks.averages import SEEDED, seeded_push
from orrery_kernels.ticks.parameters import EMA_K, period
from orrery_kernels.ticks.ta_averages import kdj, kind

_LEVEL = {"scale": ({"x": 1}, 1), "shift": ({"x": 1}, 0)}
_RATIO = {"scale": ({"x": 1}, 0), "shift": ({"x": 1}, 0)}
_HL = {"high": 1, "low": 1}
_HLC = {"high": 1, "low": 1, "close": 1}
_SPANS = {
    "fast": param(5, "[1, 100000]", "bars of the fast average"),
    "slow": param(34, "[2, 100000]", "bars of the slow average"),
}
_FAST_FIRST = {"fast < slow": lambda p: p.fast < p.slow}


@inline
def _awesome_push(fast, slow, high, low, fast_size, slow_size):
    """Fold a bar in and return the difference of the two means, nan while it is not there."""
    middle = (high + low) / 2.0
    one = sums_push(fast, middle, fast_size) / fast_size
    two = sums_push(slow, middle, slow_size) / slow_size
    return one - two if slow.n == slow_size else nan


@kernel(
    state={"fast": sums("fast"), "slow": sums("slow")},
    params=_SPANS, rules=_FAST_FIRST, memory="slow", scale=(_HL, 1), shift=(_HL, 0),
)  # fmt: skip
def ta_ao(s, p, high, low):
    """Awesome oscillator (TA-Lib AO).

    Formula: mean of (h + l)/2 over `fast` bars less that over `slow` bars
    Units: those of price
    Warm-up: slow - 1 bars
    Source: Williams (1998), New Trading Dimensions; TA-Lib, function AO
    """
    return _awesome_push(s.fast, s.slow, high, low, p.fast, p.slow)


@kernel(
    state={"fast": sums("fast"), "slow": sums("slow"), "w": sums("signal")},
    params={**_SPANS, "signal": param(5, "[1, 100000]", "values of the oscillator averaged")},
    rules=_FAST_FIRST, memory=lambda p: p.slow + p.signal, scale=(_HL, 1), shift=(_HL, 0),
)  # fmt: skip
def ta_ac(s, p, high, low):
    """Accelerator oscillator (TA-Lib AC).

    Formula: AO less its mean over `signal` bars
    Units: those of price
    Warm-up: slow + signal - 2 bars
    Source: Williams (1998), New Trading Dimensions; TA-Lib, function AC
    """
    value = _awesome_push(s.fast, s.slow, high, low, p.fast, p.slow)
    if s.slow.n < p.slow:
        return nan
    total = sums_push(s.w, value, p.signal)
    return value - total / p.signal if s.w.n == p.signal else nan


@kernel(
    inputs={"x": "close"},
    state={"n": i64, "last": f64, "up": sums("period"), "down": sums("period")},
    params=period(14), memory=lambda p: p.period + 1, **_RATIO,
)  # fmt: skip
def ta_cmou(s, p, x):
    """Chande momentum oscillator with plain sums (TA-Lib CMOU); 0 where nothing has moved.

    Formula: 100 (U - D) / (U + D), sums of the rises and falls of `period` moves
    Units: -100 to 100
    Warm-up: period ticks
    Source: Chande & Kroll (1994), The New Technical Trader; TA-Lib, function CMOU
    """
    move = x - s.last
    n = s.n
    s.last = x
    s.n = 1
    if n == 0:
        return nan
    up = sums_push(s.up, max(move, 0.0), p.period)
    down = sums_push(s.down, max(-move, 0.0), p.period)
    value = 100.0 * (up - down) / (up + down) if up + down > 0.0 else 0.0
    return value if s.up.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={"one": rolling("roc1"), "two": rolling("roc2"), "w": trend("wma")},
    params={
        "wma": param(10, "[1, 100000]", "values of the weighted average"),
        "roc1": param(11, "[1, 100000]", "ticks of the first rate of change"),
        "roc2": param(14, "[1, 100000]", "ticks of the second rate of change"),
    },
    let={"longest": lambda p: max(p.roc1, p.roc2)},
    memory=lambda p: p.wma + max(p.roc1, p.roc2),
    scale=({"x": 1}, 0),
)
def ta_coppock(s, p, x):
    """Coppock curve (TA-Lib COPPOCK).

    Formula: WMA of 100 (x / x_(t-roc1) - 1) + 100 (x / x_(t-roc2) - 1)
    Units: percent
    Warm-up: max(roc1, roc2) + wma - 1 ticks
    Source: Coppock (1962), Barron's; TA-Lib, function COPPOCK
    """
    ready = s.one.n == p.roc1 and s.two.n == p.roc2
    a = rolling_push(s.one, x, p.roc1)
    b = rolling_push(s.two, x, p.roc2)
    if not ready:
        return nan
    first = (x / a - 1.0) * 100.0 if a != 0.0 else 0.0
    second = (x / b - 1.0) * 100.0 if b != 0.0 else 0.0
    trend_push(s.w, first + second, p.wma)
    return trend_weighted_mean(s.w) if s.w.n == p.wma else nan


@kernel(
    inputs={"x": "close"},
    state={"past": rolling(lambda p: p.period // 2 + 1), "w": sums("period")},
    params=period(20), let={"back": lambda p: p.period // 2 + 1},
    memory=lambda p: p.period + 1, **_LEVEL,
)  # fmt: skip
def ta_dpo(s, p, x):
    """Detrended price oscillator (TA-Lib DPO).

    Formula: x_(t - period/2 - 1) less the mean of the last `period` values
    Units: those of the input
    Warm-up: max(period - 1, period/2 + 1) ticks, whole part
    Source: TA-Lib, function DPO
    """
    there = s.past.n == p.back
    old = rolling_push(s.past, x, p.back)
    total = sums_push(s.w, x, p.period)
    return old - total / p.period if s.w.n == p.period and there else nan


@inline
def _ways_push(past, moves, x, last, size):
    """Fold x in; return what the price has gone over `size` moves, and by which way."""
    first = past.n == 0
    old = rolling_push(past, x, size)
    way = 0.0
    if not first:
        way = sums_push(moves, abs(x - last), size)
    return x - old, way


@kernel(
    inputs={"x": "close"}, state={"past": rolling("period"), "moves": sums("period"), "last": f64},
    params=period(10), memory=lambda p: p.period + 1, **_RATIO,
)  # fmt: skip
def ta_er(s, p, x):
    """Kaufman's efficiency ratio (TA-Lib ER); 1 where nothing has moved.

    Formula: |x_t - x_(t-period)| / sum of |changes|
    Units: 0 to 1
    Warm-up: period ticks
    Source: Kaufman (1995), Smarter Trading; TA-Lib, function ER
    """
    full = s.past.n == p.period
    gone, way = _ways_push(s.past, s.moves, x, s.last, p.period)
    s.last = x
    value = min(abs(gone) / way, 1.0) if way > 0.0 else 1.0
    return value if full else nan


@kernel(
    inputs={"x": "close"},
    state={"high": extreme("period"), "low": extreme("period"), "past": rolling("period"),
           "moves": sums("period"), "last": f64},
    params=period(28), memory=lambda p: p.period + 1, **_RATIO,
)  # fmt: skip
def ta_vhf(s, p, x):
    """Vertical horizontal filter (TA-Lib VHF); 0 where nothing has moved.

    Formula: (max - min) of the last `period` values / sum of `period` |changes|
    Units: 0 to 1
    Warm-up: period ticks
    Source: White (1991), Futures 20(8); TA-Lib, function VHF
    """
    full = s.past.n == p.period
    _, way = _ways_push(s.past, s.moves, x, s.last, p.period)
    s.last = x
    top = highest_push(s.high, x, p.period)
    bottom = lowest_push(s.low, x, p.period)
    value = (top - bottom) / way if way > 0.0 else 0.0
    return value if full else nan


@kernel(state={"e": SEEDED}, params=period(13), let=EMA_K, outputs=("ta_eri_bull", "ta_eri_bear"),
        scale=(_HLC, 1), shift=(_HLC, 0))  # fmt: skip
def ta_eri(s, p, high, low, close):
    """Elder's ray: bull and bear power (TA-Lib ERI).

    Formula: h - EMA(c), l - EMA(c)
    Units: those of price
    Warm-up: period - 1 bars
    Source: Elder (1993), Trading for a Living; TA-Lib, function ERI
    """
    seeded_push(s.e, close, p.period, p.k)
    full = s.e.n == p.period
    return high - s.e.mean if full else nan, low - s.e.mean if full else nan


@kernel(inputs={"x": "close"}, state={"w": trend("period")}, params=period(5),
        memory=lambda p: p.period + 1, scale=({"x": 1}, 0))  # fmt: skip
def ta_fosc(s, p, x):
    """Forecast oscillator (TA-Lib FOSC); 0 where the value is 0.

    Formula: 100 (x_t - f_t) / x_t, f the forecast of the line through the `period` values before
    Units: percent
    Warm-up: period ticks
    Source: Chande (1992); TA-Lib, function FOSC
    """
    full = s.w.n == p.period
    ahead = nan
    if full:
        ahead = trend_mean(s.w) + trend_slope(s.w) * (p.period + 1.0) / 2.0
    trend_push(s.w, x, p.period)
    value = 100.0 * (x - ahead) / x if x != 0.0 else 0.0
    return value if full else nan


@kernel(
    state={"high": extreme("fastk"), "low": extreme("fastk"), "k": SEEDED, "d": SEEDED},
    params={
        "fastk": param(9, "[1, 100000]", "bars of the range"),
        "slowk": param(3, "[1, 100000]", "period of Wilder's average for K"),
        "slowd": param(3, "[1, 100000]", "period of Wilder's average for D"),
    },
    let={"a": lambda p: 1.0 / p.slowk, "b": lambda p: 1.0 / p.slowd},
    outputs=("ta_kdj_k", "ta_kdj_d", "ta_kdj_j"),
    composed=({"slowk_matype": kind("rma"), "slowd_matype": kind("rma")}, kdj),
    scale=(_HLC, 0),
    shift=(_HLC, 0),
)
def ta_kdj(s, p, high, low, close):
    """KDJ stochastic (TA-Lib KDJ); 0 where the range is 0.

    Formula: K = RMA of 100 (c - lowest)/(highest - lowest), D = RMA of K, J = 3 K - 2 D;
        or the averages that the matypes name
    Units: K and D 0 to 100, J beyond
    Warm-up: fastk + slowk + slowd - 3 bars, for all three
    Source: Lane (1984), Technical Analysis of Stocks & Commodities 2(3); TA-Lib, function KDJ
    """
    top = highest_push(s.high, high, p.fastk)
    bottom = lowest_push(s.low, low, p.fastk)
    if s.high.n < p.fastk:
        return nan, nan, nan
    fast = 100.0 * (close - bottom) / (top - bottom) if top > bottom else 0.0
    seeded_push(s.k, fast, p.slowk, p.a)
    if s.k.n < p.slowk:
        return nan, nan, nan
    seeded_push(s.d, s.k.mean, p.slowd, p.b)
    if s.d.n < p.slowd:
        return nan, nan, nan
    return s.k.mean, s.d.mean, 3.0 * s.k.mean - 2.0 * s.d.mean


@kernel(state={"w": sums("period")}, params=period(10, 1), memory="period",
        scale=({"open": 1, "close": 1}, 1), shift=({"open": 1, "close": 1}, 0))  # fmt: skip
def ta_qstick(s, p, open, close):
    """Qstick (TA-Lib QSTICK): the mean body of the last bars.

    Formula: mean of c - o over the last `period` bars
    Units: those of price
    Warm-up: period - 1 bars
    Source: Chande & Kroll (1994), The New Technical Trader; TA-Lib, function QSTICK
    """
    total = sums_push(s.w, close - open, p.period)
    return total / p.period if s.w.n == p.period else nan


@inline
def _twice_push(one, two, x, first, second):
    """Fold x into an average of an average of these spans; it is there once two.n == second."""
    seeded_push(one, x, first, 2.0 / (first + 1.0))
    if one.n == first:
        seeded_push(two, one.mean, second, 2.0 / (second + 1.0))


@kernel(
    state={"high": extreme("period"), "low": extreme("period"), "a": SEEDED, "b": SEEDED,
           "c": SEEDED, "d": SEEDED, "e": SEEDED},
    params={
        **period(13, 1),
        "fast": param(2, "[1, 100000]", "span of the second average"),
        "slow": param(25, "[1, 100000]", "span of the first average"),
        "signal": param(9, "[1, 100000]", "span of the signal"),
    },
    outputs=("ta_smi", "ta_smi_signal"),
    scale=(_HLC, 0),
    shift=(_HLC, 0),
)  # fmt: skip
def ta_smi(s, p, high, low, close):
    """Stochastic momentum index (TA-Lib SMI); 0 where the range is 0.

    Formula: 200 EMA(EMA(c - (H + L)/2)) / EMA(EMA(H - L)), H and L of the last `period` bars;
        signal: EMA of it
    Units: -100 to 100
    Warm-up: period + slow + fast + signal - 4 bars, for both
    Source: Blau (1993), Technical Analysis of Stocks & Commodities 11(1); TA-Lib, function SMI
    """
    top = highest_push(s.high, high, p.period)
    bottom = lowest_push(s.low, low, p.period)
    if s.high.n < p.period:
        return nan, nan
    _twice_push(s.a, s.b, close - (top + bottom) / 2.0, p.slow, p.fast)
    _twice_push(s.c, s.d, top - bottom, p.slow, p.fast)
    if s.b.n < p.fast:
        return nan, nan
    value = 100.0 * s.b.mean / (0.5 * s.d.mean) if s.d.mean != 0.0 else 0.0
    seeded_push(s.e, value, p.signal, 2.0 / (p.signal + 1.0))
    full = s.e.n == p.signal
    return value if full else nan, s.e.mean if full else nan


@kernel(
    inputs={"x": "close"},
    state={"n": i64, "last": f64, "a": SEEDED, "b": SEEDED, "c": SEEDED, "d": SEEDED},
    params={
        "first": param(25, "[1, 100000]", "span of the first average"),
        "second": param(13, "[1, 100000]", "span of the second average"),
    },
    **_RATIO,
)
def ta_tsi(s, p, x):
    """True strength index (TA-Lib TSI); 0 where nothing has moved.

    Formula: 100 EMA(EMA(change)) / EMA(EMA(|change|))
    Units: -100 to 100
    Warm-up: first + second - 1 ticks
    Source: Blau (1991), Technical Analysis of Stocks & Commodities 9(11); TA-Lib, function TSI
    """
    move = x - s.last
    n = s.n
    s.last = x
    s.n = 1
    if n == 0:
        return nan
    _twice_push(s.a, s.b, move, p.first, p.second)
    _twice_push(s.c, s.d, abs(move), p.first, p.second)
    value = 100.0 * s.b.mean / s.d.mean if s.d.mean > 0.0 else 0.0
    return value if s.b.n == p.second else nan


@kernel(
    inputs={"x": "close"},
    state={"n": i64, "last": f64, "w": moments("stddevperiod"), "up": SEEDED, "down": SEEDED},
    params={**period(14), "stddevperiod": param(10, "[2, 100000]", "ticks of the deviation")},
    let={"k": lambda p: 1.0 / p.period},
    **_RATIO,
)
def ta_rvi(s, p, x):
    """Relative volatility index (TA-Lib RVI); 50 where nothing has moved.

    Formula: 100 U / (U + D), Wilder's averages of the deviation of the last values where the price
        rose, and where it fell
    Units: 0 to 100
    Warm-up: stddevperiod + period - 2 ticks
    Source: Dorsey (1993), Technical Analysis of Stocks & Commodities 11(6); TA-Lib, function RVI
    """
    move = x - s.last
    n = s.n
    s.last = x
    s.n = 1
    moments_push(s.w, x, p.stddevperiod)
    if n == 0 or s.w.n < p.stddevperiod:
        return nan
    sd = sqrt(moments_variance(s.w, 0))
    seeded_push(s.up, sd if move > 0.0 else 0.0, p.period, p.k)
    seeded_push(s.down, sd if move < 0.0 else 0.0, p.period, p.k)
    total = s.up.mean + s.down.mean
    value = 100.0 * s.up.mean / total if total > 0.0 else 50.0
    return value if s.up.n == p.period else nan
