"""Schedules: the adjusted period dates of a leg, with stubs, end of month and IMM dates."""

from orrery_kernels.curves.calendars import Calendar
from orrery_kernels.curves.dates import add_months, iso, month_end, third_wednesday, to_ymd
from orrery_kernels.errors import ParameterError

STUBS = ("short_front", "long_front", "short_back", "long_back")
PERIODS_MAX = 2_000  # 166 years of months


def schedule(
    start: int,
    end: int,
    months: int,
    calendar: Calendar,
    roll: str = "modified_following",
    stub: str = "short_front",
    end_of_month: bool = False,
    roll_on: str = "day",
) -> list[int]:
    """Return the adjusted dates from `start` to `end`, n + 1 for n periods of `months` months.

    Dates are counted from the unadjusted end (front stubs) or start (back stubs), so that an
    adjustment never shifts the dates after it. 0 months is one period. With `end_of_month`,
    an anchor on the last business day of its month puts every date on such a day;
    `roll_on="imm"` puts the dates between start and end on third Wednesdays.

    >>> from orrery_kernels.curves.calendars import calendar
    >>> [iso(d) for d in schedule(20773, 21320, 12, calendar("SOFR"))]
    ['2026-11-16', '2027-05-17', '2028-05-16']
    """
    if end <= start:
        raise ParameterError(f"a schedule must end after it starts, was {iso(start)} to {iso(end)}")
    if stub not in STUBS:
        raise ParameterError(f"stub must be one of {', '.join(STUBS)}, was {stub!r}")
    inner = _unadjusted(start, end, months, stub, end_of_month)
    if roll_on == "imm":
        inner = [third_wednesday(*to_ymd(date)[:2]) for date in inner]
        inner = [date for date in inner if start < date < end]
    anchor = end if stub.endswith("front") else start
    if end_of_month and calendar.is_month_end(anchor):
        inner = [month_end(date) for date in inner]
    dates = [calendar.adjust(date, roll) for date in (start, *inner, end)]
    kept = [date for date in dates[1:-1] if dates[0] < date < dates[-1]]
    return [dates[0], *dict.fromkeys(kept), dates[-1]]


def _unadjusted(start: int, end: int, months: int, stub: str, end_of_month: bool) -> list[int]:
    """Return the dates strictly between start and end, ascending."""
    if months == 0:
        return []
    backward = stub.endswith("front")
    anchor, sign = (end, -1) if backward else (start, 1)
    inner: list[int] = []
    for count in range(1, PERIODS_MAX):
        date = add_months(anchor, sign * count * months)
        if end_of_month and anchor == month_end(anchor):
            date = month_end(date)
        if not start < date < end:
            break
        inner.append(date)
    else:
        span = f"{iso(start)} to {iso(end)} by {months} months"
        raise ParameterError(f"a schedule must have at most {PERIODS_MAX} periods, was {span}")
    if stub.startswith("long") and inner and date != (start if backward else end):
        inner.pop()
    return sorted(inner)
