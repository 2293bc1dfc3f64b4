"""Perpetuals and futures on coins: funding, basis, carry, and where positions are liquidated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orrery_kernels.engine import f64, function, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.functions import log
from orrery_kernels.engine.spec import at_least_one
from orrery_kernels.errors import ParameterError
from orrery_kernels.ticks.parameters import must_be_finite

_HOURS_PER_YEAR = 8_760.0
_OF_A_VENUE = {"spread": -1.0, "depth": 1.0, "fee": -1.0, "latency": -1.0}  # for or against it


@kernel(
    params={"funding_freq_hours": param(8.0, "(0, inf)", "hours between two payments")},
    memory=1,
    scale=({"funding_rate": 1}, 1),
)
def funding_apr(p, funding_rate):
    """Funding rate of one period as a simple rate per year.

    Formula: rate 8760 / hours
    Units: rate per year, not compounded
    Warm-up: none
    Source: He, Manela, Ross & von Wachter (2022), Fundamentals of Perpetual Futures; Shiller (1993)
    """
    return funding_rate * _HOURS_PER_YEAR / p.funding_freq_hours


@kernel(
    state={"total": f64},
    outputs=("funding_cost", "funding_cost_total"),
    scale=({"position": 1}, 1),
)
def funding_cost(s, position, price, funding_rate):
    """Funding paid by a position in this period, and so far.

    Formula: q P f, and its sum; a short with a positive rate receives, so its cost is negative
    Units: quote currency
    Warm-up: none
    Source: He, Manela, Ross & von Wachter (2022), Fundamentals of Perpetual Futures
    """
    cost = position * price * funding_rate
    s.total += cost
    return cost, s.total


@kernel(
    outputs="basis_apr",
    memory=1,
    scale=({"future_price": 1, "spot_price": 1}, 0),
)
def basis_annualized(future_price, spot_price, days):
    """Premium of a dated future over spot as a simple rate per year; a perpetual has no such date.

    Formula: (F / S - 1) 365 / T; null where a price or T is not above 0
    Units: rate per year
    Warm-up: none
    Source: Fama & French (1987), Journal of Business 60(1), 55-73
    """
    if min(min(future_price, spot_price), days) <= 0.0:
        return nan
    return (future_price / spot_price - 1.0) * 365.0 / days


@kernel(
    state={"n": i64, "last": f64},
    outputs="oi_delta",
    memory=2,
    scale=({"open_interest": 1}, 1),
    shift=({"open_interest": 1}, 0),
)
def open_interest_delta(s, open_interest):
    """Change of the open interest since the tick before.

    Formula: OI_t - OI_(t-1)
    Units: those of the input
    Warm-up: the first tick is null
    Source: Bessembinder & Seguin (1993), JFQA 28(1), 21-39
    """
    before = s.last
    n = s.n
    s.last = open_interest
    s.n = 1
    return open_interest - before if n > 0 else nan


@kernel(outputs="perp_fair", memory=1, scale=({"spot": 1}, 1))
def perp_fair_price(spot, funding_expected, basis):
    """Fair price of a perpetual from spot, expected funding of the period and basis.

    Formula: S (1 + E f + basis)
    Units: those of spot
    Warm-up: none
    Source: Ackerer, Hugonnier & Jermann (2024), Perpetual Futures Pricing
    """
    return spot * (1.0 + funding_expected + basis)


@kernel(
    params={"fees_bps": param(0.0, "[0, inf)", "cost of both legs, in and out")},
    outputs="carry_edge_bps",
    memory=1,
    scale=({"perp": 1, "spot": 1}, 0),
)
def cash_and_carry_edge(p, perp, spot, funding):
    """Edge of long spot and short perpetual: the premium sold plus the funding received.

    Formula: 1e4 ((F - S)/S + funding) - fees_bps; null where spot is not above 0
    Units: basis points over the period that the funding is for
    Warm-up: none
    Source: He, Manela, Ross & von Wachter (2022), Fundamentals of Perpetual Futures
    """
    return 1e4 * ((perp - spot) / spot + funding) - p.fees_bps if spot > 0.0 else nan


@function
def term_structure(
    prices: Sequence[float], days: Sequence[float], spot: float
) -> dict[str, np.ndarray | float | bool]:
    """Return the annualised basis of each dated future, the slope through them, and contango.

    Args:
        prices: (m,) futures prices, quote currency per unit.
        days: (m,) days to expiry, above 0.
        spot: spot price, above 0.
    Returns:
        basis_apr (m,), ln(F/S) 365 / T; slope, its least-squares change per year of tenor (nan for
        one tenor); contango, True where every future is above spot.
    Source: Fama & French (1987), Journal of Business 60(1), 55-73

    >>> term_structure([101.0, 102.0], [90.0, 180.0], 100.0)["contango"]
    True
    """
    if len(prices) != len(days) or not len(prices):
        raise ParameterError(
            f"prices and days must be of one length above 0, were {len(prices)}, {len(days)}"
        )
    if not spot > 0.0 or not all(price > 0.0 for price in prices) or not all(d > 0.0 for d in days):
        raise ParameterError(
            f"spot, prices and days must be above 0, was spot {spot}, {prices}, {days}"
        )
    years = [d / 365.0 for d in days]
    basis = [log(float(price) / spot) / t for price, t in zip(prices, years, strict=True)]
    mean_t, mean_b = sum(years) / len(years), sum(basis) / len(basis)
    spread = sum((t - mean_t) * (t - mean_t) for t in years)
    joint = sum((t - mean_t) * (b - mean_b) for t, b in zip(years, basis, strict=True))
    return {
        "basis_apr": np.array(basis),
        "slope": joint / spread if spread > 0.0 else nan,
        "contango": all(price > spot for price in prices),
    }


@function
def liquidation_density(
    entry: np.ndarray,
    leverage: np.ndarray,
    open_interest: np.ndarray,
    is_long: np.ndarray,
    bins: int = 50,
    maintenance: float = 0.005,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where positions are liquidated: edges (bins + 1,) and open interest in each bin
    (bins,).

    Formula: a long goes at P (1 - 1/L + m), a short at P (1 + 1/L - m), m the maintenance margin
    Args:
        entry: (n,) entry prices. leverage: (n,) at least 1. open_interest: (n,) weights. is_long:
        (n,) bool.
        bins: equal bins between the lowest and the highest liquidation price.
    Source: the margin identity; Soska et al. (2021), Towards Understanding Cryptocurrency
        Derivatives

    >>> liquidation_density(*map(np.array, ([100.0], [10.0], [5.0], [True])), bins=2)[1].tolist()
    [0.0, 5.0]
    """
    entry, leverage = np.asarray(entry, float), np.asarray(leverage, float)
    if len({len(a) for a in (entry, leverage, open_interest, is_long)}) > 1 or not len(entry):
        raise ParameterError(
            "entry, leverage, open_interest and is_long must be of one length above 0, were"
            f" {len(entry)}, {len(leverage)}, {len(open_interest)}, {len(is_long)}"
        )
    must_be_finite(entry=entry, leverage=leverage, open_interest=open_interest)
    bins = at_least_one("bins", bins)
    if np.any(leverage < 1.0) or np.any(entry <= 0.0):
        raise ParameterError(
            "leverage must be at least 1 and entry prices above 0,"
            f" was {leverage.min()} and {entry.min()} at least"
        )
    sign = np.where(is_long, -1.0, 1.0)
    price = entry * (1.0 + sign * (1.0 / leverage - maintenance))
    low, high = float(price.min()), float(price.max())
    width = (high - low) / bins if high > low else 1.0
    place = np.minimum(((price - low) / width).astype(np.int64), bins - 1) if high > low else None
    density = np.zeros(bins)
    np.add.at(density, place if place is not None else np.full(len(price), bins - 1), open_interest)
    return low + width * np.arange(bins + 1), density


