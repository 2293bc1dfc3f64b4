"""Snapshots that runs in flight need: gc leaves them alone. A holder is "<service> <its work>".

Gc looks for the last time, and then lets what goes be known as gone, in one transaction, apart from
whoever gives a snapshot a name or a run: who does so before it keeps the snapshot, who does so
behind it finds that it went.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from .connection import soon


def hold(connection: psycopg.Connection, id_: bytes, holder: str) -> None:
    """Need not outlive a power cut, as `release`: nothing is in flight after one."""
    with soon(connection):
        connection.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", LAST_LOOK)
        connection.execute(_HOLD, (id_, holder))


def release(connection: psycopg.Connection, id_: bytes, holder: str) -> None:
    with soon(connection):
        connection.execute(_RELEASE, (id_, holder))


def in_session(connection: psycopg.Connection, work: str) -> str:
    """Return a holder that lives as long as this connection, whatever services start anew."""
    return f"{work}{_SESSION}{connection.info.backend_pid}"


def release_all(connection: psycopg.Connection, service: str) -> None:
    """Forget what a service held: one that starts has nothing in flight. What others hold in a
    session of their own stays while that is open."""
    connection.execute(_RELEASE_ALL, {"service": f"{service} ", "session": _SESSION})


def held(connection: psycopg.Connection) -> dict[str, bytes]:
    """Return the snapshots that are held, by who holds them."""
    rows = connection.execute(_HELD, {"session": _SESSION})
    return {f"{holder} of {bytes(id_).hex()[:12]}": bytes(id_) for holder, id_ in rows}


@contextmanager
def naming(connection: psycopg.Connection) -> Iterator[None]:
    """Be apart from the last look of gc: who names a snapshot does so while this is open."""
    connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", LAST_LOOK)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock_shared(%s, %s)", LAST_LOOK)


LAST_LOOK = 0x0FACA, 0  # of advisory locks: gc against who names or holds a snapshot
_SESSION = " in session "
_IS_OPEN = """(strpos(holder, %(session)s) = 0 OR EXISTS (SELECT FROM pg_stat_activity
    WHERE pid::text = split_part(holder, %(session)s, 2)))"""
_HELD = f"SELECT holder, snapshot FROM snapshot_holds WHERE {_IS_OPEN} ORDER BY 1, 2"  # noqa: S608
_HOLD = """
    INSERT INTO snapshot_holds (snapshot, holder) VALUES (%s, %s) ON CONFLICT DO NOTHING"""
_RELEASE = "DELETE FROM snapshot_holds WHERE snapshot = %s AND holder = %s"
_RELEASE_ALL = f"""
    DELETE FROM snapshot_holds WHERE starts_with(holder, %(service)s)
        AND NOT (strpos(holder, %(session)s) > 0 AND {_IS_OPEN})"""  # noqa: S608
