"""The shell of the packer: one thread that fetches, turns every lane, and sends.

Who packs which partition is divided by a consumer group among the packers of all nodes, but nothing
depends on it: two packers of one partition, or one that wakes after a pause, send batches that
nobody accepts.
"""

import os
import threading
import time
from collections import Counter

import psycopg
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from .. import bus, clock, metrics, store
from ..config import Settings
from ..errors import LogLost, OutsideError
from ..protocol import cuts, rows
from ..protocol.rules import ALL_RULES, rules_from
from . import figures, held, start
from .cuts import Cuts
from .lane import Lane
from .sequencer import Send

GROUP = "orrery-packer"
FETCH_MAX = 10_000  # messages taken from the client at once
IDLE_SECONDS = 0.1
REPORT_SECONDS = 0.001
RETRY_SECONDS = 1.0
DRAIN_SECONDS_MAX = 2.5
log = structlog.get_logger()


class Packer:
    """Everything one packer holds. `step` is one round of its loop."""

    def __init__(self, settings: Settings, health: metrics.Health):
        self._settings, self._health = settings, health
        self._rules = rules_from(os.environ)
        if self._rules != ALL_RULES:
            log.warning("rules are switched off: this is a test", rules=str(self._rules))
        self._logs = start.logs(settings)
        self._logs_watch = bus.LogsWatch(settings.kafka, self._logs)
        self._reader = bus.LogReader(settings.kafka, GROUP)
        self._producer = bus.producer(settings.kafka)
        self._fatal = False
        self._consumer = bus.consumer(settings.kafka, GROUP)
        self._assigned: set[int] = set()
        self._changed = self._away = False
        self.lanes: dict[int, Lane] = {}
        self._waiting: dict[int, str] = {}  # assigned partitions that cannot be packed now, why
        self._cuts = Cuts()
        self._held = held.Held(
            settings.postgres("reader"),
            self._logs[start.TICKS],
            settings.limits.batch_wait_ms_max,
        )
        self._paused: set[int] = set()
        self._retry_at_ns = self._deal_at_ns = self._flushed_ns = 0
        self._figures = figures.Figures(self._consumer)
        self._consumer.subscribe(
            list(rows.ROW_TOPICS),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    # ---- who packs what ----

    def _on_assign(self, consumer: object, places: list[TopicPartition]) -> None:
        consumer.assign([])  # the offsets come from the log, and finding them takes time
        self._assigned = {place.partition for place in places}
        self._changed = True
        metrics.REBALANCES.inc()

    def _on_revoke(self, consumer: object, _: list[TopicPartition]) -> None:
        consumer.unassign()  # lanes stay: most come back, and the log decides anyway

    def _deal(self) -> None:
        """Make a lane for every assigned partition, drop the others, and fetch what they want."""
        for partition in set(self.lanes) - self._assigned:
            del self.lanes[partition]
        missing, made = sorted(self._assigned - set(self.lanes)), False
        self._waiting = {}
        if missing:
            with store.connect(self._settings.postgres("reader"), attempts_max=1) as connection:
                for partition in missing:
                    made |= self._begin(connection, partition)
        if self._changed or made:
            self._fetch_all()
        self._changed = False
        self._tell()

    def _begin(self, connection: psycopg.Connection, partition: int) -> bool:
        """Make a lane where the log has what its node wants of it; else the partition waits."""
        self._health.beat()
        try:
            at = start.mark(connection, partition, self._logs[start.TICKS])
            if why := start.check_reach(self._reader, partition, at):
                self._waiting[partition] = why
                return False
            lane = self._new_lane(partition, at)
            lane.fold()
        except LogLost as cause:
            self._waiting[partition] = str(cause)
            return False
        self.lanes[partition] = lane
        return True

    def _tell(self) -> None:
        """Say what is packed, and what waits and why; that is looked at again after a while."""
        metrics.STOPPED.set(len(self._waiting))
        if not self._waiting:
            self._health.ready()
            log.info("partitions dealt", partitions=sorted(self.lanes))
            return
        reason = next(iter(self._waiting.values()))
        self._health.not_ready(reason)
        log.warning("partitions wait", partitions=sorted(self._waiting), reason=reason)
        self._deal_at_ns = clock.monotonic_ns() + int(RETRY_SECONDS * 1e9)

    def _tell_away(self, away: bool) -> None:
        """Say that the broker went, or is here again."""
        came, self._away = self._away and not away, away
        if away:
            self._health.not_ready(bus.AWAY)
        elif came:
            self._tell()

    def _new_lane(self, partition: int, at: start.Mark) -> Lane:
        return Lane(
            partition, self._settings.partitions, self._logs, at, self._reader, self._produce,
            self._cuts, self._rules, self._health.beat,
        )  # fmt: skip

    def _fetch_all(self) -> None:
        """Read every lane's topics from where it stands; what was fetched and not packed, again."""
        places = []
        for lane in self.lanes.values():
            lane.buffer.clear()
            lane.fetch_from = {
                topic: max(lane.fetch_from.get(topic, 0), lane.head(topic))
                for topic in rows.ROW_TOPICS
            }
            places += [TopicPartition(t, lane.partition, o) for t, o in lane.fetch_from.items()]
            lane.must_seek = False
        low, _ = self._reader.ends(cuts.TOPIC, 0)
        places.append(TopicPartition(cuts.TOPIC, 0, max(low, self._cuts.offset)))
        self._paused.clear()
        self._consumer.assign(places)
        self._consumer.resume(places)  # the client keeps a partition paused over an assignment

    # ---- one round ----

    def step(self) -> None:
        """Fetch, turn every lane, and send. A failure outside is retried, never skipped."""
        self._health.beat()
        if clock.monotonic_ns() < self._retry_at_ns:
            self._producer.poll(IDLE_SECONDS)  # nothing is fetched meanwhile: back-pressure
            return
        try:
            self._logs_watch.look()
            self._tell_away(self._logs_watch.away())
            self._add(self._fetch())
            self._producer.poll(0)
            if self._fatal:
                self._renew_producer()
            self.turn_all()
            if self._changed or (self._waiting and clock.monotonic_ns() > self._deal_at_ns):
                self._deal()
            if any(lane.must_seek for lane in self.lanes.values()):
                self._fetch_all()
            self._pace()
            self._held.look({p: lane.sequencer.position for p, lane in self.lanes.items()})
            self._figures.look(self.lanes)
        except (OutsideError, psycopg.OperationalError) as cause:
            self._put_off(str(cause).strip())

    def turn_all(self) -> None:
        """Let every lane do what it can."""
        limits = self._settings.limits
        flush = not self._flush_in_ns() and any(x.waits_for_flush() for x in self.lanes.values())
        if flush:
            self._flushed_ns = clock.monotonic_ns()
        failed: OutsideError | None = None
        for partition, lane in list(self.lanes.items()):
            try:
                lane.turn(limits.batch_rows_max, flush)
            except LogLost as cause:
                self._lose(partition, str(cause))
            except OutsideError as cause:
                failed = cause  # the other lanes get their turn first
        if failed:
            raise failed

    def _lose(self, partition: int, why: str) -> None:
        """Let a partition wait, and no other: after a while its logs are looked at anew."""
        self.lanes.pop(partition, None)
        self._waiting[partition] = why
        self._tell()

    def _put_off(self, why: str) -> None:
        log.warning("waiting", reason=why)
        self._health.not_ready(why)
        self._changed = True  # look at everything anew when it goes on
        self._retry_at_ns = clock.monotonic_ns() + int(RETRY_SECONDS * 1e9)

    def _fetch(self) -> list[Message]:
        """Return what has come: wait for the first message only, and only while nothing is due."""
        first = self._consumer.consume(1, self._patience_seconds())
        return first + self._consumer.consume(FETCH_MAX, 0) if first else first

    def _patience_seconds(self) -> float:
        """Return how long nothing but a message may happen: reports come only when asked for."""
        lanes = self.lanes.values()
        if any(lane.sequencer.waits_for_reports() for lane in lanes):
            return REPORT_SECONDS
        if any(lane.waits_for_flush() for lane in lanes):
            wait = self._flush_in_ns() / 1e9
            return wait if self._all_sent() else min(wait, REPORT_SECONDS)
        return held.LOOK_MS / 1000 if self._held.watches() else IDLE_SECONDS

    def _flush_in_ns(self) -> int:
        """Return how long until rows go whose batch is not full: at once after a quiet while.

        All lanes flush together, so that what follows, up to the commit, is done for all at once.
        While the broker has not acknowledged what was sent before, or the node does not come after
        with holding it, more are let come: so batches grow with the load.
        """
        waits = self._settings.limits.batch_wait_ms_max
        wait_ms = self._held.pace_ms() if self._all_sent() else waits
        return max(0, self._flushed_ns + int(wait_ms * 1_000_000) - clock.monotonic_ns())

    def _all_sent(self) -> bool:
        return all(lane.sequencer.idle() for lane in self.lanes.values())

    def _add(self, messages: list[Message]) -> None:
        by_place: dict[tuple[str, int], list[Message]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._complain(error, message.topic(), message.partition())
                continue
            place = message.topic(), message.partition()
            held = by_place.get(place)
            if held is None:
                by_place[place] = [message]
            else:
                held.append(message)
        for (topic, partition), held in by_place.items():
            if topic == cuts.TOPIC:
                self._cuts.add(held)
            elif lane := self.lanes.get(partition):
                lane.buffer.add(topic, held)

    def _complain(self, error: KafkaError, topic: str, partition: int) -> None:
        lost = error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
        if lost and topic == cuts.TOPIC:
            log.warning("the cuts are read anew", reason=error.str())
            self._cuts.offset, self._changed = 0, True  # from what is there: numbers tell
        elif lost:
            self._lose(partition, f"a row topic does not reach where it was read: {error.str()}")
        else:
            log.warning("kafka", reason=error.str())

    def _pace(self) -> None:
        """Pause partitions that hold too much, and let them go on when they do not."""
        full = {p for p, lane in self.lanes.items() if lane.buffer.full()}
        free = {p for p in self._paused if p in self.lanes and not self.lanes[p].buffer.rows}
        if fresh := full - self._paused:
            self._consumer.pause([TopicPartition(t, p) for p in fresh for t in rows.ROW_TOPICS])
        if free:
            self._consumer.resume([TopicPartition(t, p) for p in free for t in rows.ROW_TOPICS])
        self._paused = (self._paused | full) - free

    # ---- sending ----

    def _produce(self, send: Send, report: object) -> None:
        deadline_ns = clock.monotonic_ns() + int(bus.REQUEST_SECONDS_MAX * 1e9)
        while True:
            try:
                self._producer.produce(
                    send.topic, send.value, send.key, send.partition,
                    on_delivery=self._watch(report), headers=send.headers,
                )  # fmt: skip
                return
            except BufferError:  # back-pressure: the broker is slower than we are
                self._health.beat()
                self._producer.poll(0.05)
                if clock.monotonic_ns() > deadline_ns:
                    raise OutsideError(
                        "the broker takes nothing: the send queue stays full"
                    ) from None
            except KafkaException as cause:
                self._fatal |= cause.args[0].fatal()
                raise OutsideError(f"sending to {send.topic}: {cause.args[0]}") from cause

    def _watch(self, report: object) -> object:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                log.warning("send failed, the log will say", reason=error.str())
                self._fatal |= error.fatal() or error.code() in _BROKEN_PRODUCER
            report(error, message)

        return on_delivery

    def _renew_producer(self) -> None:
        """A producer that lost a message must not send the next: forget it, and fold again."""
        log.warning("making a new producer")
        self._producer.purge()
        self._producer.poll(0)
        self._producer = bus.producer(self._settings.kafka)
        self._fatal = False
        for lane in self.lanes.values():
            lane.sequencer.lost_sight()  # reports of what was on its way may never come

    # ---- leaving ----

    def drain(self) -> None:
        """Pack what was fetched and wait for its reports, but not for long."""
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        try:
            while time.monotonic() < deadline and not all(
                lane.idle() or lane.sequencer.must_fold() for lane in self.lanes.values()
            ):
                for lane in self.lanes.values():
                    if not lane.sequencer.must_fold():
                        lane.turn(self._settings.limits.batch_rows_max, flush=True)
                self._producer.poll(0.01)
        except OutsideError as cause:
            log.warning("left with unsent rows: whoever packs next reads them", reason=str(cause))
        self._figures.commit(self.lanes)
        self._held.close()
        self._consumer.close()
        self._reader.close()

    def counts(self) -> Counter[str]:
        return sum((lane.sequencer.counts for lane in self.lanes.values()), Counter())


_BROKEN_PRODUCER = {
    KafkaError._FATAL, KafkaError._GAPLESS_GUARANTEE, KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
}  # fmt: skip


def main(settings: Settings, health: metrics.Health, stop: threading.Event) -> int:
    """Pack until told to stop."""
    packer = None
    while packer is None and not stop.is_set():
        health.beat()
        try:
            packer = Packer(settings, health)
        except (OutsideError, psycopg.OperationalError) as cause:
            health.not_ready(str(cause))
            log.warning("waiting", reason=str(cause))
            stop.wait(RETRY_SECONDS)
    while packer and not stop.is_set():
        packer.step()
    if packer:
        packer.drain()
    return 0
