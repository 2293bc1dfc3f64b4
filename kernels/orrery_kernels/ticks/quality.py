"""Quality of data: duplicates, clocks, gaps, bars that contradict themselves, and values made
tame."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, ring, struct, text
from orrery_kernels.engine.functions import expm1, log, log1p, power
from orrery_kernels.engine.order import (
    extreme,
    lowest_push,
    ordered,
    ordered_push,
    ordered_quantile,
)
from orrery_kernels.ticks.parameters import window

_PLACE = struct(n=i64, at=i64)  # in rings that are filled side by side: how full, and where next
_DEDUPED = {
    "params": {"horizon": param(64, "[1, 100000]", "trades of the symbol that are remembered")},
    "outputs": {"is_dup": "i8"},
    "memory": lambda p: p.horizon + 1,
}


@inline
def _go_on(w, size):
    """Go on to the next place of rings of `size`, the oldest once they are full."""
    w.at = w.at + 1 if w.at + 1 < size else 0
    w.n = w.n + 1 if w.n < size else w.n


@kernel(
    inputs={"ts_ns": "ts_event_ns", "price": "price", "size": "size"},
    state={
        "held": _PLACE,
        "ts": ring("horizon", i64),
        "price": ring("horizon"),
        "size": ring("horizon"),
    },
    **_DEDUPED,
)
def dedupe_trades(s, p, ts_ns: i64, price, size):
    """Flag a trade that has been seen among the last `horizon` trades: same time, price and size.

    Formula: 1 where an earlier trade of the symbol within the horizon is equal in all three, else
        0; a flagged trade is not remembered again. Where trades have ids: dedupe_trade_ids, where a
        symbol has several venues: dedupe_venue_trades
    Units: flag
    Warm-up: none
    Source: Brownlees & Gallo (2006), CSDA 51(4); Barndorff-Nielsen et al. (2009), Econometrics
        Journal 12(3)
    """
    found = 0.0
    for k in range(s.held.n):
        if s.ts[k] == ts_ns and s.price[k] == price and s.size[k] == size:
            found = 1.0
            break
    if found == 0.0:
        s.ts[s.held.at] = ts_ns
        s.price[s.held.at] = price
        s.size[s.held.at] = size
        _go_on(s.held, p.horizon)
    return found


@kernel(
    inputs={"trade_id": "trade_id"},
    state={"held": _PLACE, "ids": ring("horizon", i64)},
    **_DEDUPED,
)
def dedupe_trade_ids(s, p, trade_id: text):
    """Flag a trade whose id, a number or text, has been seen among the last `horizon` trades.

    Formula: 1 where an earlier trade of the symbol within the horizon has the id, else 0; a flagged
        trade is not remembered again
    Units: flag
    Warm-up: none
    Source: Brownlees & Gallo (2006), CSDA 51(4)
    """
    found = 0.0
    for k in range(s.held.n):
        if s.ids[k] == trade_id:
            found = 1.0
            break
    if found == 0.0:
        s.ids[s.held.at] = trade_id
        _go_on(s.held, p.horizon)
    return found


@kernel(
    inputs={"ts_ns": "ts_event_ns", "price": "price", "size": "size", "venue": "venue"},
    state={
        "held": _PLACE,
        "ts": ring("horizon", i64),
        "price": ring("horizon"),
        "size": ring("horizon"),
        "venue": ring("horizon", i64),
    },
    **_DEDUPED,
)
def dedupe_venue_trades(s, p, ts_ns: i64, price, size, venue: text):
    """Flag a trade that has been seen among the last `horizon` trades: same time, price, size and
    venue, for symbols that trade on several.

    Formula: 1 where an earlier trade of the symbol within the horizon is equal in all four, else
        0; a flagged trade is not remembered again
    Units: flag
    Warm-up: none
    Source: Brownlees & Gallo (2006), CSDA 51(4); Barndorff-Nielsen et al. (2009), Econometrics
        Journal 12(3)
    """
    found = 0.0
    for k in range(s.held.n):
        same = s.ts[k] == ts_ns and s.venue[k] == venue
        if same and s.price[k] == price and s.size[k] == size:
            found = 1.0
            break
    if found == 0.0:
        s.ts[s.held.at] = ts_ns
        s.price[s.held.at] = price
        s.size[s.held.at] = size
        s.venue[s.held.at] = venue
        _go_on(s.held, p.horizon)
    return found


@kernel(
    inputs={"local_ns": "ts_recv_ns", "remote_ns": "ts_event_ns"},
    state={"w": extreme("window")},
    params={
        "window": param(100, "[1, 1000000]", "messages over which the shortest way is looked for")
    },
    outputs={"clock_offset_ns": i64, "ts_aligned_ns": i64},
    memory="window",
)
def clock_skew_align(s, p, local_ns: i64, remote_ns: i64):
    """Offset between two clocks from the message that came fastest, and the remote time by the
    local clock.

    Formula: offset = min over the window of (local - remote); aligned = remote + offset
    Units: nanoseconds; the offset holds the shortest delay too
    Warm-up: none
    Source: Cristian (1989), Distributed Computing 3, 146-158; Mills (1991), IEEE Trans. Comm.
        39(10)
    """
    offset = lowest_push(s.w, 1.0 * (local_ns - remote_ns), p.window)
    return offset, remote_ns + int(offset)


_SLOT = struct(n=i64, slot=i64)  # whether there was one, and the latest
_BY_SLOTS = {
    "inputs": {"ts_ns": "ts_event_ns", "x": "price"},
    "state": {"before": _SLOT, "last": f64},
    "params": {"freq_s": param(1.0, "[1e-9, 1e9]", "length of a slot of time, in seconds")},
    "let": {"slot_ns": lambda p: int(p.freq_s * 1e9)},
}


@inline
def _left_empty(w, slot):
    """Return how many slots were left empty before this one, -1 before the first; go on from it."""
    gap = max(slot - w.slot - 1, 0) if w.n > 0 else -1
    w.slot = max(slot, w.slot) if w.n > 0 else slot
    w.n = 1
    return gap


@kernel(**_BY_SLOTS, outputs={"gap_slots": i64, "filled": f64, "was_gap": "i8"})
def gap_fill(s, p, ts_ns: i64, x):
    """Slots of time that were left empty before this tick, and the value that stood in them.

    Formula: gap = slot(t) - slot(t before) - 1, not negative; filled = the value before, which is
        what a causal fill of those slots holds; was_gap 1 where gap > 0. A line instead, known only
        now: gap_fill_linear
    Units: slots, those of the input, flag
    Warm-up: the first tick is null
    Source: last observation carried forward (Dacorogna et al. 2001, An Introduction to
        High-Frequency Finance)
    """
    gap = _left_empty(s.before, ts_ns // p.slot_ns)
    before = s.last
    s.last = x
    if gap < 0:
        return nan, nan, nan
    return 1.0 * gap, before, 1.0 if gap > 0 else 0.0


@kernel(**_BY_SLOTS, outputs={"gap_slots": i64, "filled": f64, "fill_step": f64, "was_gap": "i8"})
def gap_fill_linear(s, p, ts_ns: i64, x):
    """Slots of time that were left empty before this tick, and the line that fills them. It is
    known at the tick that ends the gap and not before: whoever fills sooner looks ahead.

    Formula: gap as in gap_fill; step = (x - x before) / (gap + 1); filled = x before + step, the
        value of the first empty slot, of the j-th filled + (j - 1) step; without a gap the value
        before, and step 0
    Units: slots, those of the input, the same a slot, flag
    Warm-up: the first tick is null
    Source: linear interpolation (Dacorogna et al. 2001, An Introduction to High-Frequency Finance)
    """
    gap = _left_empty(s.before, ts_ns // p.slot_ns)
    before = s.last
    s.last = x
    if gap < 0:
        return nan, nan, nan, nan
    step = (x - before) / (gap + 1.0) if gap > 0 else 0.0
    return 1.0 * gap, before + step, step, 1.0 if gap > 0 else 0.0


@kernel(outputs={"bar_ok": "i8", "bar_reason": "i8"}, memory=1)
def bar_consistency(open, high, low, close, volume):
    """Check that a bar does not contradict itself.

    Formula: ok where low <= min(open, close) <= max(open, close) <= high and volume >= 0; reason 0
        ok, 1 low above a price, 2 high below a price, 3 negative volume (the first that applies)
    Units: flags
    Warm-up: none
    Source: Barndorff-Nielsen et al. (2009), Econometrics Journal 12(3), cleaning rules
    """
    reason = 3.0 if volume < 0.0 else 0.0
    reason = 2.0 if high < max(open, close) else reason
    reason = 1.0 if low > min(open, close) else reason
    return 1.0 if reason == 0.0 else 0.0, reason


@kernel(
    inputs={"x": "log_return"},
    state={"w": ordered("window")},
    **window(
        100,
        2,
        rules={"lower < upper": lambda p: p.lower < p.upper},
        lower=param(0.01, "[0, 1]", "quantile below which values are raised"),
        upper=param(0.99, "[0, 1]", "quantile above which values are lowered"),
    ),
    outputs="{column}_w",
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def winsorize(s, p, x):
    """Clip a value to two quantiles of its window, this tick included.

    Formula: min(max(x, q_lower), q_upper), quantiles of type 7
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: Tukey (1962), Annals of Mathematical Statistics 33(1), 1-67
    """
    ordered_push(s.w, x, p.window)
    low = ordered_quantile(s.w, p.lower)
    high = ordered_quantile(s.w, p.upper)
    return min(max(x, low), high) if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"x": "price"},
    params={"lambda_": param(0.0, doc="power; 0 is the logarithm")},
    outputs="{column}_bc",
    memory=1,
)
def boxcox(p, x):
    """Box-Cox transform of a positive value.

    Formula: (x^lambda - 1) / lambda; ln x where lambda is 0; null where x is not above 0. With the
        power fitted: boxcox_fitted
    Units: none
    Warm-up: none
    Source: Box & Cox (1964), Journal of the Royal Statistical Society B 26(2), 211-252
    """
    if x <= 0.0:
        return nan
    return log(x) if p.lambda_ == 0.0 else (power(x, p.lambda_) - 1.0) / p.lambda_


_GOLDEN = 0.6180339887498949  # (sqrt 5 - 1) / 2
_FITTED_MAX = 2.0  # |lambda| of Box & Cox's own grid
_FIT_STEPS = 40  # shrink 4 to 2e-8


@inline
def _spread_of_powers(logs, n, mean, lambda_):
    """Return the variance of (x^lambda - 1) / lambda, x over its geometric mean: the lower it is,
    the likelier lambda."""
    total = 0.0
    squares = 0.0
    for k in range(n):
        u = logs[k] - mean
        z = u if lambda_ == 0.0 else expm1(lambda_ * u) / lambda_
        total += z
        squares += z * z
    return squares / n - total / n * (total / n)


@inline
def _fitted(logs, n):
    """Return the likeliest lambda of n logarithms, by golden section."""
    mean = 0.0
    for k in range(n):
        mean += logs[k] / n
    low = -_FITTED_MAX
    high = _FITTED_MAX
    left = high - _GOLDEN * (high - low)
    right = low + _GOLDEN * (high - low)
    at_left = _spread_of_powers(logs, n, mean, left)
    at_right = _spread_of_powers(logs, n, mean, right)
    for _ in range(_FIT_STEPS):
        down = at_left < at_right
        high = right if down else high
        low = low if down else left
        new = high - _GOLDEN * (high - low) if down else low + _GOLDEN * (high - low)
        at_new = _spread_of_powers(logs, n, mean, new)
        if down:
            right = left
            at_right = at_left
            left = new
            at_left = at_new
        else:
            left = right
            at_left = at_right
            right = new
            at_right = at_new
    return 0.5 * (low + high)


@kernel(
    inputs={"x": "price"},
    state={"n": i64, "at": i64, "age": i64, "lambda_": f64, "logs": ring("window")},
    **window(
        250,
        10,
        every=param(50, "[1, 1000000]", "ticks between fits; one of 250 values takes some 150 us"),
    ),
    outputs=("{column}_bc", "{column}_lambda"),
)
def boxcox_fitted(s, p, x):
    """Box-Cox transform of a positive value, with the power that makes its window most like a
    normal.

    Formula: (x^l - 1) / l, ln x at 0; l in [-2, 2] of the largest likelihood over the last `window`
        values, this one included, fitted at the first result and every `every` ticks after
    Units: none
    Warm-up: min_periods - 1 ticks; a value that is not above 0 is null and leaves no trace
    Source: Box & Cox (1964), Journal of the Royal Statistical Society B 26(2), section 3; Kiefer
        (1953), Proceedings of the AMS 4(3), for the search
    """
    if x <= 0.0:
        return nan, nan
    s.logs[s.at] = log(x)
    s.at = s.at + 1 if s.at + 1 < p.window else 0
    s.n = s.n + 1 if s.n < p.window else s.n
    if s.n < p.min_periods:
        return nan, nan
    if s.age == 0:
        s.lambda_ = _fitted(s.logs, s.n)
    s.age = s.age + 1 if s.age + 1 < p.every else 0
    value = log(x) if s.lambda_ == 0.0 else expm1(s.lambda_ * log(x)) / s.lambda_
    return value, s.lambda_


@kernel(
    inputs={"x": "log_return"},
    params={"lambda_": param(1.0, doc="power; 1 leaves the value as it is")},
    outputs="{column}_yj",
    memory=1,
)
def yeo_johnson(p, x):
    """Yeo-Johnson transform: Box-Cox for values of either sign.

    Formula: x >= 0: ((x + 1)^l - 1) / l, ln(1 + x) at l = 0; x < 0: -((1 - x)^(2 - l) - 1) / (2 -
        l), -ln(1 - x) at l = 2
    Units: none
    Warm-up: none
    Source: Yeo & Johnson (2000), Biometrika 87(4), 954-959
    """
    power_ = p.lambda_ if x >= 0.0 else 2.0 - p.lambda_
    size = abs(x)
    value = log1p(size) if power_ == 0.0 else (power(1.0 + size, power_) - 1.0) / power_
    return value if x >= 0.0 else -value
