"""The snapshots of a node: which it made, their records, and opening one.

made = snapshots.newest(connection)
snapshot, fetch = snapshots.open_snapshot(connection, made.id)
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import psycopg
from orrery_kernels.snapshot.bloom import Bloom
from orrery_kernels.snapshot.snapshot import Record, Snapshot, thaw

from orrery_services import compiled
from orrery_services.errors import OutsideError
from orrery_services.protocol import cuts, facts
from orrery_services.protocol import snapshots as rules
from orrery_services.protocol.facts import Fact

from . import ledger, mended, pieces, reading
from .connection import soon

CHANGES_MAX = 64  # snapshots over which one looks for changes
CHANNEL = "snapshots"  # LISTEN: the payload is the id in hex


class Made(NamedTuple):
    """A snapshot that is complete on this node."""

    number: int
    id: bytes
    parent: bytes | None
    at_ns: int  # the cut's own time
    trigger: str


def newest(connection: psycopg.Connection) -> Made | None:
    row = connection.execute(f"{_MADE} ORDER BY number DESC LIMIT 1").fetchone()
    return Made(*row) if row else None


def made_after(connection: psycopg.Connection, number: int, many: int = 1000) -> list[Made]:
    """Return what this node made behind a cut, in order, at most `many`."""
    statement = f"{_MADE} WHERE number > %s ORDER BY number LIMIT %s"
    return [Made(*row) for row in connection.execute(statement, (number, many))]


def made_before(connection: psycopg.Connection, number: int, many: int = 1) -> list[Made]:
    """Return what this node made before a cut, the newest first."""
    statement = f"{_MADE} WHERE number < %s ORDER BY number DESC LIMIT %s"
    return [Made(*row) for row in connection.execute(statement, (number, many))]


def made_as(connection: psycopg.Connection, id_: bytes) -> Made | None:
    row = connection.execute(f"{_MADE} WHERE id = %s", (id_,)).fetchone()
    return Made(*row) if row else None


def open_snapshot(
    connection: psycopg.Connection, id_: bytes, fetch: pieces.Fetch | None = None
) -> tuple[Snapshot, pieces.Fetch]:
    """Return a snapshot and how to get its pieces. `fetch`: one that is open already.

    Raises OutsideError when its manifest is not held, BadFact when that is not what the id says.
    """
    compiled.keep_loops()
    row = reading.fact_by_key(connection, rules.snapshot_key(id_))
    if row is None:
        raise OutsideError(f"snapshot {id_.hex()[:12]} must be held, but is not")
    snapshot = _thawed(connection, row)
    if snapshot.id != id_:
        raise facts.BadFact(f"the manifest of {id_.hex()[:12]} is that of {snapshot.id.hex()[:12]}")
    return snapshot, fetch or pieces.fetcher(connection)


def roots_of(connection: psycopg.Connection, ids: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return the roots of the trees of some snapshots, by id; of what cannot be read, nothing."""
    keys = {rules.snapshot_key(id_): id_ for id_ in ids}
    found = {}
    for key, row in reading.facts_by_keys(connection, list(keys)).items():
        with suppress(facts.BadFact):  # `open_snapshot` tells whoever wants this one
            sections = _thawed(connection, row).sections
            found[keys[key]] = [root for roots in sections.values() for root in roots]
    return found


def _thawed(connection: psycopg.Connection, row: reading.Row) -> Snapshot:
    return thaw(mended.data_of(connection, row))


def ids_like(connection: psycopg.Connection, prefix: str) -> list[bytes]:
    """Return the ids of held snapshots that begin with these hex digits, at most 20."""
    low = f"{rules.SNAPSHOT}/{prefix}"
    found = connection.execute(_KEYS, (low, low + "~", 20))
    return [bytes.fromhex(key.rsplit("/", 1)[1]) for (key,) in found]


def records(
    connection: psycopg.Connection, origin: str, low: int = 0, high: int = cuts.NUMBER_MAX
) -> Iterator[Record]:
    """Yield an origin's records of cuts in [low, high), in order."""
    first, last = rules.record_key(origin, low), rules.record_key(origin, high)
    for row in reading.facts_between(connection, first, last):
        yield Record.from_bytes(facts.data_of(row.payload, _no_pieces))


def cut_of(connection: psycopg.Connection, number: int) -> cuts.Cut | None:
    """Return the cut that is kept as a fact under a number."""
    row = reading.fact_by_key(connection, rules.cut_key(number))
    return cuts.decode(facts.data_of(row.payload, _no_pieces)) if row else None


