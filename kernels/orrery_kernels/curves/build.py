"""The pure functions a task graph calls: quotes in, a curve out."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from orrery_kernels.curves._math import exp as _exp
from orrery_kernels.curves.calendars import Calendar
from orrery_kernels.curves.config import CurveConfig
from orrery_kernels.curves.curve import Curve
from orrery_kernels.curves.dates import DateLike, as_date
from orrery_kernels.curves.equations import Market, Term, equation
from orrery_kernels.curves.instruments import Instrument
from orrery_kernels.curves.plan import CurvePlan, Fixings
from orrery_kernels.errors import CurveError

_PLANS_REMEMBERED = 64


def build_curve(
    as_of: DateLike,
    instruments: Sequence[Instrument],
    quotes: Mapping[str, float],
    config: CurveConfig,
    *,
    calendars: Mapping[str, Calendar] | None = None,
    fixings: Fixings | None = None,
    curves: Mapping[str, Curve] | None = None,
    jacobian: bool = True,
) -> Curve:
    """Return the curve through all quotes. The order of instruments and quotes changes no bit.

    Args:
        quotes: by instrument id; decimals, prices for futures. More than needed is fine.
        calendars: by name, in the place of the stored ones.
        fixings: by index and date, for futures whose reference period has begun.
        curves: by name, those this one is built on.
    Raises:
        CurveError: no such curve; says which quote, where, and what to drop.
    """
    plan = curve_plan(as_of, instruments, config, calendars, fixings)
    return plan.rebuild(quotes, curves, jacobian)


def curve_plan(
    as_of: DateLike,
    instruments: Sequence[Instrument],
    config: CurveConfig,
    calendars: Mapping[str, Calendar] | None = None,
    fixings: Fixings | None = None,
) -> CurvePlan:
    """Return the plan of a curve; one that was laid out before is found again."""
    return _plan(
        as_date(as_of), tuple(instruments), config, _frozen(calendars), _frozen_fixings(fixings)
    )


def _frozen(calendars: Mapping[str, Calendar] | None) -> tuple[tuple[str, Calendar], ...]:
    return tuple(sorted((calendars or {}).items(), key=lambda item: item[0]))


def _frozen_fixings(fixings: Fixings | None) -> tuple:
    return tuple(
        sorted(
            (name, tuple(sorted((as_date(date), rates[date]) for date in rates)))
            for name, rates in (fixings or {}).items()
        )
    )


@lru_cache(maxsize=_PLANS_REMEMBERED)
def _plan(
    as_of: int, instruments: tuple, config: CurveConfig, calendars: tuple, fixings: tuple
) -> CurvePlan:
    """Lay a plan out once: it is a pure function of its arguments, so this is no state."""
    known = {name: dict(rates) for name, rates in fixings}
    return CurvePlan(as_of, instruments, config, dict(calendars), known)


def par_quote(
    instrument: Instrument,
    curve: Curve,
    curves: Mapping[str, Curve] | None = None,
    calendars: Mapping[str, Calendar] | None = None,
    fixings: Fixings | None = None,
) -> float:
    """Return the quote at which `instrument` is worth nothing on these curves.

    `curve` is the one of `config.name`; `curves` those it was built on.
    """
    known = {
        name: {as_date(date): rates[date] for date in rates}
        for name, rates in (fixings or {}).items()
    }
    discount = curve.frame.config.discount or curve.name
    one = equation(instrument, Market(curve.as_of, discount, dict(calendars or {}), known))
    by_name = {**{other.name: other for other in curve.others}, **(curves or {}), curve.name: curve}
    logs = _logs(one.terms, by_name)
    by_constant = by_rate = 0.0
    for constant, per_rate, forward, start, end, pays, pay in one.terms:
        log = logs[pays, pay]
        if forward and start != end:
            log += logs[forward, start] - logs[forward, end]
        value = _exp(log)
        by_constant += constant * value
        by_rate += per_rate * value
    return (-by_constant / by_rate - one.shift) / one.scale


def _logs(terms: Sequence[Term], curves: Mapping[str, Curve]) -> dict[tuple[str, int], float]:
    """Return the log discount factor of each curve and date in the terms, one read a curve."""
    wanted: dict[str, set[int]] = {}
    for term in terms:
        wanted.setdefault(term.discount, set()).add(term.pay)
        if term.forward:
            wanted.setdefault(term.forward, set()).update((term.start, term.end))
    found = {}
    for name, dates in wanted.items():
        days = sorted(dates)
        values = _of(curves, name).log_discount_factors(np.array(days, np.int64))
        found.update({(name, day): float(value) for day, value in zip(days, values, strict=True)})
    return found


def _of(curves: Mapping[str, Curve], name: str) -> Curve:
    if name not in curves:
        raise CurveError(
            f"curve {name} is needed and was not passed; there are {', '.join(sorted(curves))}"
        )
    return curves[name]
