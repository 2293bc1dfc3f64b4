"""Bars from trades: by time, by volume, by value, by the imbalance of their signs.

A bar comes out on the row of the trade that closes it (by time: of the first trade after it); all
other rows are null, and `drop_null` leaves the bars. `bars_closed` is 1, or more where one trade
fills several bars: those after the first have this trade's price throughout.
"""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, struct
from orrery_kernels.engine.functions import floor

BAR = struct(n=i64, open=f64, high=f64, low=f64, close=f64, volume=f64, value=f64)
_BAR_OUTPUTS = {
    "bar_open": f64, "bar_high": f64, "bar_low": f64, "bar_close": f64, "bar_volume": f64,
    "bar_vwap": f64, "bar_trades": "i32",
}  # fmt: skip
_CLOSED = {**_BAR_OUTPUTS, "bars_closed": "i32"}


@inline
def bar_add(b, price, size):
    """Fold a trade, or a part of it, into the bar."""
    b.open = price if b.n == 0 else b.open
    b.high = price if b.n == 0 else max(b.high, price)
    b.low = price if b.n == 0 else min(b.low, price)
    b.close = price
    b.volume = size if b.n == 0 else b.volume + size
    b.value = price * size if b.n == 0 else b.value + price * size
    b.n += 1


@inline
def bar_vwap(b):
    return b.value / b.volume if b.volume > 0.0 else b.close


@inline
def _fill(b, filled, price, size, measure, limit):
    """Fold a trade of this measure into bars of `limit`, `filled` of the open one being there.

    Return what is filled then, how many bars closed, and the first of them.
    """
    closed = 0
    o = nan
    h = nan
    low = nan
    c = nan
    v = nan
    w = nan
    n = 0
    left = filled + measure
    if left < limit:
        bar_add(b, price, size)
    else:
        unit = size / measure
        bar_add(b, price, (limit - filled) * unit)
        o = b.open
        h = b.high
        low = b.low
        c = b.close
        v = b.volume
        w = bar_vwap(b)
        n = b.n
        closed = int(floor(left / limit))
        left = max(left - limit * closed, 0.0)
        b.n = 0
        if left > 0.0:
            bar_add(b, price, left * unit)
    return left, closed, o, h, low, c, v, w, n


@kernel(
    rows="trade",
    inputs={"price": "price"},
    state={"b": BAR, "filled": f64},
    params={"threshold": param(1_000.0, "(0, inf)", "volume of a bar")},
    outputs=_CLOSED,
)
def volume_bars(s, p, price, size):
    """Bars of equal volume; a trade that overflows one is split.

    Formula: a bar closes each time the volume since the last one reaches `threshold`
    Units: those of price and size
    Warm-up: null but on rows that close a bar; a trade of size 0 or below does not enter
    Source: Clark (1973), Econometrica 41(1); Lopez de Prado (2018), chapter 2
    """
    if size <= 0.0:
        return nan
    s.filled, closed, o, h, low, c, v, w, n = _fill(s.b, s.filled, price, size, size, p.threshold)
    if closed == 0:
        return nan
    return o, h, low, c, v, w, n, closed


@kernel(
    rows="trade",
    inputs={"price": "price"},
    state={"b": BAR, "filled": f64},
    params={"threshold": param(100_000.0, "(0, inf)", "value of a bar, in quote currency")},
    outputs=_CLOSED,
)
def dollar_bars(s, p, price, size):
    """Bars of equal traded value; a trade that overflows one is split.

    Formula: a bar closes each time the sum of p v since the last one reaches `threshold`
    Units: those of price and size
    Warm-up: null but on rows that close a bar; a trade without value above 0 does not enter
    Source: Ane & Geman (2000), Journal of Finance 55(5); Lopez de Prado (2018), chapter 2
    """
    value = price * size
    if size <= 0.0 or value <= 0.0:
        return nan
    s.filled, closed, o, h, low, c, v, w, n = _fill(s.b, s.filled, price, size, value, p.threshold)
    if closed == 0:
        return nan
    return o, h, low, c, v, w, n, closed


