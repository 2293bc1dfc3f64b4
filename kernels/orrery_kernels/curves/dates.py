"""Dates as whole days since 1970-01-01 (Arrow's date32), and tenors as months and days.

Integers, because they are exact, hashable, fast, and go into a loop or a digest as they are.
"""

from functools import lru_cache
from typing import Protocol

from orrery_kernels.errors import ParameterError

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TENOR_UNITS = {"D": (0, 1), "W": (0, 7), "M": (1, 0), "Y": (12, 0)}


class CalendarDate(Protocol):
    """Anything with a year, a month and a day, such as datetime.date."""

    year: int
    month: int
    day: int


DateLike = int | str | CalendarDate


def is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def days_in_month(year: int, month: int) -> int:
    return 29 if month == 2 and is_leap(year) else _MONTH_DAYS[month - 1]


def from_ymd(year: int, month: int, day: int) -> int:
    """Return days since 1970-01-01 of a Gregorian date (Hinnant, "chrono-compatible algorithms").

    >>> from_ymd(1970, 1, 1), from_ymd(2000, 2, 29)
    (0, 11016)
    """
    if not (1 <= month <= 12 and 1 <= day <= days_in_month(year, month)):
        raise ParameterError(f"a date must exist, was {year:04d}-{month:02d}-{day:02d}")
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return (
        era * 146097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + day_of_year
        - 719468
    )


@lru_cache(maxsize=1 << 16)
def to_ymd(date: int) -> tuple[int, int, int]:
    """Return (year, month, day) of days since 1970-01-01.

    >>> to_ymd(11016)
    (2000, 2, 29)
    """
    shifted = date + 719468
    era = shifted // 146097
    day_of_era = shifted - era * 146097
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    return (
        year_of_era + era * 400 + (month <= 2),
        month,
        day_of_year - (153 * shifted_month + 2) // 5 + 1,
    )


def as_date(value: DateLike) -> int:
    """Return days since 1970-01-01 of an ISO text, a date object or the number itself.

    >>> as_date("2026-11-21"), as_date(20778)
    (20778, 20778)
    """
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        parts = value.split("-")
        if [len(part) for part in parts] == [4, 2, 2] and all(part.isdecimal() for part in parts):
            return from_ymd(int(parts[0]), int(parts[1]), int(parts[2]))
        raise ParameterError(f"a date must be written YYYY-MM-DD, was {value!r}")
    return from_ymd(value.year, value.month, value.day)


def iso(date: int) -> str:
    """Return YYYY-MM-DD.

    >>> iso(20778)
    '2026-11-21'
    """
    year, month, day = to_ymd(date)
    return f"{year:04d}-{month:02d}-{day:02d}"


def weekday(date: int) -> int:
    """Return 0 for a Monday to 6 for a Sunday (1970-01-01 was a Thursday)."""
    return (date + 3) % 7


def add_months(date: int, months: int) -> int:
    """Return the same day `months` later, or that month's last day where it has no such day.

    >>> iso(add_months(as_date("2024-01-31"), 1))
    '2024-02-29'
    """
    year, month, day = to_ymd(date)
    count = year * 12 + month - 1 + months
    year, month = count // 12, count % 12 + 1
    return from_ymd(year, month, min(day, days_in_month(year, month)))


def month_end(date: int) -> int:
    year, month, _ = to_ymd(date)
    return from_ymd(year, month, days_in_month(year, month))


def third_wednesday(year: int, month: int) -> int:
    """Return the IMM date of a month, a holiday or not.

    >>> iso(third_wednesday(2024, 6))
    '2024-06-19'
    """
    first = from_ymd(year, month, 1)
    return first + (2 - weekday(first)) % 7 + 14


@lru_cache(maxsize=4096)
def parse_tenor(tenor: str) -> tuple[int, int]:
    """Return (months, days) of a tenor such as 3D, 2W, 18M, 10Y or 1Y6M.

    >>> parse_tenor("1Y6M"), parse_tenor("2W")
    ((18, 0), (0, 14))
    """
    months = days = 0
    number = ""
    for letter in tenor.upper():
        if letter.isdecimal():
            number += letter
            continue
        if letter not in _TENOR_UNITS or not number:
            break
        per_month, per_day = _TENOR_UNITS[letter]
        months, days = months + per_month * int(number), days + per_day * int(number)
        number = ""
    else:
        if not number and (months or days):
            return months, days
    raise ParameterError(f"a tenor must be numbers with D, W, M or Y such as 1Y6M, was {tenor!r}")


def add_tenor(date: int, tenor: str) -> int:
    """Return the unadjusted date a tenor later."""
    months, days = parse_tenor(tenor)
    return (add_months(date, months) if months else date) + days
