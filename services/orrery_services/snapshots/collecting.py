"""Gc: which packs of pieces and which answers nothing needs, and removing their bodies.

Names always stay. A pack goes when no snapshot that stays has a piece in it, the bytes of an answer
when it was found on snapshots that go, on none that stays, and is no task's latest; and both only
when every peer that was heard lately has named a number of their stream at or behind them.

Snapshots are made while gc looks and removes. What one has, it has from the one before it, or from
a pack that came with its own cut; and the newest of those that gc saw always stays. So what comes
later needs no pack of before that none of those needs: what comes again comes in a new one.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from orrery_kernels.snapshot.retention import Held, Kept, retain
from orrery_kernels.snapshot.tree import pieces_below

from ..errors import OutsideError
from ..protocol import facts
from ..protocol import snapshots as rules
from ..protocol.answers import bytes_key
from ..store import domino_runs, holds, pieces, reading, refs, snapshots

BODIES_AT_ONCE = 200  # in one transaction
SNAPSHOTS_AT_ONCE = 1000  # manifests in memory
WAITING_MAX = 10_000  # cuts without a snapshot, whose pieces are left alone
Named = Mapping[str, Mapping[str, int]]  # origin -> stream -> greatest number that is held


class Body(NamedTuple):
    """The fact of a pack or of an answer's bytes."""

    key: str
    origin: str
    stream: int
    oseq: int
    bytes: int


class Plan(NamedTuple):
    """What gc found: what stays or goes and why, which bodies go, how many wait for a peer, and how
    many snapshots went before."""

    policy: str
    kept: Sequence[Kept]
    numbers: Mapping[bytes, int]
    packs: Sequence[Body]
    answers: Sequence[Body]
    waiting: int
    gone: int

    @property
    def bodies(self) -> list[Body]:
        return [*self.packs, *self.answers]

    def told(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "snapshots": [
                {
                    "id": kept.snapshot.hex(),
                    "number": self.numbers[kept.snapshot],
                    "keep": kept.keep,
                    "why": kept.why,
                }
                for kept in self.kept
            ],
            "packs": len(self.packs),
            "answers": len(self.answers),
            "bytes": sum(body.bytes for body in self.bodies),
            "waiting": self.waiting,
            "gone": self.gone,
        }


def plan(
    connection: psycopg.Connection, policy: str, peers: Mapping[str, Named], now_ns: int
) -> Plan:
    """Decide, and touch nothing. Raises SnapshotError when the policy cannot be read."""
    there = connection.execute(_PACKS).fetchall()
    pieces.index_rest(connection, wait=True)  # of all that may go it is known what lies in them
    with reading.one_moment(connection):  # what is not made yet then waits
        made = snapshots.made_after(connection, 0, 2**31)
        waiting_cuts = [cut.number for cut in snapshots.cuts_not_made(connection, WAITING_MAX)]
        tags, results = names_of(connection)
        in_flight = holds.held(connection)
    held = [Held(m.id, m.number, m.at_ns) for m in made]
    kept = retain(held, tags, results, in_flight, policy, now_ns)
    kept = _with_those_before(kept, made, waiting_cuts)
    newest = max((m.number for m in made), default=0)
    live = packs_of(connection, {one.snapshot for one in kept if one.keep})
    packs = useless_packs(there, live, newest, waiting_cuts)
    answers = useless_answers(connection, {one.snapshot.hex() for one in kept if not one.keep})
    ready = [
        [body for body in bodies if is_held_by_all(body, peers)] for bodies in (packs, answers)
    ]
    waiting = len(packs) + len(answers) - sum(map(len, ready))
    gone = without_roots(connection, [one.snapshot for one in kept if not one.keep])
    kept = [one for one in kept if one.snapshot not in gone]
    return Plan(policy, kept, {m.id: m.number for m in made}, *ready, waiting, len(gone))


