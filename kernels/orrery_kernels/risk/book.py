"""A book of swaps, laid out once and valued on any curves of its day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orrery_kernels.curves._points import date_slopes, row_sums
from orrery_kernels.curves.calendars import Calendar
from orrery_kernels.curves.conventions import SwapConvention
from orrery_kernels.curves.curve import Curve
from orrery_kernels.curves.dates import DateLike, as_date, iso
from orrery_kernels.curves.day_counts import year_fraction
from orrery_kernels.curves.equations import Market, Period, Term, fixed, growth, periods, projected
from orrery_kernels.curves.plan import Fixings
from orrery_kernels.curves.system import system_of, table_of
from orrery_kernels.errors import CurveError, ParameterError


@dataclass(frozen=True)
class SwapTrade:
    """A swap of `notional` that pays, or receives, `fixed_rate` against `convention.index`."""

    id: str
    convention: SwapConvention
    start: DateLike
    end: DateLike
    notional: float
    fixed_rate: float
    pays_fixed: bool = True


@dataclass(frozen=True)
class _Row:
    """What `system_of` wants of an equation."""

    terms: tuple[Term, ...]


class SwapBook:
    """Trades as arrays. Cash that is due on or before `as_of` counts no more.

    discount: name of the curve that discounts; "" lets each trade's own index do so. fixings: of
    indices by name and date, for accrual that has begun.
    """

    def __init__(
        self,
        as_of: DateLike,
        trades: Sequence[SwapTrade],
        discount: str = "",
        calendars: Mapping[str, Calendar] | None = None,
        fixings: Fixings | None = None,
    ):
        self.as_of = as_date(as_of)
        self.trades = tuple(sorted(trades, key=lambda trade: trade.id))
        if len({trade.id for trade in self.trades}) < len(self.trades):
            raise ParameterError("ids of trades must differ within a book")
        known = {
            name: {as_date(date): rates[date] for date in rates}
            for name, rates in (fixings or {}).items()
        }
        cache = dict(calendars or {})
        rows = []
        for trade in self.trades:
            pays = discount or trade.convention.index.name
            rows.append(_Row(tuple(_terms(trade, Market(self.as_of, pays, cache, known)))))
        self._lay_out(system_of(rows, "", self.as_of))

    def _lay_out(self, system) -> None:
        self._arrays, table = table_of(system)
        self.dates: dict[str, np.ndarray] = {}
        for name, date in table:
            self.dates.setdefault(name, []).append(date)
        self.dates = {name: np.array(dates, np.int64) for name, dates in self.dates.items()}
        self._rates = np.array([trade.fixed_rate for trade in self.trades])
        signs = [1.0 if trade.pays_fixed else -1.0 for trade in self.trades]
        self._sizes = np.array(
            [s * trade.notional for s, trade in zip(signs, self.trades, strict=True)]
        )

    def values(self, curves: Mapping[str, Curve]) -> np.ndarray:
        """Return the present value of each trade, in the order of `trades`."""
        return self.values_at(self.logs(curves))

    def values_at(self, logs: np.ndarray) -> np.ndarray:
        """Return the present value of each trade for log discount factors at the book's dates."""
        sums = np.empty((len(self.trades), 2))
        row_sums(*self._arrays, logs, sums)
        return self._sizes * (sums[:, 0] + self._rates * sums[:, 1])

    def slopes(self, curves: Mapping[str, Curve], by_trade: bool = False) -> dict[str, np.ndarray]:
        """Return by curve (groups, dates): d value / d log discount; one group, or one a trade."""
        groups = np.arange(len(self.trades)) if by_trade else np.zeros(len(self.trades), np.int64)
        size = sum(len(dates) for dates in self.dates.values())
        out = np.zeros((len(self.trades) if by_trade else 1, size))
        date_slopes(*self._arrays, self.logs(curves), self._rates, self._sizes, groups, out)
        found, position = {}, 0
        for name, dates in self.dates.items():
            found[name] = out[:, position : position + len(dates)]
            position += len(dates)
        return found

    def logs(self, curves: Mapping[str, Curve]) -> np.ndarray:
        """Return the log discount factors at the book's dates, curve after curve."""
        parts = [
            _curve_of(curves, name, self.as_of).log_discount_factors(d)
            for name, d in self.dates.items()
        ]
        return np.concatenate(parts) if parts else np.empty(0)


