"""Quotes: the middle, the spread, and what moves them."""

from __future__ import annotations

from orrery_kernels.engine import (
    f64,
    i64,
    inline,
    is_finite,
    kernel,
    nan,
    optional,
    param,
    ring,
    sqrt,
    struct,
)
from orrery_kernels.engine.normal import norm_cdf
from orrery_kernels.engine.windows import (
    moments,
    moments_push,
    moments_variance,
    rolling,
    rolling_push,
    sums,
    sums_push,
)
from orrery_kernels.ticks.parameters import window


@kernel(rows="quote", memory=1, scale=({"bid": 1, "ask": 1}, 1), shift=({"bid": 1, "ask": 1}, 1))
def midprice(bid, ask):
    """Middle of the best bid and ask.

    Formula: (bid + ask) / 2
    Units: those of price
    Warm-up: none
    Source: definition
    """
    return (bid + ask) / 2.0


@kernel(rows="quote", memory=1, scale=({"bid": 1, "ask": 1}, 1))
def microprice(bid, ask, bid_size, ask_size):
    """Weighted mid: the mid leaning to the side with less size.

    Formula: (bid q_ask + ask q_bid) / (q_bid + q_ask); null where both sizes are 0
    Units: those of price
    Warm-up: none
    Source: Gatheral & Oomen (2010), Finance and Stochastics 14, 249-283 (not Stoikov's, see
        microprice_stoikov)
    """
    depth = bid_size + ask_size
    return (bid * ask_size + ask * bid_size) / depth if depth > 0.0 else nan


@kernel(rows="quote", memory=1, scale=({"bid": 1, "ask": 1}, 1), shift=({"bid": 1, "ask": 1}, 0))
def quoted_spread(bid, ask):
    """Distance between the best ask and bid; negative while the book is crossed.

    Formula: ask - bid
    Units: those of price
    Warm-up: none
    Source: Demsetz (1968), Quarterly Journal of Economics 82(1), 33-53
    """
    return ask - bid


# The best bid and ask of the quote before; n: quotes seen, at most 2.
BOOK = struct(n=i64, bid=f64, ask=f64, bid_size=f64, ask_size=f64)


@inline
def book_push(b, bid, ask, bid_size, ask_size):
    """Fold a quote in; return what its change adds to demand less supply, once b.n == 2."""
    demand = (bid_size if bid >= b.bid else 0.0) - (b.bid_size if bid <= b.bid else 0.0)
    supply = (ask_size if ask <= b.ask else 0.0) - (b.ask_size if ask >= b.ask else 0.0)
    b.n = b.n + 1 if b.n < 2 else b.n
    b.bid = bid
    b.ask = ask
    b.bid_size = bid_size
    b.ask_size = ask_size
    return demand - supply


@kernel(
    rows="quote",
    state={"b": BOOK},
    memory=2,
    scale=({"bid_size": 1, "ask_size": 1}, 1),
)
def ofi(s, bid, ask, bid_size, ask_size):
    """Order flow imbalance: what one change of the book adds to demand less supply.

    Formula: e = 1{b >= b'} q_b - 1{b <= b'} q_b' - 1{a <= a'} q_a + 1{a >= a'} q_a', ' = the quote
        before
    Units: those of size
    Warm-up: the first quote is null
    Source: Cont, Kukanov & Stoikov (2014), Journal of Financial Econometrics 12(1), 47-88
    """
    flow = book_push(s.b, bid, ask, bid_size, ask_size)
    return flow if s.b.n > 1 else nan


@kernel(rows="quote", memory=1, scale=({"bid": 1, "ask": 1}, 0))
def spread_bps(bid, ask):
    """Quoted spread in basis points of the mid; negative while the book is crossed.

    Formula: 1e4 (ask - bid) / mid; null where the mid is not above 0
    Units: basis points
    Warm-up: none
    Source: Demsetz (1968), Quarterly Journal of Economics 82(1), 33-53
    """
    mid = 0.5 * (bid + ask)
    return 1e4 * (ask - bid) / mid if mid > 0.0 else nan


