"""Trades: volume-weighted prices, and the quotes they met."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, is_finite, kernel, nan, optional, param, ring


@kernel(
    rows="trade",
    state={"notional": f64, "volume": f64},
    scale=({"price": 1}, 1),
)
def vwap(s, price, size):
    """Volume-weighted average price since the symbol's first trade.

    Formula: sum(p v) / sum(v)
    Units: those of price
    Warm-up: null until some volume has traded
    Source: Berkowitz, Logue & Noser (1988), Journal of Finance 43(1), 97-112
    """
    s.notional += price * size
    s.volume += size
    return s.notional / s.volume if s.volume > 0.0 else nan


@kernel(
    inputs={"ts_ns": "ts_event_ns"},
    state={
        "n": i64,
        "at": i64,
        "ts": ring("depth", i64),
        "bid": ring("depth"),
        "ask": ring("depth"),
    },
    params={
        "lag_ms": param(0.0, "[0, 1e12]", "how much older than the trade a quote must be"),
        "tolerance_ms": param(60_000.0, "(0, 1e12]", "oldest quote that counts"),
        "depth": param(16, "[1, 10000]", "quotes remembered"),
    },
    let={
        "lag_ns": lambda p: int(p.lag_ms * 1e6),
        "tolerance_ns": lambda p: int(p.tolerance_ms * 1e6),
    },
    outputs={"matched_bid": f64, "matched_ask": f64, "quote_age_ns": i64},
)
def trade_quote_match(s, p, ts_ns: i64, price: optional, bid: optional, ask: optional):
    """The quote a trade met: trades and quotes as rows of one stream, in the order they came.

    Formula: the newest quote of the last `depth` with t_quote <= t_trade - lag, if within
        tolerance; a row that is a quote and a trade meets itself where there is no lag
    Units: those of price; nanoseconds
    Warm-up: quotes are null, and trades that no quote fits
    Source: Lee & Ready (1991), Journal of Finance 46(2); Holden & Jacobsen (2014), JF 69(4)
    """
    if is_finite(bid) and is_finite(ask):
        s.ts[s.at] = ts_ns
        s.bid[s.at] = bid
        s.ask[s.at] = ask
        s.at = s.at + 1 if s.at + 1 < p.depth else 0
        s.n = s.n + 1 if s.n < p.depth else s.n
    if not is_finite(price):
        return nan
    found = -1
    for k in range(s.n):
        i = s.at - 1 - k
        i = i + p.depth if i < 0 else i
        if s.ts[i] <= ts_ns - p.lag_ns:
            found = i
            break
    place = max(found, 0)
    age = ts_ns - s.ts[place]
    if found < 0 or age > p.tolerance_ns:
        return nan
    return s.bid[place], s.ask[place], 1.0 * age