@kernel(
    rows="trade",
    inputs={"price": "price"},
    state={
        "b": BAR, "bars": i64, "last": f64, "sign": f64, "imbalance": f64, "length": f64,
        "lean": f64,
    },
    params={
        "expected_ticks": param(100, "[2, 1000000]", "trades in the first bar"),
        "alpha": param(0.1, "(0, 1]", "weight of the newest bar in its expected length"),
        "alpha_sign": param(0.01, "(0, 1]", "weight of the newest sign in the expected lean"),
        "lean_min": param(0.05, "(0, 1]", "smallest expected lean, so that balance has bars"),
    },
    outputs={**_BAR_OUTPUTS, "bar_imbalance": f64},
)  # fmt: skip
def tick_imbalance_bars(s, p, price, size):
    """Bars that close when the signs of trades lean further to one side than was to be expected.

    Formula: b_t the sign of the last change of price; the bar closes where |sum b| >= E[T] |E[b]|,
        E[T] the exponential mean of past lengths, E[b] of signs; the first bar has `expected_ticks`
    Units: those of price and size; imbalance in trades
    Warm-up: null but on rows that close a bar
    Source: Lopez de Prado (2018), Advances in Financial Machine Learning, section 2.3.2.1
    """
    moved = price - s.last if s.b.n + s.bars > 0 else 0.0
    s.last = price
    s.sign = 1.0 if moved > 0.0 else -1.0 if moved < 0.0 else s.sign
    s.imbalance += s.sign
    s.lean += p.alpha_sign * (s.sign - s.lean)
    bar_add(s.b, price, max(size, 0.0))
    n = s.b.n
    expected = s.length * max(abs(s.lean), p.lean_min)
    full = n >= p.expected_ticks if s.bars == 0 else abs(s.imbalance) >= expected
    if not full:
        return nan
    theta = s.imbalance
    s.length = 1.0 * n if s.bars == 0 else s.length + p.alpha * (n - s.length)
    s.lean = theta / n if s.bars == 0 else s.lean
    s.bars += 1
    s.imbalance = 0.0
    s.b.n = 0
    return s.b.open, s.b.high, s.b.low, price, s.b.volume, bar_vwap(s.b), n, theta


@kernel(
    rows="trade",
    inputs={"ts_ns": "ts_event_ns", "price": "price"},
    state={"b": BAR, "number": i64},
    params={"freq_s": param(60.0, "[0.000001, 1e9]", "length of a bar in seconds")},
    let={"freq_ns": lambda p: int(p.freq_s * 1e9)},
    outputs={"bar_number": i64, **_BAR_OUTPUTS, "is_late": "i8"},
)
def resample_ohlc(s, p, ts_ns: i64, price, size):
    """Bars of equal time, each out on the first trade after it, so that none is seen too early.

    Formula: bar k holds the trades of [k freq, (k + 1) freq) since 1970; a bar without trades does
        not come out; a trade of a bar that has closed is late and enters none
    Units: those of price and size; bar_number times freq_s is the bar's begin in seconds
    Warm-up: null but on rows that close a bar; is_late is 1 on late rows, else 0
    Source: definition
    """
    number = ts_ns // p.freq_ns
    fresh = s.b.n == 0
    if not fresh and number < s.number:
        return nan, nan, nan, nan, nan, nan, nan, nan, 1.0
    closes = not fresh and number > s.number
    k = 1.0 * s.number if closes else nan
    o = s.b.open if closes else nan
    h = s.b.high if closes else nan
    low = s.b.low if closes else nan
    c = s.b.close if closes else nan
    v = s.b.volume if closes else nan
    w = bar_vwap(s.b) if closes else nan
    n = 1.0 * s.b.n if closes else nan
    if closes:
        s.b.n = 0
    s.number = number
    bar_add(s.b, price, size)
    return k, o, h, low, c, v, w, n, 0.0
