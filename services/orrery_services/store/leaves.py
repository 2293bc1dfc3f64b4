"""The leaves that a node holds, read in the order of their keys."""

from collections.abc import Iterator

import psycopg

from orrery_services.protocol.facts import INPUT, OFFSET_DIGITS, RESULT
from orrery_services.protocol.leaves import Leaf
from orrery_services.protocol.marks import Mark

from . import heartbeats, reading

AT_ONCE = 20_000


def of_chunks(
    connection: psycopg.Connection, chain: str, partition: int, mark: Mark
) -> Iterator[Leaf]:
    """Yield the leaves of the input chunks and results below a mark."""
    known = reading.logs(connection, "ticks")
    known = known[: known.index(mark.log_id) + 1] if mark.log_id in known else known
    for kind, of in ((INPUT, None), (RESULT, chain)):
        for log_id in sorted(known):
            end = reading.end_of(kind, log_id, partition, of)
            low = end.removesuffix(":")
            last = f"{low}{mark.offset:0{OFFSET_DIGITS}d}" if log_id == mark.log_id else end
            yield from _between(connection, low, last)


def of_stream(connection: psycopg.Connection, stream: int) -> Iterator[Leaf]:
    """Yield the leaves of a stream whose facts have no mark: all others of the node."""
    for key, id_ in connection.execute(_STREAM, (stream,)):
        yield Leaf(key, bytes(id_))


def vector(connection: psycopg.Connection, stream: int) -> dict[str, int]:
    """Return how many facts of every origin have arrived in a stream without a gap."""
    found = dict(connection.execute(_OWN, (stream,)).fetchall())
    for (origin, of), state, _ in heartbeats.arrived(connection):
        if of == stream and state.contiguous:
            found[origin] = state.contiguous
    return found


def _between(connection: psycopg.Connection, low: str, high: str) -> Iterator[Leaf]:
    while True:
        rows = connection.execute(_LEAVES, (low, high, AT_ONCE)).fetchall()
        yield from (Leaf(key, bytes(id_)) for key, id_ in rows)
        if len(rows) < AT_ONCE:
            return
        low = rows[-1][0] + " "


_LEAVES = "SELECT key, id FROM facts WHERE key >= %s AND key < %s ORDER BY key LIMIT %s"
_STREAM = "SELECT key, id FROM facts WHERE stream = %s ORDER BY key"
_OWN = """
    SELECT i.origin, max(f.oseq) FROM node n JOIN incarnations i USING (incarnation)
    JOIN facts f ON f.origin = i.origin AND f.stream = %s GROUP BY i.origin"""
