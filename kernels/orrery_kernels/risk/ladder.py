"""Key-rate ladders: what a book gains per basis point of each quote its curves were built from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orrery_kernels.curves._points import multiply
from orrery_kernels.curves.curve import Curve
from orrery_kernels.curves.plan import CurvePlan
from orrery_kernels.curves.sensitivity import quote_slopes
from orrery_kernels.errors import CurveError
from orrery_kernels.risk.book import SwapBook
from orrery_kernels.risk.bumps import parallel_bump, quote_moves


@dataclass(frozen=True)
class Ladder:
    """Value per basis point in the rate of each quote of each curve, by curve and quote id."""

    buckets: dict[str, dict[str, float]]

    def points(self) -> dict[str, float]:
        """Return the value per basis point of every quote, and of all together."""
        by_quote = {quote: v for found in self.buckets.values() for quote, v in found.items()}
        return {**by_quote, "total": self.total}

    @property
    def total(self) -> float:
        return _sum(value for by_quote in self.buckets.values() for value in by_quote.values())


def ladder(book: SwapBook, plans: Mapping[str, CurvePlan], curves: Mapping[str, Curve]) -> Ladder:
    """Return d value / d quote for one basis point, analytically, through every curve a curve uses.

    plans, curves: by name; curves with their jacobian (`rebuild(..., jacobian=True)`).
    """
    slopes = book.slopes(curves)
    totals = {name: np.zeros(len(curves[name].quotes)) for name in sorted(curves)}
    for name, by_date in slopes.items():
        for source, by_quote in quote_slopes(plans, curves, name, book.dates[name]).items():
            out = np.empty((1, by_quote.shape[1]))
            multiply(by_date, by_quote, out)
            totals[source] += out[0]
    return Ladder(
        {
            name: {
                quote: float(value)
                for quote, value in zip(
                    plans[name].quote_ids, total * quote_moves(plans[name]), strict=True
                )
            }
            for name, total in totals.items()
        }
    )


def dv01(book: SwapBook, plans: Mapping[str, CurvePlan], curves: Mapping[str, Curve]) -> float:
    """Return the gain when the rates of all quotes of all curves rise by one basis point."""
    return ladder(book, plans, curves).total


def scenario_values(
    book: SwapBook, plan: CurvePlan, quotes: np.ndarray, curves: Mapping[str, Curve] | None = None
) -> np.ndarray:
    """Return (s,) values of the book when the curve of `plan` has each row of (s, n) quotes.

    curves: the other curves the book needs, which stay.
    """
    fixed = dict(curves or {})
    values = []
    for logs, row in zip(plan.scenarios(quotes, curves), quotes, strict=True):
        moved = Curve(plan.frame, np.ascontiguousarray(logs), row)
        values.append(_sum(book.values({**fixed, plan.config.name: moved})))
    return np.array(values)


def gamma(book: SwapBook, plan: CurvePlan, curve: Curve, basis_points: float = 10.0) -> np.ndarray:
    """Return (n,) second differences of value by quote, per basis point squared.

    Three scenarios a quote, all in one batch: up, down, unmoved. The curve must stand alone.
    """
    if curve.others:
        raise CurveError(f"gamma is for a curve that stands alone, {curve.name} is built on others")
    count = len(curve.quotes)
    moves = np.diag(basis_points * quote_moves(plan))
    rows = np.concatenate([curve.quotes[None, :], curve.quotes + moves, curve.quotes - moves])
    values = scenario_values(book, plan, rows)
    up, down = values[1 : count + 1], values[count + 1 :]
    return (up - 2.0 * values[0] + down) / (basis_points * basis_points)


def parallel_gamma(
    book: SwapBook, plan: CurvePlan, curve: Curve, basis_points: float = 10.0
) -> float:
    """Return the second difference of value when all rates move, per basis point squared."""
    rows = np.stack(
        [parallel_bump(plan, curve.quotes, step * basis_points) for step in (0.0, 1.0, -1.0)]
    )
    here, up, down = scenario_values(book, plan, rows)
    return float((up - 2.0 * here + down) / (basis_points * basis_points))


def _sum(values) -> float:
    total = 0.0
    for value in values:
        total += float(value)
    return total
