"""The shell of the feed: it paces rows and sends them in order."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from prometheus_client import Counter as Count

from .. import bus, clock, metrics
from ..config import Settings
from ..errors import OutsideError
from . import demo, steps

POLL_ROWS = 500
PAUSE_SECONDS_MAX = 0.5  # one sleep: so that a stop is heard
GAP_NS_MAX = 3_600 * 10**9  # between two rows of a capture
SPIN_SECONDS = 0.0005
FLUSH_SECONDS_MAX = 60.0
LEAVE_SECONDS_MAX = 2.0
SILENT_SECONDS_MAX = 10.0  # of a broker that has been sent something
FAILED_ROWS = Count("orrery_feed_failed_rows", "Rows that no broker took.")
log = structlog.get_logger()
Found = Iterable[steps.Row | steps.Skipped]


class Feed:
    """Sends rows. `counts` holds rows sent by topic, what was skipped by reason, and failures."""

    def __init__(self, producer: Producer, stop: threading.Event, beat: Callable[[], None]):
        self._producer, self._stop, self._beat = producer, stop, beat
        self.counts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._answered_ns = clock.monotonic_ns()

    def play(self, found: Found, speed: float | None = None) -> None:
        """Send rows; `speed` 1 as they were received, 10 ten times as fast, None at once."""
        pace = _Pace(speed)
        for number, row in enumerate(found):
            if self._stop.is_set():
                return
            if isinstance(row, steps.Skipped):
                self.skipped[row.reason] += 1
                continue
            while (seconds := pace.ahead_seconds(row.recv_ns)) > SPIN_SECONDS:
                self._wait(seconds)
                if self._stop.is_set():
                    return
            self._send(row)
            if number % POLL_ROWS == 0:
                self._beat()
                self._producer.poll(0)

    def _wait(self, seconds: float) -> None:
        self._beat()
        self._producer.poll(0)
        self._stop.wait(min(seconds, PAUSE_SECONDS_MAX))

    def _send(self, row: steps.Row) -> None:
        while not self._stop.is_set():
            try:
                self._producer.produce(
                    row.topic, row.value, row.key or None, on_delivery=self._report
                )
                self.counts[row.topic] += 1
                return
            except BufferError:  # the broker is slower than we are, or away: wait for it
                self._beat()
                self._producer.poll(0.1)
            except KafkaException as cause:
                self._fail(cause.args[0])
                if cause.args[0].fatal():
                    raise OutsideError(f"sending to {row.topic}: {cause.args[0]}") from cause
                return  # this row alone: too large, for one

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._answered_ns = clock.monotonic_ns()
            metrics.ROWS.labels("feed").inc()
        else:
            self._fail(error)

    def _fail(self, error: KafkaError) -> None:
        reason = error.str()
        if not self.failed[reason]:
            log.warning("a row was not taken; those after it are only counted", reason=reason)
        self.failed[reason] += 1
        FAILED_ROWS.inc()

    def silent(self) -> bool:
        """Return whether a broker that has been sent rows acknowledges none of them."""
        silent_seconds = clock.seconds_since(self._answered_ns)
        return len(self._producer) > 0 and silent_seconds > SILENT_SECONDS_MAX

    def flush(self, seconds_max: float = FLUSH_SECONDS_MAX) -> int:
        """Wait for what is on its way; return how many rows were not acknowledged."""
        deadline = time.monotonic() + seconds_max
        while (left := self._producer.flush(0.2)) and time.monotonic() < deadline:
            self._beat()
        return left + sum(self.failed.values())


class _Pace:
    """Keeps the distances between receive times, divided by `speed`.

    A time that is GAP_NS_MAX ahead of the row before is a wrong one, and waits for nobody; where
    the next row is there too the market was shut meanwhile, and it goes on from there.
    """

    def __init__(self, speed: float | None):
        self._speed = speed
        self._first_ns: int | None = None
        self._began_ns = self._last_ns = 0
        self._far_ns: int | None = None  # of the row before, if that was too far ahead

    def ahead_seconds(self, recv_ns: int | None) -> float:
        """Return how long the row has to wait still."""
        if self._speed is None or recv_ns is None:
            return 0.0
        if self._first_ns is None or self._goes_on_at(recv_ns):
            self._first_ns, self._began_ns = recv_ns, clock.monotonic_ns()
        elif recv_ns - self._last_ns > GAP_NS_MAX:
            self._far_ns = recv_ns
            return 0.0
        self._last_ns, self._far_ns = recv_ns, None
        due_ns = self._began_ns + int((recv_ns - self._first_ns) / self._speed)
        return (due_ns - clock.monotonic_ns()) / 1e9

    def _goes_on_at(self, recv_ns: int) -> bool:
        return self._far_ns is not None and abs(recv_ns - self._far_ns) <= GAP_NS_MAX


def first(found: Found, many: int) -> Iterator[steps.Row | steps.Skipped]:
    """Yield what is found until so many rows have come; what is skipped between does not count."""
    for one in found:
        yield one
        many -= isinstance(one, steps.Row)
        if not many:
            return


def repeated(open_rows: Callable[[], Found]) -> Iterator[steps.Row | steps.Skipped]:
    """Yield a file again and again; each lap's times go on where the last one ended."""
    shift_ns = 0
    while True:
        first_ns = last_ns = None
        rows = 0
        for found in open_rows():
            rows += 1
            if isinstance(found, steps.Row):
                if found.recv_ns is not None:
                    first_ns = found.recv_ns if first_ns is None else min(first_ns, found.recv_ns)
                    last_ns = found.recv_ns if last_ns is None else max(last_ns, found.recv_ns)
                found = steps.later(found, shift_ns) if shift_ns else found
            yield found
        if not rows:
            return
        if first_ns is not None:
            shift_ns += last_ns - first_ns + 1_000_000_000


def generated(settings: Settings, rate: float | None = None, seed: int | None = None) -> Found:
    """Return the generated market of this node's settings, beginning now."""
    rate = settings.values["feed.rows_per_second"] if rate is None else rate
    seed = settings.values["feed.seed"] if seed is None else seed
    return demo.market(seed, clock.wall_ns(), rate)


def beat(feed: Feed, health: metrics.Health) -> None:
    health.beat()
    if feed.silent():
        health.not_ready(f"the broker acknowledged nothing for {SILENT_SECONDS_MAX:g} s")
    else:
        health.ready()


def main(settings: Settings, health: metrics.Health, stop: threading.Event) -> int:
    """Send the generated market until told to stop (`--demo` is all there is to say)."""
    if unknown := set(sys.argv[1:]) - {"--demo"}:
        log.warning("ignored", arguments=sorted(unknown))
    feed = Feed(bus.producer(settings.kafka), stop, lambda: beat(feed, health))
    feed.play(generated(settings), speed=1.0)
    left = feed.flush(LEAVE_SECONDS_MAX)
    log.info("fed", rows=dict(feed.counts), unacknowledged=left)
    return 0
