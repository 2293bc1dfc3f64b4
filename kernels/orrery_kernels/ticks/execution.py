"""Execution: what an order cost, and how large the next piece of it should be."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param
from orrery_kernels.engine.functions import ceil, floor, log1p
from orrery_kernels.engine.windows import sums, sums_push
from orrery_kernels.ticks.parameters import window

_NS_PER_S = 1e9


@kernel(
    inputs={"ts_ns": "ts_event_ns", "price": "price"},
    state={"n": i64, "start": i64, "last": i64, "held": f64, "area": f64},
    params={
        "session_s": param(
            0.0, "[0, 1e9]", "length of a session in seconds from 1970; 0: no session"
        )
    },
    let={"session_ns": lambda p: int(p.session_s * 1e9)},
    outputs="twap",
    scale=({"price": 1}, 1),
    shift=({"price": 1}, 1),
)
def twap(s, p, ts_ns: i64, price):
    """Time-weighted average price: each price counts for as long as it stood.

    Formula: sum p_(i-1) (t_i - t_(i-1)) / (t_n - t_0) since the start of the session; the newest
        price has not stood yet; equal to the price while no time has passed; time that runs
        backwards counts 0
    Units: those of price
    Warm-up: none
    Source: Kissell & Glantz (2003), Optimal Trading Strategies
    """
    fresh = s.n == 0
    if p.session_ns > 0 and s.n > 0:
        fresh = ts_ns // p.session_ns != s.last // p.session_ns
    if fresh:
        s.n = 1
        s.start = ts_ns
        s.last = ts_ns
        s.held = price
        s.area = 0.0
        return price
    now = max(ts_ns, s.last)
    s.area += s.held * ((now - s.last) / _NS_PER_S)
    s.last = now
    s.held = price
    elapsed = (now - s.start) / _NS_PER_S
    return s.area / elapsed if elapsed > 0.0 else price


@kernel(
    rows="trade",
    state={"value": sums("window"), "volume": sums("window")},
    **window(100, 1, "trades of the symbol"),
    memory="window",
    scale=({"price": 1}, 1),
)
def rolling_vwap(s, p, price, size):
    """Volume-weighted average price of the last `window` trades.

    Formula: sum(p v) / sum(v) over the window; null where no volume has traded
    Units: those of price
    Warm-up: min_periods - 1 trades
    Source: Berkowitz, Logue & Noser (1988), Journal of Finance 43(1), 97-112
    """
    value = sums_push(s.value, price * size, p.window)
    volume = sums_push(s.volume, size, p.window)
    return value / volume if s.volume.n >= p.min_periods and volume > 0.0 else nan


@kernel(
    inputs={"market_volume": "volume"},
    state={"market": f64, "sent": f64},
    params={
        "rate": param(0.1, "(0, 1)", "share of the market's volume"),
        "child_max": param(1e18, "(0, inf)", "largest child order"),
        "parent_qty": param(1e18, "(0, inf)", "quantity to be done in all"),
    },
    outputs="child_qty",
)
def pov(s, p, market_volume):
    """Participation: the next child order that keeps to a share of the market's volume.

    Formula: min(child_max, rate sum(V) - sent, parent - sent), never negative; what the cap held
        back is caught up later
    Units: those of volume
    Warm-up: none
    Source: Kissell & Glantz (2003), Optimal Trading Strategies
    """
    s.market += abs(market_volume)
    due = min(p.rate * s.market, p.parent_qty) - s.sent
    child = max(min(due, p.child_max), 0.0)
    s.sent += child
    return child


@kernel(
    inputs={"exec_price": "exec_price"},
    state={"value": f64, "quantity": f64, "arrival": f64, "n": i64},
    params={
        "parent_qty": param(0.0, doc="quantity wanted, signed; 0: only what was filled is judged")
    },
    outputs=("implementation_shortfall_bps", "execution_cost_bps", "opportunity_cost_bps"),
    scale=({"exec_price": 1, "arrival_price": 1, "price": 1}, 0),
)
def implementation_shortfall(s, p, exec_price, qty, arrival_price, price):
    """Shortfall of an order against the price at its arrival: of the filled part, and of the rest.

    Formula: side 1e4 [share (sum p q / sum q - A)/A + (1 - share)(P_now - A)/A], share = filled /
        parent, A the arrival price of the first fill, side the sign of the order
    Units: basis points of the arrival value, positive is a cost
    Warm-up: null while nothing is filled or A is not above 0
    Source: Perold (1988), Journal of Portfolio Management 14(3), 4-9
    """
    s.arrival = arrival_price if s.n == 0 else s.arrival
    s.n = 1
    s.value += exec_price * qty
    s.quantity += qty
    if s.quantity == 0.0 or s.arrival <= 0.0:
        return nan, nan, nan
    side = 1.0 if s.quantity > 0.0 else -1.0
    share = min(abs(s.quantity / p.parent_qty), 1.0) if p.parent_qty != 0.0 else 1.0
    filled = side * 1e4 * share * (s.value / s.quantity - s.arrival) / s.arrival
    missed = side * 1e4 * (1.0 - share) * (price - s.arrival) / s.arrival
    return filled + missed, filled, missed


@kernel(
    outputs="arrival_impact_bps",
    memory=1,
    scale=({"exec_price": 1, "arrival_mid": 1}, 0),
)
def arrival_price_impact(exec_price, arrival_mid, side):
    """Distance of one fill from the mid at arrival, signed so that a cost is positive.

    Formula: side 1e4 (p - m) / m; null where the mid is not above 0
    Units: basis points
    Warm-up: none
    Source: Kissell & Glantz (2003), Optimal Trading Strategies
    """
    return side * 1e4 * (exec_price - arrival_mid) / arrival_mid if arrival_mid > 0.0 else nan


@kernel(
    outputs=("delay_bps", "market_bps", "opportunity_bps", "fees_bps", "total_bps"),
    memory=1,
)
def slippage_decomposition(decision, arrival, exec_price, close, fees, filled, qty):
    """Shortfall of a finished order by cause: waiting, trading, what was not done, and fees.

    Formula: with D the decision price, side the sign of qty, f = |filled| / |qty|, all as side 1e4
        / D: delay f (arrival - D), market f (exec - arrival), opportunity (1 - f)(close - D), fees
        f fees per unit
    Units: basis points of the decision value, positive is a cost
    Warm-up: none; null where D is not above 0 or qty is 0
    Source: Perold (1988), JPM 14(3); Wagner & Edwards (1993), Financial Analysts Journal 49(1)
    """
    if decision <= 0.0 or qty == 0.0:
        return nan, nan, nan, nan, nan
    side = 1.0 if qty > 0.0 else -1.0
    share = min(abs(filled / qty), 1.0)
    unit = side * 1e4 / decision
    delay = unit * share * (arrival - decision)
    market = unit * share * (exec_price - arrival)
    missed = unit * (1.0 - share) * (close - decision)
    cost = 1e4 / decision * share * fees
    return delay, market, missed, cost, delay + market + missed + cost


@kernel(
    inputs={"mid": "midprice"},
    params={
        "gamma": param(0.1, "(0, inf)", "risk aversion"),
        "k": param(1.5, "(0, inf)", "decay of the fill rate with distance"),
        "tick_size": param(0.01, "(0, inf)", "price step of the venue"),
    },
    outputs=("bid_quote", "ask_quote"),
    memory=1,
)
def post_only_shading(p, mid, inventory, sigma, time_left, bid, ask):
    """Quotes of a market maker, shaded by what it holds, on the grid and never crossing the book.

    Formula: r = m - q gamma sigma^2 tau; half = gamma sigma^2 tau / 2 + ln(1 + gamma/k) / gamma;
        bid = floor to a tick of r - half, at most ask - tick; ask = ceil of r + half, at least bid
        + tick
    Units: those of price; sigma in price per sqrt(time), tau in the same time
    Warm-up: none
    Source: Avellaneda & Stoikov (2008), Quantitative Finance 8(3), 217-224
    """
    risk = p.gamma * sigma * sigma * time_left
    center = mid - inventory * risk
    half = 0.5 * risk + log1p(p.gamma / p.k) / p.gamma
    buy = floor((center - half) / p.tick_size) * p.tick_size
    sell = ceil((center + half) / p.tick_size) * p.tick_size
    return min(buy, ask - p.tick_size), max(sell, bid + p.tick_size)


@kernel(
    inputs={"fill_qty": "fill_qty", "jitter": "jitter"},
    state={"left": f64, "shown": f64, "n": i64},
    params={
        "parent_qty": param(1_000.0, "(0, inf)", "quantity of the whole order"),
        "peak": param(100.0, "(0, inf)", "quantity shown at a time"),
        "jitter_share": param(0.0, "[0, 1)", "largest change of the peak, as a share of it"),
    },
    outputs="child_qty",
)
def iceberg_slicer(s, p, fill_qty, jitter):
    """Iceberg: show a peak, and a new one when it has been filled, until the parent is done.

    Formula: after each fill, where the shown part is gone: min(left, peak (1 + jitter_share u)), u
        in [-1, 1] from the column `jitter` (the lab draws no random numbers); else 0
    Units: those of quantity; the first row shows the first peak whatever its fill
    Warm-up: none
    Source: Esser & Monch (2007), Finance Research Letters 4(2), 68-81
    """
    first = s.n == 0
    s.n = 1
    s.left = p.parent_qty if first else max(s.left - fill_qty, 0.0)
    s.shown = 0.0 if first else max(s.shown - fill_qty, 0.0)
    if s.shown > 0.0:
        return 0.0
    u = min(max(jitter, -1.0), 1.0)
    s.shown = min(s.left, p.peak * (1.0 + p.jitter_share * u))
    return s.shown