def names_of(connection: psycopg.Connection) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the snapshots that tags and refs of results need, by name; of a result the newest
    that gave the same answer."""
    found = domino_runs.where_found(connection)
    tags: dict[str, bytes] = {}
    results: dict[str, bytes] = {}
    for ref in refs.standing(connection):
        run = found.get((ref.node, ref.name, ref.target))
        names = tags if ref.name.startswith(rules.TAG) else results
        names[f"{ref.node}/{ref.name}"] = bytes.fromhex((run or ref).snapshot)
    return tags, results


def without_roots(connection: psycopg.Connection, ids: Sequence[bytes]) -> set[bytes]:
    """Return those of some snapshots of which a root is not held any more."""
    found: set[bytes] = set()
    for at in range(0, len(ids), SNAPSHOTS_AT_ONCE):
        roots = snapshots.roots_of(connection, ids[at : at + SNAPSHOTS_AT_ONCE])
        held = pieces.held_of(connection, {root for each in roots.values() for root in each})
        found.update(id_ for id_, each in roots.items() if not held.issuperset(each))
    return found


def _with_those_before(
    kept: Sequence[Kept], made: Sequence[snapshots.Made], waiting: Iterable[int]
) -> list[Kept]:
    """Keep the snapshots before cuts that wait for a leaf: their trees share pieces with them."""
    numbers = [one.number for one in made]
    reasons = {
        made[at - 1].id: f"cut {number} behind it is not made yet"
        for number in waiting
        if (at := bisect_left(numbers, number))
    }
    return [
        one if one.keep or one.snapshot not in reasons
        else one._replace(keep=True, why=reasons[one.snapshot])
        for one in kept
    ]  # fmt: skip


def useless_answers(connection: psycopg.Connection, going: Collection[str]) -> list[Body]:
    """Return the bytes of answers that were found on snapshots that go (hex), and not elsewhere."""
    found: set[str] = set()
    needed: set[str] = set()
    for chain in domino_runs.chains(connection):
        latest: dict[str, str] = {}
        for run in domino_runs.of_cuts(connection, chain, 0):
            outputs = {step.task: step.output for step in run.steps if step.output}
            latest |= outputs
            (found if run.snapshot in going else needed).update(outputs.values())
        needed.update(latest.values())
    keys = [bytes_key(output) for output in sorted(found - needed)]
    rows = connection.execute(_ANSWERS, (keys,))
    return [Body(*row) for *row, head in rows if not facts.expired(bytes(head))]


def useless_packs(
    there: Iterable[Sequence[Any]], live: Collection[str], newest: int, waiting: Iterable[int]
) -> list[Body]:
    """Return the packs, up to the newest cut, in which no needed snapshot has a piece, but for
    those that came with a cut that waits for a leaf."""
    left = set(waiting)
    found = []
    for *row, head in there:
        pack = Body(*row)
        number = int(pack.key.split("/")[2])
        is_needed = pack.key in live or number > newest or number in left
        if not is_needed and not facts.expired(bytes(head)):
            found.append(pack)
    return found


def packs_of(connection: psycopg.Connection, ids: Iterable[bytes]) -> set[str]:
    """Return the packs in which the pieces of these snapshots lie; each piece is looked at once."""
    fetch = pieces.fetcher(connection)
    seen: set[bytes] = set()
    found: set[str] = set()
    for id_ in ids:
        opened, _ = snapshots.open_snapshot(connection, id_, fetch)
        level = [root for roots in opened.sections.values() for root in roots]
        while level := [name for name in dict.fromkeys(level) if name not in seen]:
            seen.update(level)
            known = dict(connection.execute(_PLACES, (level,)).fetchall())
            found.update(known.values())
            level = [below for name in level for below in _below(fetch, name)]
    return found


def _below(fetch: pieces.Fetch, name: bytes) -> list[bytes]:
    try:
        return pieces_below(fetch(name))
    except OutsideError:
        return []  # removed before its snapshot was named again: there is nothing left to keep


def is_held_by_all(body: Body, peers: Mapping[str, Named]) -> bool:
    """Whether every peer's heartbeat names a number of the body's stream that covers it: also of
    its own, which a peer whose disk was lost has to get back."""
    return all(
        named.get(body.origin, {}).get(str(body.stream), 0) >= body.oseq for named in peers.values()
    )


def condemn(connection: psycopg.Connection, plan: Plan) -> None:
    """Look for the last time, and have what goes be known as gone: apart from who names a snapshot
    or runs a chain on it. Raises OutsideError when one that was to go has been named meanwhile."""
    going = [one.snapshot for one in plan.kept if not one.keep]
    condemned, roots = set(going), set()
    for at in range(0, len(going), SNAPSHOTS_AT_ONCE):
        opened = snapshots.roots_of(connection, going[at : at + SNAPSHOTS_AT_ONCE])
        roots.update(root for each in opened.values() for root in each)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", holds.LAST_LOOK)
        tags, results = names_of(connection)
        named = {**tags, **results, **holds.held(connection)}
        late = [name for name, id_ in named.items() if id_ in condemned]
        if late:
            raise OutsideError(
                f"no snapshot that goes may be needed, but {', '.join(sorted(late)[:3])} came "
                "while gc looked: nothing was removed; start it again"
            )
        connection.execute(_FORGET_ROOTS, (list(roots), [body.key for body in plan.packs]))


def remove(connection: psycopg.Connection, bodies: Sequence[Body], now_ns: int) -> None:
    """Empty bodies, and forget the pieces of packs; the role of gc is needed, and enough."""
    for at in range(0, len(bodies), BODIES_AT_ONCE):
        keys = [body.key for body in bodies[at : at + BODIES_AT_ONCE]]
        with connection.transaction(), connection.cursor() as cursor:
            rows = cursor.execute(_BODIES, (keys,)).fetchall()
            cursor.executemany(_EMPTY, [(facts.gone(bytes(p), now_ns), key) for key, p in rows])
            cursor.execute("DELETE FROM tree_pieces WHERE pack = ANY(%s)", (keys,))


_PACKS = """
    SELECT key, origin, stream, oseq, octet_length(payload), substring(payload FOR 64)
    FROM facts WHERE key >= 'pack/' AND key < 'pack0' ORDER BY key"""
_ANSWERS = """
    SELECT key, origin, stream, oseq, octet_length(payload), substring(payload FOR 64)
    FROM facts WHERE key = ANY(%s) ORDER BY key"""
_PLACES = "SELECT digest, pack FROM tree_pieces WHERE digest = ANY(%s)"
_FORGET_ROOTS = "DELETE FROM tree_pieces WHERE digest = ANY(%s::bytea[]) AND pack = ANY(%s)"
_BODIES = "SELECT key, payload FROM facts WHERE key = ANY(%s)"
_EMPTY = "UPDATE facts SET payload = %b WHERE key = %s"