@kernel(
    inputs={"exec_price": "price"},
    memory=1,
    scale=({"exec_price": 1, "midprice": 1}, 1),
    shift=({"exec_price": 1, "midprice": 1}, 0),
)
def effective_spread(exec_price, midprice):
    """Effective spread: twice the distance of a trade from the mid it met.

    Formula: 2 |p - m|
    Units: those of price
    Warm-up: none
    Source: Blume & Goldstein (1992); Bessembinder (2003), Journal of Financial Markets 6(3),
        233-257
    """
    return 2.0 * abs(exec_price - midprice)


@kernel(rows="quote", memory=1, scale=({"bid_size": 1, "ask_size": 1}, 0))
def l1_imbalance(bid_size, ask_size):
    """Imbalance of the best level: how much more is bid than offered.

    Formula: (q_bid - q_ask) / (q_bid + q_ask); null where both sizes are 0
    Units: -1 to 1
    Warm-up: none
    Source: Cao, Hansch & Wang (2009), Journal of Futures Markets 29(1); Gould & Bonart (2016)
    """
    depth = bid_size + ask_size
    return (bid_size - ask_size) / depth if depth > 0.0 else nan


@kernel(rows="quote", memory=1, scale=({"bid_size": 1, "ask_size": 1}, 0))
def book_imbalance(bid_size, ask_size):
    """Share of the displayed size that is bid.

    Formula: q_bid / (q_bid + q_ask); null where both sizes are 0
    Units: 0 to 1
    Warm-up: none
    Source: Gould & Bonart (2016), Market Microstructure and Liquidity 2(2)
    """
    depth = bid_size + ask_size
    return bid_size / depth if depth > 0.0 else nan


@kernel(
    rows="quote",
    state={"b": BOOK, "w": sums("window")},
    **window(100, 1, "changes of the book"),
    memory=lambda p: p.window + 1,
    scale=({"bid_size": 1, "ask_size": 1}, 1),
)
def ofi_sum(s, p, bid, ask, bid_size, ask_size):
    """Order flow imbalance added up over the last `window` changes of the book.

    Formula: sum of e_t (see ofi)
    Units: those of size
    Warm-up: min_periods quotes
    Source: Cont, Kukanov & Stoikov (2014), Journal of Financial Econometrics 12(1), 47-88
    """
    flow = book_push(s.b, bid, ask, bid_size, ask_size)
    if s.b.n < 2:
        return nan
    total = sums_push(s.w, flow, p.window)
    return total if s.w.n >= p.min_periods else nan


@kernel(
    rows="trade",
    inputs={"volume": "volume"},
    state={"n": i64, "at": i64, "buys": f64, "sells": f64, "total": f64, "ring": ring("buckets")},
    params={
        "bucket_volume": param(100_000.0, "(0, inf)", "volume of one bucket"),
        "buckets": param(50, "[1, 100000]", "buckets averaged"),
    },
)
def vpin(s, p, volume, side):
    """Volume-synchronised probability of informed trading, from signed trades.

    Formula: mean over the last `buckets` closed buckets of |V_buy - V_sell| / V; a trade that
        overflows a bucket is split; a trade of unknown side counts half to each
    Units: 0 to 1
    Warm-up: null until `buckets` buckets have closed
    Source: Easley, Lopez de Prado & O'Hara (2012), Review of Financial Studies 25(5), 1457-1493
    """
    left = abs(volume)
    lean = 0.5 * (1.0 + min(max(side, -1.0), 1.0))
    whole = left / p.bucket_volume
    if whole > p.buckets + 1.0:  # more than every bucket remembered: only the last ones matter
        left = left - p.bucket_volume * (1.0 * int(whole - p.buckets - 1.0))
    for _ in range(p.buckets + 3):
        room = p.bucket_volume - s.buys - s.sells
        part = min(left, room)
        s.buys += part * lean
        s.sells += part * (1.0 - lean)
        left -= part
        if part < room:
            break
        gap = abs(s.buys - s.sells) / p.bucket_volume
        s.ring[s.at] = gap
        s.at = s.at + 1 if s.at + 1 < p.buckets else 0
        s.n = s.n + 1 if s.n < p.buckets else s.n
        s.buys = 0.0
        s.sells = 0.0
        total = 0.0
        for k in range(s.n):
            total += s.ring[k]
        s.total = total
    return s.total / p.buckets if s.n == p.buckets else nan


