"""Reading facts and marks. Nothing here writes, and the reader's role is enough."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psycopg

from orrery_services.protocol import facts
from orrery_services.protocol import marks as rules_of_marks
from orrery_services.protocol.facts import (
    CHECKPOINT,
    INPUT,
    RESULT,
    FetchPiece,
    MissingPiece,
    Place,
)
from orrery_services.protocol.marks import Link, Mark

from . import ledger

ROWS_AT_ONCE = 64  # payloads fetched in one round trip: at most 32 MiB
SMALL_AT_ONCE, SMALL_BYTES_MAX = 256, 2048  # behind payloads that are so small in the mean: 128 MiB


class Row(NamedTuple):
    """One row of `facts`."""

    id: bytes
    kind: str
    origin: str
    stream: int
    oseq: int
    key: str
    payload: bytes

    def fact(self) -> facts.Fact:
        return facts.Fact(self.id, self.kind, self.stream, self.key, self.payload)


def marks(connection: psycopg.Connection) -> dict[ledger.Slot, Mark]:
    """Return every mark by (chain, partition)."""
    return ledger.marks_from(connection.execute(_MARKS))


@contextmanager
def one_moment(connection: psycopg.Connection) -> Iterator[None]:
    """Let everything that is read within be of one moment."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def newest_mark(connection: psycopg.Connection, partition: int) -> Mark:
    """Return the mark furthest on, over all chains: any of them is a place to fold from."""
    found = connection.execute(_MARKS_OF, (partition,))
    return rules_of_marks.newest(ledger.marks_from(found).values())


def logs(connection: psycopg.Connection, topic: str) -> list[str]:
    """Return the log ids that a topic has had, oldest first."""
    found = connection.execute(_LOGS, (topic,))
    return [log_id for (log_id,) in found]


def progress(connection: psycopg.Connection, log_id: str) -> dict[int, int]:
    """Return how far the replicator has read a topic, by partition."""
    found = connection.execute(_PROGRESS, (log_id,))
    return dict(found.fetchall())


def chain_names(connection: psycopg.Connection) -> dict[str, str]:
    """Return the chain behind every human name."""
    return dict(connection.execute("SELECT name, chain FROM chain_names ORDER BY name").fetchall())


def fact_by_key(connection: psycopg.Connection, key: str) -> Row | None:
    found = connection.execute(_BY_KEY, (key,)).fetchone()
    return _row(found) if found else None


def pack_with(connection: psycopg.Connection, digest: bytes) -> Row | None:
    """Return the pack in which a piece of a tree lies."""
    found = connection.execute(_PACK_WITH, (digest,)).fetchone()
    return _row(found) if found else None


def facts_by_keys(connection: psycopg.Connection, keys: Sequence[str]) -> dict[str, Row]:
    found = connection.execute(_BY_KEYS, (list(keys),))
    return {row[5]: _row(row) for row in found}


def ids_of(connection: psycopg.Connection, keys: Sequence[str]) -> dict[str, bytes]:
    """Return the ids under natural keys, of those that are held."""
    found = connection.execute(_IDS, (list(keys),))
    return {key: bytes(id_) for key, id_ in found}


def begun_with(connection: psycopg.Connection, prefixes: Sequence[str]) -> set[str]:
    """Return those of these beginnings that the natural key of a held fact has."""
    if not prefixes:
        return set()
    return {prefix for (prefix,) in connection.execute(_BEGUN, (list(prefixes),))}


def facts_named(connection: psycopg.Connection, prefix: str, many: int = 20) -> list[Row]:
    """Return the facts whose id begins with these hex digits, at most `many`."""
    low = bytes.fromhex(prefix.ljust(64, "0"))
    high = bytes.fromhex(prefix.ljust(64, "f"))
    found = connection.execute(_NAMED, (low, high, many))
    return [_row(row) for row in found]


def fact_under(
    connection: psycopg.Connection, origin: str, stream: int, oseq: int
) -> facts.Fact | None:
    """Return the fact that came under a number, also when another number or content was first."""
    row = connection.execute(_UNDER, (origin, stream, oseq) * 3).fetchone()
    return _row(row).fact() if row else None


def facts_between(
    connection: psycopg.Connection, low: str, high: str, at_once: int = ROWS_AT_ONCE
) -> Iterator[Row]:
    """Yield the facts with low <= key < high in the order of keys, a few at a time: more when they
    turn out to be small."""
    while True:
        asked = connection.execute(_BETWEEN, (low, high, at_once), binary=True)
        rows = asked.fetchall()
        yield from map(_row, rows)
        if len(rows) < at_once:
            return
        low = rows[-1][5] + " "  # behind that key, before any other
        small = sum(len(row[6]) for row in rows) <= SMALL_BYTES_MAX * len(rows)
        at_once = SMALL_AT_ONCE if small else min(at_once, ROWS_AT_ONCE)


def facts_before(connection: psycopg.Connection, low: str, high: str, many: int) -> Iterator[Row]:
    """Yield the last facts with low <= key < high, backwards, at most `many`."""
    while many > 0:
        rows = connection.execute(_BACKWARDS, (low, high, min(many, ROWS_AT_ONCE))).fetchall()
        yield from map(_row, rows)
        if len(rows) < ROWS_AT_ONCE:
            return
        many, high = many - len(rows), rows[-1][5]


