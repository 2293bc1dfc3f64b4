"""The memo of a node for dominoes: what this process knows, in front of the facts.

A key that the Bloom filter over all keys held here does not know is not in Postgres either: a miss
costs no round trip. Answers wait in memory for `flush`, or until the oldest has waited
FLUSH_SECONDS: cheap dominoes share a transaction, dear ones are kept at once. One of several
processes of the node computes a key, under a lock that it holds until the answer is kept.
"""

import time
from collections.abc import Sequence

import psycopg
from blake3 import blake3
from orrery_kernels.domino.memo import LostBody, Memo, Row

from orrery_services import clock, memo_keys
from orrery_services.errors import DivergenceError
from orrery_services.protocol import facts
from orrery_services.protocol.answers import BYTES, MEMO, bytes_key, memo_key, memo_meta
from orrery_services.protocol.bloom import BloomFilter
from orrery_services.protocol.facts import Fact

from . import ledger, mended, reading

KEYS_MAX, ERROR_RATE = 1 << 20, 0.01
ROWS_MAX, BODIES_BYTES_MAX = 1 << 16, 64 << 20  # held by this process
FLUSH_SECONDS = 0.05
CLAIM_SECONDS_MAX = 30.0
CLAIM_LOOK_SECONDS = 0.01


class Answers(Memo):
    """The memo behind `orrery_kernels.domino.run.run`. One thread at a time."""

    def __init__(self, connection: psycopg.Connection, stream: int) -> None:
        super().__init__()
        self._connection, self._stream = connection, stream
        self._known = BloomFilter(KEYS_MAX, ERROR_RATE)
        self._cursor: dict[str, int] = {}
        self._new: dict[bytes, Row] = {}
        self._since_ns = 0
        self._claimed: list[int] = []
        self._diverged: list[str] = []  # keys, until `flush` tells
        self._bytes = 0

    def refresh(self) -> None:
        """Learn of every key that has come since, from this node or another."""
        while True:
            keys, cursor = memo_keys.keys_since(self._rows_of, self._stream, self._cursor)
            for key in keys:
                self._known.add(key)
            before, self._cursor = self._cursor, cursor
            if memo_keys.are_all(before, cursor):
                return

    def find(self, key: bytes) -> Row | None:
        return super().find(key) or self._find_held(key)

    def _find_held(self, key: bytes) -> Row | None:
        name = key.hex()
        if name not in self._known and not self._known.full:
            return None
        payload = memo_keys.payload_of(self._rows_of, name)
        if payload is None:
            return None
        row = self.rows[key] = Row(bytes.fromhex(facts.meta_of(payload)["digest"]))
        return row

    def claim(self, key: bytes) -> Row | None:
        """Return the answer that another process was about to give; None: compute it, it is yours.

        Who waits too long computes as well, which is harmless.
        """
        number = int.from_bytes(key[:8], "little", signed=True)
        until_ns = clock.monotonic_ns() + int(CLAIM_SECONDS_MAX * 1e9)
        waited = False
        while not self._connection.execute(_TRY, (number,)).fetchone()[0]:
            if not waited:
                self._commit()  # who holds it may be waiting for what we hold
            waited = True
            if clock.monotonic_ns() > until_ns:
                return None
            time.sleep(CLAIM_LOOK_SECONDS)
        self._claimed.append(number)
        if waited:
            self.refresh()
            return self._find_held(key)
        return None

    def body(self, output: bytes) -> bytes:
        """Return the bytes of an answer, checked. Raises LostBody."""
        if output in self.bodies:
            return self.bodies[output]
        body = read_body(self._connection, output)
        self._hold(output, body)
        return body

    def keep(self, key: bytes, row: Row, body: bytes) -> None:
        super().keep(key, row, body)
        self._bytes += len(body)  # the same bytes again count again: they go earlier
        self._since_ns = self._since_ns or clock.monotonic_ns()
        self._new[key] = row
        if clock.seconds_since(self._since_ns) > FLUSH_SECONDS:
            self._commit()

    def repair(self, output: bytes, body: bytes) -> None:
        """Take bytes that were computed again in the place of lost ones."""
        self._hold(output, body)

    def flush(
        self, more: Sequence[Fact] = (), moves: Sequence[Fact] = (), as_origin: str = ""
    ) -> None:
        """Write what is new, and `more` behind it, in one transaction; the moves of refs only
        if no answer is held with another content; all of it only as `as_origin`.

        Raises DivergenceError when a key was held with another answer, now or in what was written
        since the last flush: both are in quarantine.
        """
        self._commit(more, moves if not self._diverged else (), as_origin)
        keys, self._diverged = self._diverged, []
        if keys:
            raise DivergenceError(
                f"DIVERGED: one memo key must have one answer, {', '.join(keys)} is held with "
                "another; both are in quarantine: `orrery replay SNAPSHOT --verify` names the "
                "first difference"
            )

    def _commit(
        self, more: Sequence[Fact] = (), moves: Sequence[Fact] = (), as_origin: str = ""
    ) -> None:
        new, self._new, self._since_ns = self._new, {}, 0
        if not (new or more or moves):
            self._let_go()
            return
        written: dict[str, list[Fact]] = {}
        for key, row in new.items():
            name, key_name = row.output.hex(), memo_key(key.hex())
            body = self.body(row.output)
            written[bytes_key(name)] = self._fact(BYTES, bytes_key(name), {}, body)
            written[key_name] = self._fact(MEMO, key_name, memo_meta(name), b"")
        found = ledger.commit(
            self._connection,
            [*facts.concat(written.values()), *more],
            if_alike=moves,
            as_origin=as_origin,
        )
        for key in new:
            self._known.add(key.hex())
        self._let_go()
        for divergence in found.divergences:
            key = divergence.came.key
            self._diverged.append(key)
            if key.startswith(f"{MEMO}/"):
                self.rows.pop(bytes.fromhex(key.rpartition("/")[2]), None)
        self._forget()

    def _fact(self, kind: str, key: str, meta: dict[str, str], data: bytes) -> list[Fact]:
        return facts.plain_fact(kind, self._stream, key, meta, data)

    def _let_go(self) -> None:
        if self._claimed:
            self._connection.execute(_UNLOCK, (self._claimed,))
            self._claimed = []

    def _hold(self, output: bytes, body: bytes) -> None:
        self.bodies[output] = body
        self._bytes += len(body)

    def _forget(self) -> None:
        """Keep within bounds: the oldest go, they are facts."""
        while len(self.rows) > ROWS_MAX:
            del self.rows[next(iter(self.rows))]
        while self._bytes > BODIES_BYTES_MAX and self.bodies:
            self._bytes -= len(self.bodies.pop(next(iter(self.bodies))))

    def _rows_of(self, query: str, *values: object) -> list[tuple]:
        return self._connection.execute(query, values).fetchall()


def read_body(connection: psycopg.Connection, output: bytes) -> bytes:
    """Return the bytes that a digest names, checked. Raises LostBody."""
    row = reading.fact_by_key(connection, bytes_key(output.hex()))
    if row is None:
        raise LostBody(output, "must be held, but are not: they have expired or never came")
    try:
        body = mended.data_of(connection, row)
    except facts.BadFact as cause:
        raise LostBody(output, f"are not here: {cause}") from cause
    if blake3(body).digest() != output:
        raise LostBody(output, "are corrupt: they are not what their name says")
    return body


_TRY = "SELECT pg_try_advisory_lock(%s)"
_UNLOCK = "SELECT pg_advisory_unlock(k) FROM unnest(%s::bigint[]) AS k"