@kernel(
    state={"mid": f64, "quoted": i64, "traded": i64, "last": f64, "sign": f64},
    outputs={"trade_sign": "i8"},
    scale=({"price": 1, "bid": 1, "ask": 1}, 0),
    shift=({"price": 1, "bid": 1, "ask": 1}, 0),
)
def trade_sign(s, price: optional, bid: optional, ask: optional):
    """Sign of a trade: which side of the last mid it was on, at the mid the last price change.

    Formula: +1 where p > mid, -1 where p < mid, else the sign of the last non-zero change of price;
        the mid is that of the same row or, where trades and quotes are rows of one stream, of the
        last quote
    Units: +1 buyer, -1 seller, 0 unknown
    Warm-up: quotes are null; a trade before any quote or change is 0
    Source: Lee & Ready (1991), Journal of Finance 46(2), 733-746
    """
    if is_finite(bid) and is_finite(ask):
        s.mid = 0.5 * (bid + ask)
        s.quoted = 1
    if not is_finite(price):
        return nan
    if s.traded > 0 and price != s.last:
        s.sign = 1.0 if price > s.last else -1.0
    s.last = price
    s.traded = 1
    if s.quoted > 0 and price != s.mid:
        return 1.0 if price > s.mid else -1.0
    return s.sign


@kernel(
    rows="trade",
    inputs={"price": "price"},
    state={"n": i64, "last": f64, "w": moments("window")},
    params={
        "window": param(50, "[2, 1000000]", "price changes from which their deviation is taken")
    },
    outputs=("buy_volume", "sell_volume"),
    scale=({"volume": 1}, 1),
)
def bulk_volume_class(s, p, price, volume):
    """Bulk classification: split a volume by where the price change lies in its distribution.

    Formula: buy = v Phi((p_t - p_(t-1)) / sd of the last `window` changes), sell = v - buy; half
        and half while the price does not change at all
    Units: those of volume
    Warm-up: two changes
    Source: Easley, Lopez de Prado & O'Hara (2012), Review of Financial Studies 25(5), 1457-1493
    """
    move = price - s.last
    n = s.n
    s.last = price
    s.n = 1
    if n == 0:
        return nan, nan
    moments_push(s.w, move, p.window)
    if s.w.n < 2:
        return nan, nan
    sd = sqrt(moments_variance(s.w, 1))
    buys = volume * (norm_cdf(move / sd) if sd > 0.0 else 0.5)
    return buys, volume - buys


@kernel(
    rows="any",
    state={"price": rolling("horizon"), "side": rolling("horizon")},
    params={"horizon": param(5, "[1, 1000000]", "ticks after the trade at which the mid is taken")},
    memory=lambda p: p.horizon + 1,
    scale=({"price": 1, "midprice": 1}, 1),
    shift=({"price": 1, "midprice": 1}, 0),
)
def realized_spread(s, p, price, side, midprice):
    """Realized spread of the trade `horizon` ticks ago: what its maker keeps once the price has
    moved.

    Formula: 2 d_(t-h) (p_(t-h) - m_t), d the side; known h ticks after the trade it belongs to
    Units: those of price
    Warm-up: horizon ticks
    Source: Huang & Stoll (1996), Journal of Financial Economics 41(3), 313-357
    """
    full = s.price.n == p.horizon
    paid = rolling_push(s.price, price, p.horizon)
    sign = rolling_push(s.side, side, p.horizon)
    return 2.0 * sign * (paid - midprice) if full else nan
