"""How log discount factors move with quotes: of the curve itself and of those it was built on."""

from collections.abc import Mapping

import numpy as np

from orrery_kernels.curves._points import date_slopes, multiply, row_sums
from orrery_kernels.curves.curve import Curve
from orrery_kernels.curves.plan import CurvePlan
from orrery_kernels.errors import CurveError


def quote_slopes(
    plans: Mapping[str, CurvePlan], curves: Mapping[str, Curve], name: str, dates: np.ndarray
) -> dict[str, np.ndarray]:
    """Return by curve (dates, quotes): d log discount factor of `name` / d quote of that curve.

    Chains through the curves that `name` was built on (implicit function theorem).
    """
    by_node = curves[name].weights(dates)
    found = {}
    for source, node_slopes in node_slopes_of(plans, curves, name).items():
        out = np.empty((len(dates), node_slopes.shape[1]))
        multiply(by_node, node_slopes, out)
        found[source] = out
    return found


def node_slopes_of(
    plans: Mapping[str, CurvePlan], curves: Mapping[str, Curve], name: str
) -> dict[str, np.ndarray]:
    """Return by curve (nodes, quotes): d log discount at the nodes of `name` / d its quote."""
    curve, plan = curves[name], plans[name]
    if curve.jacobian is None:
        raise CurveError(f"curve {name} has no jacobian (rebuild it with jacobian=True)")
    found = {name: curve.jacobian}
    for other, (dates, slopes) in _other_slopes(plan, curve, curves).items():
        for source, by_quote in quote_slopes(plans, curves, other, dates).items():
            out = np.empty((slopes.shape[0], by_quote.shape[1]))
            multiply(slopes, by_quote, out)
            found[source] = found[source] + out if source in found else out
    return found


def _other_slopes(
    plan: CurvePlan, curve: Curve, curves: Mapping[str, Curve]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return by other curve its dates and (nodes, dates): d log at a node / d log there.

    A move of row i's value by other means is met by the node like one of quote i: the jacobian's
    column i over the row's slope in its quote.
    """
    names = [name for name in plan.other_names if name != plan.config.name]
    if not names:
        return {}
    table, arrays, logs = plan.table(curves, curve)
    rates = np.array([one.scale for one in plan.equations]) * curve.quotes
    rates = rates + np.array([one.shift for one in plan.equations])
    count = len(rates)
    out, sums = np.zeros((count, len(table))), np.empty((count, 2))
    ones = np.ones(count)
    date_slopes(*arrays, logs, rates, ones, np.arange(count), out)
    row_sums(*arrays, logs, sums)
    by_quote = sums[:, 1] * np.array([one.scale for one in plan.equations])
    found = {}
    for name in names:
        places = [position for position, (owner, _) in enumerate(table) if owner == name]
        slopes = np.empty((count, len(places)))
        multiply(
            np.ascontiguousarray(curve.jacobian / by_quote),
            np.ascontiguousarray(out[:, places]),
            slopes,
        )
        found[name] = (np.array([table[place][1] for place in places], np.int64), slopes)
    return found
