"""One partition in a worker's hands: recover, catch up, take what is delivered, commit.

Deliveries are only a bell. What counts is the lane's own fold: whatever Faust delivers, the lane
reads the log from where it stands. One thread at a time is in here: the worker holds a lock.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import psycopg
import structlog
from confluent_kafka import Message

from .. import bus, metrics
from ..errors import OutsideError
from ..protocol import dead_letters, fold, labels, ticks
from ..protocol.facts import Fact
from ..protocol.fold import RowCheck
from ..protocol.marks import Mark
from ..protocol.rules import Rules
from . import recovery, steps
from .committer import Committer

TICKS = "ticks"
MESSAGES_AT_ONCE = 200  # read from the log between two looks at whether to go on
PENDING_MAX = 16  # chunks handed over and not yet committed
log = structlog.get_logger()

Refuse = Callable[[labels.Place, str, Any], None]


class Lane:
    def __init__(
        self,
        chain: Any,
        place: tuple[str, int],
        committer: Committer,
        reader: bus.LogReader,
        check: RowCheck,
        refuse: Refuse,
        every_rows: int,
        rules: Rules,
    ):
        self._chain, (self._log_id, self.partition) = chain, place
        self._committer, self._reader, self._check, self._refuse = committer, reader, check, refuse
        self._every_rows, self._rules = every_rows, rules
        self.work: steps.Work | None = None
        self._pending: list[Future] = []

    def offset(self) -> int | None:
        """Return the next offset to be folded, None before recovery."""
        return self.work.position.offset if self.work else None

    # ---- catching up ----

    def recover(self, connection: psycopg.Connection) -> bool:
        """Stand at the node's mark, or return False while the log does not reach back to it."""
        low, _ = self._reader.ends(TICKS, self.partition)
        work = recovery.recover(connection, self._chain, self._log_id, self.partition)
        self._recompute_stored(connection, work)
        mark = Mark(self._log_id, *work.position)
        if not steps.may_start(mark, low, self._log_id, self._rules):
            log.warning(
                "waiting for facts of other nodes",
                partition=self.partition, mark=mark.offset, ticks_begin=low,
            )  # fmt: skip
            return False
        work.position = work.position._replace(offset=max(work.position.offset, low))
        self.work = work
        return True

    def _recompute_stored(self, connection: psycopg.Connection, work: steps.Work) -> None:
        """Compute input that is held without a result: a new chain's past, or a peer's half."""
        for link, row in recovery.inputs_of(connection, work):
            rows = recovery.rows_of(connection, row)
            found = steps.recompute(work, link, rows, self._every_rows)
            self._hand_over(found, [link], rows.num_rows)
            if link.place.log_id != self._log_id:  # of a log before this one: go on at its begin
                work.position = work.position._replace(offset=0)
        self._settle(work)

    def catch_up(self, end: int | None = None) -> bool:
        """Fold the log up to its end, or a bounded stretch of it; True when the end is reached."""
        assert self.work is not None
        low, last = self._reader.ends(TICKS, self.partition)
        last = last if end is None else min(end, last)
        if self.work.position.offset < low:
            raise OutsideError(
                f"ticks/{self.partition} must reach back to the fold, begins at {low}"
            )
        stop = min(last, self.work.position.offset + MESSAGES_AT_ONCE)
        for message in self._reader.read(TICKS, self.partition, self.work.position.offset, stop):
            self._take(message.offset(), *_parts(message))
        if self.work.position.offset < stop:  # what is not there was never written
            self.work.position = self.work.position._replace(offset=stop)
        self._settle(self.work)
        return self.work is None or self.work.position.offset >= last

    # ---- what is delivered ----

    def stretch(self, delivered: int) -> steps.Stretch | None:
        assert self.work is not None
        return steps.stretch(self.work.position, delivered, self._rules)

    def take(self, offset: int, value: bytes | None, headers: Any) -> Future | None:
        """Fold and compute one message; return the future of its commit, None if there is none."""
        self._take(offset, value, headers)
        return self._pending.pop() if self._pending else None

    def settle(self, mark: Mark | None) -> None:
        """Look at the mark after a commit: a hole behind the fold means to begin anew."""
        if self.work and mark and steps.must_start_over(self.work.position, mark, self._rules):
            log.warning(
                "starting over from the node's mark",
                partition=self.partition, mark=mark.ordinal, fold=self.work.position.ordinal,
            )  # fmt: skip
            self.work = None

    def _take(self, offset: int, value: bytes | None, headers: Any) -> None:
        work = self.work
        assert work is not None
        try:
            message: ticks.TickMessage | ticks.BadTicks = ticks.parse(value, headers)
        except ticks.BadTicks as cause:
            message = cause
        with metrics.STAGE_SECONDS.labels("kernel").time():
            found, what = steps.take(
                work, offset, message, self._check, self._every_rows, self._rules
            )
        if isinstance(what, fold.Ignored):
            metrics.IGNORED_BATCHES.labels(_reason(what)).inc()
            if what.reason != fold.NOT_NEXT:
                place = labels.Place(TICKS, work.log_id, self.partition, offset)
                self._refuse(place, what.reason, (value, headers))
            return
        rows = what.rows.num_rows
        metrics.BATCH_ROWS.labels("analytics").observe(rows)
        metrics.ROWS.labels("analytics").inc(rows)
        self._hand_over(found, None, rows)

    def _hand_over(self, found: Sequence[Fact], links: Any, rows: int) -> None:
        slot = _slot(self._chain, self.partition)
        self._pending.append(self._committer.hand_over(slot, found, links, rows))
        if len(self._pending) > PENDING_MAX:
            self._pending.pop(0).result()

    def _settle(self, work: steps.Work) -> None:
        mark = None
        for future in self._pending:
            mark = future.result()
        self._pending.clear()
        if work is self.work:
            self.settle(mark)
        elif mark and steps.must_start_over(work.position, mark, self._rules):
            raise OutsideError(f"partition {self.partition}: the mark did not follow stored input")


def _slot(chain: Any, partition: int) -> tuple[str, int]:
    return steps.facts.chain_id(chain.digest), partition


def _parts(message: Message) -> tuple[bytes | None, Any]:
    return message.value(), message.headers()


def _reason(what: fold.Ignored) -> str:
    return "not next" if what.reason == fold.NOT_NEXT else "refused"


def refuser(producer: Any) -> Refuse:
    """Return how a refused batch becomes a dead letter. Writing it twice is harmless."""

    def refuse(place: labels.Place, reason: str, message: tuple[bytes | None, Any]) -> None:
        value, headers = message
        letter = dead_letters.letter(place, reason, value, None, headers or ())
        metrics.DEAD_LETTERS.labels("ticks").inc()
        sealed = dead_letters.seal(letter)
        producer.produce(dead_letters.TOPIC, sealed.value, sealed.key)
        producer.poll(0)

    return refuse
