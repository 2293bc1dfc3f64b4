"""TA-Lib's momentum indicators of bars as streams: the same numbers, warm-up included."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param
from orrery_kernels.engine.order import (
    dated_extreme,
    dated_highest_push,
    dated_lowest_push,
    extreme,
    highest_push,
    lowest_push,
)
from orrery_kernels.engine.windows import rolling, rolling_push, sums, sums_push
from orrery_kernels.ticks.parameters import period
from orrery_kernels.ticks.ta_averages import fast_stochastic, kind, stochastic


@kernel(
    state={
        "high": dated_extreme(lambda p: p.period + 1),
        "low": dated_extreme(lambda p: p.period + 1),
    },
    params=period(14),
    outputs=("ta_aroon_down", "ta_aroon_up"),
    memory=lambda p: p.period + 1,
    scale=({"high": 1, "low": 1}, 0),
    shift=({"high": 1, "low": 1}, 0),
)
def ta_aroon(s, p, high, low):
    """Aroon: how long ago the extremes of the last bars were (TA-Lib AROON).

    Formula: 100 (period - age) / period, of the lowest low and of the highest high of period + 1
        bars
    Units: 0 to 100
    Warm-up: period bars
    Source: Chande (1995), Technical Analysis of Stocks & Commodities 13(9); TA-Lib, function AROON
    """
    _, up = dated_highest_push(s.high, high, p.period + 1)
    _, down = dated_lowest_push(s.low, low, p.period + 1)
    full = s.high.n == p.period + 1
    factor = 100.0 / p.period
    return factor * (p.period - down) if full else nan, factor * (p.period - up) if full else nan


@kernel(
    state={
        "high": dated_extreme(lambda p: p.period + 1),
        "low": dated_extreme(lambda p: p.period + 1),
    },
    params=period(14),
    memory=lambda p: p.period + 1,
    scale=({"high": 1, "low": 1}, 0),
    shift=({"high": 1, "low": 1}, 0),
)
def ta_aroonosc(s, p, high, low):
    """Aroon oscillator: up less down (TA-Lib AROONOSC).

    Formula: 100 (age of the lowest low - age of the highest high) / period
    Units: -100 to 100
    Warm-up: period bars
    Source: Chande (1995), Technical Analysis of Stocks & Commodities 13(9); TA-Lib, function
        AROONOSC
    """
    _, up = dated_highest_push(s.high, high, p.period + 1)
    _, down = dated_lowest_push(s.low, low, p.period + 1)
    return 100.0 / p.period * (down - up) if s.high.n == p.period + 1 else nan


@kernel(memory=1, scale=({"open": 1, "high": 1, "low": 1, "close": 1}, 0))
def ta_bop(open, high, low, close):
    """Balance of power of one bar (TA-Lib BOP); 0 where high is not above low.

    Formula: (close - open) / (high - low)
    Units: -1 to 1
    Warm-up: none
    Source: Livshin (2001), Technical Analysis of Stocks & Commodities 19(8); TA-Lib, function BOP
    """
    spread = high - low
    return (close - open) / spread if spread >= 1e-14 else 0.0


@kernel(
    state={"w": rolling("period"), "total": sums("period")},
    params=period(14),
    memory="period",
    scale=({"high": 1, "low": 1, "close": 1}, 0),
)
def ta_cci(s, p, high, low, close):
    """Commodity channel index (TA-Lib CCI); 0 where the typical price equals its mean, or has not
    moved.

    Formula: (tp - mean) / (0.015 mean |tp - mean|) over the last `period` bars, tp = (h + l + c)/3;
        the mean deviation is about the newest mean, so a tick costs a pass over the window
    Units: none
    Warm-up: period - 1 bars
    Source: Lambert (1980), Commodities 9(10); TA-Lib, function CCI
    """
    typical = (high + low + close) / 3.0
    rolling_push(s.w, typical, p.period)
    mean = sums_push(s.total, typical, p.period) / p.period
    deviation = 0.0
    spread = 0.0  # the mean is rounded, so that only this is 0 where nothing moves
    for k in range(s.w.n):
        deviation += abs(s.w.ring[k] - mean)
        spread = max(spread, abs(s.w.ring[k] - typical))
    gap = typical - mean
    value = gap / (0.015 * (deviation / p.period)) if spread > 0.0 and gap != 0.0 else 0.0
    return value if s.w.n == p.period else nan


@kernel(
    state={"high": extreme("period"), "low": extreme("period")},
    params=period(14),
    memory="period",
    scale=({"high": 1, "low": 1, "close": 1}, 0),
    shift=({"high": 1, "low": 1, "close": 1}, 0),
)
def ta_willr(s, p, high, low, close):
    """Williams' %R (TA-Lib WILLR); 0 where the range is 0.

    Formula: -100 (highest - close) / (highest - lowest) over the last `period` bars
    Units: -100 to 0
    Warm-up: period - 1 bars
    Source: Williams (1979), How I Made One Million Dollars; TA-Lib, function WILLR
    """
    top = highest_push(s.high, high, p.period)
    bottom = lowest_push(s.low, low, p.period)
    value = (top - close) / (top - bottom) * -100.0 if top > bottom else 0.0
    return value if s.high.n == p.period else nan


_STOCH = {
    "fastk": param(5, "[1, 100000]", "bars of the range"),
    "slowk": param(3, "[1, 100000]", "values averaged for %K"),
    "slowd": param(3, "[1, 100000]", "values averaged for %D"),
}


@kernel(
    state={
        "high": extreme("fastk"),
        "low": extreme("fastk"),
        "k": sums("slowk"),
        "d": sums("slowd"),
    },
    params=_STOCH,
    outputs=("ta_stoch_k", "ta_stoch_d"),
    composed=({"slowk_matype": kind(), "slowd_matype": kind()}, stochastic),
    memory=lambda p: p.fastk + p.slowk + p.slowd,
    scale=({"high": 1, "low": 1, "close": 1}, 0),
)
def ta_stoch(s, p, high, low, close):
    """Slow stochastic (TA-Lib STOCH); 0 where the range is 0.

    Formula: mean of `slowk` values of 100 (close - lowest)/(highest - lowest), and the mean of
        `slowd` of it; or the averages that the matypes name
    Units: 0 to 100
    Warm-up: fastk + slowk + slowd - 3 bars, for both
    Source: Lane (1984), Technical Analysis of Stocks & Commodities 2(3); TA-Lib, function STOCH
    """
    top = highest_push(s.high, high, p.fastk)
    bottom = lowest_push(s.low, low, p.fastk)
    if s.high.n < p.fastk:
        return nan, nan
    fast = 100.0 * (close - bottom) / (top - bottom) if top > bottom else 0.0
    k = sums_push(s.k, fast, p.slowk) / p.slowk
    if s.k.n < p.slowk:
        return nan, nan
    d = sums_push(s.d, k, p.slowd) / p.slowd
    full = s.d.n == p.slowd
    return k if full else nan, d if full else nan


@kernel(
    state={"high": extreme("fastk"), "low": extreme("fastk"), "d": sums("fastd")},
    params={"fastk": _STOCH["fastk"], "fastd": _STOCH["slowd"]},
    outputs=("ta_stochf_k", "ta_stochf_d"),
    composed=({"fastd_matype": kind()}, fast_stochastic),
    memory=lambda p: p.fastk + p.fastd,
    scale=({"high": 1, "low": 1, "close": 1}, 0),
)
def ta_stochf(s, p, high, low, close):
    """Fast stochastic (TA-Lib STOCHF); 0 where the range is 0.

    Formula: 100 (close - lowest)/(highest - lowest) over `fastk` bars, and the mean of `fastd` of
        it, or the average that fastd_matype names
    Units: 0 to 100
    Warm-up: fastk + fastd - 2 bars, for both
    Source: Lane (1984), Technical Analysis of Stocks & Commodities 2(3); TA-Lib, function STOCHF
    """
    top = highest_push(s.high, high, p.fastk)
    bottom = lowest_push(s.low, low, p.fastk)
    if s.high.n < p.fastk:
        return nan, nan
    k = 100.0 * (close - bottom) / (top - bottom) if top > bottom else 0.0
    d = sums_push(s.d, k, p.fastd) / p.fastd
    full = s.d.n == p.fastd
    return k if full else nan, d if full else nan


@kernel(
    state={
        "n": i64, "close": f64, "a1": sums("short"), "b1": sums("short"), "a2": sums("middle"),
        "b2": sums("middle"), "a3": sums("long"), "b3": sums("long"),
    },
    params={
        "short": param(7, "[1, 100000]", "bars of the first sum"),
        "middle": param(14, "[1, 100000]", "bars of the second sum"),
        "long": param(28, "[1, 100000]", "bars of the third sum"),
    },
    rules={"short <= middle <= long": lambda p: p.short <= p.middle <= p.long},
    memory=lambda p: p.long + 1,
    scale=({"high": 1, "low": 1, "close": 1}, 0),
    shift=({"high": 1, "low": 1, "close": 1}, 0),
)  # fmt: skip
def ta_ultosc(s, p, high, low, close):
    """Ultimate oscillator (TA-Lib ULTOSC).

    Formula: 100 (4 A1/B1 + 2 A2/B2 + A3/B3) / 7, A sums of close - true low, B of the true range; a
        part whose true range is 0 counts 0
    Units: 0 to 100
    Warm-up: long bars
    Source: Williams (1985), Technical Analysis of Stocks & Commodities 3(4); TA-Lib, function
        ULTOSC
    """
    before = s.close
    n = s.n
    s.close = close
    s.n = 1
    if n == 0:
        return nan
    bottom = min(low, before)
    gain = close - bottom
    spread = max(high - low, max(abs(before - high), abs(before - low)))
    a1 = sums_push(s.a1, gain, p.short)
    b1 = sums_push(s.b1, spread, p.short)
    a2 = sums_push(s.a2, gain, p.middle)
    b2 = sums_push(s.b2, spread, p.middle)
    a3 = sums_push(s.a3, gain, p.long)
    b3 = sums_push(s.b3, spread, p.long)
    total = 4.0 * (a1 / b1) if b1 > 0.0 else 0.0
    total += 2.0 * (a2 / b2) if b2 > 0.0 else 0.0
    total += a3 / b3 if b3 > 0.0 else 0.0
    return 100.0 * (total / 7.0) if s.b3.n == p.long else nan


@kernel(
    state={"up": sums("period"), "down": sums("period"), "n": i64, "typical": f64},
    params=period(14),
    memory=lambda p: p.period + 1,
    scale=({"high": 1, "low": 1, "close": 1}, 0),
)
def ta_mfi(s, p, high, low, close, volume):
    """Money flow index (TA-Lib MFI); 0 where nothing has flowed.

    Formula: 100 P / (P + N), P and N the sums of typical price times volume on rises and falls
    Units: 0 to 100
    Warm-up: period bars
    Source: Quong & Soudack (1989), Technical Analysis of Stocks & Commodities 7(3); TA-Lib,
        function MFI
    """
    typical = (high + low + close) / 3.0
    before = s.typical
    n = s.n
    s.typical = typical
    s.n = 1
    if n == 0:
        return nan
    flow = typical * volume
    up = sums_push(s.up, flow if typical > before else 0.0, p.period)
    down = sums_push(s.down, flow if typical < before else 0.0, p.period)
    total = up + down
    value = 100.0 * (up / total) if total > 0.0 else 0.0
    return value if s.up.n == p.period else nan


@kernel(
    state={"up": sums("period"), "down": sums("period")},
    params=period(14),
    memory="period",
    scale=({"open": 1, "close": 1}, 0),
)
def ta_imi(s, p, open, close):
    """Intraday momentum index (TA-Lib IMI); 50 where nothing has moved.

    Formula: 100 G / (G + L), sums of rises and falls from open to close over the last `period` bars
    Units: 0 to 100
    Warm-up: period - 1 bars
    Source: Chande & Kroll (1994), The New Technical Trader; TA-Lib, function IMI
    """
    up = sums_push(s.up, max(close - open, 0.0), p.period)
    down = sums_push(s.down, max(open - close, 0.0), p.period)
    total = up + down
    value = 100.0 * (up / total) if total > 0.0 else 50.0
    return value if s.up.n == p.period else nan
