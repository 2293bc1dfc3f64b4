"""Change capture kept right: connectors registered, running, and on a slot that is the one we made.

A replication slot that was dropped is quietly made again by Debezium, from wherever the WAL is by
then; what was committed in between would be lost without a word. So our slots carry a mark that no
other has: the flag `failover`, asked for while Debezium makes the slot for us and taken out of its
configuration afterwards. A slot without it was made behind our back: the connector begins anew,
with a snapshot in order of id, which readers absorb.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from . import connect
from .config import Settings
from .errors import OutsideError

SLOTS = {"source": "orrery"}
MARK = "slot.failover"
BEGINS = "orrery.begins"  # in the configuration of a connector that somebody is beginning anew
STOP_SECONDS_MAX = 30.0
PAUSE_SECONDS = 0.1
LOCK = 0x_0C_DC_0001  # two keepers of one node take turns


class Slot(NamedTuple):
    """What Postgres says of a slot."""

    ours: bool
    lost: bool  # its WAL is gone: it cannot be read any more
    active: bool
    held_bytes: int  # WAL that it holds back


def slot(connection: psycopg.Connection, name: str) -> Slot | None:
    """Return the slot of a connector, None when there is none. Any role may ask."""
    row = connection.execute(
        "SELECT failover, wal_status = 'lost' OR invalidation_reason IS NOT NULL, active, "
        "coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint "
        "FROM pg_replication_slots WHERE slot_name = %s",
        [SLOTS[name]],
    ).fetchone()
    return Slot(*row) if row else None


def register(settings: Settings, name: str) -> str | None:
    """Bring a connector's configuration up to date; begin anew where Connect knows none."""
    current = connect.config(settings, name)
    if current is None:
        with opened(settings) as connection:
            return keep(settings, name, connection)
    wanted = connect.connector_config(settings, name) | {MARK: current.get(MARK, "false")}
    wanted |= {BEGINS: current[BEGINS]} if BEGINS in current else {}
    if current != wanted | {"name": current.get("name")}:
        connect.put(settings, name, wanted)
    return None


@contextmanager
def opened(settings: Settings) -> Iterator[psycopg.Connection]:
    """Open the node's database as change capture does. Raises OutsideError when it does not answer,
    then or later."""
    try:
        with psycopg.connect(settings.postgres("cdc"), autocommit=True) as connection:
            yield connection
    except psycopg.Error as cause:
        raise OutsideError(
            f"{settings.node}'s Postgres must answer, but: {str(cause).strip()}"
        ) from cause


def keep(settings: Settings, name: str, connection: psycopg.Connection) -> str | None:
    """Look at one connector and its slot and put right what is wrong; return what was done.

    Called every second or so. Raises OutsideError when Connect does not answer.
    """
    query = "SELECT pg_try_advisory_lock(%s, %s)"
    mine = connection.execute(query, [LOCK, list(SLOTS).index(name)]).fetchone()
    return _keep(settings, name, connection) if mine and mine[0] else None


def _keep(settings: Settings, name: str, connection: psycopg.Connection) -> str | None:
    current = connect.config(settings, name)
    if current is None:
        connect.expect_started(settings)  # while it starts it knows no connector at all
        current = connect.config(settings, name)
    if current is None:
        begin_anew(settings, name, connection)
        return "registered"
    state, why = connect.state(settings, name)
    if state == "STOPPED":
        if BEGINS not in current:
            return None  # by somebody who means it
        begin_anew(settings, name, connection)
        return "begun anew: whoever did so was interrupted"
    found = slot(connection, name)
    if found is not None and found.lost:
        begin_anew(settings, name, connection)
        return "begun anew: the slot held back more WAL than it may and was given up"
    if found is not None and not found.ours:
        begin_anew(settings, name, connection)
        return "begun anew: the slot was dropped and made again behind our back"
    if state == "FAILED":
        if found is None:
            begin_anew(settings, name, connection)
            return f"begun anew: its slot is gone: {why}"
        connect.restart(settings, name)
        return f"started again: {why}"
    if current.get(MARK) == "true" and found and found.active and _streams(settings, name):
        begun = {key: value for key, value in current.items() if key != BEGINS}
        connect.put(settings, name, begun | {MARK: "false"})
    return None


def begin_anew(settings: Settings, name: str, connection: psycopg.Connection) -> None:
    """Start a connector with no memory, no slot, and leave to make one with the mark.

    Its configuration says so from the first step until it streams: whoever finds it stopped halfway
    begins again.
    """
    current = connect.config(settings, name)
    if current is not None:
        connect.put(settings, name, current | {BEGINS: "true"})
        connect.stop(settings, name)
        _wait_stopped(settings, name)
        connect.reset_offsets(settings, name)
    drop_slot(connection, SLOTS[name])
    fresh = {MARK: "true", BEGINS: "true"}
    connect.put(settings, name, connect.connector_config(settings, name) | fresh)
    if current is not None:
        connect.resume(settings, name)


def drop_slot(connection: psycopg.Connection, name: str) -> None:
    """Drop a slot, ending whoever reads it. Without such a slot it is a no-op."""
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while True:
        query = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s"
        row = connection.execute(query, [name]).fetchone()
        if row is None:
            return
        if row[0] is not None:
            connection.execute("SELECT pg_terminate_backend(%s)", [row[0]])
        try:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
        except psycopg.errors.UndefinedObject:
            return
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def _wait_stopped(settings: Settings, name: str) -> None:
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while True:
        state, _ = connect.state(settings, name)
        if state == "STOPPED":
            return
        if time.monotonic() > deadline:
            raise OutsideError(
                f"Connect must stop {settings.node}-{name} within {STOP_SECONDS_MAX:.0f} s, "
                f"but it is {state}"
            )
        time.sleep(PAUSE_SECONDS)


def _streams(settings: Settings, name: str) -> bool:
    """Return whether the snapshot is behind it: the stored offset is one of the stream."""
    stored: list[dict[str, Any]] = connect.offsets(settings, name)
    return bool(stored) and not any(entry["offset"].get("snapshot") for entry in stored)
