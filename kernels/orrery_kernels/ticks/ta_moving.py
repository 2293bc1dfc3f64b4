"""TA-Lib's moving averages by name, and its newer ones, as streams, warm-up included."""

from __future__ import annotations

from types import SimpleNamespace

from orrery_kernels.engine import i64, inline, kernel, nan, param, struct
from orrery_kernels.engine.spec import Struct
from orrery_kernels.engine.windows import (
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
from orrery_kernels.ticks.ta_averages import FOLDED, kind, macd, one, root, warm_up
from orrery_kernels.ticks.ta_overlap import half, kama, kama_push

_SAME = {"scale": ({"x": 1}, 1), "shift": ({"x": 1}, 1)}
_SMA, _EMA, _WMA, _DEMA, _TEMA, _TRIMA, _KAMA, _T3 = range(FOLDED)
_V = 0.7  # Tillson's volume factor, TA-Lib's default
C1, C2 = -_V * _V * _V, 3.0 * (_V * _V + _V * _V * _V)
C3 = -6.0 * _V * _V - 3.0 * (_V + _V * _V * _V)
C4 = 1.0 + 3.0 * _V + _V * _V * _V + 3.0 * _V * _V


def average(span: str, which: str) -> Struct:
    """Return the layout of the average that the parameter `which` names, over `span` ticks."""

    def only(kinds: tuple[int, ...], size: object) -> object:
        def length(p: SimpleNamespace) -> int:
            return int(size(getattr(p, span))) if getattr(p, which) in kinds else 1

        return length

    return struct(
        one=sums(only((_SMA, _TRIMA), lambda n: n)),
        two=sums(only((_TRIMA,), lambda n: n - half(n) + 1)),
        weighted=trend(only((_WMA,), lambda n: n)),
        adaptive=kama(only((_KAMA,), lambda n: n)),
        a=SEEDED, b=SEEDED, c=SEEDED, d=SEEDED, e=SEEDED, f=SEEDED,
    )  # fmt: skip


@inline
def _cascade(a, x, n, depth):
    """Fold x into `depth` exponential averages, each of the one before."""
    k = 2.0 / (n + 1.0)
    seeded_push(a.a, x, n, k)
    if depth > 1 and a.a.n == n:
        seeded_push(a.b, a.a.mean, n, k)
    if depth > 2 and a.b.n == n:
        seeded_push(a.c, a.b.mean, n, k)
    if depth > 3 and a.c.n == n:
        seeded_push(a.d, a.c.mean, n, k)
    if depth > 3 and a.d.n == n:
        seeded_push(a.e, a.d.mean, n, k)
    if depth > 3 and a.e.n == n:
        seeded_push(a.f, a.e.mean, n, k)


@inline
def average_push(a, x, n, which):
    """Fold x in and return the average over n ticks, nan while it is not there."""
    out = nan
    if n == 1:
        out = x
    elif which == _SMA:
        total = sums_push(a.one, x, n)
        out = total / n if a.one.n == n else nan
    elif which == _WMA:
        trend_push(a.weighted, x, n)
        out = trend_weighted_mean(a.weighted) if a.weighted.n == n else nan
    elif which == _TRIMA:
        first = (n + 1) // 2
        mean = sums_push(a.one, x, first) / first
        if a.one.n == first:
            total = sums_push(a.two, mean, n - first + 1)
            out = total / (n - first + 1) if a.two.n == n - first + 1 else nan
    elif which == _KAMA:
        kama_push(a.adaptive, x, n)
        out = a.adaptive.value if a.adaptive.n > 0 else nan
    else:
        _cascade(
            a, x, n, 1 if which == _EMA else 2 if which == _DEMA else 3 if which == _TEMA else 6
        )
        if which == _EMA:
            out = a.a.mean if a.a.n == n else nan
        elif which == _DEMA:
            out = 2.0 * a.a.mean - a.b.mean if a.b.n == n else nan
        elif which == _TEMA:
            out = 3.0 * a.a.mean - 3.0 * a.b.mean + a.c.mean if a.c.n == n else nan
        else:
            smooth = C1 * a.f.mean + C2 * a.e.mean + C3 * a.d.mean + C4 * a.c.mean
            out = smooth if a.f.n == n else nan
    return out


@kernel(
    inputs={"x": "close"},
    state={"a": average("period", "matype")},
    params={**period(30, 1), "matype": kind()},
    composed=({}, one),
    **_SAME,
)
def ta_ma(s, p, x):
    """Moving average of the kind that is named (TA-Lib MA).

    Formula: that of ta_sma, ta_ema, ta_wma, ta_dema, ta_tema, ta_trima, ta_kama, ta_t3, ta_mama
        (its first line, whatever the period), ta_hma, ta_zlema or ta_rma; none: the value itself
    Units: those of the input
    Warm-up: that of the kind
    Source: TA-Lib, function MA
    """
    return average_push(s.a, x, p.period, p.matype)


def _latest(p: SimpleNamespace) -> int:
    return max(warm_up(p.fast_matype, p.fast), warm_up(p.slow_matype, p.slow))


@kernel(
    inputs={"x": "close"},
    state={
        "seen": i64,
        "fast": average("fast", "fast_matype"),
        "slow": average("slow", "slow_matype"),
        "line": average("signal", "signal_matype"),
    },
    params={
        "fast": param(12, "[2, 100000]", "span of the fast average, in ticks"),
        "slow": param(26, "[2, 100000]", "span of the slow average, in ticks"),
        "signal": param(9, "[1, 100000]", "span of the difference's average, in ticks"),
        "fast_matype": kind(),
        "slow_matype": kind(),
        "signal_matype": kind(),
    },
    rules={"fast < slow": lambda p: p.fast < p.slow},
    let={
        "latest": _latest,
        "fast_from": lambda p: _latest(p) - warm_up(p.fast_matype, p.fast),
        "slow_from": lambda p: _latest(p) - warm_up(p.slow_matype, p.slow),
    },
    outputs=("ta_macdext", "ta_macdext_signal", "ta_macdext_hist"),
    composed=({}, macd),
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 0),
)
def ta_macdext(s, p, x):
    """Moving average convergence/divergence with averages of any kind (TA-Lib MACDEXT).

    Formula: MA_fast - MA_slow, both begun so that they are there at the same tick; signal: MA of it
    Units: those of the input
    Warm-up: those of the slower average and of the signal, for all three
    Source: Appel (1979); TA-Lib, function MACDEXT
    """
    n = s.seen
    s.seen = n + 1 if n < p.latest else n
    fast = nan
    slow = nan
    if n >= p.fast_from:
        fast = average_push(s.fast, x, p.fast, p.fast_matype)
    if n >= p.slow_from:
        slow = average_push(s.slow, x, p.slow, p.slow_matype)
    if n < p.latest:
        return nan, nan, nan
    line = fast - slow
    signal = average_push(s.line, line, p.signal, p.signal_matype)
    return (line if signal == signal else nan), signal, line - signal


