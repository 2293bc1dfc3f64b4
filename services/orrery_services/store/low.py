"""Where the bodies of stored rows begin: below it gc has removed them, and names are all there is.

Read off the facts themselves: gc empties input chunks from the first on, so what went lies in front
of what is held.
"""

from typing import NamedTuple

import psycopg

from orrery_services.protocol import facts, leaves
from orrery_services.protocol.facts import INPUT, Place
from orrery_services.protocol.marks import Mark, link_of

from . import leaves as stored
from . import reading


class Low(NamedTuple):
    """The first input chunk of a partition whose body is held, and when the last before it went."""

    partition: int
    mark: Mark
    expired_on: str  # UTC day

    @property
    def text(self) -> str:
        return (
            f"partition {self.partition}: rows below offset {self.mark.offset:,} of ticks expired "
            f"on {self.expired_on}, their names are held"
        )


def low_of(connection: psycopg.Connection, partition: int) -> Low | None:
    """Return where the held rows of a partition begin, None when nothing has expired."""
    found = None
    for log_id in reading.logs(connection, "ticks"):
        here = _low_in(connection, log_id, partition)
        found = here or found
        if here is None or reading.fact_by_key(connection, _key(here.mark, partition)) is not None:
            break  # else all rows of this log have expired: those of the next may have, too
    return found


def root_below(connection: psycopg.Connection, chain: str, low: Low) -> bytes:
    """Return the root over the names of what expired: of input chunks, and of a chain's results."""
    below = stored.of_chunks(connection, chain, low.partition, low.mark)
    return leaves.root(leaves.blocks(below))


def _low_in(connection: psycopg.Connection, log_id: str, partition: int) -> Low | None:
    """Return the place behind the last chunk of a log that has expired: halving what lies between
    one that has and one that has not."""
    end = reading.end_of(INPUT, log_id, partition)
    first = _head(connection, facts.place_key(INPUT, Place(log_id, partition, 0)), end)
    if first is None or facts.expired(first[1]) is None:
        return None
    gone, (last,) = first, connection.execute(_LAST, (first[0], end)).fetchone()
    held = facts.place_of(last).offset + 1
    while (at := facts.place_of(gone[0]).offset + 1) < held:
        middle = (at + held) // 2
        found = _head(connection, facts.place_key(INPUT, Place(log_id, partition, middle)), end)
        if found is None or facts.expired(found[1]) is None:
            held = middle
        else:
            gone = found
    link = link_of(*gone)
    mark = Mark(log_id, link.place.offset + 1, link.ordinal + 1)
    following = _head(connection, _key(mark, partition), end)
    if following is not None:  # the next chunk that is there, over messages that were not accepted
        mark = mark._replace(offset=facts.place_of(following[0]).offset)
    return Low(partition, mark, facts.expired(gone[1]) or "")


def _key(mark: Mark, partition: int) -> str:
    return facts.place_key(INPUT, Place(mark.log_id, partition, mark.offset))


def _head(connection: psycopg.Connection, low: str, end: str) -> tuple[str, bytes] | None:
    row = connection.execute(_HEAD, (facts.HEAD_BYTES, low, end)).fetchone()
    return (row[0], bytes(row[1])) if row else None


_HEAD = """
    SELECT key, substring(payload FOR %s) FROM facts WHERE key >= %s AND key < %s
    ORDER BY key LIMIT 1"""
_LAST = "SELECT key FROM facts WHERE key >= %s AND key < %s ORDER BY key DESC LIMIT 1"
