"""Holiday calendars: tables of weekdays on which a market is closed, with a digest.

A table is data. Its digest goes into the memo key of whatever is computed with it, so that a
changed holiday gives new results under a new name and never other results under the old one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b

from orrery_kernels.curves.calendars import fed, london, sofr, target, tokyo, us_government
from orrery_kernels.curves.dates import from_ymd, iso, month_end, to_ymd, weekday
from orrery_kernels.errors import ParameterError

_TABLES = {m.NAME: m for m in (fed, london, sofr, target, tokyo, us_government)}
CALENDAR_NAMES = (*sorted(_TABLES), "WEEKENDS")
ROLLS = ("following", "modified_following", "preceding", "modified_preceding", "unadjusted")


@dataclass(frozen=True)
class Calendar:
    """Saturdays, Sundays and `holidays` (weekdays, ascending) are closed, within [first, last]."""

    name: str
    first: int
    last: int
    holidays: tuple[int, ...]
    _closed: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_closed", frozenset(self.holidays))

    @cached_property
    def digest(self) -> bytes:
        """32 bytes over the name, the range and every holiday, whatever the table came from."""
        text = "\n".join([self.name, iso(self.first), iso(self.last), *map(iso, self.holidays)])
        return blake2b(text.encode(), digest_size=32, person=b"orrery calendar").digest()

    def is_business_day(self, date: int) -> bool:
        if not self.first <= date <= self.last:
            span = f"{iso(self.first)} to {iso(self.last)}"
            raise ParameterError(f"calendar {self.name} covers {span}, was asked for {iso(date)}")
        return (date + 3) % 7 < 5 and date not in self._closed

    def adjust(self, date: int, roll: str) -> int:
        """Return the business day that `roll` puts in the place of `date`."""
        if roll == "unadjusted":
            return date
        step = 1 if roll in ("following", "modified_following") else -1
        if step < 0 and roll not in ("preceding", "modified_preceding"):
            raise ParameterError(f"roll must be one of {', '.join(ROLLS)}, was {roll!r}")
        moved = self._next(date, step)
        if roll.startswith("modified") and to_ymd(moved)[1] != to_ymd(date)[1]:
            return self._next(date, -step)
        return moved

    def add_business_days(self, date: int, days: int) -> int:
        """Return the date `days` business days later (earlier if negative); 0 rolls forward."""
        if days == 0:
            return self._next(date, 1)
        step = 1 if days > 0 else -1
        for _ in range(abs(days)):
            date = self._next(date + step, step)
        return date

    def is_month_end(self, date: int) -> bool:
        """Return whether `date` is on or after the last business day of its month."""
        return date >= self.last_business_day(date)

    def last_business_day(self, date: int) -> int:
        return self._next(month_end(date), -1)

    def business_days(self, start: int, end: int) -> list[int]:
        return [date for date in range(start, end) if self.is_business_day(date)]

    def _next(self, date: int, step: int) -> int:
        while not self.is_business_day(date):
            date += step
        return date


def joint(*calendars: Calendar) -> Calendar:
    """Return the calendar that is closed when any of `calendars` is; the order does not matter."""
    ordered = sorted(calendars, key=lambda calendar: calendar.name)
    days = sorted({day for calendar in ordered for day in calendar.holidays})
    first, last = max(c.first for c in ordered), min(c.last for c in ordered)
    kept = tuple(day for day in days if first <= day <= last)
    return Calendar("+".join(c.name for c in ordered), first, last, kept)


def from_dates(name: str, first: int, last: int, holidays: Iterable[int]) -> Calendar:
    """Return a calendar of one's own; a holiday on a weekend is dropped: it is closed anyway."""
    weekdays = {day for day in holidays if weekday(day) < 5 and first <= day <= last}
    return Calendar(name, first, last, tuple(sorted(weekdays)))


@lru_cache(maxsize=64)
def calendar(name: str) -> Calendar:
    """Return a calendar by name; names joined by `+` are closed when any of them is.

    >>> calendar("SOFR").is_business_day(from_ymd(2024, 6, 19))
    False
    """
    if "+" in name:
        return joint(*(calendar(part) for part in sorted(set(name.split("+")))))
    if name == "WEEKENDS":
        return Calendar(name, from_ymd(1900, 1, 1), from_ymd(2199, 12, 31), ())
    if name not in _TABLES:
        names = ", ".join(CALENDAR_NAMES)
        raise ParameterError(f"calendar must be one of {names} or some joined by +, was {name!r}")
    rows = _TABLES[name].HOLIDAYS.replace("\n ", " ").split("\n")
    days, years = [], []
    for row in filter(None, rows):
        year, *month_days = row.split()
        years.append(int(year))
        days += [from_ymd(years[-1], int(day[:2]), int(day[2:])) for day in month_days]
    return Calendar(name, from_ymd(years[0], 1, 1), from_ymd(years[-1], 12, 31), tuple(days))
