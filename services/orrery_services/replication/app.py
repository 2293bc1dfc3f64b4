"""The loop of the replicator: read `facts`, write what is new, beat, look for gaps, answer others.

Two sessions: one under the replication origin, for the facts of others; one without, for
heartbeats, which this node's own change stream carries.
"""

import contextlib
import os
import threading
from collections.abc import Sequence

import psycopg
import structlog
from confluent_kafka import Message, TopicPartition

from .. import bus, clock, metrics, store
from ..config import Settings
from ..errors import DivergenceError, OutsideError, ends_early
from ..protocol import facts
from ..protocol.rules import rules_from
from ..store import heartbeats, identity, reading, receiving
from . import figures, incarnation, steps
from .asking import Asking
from .keeping import Keeper

FACTS, TICKS = "facts", "ticks"
FETCH_MAX = 256  # messages in one transaction: at most 256 x 512 KiB
WAIT_SECONDS = 0.1
GATHER_SECONDS_MAX = 0.05  # for more that comes with the first
LOOK_SECONDS = 1.0
BEAT_SECONDS = 1.0
READY_BEHIND_MAX = 1000  # facts on their way are no reason to send people elsewhere
GAPS_BEHIND_MAX = 1000  # under a steady load nobody is ever at the very end; patience does the rest
RETRY_SECONDS = 1.0
log = structlog.get_logger()


