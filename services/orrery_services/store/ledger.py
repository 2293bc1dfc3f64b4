"""Writing this node's own facts: chunks, checkpoints, and the mark they move, in one transaction.

Two round trips. First, under the locks of the streams: what is held, the last numbers, the marks.
Then the rows. The lock of a stream is held to the commit, so numbers are gapless and a mark never
passes a hole.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import psycopg

from orrery_services import failpoints
from orrery_services.errors import OutsideError
from orrery_services.protocol import marks as rules_of_marks
from orrery_services.protocol import vectors
from orrery_services.protocol.facts import INPUT, RESULT, Fact, place_of
from orrery_services.protocol.marks import Divergence, Link, Mark, Numbered, Writing
from orrery_services.protocol.rules import ALL_RULES, Rules

from .connection import transaction

LOCK_CLASS = 0x0FAC7  # of advisory locks: one per stream

Slot = tuple[str, int]  # (chain, partition): what a mark belongs to


class Move(NamedTuple):
    """A mark to be advanced by chunks that the caller hands over or knows to be held."""

    chain: str
    partition: int
    links: Sequence[Link]


class Outcome(NamedTuple):
    marks: dict[Slot, Mark]  # as they are now, of the slots that were to move
    inserted: int
    held: int
    divergences: list[Divergence]


def commit(
    connection: psycopg.Connection,
    facts: Iterable[Fact],
    moves: Sequence[Move] = (),
    rules: Rules = ALL_RULES,
    if_alike: Iterable[Fact] = (),
    as_origin: str = "",
) -> Outcome:
    """Write facts and advance marks; nothing or all of it is there afterwards.

    if_alike: facts to be written with the others unless one of those is held with another content.
    as_origin: the origin that keys among these facts name; as another one nothing is written.
    """
    last_ones = list(if_alike)
    by_stream = _by_stream([*facts, *last_ones])
    streams = sorted({*by_stream, *(move.partition for move in moves)})
    early = None if rules.number_under_lock else _last_numbers(connection, streams).fetchall()
    with transaction(connection):
        lock(connection, streams)
        origin = connection.execute(_ORIGIN)
        numbers = _last_numbers(connection, streams)
        held = connection.execute(_HELD, ([f.key for fs in by_stream.values() for f in fs],))
        now = read_marks(connection, [(move.chain, move.partition) for move in moves])
        own = origin.fetchone()
        if own is None:
            raise OutsideError("the node must have an incarnation: start its replication service")
        if as_origin and own[0] != as_origin:
            raise OutsideError(
                f"facts of the incarnation {as_origin} must be written in it, the node began "
                f"{own[0]} meanwhile: they have to be made anew"
            )
        there = dict(held.fetchall())
        last = dict(early or numbers.fetchall())
        writings = _numbered(by_stream, there, last)
        if last_ones and any(writing.divergences for writing in writings):
            left = {fact.key for fact in last_ones}
            kept = {s: [f for f in given if f.key not in left] for s, given in by_stream.items()}
            writings = _numbered(kept, there, last)
        for writing in writings:
            insert_facts(connection, own[0], writing.insert)
            insert_divergences(connection, own[0], writing.divergences)
        before = marks_from(now)
        after = {
            (move.chain, move.partition): rules_of_marks.advance(
                before.get((move.chain, move.partition), Mark()),
                move.links,
                {link.place for link in move.links},
                rules,
            )
            for move in moves
        }
        write_marks(connection, before, after)
        failpoints.reach("in a transaction")
    failpoints.reach("behind a commit")
    return _outcome(writings, after)


def lock(connection: psycopg.Connection, streams: Sequence[int]) -> None:
    """Take the locks of streams, in order, to the end of the transaction."""
    connection.execute(_LOCK, (LOCK_CLASS, sorted(streams)))


def read_marks(connection: psycopg.Connection, slots: Sequence[Slot]) -> psycopg.Cursor:
    chains, partitions = [slot[0] for slot in slots], [slot[1] for slot in slots]
    return connection.execute(_MARKS, (chains, partitions))


def marks_from(cursor: psycopg.Cursor) -> dict[Slot, Mark]:
    return {
        (chain, partition): Mark(log_id, offset, ordinal, vectors.decode(vector))
        for chain, partition, log_id, offset, ordinal, vector in cursor
    }


def write_marks(
    connection: psycopg.Connection, before: Mapping[Slot, Mark], after: Mapping[Slot, Mark]
) -> None:
    """Store the marks that moved, and those of slots that had none yet."""
    moved = {slot: mark for slot, mark in sorted(after.items()) if mark != before.get(slot)}
    for statement, slots in (
        (_UPDATE_MARK, [slot for slot in moved if slot in before]),
        (_INSERT_MARK, [slot for slot in moved if slot not in before]),
    ):
        rows = [
            (m.log_id, m.offset, m.ordinal, vectors.encode(m.vector).decode(), *slot)
            for slot in slots
            if (m := moved[slot])
        ]
        if rows:
            connection.cursor().executemany(statement, rows)


def insert_facts(connection: psycopg.Connection, origin: str, numbered: list[Numbered]) -> None:
    rows = [
        (fact.id, fact.kind, origin, fact.stream, oseq, fact.key, fact.payload)
        for oseq, fact in numbered
    ]
    if rows:
        connection.cursor().executemany(INSERT_FACT, rows)


def insert_divergences(
    connection: psycopg.Connection, origin: str, found: list[Divergence], oseq: int = 0
) -> None:
    rows = [
        (d.came.key, d.held, d.came.id, d.came.kind, origin, d.came.stream, oseq, d.came.payload)
        for d in found
    ]
    if rows:
        connection.cursor().executemany(_INSERT_DIVERGENCE, rows)


def links_of(facts: Iterable[Fact]) -> list[Link]:
    """Return the links of input chunks whose result chunk is among the facts too."""
    given = list(facts)
    results = {place_of(fact.key) for fact in given if fact.kind == RESULT}
    links = (rules_of_marks.link_of(f.key, f.payload) for f in given if f.kind == INPUT)
    return [link for link in links if link.place in results]


def _numbered(
    by_stream: Mapping[int, Sequence[Fact]],
    there: Mapping[str, bytes],
    last: Mapping[int, int | None],
) -> list[Writing]:
    return [
        rules_of_marks.number(given, there, last[stream] or 0)
        for stream, given in by_stream.items()
    ]


def _by_stream(facts: Iterable[Fact]) -> dict[int, list[Fact]]:
    found: dict[int, list[Fact]] = defaultdict(list)
    for fact in facts:
        found[fact.stream].append(fact)
    return dict(sorted(found.items()))


def _last_numbers(connection: psycopg.Connection, streams: Sequence[int]) -> psycopg.Cursor:
    return connection.execute(_LAST_NUMBERS, (list(streams),))


def _outcome(writings: list[Writing], after: dict[Slot, Mark]) -> Outcome:
    return Outcome(
        after,
        sum(len(writing.insert) for writing in writings),
        sum(len(writing.held) for writing in writings),
        [divergence for writing in writings for divergence in writing.divergences],
    )


_LOCK = "SELECT pg_advisory_xact_lock(%s, s) FROM unnest(%s::int[]) WITH ORDINALITY AS t (s, n)"
_ORIGIN = "SELECT i.origin FROM node n JOIN incarnations i USING (incarnation)"
_HELD = "SELECT key, id FROM facts WHERE key = ANY(%s::text[])"
_LAST_NUMBERS = """
    SELECT s, (SELECT max(oseq) FROM facts f WHERE f.stream = s AND f.origin = (
        SELECT i.origin FROM node n JOIN incarnations i USING (incarnation)))
    FROM unnest(%s::int[]) AS s"""
_MARKS = """
    SELECT chain, partition, log_id, ticks_offset, ordinal, vector FROM marks
    WHERE (chain, partition) IN (SELECT * FROM unnest(%s::text[], %s::int[]))"""
# An UPDATE, not an upsert: that would lock the row first, which is a WAL record of its own.
_UPDATE_MARK = """
    UPDATE marks SET log_id = %s, ticks_offset = %s, ordinal = %s, vector = %s
    WHERE chain = %s AND partition = %s"""
_INSERT_MARK = """
    INSERT INTO marks (log_id, ticks_offset, ordinal, vector, chain, partition)
    VALUES (%s, %s, %s, %s, %s, %s)"""
INSERT_FACT = """
    INSERT INTO facts (id, kind, origin, stream, oseq, key, payload)
    VALUES (%b, %s, %s, %s, %s, %s, %b)"""
_INSERT_DIVERGENCE = """
    INSERT INTO divergences (key, held, came, kind, origin, stream, oseq, payload)
    VALUES (%s, %b, %b, %s, %s, %s, %s, %b) ON CONFLICT DO NOTHING"""
