"""Why there is no curve: the quote, its pillar, where a solution was sought, what to drop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from orrery_kernels.curves import _local
from orrery_kernels.curves._math import exp
from orrery_kernels.curves.dates import iso
from orrery_kernels.errors import CurveError

if TYPE_CHECKING:
    from orrery_kernels.curves.curve import Curve
    from orrery_kernels.curves.plan import CurvePlan

FORWARDS = tuple(_local.BRACKET_FORWARDS)


def failure(
    plan: CurvePlan, quotes: np.ndarray, curves: Mapping[str, Curve] | None, status: int
) -> CurveError:
    """Return the error for a status of a solver; its attributes hold what its message says."""
    if quotes.shape != (len(plan.quote_ids),):
        return CurveError(
            f"curve {plan.config.name} has {len(plan.quote_ids)} quotes, was given {quotes.shape}"
        )
    if status < 0:
        return _out_of_band(plan, quotes, -status)
    node = status
    residual, bracket = _search(plan, quotes, curves, node)
    suspects = [plan.quote_ids[i - 1] for i in (node, node - 1) if i >= 1]
    drop = [name for name in suspects if _solves_without(plan, quotes, curves, name)]
    one = plan.equations[node - 1]
    advice = f"drop {' or '.join(drop)}" if drop else f"check the quotes up to {one.id}"
    error = CurveError(
        f"no discount factor at {iso(one.last)} reprices {one.id} ({one.kind}, quote "
        f"{float(quotes[node - 1])!r}): with forward rates from {bracket[0]:.0%} to "
        f"{bracket[1]:.0%} since the pillar before, its value per unit stays at "
        f"{residual:.3e} or further from 0 (curve {plan.config.name}; {advice})"
    )
    return _attach(error, one.id, one.last, bracket, residual, drop)


def _attach(error: CurveError, quote, pillar, bracket, residual, drop) -> CurveError:
    error.quote, error.pillar, error.bracket = quote, pillar, bracket
    error.residual, error.drop = residual, tuple(drop)
    return error


def _out_of_band(plan: CurvePlan, quotes: np.ndarray, node: int) -> CurveError:
    one, quote = plan.equations[node - 1], float(quotes[node - 1])
    low, high = plan.config.quote_band
    rate = one.scale * quote + one.shift
    if not math.isfinite(quote):
        rule = f"the quote of {one.id} must be a finite number, was {quote}"
    else:
        rule = (
            f"the rate of {one.id} must be in [{low}, {high}], was {rate:.6g} (quote {quote:.6g})"
        )
        if low <= rate / 100.0 <= high:
            rule += ", which looks like a percent where a decimal belongs"
    error = CurveError(
        f"{rule} (curve {plan.config.name}, pillar {iso(one.last)}; widen quote_band if the market "
        f"is there, or drop {one.id})"
    )
    return _attach(error, one.id, one.last, (low, high), rate, (one.id,))


def _search(plan, quotes, curves, node: int) -> tuple[float, tuple[float, float]]:
    """Return the value nearest to 0 over a grid of forwards since the last pillar, and its ends."""
    ints, floats = plan.arrays
    offsets = plan.offsets(curves)
    shorter = ints.copy()
    logs = np.zeros(len(plan.quote_ids) + 1)
    shorter[_local.NODES] = node - 1
    if node > 1:
        _local.solve_one(shorter, floats, offsets, quotes, logs[:node], np.empty((0, 0)))
    weights, times = plan.start_weights, plan.start_times
    one = plan.equations[node - 1]
    rate = one.scale * float(quotes[node - 1]) + one.shift
    best = math.inf
    for forward in FORWARDS:
        logs[node] = logs[node - 1] - forward * (times[node] - times[node - 1])
        total = 0.0
        for point, constant, per_rate in plan.terms.rows[node - 1]:
            exponent = float(offsets[point])
            for name, date, sign in plan.terms.legs[point]:
                if name == plan.terms.own:
                    exponent += sign * sum(w * float(logs[i]) for i, w in weights(date).items())
            total += (constant + per_rate * rate) * exp(exponent)
        best = total if abs(total) < abs(best) else best
    return best, (FORWARDS[0], FORWARDS[-1])


def _solves_without(plan: CurvePlan, quotes: np.ndarray, curves, name: str) -> bool:
    """Return whether the curve has a solution when one quote is left out."""
    kept = [one for one in plan.instruments if one.id != name]
    by_name = dict(zip(plan.quote_ids, map(float, quotes), strict=True))
    if not kept:
        return False
    rest = plan.with_instruments(kept)
    return rest.solves(rest.ordered(by_name), curves)
