"""TA-Lib's channels, trends and ranges of bars as streams: the same numbers, warm-up included."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param
from orrery_kernels.engine.order import extreme, highest_push, lowest_push
from orrery_kernels.engine.windows import rolling, rolling_push, sums, sums_push
from orrery_kernels.ticks.averages import SEEDED, seeded_push
from orrery_kernels.ticks.parameters import EMA_K, period
from orrery_kernels.ticks.ta_volume import RANGE, range_push

_BARS = {"high": 1, "low": 1, "close": 1}
_HL = {"high": 1, "low": 1}


@kernel(
    state={"high": extreme("period"), "low": extreme("period")},
    params=period(20),
    outputs=("ta_donchian_upper", "ta_donchian_middle", "ta_donchian_lower"),
    memory="period",
    scale=(_HL, 1),
    shift=(_HL, 1),
)
def ta_donchian(s, p, high, low):
    """Donchian channels (TA-Lib DONCHIAN).

    Formula: highest high, the middle, lowest low of the last `period` bars
    Units: those of price
    Warm-up: period - 1 bars
    Source: Donchian (1960), Commodity Year Book; TA-Lib, function DONCHIAN
    """
    top = highest_push(s.high, high, p.period)
    bottom = lowest_push(s.low, low, p.period)
    if s.high.n < p.period:
        return nan, nan, nan
    return top, (top + bottom) / 2.0, bottom


def _latest(p: object) -> int:
    return max(p.period - 1, p.atrperiod)


@kernel(
    state={"seen": i64, "e": SEEDED, "a": RANGE},
    params={
        **period(20),
        "atrperiod": param(10, "[1, 100000]", "bars of the average true range"),
        "nbdev": param(2.0, "(-inf, inf)", "width in average true ranges"),
    },
    let={
        **EMA_K,
        "latest": _latest,
        "mean_from": lambda p: _latest(p) - p.period + 1,
        "range_from": lambda p: _latest(p) - p.atrperiod,
    },
    outputs=("ta_kc_upper", "ta_kc_middle", "ta_kc_lower"),
    scale=(_BARS, 1),
)
def ta_kc(s, p, high, low, close):
    """Keltner channels (TA-Lib KC).

    Formula: EMA of the typical price, and nbdev average true ranges above and below it, both begun
        so that they are there at the same bar
    Units: those of price
    Warm-up: max(period - 1, atrperiod) bars
    Source: Keltner (1960), How To Make Money in Commodities; TA-Lib, function KC
    """
    n = s.seen
    s.seen = n + 1 if n < p.latest else n
    if n >= p.mean_from:
        seeded_push(s.e, (high + low + close) / 3.0, p.period, p.k)
    if n >= p.range_from:
        range_push(s.a, high, low, close, p.atrperiod)
    if n < p.latest:
        return nan, nan, nan
    width = p.nbdev * s.a.mean
    return s.e.mean + width, s.e.mean, s.e.mean - width


@kernel(
    state={"a": RANGE, "n": i64, "way": f64, "upper": f64, "lower": f64, "last": f64},
    params={
        **period(10, 1),
        "multiplier": param(3.0, "(0, inf)", "distance in average true ranges"),
    },
    outputs={"ta_supertrend": f64, "ta_supertrend_trend": "i8"},
    scale=(_BARS, (1, 0)),
)
def ta_supertrend(s, p, high, low, close):
    """SuperTrend (TA-Lib SUPERTREND): a stop that follows the price and turns when it is crossed.

    Formula: bands at (h + l)/2 +- multiplier ATR that only tighten while the close before was
        inside; the trend turns where the close crosses its band
    Units: those of price; trend +1 up, -1 down
    Warm-up: period bars
    Source: Seban (2009); TA-Lib, function SUPERTREND
    """
    range_push(s.a, high, low, close, p.period)
    before = s.last
    s.last = close
    if s.a.n <= p.period:
        return nan, nan
    first = s.n == 0
    s.n = 1
    middle = (high + low) / 2.0
    above = middle + p.multiplier * s.a.mean
    below = middle - p.multiplier * s.a.mean
    s.upper = above if first or above < s.upper or before > s.upper else s.upper
    s.lower = below if first or below > s.lower or before < s.lower else s.lower
    if first:
        s.way = 1.0
    if s.way > 0.0:
        s.way = -1.0 if close < s.lower else 1.0
    else:
        s.way = 1.0 if close > s.upper else -1.0
    return s.lower if s.way > 0.0 else s.upper, s.way


@kernel(
    state={"n": i64, "open": f64, "close": f64},
    outputs=("ta_ha_open", "ta_ha_high", "ta_ha_low", "ta_ha_close"),
    scale=({"open": 1, **_BARS}, 1),
    shift=({"open": 1, **_BARS}, 1),
)
def ta_ha(s, open, high, low, close):
    """Heikin-Ashi candles (TA-Lib HA).

    Formula: close (o + h + l + c)/4; open the middle of the candle before, of the first (o + c)/2;
        high and low reach to both
    Units: those of price
    Warm-up: none
    Source: Valcu (2004), Technical Analysis of Stocks & Commodities 22(2); TA-Lib, function HA
    """
    end = (open + high + low + close) / 4.0
    begin = (open + close) / 2.0 if s.n == 0 else (s.open + s.close) / 2.0
    s.n = 1
    s.open = begin
    s.close = end
    return begin, max(high, max(begin, end)), min(low, min(begin, end)), end


@kernel(
    state={"w": sums("period")}, params=period(14, 1), memory="period", scale=(_HL, 1),
    shift=(_HL, 0),
)  # fmt: skip
def ta_adr(s, p, high, low):
    """Average day range (TA-Lib ADR).

    Formula: mean of h - l over the last `period` bars
    Units: those of price
    Warm-up: period - 1 bars
    Source: TA-Lib, function ADR
    """
    total = sums_push(s.w, high - low, p.period)
    return total / p.period if s.w.n == p.period else nan


@kernel(
    state={"e": SEEDED, "past": rolling("rocperiod")},
    params={**period(10), "rocperiod": param(10, "[1, 100000]", "bars over which the change is")},
    let=EMA_K,
    scale=(_HL, 0),
    shift=(_HL, 0),
)
def ta_cvi(s, p, high, low):
    """Chaikin's volatility (TA-Lib CVI): how fast the ranges of bars grow.

    Formula: 100 (e_t / e_(t-rocperiod) - 1), e the EMA of h - l; 0 where the old value is 0
    Units: percent
    Warm-up: period + rocperiod - 1 bars
    Source: Chaikin; TA-Lib, function CVI
    """
    seeded_push(s.e, high - low, p.period, p.k)
    if s.e.n < p.period:
        return nan
    full = s.past.n == p.rocperiod
    old = rolling_push(s.past, s.e.mean, p.rocperiod)
    rate = (s.e.mean / old - 1.0) * 100.0 if old != 0.0 else 0.0
    return rate if full else nan


@kernel(
    state={"one": SEEDED, "two": SEEDED, "w": sums("slow")},
    params={
        "fast": param(9, "[2, 100000]", "bars of the two averages"),
        "slow": param(25, "[1, 100000]", "ratios added up"),
    },
    let={"k": lambda p: 2.0 / (p.fast + 1.0)},
    scale=(_HL, 0),
    shift=(_HL, 0),
)
def ta_massi(s, p, high, low):
    """Mass index (TA-Lib MASSI): a bulge of the ranges foretells a turn.

    Formula: sum over `slow` bars of EMA(h - l) / EMA(EMA(h - l)); a ratio over 0 counts 1
    Units: none
    Warm-up: 2 (fast - 1) + slow - 1 bars
    Source: Dorsey (1992), Technical Analysis of Stocks & Commodities 10(6); TA-Lib, function MASSI
    """
    seeded_push(s.one, high - low, p.fast, p.k)
    if s.one.n < p.fast:
        return nan
    seeded_push(s.two, s.one.mean, p.fast, p.k)
    if s.two.n < p.fast:
        return nan
    ratio = s.one.mean / s.two.mean if s.two.mean != 0.0 else 1.0
    total = sums_push(s.w, ratio, p.slow)
    return total if s.w.n == p.slow else nan


@kernel(
    state={
        "highs": rolling(lambda p: p.left + p.right + 1),
        "lows": rolling(lambda p: p.left + p.right + 1),
    },
    params={
        "left": param(2, "[1, 1000]", "bars before the swing"),
        "right": param(2, "[1, 1000]", "bars after it, which must have come"),
    },
    outputs={"ta_fractal_high": "i32", "ta_fractal_low": "i32"},
    memory=lambda p: p.left + p.right + 1,
    scale=(_HL, 0),
    shift=(_HL, 0),
)
def ta_fractal(s, p, high, low):
    """Williams' fractals (TA-Lib FRACTAL), told at the bar that makes them certain.

    Formula: 100 where the high `right` bars ago is above those of `left` bars before and `right`
        after it, in the second column where its low is below theirs; else 0
    Units: 100 or 0
    Warm-up: left + right bars
    Source: Williams (1998), New Trading Dimensions; TA-Lib, function FRACTAL
    """
    size = p.left + p.right + 1
    rolling_push(s.highs, high, size)
    rolling_push(s.lows, low, size)
    if s.highs.n < size:
        return nan, nan
    place = s.highs.at - 1 - p.right
    place = place + size if place < 0 else place
    top = s.highs.ring[place]
    bottom = s.lows.ring[place]
    peaks = 0
    troughs = 0
    for k in range(size):
        if k != place:
            peaks += 1 if s.highs.ring[k] >= top else 0
            troughs += 1 if s.lows.ring[k] <= bottom else 0
    return 100.0 if peaks == 0 else 0.0, 100.0 if troughs == 0 else 0.0


@kernel(
    state={"n": i64, "high": f64, "low": f64, "close": f64, "up": sums("period"),
           "down": sums("period"), "range": sums("period")},
    params=period(14, 1),
    outputs=("ta_vortex_plus", "ta_vortex_minus"),
    memory=lambda p: p.period + 1,
    scale=(_BARS, 0),
    shift=(_BARS, 0),
)  # fmt: skip
def ta_vortex(s, p, high, low, close):
    """Vortex indicator (TA-Lib VORTEX).

    Formula: sum |h - l'| / sum TR, sum |l - h'| / sum TR over the last `period` bars; 0 where
        nothing moves
    Units: none
    Warm-up: period bars
    Source: Botes & Siepman (2010), Technical Analysis of Stocks & Commodities 28(1); TA-Lib,
        function VORTEX
    """
    rise = abs(high - s.low)
    fall = abs(low - s.high)
    spread = max(high - low, max(abs(high - s.close), abs(low - s.close)))
    n = s.n
    s.n = 1
    s.high = high
    s.low = low
    s.close = close
    if n == 0:
        return nan, nan
    up = sums_push(s.up, rise, p.period)
    down = sums_push(s.down, fall, p.period)
    total = sums_push(s.range, spread, p.period)
    if s.range.n < p.period:
        return nan, nan
    return up / total if total > 0.0 else 0.0, down / total if total > 0.0 else 0.0
