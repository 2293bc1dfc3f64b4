"""Ehlers' indicators by the Hilbert transform, as in TA-Lib: averages that follow the cycle of the
market."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, ring, struct
from orrery_kernels.engine.trigonometry import PI, atan
from orrery_kernels.engine.windows import rolling, rolling_push

_PAST = 7  # values of a filter's input that it looks at, this one included
_PERIOD_MAX = 50  # longest cycle, in ticks
_DEGREES = 180.0 / PI

# Ticks seen, the last four prices, the inputs of the four filters, and the estimate of the cycle.
CYCLE = struct(
    n=i64, prices=ring(4), smooth=ring(_PAST), trend=ring(_PAST), phase=ring(_PAST),
    quadrature=ring(_PAST), i1=f64, q1=f64, i2=f64, q2=f64, re=f64, im=f64, period=f64,
)  # fmt: skip


@inline
def _filtered(values, x, width):
    """Put x in front and return the Hilbert transform of the series, `width` its correction."""
    for k in range(_PAST - 1):
        values[_PAST - 1 - k] = values[_PAST - 2 - k]
    values[0] = x
    return (0.0962 * (values[0] - values[6]) + 0.5769 * (values[2] - values[4])) * width


@inline
def cycle_push(c, x, start):
    """Fold a price in; from tick `start` on (counted from 0) c.period follows the cycle."""
    for k in range(3):
        c.prices[3 - k] = c.prices[2 - k]
    c.prices[0] = x
    n = c.n
    c.n = n + 1
    if n >= start:
        width = 0.075 * c.period + 0.54
        mean = (4.0 * x + 3.0 * c.prices[1] + 2.0 * c.prices[2] + c.prices[3]) / 10.0
        trend = _filtered(c.smooth, mean, width)
        c.q1 = _filtered(c.trend, trend, width)
        c.i1 = c.trend[3]
        ahead_i = _filtered(c.phase, c.i1, width)
        ahead_q = _filtered(c.quadrature, c.q1, width)
        i2 = 0.2 * (c.i1 - ahead_q) + 0.8 * c.i2
        q2 = 0.2 * (c.q1 + ahead_i) + 0.8 * c.q2
        c.re = 0.2 * (i2 * c.i2 + q2 * c.q2) + 0.8 * c.re
        c.im = 0.2 * (i2 * c.q2 - q2 * c.i2) + 0.8 * c.im
        c.i2 = i2
        c.q2 = q2
        before = c.period
        found = before
        if c.im != 0.0 and c.re != 0.0:
            found = 360.0 / (atan(c.im / c.re) * _DEGREES)
        found = max(min(found, 1.5 * before), 0.67 * before)
        c.period = 0.2 * min(max(found, 6.0), 1.0 * _PERIOD_MAX) + 0.8 * before


@kernel(
    inputs={"x": "close"},
    state={"c": CYCLE, "phase": f64, "mama": f64, "fama": f64},
    params={
        "fastlimit": param(0.5, "[0.01, 0.99]", "largest weight of the newest tick"),
        "slowlimit": param(0.05, "[0.01, 0.99]", "smallest weight of the newest tick"),
    },
    outputs=("ta_mama", "ta_fama"),
)
def ta_mama(s, p, x):
    """MESA adaptive moving average, and the average that follows it (TA-Lib MAMA).

    Formula: weight a = fastlimit / change of the cycle's phase in degrees, cut to the limits;
        MAMA += a (x - MAMA), FAMA += a/2 (MAMA - FAMA); while a price stands still TA-Lib follows
        the rounding of its sums, this does not
    Units: those of the input
    Warm-up: 32 ticks
    Source: Ehlers (2001), MESA and Trading Market Cycles; TA-Lib, function MAMA
    """
    cycle_push(s.c, x, 12)
    if s.c.n <= 12:
        return nan, nan
    phase = atan(s.c.q1 / s.c.i1) * _DEGREES if s.c.i1 != 0.0 else 0.0
    change = max(s.phase - phase, 1.0)
    s.phase = phase
    weight = max(p.fastlimit / change, p.slowlimit) if change > 1.0 else p.fastlimit
    s.mama = weight * x + (1.0 - weight) * s.mama
    s.fama = 0.5 * weight * s.mama + (1.0 - 0.5 * weight) * s.fama
    s.c.n = min(s.c.n, 33)
    full = s.c.n == 33
    return s.mama if full else nan, s.fama if full else nan


@kernel(
    inputs={"x": "close"},
    state={
        "c": CYCLE,
        "past": rolling(_PERIOD_MAX),
        "width": f64,
        "one": f64,
        "two": f64,
        "three": f64,
    },
)
def ta_ht_trendline(s, x):
    """Instantaneous trendline: the price with its cycle averaged out (TA-Lib HT_TRENDLINE).

    Formula: t = mean of the last c prices, c the smoothed cycle; (4 t + 3 t' + 2 t'' + t''') / 10
    Units: those of the input
    Warm-up: 63 ticks
    Source: Ehlers (2001), Rocket Science for Traders; TA-Lib, function HT_TRENDLINE
    """
    rolling_push(s.past, x, _PERIOD_MAX)
    cycle_push(s.c, x, 37)
    if s.c.n <= 37:
        return nan
    s.width = 0.33 * s.c.period + 0.67 * s.width
    ticks = int(s.width + 0.5)
    total = 0.0
    for k in range(ticks):
        i = s.past.at - 1 - k
        total += s.past.ring[i + _PERIOD_MAX if i < 0 else i]
    mean = total / ticks if ticks > 0 else 0.0
    out = (4.0 * mean + 3.0 * s.one + 2.0 * s.two + s.three) / 10.0
    s.three = s.two
    s.two = s.one
    s.one = mean
    s.c.n = min(s.c.n, 64)
    return out if s.c.n == 64 else nan