@kernel(
    inputs={"x": "close"},
    state={"seen": i64, "fast": SEEDED, "slow": SEEDED, "line": SEEDED},
    params={"signal": param(9, "[1, 100000]", "span of the difference's average, in ticks")},
    let={"c": lambda p: 2.0 / (p.signal + 1.0)},
    outputs=("ta_macdfix", "ta_macdfix_signal", "ta_macdfix_hist"),
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 0),
)
def ta_macdfix(s, p, x):
    """Moving average convergence/divergence with Appel's weights of 12 and 26 (TA-Lib MACDFIX).

    Formula: EMA - EMA with weights 0.15 and 0.075, both seeded with means that end at tick 26;
        signal: EMA of it
    Units: those of the input
    Warm-up: 24 + signal ticks, for all three
    Source: Appel (1979); TA-Lib, function MACDFIX
    """
    late = s.seen >= 14
    s.seen = s.seen + 1 if s.seen < 26 else s.seen
    seeded_push(s.slow, x, 26, 0.075)
    if late:
        seeded_push(s.fast, x, 12, 0.15)
    if s.slow.n < 26:
        return nan, nan, nan
    line = s.fast.mean - s.slow.mean
    seeded_push(s.line, line, p.signal, p.c)
    if s.line.n < p.signal:
        return nan, nan, nan
    return line, s.line.mean, line - s.line.mean


