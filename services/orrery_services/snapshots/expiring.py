"""Gc of rows: which input and result chunks are old enough to lose their bodies, and removing them.

A chunk goes when it is older than declared, lies below a checkpoint from which every chain can be
gone on with, and has been named by every declared peer. What a snapshot is made of lies in packs,
so that snapshots and results stay whatever rows go. Chunks go from the first on, and names never.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.retention import read_policy

from ..protocol import facts
from ..protocol import snapshots as rules
from ..protocol.facts import INPUT, OFFSET_DIGITS, RESULT
from ..protocol.marks import Mark
from ..store import reading

BODIES_AT_ONCE = 200  # in one transaction
Named = Mapping[str, Mapping[str, int]]  # origin -> stream -> greatest number that is held
Begins = Callable[[str, int, int], Mark]  # (chain, partition, ordinal) -> its checkpoint before


class Expiring(NamedTuple):
    """The rows of one partition that go: all below a place. chunks, bytes: of bodies still held."""

    partition: int
    below: Mark
    chunks: int
    bytes: int
    ranges: Sequence[tuple[str, str]]  # of keys

    def told(self) -> dict[str, Any]:
        return {
            "partition": self.partition, "log": self.below.log_id, "below": self.below.offset,
            "ordinal": self.below.ordinal, "chunks": self.chunks, "bytes": self.bytes,
        }  # fmt: skip


def age_of(policy: str) -> int:
    """Return the age in nanoseconds that "30 days" means.

    >>> age_of("2 days") // 10**9
    172800
    """
    found = read_policy(policy)
    if len(found) != 1 or found[0].age_ns is None or found[0].every_ns is not None:
        raise SnapshotError(f"rows are kept for one age such as '30 days', was {policy!r}")
    return found[0].age_ns


def plan(
    connection: psycopg.Connection, chains: Sequence[str], partitions: int, begins: Begins,
    peers: Mapping[str, Named], older_than_ns: int,
) -> list[Expiring]:  # fmt: skip
    """Decide, and touch nothing. chains: ids of those that are computed or will be.

    The age of rows is that of the cuts behind them: where nothing was ever cut, nothing is old.
    """
    row = connection.execute(_OLD_CUT, (older_than_ns,)).fetchone()
    if row is None or not chains:
        return []
    computed = sorted({chain for chain, _ in reading.marks(connection)})
    found = []
    for partition in range(partitions):
        limit = _marker(connection, chains, partition, row[0])
        ranges = _ranges(connection, computed, partition, limit)
        below = _checkpointed(chains, partition, _named(connection, ranges, peers, limit), begins)
        ranges = _ranges(connection, computed, partition, below)
        held = [connection.execute(_HELD, one).fetchone() for one in ranges]
        if chunks := sum(count for count, _ in held):
            size = sum(size for _, size in held)
            found.append(Expiring(partition, below, chunks, size, ranges))
    return found


def _marker(
    connection: psycopg.Connection, chains: Sequence[str], partition: int, number: int
) -> Mark:
    """Return the place of a cut's marker in a partition."""
    keys = [rules.leaf_key(chain, partition, number) for chain in chains]
    for row in reading.facts_by_keys(connection, keys).values():
        leaf = rules.leaf_of(facts.data_of(row.payload, reading.fetch_piece(connection, partition)))
        place = facts.Place(leaf.log, partition, leaf.offset)
        links = reading.links_from(connection, [facts.place_key(INPUT, place)])
        if links:
            return Mark(leaf.log, leaf.offset, links[0].ordinal)
    return Mark()


def _ranges(
    connection: psycopg.Connection, chains: Sequence[str], partition: int, below: Mark
) -> list[tuple[str, str]]:
    """Return the ranges of keys below a place: of input chunks, then of every chain's results."""
    known = reading.logs(connection, "ticks")
    known = known[: known.index(below.log_id) + 1] if below.log_id in known else []
    found = []
    for kind, chain in [(INPUT, None), *((RESULT, chain) for chain in chains)]:
        for log_id in known:
            end = reading.end_of(kind, log_id, partition, chain)
            low = end.removesuffix(":")
            last = f"{low}{below.offset:0{OFFSET_DIGITS}d}" if log_id == below.log_id else end
            found.append((low, last))
    return found


def _named(
    connection: psycopg.Connection, ranges: Iterable[tuple[str, str]], peers: Mapping[str, Named],
    limit: Mark,
) -> Mark:  # fmt: skip
    """Return the first place, up to a limit, of which some peer has not named input or result."""
    origins = [origin for (origin,) in connection.execute(_ORIGINS)]
    for low, high in ranges if peers else ():
        stream = low.rstrip("/").rpartition("/")[2]
        least = [
            min((named.get(origin, {}).get(stream, 0) for named in peers.values()), default=2**62)
            for origin in origins
        ]
        row = connection.execute(_NOT_NAMED, (origins, least, low, high)).fetchone()
        if row is not None:
            place = facts.place_of(row[0])
            link = reading.links_from(connection, [facts.place_key(INPUT, place)])[0]
            limit = min(limit, Mark(place.log_id, place.offset, link.ordinal), key=_ordinal)
    return limit


def _checkpointed(chains: Sequence[str], partition: int, limit: Mark, begins: Begins) -> Mark:
    """Return the last place up to a limit at which every chain has a checkpoint."""
    below = limit
    while True:
        first = min((begins(chain, partition, below.ordinal) for chain in chains), key=_ordinal)
        if first.ordinal >= below.ordinal:
            return below
        below = first


def _ordinal(mark: Mark) -> int:
    return mark.ordinal


def remove(connection: psycopg.Connection, expiring: Iterable[Expiring], now_ns: int) -> None:
    """Empty the bodies, the first ones first; the role of gc is needed, and enough."""
    for one in expiring:
        for low, high in one.ranges:
            while rows := connection.execute(
                _BODIES, (facts.HEAD_BYTES, low, high, BODIES_AT_ONCE)
            ).fetchall():
                emptied = [(facts.gone(bytes(head), now_ns), key) for key, head in rows]
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.executemany(_EMPTY, emptied)
                low = rows[-1][0] + " "


_OLD_CUT = "SELECT number FROM snapshots WHERE at_ns <= %s ORDER BY number DESC LIMIT 1"
_ORIGINS = "SELECT origin FROM incarnations UNION SELECT origin FROM origins ORDER BY 1"
_HELD = f"""
    SELECT count(*), coalesce(sum(octet_length(payload)), 0)::bigint FROM facts
    WHERE key >= %s AND key < %s AND {reading.HAS_BODY}"""  # noqa: S608
_NOT_NAMED = f"""
    SELECT f.key FROM facts f
    JOIN unnest(%s::text[], %s::bigint[]) AS n (origin, oseq) ON n.origin = f.origin
    WHERE f.key >= %s AND f.key < %s AND f.oseq > n.oseq AND {reading.HAS_BODY}
    ORDER BY f.key LIMIT 1"""  # noqa: S608
_BODIES = f"""
    SELECT key, substring(payload FOR %s) FROM facts
    WHERE key >= %s AND key < %s AND {reading.HAS_BODY} ORDER BY key LIMIT %s"""  # noqa: S608
_EMPTY = "UPDATE facts SET payload = %b WHERE key = %s"
