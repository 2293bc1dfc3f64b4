"""Which universe answers: a path and the routing table in, a universe and the reason out.

    [routing]
    universes = ["n1", "n2"]
    wheel = { replicas = ["n1", "n2"], slice_seconds = 300 }   # slices are dealt in turn
    [routing.dominoes]
    rates = "n1"
    [routing.curves]
    "USD-*" = "n1"
    [routing.reads]
    "*" = "local"

Paths: domino/<chain>, curve/<name>, slice/<name>/<t> (seconds since 1970), read/<name>. Ticks are
not routed: they follow the consumer group. Pure: every node gives the same answer.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ..errors import ConfigError

KINDS = {"domino": "dominoes", "curve": "curves", "read": "reads", "slice": "slices"}
LOCAL = "local"
SLICE_SECONDS = 300
MOMENT_DIGITS_MAX = 18


class BadRoute(ConfigError):
    """A path or a table that leads nowhere."""


class Answer(NamedTuple):
    """Who answers, and why."""

    universe: str
    why: str


def route(path: str, table: Mapping[str, Any], here: str) -> Answer:
    """Return the universe that a path belongs to. `here` answers what nothing else claims.

    >>> route("curve/USD-SOFR", {"curves": {"USD-*": "n1"}}, "n2")
    Answer(universe='n1', why="routing.curves 'USD-*'")
    """
    check_table(table)
    kind, _, name = path.partition("/")
    if kind not in KINDS or not name:
        raise BadRoute(f"a path must be one of {sorted(KINDS)} and a name, was {path!r}")
    if kind == "slice":
        return _route_slice(name, table, here)
    if found := _longest_match(name, table.get(KINDS[kind], {})):
        pattern, universe = found
        universe = here if universe == LOCAL else universe
        return Answer(_known(universe, table), f"routing.{KINDS[kind]} {pattern!r}")
    return Answer(here, f"no entry of routing.{KINDS[kind]} matches: local first")


def check_table(table: Mapping[str, Any]) -> None:
    """Raise BadRoute for a table that does not say what [routing] can say."""
    wheel = table.get("wheel", {})
    rules = {
        "universes": (is_texts, "a list of names"),
        **dict.fromkeys(KINDS.values(), (is_table_of_texts, "a table: pattern = universe")),
        "wheel": (lambda value: isinstance(value, Mapping), "a table: replicas, slice_seconds"),
    }
    checks = [(key, table[key], *rules[key]) for key in rules if key in table]
    if isinstance(wheel, Mapping):
        checks.append(("wheel.replicas", wheel.get("replicas", []), is_texts, "a list of names"))
        seconds = wheel.get("slice_seconds", SLICE_SECONDS)
        checks.append(("wheel.slice_seconds", seconds, is_whole, "a whole number"))
    for key, value, holds, rule in checks:
        if not holds(value):
            raise BadRoute(f"routing.{key} must be {rule}, was {value!r:.80}")
    if unknown := set(table) - set(rules):
        raise BadRoute(f"unknown {sorted(unknown)} in routing; known: {sorted(rules)}")


def is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def is_table_of_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and is_texts(list(value.values()))


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _longest_match(name: str, entries: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the most exact entry: the name itself, else the longest pattern that matches."""
    matching = [pattern for pattern in entries if fnmatchcase(name, pattern)]
    if not matching:
        return None
    best = min(matching, key=lambda pattern: (pattern != name, -len(pattern), pattern))
    return best, entries[best]


def _known(universe: str, table: Mapping[str, Any]) -> str:
    universes = table.get("universes")
    if universes and universe not in universes:
        raise BadRoute(
            f"routing must name universes out of {list(universes)}, was {universe!r}; "
            "add it to routing.universes or correct the entry"
        )
    return universe


def _route_slice(name: str, table: Mapping[str, Any], here: str) -> Answer:
    family, _, moment = name.rpartition("/")
    digits = moment.removeprefix("-")
    if not family or not digits.isdecimal() or len(digits) > MOMENT_DIGITS_MAX:
        raise BadRoute(
            f"a slice must be slice/<name>/<seconds since 1970>, was {'slice/' + name!r}"
        )
    if found := _longest_match(family, table.get("slices", {})):
        pattern, universe = found
        universe = here if universe == LOCAL else universe
        return Answer(_known(universe, table), f"routing.slices {pattern!r}")
    replicas, seconds = wheel_of(table)
    if not replicas:
        return Answer(here, "routing.wheel names no replicas: local first")
    number = slice_of(int(moment), seconds)
    universe = deal(number, replicas)
    turn = number % len(replicas)
    why = f"slice {number} of {seconds} s, replica {turn} of {len(replicas)} on the wheel"
    return Answer(_known(universe, table), why)


def wheel_of(table: Mapping[str, Any]) -> tuple[list[str], int]:
    """Return the replicas that slices are dealt to, and the length of a slice in seconds."""
    wheel = table.get("wheel", {})
    return list(wheel.get("replicas", [])), int(wheel.get("slice_seconds", SLICE_SECONDS))


def slice_of(ts_s: int, slice_seconds: int) -> int:
    """Return the number of the slice that a moment lies in: [t * seconds, (t + 1) * seconds).

    >>> slice_of(299, 300), slice_of(300, 300), slice_of(-1, 300)
    (0, 1, -1)
    """
    if slice_seconds < 1:
        raise BadRoute(f"slice_seconds must be at least 1, was {slice_seconds}")
    return ts_s // slice_seconds


def deal(number: int, replicas: Sequence[str]) -> str:
    """Return the replica of slice t: t mod n, so that every n slices in a row touch each once."""
    return replicas[number % len(replicas)]


class Provision(NamedTuple):
    """Who has to be ready for which slice, and since when."""

    universe: str
    slice: int
    opens_s: int


def provisions(now_s: int, table: Mapping[str, Any], lead_seconds: int) -> list[Provision]:
    """Return the slices that a replica must be ready for now: the open one, and the next one from
    `lead_seconds` before the open one closes.

    >>> table = {"wheel": {"replicas": ["n1", "n2"], "slice_seconds": 300}}
    >>> [p.universe for p in provisions(295, table, lead_seconds=10)]
    ['n1', 'n2']
    """
    replicas, seconds = wheel_of(table)
    if not replicas:
        return []
    first, last = slice_of(now_s, seconds), slice_of(now_s + max(0, lead_seconds), seconds)
    return [
        Provision(deal(number, replicas), number, number * seconds)
        for number in range(first, min(last, first + len(replicas)) + 1)
    ]
