"""One partition of a running packer: its buffer, its sequencer, and what goes to and fro."""

from functools import partial
from typing import Protocol

from .. import bus, failpoints, metrics
from ..errors import OutsideError
from ..protocol import ticks, vectors
from ..protocol.rules import Rules
from . import start
from .buffers import Buffer
from .cuts import Cuts
from .sequencer import TICKS, Send, Sequencer


class Produce(Protocol):
    def __call__(self, send: Send, report: object) -> None: ...


class Lane:
    """Does what the sequencer of one partition says. All calls come from one thread."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        logs: dict[str, str],
        at: start.Mark,
        reader: bus.LogReader,
        produce: Produce,
        cuts: Cuts,
        rules: Rules,
    ):
        self.partition, self._logs, self._cuts = partition, logs, cuts
        self.sequencer = Sequencer(partition, partitions, at.offset, at.vector, rules)
        self.buffer = Buffer(logs)
        self.fetch_from: dict[str, int] = {}  # where the consumer has to read, after a fold
        self.must_seek = False
        self._reader, self._produce = reader, produce
        self._reports: list[tuple[int, int | None]] = []
        self._last_pack_ns = 0

    def fold(self) -> None:
        """Read the log to its end and begin there."""
        _, end = self._reader.ends(TICKS, self.partition)
        self._read_to(end)
        self.sequencer.caught_up()
        self.buffer.clear()
        self.fetch_from = start.check_rows(
            self._reader, self.partition, self._logs, self.sequencer.vector
        )
        self.must_seek = True

    def _read_to(self, end: int) -> None:
        begin = self.sequencer.position
        for message in self._reader.read(TICKS, self.partition, begin, end):
            try:
                found = ticks.parse(message.value(), message.headers())
            except ticks.BadTicks as bad:
                found = bad
            self.sequencer.saw(message.offset(), found)
        self.sequencer.read_to(end)

    def turn(self, now_ns: int, rows_max: int, wait_ns: int) -> None:
        """Do what can be done now: take reports, read what lies between, send what is due."""
        self._take_reports()
        if self.sequencer.must_fold():
            self.fold()
        if (end := self.sequencer.unread) is not None:
            self._read_to(end)
        while self.sequencer.wants_rows() and self.due(now_ns, rows_max, wait_ns):
            self._last_pack_ns = now_ns
            runs = self.buffer.take(rows_max)
            with metrics.STAGE_SECONDS.labels("pack").time():
                sends = self.sequencer.pack(runs)
            metrics.BATCH_ROWS.labels("packer").observe(sum(len(run.offsets) for run in runs))
            self._send(sends)
        while self.sequencer.wants_rows() and (cut := self._cuts.behind(self.sequencer.head)):
            self._send(self.sequencer.cut(*cut))

    def due(self, now_ns: int, rows_max: int, wait_ns: int) -> bool:
        """Whether there is a batch to send: at once after a quiet while, else one per wait."""
        rows = self.buffer.rows
        return rows >= rows_max or (rows > 0 and now_ns >= self._last_pack_ns + wait_ns)

    def due_in_ns(self, now_ns: int, wait_ns: int) -> int | None:
        """Return how long until the next batch is due, or None when there is nothing to send."""
        if not self.buffer.rows or not self.sequencer.wants_rows():
            return None
        return max(0, self._last_pack_ns + wait_ns - now_ns)

    def report(self, token: int, error: object, message: object) -> None:
        """Note a delivery report: it is taken at the next turn."""
        self._reports.append((token, None if error else message.offset()))

    def _take_reports(self) -> None:
        reports, self._reports = self._reports, []
        for token, offset in reports:
            if offset is None:
                self.sequencer.failed(token)
            else:
                failpoints.reach("delivered")
                self._send(self.sequencer.delivered(token, offset))

    def _send(self, sends: list[Send]) -> None:
        for send in sends:
            failpoints.reach(f"before {send.topic}")
            try:
                self._produce(send, partial(self.report, send.token))
            except OutsideError:
                self.sequencer.failed(send.token)  # and with it all that was to follow
                raise

    def head(self, topic: str) -> int:
        """Return how far this topic has been packed, also by what is still on its way."""
        ahead = self.sequencer.head or self.sequencer.vector
        return vectors.next_offset(ahead, topic, self._logs[topic])

    def position(self, topic: str) -> int:
        """Return how far the log says this topic has been packed."""
        return vectors.next_offset(self.sequencer.vector, topic, self._logs[topic])

    def idle(self) -> bool:
        return not self.buffer.rows and self.sequencer.idle()
