"""One day's quotes, ours and the same as QuantLib helpers. Made up, shaped like November 2026."""

import numpy as np
import QuantLib as ql
from orrery_kernels.curves import SOFR_OIS, Ois, OvernightFuture, as_date
from orrery_kernels.curves.conventions import USD_SOFR
from orrery_kernels.curves.dates import from_ymd, to_ymd

AS_OF = "2026-11-20"
TENORS = [
    "1W",
    "2W",
    "3W",
    "1M",
    "2M",
    "3M",
    "6M",
    "9M",
    "12M",
    "18M",
    "2Y",
    "3Y",
    "4Y",
    "5Y",
    "7Y",
    "10Y",
    "15Y",
    "20Y",
    "30Y",
    "50Y",
]
PERCENT = (4.32, 4.31, 4.31, 4.30, 4.28, 4.25, 4.15, 4.05, 3.95, 3.80,
           3.72, 3.66, 3.65, 3.67, 3.74, 3.86, 4.00, 4.02, 3.90, 3.70)  # fmt: skip
RATES = np.array(PERCENT) / 100.0
SOFR_INSTRUMENTS = tuple(Ois(f"SOFR-{tenor}", tenor, SOFR_OIS) for tenor in TENORS)
SOFR_QUOTES = {one.id: float(rate) for one, rate in zip(SOFR_INSTRUMENTS, RATES, strict=True)}

# 4 OIS, 12 three-month futures, 14 swaps.
MIXED_OIS = {"1W": 0.0432, "2W": 0.0431, "1M": 0.0430, "2M": 0.0428}
MIXED_FUTURES = {
    "2026-12": 95.86, "2027-03": 96.02, "2027-06": 96.17, "2027-09": 96.29, "2027-12": 96.36,
    "2028-03": 96.40, "2028-06": 96.41, "2028-09": 96.41, "2028-12": 96.40, "2029-03": 96.38,
    "2029-06": 96.36, "2029-09": 96.33,
}  # fmt: skip
MIXED_SWAPS = {
    "4Y": 0.0365, "5Y": 0.0367, "6Y": 0.0370, "7Y": 0.0374, "8Y": 0.0378, "9Y": 0.0382,
    "10Y": 0.0386,
    "12Y": 0.0393, "15Y": 0.0400, "20Y": 0.0402, "25Y": 0.0398, "30Y": 0.0390, "40Y": 0.0380,
    "50Y": 0.0370,
}  # fmt: skip
CONVEXITY = {month: 2e-6 * n * n for n, month in enumerate(MIXED_FUTURES, 1)}
MIXED_INSTRUMENTS = (
    *(Ois(f"SOFR-{tenor}", tenor, SOFR_OIS) for tenor in MIXED_OIS),
    *(OvernightFuture(f"SR3-{m}", m, 3, USD_SOFR, CONVEXITY[m]) for m in MIXED_FUTURES),
    *(Ois(f"SOFR-{tenor}", tenor, SOFR_OIS) for tenor in MIXED_SWAPS),
)
MIXED_QUOTES = {
    **{f"SOFR-{tenor}": rate for tenor, rate in (MIXED_OIS | MIXED_SWAPS).items()},
    **{f"SR3-{month}": price for month, price in MIXED_FUTURES.items()},
}


def ql_date(date: int | str) -> ql.Date:
    year, month, day = to_ymd(as_date(date))
    return ql.Date(day, month, year)


def from_ql(date: ql.Date) -> int:
    return from_ymd(date.year(), date.month(), date.dayOfMonth())


def set_day(date: int | str = AS_OF) -> ql.Date:
    """Move QuantLib's one evaluation date."""
    day = ql_date(date)
    ql.Settings.instance().evaluationDate = day
    return day


def quoted(value: float) -> ql.QuoteHandle:
    return ql.QuoteHandle(ql.SimpleQuote(float(value)))


def ql_ois(
    tenor: str, quote: ql.QuoteHandle, pillar=ql.Pillar.LastRelevantDate
) -> ql.OISRateHelper:
    return ql.OISRateHelper(
        2, ql.Period(tenor), quote, ql.Sofr(), telescopicValueDates=True, paymentLag=2,
        paymentConvention=ql.Following, paymentFrequency=ql.Annual, pillar=pillar,
    )  # fmt: skip


def ql_sofr_helpers(rates=RATES, pillar=ql.Pillar.LastRelevantDate) -> list[ql.RateHelper]:
    return [ql_ois(tenor, quoted(rate), pillar) for tenor, rate in zip(TENORS, rates, strict=True)]


def ql_mixed_helpers() -> list[ql.RateHelper]:
    found = [ql_ois(tenor, quoted(rate)) for tenor, rate in (MIXED_OIS | MIXED_SWAPS).items()]
    for month, price in MIXED_FUTURES.items():
        year, number = map(int, month.split("-"))
        future = ql.SofrFutureRateHelper(
            quoted(price), number, year, ql.Quarterly, quoted(CONVEXITY[month])
        )
        found.append(future)
    return found


def largest_difference(ours, theirs, days) -> float:
    """Return the largest difference of discount factors over days."""
    factors = ours.discount_factors(np.asarray(days, np.int64))
    return max(
        abs(theirs.discount(ql_date(int(day)), True) - x)
        for day, x in zip(days, factors, strict=True)
    )
