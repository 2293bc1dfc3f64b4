"""TA-Lib's volume, volatility and price transforms as streams: the same numbers, warm-up
included."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, struct
from orrery_kernels.ticks.parameters import period

_BARS = {"high": 1, "low": 1, "close": 1}


@inline
def flow(high, low, close, volume):
    """Return the volume signed by where the close lies in the bar."""
    spread = high - low
    return (close - low - (high - close)) / spread * volume if spread > 0.0 else 0.0


@kernel(state={"total": f64}, scale=({"volume": 1}, 1))
def ta_ad(s, high, low, close, volume):
    """Accumulation/distribution line (TA-Lib AD).

    Formula: sum of ((c - l) - (h - c)) / (h - l) v; a bar without range adds nothing
    Units: those of volume
    Warm-up: none
    Source: Chaikin; TA-Lib, function AD
    """
    s.total += flow(high, low, close, volume)
    return s.total


@kernel(
    state={"n": i64, "total": f64, "fast": f64, "slow": f64},
    params={
        "fast": param(3, "[2, 100000]", "period of the fast average"),
        "slow": param(10, "[2, 100000]", "period of the slow average"),
    },
    let={
        "a": lambda p: 2.0 / (p.fast + 1.0),
        "b": lambda p: 2.0 / (p.slow + 1.0),
        "later": lambda p: max(p.fast, p.slow),
    },
    scale=({"volume": 1}, 1),
)
def ta_adosc(s, p, high, low, close, volume):
    """Chaikin oscillator of the accumulation/distribution line (TA-Lib ADOSC).

    Formula: EMA_fast(AD) - EMA_slow(AD), both started at the first value
    Units: those of volume
    Warm-up: max(fast, slow) - 1 bars
    Source: Chaikin; TA-Lib, function ADOSC
    """
    s.total += flow(high, low, close, volume)
    first = s.n == 0
    s.fast = s.total if first else p.a * s.total + (1.0 - p.a) * s.fast
    s.slow = s.total if first else p.b * s.total + (1.0 - p.b) * s.slow
    s.n = s.n + 1 if s.n < p.later else s.n
    return s.fast - s.slow if s.n == p.later else nan


@kernel(
    inputs={"x": "close"}, state={"n": i64, "last": f64, "total": f64}, scale=({"volume": 1}, 1)
)
def ta_obv(s, x, volume):
    """On-balance volume (TA-Lib OBV).

    Formula: starts at the first volume; + v where the price rises, - v where it falls
    Units: those of volume
    Warm-up: none
    Source: Granville (1963), New Key to Stock Market Profits; TA-Lib, function OBV
    """
    first = s.n == 0
    way = (1.0 if x > s.last else 0.0) - (1.0 if x < s.last else 0.0)
    s.total += volume if first else way * volume
    s.last = x
    s.n = 1
    return s.total


@kernel(state={"n": i64, "close": f64}, memory=2, scale=(_BARS, 1), shift=(_BARS, 0))
def ta_trange(s, high, low, close):
    """True range of a bar (TA-Lib TRANGE).

    Formula: max(h - l, |h - c'|, |l - c'|), c' the close before
    Units: those of price
    Warm-up: one bar
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 3; TA-Lib, function
        TRANGE
    """
    before = s.close
    n = s.n
    s.close = close
    s.n = 1
    spread = max(high - low, max(abs(high - before), abs(low - before)))
    return spread if n > 0 else nan


RANGE = struct(n=i64, close=f64, total=f64, mean=f64)


@inline
def range_push(a, high, low, close, period):
    """Fold a bar into the average true range: a plain mean of `period`, then Wilder's."""
    if a.n > 0:
        spread = max(high - low, max(abs(high - a.close), abs(low - a.close)))
        if a.n <= period:
            a.total += spread
            a.mean = a.total / period
        else:
            a.mean = (1.0 - 1.0 / period) * a.mean + (1.0 / period) * spread
    a.close = close
    a.n = a.n + 1 if a.n <= period else a.n


@kernel(state={"a": RANGE}, params=period(14), scale=(_BARS, 1), shift=(_BARS, 0))
def ta_atr(s, p, high, low, close):
    """Average true range (TA-Lib ATR).

    Formula: mean of the first `period` true ranges, then ((period - 1) ATR + TR) / period
    Units: those of price
    Warm-up: period bars
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 3; TA-Lib, function
        ATR
    """
    range_push(s.a, high, low, close, p.period)
    return s.a.mean if s.a.n > p.period else nan


@kernel(state={"a": RANGE}, params=period(14), scale=(_BARS, 0))
def ta_natr(s, p, high, low, close):
    """Average true range in percent of the close (TA-Lib NATR); 0 where the close is 0.

    Formula: 100 ATR / close
    Units: percent
    Warm-up: period bars
    Source: Forman (2006), Technical Analysis of Stocks & Commodities 24(5); TA-Lib, function NATR
    """
    range_push(s.a, high, low, close, p.period)
    value = s.a.mean / close * 100.0 if close != 0.0 else 0.0
    return value if s.a.n > p.period else nan


_ALL = {"open": 1, "high": 1, "low": 1, "close": 1}


@kernel(memory=1, scale=(_ALL, 1), shift=(_ALL, 1))
def ta_avgprice(open, high, low, close):
    """Average price of a bar (TA-Lib AVGPRICE).

    Formula: (o + h + l + c) / 4
    Units: those of price
    Warm-up: none
    Source: TA-Lib, function AVGPRICE
    """
    return (high + low + close + open) / 4.0


@kernel(memory=1, scale=({"high": 1, "low": 1}, 1), shift=({"high": 1, "low": 1}, 1))
def ta_medprice(high, low):
    """Median price of a bar (TA-Lib MEDPRICE).

    Formula: (h + l) / 2
    Units: those of price
    Warm-up: none
    Source: TA-Lib, function MEDPRICE
    """
    return (high + low) / 2.0


@kernel(memory=1, scale=(_BARS, 1), shift=(_BARS, 1))
def ta_typprice(high, low, close):
    """Typical price of a bar (TA-Lib TYPPRICE).

    Formula: (h + l + c) / 3
    Units: those of price
    Warm-up: none
    Source: TA-Lib, function TYPPRICE
    """
    return (high + low + close) / 3.0


@kernel(memory=1, scale=(_BARS, 1), shift=(_BARS, 1))
def ta_wclprice(high, low, close):
    """Weighted close of a bar (TA-Lib WCLPRICE).

    Formula: (h + l + 2 c) / 4
    Units: those of price
    Warm-up: none
    Source: TA-Lib, function WCLPRICE
    """
    return (high + low + close * 2.0) / 4.0
