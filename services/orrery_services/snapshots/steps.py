"""When to cut, and what a cut's leaves make. Nothing outside is touched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from orrery_kernels.curves.calendars import CALENDAR_NAMES, calendar
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot import triggers as decide
from orrery_kernels.snapshot.canonical import encode
from orrery_kernels.snapshot.snapshot import Frozen, Record, freeze
from orrery_kernels.snapshot.tree import CANONICAL, Built, build
from orrery_kernels.snapshot.triggers import Due, Firing, Trigger

from ..errors import ConfigError
from ..protocol import snapshots
from ..protocol.cuts import Cut, counts
from ..protocol.vectors import Vector

FIRED_MAX = 10_000  # ids remembered: enough for whoever writes a cut after reading all before it


@dataclass
class Seen:
    """What the topic of cuts has said so far."""

    greatest: int = 0
    last_ns: dict[str, int] = field(default_factory=dict)  # trigger -> time of its last cut
    fired: dict[str, int] = field(default_factory=dict)  # id -> number

    def take(self, cut: Cut) -> bool:
        """Take the next message of the topic; return whether it is a cut."""
        if not counts(self.greatest, cut):
            return False
        self.greatest = cut.number
        self.last_ns[cut.trigger] = max(cut.at_ns, self.last_ns.get(cut.trigger, 0))
        self.fired[cut.id] = cut.number
        if len(self.fired) > FIRED_MAX:
            del self.fired[next(iter(self.fired))]
        return True


class Observed(NamedTuple):
    """What triggers look at besides the time: only what is declared is filled in."""

    events: int = 0  # rows that the packers have read, of all partitions
    events_at_cut: int = 0
    quotes: Mapping[str, float] = {}
    quotes_at_cut: Mapping[str, float] = {}
    number: int = 0  # of the cut to which these belong


Offsets = Mapping[str, Sequence[tuple[int, int]]]  # zone -> (from UTC ns, seconds to add)


def read_triggers(declared: Mapping[str, Mapping[str, str]], place: str) -> list[Trigger]:
    """Return the triggers of `data.snapshots`. Raises ConfigError naming the one that is wrong."""
    found = []
    for name, one in declared.items():
        try:
            found.append(decide.read_trigger(one["trigger"], one.get("missed", "skip")))
        except SnapshotError as cause:
            raise ConfigError(f"data.snapshots.{name}: {cause} ({place})") from cause
    return found


def due(
    trigger: Trigger, seen: Seen, observed: Observed, offsets: Offsets, started_ns: int, now_ns: int
) -> Due:
    """Return what a trigger owes now. What has been fired already is not owed.

    A schedule that has never fired owes nothing from before the start of this service. A change is
    looked for behind the last cut, once its snapshot is made: so every node means the same one.
    """
    last_ns = seen.last_ns.get(trigger.text)
    if trigger.kind == "interval":
        found = decide.due_by_interval(trigger, last_ns, now_ns)
    elif trigger.kind == "schedule":
        begin_ns = started_ns if last_ns is None else last_ns
        found = decide.due_by_schedule(trigger, begin_ns, now_ns, offsets[trigger.zone])
    elif trigger.kind == "count":
        found = decide.due_by_count(trigger, observed.events_at_cut, observed.events)
    elif trigger.kind == "change" and observed.number == seen.greatest:
        found = decide.due_by_change(
            trigger, observed.quotes_at_cut, observed.quotes, observed.number
        )
    else:
        found = Due([], [])
    return Due(*([f for f in part if f.id not in seen.fired] for part in found))


def skipped_event(trigger: Trigger, skipped: Sequence[Firing]) -> dict[str, Any]:
    """Return what is written down of firings that were missed and are not made up. Those of
    intervals and counts are numbered, and of many only the ends of a range are given."""
    count = len(skipped)
    if trigger.kind in ("interval", "count"):
        first, last = (int(one.id.rpartition("#")[2]) for one in (skipped[0], skipped[-1]))
        count = last - first + 1
    return {
        "what": "skipped", "trigger": trigger.text, "count": count,
        "first": skipped[0].id, "last": skipped[-1].id,
    }  # fmt: skip


def events_in(vectors: Sequence[Vector]) -> int:
    """Return how many messages of row topics lie below some vectors.

    >>> events_in([{"row:trades:x": 5, "cut": 9}, {"row:quotes:y": 2}])
    7
    """
    return sum(at for v in vectors for source, at in v.items() if source.startswith("row:"))


class Complete(NamedTuple):
    """A snapshot whose leaves are all held, and what its record says of late rows."""

    frozen: Frozen
    late: int
    slice: str  # the interval of event time whose next version it is; "" without late rows


def complete(
    cut: Cut,
    leaves: Mapping[tuple[str, int], snapshots.Leaf],
    partitions: int,
    before_ns: int | None,
) -> Complete | None:
    """Return the snapshot of a cut, or None while a leaf is missing.

    before_ns: the time of the cut before. Late rows lie before it in event time: with them the
    interval from the earliest of them gets its next version.
    """
    if any(slot not in leaves for slot in snapshots.wanted(cut, partitions)):
        return None
    frozen = freeze(**snapshots.parts_of(cut, leaves, partitions, [calendar_tree().root]))
    some = min(cut.chains.values())
    of_some = [leaves[some, p] for p in range(partitions)]
    late = sum(leaf.late for leaf in of_some)
    first = min((leaf.late_from_ns for leaf in of_some if leaf.late_from_ns is not None), default=0)
    slice_ = f"{first}..{before_ns}" if late and before_ns is not None else ""
    return Complete(frozen, late, slice_)


@cache
def calendar_tree() -> Built:
    """Return the tree of the calendars that dates are reckoned by, as every node has them."""
    names = [name for name in CALENDAR_NAMES if name != "WEEKENDS"]
    tables = [calendar(name) for name in names]
    values = [
        encode({"first": t.first, "last": t.last, "holidays": list(t.holidays)}) for t in tables
    ]
    return build(names, values, CANONICAL)


def static_tree(declared: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Built | None:
    """Return the tree of the static data that a universe declares, None when there are none.

    >>> static_tree({"instruments": {"X": {"tick_size": 0.01}}}).count
    1
    """
    leaves = {
        f"{group}/{name}": encode(dict(values))
        for group, named in declared.items()
        for name, values in named.items()
    }
    return build(list(leaves), list(leaves.values()), CANONICAL) if leaves else None


def static_root(declared: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return what a cut says of static data: their root in hex, "" when there are none."""
    tree = static_tree(declared)
    return tree.root.hex() if tree else ""


def record_of(
    done: Complete, cut: Cut, parent: bytes | None, node: str, lsn: str, now_ns: int
) -> Record:
    return Record(done.frozen.id, cut.number, parent, cut.trigger, lsn, now_ns, node, done.slice)
