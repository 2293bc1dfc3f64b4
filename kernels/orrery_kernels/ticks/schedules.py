"""Schedules and routes: how to cut an order in time and over venues, and what that should cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orrery_kernels.engine import function, sqrt
from orrery_kernels.engine.functions import exp, log
from orrery_kernels.engine.spec import at_least_one
from orrery_kernels.errors import ParameterError
from orrery_kernels.ticks.parameters import must_be_finite

SLICES_MAX = 1_000_000


def _positive(**values: float) -> None:
    must_be_finite(**values)
    for name, value in values.items():
        if not value > 0.0:
            raise ParameterError(f"{name} must be above 0, was {value}")


def _sinh_ratio(a: float, b: float) -> float:
    """Return sinh(a) / sinh(b) for 0 <= a <= b, b > 0; no term of it overflows."""
    if b < 1e-8:
        return a / b
    return exp(a - b) * (1.0 - exp(-2.0 * a)) / (1.0 - exp(-2.0 * b))


def _acosh(x: float) -> float:
    return log(x + sqrt(x * x - 1.0)) if x < 1e150 else log(x) + log(2.0)


@function
def optimal_ac_schedule(
    quantity: float,
    horizon: float,
    sigma: float,
    gamma: float,
    eta: float,
    risk_aversion: float,
    slices: int = 10,
) -> np.ndarray:
    """Return the quantities to trade in each slice, (slices,), that weigh cost against risk best.

    Args:
        quantity: to be traded; the sign is kept. horizon: time for it, above 0.
        sigma: volatility in price per sqrt(time). gamma: permanent impact, price per unit.
        eta: temporary impact, price per (unit / time), above gamma times half a slice.
        risk_aversion: lambda, cost given up per variance; 0 gives equal slices, more trades sooner.
    Formula: x(t) = Q sinh(kappa (T - t)) / sinh(kappa T), 2 (cosh(kappa tau) - 1) / tau^2 =
        lambda sigma^2 / (eta - gamma tau / 2)
    Source: Almgren & Chriss (2001), Journal of Risk 3(2), 5-39

    >>> optimal_ac_schedule(100.0, 1.0, 0.5, 0.0, 0.1, 0.0, slices=4).tolist()
    [25.0, 25.0, 25.0, 25.0]
    """
    _positive(horizon=horizon, eta=eta)
    must_be_finite(quantity=quantity, sigma=sigma, gamma=gamma, risk_aversion=risk_aversion)
    if (slices := at_least_one("slices", slices)) > SLICES_MAX:
        raise ParameterError(f"slices must be at most {SLICES_MAX}, was {slices}")
    if sigma < 0.0 or risk_aversion < 0.0:
        raise ParameterError(
            f"sigma and risk_aversion must not be negative, was {sigma}, {risk_aversion}"
        )
    tau = horizon / slices
    impact = eta - 0.5 * gamma * tau
    if not impact > 0.0:
        raise ParameterError(
            f"eta must be above gamma * slice / 2 = {0.5 * gamma * tau}, was {eta}"
        )
    urgency = risk_aversion * sigma * sigma / impact
    kappa = _acosh(0.5 * urgency * tau * tau + 1.0) / tau
    if kappa * horizon < 1e-7:
        return np.full(slices, quantity / slices)
    left = [
        quantity * _sinh_ratio(kappa * (horizon - k * tau), kappa * horizon) for k in range(slices)
    ]
    return np.array([a - b for a, b in zip(left, [*left[1:], 0.0], strict=True)])


@function
def schedule_simulator(
    schedule: Sequence[float], horizon: float, sigma: float, gamma: float, eta: float
) -> dict[str, np.ndarray | float]:
    """Return what a schedule is expected to cost, and the standard deviation of that, slice by
    slice.

    Formula: cost_k = gamma n_k (sum of n before k) + gamma n_k^2 / 2 + eta n_k^2 / tau; variance =
        sigma^2 tau sum of (quantity left after slice k)^2
    Returns: cost (n,), left (n,), cost_total, risk (all in price times quantity).
    Source: Almgren & Chriss (2001), Journal of Risk 3(2); Almgren, Thum, Hauptmann & Li (2005),
        Risk 18(7)

    >>> schedule_simulator([50.0, 50.0], 1.0, 0.0, 0.0, 0.1)["cost_total"]
    1000.0
    """
    _positive(horizon=horizon)
    must_be_finite(schedule=schedule, sigma=sigma, gamma=gamma, eta=eta)
    if not len(schedule):
        raise ParameterError("schedule must hold at least one slice, was empty")
    tau, done, cost, left = horizon / len(schedule), 0.0, [], []
    total = float(sum(schedule))
    for quantity in map(float, schedule):
        permanent = gamma * quantity * done + 0.5 * gamma * quantity * quantity
        cost.append(permanent + eta * quantity * quantity / tau)
        done += quantity
        left.append(total - done)
    risk = sqrt(sigma * sigma * tau * sum(x * x for x in left))
    return {"cost": np.array(cost), "left": np.array(left), "cost_total": sum(cost), "risk": risk}


@function
def smart_order_router(
    side: str, quantity: float, venues: Sequence[str], prices: Sequence[float],
    sizes: Sequence[float], fees: Sequence[float],
) -> dict[str, float]:  # fmt: skip
    """Return the quantity for each venue that fills an order at the best price, fees included.

    Each row is one displayed level of one venue; `fees` are per unit (negative: a rebate). The
    cheapest levels are taken first, ties by venue; what the book does not hold comes under "".
    Source: Cont & Kukanov (2017), Quantitative Finance 17(1), 21-39 (the part for market orders)

    >>> smart_order_router("buy", 15, ["A", "B"], [10.0, 10.0], [10, 10], [0.02, 0.01])
    {'B': 10.0, 'A': 5.0}
    """
    if side not in ("buy", "sell") or not quantity > 0.0:
        raise ParameterError(
            f"side must be 'buy' or 'sell' and quantity above 0, was {side!r}, {quantity}"
        )
    must_be_finite(quantity=quantity, prices=prices, sizes=sizes, fees=fees)
    if len({len(row) for row in (venues, prices, sizes, fees)}) > 1:
        raise ParameterError(
            "venues, prices, sizes and fees must be of one length, were"
            f" {len(venues)}, {len(prices)}, {len(sizes)}, {len(fees)}"
        )
    sign = 1.0 if side == "buy" else -1.0
    levels = zip(venues, prices, sizes, fees, strict=True)
    ranked = sorted((sign * price + fee, venue, size) for venue, price, size, fee in levels)
    left, taken = float(quantity), {}
    for _, venue, size in ranked:
        part = min(left, float(size))
        if part > 0.0:
            taken[venue] = taken.get(venue, 0.0) + part
            left -= part
    return taken | {"": left} if left > 0.0 else taken
