"""Bodies whose bytes are not what their name says: never served, fetched again.

Whoever reads a damaged body asks for a second copy. The replicator finds it, in the log of facts or
at a peer, and keeps it beside: what was written stays as it is.
"""

import psycopg
import structlog

from orrery_services.protocol import facts
from orrery_services.protocol.arrivals import Range
from orrery_services.protocol.facts import Fact

from . import reading

ASKED_MAX = 1000  # damaged bodies looked for at a time
log = structlog.get_logger()


class Damaged(facts.BadFact):
    """The bytes here are not what the name says, and no second copy has come yet."""


def data_of(connection: psycopg.Connection, row: reading.Row) -> bytes:
    """Return the body of a fact, checked. Raises Damaged; BadFact when gc has removed it."""

    def piece(name: bytes) -> bytes:
        found = reading.fact_by_key(connection, facts.piece_key(row.stream, name))
        if found is None:
            raise facts.MissingPiece(f"piece {name.hex()} of stream {row.stream} must be held")
        return _sound(connection, found)

    return facts.data_of(_sound(connection, row), piece)


def _sound(connection: psycopg.Connection, row: reading.Row) -> bytes:
    """Return a payload that is what the fact's name says: its own, or the second copy."""
    if is_sound(row.fact()):
        return row.payload
    second = connection.execute(_SECOND, (row.key,)).fetchone()
    if second and is_sound(row.fact()._replace(payload=bytes(second[0]))):
        return bytes(second[0])
    connection.execute(_ASK, (row.key, row.id, row.origin, row.stream, row.oseq))
    log.error("a damaged body", key=row.key)
    raise Damaged(
        f"the bytes of {row.key} must be what {row.id.hex()[:12]} names, but are damaged here; a "
        "second copy is asked for, of the log and of the peers"
    )


def is_sound(fact: Fact) -> bool:
    try:
        facts.check(fact)
    except ValueError:
        return False
    return True


def wanted(connection: psycopg.Connection) -> dict[tuple[str, int], list[Range]]:
    """Return the numbers of damaged bodies without a second copy, by (origin, stream)."""
    found: dict[tuple[str, int], list[Range]] = {}
    for origin, stream, oseq in connection.execute(_WANTED, (ASKED_MAX,)):
        found.setdefault((origin, stream), []).append(Range(oseq, oseq))
    return found


def keep(connection: psycopg.Connection, fact: Fact) -> bool:
    """Keep a second copy, if it is one that is asked for and is what its name says."""
    if not is_sound(fact) or facts.expired(fact.payload):
        return False
    return connection.execute(_KEEP, (fact.payload, fact.key, fact.id)).rowcount > 0


_SECOND = "SELECT payload FROM mended WHERE key = %s AND payload IS NOT NULL"
_ASK = """
    INSERT INTO mended (key, id, origin, stream, oseq) VALUES (%s, %b, %s, %s, %s)
    ON CONFLICT DO NOTHING"""
_WANTED = """
    SELECT origin, stream, oseq FROM mended WHERE payload IS NULL ORDER BY 1, 2, 3 LIMIT %s"""
_KEEP = "UPDATE mended SET payload = %b WHERE key = %s AND id = %b AND payload IS NULL"
