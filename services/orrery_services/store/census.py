"""What a node holds, in figures: marks, facts, gaps, divergences, slots. For readers."""

from typing import Any

import psycopg

from orrery_services.errors import OutsideError

from . import heartbeats, identity, reading


def take(connection: psycopg.Connection) -> dict[str, Any]:
    """Return the state of this node's store as JSON can hold it."""
    who = identity.who(connection)
    if who is None:
        raise OutsideError("the node has no incarnation yet: start its replication service")
    marks = reading.marks(connection)
    missing = heartbeats.missing(connection)
    return {
        "origin": who.origin,
        "looked_at": who.server == identity.server(connection),
        "chains": reading.chain_names(connection),
        "marks": [
            {
                "chain": chain,
                "partition": p,
                "log": m.log_id,
                "offset": m.offset,
                "ordinal": m.ordinal,
            }
            for (chain, p), m in sorted(marks.items())
        ],
        "facts_missing": sum(r.high - r.low + 1 for ranges in missing.values() for r in ranges),
        "diverged": reading.quarantined(connection),
        "slots": slots(connection),
        "progress": _progress(connection),
    }


def slots(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Return what the slots of this server hold back."""
    names = ("name", "active", "state", "held_bytes")
    return [dict(zip(names, row, strict=True)) for row in connection.execute(_SLOTS)]


def _progress(connection: psycopg.Connection) -> list[dict[str, Any]]:
    names = ("log", "partition", "next_offset")
    found = connection.execute(
        "SELECT log_id, partition, next_offset FROM progress ORDER BY log_id, partition"
    )
    return [dict(zip(names, row, strict=True)) for row in found]


_SLOTS = """
    SELECT slot_name::text, active, coalesce(wal_status, 'none'),
        coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
    FROM pg_replication_slots WHERE database = current_database() ORDER BY slot_name"""
