"""When to cut: a decision from a declaration, what has been seen, and the time one is told.

    "every 5s"  |  "on 1000 events"  |  "on quote change 0.0005"  |  "at 17:00 America/New_York"  |
    "by hand"

Every firing has an id that is the same on every node: interval triggers their number since 1970,
counts theirs since the first event, a schedule its instant. The lab reads no time-zone files: a
schedule takes the offsets of its zone as data, [(from this UTC instant, offset in seconds)], which
the caller reads.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from orrery_kernels.errors import SnapshotError

_UNIT_NS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
_DAY_NS = 86_400_000_000_000
_EVERY = re.compile(r"every (\d+)\s?(ms|s|m|h)")
_COUNT = re.compile(r"on ([\d,]+) events")
_CHANGE = re.compile(r"on quote change ([0-9.eE+-]+)")
_AT = re.compile(r"at (\d{1,2}):(\d{2})(?::(\d{2}))? (\S+)")
STEP_NS_MIN = 100_000_000  # of an interval: triggers are looked at as often as that
MISSED_MAX = 1000  # firings made up at once; more than this are counted as skipped, and said so

Missed = Literal["make up", "skip"]


class Trigger(NamedTuple):
    """A declaration taken apart. step: nanoseconds, events, or the time of day in nanoseconds."""

    text: str
    kind: Literal["interval", "count", "change", "schedule", "hand"]
    step: int = 0
    tolerance: float = 0.0
    zone: str = ""
    missed: Missed = "skip"


class Firing(NamedTuple):
    """One cut that is due. id: the same on every node; due_ns: when it should have been."""

    id: str
    due_ns: int


class Due(NamedTuple):
    """What fires now, and what was missed and will not be made up (never silently)."""

    fire: list[Firing]
    skipped: list[Firing]


def read_trigger(text: str, missed: Missed = "skip") -> Trigger:
    """Return a trigger. Raises SnapshotError that shows what can be said.

    >>> read_trigger("every 5s").step
    5000000000
    """
    if missed not in ("make up", "skip"):
        raise SnapshotError(f"a missed trigger must be 'make up' or 'skip', was {missed!r}")
    if text == "by hand":
        return Trigger(text, "hand", missed=missed)
    if (found := _EVERY.fullmatch(text)) and int(found[1]):
        step = int(found[1]) * _UNIT_NS[found[2]]
        if step < STEP_NS_MIN:
            raise SnapshotError(f"an interval must be at least 100ms, was {text!r}")
        return Trigger(text, "interval", step, missed=missed)
    if (found := _COUNT.fullmatch(text)) and int(found[1].replace(",", "")):
        return Trigger(text, "count", int(found[1].replace(",", "")), missed=missed)
    if (found := _CHANGE.fullmatch(text)) and _number(found[1]) > 0:
        return Trigger(text, "change", tolerance=_number(found[1]), missed=missed)
    if found := _AT.fullmatch(text):
        hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
        if hour < 24 and minute < 60 and second < 60:
            of_day = (hour * 3600 + minute * 60 + second) * _UNIT_NS["s"]
            return Trigger(text, "schedule", of_day, zone=found[4], missed=missed)
    raise SnapshotError(
        "a trigger must be like 'every 5s', 'on 1000 events', 'on quote change 0.0005', "
        f"'at 17:00 America/New_York' or 'by hand', was {text!r}"
    )


def due_by_interval(trigger: Trigger, last_ns: int | None, now_ns: int) -> Due:
    """Return what an interval trigger owes since its last firing (None: it begins now)."""
    number = now_ns // trigger.step
    first = number if last_ns is None else last_ns // trigger.step + 1
    # The oldest ones beyond the bound are named as one range by their first and last.
    numbers = range(max(first, number - MISSED_MAX), number + 1)
    firings = [Firing(f"{trigger.text}#{n}", n * trigger.step) for n in numbers]
    over = range(first, numbers.start)
    lost = [Firing(f"{trigger.text}#{n}", n * trigger.step) for n in (*over[:1], *over[1:][-1:])]
    return _split(trigger, firings, lost)


def due_by_count(trigger: Trigger, before: int, after: int) -> Due:
    """Return what a count trigger owes when events before -> after have been seen.

    A cut lies where the log is now, so several thresholds passed at once make one cut.
    """
    number = after // trigger.step
    if number == before // trigger.step:
        return Due([], [])
    missed = range(before // trigger.step + 1, number)
    return Due(
        [Firing(f"{trigger.text}#{number}", 0)],
        [Firing(f"{trigger.text}#{n}", 0) for n in (*missed[:1], *missed[1:][-1:])],
    )


def due_by_change(
    trigger: Trigger, at_cut: Mapping[str, float], now: Mapping[str, float], number: int
) -> Due:
    """Return a firing when a quote moved by more than the tolerance since the last cut.

    number: of the last cut, which makes the id the same on every node. A new or lost quote counts.
    """
    for name in sorted(at_cut.keys() | now.keys()):
        was, value = at_cut.get(name), now.get(name)
        if was is None or value is None or not abs(value - was) <= trigger.tolerance:
            return Due([Firing(f"{trigger.text}#after-{number}", 0)], [])
    return Due([], [])


def due_by_schedule(
    trigger: Trigger, last_ns: int | None, now_ns: int, offsets: Sequence[tuple[int, int]]
) -> Due:
    """Return what a daily schedule owes since its last firing.

    offsets: (UTC nanoseconds from which it holds, seconds to add to UTC), in order. A local time
    that a clock change leaves out fires at the change; one that comes twice fires the first time.
    """
    begin = now_ns if last_ns is None else last_ns
    firings = []
    for day in range((begin // _DAY_NS) - 2, now_ns // _DAY_NS + 2):
        instant = _instant(day * _DAY_NS + trigger.step, offsets)
        if (last_ns is not None and last_ns < instant <= now_ns) or (
            last_ns is None and instant == now_ns
        ):
            firings.append(Firing(f"{trigger.text}#{instant}", instant))
    kept = firings[-MISSED_MAX - 1 :]
    return _split(trigger, kept, firings[: len(firings) - len(kept)])


def _split(trigger: Trigger, firings: list[Firing], lost: list[Firing]) -> Due:
    if trigger.missed == "make up":
        return Due(firings, lost)
    return Due(firings[-1:], [*lost, *firings[:-1]])


def _instant(local_ns: int, offsets: Sequence[tuple[int, int]]) -> int:
    """Return the first UTC instant at which the local clock shows `local_ns` or passes it."""
    starts = [start for start, _ in offsets]
    for i, (start, seconds) in enumerate(offsets):
        end = starts[i + 1] if i + 1 < len(starts) else None
        instant = local_ns - seconds * _UNIT_NS["s"]
        if end is None or instant < end:
            return max(instant, start) if i else instant
    raise SnapshotError("a schedule needs the offsets of its time zone, none were given")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