def inputs_from(
    connection: psycopg.Connection, partition: int, first: Mark, stop: int | None = None
) -> Iterator[tuple[Link, Row]]:
    """Yield the held input chunks from a mark on, in the order of the log, up to the first hole.

    `stop` is the ordinal before which it ends; None: what is held decides.
    """
    ordinal = first.ordinal
    known = logs(connection, "ticks")
    known = known[known.index(first.log_id) :] if first.log_id in known else known
    for log_id in known:
        begin = first.offset if log_id == first.log_id else 0
        low = facts.place_key(INPUT, Place(log_id, partition, begin))
        for row in facts_between(connection, low, end_of(INPUT, log_id, partition)):
            link = rules_of_marks.link_of(row.key, row.payload)
            if link.ordinal < ordinal:
                continue
            if link.ordinal != ordinal or ordinal == stop:
                return
            ordinal += 1
            yield link, row


def checkpoints(
    connection: psycopg.Connection, chain: str, partition: int, ordinal: int
) -> Iterator[Row]:
    """Yield the checkpoints of a chain that are not behind an ordinal, the last one first."""
    for log_id in reversed(logs(connection, "ticks")):
        low = f"{CHECKPOINT}/{chain}/{log_id}/{partition}/"
        high = low + ":"
        while rows := connection.execute(_BACKWARDS, (low, high, 4)).fetchall():
            for row in map(_row, rows):
                if facts.meta_of(row.payload)["ordinal"] <= ordinal:
                    yield row
            high = rows[-1][5]


def links_from(connection: psycopg.Connection, keys: Iterable[str]) -> list[Link]:
    """Return the links of input chunks by their keys."""
    found = connection.execute(_HEADS, (facts.HEAD_BYTES, list(keys)))
    return [rules_of_marks.link_of(key, bytes(head)) for key, head in found]


def results_of(
    connection: psycopg.Connection, chain: str, places: Sequence[Place]
) -> dict[Place, Row]:
    """Return the result chunks of a chain at these places."""
    keys = [facts.place_key(RESULT, place, chain) for place in places]
    found = facts_by_keys(connection, keys)
    return {facts.place_of(key): row for key, row in found.items()}


def fetch_piece(connection: psycopg.Connection, stream: int) -> FetchPiece:
    """Return how to get the pieces of facts of one stream."""

    def fetch(name: bytes) -> bytes:
        row = fact_by_key(connection, facts.piece_key(stream, name))
        if row is None:
            raise MissingPiece(f"piece {name.hex()} of stream {stream} must be held")
        return row.payload

    return fetch


def quarantined(connection: psycopg.Connection) -> list[str]:
    """Return the natural keys that have two contents of which nobody has said which one stays."""
    return [key for (key,) in connection.execute(_QUARANTINED)]


def end_of(kind: str, log_id: str, partition: int, chain: str | None = None) -> str:
    """Return the least text behind all keys of a kind in a partition."""
    middle = f"{chain}/{log_id}" if chain else log_id
    return f"{kind}/{middle}/{partition}/:"


def _row(values: tuple) -> Row:
    id_, kind, origin, stream, oseq, key, payload = values
    return Row(bytes(id_), kind, origin, stream, oseq, key, bytes(payload))


_PROGRESS = "SELECT partition, next_offset FROM progress WHERE log_id = %s"
_LOGS = "SELECT log_id FROM logs WHERE topic = %s ORDER BY adopted"
_MARKS = "SELECT chain, partition, log_id, ticks_offset, ordinal, vector FROM marks"
_MARKS_OF = f"{_MARKS} WHERE partition = %s"
_FACT = "id, kind, origin, stream, oseq, key, payload"
HAS_BODY = f"get_byte(substring(payload FOR 2), 1) <> {facts.GONE}"  # gc has left it there
_FACTS = f"SELECT {_FACT} FROM facts"  # noqa: S608 - the columns are a constant
_BY_KEY = f"{_FACTS} WHERE key = %s"
_PACK_WITH = f"""
    {_FACTS} WHERE key = (SELECT pack FROM tree_pieces WHERE digest = %s)"""  # noqa: S608
_BEGUN = """
    SELECT p FROM unnest(%s::text[]) AS p
    WHERE EXISTS (SELECT FROM facts WHERE key >= p AND key < p || '~')"""
_IDS = "SELECT key, id FROM facts WHERE key = ANY(%s)"
_BY_KEYS = f"{_FACTS} WHERE key = ANY(%s)"
_NAMED = f"{_FACTS} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
_UNDER = f"""
    {_FACTS} WHERE (origin, stream, oseq) = (%s, %s, %s)
    UNION ALL
    SELECT f.id, f.kind, f.origin, f.stream, f.oseq, f.key, f.payload FROM arrivals a
    JOIN facts f ON f.key = a.key AND f.id = a.id
    WHERE (a.origin, a.stream, a.oseq) = (%s, %s, %s)
    UNION ALL
    SELECT d.came, d.kind, a.origin, a.stream, a.oseq, d.key, d.payload FROM arrivals a
    JOIN divergences d ON d.key = a.key AND d.came = a.id
    WHERE (a.origin, a.stream, a.oseq) = (%s, %s, %s)
    LIMIT 1"""  # noqa: S608
_QUARANTINED = "SELECT DISTINCT key FROM divergences WHERE settled IS NULL ORDER BY key"
_RANGE = f"{_FACTS} WHERE key >= %s AND key < %s"
_BETWEEN = f"{_RANGE} ORDER BY key LIMIT %s"
_BACKWARDS = f"{_RANGE} ORDER BY key DESC LIMIT %s"
_HEADS = "SELECT key, substring(payload FOR %s) FROM facts WHERE key = ANY(%s) ORDER BY key"
