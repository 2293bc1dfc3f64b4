"""TA-Lib's directional movement family as streams: the same numbers, warm-up included."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, struct
from orrery_kernels.engine.windows import rolling, rolling_push
from orrery_kernels.ticks.parameters import period

# Bars seen, the bar before, and Wilder's running sums of movement up, down and true range.
MOVES = struct(n=i64, high=f64, low=f64, close=f64, up=f64, down=f64, range=f64)
_LEVEL = {"scale": ({"high": 1, "low": 1}, 1), "shift": ({"high": 1, "low": 1}, 0)}
_BARS = {"high": 1, "low": 1, "close": 1}
_RATIO = {"scale": (_BARS, 0), "shift": (_BARS, 0)}


@inline
def moves_push(m, high, low, close, period):
    """Fold a bar in: plain sums over the first period - 1 moves, then S = S - S / period + new."""
    rise = high - m.high
    fall = m.low - low
    spread = max(high - low, max(abs(high - m.close), abs(low - m.close)))
    up = rise if rise > 0.0 and rise > fall else 0.0
    down = fall if fall > 0.0 and fall > rise else 0.0
    keep = 1.0 - 1.0 / period if m.n >= period else 1.0
    if m.n > 0:
        m.up = m.up * keep + up
        m.down = m.down * keep + down
        m.range = m.range * keep + spread
    m.n = m.n + 1 if m.n <= period else m.n
    m.high = high
    m.low = low
    m.close = close


@inline
def _directional_index(m, before):
    """Return 100 |down - up| / (down + up), the value before where nothing moves."""
    total = m.up + m.down
    return 100.0 * (abs(m.down - m.up) / total) if total > 0.0 and m.range > 0.0 else before


@kernel(state={"m": MOVES}, params=period(14), **_LEVEL)
def ta_plus_dm(s, p, high, low):
    """Directional movement up (TA-Lib PLUS_DM).

    Formula: Wilder's sum of rises of the high that exceed the fall of the low
    Units: those of price
    Warm-up: period - 1 bars
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 4; TA-Lib, function
        PLUS_DM
    """
    moves_push(s.m, high, low, low, p.period)
    return s.m.up if s.m.n >= p.period else nan


@kernel(state={"m": MOVES}, params=period(14), **_LEVEL)
def ta_minus_dm(s, p, high, low):
    """Directional movement down (TA-Lib MINUS_DM).

    Formula: Wilder's sum of falls of the low that exceed the rise of the high
    Units: those of price
    Warm-up: period - 1 bars
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 4; TA-Lib, function
        MINUS_DM
    """
    moves_push(s.m, high, low, low, p.period)
    return s.m.down if s.m.n >= p.period else nan


@kernel(state={"m": MOVES}, params=period(14), **_RATIO)
def ta_plus_di(s, p, high, low, close):
    """Directional indicator up (TA-Lib PLUS_DI); 0 where the true range is 0.

    Formula: 100 +DM / TR, Wilder's sums
    Units: 0 to 100
    Warm-up: period bars
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 4; TA-Lib, function
        PLUS_DI
    """
    moves_push(s.m, high, low, close, p.period)
    value = 100.0 * (s.m.up / s.m.range) if s.m.range > 0.0 else 0.0
    return value if s.m.n > p.period else nan


@kernel(state={"m": MOVES}, params=period(14), **_RATIO)
def ta_minus_di(s, p, high, low, close):
    """Directional indicator down (TA-Lib MINUS_DI); 0 where the true range is 0.

    Formula: 100 -DM / TR, Wilder's sums
    Units: 0 to 100
    Warm-up: period bars
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 4; TA-Lib, function
        MINUS_DI
    """
    moves_push(s.m, high, low, close, p.period)
    value = 100.0 * (s.m.down / s.m.range) if s.m.range > 0.0 else 0.0
    return value if s.m.n > p.period else nan


@kernel(state={"m": MOVES, "dx": f64}, params=period(14), **_RATIO)
def ta_dx(s, p, high, low, close):
    """Directional movement index (TA-Lib DX); the value before where nothing moves.

    Formula: 100 |-DI - +DI| / (-DI + +DI)
    Units: 0 to 100
    Warm-up: period bars
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 4; TA-Lib, function DX
    """
    moves_push(s.m, high, low, close, p.period)
    if s.m.n <= p.period:
        return nan
    s.dx = _directional_index(s.m, s.dx)
    return s.dx


@inline
def _adx_push(m, a, high, low, close, period):
    """Fold a bar into the average of the index: a plain mean of `period` values, then Wilder's."""
    moves_push(m, high, low, close, period)
    if m.n > period:
        still = _directional_index(m, -1.0)
        if a.n < period:
            a.n += 1
            a.total += still if still >= 0.0 else 0.0
            if a.n == period:
                a.mean = a.total / period
        elif still >= 0.0:
            a.mean = (1.0 - 1.0 / period) * a.mean + (1.0 / period) * still


_AVERAGE = struct(n=i64, total=f64, mean=f64)


@kernel(state={"m": MOVES, "a": _AVERAGE}, params=period(14), **_RATIO)
def ta_adx(s, p, high, low, close):
    """Average directional movement index (TA-Lib ADX): how strong a trend is, whichever way.

    Formula: mean of the first `period` DX, then ((period - 1) ADX + DX) / period
    Units: 0 to 100
    Warm-up: 2 period - 1 bars
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 4; TA-Lib, function
        ADX
    """
    _adx_push(s.m, s.a, high, low, close, p.period)
    return s.a.mean if s.a.n == p.period else nan


@kernel(
    state={"m": MOVES, "a": _AVERAGE, "past": rolling(lambda p: p.period - 1)},
    params=period(14),
    **_RATIO,
)
def ta_adxr(s, p, high, low, close):
    """Directional movement rating (TA-Lib ADXR): the mean of two ADX values a period apart.

    Formula: (ADX_t + ADX_(t - period + 1)) / 2
    Units: 0 to 100
    Warm-up: 3 period - 2 bars
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 4; TA-Lib, function
        ADXR
    """
    _adx_push(s.m, s.a, high, low, close, p.period)
    if s.a.n < p.period:
        return nan
    full = s.past.n == p.period - 1
    old = rolling_push(s.past, s.a.mean, p.period - 1)
    return (s.a.mean + old) / 2.0 if full else nan
