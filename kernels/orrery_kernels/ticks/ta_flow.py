"""TA-Lib's newer volume indicators as streams: the same numbers, warm-up included."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan
from orrery_kernels.engine.windows import sums, sums_push
from orrery_kernels.ticks.averages import SEEDED, seeded_push
from orrery_kernels.ticks.parameters import EMA_K, fast_and_slow, period
from orrery_kernels.ticks.ta_averages import kind, percentage
from orrery_kernels.ticks.ta_volume import flow

_BARS = {"high": 1, "low": 1, "close": 1}


@kernel(
    state={"flow": sums("period"), "volume": sums("period")},
    params=period(20, 1), memory="period", scale=(_BARS, 0), shift=(_BARS, 0),
)  # fmt: skip
def ta_cmf(s, p, high, low, close, volume):
    """Chaikin money flow (TA-Lib CMF); 0 where nothing has traded.

    Formula: sum of ((c - l) - (h - c)) / (h - l) v over sum of v, the last `period` bars
    Units: -1 to 1
    Warm-up: period - 1 bars
    Source: Chaikin; TA-Lib, function CMF
    """
    money = sums_push(s.flow, flow(high, low, close, volume), p.period)
    total = sums_push(s.volume, volume, p.period)
    value = money / total if total > 0.0 else 0.0
    return value if s.volume.n == p.period else nan


@kernel(
    inputs={"x": "close"}, state={"n": i64, "last": f64, "e": SEEDED}, params=period(13, 1),
    let=EMA_K, scale=({"x": 1}, 1), shift=({"x": 1}, 0),
)  # fmt: skip
def ta_efi(s, p, x, volume):
    """Elder's force index (TA-Lib EFI).

    Formula: EMA of (x_t - x_(t-1)) v
    Units: those of the input times volume
    Warm-up: period ticks
    Source: Elder (1993), Trading for a Living; TA-Lib, function EFI
    """
    move = x - s.last
    n = s.n
    s.last = x
    s.n = 1
    if n == 0:
        return nan
    seeded_push(s.e, move * volume, p.period, p.k)
    return s.e.mean if s.e.n == p.period else nan


@kernel(memory=1, scale=({"high": 1, "low": 1}, 1), shift=({"high": 1, "low": 1}, 0))
def ta_marketfi(high, low, volume):
    """Market facilitation index (TA-Lib MARKETFI); 0 where nothing has traded.

    Formula: (h - l) / v
    Units: those of price per unit of volume
    Warm-up: none
    Source: Williams (1998), New Trading Dimensions; TA-Lib, function MARKETFI
    """
    return (high - low) / volume if volume != 0.0 else 0.0


_INDEX = {"n": i64, "last": f64, "volume": f64, "value": f64}


@kernel(inputs={"x": "close"}, state=_INDEX, scale=({"x": 1}, 0))
def ta_nvi(s, x, volume):
    """Negative volume index (TA-Lib NVI).

    Formula: starts at 1000; grows by the return of each tick whose volume fell
    Units: none
    Warm-up: none
    Source: Fosback (1976), Stock Market Logic; TA-Lib, function NVI
    """
    before = s.last
    change = x - before if volume < s.volume else 0.0  # no branch: nobody foresees the volume
    rate = change / before if before != 0.0 else 0.0
    s.value = s.value * (1.0 + rate) if s.n > 0 else 1000.0
    s.n = 1
    s.last = x
    s.volume = volume
    return s.value


@kernel(inputs={"x": "close"}, state=_INDEX, scale=({"x": 1}, 0))
def ta_pvi(s, x, volume):
    """Positive volume index (TA-Lib PVI).

    Formula: starts at 1000; grows by the return of each tick whose volume rose
    Units: none
    Warm-up: none
    Source: Fosback (1976), Stock Market Logic; TA-Lib, function PVI
    """
    before = s.last
    change = x - before if volume > s.volume else 0.0  # no branch: nobody foresees the volume
    rate = change / before if before != 0.0 else 0.0
    s.value = s.value * (1.0 + rate) if s.n > 0 else 1000.0
    s.n = 1
    s.last = x
    s.volume = volume
    return s.value


@kernel(
    state={"fast": SEEDED, "slow": SEEDED},
    **fast_and_slow(12, 26),
    composed=({"matype": kind("ema")}, percentage),
    scale=({"volume": 1}, 0),
)
def ta_pvo(s, p, volume):
    """Percentage volume oscillator (TA-Lib PVO); 0 where slow is 0.

    Formula: 100 (EMA_fast - EMA_slow) / EMA_slow of the volume, or the averages that matype
        names
    Units: percent
    Warm-up: slow - 1 ticks
    Source: TA-Lib, function PVO
    """
    seeded_push(s.fast, volume, p.fast, p.a)
    seeded_push(s.slow, volume, p.slow, p.b)
    slow = s.slow.mean
    value = (s.fast.mean - slow) / slow * 100.0 if slow != 0.0 else 0.0
    return value if s.slow.n == p.slow else nan


@kernel(inputs={"x": "close"}, state={"n": i64, "last": f64, "total": f64}, scale=({"x": 1}, 0))
def ta_pvt(s, x, volume):
    """Price volume trend (TA-Lib PVT).

    Formula: sum of v (x_t - x_(t-1)) / x_(t-1), 0 at the first tick
    Units: those of volume
    Warm-up: none
    Source: TA-Lib, function PVT
    """
    before = s.last
    s.total += volume * ((x - before) / before) if s.n > 0 and before != 0.0 else 0.0
    s.n = 1
    s.last = x
    return s.total


@kernel(state={"w": sums("period")}, params=period(20, 1), memory=lambda p: p.period + 1,
        scale=({"volume": 1}, 0))  # fmt: skip
def ta_rvol(s, p, volume):
    """Relative volume (TA-Lib RVOL); null where nothing has traded before.

    Formula: v / mean of the `period` volumes before
    Units: none
    Warm-up: period ticks
    Source: TA-Lib, function RVOL
    """
    full = s.w.n == p.period
    before = s.w.total
    sums_push(s.w, volume, p.period)
    return volume / (before / p.period) if full and before > 0.0 else nan


@kernel(state={"value": f64, "volume": f64}, scale=(_BARS, 1))
def ta_vwap(s, high, low, close, volume):
    """Volume-weighted average price of bars (TA-Lib VWAP).

    Formula: sum of (h + l + c)/3 v over sum of v, from the first bar on
    Units: those of price
    Warm-up: none; the typical price while nothing has traded
    Source: TA-Lib, function VWAP
    """
    typical = (high + low + close) / 3.0
    s.value += typical * volume
    s.volume += volume
    return s.value / s.volume if s.volume > 0.0 else typical


@kernel(state={"n": i64, "close": f64, "total": f64}, scale=(_BARS, 1), shift=(_BARS, 0))
def ta_wad(s, high, low, close):
    """Williams' accumulation/distribution (TA-Lib WAD).

    Formula: sum of c - min(l, c') where the close rises, of c - max(h, c') where it falls, c' the
        close before
    Units: those of price
    Warm-up: none
    Source: Williams (1972), The Secret of Selecting Stocks; TA-Lib, function WAD
    """
    before = s.close
    gain = close - min(low, before) if close > before else 0.0
    loss = close - max(high, before) if close < before else 0.0
    s.total += gain + loss if s.n > 0 else 0.0
    s.n = 1
    s.close = close
    return s.total