def book_value(book: SwapBook, curves: Mapping[str, Curve]) -> float:
    """Return the present value of a book, summed in the order of trade ids."""
    total = 0.0
    for value in book.values(curves):
        total += float(value)
    return total


def _curve_of(curves: Mapping[str, Curve], name: str, as_of: int) -> Curve:
    if name not in curves:
        raise CurveError(
            f"the book needs curve {name}; there are {', '.join(sorted(curves)) or 'none'}"
        )
    if curves[name].as_of != as_of:
        raise CurveError(
            f"the book is as of {iso(as_of)}, curve {name} of {iso(curves[name].as_of)}"
        )
    return curves[name]


def _terms(trade: SwapTrade, market: Market) -> list[Term]:
    """Return the terms of a trade that pays the fixed rate, without what has been paid."""
    convention, index = trade.convention, trade.convention.index
    start, end = as_date(trade.start), as_date(trade.end)
    terms: list[Term] = []
    for period in periods(convention, convention.floating_months, start, end, market):
        if period.pay > market.as_of:
            terms += _floating(trade, period, market)
    months = convention.fixed_months
    for begin, stop, pay in periods(convention, months, start, end, market):
        if pay > market.as_of:
            terms.append(
                fixed(
                    year_fraction(convention.fixed_day_count, begin, stop, months or 12),
                    pay,
                    market,
                )
            )
    return terms or [Term(0.0, 0.0, "", 0, 0, index.name, market.as_of)]


def _floating(trade: SwapTrade, period: Period, market: Market) -> list[Term]:
    """Return the terms of a floating coupon; what has been fixed is taken from the fixings."""
    index = trade.convention.index
    if index.months:
        fixed_on = market.calendar(index.calendar).add_business_days(period.start, -index.spot_lag)
        if fixed_on >= market.as_of:
            return growth(index, *projected(trade.convention, period, market), market)
        accrual = year_fraction(index.day_count, period.start, period.end)
        amount = _fixing(trade, fixed_on, market) * accrual
        return [Term(amount, 0.0, "", 0, 0, market.discount, period.pay)]
    if period.start >= market.as_of:
        return growth(index, period, 1.0, market)
    known, begin = _known_growth(trade, period, market)
    ahead = Period(begin, period.end, period.pay)
    first, last = growth(index, ahead, 1.0, market)
    if begin >= period.end:
        return [last._replace(constant=known - 1.0)]
    return [first._replace(constant=known), last]


def _known_growth(trade: SwapTrade, period: Period, market: Market) -> tuple[float, int]:
    """Return the compounded growth from the start to the first day without fixing, and that day."""
    index, days = trade.convention.index, market.calendar(trade.convention.index.calendar)
    known, begin = 1.0, period.start
    until = min(days.adjust(market.as_of, "following"), period.end)
    while begin < until:
        following = min(days.add_business_days(begin, 1), period.end)
        rate = _fixing(trade, days.adjust(begin, "preceding"), market)
        known *= 1.0 + rate * year_fraction(index.day_count, begin, following)
        begin = following
    return known, begin


def _fixing(trade: SwapTrade, date: int, market: Market) -> float:
    name = trade.convention.index.name
    rates = market.fixings.get(name, {})
    if date not in rates:
        raise CurveError(
            f"trade {trade.id} needs the fixing of {name} on {iso(date)} (pass it in fixings)"
        )
    return rates[date]
