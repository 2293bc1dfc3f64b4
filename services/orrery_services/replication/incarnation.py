"""Who this database is. Settled before anybody numbers a fact.

A new incarnation begins on an empty disk, under another system identifier or timeline, and when the
world has seen more of this one than the disk remembers. The last can only be after the server was
started; then the node's connectors are stopped, what they still had to send has arrived, and the
world is looked at.
"""

import os
import time
from collections.abc import Callable

import psycopg
import structlog

from .. import bus, cdc, connect, store
from ..config import Settings
from ..errors import OutsideError
from ..protocol import labels, ticks, vectors
from ..protocol.rows import ROW_TOPICS
from ..protocol.rules import Rules, rules_from
from ..store import heartbeats, identity, reading
from . import figures, steps

LOOK_SECONDS_MAX = 60.0  # without the sky; then a node goes on alone
STOP_SECONDS_MAX = 40.0  # of Connect to close a task and its producer
FLYING_SECONDS = 2.0  # after that: what the broker had in its hands is in the log
TAIL_MESSAGES = 50  # of ticks, whose labels name the rows that were read
log = structlog.get_logger()

Beat = Callable[[], None]


def settle(settings: Settings, connection: psycopg.Connection, beat: Beat) -> store.Identity:
    """Return who the database is; begin a new incarnation when it is not who it was."""
    known, now = store.who(connection), identity.server(connection)
    rules = rules_from(os.environ)
    if known is None:
        return _begin(connection, settings.node, identity.EMPTY_DISK)
    if known.name != settings.node:
        raise OutsideError(
            f"the database must belong to {settings.node}, but is {known.name}'s; "
            "check postgres.host and postgres.port"
        )
    if known.server == now:
        return known
    if known.server[:2] != now[:2]:
        return _begin(connection, settings.node, "another system identifier or timeline")
    return _look_or_begin(settings, connection, known, rules, beat)


def _look_or_begin(
    settings: Settings,
    connection: psycopg.Connection,
    known: store.Identity,
    rules: Rules,
    beat: Beat,
) -> store.Identity:
    """Look; where the sky cannot be asked in time, a new incarnation is always safe."""
    deadline = time.monotonic() + LOOK_SECONDS_MAX
    while True:
        try:
            return look(settings, connection, known, rules, beat)
        except OutsideError as cause:
            if time.monotonic() > deadline:
                return _begin(connection, settings.node, f"the sky could not be asked: {cause}")
            log.warning("waiting for the sky", reason=str(cause))
            beat()
            time.sleep(1.0)


def look(
    settings: Settings,
    connection: psycopg.Connection,
    known: store.Identity,
    rules: Rules,
    beat: Beat,
) -> store.Identity:
    """Compare what the world has seen of this incarnation with what the disk remembers."""
    if rules.wait_for_the_old_connector:
        _stop_connectors(settings, beat)
    try:
        evidence = gather(settings, connection, known, beat)
        if why := steps.why_restored(evidence, rules):
            return _begin(connection, settings.node, f"restored disk: {why}")
    finally:
        _resume_connectors(settings)
    # Behind that: who is killed in between looks again, and nobody finds them stopped for good.
    identity.looked_at(connection, identity.server(connection))
    return known


def begin_sources_when_possible(settings: Settings, connection: psycopg.Connection) -> None:
    try:
        begin_sources(settings, connection)
    except (OutsideError, psycopg.OperationalError) as cause:
        log.warning("the connectors wait for their new offsets", reason=str(cause).strip())


def begin_sources(settings: Settings, connection: psycopg.Connection) -> None:
    """Give every connector new offsets and slots, once per incarnation."""
    if identity.sources_begun(connection):
        return
    with psycopg.connect(settings.postgres("cdc"), autocommit=True) as slots:
        for name in connect.NAMES:
            if connect.config(settings, name) is None:
                connect.expect_started(settings)  # while it starts it knows no connector at all
            if connect.config(settings, name) is not None:
                cdc.begin_anew(settings, name, slots)
    identity.set_sources_begun(connection)


def gather(
    settings: Settings, connection: psycopg.Connection, known: store.Identity, beat: Beat
) -> steps.Evidence:
    """Return what the topics and the peers' heartbeats say about this incarnation."""
    reader = bus.LogReader(settings.kafka, "orrery-replication")
    try:
        in_topic, named = _facts_seen(settings, connection, known.origin, reader, beat)
        seen_ids = _rows_seen(settings, str(known.incarnation), reader, beat)
    finally:
        reader.close()
    return steps.Evidence(
        identity.own_numbers(connection, settings.partitions),
        in_topic,
        named,
        identity.own_row_ids(connection),
        seen_ids,
    )