def cuts_of(connection: psycopg.Connection, numbers: Iterable[int]) -> dict[int, cuts.Cut]:
    """Return those of some cuts that are kept as facts, by number."""
    rows = reading.facts_by_keys(connection, [rules.cut_key(number) for number in numbers])
    found = (cuts.decode(facts.data_of(row.payload, _no_pieces)) for row in rows.values())
    return {cut.number: cut for cut in found}


def cuts_not_made(connection: psycopg.Connection, many: int) -> list[cuts.Cut]:
    """Return the newest cuts that this node has no snapshot of, in order, at most `many`."""
    numbers = [number for (number,) in connection.execute(_NOT_MADE, (many,))]
    rows = reading.facts_by_keys(connection, [rules.cut_key(number) for number in numbers])
    return [cuts.decode(facts.data_of(rows[key].payload, _no_pieces)) for key in sorted(rows)]


def made_of(connection: psycopg.Connection, numbers: list[int]) -> set[int]:
    """Return those of some cuts that this node has made a snapshot of."""
    rows = connection.execute("SELECT number FROM snapshots WHERE number = ANY(%s)", (numbers,))
    return {number for (number,) in rows}


def newest_cut(connection: psycopg.Connection) -> int:
    """Return the greatest number of a cut that is kept as a fact, 0 when there is none."""
    row = connection.execute(_NEWEST_CUT).fetchone()
    return rules.number_of(row[0]) if row else 0


def leaves_of(
    connection: psycopg.Connection, cut: cuts.Cut, partitions: int
) -> dict[tuple[str, int], rules.Leaf]:
    """Return the held leaves of a cut by (chain id, partition), without those of two contents.

    Raises Damaged while the bytes of one are not what its name says.
    """
    keys = {
        rules.leaf_key(chain, partition, cut.number): (chain, partition)
        for chain, partition in rules.wanted(cut, partitions)
    }
    found = reading.facts_by_keys(connection, list(keys))
    bad = set(reading.quarantined(connection)) & found.keys()
    return {
        keys[key]: rules.leaf_of(mended.data_of(connection, row))
        for key, row in found.items()
        if key not in bad
    }


def keep(
    connection: psycopg.Connection,
    written: Iterable[Fact],
    made: Made,
    changed: bytes | None = None,
) -> None:
    """Write the facts of a snapshot, note that it is complete here, and tell who listens.

    changed: the filter over the leaves that changed since its parent, where there is one.
    """
    ledger.commit(connection, written)
    with soon(connection):
        connection.execute(_INSERT, (*made, changed))
        connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, made.id.hex()))


def changes_between(
    connection: psycopg.Connection, before: bytes, after: bytes
) -> list[Bloom] | None:
    """Return the filters of the snapshots from behind `before` to `after`, each its parent's child.

    None when they do not lead there, or one of them has none: then everything may have changed.
    """
    rows = connection.execute(_CHANGES, (before, after, CHANGES_MAX)).fetchall()
    found, at = [], before
    for id_, parent, changed in rows:
        if parent is None or changed is None or bytes(parent) != at:
            return None
        found.append(Bloom.from_bytes(bytes(changed)))
        at = bytes(id_)
    return found if at == after else None


def lsn(connection: psycopg.Connection) -> str:
    return str(connection.execute("SELECT pg_current_wal_lsn()").fetchone()[0])


def _no_pieces(_: bytes) -> bytes:
    raise facts.BadFact("a fact of a snapshot must fit one row")


_MADE = "SELECT number, id, parent, at_ns, trigger FROM snapshots"
_INSERT = """
    INSERT INTO snapshots (number, id, parent, at_ns, trigger, changed)
    VALUES (%s, %b, %b, %s, %s, %b)
    ON CONFLICT (number) DO NOTHING"""
_CHANGES = """
    SELECT id, parent, changed FROM snapshots
    WHERE number > (SELECT max(number) FROM snapshots WHERE id = %s)
        AND number <= (SELECT max(number) FROM snapshots WHERE id = %s)
    ORDER BY number LIMIT %s"""
_NOT_MADE = """
    SELECT split_part(f.key, '/', 2)::bigint FROM facts f WHERE f.key >= 'cut/' AND f.key < 'cut0'
        AND NOT EXISTS (SELECT FROM snapshots s WHERE s.number = split_part(f.key, '/', 2)::bigint)
    ORDER BY f.key DESC LIMIT %s"""
_NEWEST_CUT = """
    SELECT key FROM facts WHERE key >= 'cut/' AND key < 'cut0' ORDER BY key DESC LIMIT 1"""
_KEYS = "SELECT key FROM facts WHERE key >= %s AND key < %s ORDER BY key LIMIT %s"
