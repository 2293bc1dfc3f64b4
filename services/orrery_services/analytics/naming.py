"""Which chain a human name leads to. A new one takes over when it has caught up with the old."""

from datetime import datetime

import psycopg

from ..store import reading


def claim(connection: psycopg.Connection, name: str, chain: str) -> None:
    """Give a chain its name when nobody has it."""
    connection.execute(
        "INSERT INTO chain_names (name, chain) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING",
        (name, chain),
    )


def take_over(
    connection: psycopg.Connection, name: str, chain: str, partitions: int, started: datetime
) -> bool:
    """Move the name to a chain whose marks are as far as those of the chain that has it.

    A worker that `started` before the owner got the name is the older one, and takes nothing back.
    """
    owner = reading.chain_names(connection).get(name)
    if owner == chain:
        return False
    marks = reading.marks(connection)
    for partition in range(partitions):
        old, new = marks.get((str(owner), partition)), marks.get((chain, partition))
        if old is not None and (new is None or new.ordinal < old.ordinal):
            return False
    connection.execute(
        """UPDATE chain_names SET chain = %s, since = now()
           WHERE name = %s AND chain = %s AND since < %s""",
        (chain, name, owner, started),
    )
    return True
