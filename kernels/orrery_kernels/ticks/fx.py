"""Foreign exchange: parity, crosses, carry, and the fix."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, is_finite, kernel, nan, optional, param
from orrery_kernels.engine.functions import expm1, log
from orrery_kernels.engine.order import ordered, ordered_median, ordered_push

_NS_PER_S = 1_000_000_000
_DAY_NS = 86_400 * _NS_PER_S


@kernel(
    params={"fees_bps": param(0.0, "[0, inf)", "cost of the three trades together")},
    outputs={"arb_edge_bps": f64, "arb_route": "i8"},
    memory=1,
)
def triangular_arbitrage(p, ab_bid, ab_ask, bc_bid, bc_ask, ac_bid, ac_ask):
    """Profit of going round three currencies, the better of the two ways, at prices one can trade
    at.

    Formula: forward A->B->C->A: 1e4 (ab_bid bc_bid / ac_ask - 1); back: 1e4 (ac_bid / (ab_ask
        bc_ask) - 1); the larger, less fees_bps; route +1 forward, -1 back, 0 where the edge is not
        above 0
    Units: basis points, flag
    Warm-up: none; null where a price is not above 0
    Source: Fenn, Howison, McDonald, Williams & Johnson (2009), IJTAF 12(8), 1105-1123
    """
    lowest = min(min(min(ab_bid, ab_ask), min(bc_bid, bc_ask)), min(ac_bid, ac_ask))
    if lowest <= 0.0:
        return nan, nan
    there = 1e4 * (ab_bid * bc_bid / ac_ask - 1.0)
    back = 1e4 * (ac_bid / (ab_ask * bc_ask) - 1.0)
    edge = max(there, back) - p.fees_bps
    way = 1.0 if there >= back else -1.0
    return edge, way if edge > 0.0 else 0.0


@kernel(
    inputs={"years": "years"},
    memory=1,
    scale=({"spot": 1}, 1),
)
def forward_points(spot, r_dom, r_for, years):
    """Forward less spot by covered interest parity, continuously compounded rates, any tenor a row.

    Formula: S (exp((r_dom - r_for) T) - 1)
    Units: those of spot (multiply by 1e4 for pips of most pairs)
    Warm-up: none
    Source: Keynes (1923), A Tract on Monetary Reform, chapter 3
    """
    return spot * expm1((r_dom - r_for) * years)


@kernel(memory=1, scale=({"spot": 1, "forward": 1}, 0))
def cip_basis(spot, forward, r_dom, r_for, years):
    """Deviation from covered interest parity: what the forward pays beyond the two rates.

    Formula: ln(F / S) / T - (r_dom - r_for); null where a price or T is not above 0
    Units: rate per year, continuously compounded
    Warm-up: none
    Source: Du, Tepper & Verdelhan (2018), Journal of Finance 73(3), 915-957
    """
    if min(min(spot, forward), years) <= 0.0:
        return nan
    return log(forward / spot) / years - (r_dom - r_for)


@kernel(
    params={"risk_aversion": param(0.0, "[0, inf)", "rate given up per unit of volatility")},
    memory=1,
    scale=({"r_dom": 1, "r_for": 1, "volatility": 1}, 1),
)
def carry_signal(p, r_dom, r_for, volatility):
    """Carry of a pair, less a charge for its volatility.

    Formula: (r_dom - r_for) - k sigma; k = 0 gives the plain carry
    Units: rate per year
    Warm-up: none
    Source: Lustig, Roussanov & Verdelhan (2011), RFS 24(11); Koijen et al. (2018), JFE 127(2)
    """
    return (r_dom - r_for) - p.risk_aversion * volatility


@kernel(
    inputs={"rate": "quote_to_account"},
    params={
        "lot": param(100_000.0, "(0, inf)", "units of one lot"),
        "pip": param(0.0001, "(0, inf)", "size of one pip; 0.01 for pairs against the yen"),
    },
    memory=1,
    scale=({"rate": 1}, 1),
)
def pip_value(p, rate):
    """Value of one pip of one lot in the currency of the account.

    Formula: lot pip rate, rate = account currency per unit of quote currency
    Units: account currency
    Warm-up: none
    Source: market convention
    """
    return p.lot * p.pip * rate


@kernel(outputs=("cross_bid", "cross_ask"), memory=1)
def fx_cross_price(ab_bid, ab_ask, bc_bid, bc_ask):
    """Price of A in C made of A in B and B in C, at sides one can trade at.

    Formula: bid = ab_bid bc_bid; ask = ab_ask bc_ask
    Units: C per A
    Warm-up: none
    Source: market convention
    """
    return ab_bid * bc_bid, ab_ask * bc_ask


@kernel(
    inputs={"ts_ns": "ts_event_ns"},
    state={"day": i64, "second": i64, "last": f64, "got": i64, "w": ordered("window_s")},
    params={
        "fix_utc_s": param(
            57_600, "[0, 86399]", "seconds after midnight UTC of the fix; 57600 is 16:00"
        ),
        "window_s": param(300, "[2, 3600]", "length of the window, centred on the fix, in seconds"),
    },
    outputs={"in_window": "i8", "fix_price": f64},
)
def wmr_schedule(s, p, ts_ns: i64, price):
    """Benchmark fix: the median of one price a second in the window round the fixing time.

    Formula: the last price of each second of [fix - w/2, fix + w/2) is sampled; fix_price is the
        median of the day's samples so far, known from the first second that has ended; the fix is
        its value at the end of the window. London is UTC in winter and UTC + 1 in summer: give
        fix_utc_s, or use wmr_london
    Units: flag, those of price
    Warm-up: null until a second of the window has ended; days before 1970 do not count
    Source: Financial Stability Board (2014), Foreign Exchange Benchmarks; Evans (2018), Review of
        Finance 22(4)
    """
    day = ts_ns // _DAY_NS
    second = (ts_ns - day * _DAY_NS) // _NS_PER_S
    start = p.fix_utc_s - p.window_s // 2
    inside = second >= start and second < start + p.window_s
    if day != s.day:
        s.w.n = 0
        s.w.at = 0
        s.got = 0
        s.day = day
    if s.got > 0 and second > s.second:
        ordered_push(s.w, s.last, p.window_s)
        s.got = 0
    if inside:
        s.last = price
        s.second = second
        s.got = 1
    return 1.0 if inside else 0.0, ordered_median(s.w) if s.w.n > 0 else nan


_DAYS_TO_1970 = 719_468  # since 1 March of year 0, where the years of the rule below begin
_MARCH_31, _OCTOBER_31 = 30, 244  # days after 1 March


@inline
def _last_sunday(year, day_of_year):
    """Return the last Sunday up to a day, counted from 1 March, in days since 1970."""
    last = 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - _DAYS_TO_1970
    return last - (last + 4) % 7  # 1 January 1970 was a Thursday


@inline
def _london_ns(ts_ns):
    """Return a time by London's clock: an hour on from 01:00 UTC of the last Sunday in March to
    that in October, the rule since 1996."""
    year = 1970 + 400 * (ts_ns // _DAY_NS) // 146_097  # a day wrong at New Year, when none matters
    hour = 3_600 * _NS_PER_S
    begin = _last_sunday(year, _MARCH_31) * _DAY_NS + hour
    end = _last_sunday(year, _OCTOBER_31) * _DAY_NS + hour
    return ts_ns + hour if ts_ns >= begin and ts_ns < end else ts_ns


@kernel(
    inputs={"ts_ns": "ts_event_ns"},
    state={"day": i64, "second": i64, "bid": f64, "ask": f64, "price": f64, "quoted": i64,
           "traded": i64, "got": i64, "bids": ordered("window_s"), "asks": ordered("window_s")},
    params={
        "fix_s": param(57_600, "[0, 86399]", "seconds after midnight in London; 57600 is 16:00"),
        "window_s": param(300, "[2, 3600]", "length of the window, centred on the fix, in seconds"),
    },
    outputs={"in_window": "i8", "fix_bid": f64, "fix_ask": f64, "fix_price": f64},
)  # fmt: skip
def wmr_london(s, p, ts_ns: i64, price: optional, bid: optional, ask: optional):
    """Benchmark fix by London's clock, of trades and quotes as rows of one stream: the medians of
    one bid and one ask a second.

    Formula: each second of [fix - w/2, fix + w/2) in which something came is sampled: its last
        trade less and plus half the spread of the last quote, else its last quote; fix_bid and
        fix_ask are the medians of the day's samples so far, fix_price their middle, known from the
        first second that has ended; the fix is their value at the end of the window
    Units: flag, those of price
    Warm-up: null until a second of the window has ended; days before 1970 do not count, and summer
        time is that of the rule since 1996
    Source: Financial Stability Board (2014), Foreign Exchange Benchmarks; Evans (2018), Review of
        Finance 22(4)
    """
    local = _london_ns(ts_ns)
    day = local // _DAY_NS
    second = (local - day * _DAY_NS) // _NS_PER_S
    start = p.fix_s - p.window_s // 2
    inside = second >= start and second < start + p.window_s
    if day != s.day:
        s.bids.n = 0
        s.bids.at = 0
        s.asks.n = 0
        s.asks.at = 0
        s.got = 0
        s.quoted = 0
        s.day = day
    if s.got > 0 and second > s.second:
        half = 0.5 * (s.ask - s.bid) if s.quoted > 0 else 0.0
        ordered_push(s.bids, s.price - half if s.traded > 0 else s.bid, p.window_s)
        ordered_push(s.asks, s.price + half if s.traded > 0 else s.ask, p.window_s)
        s.got = 0
        s.traded = 0
    if is_finite(bid) and is_finite(ask):
        s.bid = bid
        s.ask = ask
        s.quoted = 1
        s.got = 1 if inside else s.got
    if is_finite(price) and inside:
        s.price = price
        s.traded = 1
        s.got = 1
    s.second = second if inside else s.second
    if s.bids.n == 0:
        return 1.0 if inside else 0.0, nan, nan, nan
    low = ordered_median(s.bids)
    high = ordered_median(s.asks)
    return 1.0 if inside else 0.0, low, high, 0.5 * (low + high)


@kernel(
    inputs={"exec_price": "exec_price"},
    state={"value": f64, "quantity": f64},
    outputs="fix_impact_bps",
    scale=({"exec_price": 1, "fix_price": 1}, 0),
)
def fix_impact(s, exec_price, qty, fix_price):
    """How far the average fill is from the fix, as a cost.

    Formula: side 1e4 (sum p q / sum q - fix) / fix over the fills so far; side = sign of sum q
    Units: basis points, positive is a cost
    Warm-up: null while the position is flat or fix_price is not above 0
    Source: Evans (2018), Review of Finance 22(4), 1295-1325
    """
    s.value += exec_price * qty
    s.quantity += qty
    if s.quantity == 0.0 or fix_price <= 0.0:
        return nan
    side = 1.0 if s.quantity > 0.0 else -1.0
    return side * 1e4 * (s.value / s.quantity - fix_price) / fix_price


@kernel(
    state={"n": i64, "position": f64, "price": f64, "rate": f64},
    outputs=("pnl_price", "pnl_fx", "pnl_total"),
    memory=2,
    scale=({"position": 1}, 1),
)
def pnl_fx(s, position, price, fx_rate):
    """Profit of a foreign position since the tick before, split into price and currency.

    Formula: price: q dP X_before; fx: q P_now dX (the cross term belongs to the currency); total is
        q (P X - P_before X_before), q the position held over the step
    Units: home currency
    Warm-up: the first tick is null
    Source: attribution identity; Karnosky & Singer (1994), Global Asset Management and Performance
        Attribution
    """
    held = s.position
    of_price = held * (price - s.price) * s.rate
    of_rate = held * price * (fx_rate - s.rate)
    first = s.n == 0
    s.n = 1
    s.position = position
    s.price = price
    s.rate = fx_rate
    if first:
        return nan, nan, nan
    return of_price, of_rate, of_price + of_rate
