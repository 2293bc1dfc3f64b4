"""Each instrument as one equation in discount factors, linear in its rate.

    sum over terms of (constant + per_rate * rate) * P_f(start) / P_f(end) * P_d(pay) = 0

with P_f the curve of the forward rate, P_d the one that discounts, and rate = scale * quote +
shift.
Every instrument of the market fits, so the solvers know only terms, and a swap book is made of
them too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from orrery_kernels.curves.calendars import Calendar, calendar
from orrery_kernels.curves.conventions import Index, SwapConvention, move
from orrery_kernels.curves.dates import (
    add_months,
    add_tenor,
    as_date,
    from_ymd,
    iso,
    third_wednesday,
    to_ymd,
)
from orrery_kernels.curves.day_counts import year_fraction
from orrery_kernels.curves.instruments import (
    Deposit,
    Fra,
    Instrument,
    Ois,
    OvernightFuture,
    Swap,
    TenorBasis,
)
from orrery_kernels.curves.schedules import schedule
from orrery_kernels.errors import CurveError, ParameterError


class Term(NamedTuple):
    """(constant + per_rate * rate) * P_forward(start) / P_forward(end) * P_discount(pay)."""

    constant: float
    per_rate: float
    forward: str
    start: int
    end: int
    discount: str
    pay: int


@dataclass(frozen=True)
class Equation:
    id: str
    kind: str
    terms: tuple[Term, ...]
    start: int
    maturity: int  # last accrual date
    last: int  # last date it depends on
    scale: float = 1.0
    shift: float = 0.0


class Period(NamedTuple):
    start: int
    end: int
    pay: int


class Market(NamedTuple):
    """What turns instruments into dates: day, discounting curve, calendars, fixings."""

    as_of: int
    discount: str
    calendars: dict[str, Calendar]
    fixings: Mapping[str, Mapping[int, float]]

    def calendar(self, name: str) -> Calendar:
        """Return a calendar by name, and remember it: `calendars` is part of the plan's digest."""
        if name not in self.calendars:
            self.calendars[name] = calendar(name)
        return self.calendars[name]


def equation(instrument: Instrument, market: Market) -> Equation:
    """Return the equation of `instrument` as of the market's day."""
    return _EQUATIONS[type(instrument)](instrument, market)


def periods(
    convention: SwapConvention, months: int, start: int, end: int, market: Market
) -> list[Period]:
    """Return the accrual periods of a leg with their payment dates."""
    days = market.calendar(convention.calendar)
    paying = market.calendar(convention.payment_calendar or convention.calendar)
    dates = schedule(
        start, end, months, days, convention.roll, convention.stub, convention.end_of_month
    )
    pays = [
        paying.add_business_days(paying.adjust(date, "following"), convention.payment_lag)
        for date in dates[1:]
    ]
    return [Period(*row) for row in zip(dates, dates[1:], pays, strict=False)]


def swap_dates(
    tenor: str, convention: SwapConvention, start, end, market: Market
) -> tuple[int, int]:
    """Return the start and the unadjusted end of a spot-starting or dated swap."""
    days = market.calendar(convention.calendar)
    first = (
        days.add_business_days(market.as_of, convention.spot_lag)
        if start is None
        else as_date(start)
    )
    if end is not None:
        return first, as_date(end)
    last = add_tenor(first, tenor)
    if (
        convention.end_of_month
        and days.is_month_end(first)
        and not tenor.upper().endswith(("D", "W"))
    ):
        last = days.last_business_day(last)
    return first, last


def growth(index: Index, period: Period, weight: float, market: Market) -> list[Term]:
    """Return weight * (P(start) / P(end) - 1), paid at `period.pay`."""
    forward = index.name
    if forward == market.discount and period.end == period.pay:
        first = Term(weight, 0.0, "", 0, 0, market.discount, period.start)
    else:
        first = Term(weight, 0.0, forward, period.start, period.end, market.discount, period.pay)
    return [first, Term(-weight, 0.0, "", 0, 0, market.discount, period.pay)]


