"""Writing the facts of other nodes, in the transaction that also moves marks and the place in the
topic.

The session has a replication origin, which keeps these rows out of this node's own change stream. A
fact that is held already still arrives: under its (origin, stream, oseq) it would else be a gap.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg

from orrery_services import failpoints
from orrery_services.errors import DivergenceError
from orrery_services.protocol import facts
from orrery_services.protocol import marks as rules_of_marks
from orrery_services.protocol.arrivals import Arrived
from orrery_services.protocol.facts import INPUT, RESULT, Fact
from orrery_services.protocol.marks import Divergence, Link, Mark
from orrery_services.protocol.rules import ALL_RULES, Rules

from . import ledger, reading
from .connection import transaction

ORIGIN_NAME = "orrery"
AHEAD_MIN, AHEAD_MAX = 8, 512  # input chunks looked at in one step beyond a mark

Source = tuple[str, int]  # (origin, stream)
Marks = Mapping[ledger.Slot, Mark]


class Receipt(NamedTuple):
    """A fact of another node, with the number under which it came."""

    origin: str
    oseq: int
    fact: Fact

    def source(self) -> Source:
        return self.origin, self.fact.stream


class Clash(NamedTuple):
    """One number, two facts: the origin was used by two databases."""

    receipt: Receipt
    key: str  # of the fact that came first under the number
    id: bytes


class Received(NamedTuple):
    inserted: int
    again: int  # delivered before under the same number
    held: int  # arrived, but the content was here already
    divergences: list[Divergence]
    marks: dict[ledger.Slot, Mark]


class Sorted(NamedTuple):
    """Receipts, each once in one list; a repeated one is in none."""

    new: list[Receipt]
    plain: list[Receipt]  # only arrive: the content is held
    divergences: list[tuple[Receipt, Divergence]]
    clashes: list[Clash]


def become_replica(connection: psycopg.Connection) -> None:
    """Give this session the replication origin. One session at a time may have it."""
    connection.execute("SELECT pg_replication_origin_session_setup(%s)", (ORIGIN_NAME,))


def receive(
    connection: psycopg.Connection,
    receipts: Sequence[Receipt],
    log_id: str,
    next_offsets: Mapping[int, int],
    rules: Rules = ALL_RULES,
) -> Received:
    """Write receipts and remember how far the topic has been read; all of it or nothing.

    Raises DivergenceError, when all else is written, if two facts came under one number: both are
    quarantined then.
    """
    streams = sorted({receipt.fact.stream for receipt in receipts})
    with transaction(connection):
        ledger.lock(connection, streams)
        held = connection.execute(_HELD, ([receipt.fact.key for receipt in receipts],))
        numbered = connection.execute(_NUMBERED, _labels(receipts))
        slots = connection.execute(_SLOTS, (streams,))
        logs = connection.execute(_LOGS)
        known = {tuple(label): (key, id_) for *label, key, id_ in numbered}
        found = sort_out(receipts, dict(held.fetchall()), known)
        _insert(connection, found.new)
        if rules.record_every_arrival:
            _insert_arrivals(connection, [*found.plain, *(r for r, _ in found.divergences)])
        for receipt, divergence in (*found.divergences, *_both_sides(found.clashes)):
            ledger.insert_divergences(connection, receipt.origin, [divergence], receipt.oseq)
        _know_sources(connection, receipts)
        before = ledger.marks_from(slots)
        at = {slot: Mark() for slot in _touched(receipts)} | before
        after = _advance(connection, at, [log_id for (log_id,) in logs], rules)
        ledger.write_marks(connection, before, after)
        _write_progress(connection, log_id, next_offsets)
        connection.execute(_STAMP)
        failpoints.reach("in a transaction")
    failpoints.reach("behind a commit")
    if found.clashes:
        raise DivergenceError(_clash_text(found.clashes))
    again = len(receipts) - sum(map(len, found))
    divergences = [divergence for _, divergence in found.divergences]
    return Received(len(found.new), again, len(found.plain), divergences, after)


def advance_marks(
    connection: psycopg.Connection, partitions: Sequence[int], rules: Rules = ALL_RULES
) -> dict[ledger.Slot, Mark]:
    """Move every mark of these partitions over what is held already, and return all of them."""
    with transaction(connection):
        ledger.lock(connection, partitions)
        slots = connection.execute(_SLOTS, (list(partitions),))
        logs = connection.execute(_LOGS)
        before = ledger.marks_from(slots)
        after = _advance(connection, before, [log_id for (log_id,) in logs], rules)
        ledger.write_marks(connection, before, after)
    return after


def _labels(receipts: Sequence[Receipt]) -> tuple[list[str], list[int], list[int]]:
    return (
        [receipt.origin for receipt in receipts],
        [receipt.fact.stream for receipt in receipts],
        [receipt.oseq for receipt in receipts],
    )


def sort_out(
    receipts: Sequence[Receipt],
    held: dict[str, bytes],
    known: dict[tuple[str, int, int], tuple[str, bytes]],
) -> Sorted:
    """Return what to do with each receipt. `held`: id by natural key; `known`: (key, id) by
    (origin, stream, oseq). Both learn what comes."""
    found = Sorted([], [], [], [])
    for receipt in receipts:
        label, fact = (*receipt.source(), receipt.oseq), receipt.fact
        if label in known:
            if known[label] != (fact.key, fact.id):
                found.clashes.append(Clash(receipt, *known[label]))
            continue
        known[label] = fact.key, fact.id
        if fact.key not in held:
            held[fact.key] = fact.id
            found.new.append(receipt)
        elif held[fact.key] == fact.id:
            found.plain.append(receipt)
        else:
            found.divergences.append((receipt, Divergence(held[fact.key], fact)))
    return found


def _both_sides(clashes: Sequence[Clash]) -> list[tuple[Receipt, Divergence]]:
    """Return a divergence under the natural key of either fact of a clash: neither is served."""
    return [
        (clash.receipt, Divergence(clash.id, clash.receipt.fact._replace(key=key)))
        for clash in clashes
        for key in sorted({clash.key, clash.receipt.fact.key})
    ]


def _clash_text(clashes: Sequence[Clash]) -> str:
    one, key, id_ = clashes[0]
    return (
        f"a number of an origin must name one fact, but number {one.oseq} of {one.origin}/"
        f"{one.fact.stream} was {key} {id_.hex()[:10]} and came as {one.fact.key} "
        f"{one.fact.id.hex()[:10]} ({len(clashes)} such numbers): both are quarantined; an "
        "incarnation was used by two databases: give one of them an empty disk"
    )


def _insert(connection: psycopg.Connection, receipts: list[Receipt]) -> None:
    rows = [
        (r.fact.id, r.fact.kind, r.origin, r.fact.stream, r.oseq, r.fact.key, r.fact.payload)
        for r in receipts
    ]
    if rows:
        connection.cursor().executemany(ledger.INSERT_FACT, rows)


def _insert_arrivals(connection: psycopg.Connection, receipts: list[Receipt]) -> None:
    rows = [(*r.source(), r.oseq, r.fact.key, r.fact.id) for r in receipts]
    if rows:
        connection.cursor().executemany(_INSERT_ARRIVAL, rows)


def _know_sources(connection: psycopg.Connection, receipts: Sequence[Receipt]) -> None:
    """Make a row for every source that has none yet; what is there costs no write."""
    rows = sorted({receipt.source() for receipt in receipts})
    if rows:
        connection.cursor().executemany(_KNOW_SOURCE, rows)


def numbers_ahead(connection: psycopg.Connection, source: Source, state: Arrived) -> list[int]:
    """Return the numbers that are here beyond the contiguous part of a source."""
    found = connection.execute(_AHEAD, (*source, state.contiguous) * 2)
    return [oseq for (oseq,) in found.fetchall()]


def _touched(receipts: Sequence[Receipt]) -> list[ledger.Slot]:
    """Return (chain, partition) of the result chunks that came: their mark may not exist yet."""
    found = {(r.fact.key.split("/")[1], r.fact.stream) for r in receipts if r.fact.kind == RESULT}
    return sorted(found)


def _advance(
    connection: psycopg.Connection, marks: Marks, logs: Sequence[str], rules: Rules
) -> dict[ledger.Slot, Mark]:
    """Return the marks as far as chunks are held. First only a few are looked at beyond each: most
    move by few, and those of a chain that rests by none."""
    after, moving, many = dict(marks), sorted(marks), AHEAD_MIN
    while moving:
        beyond = _links_beyond(connection, {slot: after[slot] for slot in moving}, logs, many)
        still = []
        for slot in moving:
            before = after[slot]
            after[slot] = rules_of_marks.advance(before, *beyond[slot], rules)
            if after[slot].ordinal - before.ordinal >= many:
                still.append(slot)
        moving, many = still, AHEAD_MAX
    return after


def _links_beyond(
    connection: psycopg.Connection, marks: Marks, logs: Sequence[str], many: int
) -> dict[ledger.Slot, tuple[list[Link], set[facts.Place]]]:
    """Return, for every mark, the next held input chunks at and beyond it, at most `many` of each
    log, and which of them have a result. One question for all marks."""
    found: dict[ledger.Slot, tuple[list[Link], set[facts.Place]]]
    found = {slot: ([], set()) for slot in marks}
    slots, stretches = [], []
    for (chain, partition), mark in marks.items():
        for log_id in logs[logs.index(mark.log_id) if mark.log_id in logs else 0 :]:
            first = mark.offset if log_id == mark.log_id else 0
            low = facts.place_key(INPUT, facts.Place(log_id, partition, first))
            end = reading.end_of(INPUT, log_id, partition)
            slots.append((chain, partition))
            stretches.append((low, end, f"{RESULT}/{chain}"))
    lows, ends, results = zip(*stretches, strict=True) if stretches else ((), (), ())
    asked = {
        "lows": list(lows), "ends": list(ends), "results": list(results), "many": many,
        "cut": len(INPUT) + 1, "head": facts.HEAD_BYTES,
    }  # fmt: skip
    for number, key, head, held in connection.execute(_LINKS, asked):
        links, places = found[slots[number - 1]]
        links.append(rules_of_marks.link_of(key, bytes(head)))
        if held:
            places.add(links[-1].place)
    return found


def _write_progress(
    connection: psycopg.Connection, log_id: str, next_offsets: Mapping[int, int]
) -> None:
    rows = [(log_id, partition, offset) for partition, offset in sorted(next_offsets.items())]
    if rows:
        connection.cursor().executemany(_WRITE_PROGRESS, rows)


# A session with a replication origin stamps all its transactions with the time of its first one.
_STAMP = "SELECT pg_replication_origin_xact_setup('0/1', clock_timestamp())"
_HELD = "SELECT key, id FROM facts WHERE key = ANY(%s)"
_NUMBERED = """
    WITH asked AS (SELECT * FROM unnest(%s::text[], %s::int[], %s::bigint[])
        AS a (origin, stream, oseq))
    SELECT origin, stream, oseq, key, id FROM facts JOIN asked USING (origin, stream, oseq)
    UNION ALL
    SELECT origin, stream, oseq, key, id FROM arrivals JOIN asked USING (origin, stream, oseq)"""
_SLOTS = """
    SELECT chain, partition, log_id, ticks_offset, ordinal, vector FROM marks
    WHERE partition = ANY(%s::int[])"""
_INSERT_ARRIVAL = """
    INSERT INTO arrivals (origin, stream, oseq, key, id) VALUES (%s, %s, %s, %s, %b)
    ON CONFLICT DO NOTHING"""
_AHEAD = """
    SELECT oseq FROM facts WHERE origin = %s AND stream = %s AND oseq > %s
    UNION SELECT oseq FROM arrivals WHERE origin = %s AND stream = %s AND oseq > %s"""
_KNOW_SOURCE = "INSERT INTO origins (origin, stream) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_LOGS = "SELECT log_id FROM logs WHERE topic = 'ticks' ORDER BY adopted, log_id"
_LINKS = """
    SELECT s.n, i.key, substring(i.payload FOR %(head)s),
        EXISTS (SELECT FROM facts r WHERE r.key = s.result || substr(i.key, %(cut)s))
    FROM unnest(%(lows)s::text[], %(ends)s::text[], %(results)s::text[])
        WITH ORDINALITY AS s (low, past, result, n)
    CROSS JOIN LATERAL (SELECT key, payload FROM facts WHERE key >= s.low AND key < s.past
        ORDER BY key LIMIT %(many)s) AS i"""
_WRITE_PROGRESS = """
    INSERT INTO progress (log_id, partition, next_offset) VALUES (%s, %s, %s)
    ON CONFLICT (log_id, partition) DO UPDATE SET next_offset = excluded.next_offset"""
