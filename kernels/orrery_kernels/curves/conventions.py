"""What the market agreed on, as data: indices and the swaps on them.

`USD_SOFR`, `EUR_ESTR`, `EURIBOR_6M`... are indices; `SOFR_OIS`, `EURIBOR_6M_SWAP`... say how a
swap on one is built. Others are made by `dataclasses.replace` or from scratch.
"""

from dataclasses import dataclass, replace

from orrery_kernels.curves.calendars import Calendar
from orrery_kernels.curves.dates import add_tenor, parse_tenor


@dataclass(frozen=True)
class Index:
    """A floating rate. `months` is its term; 0 is overnight. Lags are in business days."""

    name: str
    months: int
    day_count: str
    calendar: str
    spot_lag: int = 2
    roll: str = "modified_following"
    end_of_month: bool = False


@dataclass(frozen=True)
class SwapConvention:
    """A fixed leg against a floating leg on `index`; months between payments, 0 for one at the end.

    projection: "par" lets a floating period end where it pays interest, "index" where the
    deposit behind the index ends; they differ by a day or three around holidays.
    """

    index: Index
    calendar: str
    fixed_months: int
    fixed_day_count: str
    floating_months: int
    spot_lag: int = 2
    payment_lag: int = 0
    payment_calendar: str = ""
    roll: str = "modified_following"
    end_of_month: bool = False
    stub: str = "short_front"
    projection: str = "par"


USD_SOFR = Index("USD-SOFR", 0, "Act/360", "SOFR")
EUR_ESTR = Index("EUR-ESTR", 0, "Act/360", "TARGET")
GBP_SONIA = Index("GBP-SONIA", 0, "Act/365F", "LONDON", spot_lag=0)
JPY_TONA = Index("JPY-TONA", 0, "Act/365F", "TOKYO")
EURIBOR_3M = Index("EUR-EURIBOR-3M", 3, "Act/360", "TARGET", end_of_month=True)
EURIBOR_6M = Index("EUR-EURIBOR-6M", 6, "Act/360", "TARGET", end_of_month=True)

SOFR_OIS = SwapConvention(USD_SOFR, "SOFR", 12, "Act/360", 12, payment_lag=2)
ESTR_OIS = SwapConvention(EUR_ESTR, "TARGET", 12, "Act/360", 12, payment_lag=1)
SONIA_OIS = SwapConvention(GBP_SONIA, "LONDON", 12, "Act/365F", 12, spot_lag=0)
TONA_OIS = SwapConvention(JPY_TONA, "TOKYO", 12, "Act/365F", 12, payment_lag=2)
EURIBOR_3M_SWAP = SwapConvention(EURIBOR_3M, "TARGET", 12, "30/360", 3)
EURIBOR_6M_SWAP = replace(EURIBOR_3M_SWAP, index=EURIBOR_6M, floating_months=6)


def move(date: int, tenor: str, calendar: Calendar, roll: str, end_of_month: bool) -> int:
    """Return the adjusted date a tenor later; days are business days, as for overnight deposits."""
    months, days = parse_tenor(tenor)
    if tenor.upper().endswith("D") and not months:
        return calendar.add_business_days(date, days)
    if end_of_month and not days and calendar.is_month_end(date):
        return calendar.last_business_day(add_tenor(date, tenor))
    return calendar.adjust(add_tenor(date, tenor), roll)
