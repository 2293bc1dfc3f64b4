"""How one comes out of two contents under one natural key: a person says which one stays.

The other one is kept beside, under its number, so that it is no gap for anybody who lacks it, and
is no alarm when it comes again. Only the owner of the tables may do this.
"""

from typing import NamedTuple

import psycopg

from orrery_services.errors import ConfigError
from orrery_services.protocol import facts
from orrery_services.protocol.facts import Fact
from orrery_services.protocol.marks import Numbered

from . import identity, ledger, reading
from .connection import transaction


class Content(NamedTuple):
    """One of the contents under a key, and the number under which it came; 0: under none."""

    fact: Fact
    origin: str
    oseq: int
    held: bool  # it is the one in `facts`


def contents(connection: psycopg.Connection, key: str) -> list[Content]:
    """Return the contents of a key that has more than one, the held one first; [] for others."""
    came = [
        Content(Fact(bytes(id_), kind, stream, key, bytes(payload)), origin, oseq, False)
        for id_, kind, stream, payload, origin, oseq in connection.execute(_CAME, (key,))
    ]
    row = reading.fact_by_key(connection, key)
    if not came or row is None:
        return []
    return [
        Content(row.fact(), row.origin, row.oseq, True),
        *(one for one in came if one.fact.id != row.id),
    ]


def settle(connection: psycopg.Connection, key: str, begins: str) -> Content:
    """Let the content stay whose id begins with these digits; return it as it was before.

    One that was not held gets a new number of this node, and so is sent to the others. Raises
    ConfigError where there is nothing to choose, or not this.
    """
    with transaction(connection):
        ledger.lock(connection, [stream for (stream,) in connection.execute(_STREAM, (key,))])
        found = contents(connection, key)
        chosen = _chosen(found, key, begins)
        if not chosen.held:
            _exchange(connection, found[0], chosen.fact)
        connection.execute(_SETTLED, (key,))
    return chosen


def _chosen(found: list[Content], key: str, begins: str) -> Content:
    ids = ", ".join(one.fact.id.hex()[:12] for one in found)
    fitting = [one for one in found if one.fact.id.hex().startswith(begins.lower())]
    if not found:
        raise ConfigError(f"a key with two contents must be settled, {key!r} is none here")
    if len(fitting) != 1:
        raise ConfigError(f"--as must begin one id of {key} ({ids}), was {begins!r}")
    try:
        facts.check(fitting[0].fact)
    except ValueError as cause:  # one number, two facts: it came under the key of the other one
        raise ConfigError(
            f"--as must name a content of {key}, {begins} came under its number alone: {cause}"
        ) from cause
    return fitting[0]


def _exchange(connection: psycopg.Connection, held: Content, wanted: Fact) -> None:
    """Put another content in the place of the held one, under the next number of this node."""
    own = identity.who(connection)
    assert own is not None, "who holds a fact has an incarnation"
    last = identity.own_numbers(connection, wanted.stream).get(wanted.stream, 0)
    connection.execute(_BESIDE, (
        held.fact.key, wanted.id, held.fact.id, held.fact.kind, held.origin, held.fact.stream,
        held.oseq, held.fact.payload,
    ))  # fmt: skip
    number = (held.origin, held.fact.stream, held.oseq, held.fact.key, held.fact.id)
    connection.execute(_ARRIVED, number)
    connection.execute("DELETE FROM facts WHERE key = %s", (held.fact.key,))
    ledger.insert_facts(connection, own.origin, [Numbered(last + 1, wanted)])


_STREAM = "SELECT DISTINCT stream FROM divergences WHERE key = %s"
_CAME = """
    SELECT came, kind, stream, payload, origin, oseq FROM divergences WHERE key = %s
    ORDER BY seen, came"""
_SETTLED = "UPDATE divergences SET settled = now() WHERE key = %s AND settled IS NULL"
_BESIDE = """
    INSERT INTO divergences (key, held, came, kind, origin, stream, oseq, payload)
    VALUES (%s, %b, %b, %s, %s, %s, %s, %b)
    ON CONFLICT DO NOTHING"""
_ARRIVED = """
    INSERT INTO arrivals (origin, stream, oseq, key, id) VALUES (%s, %s, %s, %s, %b)
    ON CONFLICT DO NOTHING"""
