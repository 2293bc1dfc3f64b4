"""Guards: rules that an order, a quote or a print must pass. 1 says that it passes, or that it is
flagged."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, is_finite, kernel, nan, optional, param
from orrery_kernels.engine.order import ordered, ordered_mad, ordered_median, ordered_push
from orrery_kernels.ticks.parameters import window

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000.0
_MAD_TO_SD = (
    1.4826022185056018  # 1 / norm_inv(0.75): the MAD of a normal in its standard deviations
)


@kernel(
    inputs={"now_ns": "timestamp", "updated_ns": "last_update"},
    params={"max_age_ms": param(1000, "[0, 1000000000]", "age that is still fresh")},
    outputs={"is_stale": "i8"},
    memory=1,
)
def stale_quote_detector(p, now_ns: i64, updated_ns: i64):
    """Flag a quote that is older than the limit.

    Formula: 1 where now - last update > max_age_ms, else 0
    Units: flag; times in nanoseconds or Arrow timestamps
    Warm-up: none
    Source: SEC Rule 15c3-5 (2010), market access controls
    """
    return 1 if now_ns - updated_ns > p.max_age_ms * _NS_PER_MS else 0


@kernel(
    inputs={"reference": "mid"},
    params={"pct": param(0.05, "(0, inf)", "half-width of the band, as a share of the reference")},
    outputs={"price_check": "i8"},
    memory=1,
    scale=({"order_price": 1, "reference": 1}, 0),
)
def price_band_guard(p, order_price: optional, reference: optional):
    """Pass an order whose price lies in a band round a reference; without a reference it is
    refused.

    Formula: 1 where |price - reference| <= pct |reference|, else 0; 0 where price or reference is
        missing
    Units: flag
    Warm-up: none
    Source: SEC Rule 15c3-5 (2010); Limit Up-Limit Down plan (2012)
    """
    return (
        1 if is_finite(reference) and abs(order_price - reference) <= p.pct * abs(reference) else 0
    )


@kernel(
    inputs={"reference": "mid"},
    params={
        "pct": param(0.1, "(0, inf)", "half-width of the band, as a share of the reference"),
        "notional_max": param(1e6, "(0, inf)", "largest value of one order, quote currency"),
    },
    outputs={"fat_finger_check": "i8"},
    memory=1,
)
def fat_finger_guard(p, order_price: optional, order_size: optional, reference: optional):
    """Pass an order that is neither far from the market nor too large, whichever its side.

    Formula: 1 where |price - reference| <= pct |reference| and |price size| <= notional_max, else
        0; 0 where one of them is missing
    Units: flag
    Warm-up: none
    Source: SEC Rule 15c3-5 (2010), erroneous order controls
    """
    near = is_finite(reference) and abs(order_price - reference) <= p.pct * abs(reference)
    return 1 if near and abs(order_price * order_size) <= p.notional_max else 0


@kernel(
    state={"halted": i64},
    params={
        "pct": param(0.05, "(0, inf)", "move from the reference that halts"),
        "cool_off": param(100, "[0, 1000000000]", "ticks for which a halt stays on"),
    },
    outputs={"circuit_break": "i8"},
    memory=lambda p: p.cool_off + 1,
    scale=({"price": 1, "ref_price": 1}, 0),
)
def circuit_breaker(s, p, price, ref_price):
    """Halt when the price has moved too far from its reference, and stay halted for a while.

    Formula: 1 where |p / ref - 1| > pct now or within the last cool_off ticks, else 0
    Units: flag
    Warm-up: none
    Source: Greenwald & Stein (1991), Journal of Business 64(4), 443-462
    """
    s.halted = max(s.halted - 1, 0)
    if abs(price - ref_price) > p.pct * abs(ref_price):
        s.halted = p.cool_off + 1
    return 1 if s.halted > 0 else 0


@kernel(
    inputs={"ts_ns": "timestamp"},
    state={"n": i64, "last": i64, "tokens": f64},
    params={
        "rate": param(100.0, "(0, inf)", "orders a second"),
        "burst": param(100.0, "[1, inf)", "orders that may come at once"),
    },
    outputs={"throttle_pass": "i8"},
)
def throttle_check(s, p, ts_ns: i64):
    """Token bucket: pass an order while there is a token; a refused order takes none.

    Formula: tokens = min(burst, tokens + rate dt); pass where tokens >= 1, which takes one; the
        bucket starts full; time that runs backwards adds nothing
    Units: flag; times in nanoseconds or Arrow timestamps
    Warm-up: none
    Source: Turner (1986), IEEE Communications Magazine 24(10), 8-15
    """
    elapsed = max(ts_ns - s.last, 0) if s.n > 0 else 0
    s.tokens = p.burst if s.n == 0 else min(p.burst, s.tokens + p.rate * (elapsed / _NS_PER_S))
    s.last = max(ts_ns, s.last) if s.n > 0 else ts_ns
    s.n = 1
    if s.tokens < 1.0:
        return 0
    s.tokens -= 1.0
    return 1


@kernel(
    inputs={"x": "price"},
    state={"w": ordered("window")},
    **window(
        100,
        3,
        "ticks before this one",
        k=param(3.0, "(0, inf)", "distance from the median in robust standard deviations"),
    ),
    outputs={"outlier_flag": "i8"},
    memory=lambda p: p.window + 1,
    scale=({"x": 1}, 0),
)
def outlier_flag_mad(s, p, x):
    """Flag a value that lies far from the median of the ticks before it.

    Formula: 1 where |x - median| > k 1.4826 MAD over the last `window` ticks before this one, else
        0; where these are mostly equal (MAD 0), any other value is flagged
    Units: flag
    Warm-up: min_periods ticks
    Source: Rousseeuw & Croux (1993), JASA 88, 1273-1283; Leys et al. (2013), JESP 49(4), 764-766
    """
    ready = s.w.n >= p.min_periods
    flag = 0.0
    if ready:
        flag = 1.0 if abs(x - ordered_median(s.w)) > p.k * _MAD_TO_SD * ordered_mad(s.w) else 0.0
    ordered_push(s.w, x, p.window)
    return flag if ready else nan
