"""Risk as dominoes: a curve -> the value of a book of swaps, and its key-rate ladder.

A book is declared in the chain: [id, "pays" | "receives", start, tenor, notional, rate] a trade,
where start is "spot" or a tenor after it: ["A1", "pays", "spot", "10Y", 25e6, 0.0385].
"""

from functools import lru_cache

from orrery_kernels.curves.build import curve_plan
from orrery_kernels.curves.calendars import calendar
from orrery_kernels.curves.conventions import SwapConvention, move
from orrery_kernels.curves.curve import Curve
from orrery_kernels.curves.dominoes import ois_convention, ois_instruments
from orrery_kernels.domino.domino import domino
from orrery_kernels.errors import ParameterError
from orrery_kernels.risk.book import SwapBook, SwapTrade, book_value
from orrery_kernels.risk.ladder import Ladder
from orrery_kernels.risk.ladder import ladder as ladder_of

SIDES = ("pays", "receives")
_TRADE = '[id, "pays" or "receives", start, tenor, notional, rate]'


@domino(version=1)
def swap_value(curve: Curve, *, trades: list) -> float:
    """Return the present value of a book, in the currency of the curve."""
    return book_value(_book(curve, trades), {curve.name: curve})


@domino(version=1)
def swap_ladder(curve: Curve, *, trades: list) -> Ladder:
    """Return what the book gains per basis point in each quote of the curve."""
    frame = curve.frame
    instruments = ois_instruments(curve.name, frame.quote_ids)
    plan = curve_plan(curve.as_of, instruments, frame.config)
    return ladder_of(_book(curve, trades), {curve.name: plan}, {curve.name: curve})


def _book(curve: Curve, trades: list) -> SwapBook:
    return _laid_out(curve.as_of, curve.name, tuple(tuple(trade) for trade in trades))


@lru_cache(maxsize=64)
def _laid_out(as_of: int, index: str, trades: tuple[tuple, ...]) -> SwapBook:
    """Lay a book out once: it is a pure function of its arguments, so this is no state."""
    convention = ois_convention(index)
    return SwapBook(as_of, [_trade(as_of, convention, row) for row in trades])


def _trade(as_of: int, convention: SwapConvention, row: tuple) -> SwapTrade:
    if len(row) != 6 or row[1] not in SIDES:
        raise ParameterError(f"a trade must be {_TRADE}, was {list(row)!r}")
    name, side, starts, tenor, notional, rate = row
    days = calendar(convention.calendar)
    start = days.add_business_days(days.adjust(as_of, "following"), convention.spot_lag)
    if starts != "spot":
        start = move(start, starts, days, convention.roll, convention.end_of_month)
    end = move(start, tenor, days, convention.roll, convention.end_of_month)
    return SwapTrade(name, convention, start, end, float(notional), float(rate), side == "pays")
