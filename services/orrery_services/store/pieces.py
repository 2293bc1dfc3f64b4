"""The pieces of trees: in which pack each lies, and how to get one by its name.

fetch = pieces.fetcher(connection)
body = fetch(digest)          # checked: what a name does not fit is never served
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import psycopg
from blake3 import blake3

from orrery_services.errors import OutsideError
from orrery_services.protocol import facts, snapshots

from . import mended, reading
from .connection import soon

LOOK_BACK_PACKS = 50
REMOVING = 0x0FACA, 1  # of advisory locks: gc against who notes packs that came late
CACHE_BYTES_MAX = 64 * 1024 * 1024
Fetch = Callable[[bytes], bytes]


def index(connection: psycopg.Connection, packs: Iterable[reading.Row]) -> int:
    """Note where every piece of these packs lies; return how many packs had their bodies."""
    count = 0
    for row in packs:
        if facts.expired(row.payload):
            continue
        data = mended.data_of(connection, row)
        rows = [
            (blake3(piece).digest(), row.key, at, len(piece))
            for at, piece in snapshots.pieces_of(data)
        ]
        with soon(connection), connection.cursor() as cursor:
            cursor.executemany(_INDEX, rows)
        count += 1
    return count


def index_cuts(connection: psycopg.Connection, numbers: Iterable[int], streams: int) -> int:
    """Note the pieces that came with some cuts and were not noted yet."""
    return _index_new(
        connection, [snapshots.pack_prefix(p, number) for number in numbers for p in range(streams)]
    )


def index_rest(connection: psycopg.Connection, wait: bool = False) -> int:
    """Note the pieces of packs that came late, or of all when the table is empty.

    While gc removes bodies this does nothing, or waits: what goes would be noted as held.
    """
    taken = connection.execute(_WAIT if wait else _TRY, REMOVING).fetchone()
    if not wait and not taken[0]:
        return 0
    try:
        return _index_new(connection, [f"{snapshots.PACK}/"])
    finally:
        connection.execute("SELECT pg_advisory_unlock_shared(%s, %s)", REMOVING)


@contextmanager
def removing(connection: psycopg.Connection) -> Iterator[None]:
    """Have nobody note pieces of packs that came late, while this is open."""
    connection.execute("SELECT pg_advisory_lock(%s, %s)", REMOVING)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s, %s)", REMOVING)


def _index_new(connection: psycopg.Connection, prefixes: list[str]) -> int:
    keys = [key for (key,) in connection.execute(_NOT_INDEXED, (prefixes,))]
    return index(connection, (row for key in keys if (row := reading.fact_by_key(connection, key))))


def expired_on(connection: psycopg.Connection, number: int, streams: int) -> str | None:
    """Return the last UTC day on which gc removed packs of a cut or of one not long before it."""
    days = []
    for stream in range(streams):
        low, high = f"{snapshots.PACK}/{stream}/", snapshots.pack_prefix(stream, number) + "~"
        rows = reading.facts_before(connection, low, high, LOOK_BACK_PACKS)
        days += [day for row in rows if (day := facts.expired(row.payload))]
    return max(days, key=lambda day: (day != facts.UNRECORDED, day), default=None)


def are_held(connection: psycopg.Connection, digests: Iterable[bytes]) -> bool:
    """Whether it is known where each of these pieces lies; packs that came late are looked for."""
    wanted = list(dict.fromkeys(digests))
    if _count(connection, wanted) < len(wanted):
        index_rest(connection)
    return _count(connection, wanted) == len(wanted)


def _count(connection: psycopg.Connection, digests: list[bytes]) -> int:
    return connection.execute(_HOW_MANY, (digests,)).fetchone()[0]


def held_of(connection: psycopg.Connection, digests: Iterable[bytes]) -> set[bytes]:
    """Return those of some pieces of which it is known where they lie."""
    return {bytes(one) for (one,) in connection.execute(_WHICH, (list(digests),))}


def is_held(connection: psycopg.Connection, digest: bytes) -> bool:
    return connection.execute(_WHERE, (digest,)).fetchone() is not None


def fetcher(connection: psycopg.Connection, bytes_max: int = CACHE_BYTES_MAX) -> Fetch:
    """Return how to get a piece by its digest. A pack that is read stays for its other pieces.

    One thread at a time. Raises OutsideError when a piece is not held, BadFact when its bytes are
    not what its name says.
    """
    held: OrderedDict[bytes, bytes] = OrderedDict()
    size = 0

    def fetch(digest: bytes) -> bytes:
        nonlocal size
        if digest in held:
            held.move_to_end(digest)
            return held[digest]
        for piece in _pack_with(connection, digest):
            name = blake3(piece).digest()
            if name not in held:
                held[name] = piece
                size += len(piece)
        body = held.get(digest)
        if body is None:
            raise facts.BadFact(f"piece {digest.hex()[:12]} must lie in its pack, but does not")
        held.move_to_end(digest)
        while size > bytes_max and len(held) > 1:
            size -= len(held.popitem(last=False)[1])
        return body

    return fetch


def _pack_with(connection: psycopg.Connection, digest: bytes) -> list[bytes]:
    row = reading.pack_with(connection, digest)
    if row is None:
        raise OutsideError(
            f"piece {digest.hex()[:12]} must be held: it has not arrived yet, or has expired; "
            "`orrery status` says what is to come, a tag keeps a snapshot from gc"
        )
    return [piece for _, piece in snapshots.pieces_of(mended.data_of(connection, row))]


# A piece that came with a later cut again is noted there: gc may be removing the pack of before.
_INDEX = """
    INSERT INTO tree_pieces AS t (digest, pack, at, size) VALUES (%b, %s, %s, %s)
    ON CONFLICT (digest) DO UPDATE SET pack = excluded.pack, at = excluded.at
    WHERE split_part(t.pack, '/', 3) < split_part(excluded.pack, '/', 3)"""
_NOT_INDEXED = f"""
    SELECT f.key FROM unnest(%s::text[]) AS p
        JOIN LATERAL (SELECT key, payload FROM facts WHERE key >= p AND key < p || '~') f ON true
    WHERE NOT EXISTS (SELECT FROM tree_pieces t WHERE t.pack = f.key)
        AND {reading.HAS_BODY} ORDER BY 1"""  # noqa: S608
_TRY = "SELECT pg_try_advisory_lock_shared(%s, %s)"
_WAIT = "SELECT pg_advisory_lock_shared(%s, %s)"
_HOW_MANY = "SELECT count(*) FROM tree_pieces WHERE digest = ANY(%s::bytea[])"
_WHICH = "SELECT digest FROM tree_pieces WHERE digest = ANY(%s::bytea[])"
_WHERE = "SELECT pack FROM tree_pieces WHERE digest = %s"
