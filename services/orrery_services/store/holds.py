"""Snapshots that runs in flight need: gc leaves them alone. A holder is "<service> <its work>"."""

import psycopg


def hold(connection: psycopg.Connection, id_: bytes, holder: str) -> None:
    connection.execute(_HOLD, (id_, holder))


def release(connection: psycopg.Connection, id_: bytes, holder: str) -> None:
    connection.execute(_RELEASE, (id_, holder))


def release_all(connection: psycopg.Connection, service: str) -> None:
    """Forget what a service held: one that starts has nothing in flight."""
    connection.execute(_RELEASE_ALL, (f"{service} ",))


def held(connection: psycopg.Connection) -> dict[str, bytes]:
    """Return the snapshots that are held, by who holds them."""
    rows = connection.execute("SELECT holder, snapshot FROM snapshot_holds ORDER BY 1, 2")
    return {f"{holder} of {bytes(id_).hex()[:12]}": bytes(id_) for holder, id_ in rows}


_HOLD = """
    INSERT INTO snapshot_holds (snapshot, holder) VALUES (%s, %s) ON CONFLICT DO NOTHING"""
_RELEASE = "DELETE FROM snapshot_holds WHERE snapshot = %s AND holder = %s"
_RELEASE_ALL = "DELETE FROM snapshot_holds WHERE starts_with(holder, %s)"
