"""One partition of a running packer: its buffer, its sequencer, and what goes to and fro."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from .. import bus, failpoints, metrics
from ..errors import OutsideError
from ..protocol import ticks, vectors
from ..protocol.rules import Rules
from . import start
from .buffers import BATCH_BYTES_MAX, Buffer
from .cuts import Cuts
from .sequencer import TICKS, Send, Sequencer

HALVINGS_MAX = BATCH_BYTES_MAX.bit_length() + 1  # of a batch: then it is one row a topic


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
        beat: Callable[[], None] = lambda: None,
    ):
        self._beat = beat
        self.partition, self._logs, self._cuts = partition, logs, cuts
        self.sequencer = Sequencer(partition, partitions, at.offset, at.vector, rules)
        self.buffer = Buffer(logs)
        self.fetch_from: dict[str, int] = {}  # where the consumer has to read, after a fold
        self.must_seek = False
        self._reader, self._produce = reader, produce
        self._reports: list[tuple[int, int | None]] = []

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
            self._beat()  # a node that was away for days has much to fold
            try:
                found = ticks.parse(message.value(), message.headers())
            except ticks.BadTicks as bad:
                found = bad
            self.sequencer.saw(message.offset(), found)
        self.sequencer.read_to(end)

    def turn(self, rows_max: int, flush: bool) -> None:
        """Do what can be done now: take reports, read what lies between, send what is due."""
        self._take_reports()
        if self.sequencer.must_fold():
            self.fold()
        if (end := self.sequencer.unread) is not None:
            self._read_to(end)
        while self.sequencer.wants_rows() and self._due(rows_max, flush):
            with metrics.STAGE_SECONDS.labels("pack").time():
                sends = self._pack(rows_max)
            self._send(sends)
        while self.sequencer.wants_rows() and (cut := self._cuts.behind(self.sequencer.head)):
            self._send(self.sequencer.cut(*cut))

    def _pack(self, rows_max: int) -> list[Send]:
        """Return what to send for the next rows: as many as fit one message."""
        before = self.buffer.rows
        for halvings in range(HALVINGS_MAX):
            runs = self.buffer.next_runs(rows_max, BATCH_BYTES_MAX >> halvings)
            try:
                sends = self.sequencer.pack(runs)
            except ticks.TooLarge:
                continue
            self.buffer.drop()
            metrics.BATCH_ROWS.labels("packer").observe(before - self.buffer.rows)
            return sends
        raise AssertionError("one row fits one message, and no more was asked for")

    def _due(self, rows_max: int, flush: bool) -> bool:
        """Whether there is a batch to send: a full one at any time, others when all flush."""
        return self.buffer.rows >= (1 if flush else rows_max)

    def waits_for_flush(self) -> bool:
        return self.buffer.rows > 0 and self.sequencer.wants_rows()

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