def _begin(connection: psycopg.Connection, node: str, why: str) -> store.Identity:
    found = identity.begin(connection, node, why)
    figures.INCARNATIONS.inc()
    log.warning("a new incarnation", origin=found.origin, reason=why)
    return found


def _stop_connectors(settings: Settings, beat: Beat) -> None:
    for name in connect.NAMES:
        connect.stop(settings, name)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while any(_has_tasks(settings, name) for name in connect.NAMES):
        beat()
        if time.monotonic() > deadline:
            raise OutsideError(f"the connectors of {settings.node} must stop within the time")
        time.sleep(0.1)
    time.sleep(FLYING_SECONDS)


def _has_tasks(settings: Settings, name: str) -> bool:
    told = connect.status(settings, name)
    return bool(told and (told.get("tasks") or told["connector"]["state"] == "RUNNING"))


def _resume_connectors(settings: Settings) -> None:
    for name in connect.NAMES:
        if connect.status(settings, name) is not None:
            connect.resume(settings, name)


def _facts_seen(
    settings: Settings,
    connection: psycopg.Connection,
    origin: str,
    reader: bus.LogReader,
    beat: Beat,
) -> tuple[dict[int, int], dict[int, int]]:
    """Return the greatest own numbers in the unread part of `facts`, and those that peers name."""
    log_id = bus.log_ids(bus.admin(settings.kafka), ["facts"])["facts"]
    places = reading.progress(connection, log_id)
    in_topic: dict[int, int] = {}
    named: dict[int, int] = {}
    for stream in range(settings.partitions + 1):
        low, end = reader.ends("facts", stream)
        for message in reader.read("facts", stream, max(low, places.get(stream, 0)), end):
            beat()
            found = _delivery(message, stream)
            if found is None:
                continue
            if found.fact.kind == steps.HEARTBEAT:
                _name(named, found, origin)
            elif found.origin == origin:
                in_topic[stream] = max(in_topic.get(stream, 0), found.oseq)
    return in_topic, named


def _name(named: dict[int, int], beat: steps.Delivery, origin: str) -> None:
    for stream, oseq in heartbeats.read(beat.fact).get(origin, {}).items():
        named[int(stream)] = max(named.get(int(stream), 0), oseq)


def _delivery(message: object, stream: int) -> steps.Delivery | None:
    try:
        return steps.parse(message.key(), message.value(), message.headers(), stream)
    except ValueError:
        return None


def _rows_seen(
    settings: Settings, incarnation: str, reader: bus.LogReader, beat: Beat
) -> dict[str, int]:
    """Return the greatest row ids of this incarnation in labels of ticks and in row topics."""
    logs = bus.log_ids(bus.admin(settings.kafka), [*ROW_TOPICS, "ticks"])
    seen: dict[str, int] = {}
    for partition in range(settings.partitions):
        beat()
        vector = _last_vector(reader, partition)
        for topic in ROW_TOPICS:
            at = vector.get(vectors.captured_key(incarnation, topic), 0)
            seen[topic] = max(seen.get(topic, 0), at)
            low, end = reader.ends(topic, partition)
            first = max(low, vectors.next_offset(vector, topic, logs[topic]))
            for message in reader.read(topic, partition, first, end):
                beat()
                row = _captured(message)
                if row is not None and row.incarnation == incarnation:
                    seen[row.table] = max(seen.get(row.table, 0), row.id)
    return seen


def _last_vector(reader: bus.LogReader, partition: int) -> vectors.Vector:
    """Return the greatest of what the last labels of a partition claim."""
    low, end = reader.ends("ticks", partition)
    claimed: vectors.Vector = {}
    for message in reader.read("ticks", partition, max(low, end - TAIL_MESSAGES), end):
        try:
            label = ticks.parse(message.value(), message.headers()).next or {}
        except ticks.BadTicks:
            continue
        claimed = {key: max(at, claimed.get(key, at)) for key, at in {**claimed, **label}.items()}
    return claimed


def _captured(message: object) -> labels.Captured | None:
    try:
        return labels.captured(message.headers() or (), message.value())
    except ValueError:
        return None
