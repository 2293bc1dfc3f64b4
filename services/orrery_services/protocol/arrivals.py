"""What has come from a foreign (origin, stream), and what is missing. Decisions only.

Facts of an origin and stream are numbered 1, 2, 3, … without a gap. What lies below the greatest
number that arrived, or that any heartbeat named, and is not here is a gap, the last number
included.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from .rules import ALL_RULES, Rules

ASKED_AT_ONCE_MAX = 1000


class Arrived(NamedTuple):
    contiguous: int = 0  # 1..contiguous are here
    greatest: int = 0  # the greatest that is here
    named: int = 0  # the greatest that a heartbeat named


class Range(NamedTuple):
    """Numbers low..high, both included."""

    low: int
    high: int


def arrive(state: Arrived, ahead: Collection[int], came: Iterable[int]) -> Arrived:
    """Return the state after numbers came. `ahead`: what was here beyond the contiguous part.

    >>> arrive(Arrived(2, 4), {4}, [3])
    Arrived(contiguous=4, greatest=4, named=0)
    """
    here = {*ahead, *came}
    contiguous = state.contiguous
    while contiguous + 1 in here:
        contiguous += 1
    return state._replace(contiguous=contiguous, greatest=max(state.greatest, *here, 0))


def name(state: Arrived, oseq: int) -> Arrived:
    """Return the state after a heartbeat named a number."""
    return state._replace(named=max(state.named, oseq))


def is_gapless(state: Arrived, rules: Rules = ALL_RULES) -> bool:
    return state.contiguous >= _top(state, rules)


def gaps(
    state: Arrived,
    ahead: Collection[int],
    rules: Rules = ALL_RULES,
    many: int = ASKED_AT_ONCE_MAX,
) -> list[Range]:
    """Return the missing ranges in order, at most `many` numbers in all.

    >>> gaps(Arrived(2, 5, 7), {5})
    [Range(low=3, high=4), Range(low=6, high=7)]
    """
    found: list[Range] = []
    at, top = state.contiguous + 1, _top(state, rules)
    here = sorted(number for number in ahead if number > state.contiguous)
    for stop in [*here, top + 1]:
        if stop > at and many > 0:
            high = min(stop - 1, at + many - 1)
            found.append(Range(at, high))
            many -= high - at + 1
        at = max(at, stop + 1)
    return found


def _top(state: Arrived, rules: Rules) -> int:
    return max(state.greatest, state.named if rules.heartbeat_names_the_last else 0)