def fixed(accrual: float, pay: int, market: Market) -> Term:
    """Return -rate * accrual, paid at `pay`."""
    return Term(0.0, -accrual, "", 0, 0, market.discount, pay)


def floating_leg(convention: SwapConvention, legs: list[Period], market: Market) -> list[Term]:
    """Return the terms of a floating leg of notional 1 over these periods, received."""
    terms: list[Term] = []
    for period in legs:
        terms += growth(convention.index, *projected(convention, period, market), market)
    return terms


def projected(convention: SwapConvention, period: Period, market: Market) -> tuple[Period, float]:
    """Return the period whose growth gives the floating rate, and the factor of that growth."""
    index = convention.index
    if index.months == 0 or convention.projection == "par":
        return period, 1.0
    end = move(
        period.start,
        f"{index.months}M",
        market.calendar(index.calendar),
        index.roll,
        index.end_of_month,
    )
    accrued = year_fraction(index.day_count, period.start, period.end)
    over = year_fraction(index.day_count, period.start, end)
    return Period(period.start, end, period.pay), accrued / over


def _deposit(deposit: Deposit, market: Market) -> Equation:
    index = deposit.index
    days = market.calendar(index.calendar)
    lag = index.spot_lag if deposit.spot_lag is None else deposit.spot_lag
    start = days.add_business_days(market.as_of, lag)
    end = move(start, deposit.tenor, days, index.roll, index.end_of_month)
    return _simple(deposit.id, "deposit", index, start, end)


def _fra(fra: Fra, market: Market) -> Equation:
    index = fra.index
    days = market.calendar(index.calendar)
    spot = days.add_business_days(market.as_of, index.spot_lag)
    start = move(spot, fra.start, days, index.roll, index.end_of_month)
    tenor = f"{index.months}M"
    if fra.ends == "index":
        end = move(start, tenor, days, index.roll, index.end_of_month)
    elif fra.ends == "spot":
        end = move(spot, fra.start + tenor, days, index.roll, index.end_of_month)
    else:
        raise ParameterError(f"ends must be index or spot, was {fra.ends!r} (FRA {fra.id})")
    return _simple(fra.id, "FRA", index, start, end)


def _simple(id_: str, kind: str, index: Index, start: int, end: int) -> Equation:
    """P(start) = (1 + rate * accrual) * P(end), all on the curve of the index."""
    name, accrual = index.name, year_fraction(index.day_count, start, end)
    terms = (Term(1.0, 0.0, "", 0, 0, name, start), Term(-1.0, -accrual, "", 0, 0, name, end))
    return Equation(id_, kind, terms, start, end, end)


def _future(future: OvernightFuture, market: Market) -> Equation:
    year, month = (int(part) for part in future.month.split("-"))
    if future.months == 3:
        start = third_wednesday(year, month)
        end = third_wednesday(*to_ymd(add_months(from_ymd(year, month, 1), 3))[:2])
        terms = _compounded(future, start, end, market)
    elif future.months == 1:
        start = from_ymd(year, month, 1)
        end = add_months(start, 1)
        terms = _averaged(future, start, end, market)
    else:
        raise ParameterError(
            f"a future must run over 1 or 3 months, was {future.months} ({future.id})"
        )
    last = max(max(term.end, term.pay) for term in terms)
    shift = 1.0 - future.convexity
    return Equation(
        future.id, "future", tuple(terms), max(start, market.as_of), end, last, -0.01, shift
    )


