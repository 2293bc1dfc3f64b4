"""Day counts: the year fraction between two dates, by the name of its convention."""

from collections.abc import Callable

from orrery_kernels.curves.dates import add_months, from_ymd, is_leap, to_ymd
from orrery_kernels.errors import ParameterError


def act_360(start: int, end: int) -> float:
    return (end - start) / 360.0


def act_365_fixed(start: int, end: int) -> float:
    return (end - start) / 365.0


def thirty_360_bond(start: int, end: int) -> float:
    """30/360 bond basis (ISDA 2006, 4.16(f))."""
    year1, month1, day1 = to_ymd(start)
    year2, month2, day2 = to_ymd(end)
    day1 = min(day1, 30)
    if day2 == 31 and day1 == 30:
        day2 = 30
    return (360 * (year2 - year1) + 30 * (month2 - month1) + day2 - day1) / 360.0


def thirty_360_european(start: int, end: int) -> float:
    """30E/360 (ISDA 2006, 4.16(g))."""
    year1, month1, day1 = to_ymd(start)
    year2, month2, day2 = to_ymd(end)
    return (360 * (year2 - year1) + 30 * (month2 - month1) + min(day2, 30) - min(day1, 30)) / 360.0


def act_act_isda(start: int, end: int) -> float:
    """Days in leap years over 366 plus days in other years over 365 (ISDA 2006, 4.16(b))."""
    if end < start:
        return -act_act_isda(end, start)
    year1, year2 = to_ymd(start)[0], to_ymd(end)[0]
    days_of = (366.0 if is_leap(year1) else 365.0, 366.0 if is_leap(year2) else 365.0)
    if year1 == year2:
        return (end - start) / days_of[0]
    first = (from_ymd(year1 + 1, 1, 1) - start) / days_of[0]
    last = (end - from_ymd(year2, 1, 1)) / days_of[1]
    return year2 - year1 - 1 + first + last


def act_act_icma(start: int, end: int, period_start: int, period_end: int, months: int) -> float:
    """Days over (coupons a year x days of the regular period), summed over regular periods.

    `period_start`, `period_end` is any regular period of `months`; the accrual may be shorter
    (a stub) or longer than it, in which case it is cut at neighbouring regular dates (ICMA 251).

    >>> act_act_icma(12357, 12539, 12357, 12539, 6)
    0.5
    """
    if end <= start:
        return -act_act_icma(end, start, period_start, period_end, months) if end < start else 0.0
    anchor, count, total = period_end, 0, 0.0
    left, right = period_start, period_end
    while left > start:
        count -= 1
        left, right = add_months(anchor, (count - 1) * months), left
    while left < end:
        covered = min(end, right) - max(start, left)
        if covered > 0:
            total += covered * months / (12.0 * (right - left))
        count += 1
        left, right = right, add_months(anchor, count * months)
    return total


DAY_COUNTS: dict[str, Callable[[int, int], float]] = {
    "Act/360": act_360,
    "Act/365F": act_365_fixed,
    "30/360": thirty_360_bond,
    "30E/360": thirty_360_european,
    "Act/Act ISDA": act_act_isda,
}
ICMA = "Act/Act ICMA"


def year_fraction(day_count: str, start: int, end: int, months: int = 12) -> float:
    """Return the year fraction from `start` to `end`.

    Act/Act ICMA takes the regular period of `months` that ends at `end`.

    >>> year_fraction("Act/360", 0, 90), year_fraction("30/360", 0, 90)
    (0.25, 0.25)
    """
    if day_count == ICMA:
        return act_act_icma(start, end, add_months(end, -months), end, months)
    if day_count not in DAY_COUNTS:
        names = ", ".join([*DAY_COUNTS, ICMA])
        raise ParameterError(f"day_count must be one of {names}, was {day_count!r}")
    return DAY_COUNTS[day_count](start, end)
