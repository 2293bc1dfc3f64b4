"""Heartbeats, what they name, what is missing, and which log a topic is."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg

from orrery_services import failpoints
from orrery_services.errors import made_anew
from orrery_services.protocol import arrivals
from orrery_services.protocol.arrivals import Arrived, Range
from orrery_services.protocol.facts import Fact, data_of, meta_of, plain_fact
from orrery_services.protocol.rules import ALL_RULES, Rules

from .receiving import Source, numbers_ahead

HEARTBEAT = "heartbeat"
KEPT_SECONDS = 60
SHORT_MAX = 400  # sources that the meta of a heartbeat has room for

Held = dict[str, dict[str, int]]  # origin -> stream -> greatest oseq


def beat(connection: psycopg.Connection, partitions: int, now_ns: int) -> Held:
    """Write a heartbeat that names the greatest oseq held per (origin, stream), and return it.

    It reads what is committed and commits behind it, so change capture sends it behind that too.
    Where something below that may be missing its meta says up to where nothing is.
    """
    held: Held = {}
    short: Held = {}
    for origin, of_stream, oseq, whole in connection.execute(_GREATEST, (partitions,)):
        if not oseq:
            continue
        held.setdefault(origin, {})[str(of_stream)] = oseq
        if whole < oseq:
            short.setdefault(origin, {})[str(of_stream)] = whole
    origin = connection.execute(_ORIGIN).fetchone()[0]
    key, meta = f"{HEARTBEAT}/{origin}", {"at_ns": now_ns, **_whole(short)}
    fact = plain_fact(HEARTBEAT, partitions, key, meta, _packed(held))[-1]
    row = (fact.id, HEARTBEAT, origin, partitions, now_ns, key, fact.payload)
    connection.execute(_INSERT, row)
    failpoints.reach("behind a heartbeat")
    connection.execute(_FORGET, (origin, KEPT_SECONDS))
    return held


def _whole(short: Held) -> dict[str, Held | None]:
    """Return how the meta of a heartbeat says it: None for more than it has room for."""
    if not short:
        return {}
    return {"whole": short if sum(map(len, short.values())) <= SHORT_MAX else None}


def heard(connection: psycopg.Connection, held: Held, rules: Rules = ALL_RULES) -> None:
    """Remember what a heartbeat of another node names."""
    if not rules.heartbeat_names_the_last:
        return
    named = {
        (origin, stream): oseq for origin, stream, oseq in connection.execute(_NAMED).fetchall()
    }
    rows = [
        (origin, int(stream), oseq)
        for origin, streams in sorted(held.items())
        for stream, oseq in sorted(streams.items())
        if named.get((origin, int(stream)), 0) < oseq
    ]
    if rows:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(_NAME, rows)


def read(fact: Fact) -> Held:
    """Return what a heartbeat names. Raises ValueError on anything else."""
    return _checked(json.loads(data_of(fact.payload, _no_pieces)))


def read_whole(fact: Fact) -> Held:
    """Return up to which numbers a heartbeat says that nothing is missing: what gc may believe.

    Raises ValueError as `read` does.
    """
    held, short = read(fact), meta_of(fact.payload).get("whole", {})
    if short is None:
        return {}
    short = _checked(short)
    return {
        origin: {
            stream: min(oseq, short.get(origin, {}).get(stream, oseq))
            for stream, oseq in streams.items()
        }
        for origin, streams in held.items()
    }


def _checked(held: Any) -> Held:
    if not isinstance(held, dict) or not all(
        "\0" not in origin
        and isinstance(streams, dict)
        and all(
            stream.isdecimal() and len(stream) < 10 and type(oseq) is int and 0 <= oseq < 1 << 62
            for stream, oseq in streams.items()
        )
        for origin, streams in held.items()
    ):
        raise ValueError(f"a heartbeat must name numbers by origin and stream, was {held!r:.80}")
    return held


def missing(connection: psycopg.Connection, rules: Rules = ALL_RULES) -> dict[Source, list[Range]]:
    """Return the gaps of every foreign (origin, stream)."""
    found = {}
    for source, state, ahead in arrived(connection):
        if ranges := arrivals.gaps(state, ahead, rules):
            found[source] = ranges
    return found


def settle(connection: psycopg.Connection) -> None:
    """Remember how far every source has arrived without a gap: the next look begins there.

    What has arrived is in `facts` and `arrivals`; this is only where not to look again.
    """
    rows = [
        (state.contiguous, state.greatest, *source, state.contiguous)
        for source, state, _ in arrived(connection)
    ]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_SETTLE, rows)


def arrived(connection: psycopg.Connection) -> Iterator[tuple[Source, Arrived, list[int]]]:
    """Yield how far every foreign (origin, stream) has arrived, and the numbers beyond a gap."""
    for origin, stream, *rest in connection.execute(_ORIGINS).fetchall():
        before = Arrived(*rest)
        ahead = numbers_ahead(connection, (origin, stream), before)
        after = arrivals.arrive(before, ahead, ())
        yield (origin, stream), after, [oseq for oseq in ahead if oseq > after.contiguous]


def adopt_first(connection: psycopg.Connection, topic: str, log_id: str) -> None:
    """Take a topic's log as the one meant, when none is known yet.

    Raises OutsideError when another is: offsets of different logs are never compared.
    """
    connection.execute(_ADOPT_FIRST, (topic, log_id, topic))
    known = [row[0] for row in connection.execute(_KNOWN, (topic,))]
    if known[-1] != log_id:
        raise made_anew(topic, known[-1], log_id)


def adopt(connection: psycopg.Connection, topic: str, log_id: str) -> None:
    """Go on with another log of a topic."""
    connection.execute("INSERT INTO logs (topic, log_id) VALUES (%s, %s)", (topic, log_id))


def _no_pieces(_: bytes) -> bytes:
    raise ValueError("a heartbeat must fit one message")


def _packed(held: Held) -> bytes:
    return json.dumps(held, sort_keys=True, separators=(",", ":")).encode()


_ORIGIN = "SELECT i.origin FROM node n JOIN incarnations i USING (incarnation)"
_GREATEST = """
    SELECT i.origin, s.stream, own.oseq, own.oseq
    FROM node n JOIN incarnations i USING (incarnation), generate_series(0, %s) AS s (stream),
        LATERAL (SELECT max(oseq) AS oseq FROM facts f
                 WHERE f.origin = i.origin AND f.stream = s.stream) own
    UNION ALL SELECT o.origin, o.stream, greatest(
        o.greatest,
        (SELECT max(oseq) FROM facts f WHERE f.origin = o.origin AND f.stream = o.stream),
        (SELECT max(oseq) FROM arrivals a WHERE a.origin = o.origin AND a.stream = o.stream)),
        o.contiguous
    FROM origins o
    WHERE o.origin <> (SELECT i.origin FROM node n JOIN incarnations i USING (incarnation))"""
_INSERT = """
    INSERT INTO heartbeats (id, kind, origin, stream, oseq, key, payload)
    VALUES (%b, %s, %s, %s, %s, %s, %b)"""
_FORGET = """
    DELETE FROM heartbeats WHERE origin <> %s OR sent < now() - make_interval(secs => %s)"""
_NAMED = "SELECT origin, stream, named FROM origins"
_NAME = """
    INSERT INTO origins (origin, stream, named) VALUES (%s, %s, %s)
    ON CONFLICT (origin, stream) DO UPDATE SET named = excluded.named
    WHERE excluded.named > origins.named"""
_ORIGINS = """
    SELECT origin, stream, contiguous, greatest, named FROM origins
    WHERE origin <> (SELECT i.origin FROM node n JOIN incarnations i USING (incarnation))
    ORDER BY origin, stream"""
_SETTLE = """
    UPDATE origins SET contiguous = greatest(contiguous, %s), greatest = greatest(greatest, %s)
    WHERE origin = %s AND stream = %s AND contiguous < %s"""
_ADOPT_FIRST = """
    INSERT INTO logs (topic, log_id) SELECT %s, %s
    WHERE NOT EXISTS (SELECT FROM logs WHERE topic = %s) ON CONFLICT DO NOTHING"""
_KNOWN = "SELECT log_id FROM logs WHERE topic = %s ORDER BY adopted"
