"""Snapshots that runs in flight need: gc leaves them alone. A holder is "<service> <its work>"."""

import psycopg

from .connection import soon


def hold(connection: psycopg.Connection, id_: bytes, holder: str) -> None:
    _soon(connection, _HOLD, (id_, holder))


def release(connection: psycopg.Connection, id_: bytes, holder: str) -> None:
    _soon(connection, _RELEASE, (id_, holder))


def release_all(connection: psycopg.Connection, service: str) -> None:
    """Forget what a service held: one that starts has nothing in flight."""
    connection.execute(_RELEASE_ALL, (f"{service} ",))


def _soon(connection: psycopg.Connection, statement: str, values: tuple) -> None:
    """Do what need not outlive a power cut: nothing is in flight after one."""
    with soon(connection):
        connection.execute(statement, values)


def held(connection: psycopg.Connection) -> dict[str, bytes]:
    """Return the snapshots that are held, by who holds them."""
    rows = connection.execute("SELECT holder, snapshot FROM snapshot_holds ORDER BY 1, 2")
    return {f"{holder} of {bytes(id_).hex()[:12]}": bytes(id_) for holder, id_ in rows}


_HOLD = """
    INSERT INTO snapshot_holds (snapshot, holder) VALUES (%s, %s) ON CONFLICT DO NOTHING"""
_RELEASE = "DELETE FROM snapshot_holds WHERE snapshot = %s AND holder = %s"
_RELEASE_ALL = "DELETE FROM snapshot_holds WHERE starts_with(holder, %s)"
