"""One partition in a worker's hands: recover, catch up, take what is delivered, commit.

Deliveries are only a bell. What counts is the lane's own fold: whatever Faust delivers, the lane
reads the log from where it stands. One thread at a time is in here: the worker holds a lock.

Computing does not wait for commits: up to FLIGHTS_MAX chunks are handed over and not yet committed.
They are committed in order, and each is settled by where the fold stood behind it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import psycopg
import structlog
from confluent_kafka import Message

from .. import bus, metrics
from ..errors import OutsideError, ends_early
from ..protocol import dead_letters, fold, labels, ticks
from ..protocol.facts import Fact
from ..protocol.fold import RowCheck
from ..protocol.marks import Mark
from ..protocol.rules import Rules
from . import recovery, steps
from .committer import Committer

TICKS = ticks.TOPIC
MESSAGES_AT_ONCE = 200  # read from the log between two looks at whether to go on
FLIGHTS_MAX = 8  # chunks handed over and not yet committed
log = structlog.get_logger()

Refuse = Callable[[labels.Place, str, Any], None]


class Flight(NamedTuple):
    """One chunk on its way into the store, and where the fold stood behind it."""

    work: steps.Work
    position: fold.Position
    committed: "Future[Mark | None]"


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
        self.flights: deque[Flight] = deque()
        self.stands = ""  # why the partition stands still; empty: it does not

    def offset(self) -> int | None:
        """Return the next offset to be folded, None before recovery."""
        return self.work.position.offset if self.work else None

    # ---- catching up ----

    def recover(self, connection: psycopg.Connection) -> bool:
        """Stand at the node's mark, or return False while the log does not reach back to it, or
        has lost its end."""
        work = recovery.recover(connection, self._chain, self._log_id, self.partition)
        self._recompute_stored(connection, work)
        low, end = self._reader.ends(TICKS, self.partition)  # behind what is held: that grows
        mark = Mark(self._log_id, *work.position)
        if not steps.may_start(mark, low, self._log_id, self._rules):
            log.warning(
                "waiting for facts of other nodes",
                partition=self.partition, mark=mark.offset, ticks_begin=low,
            )  # fmt: skip
            return False
        work.position = work.position._replace(offset=max(work.position.offset, low))
        self.work = work
        self._check_end(end)
        return self.work is not None

    def _check_end(self, end: int) -> None:
        """Stop where the log ends before the fold: the same offsets would come a second time."""
        self.stands = ""
        if self.work is not None and end < self.work.position.offset:
            why = ends_early(TICKS, self.partition, self.work.position.offset, end)
            log.error("a partition stands still", partition=self.partition, reason=str(why))
            self.stands = str(why)
            self.work = None

    def _recompute_stored(self, connection: psycopg.Connection, work: steps.Work) -> None:
        """Compute input that is held without a result: a new chain's past, or a peer's half."""
        for link, row in recovery.inputs_of(connection, work):
            rows = recovery.rows_of(connection, row)
            found = steps.recompute(work, link, rows, self._every_rows)
            self._hand_over(work, found, [link], rows.num_rows)
            self._expect_level(FLIGHTS_MAX)
            if link.place.log_id != self._log_id:  # of a log before this one: go on at its begin
                work.position = work.position._replace(offset=0)
        self._expect_level()

    def _expect_level(self, flights_max: int = 0) -> None:
        if self._land(flights_max):
            raise OutsideError(f"partition {self.partition}: the mark did not follow stored input")

    def catch_up(self, end: int | None = None) -> bool:
        """Fold the log up to its end, or a bounded stretch of it; True when the end is reached."""
        assert self.work is not None
        low, last = self._reader.ends(TICKS, self.partition)
        self._check_end(last)
        if self.work is None:
            return True
        last = last if end is None else min(end, last)
        if self.work.position.offset < low:
            raise OutsideError(
                f"ticks/{self.partition} must reach back to the fold, begins at {low}"
            )
        stop = min(last, self.work.position.offset + MESSAGES_AT_ONCE)
        for message in self._reader.read(TICKS, self.partition, self.work.position.offset, stop):
            self.take(message.offset(), *_parts(message))
            if self._land(FLIGHTS_MAX):
                return True
        if self.work.position.offset < stop:  # what is not there was never written
            self.work.position = self.work.position._replace(offset=stop)
        return self._land() or self.work.position.offset >= last

    # ---- what is delivered ----

    def stretch(self, delivered: int) -> steps.Stretch | None:
        assert self.work is not None
        return steps.stretch(self.work.position, delivered, self._rules)

    def take(self, offset: int, value: bytes | None, headers: Any) -> Flight | None:
        """Fold and compute one message; return its flight, None if it does not count."""
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
            return None
        rows = what.rows.num_rows
        metrics.BATCH_ROWS.labels("analytics").observe(rows)
        metrics.ROWS.labels("analytics").inc(rows)
        return self._hand_over(work, found, None, rows)

    def _hand_over(self, work: steps.Work, found: Sequence[Fact], links: Any, rows: int) -> Flight:
        slot = _slot(self._chain, self.partition)
        committed = self._committer.hand_over(slot, found, links, rows)
        self.flights.append(Flight(work, work.position, committed))
        return self.flights[-1]

    def settle(self) -> bool:
        """Look at what has been committed. True: it left a hole behind the fold, which ends here.

        Raises what stopped a commit.
        """
        holes = False
        while self.flights and self.flights[0].committed.done():
            flight = self.flights.popleft()
            mark = flight.committed.result()
            if mark and steps.must_start_over(flight.position, mark, self._rules):
                holes = True
                self._start_over(flight, mark)
        return holes

    def _start_over(self, flight: Flight, mark: Mark) -> None:
        if flight.work is not self.work:
            return
        log.warning(
            "starting over from the node's mark",
            partition=self.partition, mark=mark.ordinal, fold=flight.position.ordinal,
        )  # fmt: skip
        self.work = None

    def _land(self, flights_max: int = 0) -> bool:
        """Wait until at most so many chunks are on their way; settle what was committed."""
        while len(self.flights) > flights_max:
            self.flights[0].committed.exception()
            if self.settle():
                return True
        return False


def _slot(chain: Any, partition: int) -> tuple[str, int]:
    return steps.facts.chain_id(chain.digest), partition


def _parts(message: Message) -> tuple[bytes | None, Any]:
    return message.value(), message.headers()


def _reason(what: fold.Ignored) -> str:
    return "not next" if what.reason == fold.NOT_NEXT else "refused"


def refuser(producer: Any) -> Refuse:
    """Return how a refused batch becomes a dead letter: the broker has it before the fold goes on.

    Writing it twice is harmless.
    """

    def refuse(place: labels.Place, reason: str, message: tuple[bytes | None, Any]) -> None:
        value, headers = message
        letter = dead_letters.letter(place, reason, value, None, headers or ())
        metrics.DEAD_LETTERS.labels("ticks").inc()
        sealed = dead_letters.seal(letter)
        bus.send_now(producer, dead_letters.TOPIC, sealed.value, sealed.key)

    return refuse
