"""What may be deleted: a decision, made before anything is, with a reason for every object.

A policy is a list of what stays, e.g. "tags, 30 days, last 1000, one a day for 5 years". Whatever a
tag, a ref or a run in flight needs stays whatever the policy says.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from orrery_kernels.errors import SnapshotError

_DAY_NS = 86_400_000_000_000
_UNIT_NS = {
    "second": 1_000_000_000,
    "minute": 60_000_000_000,
    "hour": 3_600_000_000_000,
    "day": _DAY_NS,
    "week": 7 * _DAY_NS,
    "month": 31 * _DAY_NS,
    "year": 366 * _DAY_NS,
}
_AGE = re.compile(r"(\d+) (second|minute|hour|day|week|month|year)s?")
_LAST = re.compile(r"last (\d+)")
_SPARSE = re.compile(r"one an? (minute|hour|day|week) for (\d+) (hour|day|week|month|year)s?")
_MONDAY_NS = 4 * _DAY_NS  # 1970-01-05 was the first Monday of the epoch


class Rule(NamedTuple):
    """One clause. every_ns: keep the first of each such period; age_ns: until that age."""

    text: str
    count: int | None = None
    age_ns: int | None = None
    every_ns: int | None = None


class Kept(NamedTuple):
    """One snapshot, whether it stays, and why."""

    snapshot: bytes
    keep: bool
    why: str


class Held(NamedTuple):
    """A snapshot and the time of its cut, which is the same on every node and however late it was
    made."""

    snapshot: bytes
    number: int
    ts_cut_ns: int


def read_policy(text: str) -> tuple[Rule, ...]:
    """Return the rules of a policy. Raises SnapshotError that shows what can be said.

    >>> [rule.text for rule in read_policy("tags, 30 days, one a day for 5 years")]
    ['tags', '30 days', 'one a day for 5 years']
    """
    return tuple(_read_rule(clause.strip(), text) for clause in text.split(","))


def retain(
    snapshots: Iterable[Held],
    tags: Mapping[str, bytes],
    refs: Mapping[str, bytes],
    runs: Mapping[str, bytes],
    policy: str,
    now_ns: int,
) -> list[Kept]:
    """Say of every snapshot whether it stays, newest first.

    tags, refs, runs: name -> the snapshot it needs (for a ref to a result: the one it was made
    from; runs: those in flight). All of them stay, also when the policy does not say "tags".
    """
    rules = read_policy(policy)
    ordered = sorted(snapshots, key=lambda held: (held.number, held.snapshot), reverse=True)
    reasons = {snapshot: f"tag {name}" for name, snapshot in sorted(tags.items())}
    reasons.update({snapshot: f"ref {name}" for name, snapshot in sorted(refs.items())})
    reasons.update(
        {snapshot: f"run {name} is in flight" for name, snapshot in sorted(runs.items())}
    )
    for rule in rules:
        for held in _kept_by(rule, ordered, now_ns):
            reasons.setdefault(held.snapshot, rule.text)
    if ordered:
        reasons.setdefault(ordered[0].snapshot, "the newest")
    return [
        Kept(h.snapshot, h.snapshot in reasons, reasons.get(h.snapshot, f"not in '{policy}'"))
        for h in ordered
    ]


def _kept_by(rule: Rule, newest_first: list[Held], now_ns: int) -> list[Held]:
    if rule.count is not None:
        return newest_first[: rule.count]
    if rule.age_ns is None:
        return []
    young = [held for held in newest_first if now_ns - held.ts_cut_ns <= rule.age_ns]
    if rule.every_ns is None:
        return young
    # The last of each period: what a day ended with is what one asks for later.
    last: dict[int, Held] = {}
    for held in young:
        last.setdefault((held.ts_cut_ns - _MONDAY_NS) // rule.every_ns, held)
    return list(last.values())


def _read_rule(clause: str, text: str) -> Rule:
    if clause == "tags":
        return Rule(clause)
    if found := _LAST.fullmatch(clause):
        return Rule(clause, count=int(found[1]))
    if found := _AGE.fullmatch(clause):
        return Rule(clause, age_ns=int(found[1]) * _UNIT_NS[found[2]])
    if found := _SPARSE.fullmatch(clause):
        return Rule(clause, age_ns=int(found[2]) * _UNIT_NS[found[3]], every_ns=_UNIT_NS[found[1]])
    raise SnapshotError(
        "a policy is made of 'tags', 'last 1000', '30 days', 'one a day for 5 years', was "
        f"{clause!r} in {text!r}"
    )
