"""Gaps: read the topic again, ask the peers; and answering what they ask."""

import time
from collections.abc import Callable, Iterator

import psycopg
import structlog
from confluent_kafka import KafkaException, TopicPartition

from .. import bus, metrics, store
from ..config import Settings
from ..errors import OutsideError
from ..protocol import facts
from ..protocol.rules import Rules
from ..store import heartbeats, mended, reading
from . import figures, steps

ASKS, FACTS = "asks", "facts"
RECEIPTS_AT_ONCE = 256
ANSWERS_AT_ONCE = 200
log = structlog.get_logger()


class Asking:
    def __init__(
        self,
        settings: Settings,
        connection: psycopg.Connection,
        identity: store.Identity,
        rules: Rules,
        beat: Callable[[], None],
    ):
        self._settings, self._connection, self._rules = settings, connection, rules
        self._beat = beat
        self._identity = identity
        self._damaged: set[tuple[str, int, int]] = set()  # bodies of which a second copy is wanted
        self._watch = steps.GapWatch()
        self._answers = steps.Answers(settings.node, settings.limits.asks_pending_max)
        self._reader = bus.LogReader(settings.kafka, "orrery-asking")
        try:
            _, end = self._reader.ends(ASKS, 0)
        except OutsideError:
            self._reader.close()
            raise
        self._producer = bus.producer(settings.kafka)
        self._consumer = bus.consumer(settings.kafka, f"orrery-asking-{settings.node}")
        self._consumer.assign([TopicPartition(ASKS, 0, end)])

    def saw(self, delivery: steps.Delivery) -> None:
        self._answers.saw((*delivery.source(), delivery.oseq))
        self._mend(delivery)

    def _mend(self, delivery: steps.Delivery) -> None:
        label = (*delivery.source(), delivery.oseq)
        if label in self._damaged and mended.keep(self._connection, delivery.fact):
            self._damaged.discard(label)
            log.info("a damaged body is here again", key=delivery.fact.key)

    def look(self, now_ns: int, near_end: bool) -> Iterator[list[store.Receipt]]:
        """Look for gaps; yield what was found by reading the topic again, and ask for the rest."""
        missing = heartbeats.missing(self._connection, self._rules) if near_end else {}
        if not near_end and self._watch.gaps:
            return
        for source, ranges in (damaged := mended.wanted(self._connection)).items():
            missing[source] = [*missing.get(source, []), *ranges]
        self._damaged = {(*source, r.low) for source, ranges in damaged.items() for r in ranges}
        read, ask = self._watch.look(missing, now_ns)
        metrics.LAG_SECONDS.labels("gap").set(self._watch.oldest_ns(now_ns) / 1e9)
        if read or ask:
            log.warning("a gap", read=[*map(str, read)], ask=[*map(str, ask)])
        for source in read:
            yield from self._read_again(source, missing[source])
        for one in steps.asks_for(missing, ask, self._settings.node):
            self._producer.produce(
                ASKS, steps.pack_ask(one), f"{one.origin}/{one.stream}/{one.low}"
            )
        self._producer.poll(0)

    def _read_again(
        self, source: steps.Source, ranges: list[steps.Range]
    ) -> Iterator[list[store.Receipt]]:
        """Yield the missing numbers of a source that its partition of the topic still holds."""
        origin, stream = source
        low, end = self._reader.ends(FACTS, stream)
        found: list[store.Receipt] = []
        for message in self._reader.read(FACTS, stream, low, end):
            self._beat()  # a topic may take minutes
            try:
                one = steps.parse(message.key(), message.value(), message.headers(), stream)
                if one.origin != origin or not any(r.low <= one.oseq <= r.high for r in ranges):
                    continue
                if one.fact.kind == steps.HEARTBEAT:
                    continue
                facts.check(one.fact)
                facts.check_named(one.fact)
            except (facts.BadFact, ValueError):
                continue
            self._mend(one)
            if origin != self._identity.origin:
                found.append(store.Receipt(*one))
            if len(found) >= RECEIPTS_AT_ONCE:
                yield found
                found = []
        if found:
            yield found

    def answer(self, now_ns: int) -> None:
        """Take up what others ask, and send what is due with its original headers."""
        for message in self._consumer.consume(ANSWERS_AT_ONCE, 0):
            if message.error() is not None:
                continue
            try:
                ask = steps.parse_ask(message.value())
            except ValueError as cause:
                log.warning("no ask", offset=message.offset(), reason=str(cause))
                continue
            if left_out := self._answers.want(ask, now_ns):
                log.warning("asked for too much at once", left_out=left_out)
        for origin, stream, oseq in self._answers.take_due(now_ns):
            fact = reading.fact_under(self._connection, origin, stream, oseq)
            if fact is not None:
                self._send(steps.Delivery(origin, oseq, fact))
        self._producer.poll(0)

    def _send(self, delivery: steps.Delivery) -> None:
        fact = delivery.fact
        headers = steps.headers_of(delivery)
        figures.FACTS.labels("answered").inc()
        deadline = time.monotonic() + bus.REQUEST_SECONDS_MAX
        while True:
            try:
                self._producer.produce(
                    FACTS, fact.payload, fact.key, fact.stream, headers=headers
                )  # fmt: skip
                return
            except BufferError:  # back-pressure
                self._producer.poll(0.1)
                if time.monotonic() > deadline:
                    raise OutsideError("the broker takes no answers: the queue is full") from None
            except KafkaException as cause:
                raise OutsideError(f"answering into {FACTS}: {cause.args[0]}") from cause

    def close(self) -> None:
        self._producer.flush(1.0)
        self._consumer.close()
        self._reader.close()
