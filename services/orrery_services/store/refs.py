"""Names that move, what people mean by a text, and what happened."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot import refs as decisions

from orrery_services.errors import OutsideError
from orrery_services.protocol import facts
from orrery_services.protocol import snapshots as rules
from orrery_services.protocol.snapshots import TAG, Ref

from . import identity, ledger, snapshots
from .moving import as_decided, locked, read_refs, standing_of

DIGITS_MIN, DIGITS_MAX = 4, 64  # of an id as people type it
DIGITS = frozenset("0123456789abcdef")
LATEST = "latest"


def standing(connection: psycopg.Connection) -> list[Ref]:
    """Return where every ref of every origin is now: its last move."""
    last: dict[tuple[str, str], Ref] = {}
    for ref in read_refs(connection.execute(_STANDING)):
        before = last.get((ref.node, ref.name))
        if before is None or before.move < ref.move:
            last[ref.node, ref.name] = ref
    return list(last.values())


def moves(connection: psycopg.Connection, many: int) -> list[Ref]:
    """Return the newest moves of all refs of all origins, the newest first."""
    found: list[Ref] = []
    for prefix in [prefix for prefix, _ in connection.execute(_STANDING)]:
        found += read_refs(connection.execute(_MOVES, (prefix, prefix + "~", many)))
    return sorted(found, key=lambda ref: (ref.at_ns, ref.number, ref.name), reverse=True)[:many]


def move(connection: psycopg.Connection, stream: int, wanted: Ref, expected: bytes | None) -> Ref:
    """Move this node's ref `wanted.name` if it is where `expected` says; return the move.

    `wanted.move` is given here. Raises SnapshotError when somebody moved it first.
    """
    with locked(connection, wanted.name):
        before = [as_decided(ref) for ref in standing_of(connection, [wanted.name])]
        moved = decisions.move(
            before, wanted.node, wanted.name, expected, bytes.fromhex(wanted.target), wanted.number
        )
        made = wanted._replace(move=moved.move)
        ledger.commit(connection, rules.ref_fact(made, origin(connection), stream))
    return made


def result_at(connection: psycopg.Connection, text: str) -> Ref | None:
    """Return the move that `origin/name` stands at, of a result; None when there is none."""
    node, _, name = text.partition("/")
    found = [ref for ref in standing_of(connection, [name]) if ref.node == node]
    return max(found, key=lambda ref: ref.move, default=None)


def latest_of(connection: psycopg.Connection, name: str) -> Ref | None:
    """Return the move that `name@latest` means, over all origins; None when there is none."""
    found = standing_of(connection, [name])
    if not found:
        return None
    latest = decisions.resolve(name, map(as_decided, found))
    return next(ref for ref in found if as_decided(ref) == latest)


def now_at(connection: psycopg.Connection, node: str, name: str) -> bytes | None:
    """Return where a node's ref is now, None when it is new."""
    at = (ref.target for ref in standing(connection) if (ref.node, ref.name) == (node, name))
    found = next(at, None)
    return bytes.fromhex(found) if found else None


def resolve(connection: psycopg.Connection, text: str) -> bytes:
    """Return the id of the snapshot that a text means: short id, tag, ref, or "latest".

    A ref to a result means the snapshot it was made from; a name that is there goes before an id
    that begins so. Raises SnapshotError naming the nearest.
    """
    if text == LATEST:
        made = snapshots.newest(connection)
        if made is None:
            raise SnapshotError("there is no snapshot yet: `orrery snapshot` makes one")
        return made.id
    ids = snapshots.ids_like(connection, text.lower()) if is_id_like(text) else []
    if ids and len(text) == DIGITS_MAX:
        return ids[0]
    known = standing(connection)
    decided = [as_decided(ref) for ref in known]
    for spec in (TAG + text, text):
        try:
            ref = decisions.resolve(spec, decided)
        except SnapshotError:
            continue
        return bytes.fromhex(next(r for r in known if as_decided(r) == ref).snapshot)
    if ids:
        return decisions.find_by_prefix(text, ids)
    raise SnapshotError(
        f"there is no snapshot, tag or ref {text!r}; nearest: {_nearest(connection, text, known)}"
    )


def is_id_like(text: str) -> bool:
    """Return whether a text may be the first digits of an id, in either case."""
    return DIGITS_MIN <= len(text) <= DIGITS_MAX and set(text.lower()) <= DIGITS


def write_events(
    connection: psycopg.Connection, stream: int, events: Iterable[Mapping[str, Any]]
) -> None:
    """Write down what happened: each has what, at_ns, by and node, and what belongs to it."""
    own = origin(connection)
    made = facts.concat(rules.event_fact(e, own, stream) for e in events)
    ledger.commit(connection, made, as_origin=own)


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


def _nearest(connection: psycopg.Connection, text: str, known: list[Ref]) -> str:
    from difflib import get_close_matches

    names = sorted({ref.name.removeprefix(TAG) for ref in known})
    near = get_close_matches(text, names, 3, 0.4)
    ids = [made.id.hex()[:12] for made in snapshots.made_before(connection, 2**62, 200)]
    near += get_close_matches(text, ids, 3, 0.3) or ids[:3]
    return ", ".join(near[:5]) or "none"


def _no_pieces(_: bytes) -> bytes:
    raise facts.BadFact("an event must fit one row")


_EVENT_ORIGINS = "SELECT origin FROM incarnations UNION SELECT origin FROM origins ORDER BY 1"
_NEWEST_EVENTS = """
    SELECT payload FROM facts WHERE key >= %s AND key < %s ORDER BY key DESC LIMIT %s"""
# One step through the index a ref, however often each moved: behind the last of its moves.
_STANDING = """
    WITH RECURSIVE refs AS (
        (SELECT split_part(key, '@', 1) || '@' AS prefix FROM facts
         WHERE key >= 'ref/' AND key < 'ref0' ORDER BY key LIMIT 1)
        UNION ALL
        SELECT (SELECT split_part(key, '@', 1) || '@' FROM facts
                WHERE key > (refs.prefix || '~') COLLATE "C" AND key < 'ref0' ORDER BY key LIMIT 1)
        FROM refs WHERE prefix IS NOT NULL
    ) SELECT prefix, (SELECT payload FROM facts
                      WHERE key >= prefix COLLATE "C" AND key < (prefix || '~') COLLATE "C"
                      ORDER BY key DESC LIMIT 1)
    FROM refs WHERE prefix IS NOT NULL"""
_MOVES = """
    SELECT key, payload FROM facts WHERE key >= %s AND key < %s ORDER BY key DESC LIMIT %s"""