class Replicator:
    """Everything one replicator holds. `step` is one round."""

    def __init__(self, settings: Settings, health: metrics.Health):
        self._settings, self._health = settings, health
        self._rules = rules_from(os.environ)
        with contextlib.ExitStack() as opened:  # what is open is closed if the rest fails
            self._open(settings, health, opened)
            self._opened = opened.pop_all()
        self._look_ns = self._beat_ns = 0
        self._gather_seconds = 0.0  # what the last transaction took: groups grow with the load
        self._written: dict[int, int] = {}  # places as they are stored
        self._heard_ms = clock.wall_ns() // 1_000_000  # Kafka's time of the last message
        self._seen: dict[int, int] = {}  # stream -> greatest own number that came back to us

    def _open(
        self, settings: Settings, health: metrics.Health, opened: contextlib.ExitStack
    ) -> None:
        self._plain = store.connect(settings.postgres("writer"))
        opened.callback(self._plain.close)
        self.identity = incarnation.settle(settings, self._plain, health.beat)
        self._replica = store.connect(settings.postgres("writer"))
        opened.callback(self._replica.close)
        _become_replica(self._replica)
        logs = bus.log_ids(bus.admin(settings.kafka), [FACTS, TICKS])
        self._log_id = logs[FACTS]
        for topic, log_id in logs.items():
            heartbeats.adopt_first(self._plain, topic, log_id)
        self._logs_watch = bus.LogsWatch(settings.kafka, logs)
        self._streams = settings.partitions + 1
        receiving.advance_marks(self._replica, range(settings.partitions), self._rules)
        self._consumer = bus.consumer(settings.kafka, f"orrery-replication-{settings.node}")
        opened.callback(self._consumer.close)
        self._places = self._starts()
        self._consumer.assign([TopicPartition(FACTS, p, o) for p, o in self._places.items()])
        self._asking = Asking(settings, self._plain, self.identity, self._rules, health.beat)
        opened.callback(self._asking.close)

    def _starts(self) -> dict[int, int]:
        """Return where to read every partition on: where we were, or at what is still there."""
        known = reading.progress(self._plain, self._log_id)
        reader = bus.LogReader(self._settings.kafka, "orrery-replication")
        try:
            starts = {}
            for stream in range(self._streams):
                low, end = reader.ends(FACTS, stream)
                if known.get(stream, 0) > end:
                    raise ends_early(FACTS, stream, known[stream], end)
                starts[stream] = max(low, known.get(stream, 0))
            return starts
        finally:
            reader.close()

    def step(self) -> None:
        """One round: receive what has come, and do what is due."""
        self._health.beat()
        messages = self._consumer.consume(1, WAIT_SECONDS)
        if messages:
            messages += self._consumer.consume(FETCH_MAX - 1, self._gather_seconds)
        self._receive([message for message in messages if self._is_good(message)])
        now_ns = clock.monotonic_ns()
        self._asking.answer(now_ns)
        if now_ns - self._beat_ns > BEAT_SECONDS * 1e9:
            self._beat_ns = now_ns
            self._beat()
        if now_ns - self._look_ns > LOOK_SECONDS * 1e9:
            self._look_ns = now_ns
            self._look()

    def _is_good(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal() or not error.retriable():
            raise OutsideError(f"reading {FACTS}: {error}")
        log.warning("kafka", reason=error.str())
        return False

    # ---- receiving ----

    def _receive(self, messages: list[Message]) -> None:
        if not messages:
            return
        self._heard_ms = messages[-1].timestamp()[1]
        receipts = []
        for message in messages:
            self._places[message.partition()] = message.offset() + 1
            delivery = self._parse(message)
            if delivery is None:
                continue
            if delivery.fact.kind == steps.HEARTBEAT:
                self._hear(delivery)
            elif delivery.origin == self.identity.origin:
                self._saw_own(delivery.fact.stream, delivery.oseq)
            else:
                receipts.append(store.Receipt(delivery.origin, delivery.oseq, delivery.fact))
        if receipts:
            began_ns = clock.monotonic_ns()
            self._write(receipts)
            seconds = clock.seconds_since(began_ns)
            self._gather_seconds = min(seconds, GATHER_SECONDS_MAX)
            metrics.STAGE_SECONDS.labels("receive").observe(seconds)

    def _write(self, receipts: Sequence[store.Receipt]) -> None:
        """Write facts of others. Two under one number are an alarm, and stop nobody."""
        try:
            count(store.receive(self._replica, receipts, self._log_id, {}, self._rules))
        except DivergenceError as cause:
            log.error("diverged", reason=str(cause))

    def _parse(self, message: Message) -> steps.Delivery | None:
        """Return what a message says; None when it is no fact: then it stays missing."""
        stream = message.partition()
        try:
            found = steps.parse(message.key(), message.value(), message.headers(), stream)
            if found.fact.kind != steps.HEARTBEAT and found.origin != self.identity.origin:
                facts.check(found.fact)
                facts.check_named(found.fact)
        except (facts.BadFact, ValueError) as cause:
            figures.BAD_FACTS.inc()
            log.error(
                "no fact", partition=stream, offset=message.offset(), reason=str(cause)
            )  # fmt: skip
            return None
        self._asking.saw(found)
        return found

    def _hear(self, delivery: steps.Delivery) -> None:
        if delivery.origin == self.identity.origin:
            return
        try:
            facts.check(delivery.fact)
            held = heartbeats.read(delivery.fact)
        except ValueError as cause:
            log.error("no heartbeat", origin=delivery.origin, reason=str(cause))
            return
        if self._rules.peers_show_a_restored_disk:
            for stream, oseq in held.get(self.identity.origin, {}).items():
                self._saw_own(int(stream), oseq)
        heartbeats.heard(self._plain, held, self._rules)

    def _saw_own(self, stream: int, oseq: int) -> None:
        self._seen[stream] = max(self._seen.get(stream, 0), oseq)

    def _check_disk(self) -> None:
        """Somebody holds more of us than we do: this is an old disk. Begin anew, at once."""
        own = identity.own_numbers(self._plain, self._settings.partitions)
        for stream, oseq in self._seen.items():
            if oseq > own.get(stream, 0):
                why = f"restored disk: number {oseq} of stream {stream} is out there"
                identity.begin(self._plain, self._settings.node, why)
                raise OutsideError(f"a new incarnation began: {why}")

    # ---- what is due ----

    def _beat(self) -> None:
        heartbeats.beat(self._plain, self._settings.partitions, clock.wall_ns())

    def _look(self) -> None:
        """What is due every second. The place in the topic is written here only: behind what was
        received, never before it, and to read a little again costs nothing but a look."""
        self._logs_watch.look()
        moved = {p: place for p, place in self._places.items() if place != self._written.get(p)}
        if moved:
            store.receive(self._replica, [], self._log_id, moved, self._rules)
            self._written |= moved
            heartbeats.settle(self._plain)
        if not store.is_looked_at(self._plain):
            raise OutsideError("the server of the database is another one now: looking at it anew")
        if (store.who(self._plain) or self.identity).origin != self.identity.origin:
            raise OutsideError("a new incarnation began")
        self._check_disk()
        incarnation.begin_sources_when_possible(self._settings, self._plain)
        metrics.DIVERGED.set(len(reading.quarantined(self._plain)))
        behind = self._lag()
        metrics.LAG_ROWS.labels("replication").set(behind)
        late_ms = clock.wall_ns() // 1_000_000 - self._heard_ms if behind else 0
        metrics.LAG_SECONDS.labels("replication").set(max(0, late_ms) / 1000)
        for receipts in self._asking.look(clock.monotonic_ns(), behind <= GAPS_BEHIND_MAX):
            self._write(receipts)
        if self._logs_watch.away():
            self._health.not_ready(bus.AWAY)
        elif behind > READY_BEHIND_MAX:
            self._health.not_ready(f"{behind} facts behind")
        else:
            self._health.ready()

    def _lag(self) -> int:
        """Return how many messages of `facts` are not read yet, as far as the client has heard."""
        behind = 0
        for stream, place in self._places.items():
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(FACTS, stream), cached=True
            )
            behind += max(0, end - place)
        return behind

    def close(self) -> None:
        self._opened.close()


def count(done: store.Received) -> None:
    """Tell the figures, and the log when contents differ."""
    figures.FACTS.labels("inserted").inc(done.inserted)
    figures.FACTS.labels("again").inc(done.again)
    figures.FACTS.labels("held").inc(done.held)
    if done.divergences:
        log.error("diverged", keys=[d.came.key for d in done.divergences][:20])


def _become_replica(connection: psycopg.Connection) -> None:
    try:
        receiving.become_replica(connection)
    except psycopg.errors.ObjectInUse as cause:
        raise OutsideError("another replicator of this node is still at work: waiting") from cause


def main(settings: Settings, health: metrics.Health, stop: threading.Event) -> int:
    """Replicate until told to stop. What fails outside is begun anew after a pause."""
    replicator = None
    keeper = Keeper(settings)
    keeper.start()
    while not stop.is_set():
        health.beat()
        try:
            if replicator is None:
                replicator = Replicator(settings, health)
                log.info("replicating", origin=replicator.identity.origin)
            replicator.step()
        except (OutsideError, psycopg.OperationalError) as cause:
            health.not_ready(str(cause))
            log.warning("waiting", reason=str(cause).strip())
            if replicator:
                replicator.close()
            replicator = None
            stop.wait(RETRY_SECONDS)
    keeper.stop()
    if replicator:
        replicator.close()
    return 0
