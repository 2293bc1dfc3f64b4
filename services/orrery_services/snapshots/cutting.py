"""The topic of cuts: reading what fired, and having something fire.

topic.read() -> cuts that have come; topic.want(firing); topic.turn() sends them one at a time
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

import structlog
from confluent_kafka import TopicPartition

from .. import bus, clock
from ..config import Settings
from ..errors import OutsideError
from ..protocol import cuts
from ..protocol.cuts import Cut
from .steps import Seen

MESSAGES_AT_ONCE = 1000
ANSWER_NS_MAX = 2_000_000_000  # until a message that was sent is read back; then it is sent anew
LOOK_BACK_MAX = 10_000  # messages of the topic that are read for a cut by hand
WANTED_MAX = 1000  # firings that wait to become cuts; one at a time does
log = structlog.get_logger()


class Wanted(NamedTuple):
    """A firing that should become a cut."""

    id: str
    trigger: str
    at_ns: int
    chains: Mapping[str, str]
    static: str = ""


class Topic:
    """Reads the one partition in order, and writes the number behind the greatest it has read."""

    def __init__(self, settings: Settings, newest: int, last: int | None = None):
        """newest: the greatest number that is kept as a fact; a topic made anew goes on behind.
        last: read so many messages of before at most; then nothing is known of older firings."""
        self._node, self._newest = settings.node, newest
        self.seen = Seen(0 if last is None else newest)
        self._wanted: dict[str, Wanted] = {}
        self._sent: tuple[int, int] | None = None  # number, and when it is given up
        self._consumer = bus.consumer(settings.kafka, f"orrery-cuts-{settings.node}")
        self._producer = bus.producer(settings.kafka)
        reader = bus.LogReader(settings.kafka, "orrery-cuts")
        try:
            low, self._end = reader.ends(cuts.TOPIC, 0)
        finally:
            reader.close()
        self._next = first_read(low, self._end, last)
        self._consumer.assign([TopicPartition(cuts.TOPIC, 0, self._next)])

    def caught_up(self) -> bool:
        """Whether all that was there at the start has been read."""
        return self._next >= self._end

    def read(self, wait_seconds: float = 0.0) -> list[Cut]:
        """Return the cuts that have come since."""
        found = []
        messages = self._consumer.consume(1, wait_seconds)
        if messages:
            messages += self._consumer.consume(MESSAGES_AT_ONCE - 1, 0)
        for message in messages:
            if (error := message.error()) is not None:
                if error.fatal() or not error.retriable():
                    raise OutsideError(f"reading {cuts.TOPIC}: {error}")
                continue
            self._next = message.offset() + 1
            try:
                cut = cuts.decode(message.value())
            except ValueError as cause:
                log.warning("no cut", offset=message.offset(), reason=str(cause))
                continue
            if self.seen.take(cut):
                found.append(cut)
                self._wanted.pop(cut.id, None)
            if self._sent and cut.number >= self._sent[0]:
                self._sent = None
        return found

    def want(self, wanted: Wanted) -> None:
        take_in(self._wanted, self.seen.fired, wanted)

    def turn(self) -> None:
        """Send the first firing that waits, one at a time: its number must be the next."""
        self._producer.poll(0)
        now_ns = clock.monotonic_ns()
        if self._sent and now_ns < self._sent[1]:
            return
        self._sent = None
        if not self._wanted or not self.caught_up():
            return
        first = next(iter(self._wanted.values()))
        number = max(self.seen.greatest, self._newest) + 1
        cut = Cut(number, first.id, first.trigger, first.at_ns, self._node, dict(first.chains),
                  first.static)  # fmt: skip
        self._producer.produce(cuts.TOPIC, cuts.encode(cut), first.id, 0)
        self._producer.poll(0)
        self._sent = number, now_ns + ANSWER_NS_MAX

    def waiting(self) -> bool:
        return bool(self._wanted)

    def close(self) -> None:
        self._producer.flush(1.0)
        self._consumer.close()


def first_read(low: int, end: int, last: int | None) -> int:
    """Return where to begin in [low, end) to read all, or the `last` messages at most.

    >>> first_read(5, 1_000_000, None), first_read(5, 1_000_000, 10_000), first_read(5, 7, 10_000)
    (5, 990000, 5)
    """
    return low if last is None else max(low, end - last)


def take_in(waiting: dict[str, Wanted], fired: Mapping[str, int], wanted: Wanted) -> None:
    """Let a firing wait to become a cut. Beyond WANTED_MAX it does not: it is due again when
    those before it are cuts, because what a trigger owes is reckoned from its last one."""
    if wanted.id not in fired and (wanted.id in waiting or len(waiting) < WANTED_MAX):
        waiting.setdefault(wanted.id, wanted)


def cut_now(
    settings: Settings,
    wanted: Wanted,
    newest: int,
    seconds_max: float,
) -> Cut:
    """Have a cut made by hand and return it. Raises OutsideError when the log does not take it.

    However long the topic is, its end is read: the greatest number stands there, or in a fact.
    """
    topic = Topic(settings, newest, LOOK_BACK_MAX)
    deadline = time.monotonic() + seconds_max
    try:
        topic.want(wanted)
        while time.monotonic() < deadline:
            topic.turn()
            for cut in topic.read(0.02):
                if cut.id == wanted.id:
                    return cut
    finally:
        topic.close()
    raise OutsideError(f"the topic {cuts.TOPIC} must take a cut within {seconds_max:.0f} s")
