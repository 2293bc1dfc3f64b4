"""Names that move, what people mean by a text, and what happened."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot import refs as decisions

from orrery_services.errors import OutsideError
from orrery_services.protocol import facts
from orrery_services.protocol import snapshots as rules
from orrery_services.protocol.snapshots import TAG, Ref

from . import identity, ledger, reading, snapshots

DIGITS_MIN = 4
LOCK_CLASS = 0x0FAC8  # of advisory locks: one per name
LATEST = "latest"


def held(connection: psycopg.Connection) -> list[Ref]:
    """Return every move of every ref that is held, of all origins."""
    rows = reading.facts_between(connection, f"{rules.REF}/", f"{rules.REF}0")
    return [rules.ref_of(facts.data_of(row.payload, _no_pieces)) for row in rows]


def standing(connection: psycopg.Connection) -> list[Ref]:
    """Return where every ref of every origin is now: its last move."""
    last: dict[tuple[str, str], Ref] = {}
    for ref in held(connection):
        before = last.get((ref.node, ref.name))
        if before is None or before.move < ref.move:
            last[ref.node, ref.name] = ref
    return list(last.values())


def move(connection: psycopg.Connection, stream: int, wanted: Ref, expected: bytes | None) -> Ref:
    """Move this node's ref `wanted.name` if it is where `expected` says; return the move.

    `wanted.move` is given here. Raises SnapshotError when somebody moved it first.
    """
    with _locked(connection, wanted.name):
        before = [as_decided(ref) for ref in held(connection)]
        moved = decisions.move(
            before, wanted.node, wanted.name, expected, bytes.fromhex(wanted.target), wanted.number
        )
        made = wanted._replace(move=moved.move)
        ledger.commit(connection, rules.ref_fact(made, origin(connection), stream))
    return made


def now_at(connection: psycopg.Connection, node: str, name: str) -> bytes | None:
    """Return where a node's ref is now, None when it is new."""
    at = (ref.target for ref in standing(connection) if (ref.node, ref.name) == (node, name))
    found = next(at, None)
    return bytes.fromhex(found) if found else None


def resolve(connection: psycopg.Connection, text: str) -> bytes:
    """Return the id of the snapshot that a text means: short id, tag, ref, or "latest".

    A ref to a result means the snapshot it was made from. Raises SnapshotError naming the nearest.
    """
    if text == LATEST:
        made = snapshots.newest(connection)
        if made is None:
            raise SnapshotError("there is no snapshot yet: `orrery snapshot` makes one")
        return made.id
    if len(text) >= DIGITS_MIN and set(text) <= set("0123456789abcdef"):
        found = snapshots.ids_like(connection, text)
        if found:
            return decisions.find_by_prefix(text, found)
    known = held(connection)
    decided = [as_decided(ref) for ref in known]
    for spec in (TAG + text, text):
        try:
            ref = decisions.resolve(spec, decided)
        except SnapshotError:
            continue
        return bytes.fromhex(next(r for r in known if as_decided(r) == ref).snapshot)
    raise SnapshotError(
        f"there is no snapshot, tag or ref {text!r}; nearest: {_nearest(connection, text, known)}"
    )


def as_decided(ref: Ref) -> decisions.Ref:
    return decisions.Ref(ref.node, ref.name, bytes.fromhex(ref.target), ref.number, ref.move)


def write_events(
    connection: psycopg.Connection, stream: int, events: Iterable[Mapping[str, Any]]
) -> None:
    """Write down what happened: each has what, at_ns, by and node, and what belongs to it."""
    own = origin(connection)
    ledger.commit(connection, facts.concat(rules.event_fact(e, own, stream) for e in events))


def events(connection: psycopg.Connection, many: int) -> list[dict[str, Any]]:
    """Return the newest events of all origins, the newest first."""
    origins = connection.execute(_EVENT_ORIGINS).fetchall()
    found: list[dict[str, Any]] = []
    for (of,) in origins:
        prefix = f"{rules.EVENT}/{of}/"
        rows = connection.execute(_NEWEST_EVENTS, (prefix, prefix + "~", many)).fetchall()
        found += [json.loads(facts.data_of(bytes(payload), _no_pieces)) for (payload,) in rows]
    return sorted(found, key=lambda event: event["at_ns"], reverse=True)[:many]


def origin(connection: psycopg.Connection) -> str:
    found = identity.who(connection)
    if found is None:
        raise OutsideError("the node must have an incarnation: start its replication service")
    return found.origin


@contextmanager
def _locked(connection: psycopg.Connection, name: str) -> Iterator[None]:
    key = (LOCK_CLASS, name)
    connection.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", key)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)


def _nearest(connection: psycopg.Connection, text: str, known: list[Ref]) -> str:
    from difflib import get_close_matches

    names = sorted({ref.name.removeprefix(TAG) for ref in known})
    near = get_close_matches(text, names, 3, 0.4)
    ids = [made.id.hex()[:12] for made in snapshots.made_before(connection, 2**62, 200)]
    near += get_close_matches(text, ids, 3, 0.3) or ids[:3]
    return ", ".join(near[:5]) or "none"


def _no_pieces(_: bytes) -> bytes:
    raise facts.BadFact("a ref must fit one row")


_EVENT_ORIGINS = "SELECT origin FROM incarnations UNION SELECT origin FROM origins ORDER BY 1"
_NEWEST_EVENTS = """
    SELECT payload FROM facts WHERE key >= %s AND key < %s ORDER BY key DESC LIMIT %s"""
