"""The one writer of a worker: chunks of its partitions that come together share a transaction.

A group waits for more as long as the last transaction took, at most `wait_seconds_max`: so groups
grow with the load, and a quiet node answers at once.
"""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

import psycopg
import structlog

from .. import clock, metrics, store
from ..protocol.facts import Fact
from ..protocol.marks import Mark
from ..protocol.rules import Rules
from ..store import ledger
from . import steps

WAITING_MAX = 1024  # hand-overs of partitions, each of which holds its own below FLIGHTS_MAX
log = structlog.get_logger()


class Handed(NamedTuple):
    slot: ledger.Slot
    facts: Sequence[Fact]
    links: Sequence[steps.marks.Link]
    rows: int
    done: Future


class Committer:
    """A thread and a connection. `hand_over` may be called from any thread."""

    def __init__(self, conninfo: str, rows_max: int, wait_seconds_max: float, rules: Rules):
        self._conninfo, self._rules = conninfo, rules
        self._rows_max, self._wait_seconds_max = rows_max, wait_seconds_max
        self._patience_seconds = 0.0
        self._queue: queue.Queue[Handed | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def hand_over(
        self,
        slot: ledger.Slot,
        facts: Sequence[Fact],
        links: Sequence[steps.marks.Link] | None = None,
        rows: int = 0,
    ) -> "Future[Mark | None]":
        """Return a future of the slot's mark after the commit. It fails with what stopped it.

        `links` is needed when the facts do not hold the input chunks: these are held already.
        """
        done: Future[Mark | None] = Future()
        done.set_running_or_notify_cancel()  # who waits for it may be cancelled, a commit may not
        found = steps.links(facts) if links is None else links
        self._queue.put(Handed(slot, facts, found, rows, done))
        return done

    def close(self) -> None:
        """Commit what was handed over, then leave."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection: psycopg.Connection | None = None
        leaving = False
        while not leaving:
            group = [self._queue.get()]
            self._gather(group)
            leaving = None in group
            handed = [one for one in group if one is not None]
            if not handed:
                continue
            try:
                if connection is None or connection.closed:
                    connection = connect(self._conninfo)
                self._commit(connection, handed)
            except Exception as cause:
                log.error("commit failed", reason=str(cause), error=type(cause).__name__)
                for one in handed:
                    one.done.set_exception(cause)

    def _gather(self, group: list[Handed | None]) -> None:
        rows, until_ns = 0, clock.monotonic_ns() + int(self._patience_seconds * 1e9)
        while group[-1] is not None and rows < self._rows_max:
            rows += group[-1].rows
            left = (until_ns - clock.monotonic_ns()) / 1e9
            try:
                group.append(self._queue.get(block=left > 0, timeout=max(left, 0)))
            except queue.Empty:
                return

    def _commit(self, connection: psycopg.Connection, handed: list[Handed]) -> None:
        moves: dict[ledger.Slot, list] = {}
        for one in handed:
            moves.setdefault(one.slot, []).extend(one.links)
        began_ns = clock.monotonic_ns()
        outcome = store.commit(
            connection,
            [fact for one in handed for fact in one.facts],
            [ledger.Move(*slot, links) for slot, links in sorted(moves.items())],
            self._rules,
        )
        seconds = clock.seconds_since(began_ns)
        self._patience_seconds = min(seconds, self._wait_seconds_max)
        metrics.STAGE_SECONDS.labels("commit").observe(seconds)
        if outcome.divergences:
            log.error("diverged", keys=[d.came.key for d in outcome.divergences][:20])
        for one in handed:
            one.done.set_result(outcome.marks.get(one.slot))


def connect(conninfo: str) -> psycopg.Connection:
    """Return a connection to a database whose server was looked at. Raises OutsideError if not."""
    connection = store.connect(conninfo)
    if not store.is_looked_at(connection):
        connection.close()
        raise store.NotLookedAt(
            "the node's incarnation must be looked at before anybody numbers facts; "
            "the replication service does that when it starts"
        )
    return connection
