"""Liquidity: what trading costs and how far it moves the price, from prices and volumes alone."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.functions import exp, log
from orrery_kernels.engine.windows import (
    comoments,
    comoments_push,
    comoments_sums,
    sums,
    sums_push,
)
from orrery_kernels.ticks.parameters import window


@kernel(
    inputs={"r": "log_return"},
    state={"w": comoments("window")},
    **window(20, 2),
    memory="window",
    scale=({"r": 1, "signed_volume": 1}, 0),
    shift=({"r": 1, "signed_volume": 1}, 0),
)
def kyle_lambda(s, p, r, signed_volume):
    """Price impact: the slope of the return on the signed volume that came with it.

    Formula: cov(r, q) / var(q) over the window; null where the signed volume does not vary
    Units: return per unit of volume
    Warm-up: min_periods - 1 ticks
    Source: Kyle (1985), Econometrica 53(6), 1315-1335; regression form Glosten & Harris (1988)
    """
    comoments_push(s.w, signed_volume, r, p.window)
    sxx, _, sxy = comoments_sums(s.w)
    return sxy / sxx if s.w.n >= p.min_periods and sxx > 0.0 else nan


@kernel(
    inputs={"r": "log_return"},
    state={"w": sums("window")},
    **window(20, 1),
    memory="window",
    scale=({"r": 1, "price": 1, "volume": -1}, 1),
)
def amihud_illiquidity(s, p, r, price, volume):
    """Amihud illiquidity: return per value traded.

    Formula: mean of |r| / (p v) over the window; a tick without traded value does not enter
    Units: return per unit of quote currency
    Warm-up: min_periods - 1 ticks
    Source: Amihud (2002), Journal of Financial Markets 5(1), 31-56
    """
    value = price * volume
    if value <= 0.0:
        return nan
    total = sums_push(s.w, abs(r) / value, p.window)
    return total / s.w.n if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"price": "price"},
    state={"n": i64, "last": f64, "move": f64, "w": comoments("window")},
    **window(20, 2),
    memory=lambda p: p.window + 2,
    scale=({"price": 1}, 1),
    shift=({"price": 1}, 0),
)
def roll_spread(s, p, price):
    """Roll's spread: how far prices bounce between bid and ask, seen in the covariance of their
    changes.

    Formula: 2 sqrt(-cov(d_t, d_(t-1))) over `window` pairs of neighbouring changes, sample
        covariance; 0 where it is not negative
    Units: those of price
    Warm-up: min_periods + 1 ticks
    Source: Roll (1984), Journal of Finance 39(4), 1127-1139
    """
    move = price - s.last
    before = s.move
    n = s.n
    s.last = price
    s.move = move
    s.n = n + 1 if n < 2 else n
    if n < 2:
        return nan
    comoments_push(s.w, move, before, p.window)
    _, _, sxy = comoments_sums(s.w)
    return 2.0 * sqrt(max(-sxy / (s.w.n - 1.0), 0.0)) if s.w.n >= p.min_periods else nan


_SQRT2 = 1.4142135623730951
_DENOMINATOR = 3.0 - 2.0 * _SQRT2


@kernel(
    state={"n": i64, "high": f64, "low": f64, "close": f64, "w": sums("window")},
    params={"window": param(1, "[1, 1000000]", "pairs of bars averaged")},
    memory=lambda p: p.window + 1,
    scale=({"high": 1, "low": 1, "close": 1}, 0),
)
def corwin_schultz_spread(s, p, high, low, close):
    """Corwin-Schultz spread from the highs and lows of two neighbouring bars.

    Formula: b = ln^2(H1/L1) + ln^2(H2/L2); g = ln^2(max H / min L);
        a = (sqrt(2 b) - sqrt(b)) / (3 - 2 sqrt 2) - sqrt(g / (3 - 2 sqrt 2));
        S = max(2 (e^a - 1) / (1 + e^a), 0); bar 2 is first moved by the gap between its range and
        the close of bar 1; mean of S over `window` pairs
    Units: share of the price
    Warm-up: window bars; a bar with a price not above 0 is null and does not enter
    Source: Corwin & Schultz (2012), Journal of Finance 67(2), 719-760
    """
    if min(low, close) <= 0.0 or high < low:
        return nan
    gap = max(low - s.close, 0.0) + min(high - s.close, 0.0)
    top = max(s.high, high - gap)
    bottom = min(s.low, low - gap)
    one = log(s.high / s.low)
    two = log((high - gap) / (low - gap))
    both = log(top / bottom)
    n = s.n
    s.high = high
    s.low = low
    s.close = close
    s.n = 1
    if n == 0:
        return nan
    beta = one * one + two * two
    alpha = (_SQRT2 - 1.0) * sqrt(beta) / _DENOMINATOR - sqrt(both * both / _DENOMINATOR)
    spread = 2.0 * (exp(alpha) - 1.0) / (1.0 + exp(alpha))
    total = sums_push(s.w, max(spread, 0.0), p.window)
    return total / s.w.n if s.w.n >= p.window else nan
