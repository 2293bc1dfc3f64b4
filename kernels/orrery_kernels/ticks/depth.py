"""Books of several levels: the flow of orders at each, and how steep the book is.

Level 1 is the best; prices and sizes of level k are the columns bid_k, ask_k, bid_size_k and
ask_size_k. The columns must be there; a level that a row does not have is null.
"""

from __future__ import annotations

from orrery_kernels.engine import inline, is_finite, kernel, nan, optional
from orrery_kernels.engine.functions import log
from orrery_kernels.ticks.microstructure import BOOK, book_push


@inline
def _level_push(b, bid, ask, bid_size, ask_size):
    """Fold a level in and return its flow, nan where it is or was not there."""
    flow = nan
    if is_finite(bid) and is_finite(ask) and is_finite(bid_size) and is_finite(ask_size):
        change = book_push(b, bid, ask, bid_size, ask_size)
        flow = change if b.n > 1 else nan
    else:
        b.n = 0
    return flow


@kernel(
    rows="quote",
    state={"one": BOOK, "two": BOOK, "three": BOOK, "four": BOOK, "five": BOOK},
    outputs=("ofi_1", "ofi_2", "ofi_3", "ofi_4", "ofi_5"),
    memory=2,
    scale=(
        {f"{side}_size_{k}": 1 for side in ("bid", "ask") for k in range(1, 6)},
        1,
    ),
)
def ofi_multilevel(
    s, bid_1, ask_1, bid_size_1, ask_size_1,
    bid_2: optional, ask_2: optional, bid_size_2: optional, ask_size_2: optional,
    bid_3: optional, ask_3: optional, bid_size_3: optional, ask_size_3: optional,
    bid_4: optional, ask_4: optional, bid_size_4: optional, ask_size_4: optional,
    bid_5: optional, ask_5: optional, bid_size_5: optional, ask_size_5: optional,
):  # fmt: skip
    """Order flow imbalance at each of the five best levels.

    Formula: e_k = 1{b >= b'} q_b - 1{b <= b'} q_b' - 1{a <= a'} q_a + 1{a >= a'} q_a' of level k, '
        = the quote before; null where level k is missing now or was then
    Units: those of size
    Warm-up: the first quote is null; a row without a second level is null
    Source: Xu, Gould & Howison (2018), Multi-level order-flow imbalance in a limit order book
    """
    one = _level_push(s.one, bid_1, ask_1, bid_size_1, ask_size_1)
    two = _level_push(s.two, bid_2, ask_2, bid_size_2, ask_size_2)
    three = _level_push(s.three, bid_3, ask_3, bid_size_3, ask_size_3)
    four = _level_push(s.four, bid_4, ask_4, bid_size_4, ask_size_4)
    five = _level_push(s.five, bid_5, ask_5, bid_size_5, ask_size_5)
    return one, two, three, four, five


@inline
def _deeper(slope, levels, volume, price, next_volume, next_price):
    """Return slope and levels with one more level; as they are where it is missing."""
    there = levels > 0.0 and is_finite(next_volume) and next_volume > 1.0
    there = there and is_finite(next_price) and next_price != price
    part = (log(next_volume) / log(volume) - 1.0) / abs(next_price / price - 1.0)
    return slope + part if there else slope, levels + 1.0 if there else levels


@inline
def _side_slope(mid, p1, p2, p3, p4, p5, q1, q2, q3, q4, q5):
    """Return the mean elasticity of one side over its levels, up to the first missing one."""
    v2 = q1 + q2
    v3 = v2 + q3
    v4 = v3 + q4
    v5 = v4 + q5
    first = log(q1) / abs(p1 / mid - 1.0)
    a, n2 = _deeper(first, 1.0, q1, p1, v2, p2)
    b, n3 = _deeper(a, 2.0 if n2 == 2.0 else 0.0, v2, p2, v3, p3)
    c, n4 = _deeper(b, 3.0 if n3 == 3.0 else 0.0, v3, p3, v4, p4)
    d, n5 = _deeper(c, 4.0 if n4 == 4.0 else 0.0, v4, p4, v5, p5)
    levels = max(max(n2, n3), max(n4, n5))
    good = q1 > 1.0 and p1 != mid
    return d / max(levels, 1.0) if good else nan


@kernel(
    rows="quote",
    outputs=("book_slope", "bid_slope", "ask_slope"),
    memory=1,
    scale=({f"{side}_{k}": 1 for side in ("bid", "ask") for k in range(1, 6)}, 0),
)
def book_slope(
    bid_1, ask_1, bid_size_1, ask_size_1,
    bid_2: optional, ask_2: optional, bid_size_2: optional, ask_size_2: optional,
    bid_3: optional, ask_3: optional, bid_size_3: optional, ask_size_3: optional,
    bid_4: optional, ask_4: optional, bid_size_4: optional, ask_size_4: optional,
    bid_5: optional, ask_5: optional, bid_size_5: optional, ask_size_5: optional,
):  # fmt: skip
    """Slope of the book: how fast size grows with distance from the mid.

    Formula: per side (1/N) [v_1/|p_1/p_0 - 1| + sum (v_(k+1)/v_k - 1)/|p_(k+1)/p_k - 1|], v_k the
        log of the size up to level k, p_0 the mid; the mean of both sides
    Units: log size per relative price
    Warm-up: none; null where the best size is not above 1 or a price is 0; a row without a second
        level is null
    Source: Naes & Skjeltorp (2006), Journal of Financial Markets 9(4), 408-432
    """
    mid = 0.5 * (bid_1 + ask_1)
    if mid == 0.0 or bid_1 == 0.0 or ask_1 == 0.0:
        return nan
    bid = _side_slope(
        mid, bid_1, bid_2, bid_3, bid_4, bid_5,
        bid_size_1, bid_size_2, bid_size_3, bid_size_4, bid_size_5,
    )  # fmt: skip
    ask = _side_slope(
        mid, ask_1, ask_2, ask_3, ask_4, ask_5,
        ask_size_1, ask_size_2, ask_size_3, ask_size_4, ask_size_5,
    )  # fmt: skip
    return 0.5 * (bid + ask), bid, ask
