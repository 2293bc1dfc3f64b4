"""TA-Lib's parabolic stop and reverse as a stream, plain and extended."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, struct

# Bars seen, the way of the trade, its stop, its best price, the step, and the bar before.
TRADE = struct(n=i64, up=i64, sar=f64, extreme=f64, af=f64, high=f64, low=f64)


@inline
def _begin(t, high, low, start, long_step, short_step):
    """Decide by the second bar which way the first trade goes, or by the sign of `start`."""
    falls = t.low - low > high - t.high and t.low - low > 0.0
    up = start > 0.0 or (start == 0.0 and not falls)
    t.up = 1 if up else 0
    t.extreme = high if up and start > 0.0 else low if falls or start < 0.0 else high
    t.sar = abs(start) if start != 0.0 else t.low if up else t.high
    t.af = long_step if up else short_step
    t.high = high
    t.low = low


@inline
def _follow(
    t, high, low, long_first, long_step, long_max, short_first, short_step, short_max, offset
):
    """Fold a bar in; return the stop it met, t.up afterwards says for which way the next one is."""
    up = t.up > 0
    out = t.sar
    turns = low <= t.sar if up else high >= t.sar
    if turns:
        now_up = not up
        edge = max(max(t.extreme, t.high), high) if up else min(min(t.extreme, t.low), low)
        out = edge + edge * offset if up else edge - edge * offset
        t.up = 1 if now_up else 0
        t.af = long_first if now_up else short_first
        t.extreme = high if now_up else low
    elif up:
        t.af = min(t.af + long_step, long_max) if high > t.extreme else t.af
        t.extreme = max(t.extreme, high)
    else:
        t.af = min(t.af + short_step, short_max) if low < t.extreme else t.af
        t.extreme = min(t.extreme, low)
    ahead = out + t.af * (t.extreme - out)
    t.sar = min(min(ahead, t.low), low) if t.up > 0 else max(max(ahead, t.high), high)
    t.high = high
    t.low = low
    return out


@kernel(
    state={"t": TRADE},
    params={
        "acceleration": param(0.02, "[0, inf)", "first step, and what a new extreme adds to it"),
        "maximum": param(0.2, "[0, inf)", "largest step"),
    },
    let={"step": lambda p: min(p.acceleration, p.maximum)},
    scale=({"high": 1, "low": 1}, 1),
    shift=({"high": 1, "low": 1}, 1),
)
def ta_sar(s, p, high, low):
    """Parabolic stop and reverse (TA-Lib SAR).

    Formula: SAR += af (EP - SAR), never inside the last two bars; where price crosses it, the
        trade turns round at EP with the first step; each new EP adds a step
    Units: those of price
    Warm-up: one bar
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 2; TA-Lib, function
        SAR
    """
    n = s.t.n
    s.t.n = n + 1 if n < 2 else n
    if n == 0:
        s.t.high = high
        s.t.low = low
        return nan
    if n == 1:
        _begin(s.t, high, low, 0.0, p.step, p.step)
    return _follow(s.t, high, low, p.step, p.step, p.maximum, p.step, p.step, p.maximum, 0.0)


@kernel(
    state={"t": TRADE},
    params={
        "start": param(
            0.0, "(-inf, inf)", "stop to begin with: long above 0, short below, 0 automatic"
        ),
        "offset": param(
            0.0, "[0, inf)", "share by which the stop is moved away when the trade turns"
        ),
        "long_first": param(0.02, "[0, inf)", "first step of a long trade"),
        "long_step": param(0.02, "[0, inf)", "what a new high adds to it"),
        "long_max": param(0.2, "[0, inf)", "largest step of a long trade"),
        "short_first": param(0.02, "[0, inf)", "first step of a short trade"),
        "short_step": param(0.02, "[0, inf)", "what a new low adds to it"),
        "short_max": param(0.2, "[0, inf)", "largest step of a short trade"),
    },
    let={
        "a": lambda p: min(p.long_first, p.long_max),
        "b": lambda p: min(p.long_step, p.long_max),
        "c": lambda p: min(p.short_first, p.short_max),
        "d": lambda p: min(p.short_step, p.short_max),
    },
)
def ta_sarext(s, p, high, low):
    """Parabolic stop and reverse with steps for either way (TA-Lib SAREXT).

    Formula: as ta_sar, with steps and limits of long and short trades apart; the stop of a short
        trade is negative
    Units: those of price
    Warm-up: one bar
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section 2; TA-Lib, function
        SAREXT
    """
    n = s.t.n
    s.t.n = n + 1 if n < 2 else n
    if n == 0:
        s.t.high = high
        s.t.low = low
        return nan
    if n == 1:
        _begin(s.t, high, low, p.start, p.a, p.c)
    out = _follow(s.t, high, low, p.a, p.b, p.long_max, p.c, p.d, p.short_max, p.offset)
    return out if s.t.up > 0 else -out
