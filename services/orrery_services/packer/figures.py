"""What a packer tells about itself: counters, lag, and the offsets that lag tools look at."""

from collections import Counter
from collections.abc import Mapping

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client import Counter as Count

from .. import clock, metrics
from ..protocol import rows
from .lane import Lane

PERIOD_NS = 1_000_000_000
REPEATED_ROWS = Count("orrery_packer_repeated_rows", "Rows dropped as counted before.", ["kind"])
OVERTAKEN = Count("orrery_packer_overtaken", "Times that the log had to be folded again.", ["why"])
log = structlog.get_logger()


class Figures:
    """Looks at the lanes once a second. Committed offsets are for lag tools, not for truth."""

    def __init__(self, consumer: Consumer):
        self._consumer = consumer
        self._next_ns = 0
        self._seen: dict[int, tuple[Lane, Counter[str]]] = {}
        self._committed: dict[tuple[str, int], int] = {}

    def look(self, lanes: Mapping[int, Lane]) -> None:
        now_ns = clock.monotonic_ns()
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + PERIOD_NS
        for partition, lane in lanes.items():
            self._count(partition, lane)
        self._measure_lag(lanes)
        self.commit(lanes, wait=False)

    def _count(self, partition: int, lane: Lane) -> None:
        counts = Counter(lane.sequencer.counts)
        was, before = self._seen.get(partition, (None, Counter()))
        new = counts - before if was is lane else counts
        self._seen[partition] = lane, counts
        metrics.ROWS.labels("packer").inc(new["rows"])
        metrics.MOVED_ROWS.inc(new["moved"])
        for kind in ("captured", "moved"):
            REPEATED_ROWS.labels(kind).inc(new[f"repeated_{kind}"])
        for why in ("overtaken", "failed_sends"):
            OVERTAKEN.labels(why).inc(new[why])
        for name, count in new.items():
            if name.startswith("dead "):
                metrics.DEAD_LETTERS.labels(name.removeprefix("dead ")).inc(count)

    def _measure_lag(self, lanes: Mapping[int, Lane]) -> None:
        behind, oldest_ms = 0, None
        for partition, lane in lanes.items():
            for topic in rows.ROW_TOPICS:
                place = TopicPartition(topic, partition)
                _, end = self._consumer.get_watermark_offsets(place, cached=True)
                behind += max(0, end - lane.position(topic)) if end >= 0 else 0
            first_ms = lane.buffer.oldest_ms()
            if first_ms is not None:
                oldest_ms = min(first_ms, oldest_ms or first_ms)
        age_ms = max(0, clock.wall_ns() // 1_000_000 - oldest_ms) if oldest_ms else 0
        metrics.LAG_ROWS.labels("packer").set(behind)
        metrics.LAG_SECONDS.labels("packer").set(age_ms / 1000)

    def commit(self, lanes: Mapping[int, Lane], wait: bool = True) -> None:
        """Store how far the log has packed, where it changed."""
        now = {(t, p): lane.position(t) for p, lane in lanes.items() for t in rows.ROW_TOPICS}
        fresh = {place: at for place, at in now.items() if self._committed.get(place, 0) != at}
        if not fresh:
            return
        offsets = [TopicPartition(topic, p, at) for (topic, p), at in fresh.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=not wait)
            self._committed |= fresh
        except KafkaException as cause:
            log.debug("offsets for lag tools not stored", reason=str(cause.args[0]))
