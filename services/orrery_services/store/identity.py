"""Who this database is, and whether somebody has looked if it is still the same."""

import base64
import uuid
from datetime import datetime
from typing import NamedTuple

import psycopg

from orrery_services.errors import OutsideError

from .connection import transaction

EMPTY_DISK = "empty disk"


class NotLookedAt(OutsideError):
    """The server is not the one that was looked at: it may hold an old disk."""


class Server(NamedTuple):
    system_identifier: str
    timeline: int
    server_started: datetime


class Identity(NamedTuple):
    name: str
    incarnation: uuid.UUID
    origin: str
    server: Server  # as it was when last looked at


def origin_of(node: str, incarnation: uuid.UUID) -> str:
    """Return the origin that facts carry.

    >>> origin_of("n1", uuid.UUID(int=0))
    'n1.AAAAAAAAAAAAAAAAAAAAAA'
    """
    return f"{node}.{base64.urlsafe_b64encode(incarnation.bytes).decode().rstrip('=')}"


def node_of(origin: str) -> str:
    """Return the node behind an origin."""
    return origin.split(".", 1)[0]


def server(connection: psycopg.Connection) -> Server:
    return Server(*connection.execute("SELECT * FROM server_identity()").fetchone())


def who(connection: psycopg.Connection) -> Identity | None:
    """Return who this database says it is; None: nobody yet."""
    row = connection.execute(_IDENTITY).fetchone()
    return Identity(*row[:3], Server(*row[3:])) if row else None


def is_looked_at(connection: psycopg.Connection) -> bool:
    """Whether the running server is the one that was looked at: before that nobody may number."""
    found = who(connection)
    return found is not None and found.server == server(connection)


def begin(
    connection: psycopg.Connection, node: str, reason: str, incarnation: uuid.UUID | None = None
) -> Identity:
    """Begin a new incarnation, close the one before, and return who the database is now.

    What the old one wrote and is still here counts as arrived: from now on it is an origin like
    any other, and what is missing of it is a gap that peers fill.
    """
    fresh = incarnation or uuid.uuid4()
    now = server(connection)
    with transaction(connection):
        connection.execute(_LOCK_NODE)
        connection.execute(_OLD_ARRIVED)
        connection.execute(_CLOSE)
        connection.execute(_INCARNATION, (fresh, node, origin_of(node, fresh), reason))
        connection.execute(_NODE, (node, fresh, *now))
    return Identity(node, fresh, origin_of(node, fresh), now)


def looked_at(connection: psycopg.Connection, now: Server) -> None:
    """Remember that this server was found to be the same database."""
    connection.execute("UPDATE node SET server_started = %s", (now.server_started,))


def sources_begun(connection: psycopg.Connection) -> bool:
    """Whether the connectors have been given new offsets for this incarnation."""
    row = connection.execute("SELECT sources_begun FROM node").fetchone()
    return bool(row and row[0])


def set_sources_begun(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE node SET sources_begun = true")


def own_numbers(connection: psycopg.Connection, partitions: int) -> dict[int, int]:
    """Return the greatest oseq of the current incarnation by stream."""
    found = connection.execute(_OWN_NUMBERS, (partitions,)).fetchall()
    return {stream: oseq for stream, oseq in found if oseq is not None}


def own_row_ids(connection: psycopg.Connection) -> dict[str, int]:
    """Return the greatest id of every captured table."""
    return dict(connection.execute(_OWN_ROW_IDS).fetchall())


_OWN_NUMBERS = """
    SELECT s, (SELECT max(oseq) FROM facts f WHERE f.stream = s AND f.origin = (
        SELECT i.origin FROM node n JOIN incarnations i USING (incarnation)))
    FROM generate_series(0, %s) AS s"""
_OWN_ROW_IDS = """
    SELECT 'trades', coalesce(max(id), 0) FROM trades
    UNION ALL SELECT 'quotes', coalesce(max(id), 0) FROM quotes
    UNION ALL SELECT 'market_quotes', coalesce(max(id), 0) FROM market_quotes"""
_LOCK_NODE = "LOCK TABLE node IN ACCESS EXCLUSIVE MODE"  # nobody reads it while it moves
_IDENTITY = """
    SELECT n.name, n.incarnation, i.origin, n.system_identifier, n.timeline, n.server_started
    FROM node n JOIN incarnations i USING (incarnation)"""
_OLD_ARRIVED = """
    INSERT INTO origins (origin, stream, contiguous, greatest, named)
    SELECT f.origin, f.stream, max(f.oseq), max(f.oseq), 0 FROM facts f
    JOIN incarnations i ON i.origin = f.origin JOIN node n USING (incarnation)
    GROUP BY f.origin, f.stream
    ON CONFLICT (origin, stream) DO UPDATE SET
        contiguous = excluded.contiguous, greatest = excluded.greatest"""
_CLOSE = """
    UPDATE incarnations SET closed = now() WHERE closed IS NULL
    AND incarnation = (SELECT incarnation FROM node)"""
_INCARNATION = """
    INSERT INTO incarnations (incarnation, node, origin, reason) VALUES (%s, %s, %s, %s)"""
_NODE = """
    INSERT INTO node (name, incarnation, system_identifier, timeline, server_started)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (only_row) DO UPDATE SET incarnation = excluded.incarnation,
        system_identifier = excluded.system_identifier, timeline = excluded.timeline,
        server_started = excluded.server_started, sources_begun = false"""