@function
def venue_score(
    venues: Mapping[str, Mapping[str, float]], weights: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return a score for each venue, higher is better: weighted standard scores of what it offers.

    Args:
        venues: venue -> {"spread", "depth", "fee", "latency"}, one unit for all venues.
        weights: importance of each; default 1. Depth counts for a venue, the others against it.
    Source: weighted standard scores (practice)

    >>> near = {"spread": 1, "depth": 9, "fee": 1, "latency": 1}
    >>> far = {"spread": 2, "depth": 3, "fee": 1, "latency": 2}
    >>> venue_score({"A": near, "B": far})
    {'A': 3.0, 'B': -3.0}
    """
    weights = weights or {}
    names = sorted(venues)
    if not names or not weights.keys() <= _OF_A_VENUE.keys():
        raise ParameterError(
            f"there must be venues, and weights of {', '.join(_OF_A_VENUE)} only,"
            f" was {names}, {dict(weights)}"
        )
    for name in names:
        missing = sorted(_OF_A_VENUE.keys() - venues[name].keys())
        if missing:
            raise ParameterError(
                f"venue {name!r} must have {', '.join(_OF_A_VENUE)}, lacks {', '.join(missing)}"
            )
        must_be_finite(**{f"{what} of venue {name!r}": venues[name][what] for what in _OF_A_VENUE})
    scores = dict.fromkeys(names, 0.0)
    for what, sign in _OF_A_VENUE.items():
        values = [float(venues[name][what]) for name in names]
        mean = sum(values) / len(values)
        spread = sqrt(sum((v - mean) * (v - mean) for v in values) / len(values))
        for name, value in zip(names, values, strict=True):
            scores[name] += (
                sign * weights.get(what, 1.0) * ((value - mean) / spread if spread > 0.0 else 0.0)
            )
    return scores


@function
def dominance_index(caps: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Return each name's share of the whole, and the Herfindahl index of the shares.

    Formula: w_i = cap_i / sum cap; HHI = sum w_i^2, from 1/n (equal) to 1 (one name)
    Source: Herfindahl (1950); Hirschman (1945), National Power and the Structure of Foreign Trade

    >>> dominance_index({"BTC": 3.0, "ETH": 1.0})
    ({'BTC': 0.75, 'ETH': 0.25}, 0.625)
    """
    if not isinstance(caps, Mapping):
        raise ParameterError(f"caps must be name -> capitalisation, was {caps!r}")
    must_be_finite(caps=list(caps.values()))
    total = sum(caps[name] for name in sorted(caps))
    if not total > 0.0 or min(caps.values()) < 0.0:
        raise ParameterError(
            f"caps must not be negative and must sum to more than 0, was {dict(caps)}"
        )
    shares = {name: caps[name] / total for name in caps}
    return shares, sum(shares[name] * shares[name] for name in sorted(shares))
