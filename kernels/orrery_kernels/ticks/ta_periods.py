"""TA-Lib's moving average whose period comes with each tick.

TA-Lib computes the average over every period that occurs and picks. So here: what is a window's is
summed when it is asked for; what has a path of its own is kept for each period, in rings that are
indexed by it, and every tick moves them all.
"""

from __future__ import annotations

from types import SimpleNamespace

from orrery_kernels.engine import i64, inline, kernel, nan, param, ring, sqrt, struct
from orrery_kernels.engine.spec import Ring
from orrery_kernels.engine.windows import rolling, rolling_get, rolling_push
from orrery_kernels.ticks.ta_averages import KINDS, kind, root, varying, warm_up
from orrery_kernels.ticks.ta_moving import C1, C2, C3, C4

_WMA, _DEMA, _TEMA, _TRIMA, _KAMA, _T3, _HMA, _NONE, _ZLEMA, _RMA = (
    KINDS.index(name)
    for name in ("wma", "dema", "tema", "trima", "kama", "t3", "hma", "none", "zlema", "rma")
)
# How many averages of averages a kind keeps for each period; the others are a window's.
_DEPTHS = {"ema": 1, "dema": 2, "tema": 3, "t3": 6, "kama": 1, "zlema": 1, "rma": 1}


def _depth(p: SimpleNamespace) -> int:
    return _DEPTHS.get(KINDS[p.matype], 0)


def _held(p: SimpleNamespace) -> int:
    return p.maxperiod + root(p.maxperiod)  # a Hull average reads the furthest back


def _for_each_period(least_depth: int) -> Ring:
    return ring(lambda p: p.maxperiod + 1 if _depth(p) >= least_depth else 1)


@inline
def _seeded(means, n, x, count, weight):
    """Fold the count-th value into the average over n, a plain mean of the first n."""
    if count > n:
        means[n] = (1.0 - weight) * means[n] + weight * x
    elif count > 0:
        means[n] = means[n] + (x - means[n]) / count


@inline
def _cascade(a, n, x, age, depth, weight):
    """Fold x into averages over n, each of the one before; the last begins at age 0."""
    count = age + 1 + depth * (n - 1)
    _seeded(a.a, n, x, count, weight)
    if depth > 1:
        _seeded(a.b, n, a.a[n], count - (n - 1), weight)
    if depth > 2:
        _seeded(a.c, n, a.b[n], count - 2 * (n - 1), weight)
    if depth > 3:
        _seeded(a.d, n, a.c[n], count - 3 * (n - 1), weight)
        _seeded(a.e, n, a.d[n], count - 4 * (n - 1), weight)
        _seeded(a.f, n, a.e[n], count - 5 * (n - 1), weight)


@inline
def _adapt(values, n, x, before, old, moves, age):
    """Fold x into Kaufman's average over n, which begins at age 0 with the value before."""
    way = x - old
    efficiency = abs(way / moves) if moves > way and moves > 0.0 else 1.0
    c = efficiency * (2.0 / 3.0 - 2.0 / 31.0) + 2.0 / 31.0
    last = before if age == 0 else values[n]
    values[n] = last + c * c * (x - last)


@inline
def _move(a, past, n, size, moves, age, which, depth):
    """Fold the newest value into what the average over n keeps; `moves`: its last n changes."""
    x = rolling_get(past, 0, size)
    if which == _KAMA:
        if age >= 0:
            _adapt(a.a, n, x, rolling_get(past, 1, size), rolling_get(past, n, size), moves, age)
    elif which == _ZLEMA:
        ahead = 2.0 * x - rolling_get(past, (n - 1) // 2, size)
        _cascade(a, n, ahead, age, 1, 2.0 / (n + 1.0))
    else:
        _cascade(a, n, x, age, depth, 1.0 / n if which == _RMA else 2.0 / (n + 1.0))


@inline
def _kept(a, n, which):
    """Return the average over n, of what is kept for it."""
    out = a.a[n]
    if which == _DEMA:
        out = 2.0 * a.a[n] - a.b[n]
    elif which == _TEMA:
        out = 3.0 * a.a[n] - 3.0 * a.b[n] + a.c[n]
    elif which == _T3:
        out = C1 * a.f[n] + C2 * a.e[n] + C3 * a.d[n] + C4 * a.c[n]
    return out


@inline
def _weighted(past, first, n, size, which):
    """Return the mean of n values from lag `first` on, with the weights of a kind."""
    total = 0.0
    weights = 0.0
    for k in range(n):
        weight = n - k if which == _WMA else min(k + 1, n - k) if which == _TRIMA else 1
        total += weight * rolling_get(past, first + k, size)
        weights += weight
    return total / weights


@inline
def _hull(past, n, size):
    """Return the weighted mean over sqrt(n) values of twice that over n / 2 less that over n."""
    span = int(sqrt(1.0 * n))
    total = 0.0
    for k in range(span):
        ahead = 2.0 * _weighted(past, k, max(n // 2, 1), size, _WMA)
        total += (span - k) * (ahead - _weighted(past, k, n, size, _WMA))
    return total / (0.5 * span * (span + 1))


@kernel(
    inputs={"x": "close"},
    state={
        "seen": i64,
        "past": rolling(_held),
        "each": struct(
            a=_for_each_period(1), b=_for_each_period(2), c=_for_each_period(3),
            d=_for_each_period(4), e=_for_each_period(5), f=_for_each_period(6),
        ),
    },
    params={
        "minperiod": param(2, "[2, 100000]", "shortest period"),
        "maxperiod": param(
            30, "[2, 100000]", "longest period; of kinds with a path a tick costs a pass over all"
        ),
        "matype": kind(),
    },
    rules={"minperiod <= maxperiod": lambda p: p.minperiod <= p.maxperiod},
    let={
        "latest": lambda p: warm_up(p.matype, p.maxperiod),
        "depth": _depth,
        "held": _held,
    },
    composed=({}, varying),
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)  # fmt: skip
def ta_mavp(s, p, x, periods):
    """Moving average whose period comes with each tick (TA-Lib MAVP).

    Formula: that of ta_ma over n values, n = periods cut to [minperiod, maxperiod]; averages with a
        path are kept for each n, begun so that all are there at the first result
    Units: those of the input
    Warm-up: that of the kind over maxperiod
    Source: TA-Lib, function MAVP
    """
    rolling_push(s.past, x, p.held)
    age = s.seen - p.latest
    s.seen = s.seen + 1 if age <= 0 else s.seen
    if p.depth > 0:
        moves = 0.0
        for n in range(1, p.maxperiod + 1):
            moves += abs(rolling_get(s.past, n - 1, p.held) - rolling_get(s.past, n, p.held))
            if n >= p.minperiod:
                _move(s.each, s.past, n, p.held, moves, age, p.matype, p.depth)
    n = int(min(max(periods, 1.0 * p.minperiod), 1.0 * p.maxperiod))
    if age < 0:
        return nan
    if p.depth > 0:
        return _kept(s.each, n, p.matype)
    if p.matype == _HMA:
        return _hull(s.past, n, p.held)
    return _weighted(s.past, 0, 1 if p.matype == _NONE else n, p.held, p.matype)
