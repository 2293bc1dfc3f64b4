"""Gc: which packs of pieces nothing needs, and removing their bodies. Names always stay.

A pack goes when no snapshot that stays has a piece in it, and every peer that was heard lately has
named a number of its stream at or behind it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from orrery_kernels.snapshot.retention import Held, Kept, retain
from orrery_kernels.snapshot.tree import pieces_below

from ..errors import OutsideError
from ..protocol import facts
from ..protocol import snapshots as rules
from ..store import holds, pieces, refs, snapshots

PACKS_AT_ONCE = 200  # in one transaction
Named = Mapping[str, Mapping[str, int]]  # origin -> stream -> greatest number that is held


class Pack(NamedTuple):
    key: str
    origin: str
    stream: int
    oseq: int
    bytes: int


class Plan(NamedTuple):
    """What gc found: what stays and why, which packs go, and how many wait for a peer."""

    policy: str
    kept: Sequence[Kept]
    numbers: Mapping[bytes, int]
    packs: Sequence[Pack]
    waiting: int

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
            "bytes": sum(pack.bytes for pack in self.packs),
            "waiting": self.waiting,
        }


def plan(
    connection: psycopg.Connection, policy: str, peers: Mapping[str, Named], now_ns: int
) -> Plan:
    """Decide, and touch nothing. Raises SnapshotError when the policy cannot be read."""
    made = snapshots.made_after(connection, 0, 2**31)
    times = {
        record.number: record.ts_wall_ns
        for record in snapshots.records(connection, refs.origin(connection))
    }
    held = [Held(m.id, m.number, times.get(m.number, m.at_ns)) for m in made]
    names: dict[bool, dict[str, bytes]] = {True: {}, False: {}}
    for ref in refs.standing(connection):
        is_tag = ref.name.startswith(rules.TAG)
        names[is_tag][f"{ref.node}/{ref.name}"] = bytes.fromhex(ref.snapshot)
    kept = retain(held, names[True], names[False], holds.held(connection), policy, now_ns)
    needed = {one.snapshot for one in kept if one.keep}
    useless = useless_packs(connection, needed, max((m.number for m in made), default=0))
    ready = [pack for pack in useless if is_held_by_all(pack, peers)]
    return Plan(policy, kept, {m.id: m.number for m in made}, ready, len(useless) - len(ready))


def useless_packs(
    connection: psycopg.Connection, needed: Iterable[bytes], newest: int
) -> list[Pack]:
    """Return the packs, up to the newest cut, in which no needed snapshot has a piece."""
    live = packs_of(connection, needed)
    found = []
    for *row, head in connection.execute(_PACKS):
        pack = Pack(*row)
        if (
            pack.key not in live
            and int(pack.key.split("/")[2]) <= newest
            and not facts.is_gone(bytes(head))
        ):
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


def is_held_by_all(pack: Pack, peers: Mapping[str, Named]) -> bool:
    """Whether every peer's heartbeat names a number of the pack's stream that covers it."""
    return all(
        named.get(pack.origin, {}).get(str(pack.stream), 0) >= pack.oseq
        or pack.origin.split(".", 1)[0] == peer
        for peer, named in peers.items()
    )


def remove(connection: psycopg.Connection, packs: Sequence[Pack]) -> None:
    """Empty the bodies of packs and forget their pieces; the role of gc is needed, and enough."""
    for at in range(0, len(packs), PACKS_AT_ONCE):
        keys = [pack.key for pack in packs[at : at + PACKS_AT_ONCE]]
        with connection.transaction(), connection.cursor() as cursor:
            rows = cursor.execute(_BODIES, (keys,)).fetchall()
            cursor.executemany(_EMPTY, [(facts.gone(bytes(p)), key) for key, p in rows])
            cursor.execute("DELETE FROM tree_pieces WHERE pack = ANY(%s)", (keys,))


_PACKS = """
    SELECT key, origin, stream, oseq, octet_length(payload), substring(payload FOR 64)
    FROM facts WHERE key >= 'pack/' AND key < 'pack0' ORDER BY key"""
_PLACES = "SELECT digest, pack FROM tree_pieces WHERE digest = ANY(%s)"
_BODIES = "SELECT key, payload FROM facts WHERE key = ANY(%s)"
_EMPTY = "UPDATE facts SET payload = %b WHERE key = %s"
