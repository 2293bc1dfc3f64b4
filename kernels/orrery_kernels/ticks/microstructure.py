"""Quotes: the middle, the spread, and what moves them."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan


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
    Source: Gatheral & Oomen (2010), Finance and Stochastics 14, 249-283 (not Stoikov's, see microprice_stoikov)
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


@kernel(
    rows="quote",
    state={"n": i64, "bid": f64, "ask": f64, "bid_size": f64, "ask_size": f64},
    memory=2,
    scale=({"bid_size": 1, "ask_size": 1}, 1),
)
def ofi(s, bid, ask, bid_size, ask_size):
    """Order flow imbalance: what one change of the book adds to demand less supply.

    Formula: e = 1{b >= b'} q_b - 1{b <= b'} q_b' - 1{a <= a'} q_a + 1{a >= a'} q_a', ' = the quote before
    Units: those of size
    Warm-up: the first quote is null
    Source: Cont, Kukanov & Stoikov (2014), Journal of Financial Econometrics 12(1), 47-88
    """
    demand = (bid_size if bid >= s.bid else 0.0) - (s.bid_size if bid <= s.bid else 0.0)
    supply = (ask_size if ask <= s.ask else 0.0) - (s.ask_size if ask >= s.ask else 0.0)
    n = s.n
    s.n = 1
    s.bid = bid
    s.ask = ask
    s.bid_size = bid_size
    s.ask_size = ask_size
    return demand - supply if n > 0 else nan