def _compounded(future: OvernightFuture, start: int, end: int, market: Market) -> list[Term]:
    """Compounded growth of the period: fixings up to today, one forward from there."""
    index, days = future.index, market.calendar(future.index.calendar)
    if end <= market.as_of:
        raise CurveError(
            f"a future must end after {iso(market.as_of)}, was {iso(end)} (drop {future.id})"
        )
    known, begin = 1.0, start
    today = days.adjust(market.as_of, "following")
    while begin < today:
        following = days.add_business_days(begin, 1)
        rate = _fixing(future, days.adjust(begin, "preceding"), market)
        known *= 1.0 + rate * year_fraction(index.day_count, begin, following)
        begin = following
    accrual = year_fraction(index.day_count, start, end)
    return [
        Term(known, 0.0, "", 0, 0, index.name, begin),
        Term(-1.0, -accrual, "", 0, 0, index.name, end),
    ]


def _averaged(future: OvernightFuture, start: int, end: int, market: Market) -> list[Term]:
    """Arithmetic average of daily rates: fixings before today, daily forwards from there."""
    index, days = future.index, market.calendar(future.index.calendar)
    if end <= market.as_of:
        raise CurveError(
            f"a future must end after {iso(market.as_of)}, was {iso(end)} (drop {future.id})"
        )
    known, terms, begin = 0.0, [], start
    fixed_on = days.adjust(begin, "preceding")
    while begin < end:
        following = days.add_business_days(begin, 1)
        accrual = year_fraction(index.day_count, begin, min(following, end))
        if fixed_on < market.as_of:
            known += _fixing(future, fixed_on, market) * accrual
        else:
            weight = accrual / year_fraction(index.day_count, fixed_on, following)
            terms.append(
                Term(weight, 0.0, index.name, fixed_on, following, index.name, market.as_of)
            )
            known -= weight
        fixed_on = begin = following
    accrual = year_fraction(index.day_count, start, end)
    return [*terms, Term(known, -accrual, "", 0, 0, index.name, market.as_of)]


def _fixing(future: OvernightFuture, date: int, market: Market) -> float:
    rates = market.fixings.get(future.index.name, {})
    if date not in rates:
        raise CurveError(
            f"every past day of a running future needs its fixing: {future.index.name} has none on "
            f"{iso(date)} (pass it in fixings, or drop {future.id})"
        )
    return rates[date]


def _swap(swap: Ois | Swap, market: Market) -> Equation:
    convention = swap.convention
    start, end = swap_dates(swap.tenor, convention, swap.start, swap.end, market)
    floating = periods(convention, convention.floating_months, start, end, market)
    fixed_legs = floating
    if convention.fixed_months != convention.floating_months:
        fixed_legs = periods(convention, convention.fixed_months, start, end, market)
    terms = floating_leg(convention, floating, market)
    for begin, stop, pay in fixed_legs:
        months = convention.fixed_months or 12
        terms.append(
            fixed(year_fraction(convention.fixed_day_count, begin, stop, months), pay, market)
        )
    kind = "OIS" if convention.index.months == 0 else "swap"
    return Equation(swap.id, kind, tuple(terms), start, fixed_legs[-1].end, _last(terms))


def _basis(basis: TenorBasis, market: Market) -> Equation:
    start, end = swap_dates(basis.tenor, basis.base, None, None, market)
    base = periods(basis.base, basis.base.floating_months, start, end, market)
    other = periods(basis.other, basis.other.floating_months, start, end, market)
    terms = floating_leg(basis.base, base, market)
    terms += [t._replace(constant=-t.constant) for t in floating_leg(basis.other, other, market)]
    for begin, stop, pay in base:
        accrual = year_fraction(basis.base.index.day_count, begin, stop)
        terms.append(fixed(-accrual, pay, market))
    return Equation(basis.id, "tenor basis", tuple(terms), start, base[-1].end, _last(terms))


def _last(terms: list[Term]) -> int:
    return max(max(term.end, term.pay) for term in terms)


_EQUATIONS = {
    Deposit: _deposit,
    Fra: _fra,
    OvernightFuture: _future,
    Ois: _swap,
    Swap: _swap,
    TenorBasis: _basis,
}