@kernel(
    inputs={"x": "close"}, state={"e": SEEDED}, params=period(30),
    let={"k": lambda p: 1.0 / p.period}, **_SAME,
)  # fmt: skip
def ta_rma(s, p, x):
    """Wilder's smoothed moving average (TA-Lib RMA).

    Formula: m = mean of the first `period` values, then m += (x - m) / period
    Units: those of the input
    Warm-up: period - 1 ticks
    Source: Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib, function RMA
    """
    seeded_push(s.e, x, p.period, p.k)
    return s.e.mean if s.e.n == p.period else nan


@kernel(
    inputs={"x": "close"},
    state={
        "whole": trend("period"),
        "half": trend(lambda p: max(p.period // 2, 1)),
        "smooth": trend(lambda p: root(p.period)),
    },
    params=period(20),
    let={"half": lambda p: max(p.period // 2, 1), "root": lambda p: root(p.period)},
    memory=lambda p: p.period + root(p.period),
    **_SAME,
)
def ta_hma(s, p, x):
    """Hull moving average (TA-Lib HMA): little lag, and smooth.

    Formula: WMA over sqrt(n) ticks of 2 WMA(n / 2) - WMA(n)
    Units: those of the input
    Warm-up: period + sqrt(period) - 2 ticks, whole parts
    Source: Hull (2005); TA-Lib, function HMA
    """
    trend_push(s.whole, x, p.period)
    trend_push(s.half, x, p.half)
    if s.whole.n < p.period:
        return nan
    ahead = 2.0 * trend_weighted_mean(s.half) - trend_weighted_mean(s.whole)
    trend_push(s.smooth, ahead, p.root)
    return trend_weighted_mean(s.smooth) if s.smooth.n == p.root else nan


@kernel(
    inputs={"x": "close"},
    state={"value": sums("period"), "volume": sums("period")},
    params=period(30),
    memory="period",
    scale=({"x": 1}, 1),
)
def ta_vwma(s, p, x, volume):
    """Volume-weighted moving average (TA-Lib VWMA).

    Formula: sum p v / sum v over the last `period` values
    Units: those of the input
    Warm-up: period - 1 ticks; null where nothing has traded
    Source: TA-Lib, function VWMA
    """
    value = sums_push(s.value, x * volume, p.period)
    total = sums_push(s.volume, volume, p.period)
    return value / total if s.volume.n == p.period and total > 0.0 else nan


def _lag(p: SimpleNamespace) -> int:
    return (p.period - 1) // 2


@kernel(
    inputs={"x": "close"},
    state={"past": rolling(lambda p: max(_lag(p), 1)), "e": SEEDED},
    params=period(30),
    let={**EMA_K, "lag": _lag},
    **_SAME,
)
def ta_zlema(s, p, x):
    """Exponential average with its lag taken out beforehand (TA-Lib ZLEMA).

    Formula: EMA of 2 x_t - x_(t-lag), lag = (period - 1) // 2
    Units: those of the input
    Warm-up: lag + period - 1 ticks
    Source: Ehlers & Way (2010), Zero Lag (well, almost); TA-Lib, function ZLEMA
    """
    old = x
    if p.lag > 0:
        full = s.past.n == p.lag
        old = rolling_push(s.past, x, p.lag)
        if not full:
            return nan
    seeded_push(s.e, 2.0 * x - old, p.period, p.k)
    return s.e.mean if s.e.n == p.period else nan
