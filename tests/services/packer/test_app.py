"""The shell of the packer: what it fetches and sends, and what it does when Kafka complains."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, KafkaError
from orrery_services import bus
from orrery_services.packer import app, buffers
from orrery_services.packer.cuts import Cuts
from orrery_services.protocol import cuts, rows
from orrery_services.protocol.marks import Mark
from orrery_services.protocol.rules import ALL_RULES

from .fetched import Fetched

LOGS = dict.fromkeys((*rows.ROW_TOPICS, "ticks"), "L")
SECONDS_MAX = 10.0
TRADE = b'{"symbol":"A.X","price":1,"size":1}'


class Health:
    """Counts beats."""

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1

    def ready(self) -> None:
        """Nobody asks."""

    def not_ready(self, why: str) -> None:
        """Nobody asks."""


class Silent:
    """A producer of which no report ever comes."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def produce(self, topic: str, value: bytes, *rest: object, **more: object) -> None:
        self.values.append(value)

    def poll(self, _: float) -> int:
        return 0

    def purge(self) -> None:
        """What is on its way is forgotten, and its reports with it."""


class Held:
    """Logs of which a stretch of `ticks` is there, and nothing else."""

    def __init__(self, messages: int):
        self.messages = [Fetched(at, b"") for at in range(messages)]

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self.messages) if topic == "ticks" else 0

    def read(self, topic: str, partition: int, start: int, end: int) -> list[Fetched]:
        return self.messages[start:end]


class Complaint(SimpleNamespace):
    """A message that is an error of a partition."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._AUTO_OFFSET_RESET)

    def topic(self) -> str:
        return self.of

    def partition(self) -> int:
        return 0


@pytest.fixture
def packer() -> app.Packer:
    """A packer that has asked nobody yet: no group, no database."""
    made = app.Packer.__new__(app.Packer)
    made._settings, made._health = SimpleNamespace(kafka="", partitions=1), Health()
    made._logs, made._rules, made._cuts = LOGS, ALL_RULES, Cuts()
    made._reader, made._producer, made._fatal = Held(0), Silent(), False
    made.lanes, made._waiting, made._paused = {}, {}, set()
    made._assigned, made._changed = {0}, False
    return made


def begin(packer: app.Packer) -> app.Lane:
    packer.lanes[0] = packer._new_lane(0, Mark())
    packer.lanes[0].sequencer.caught_up()
    return packer.lanes[0]


@pytest.fixture
def kafka() -> Iterator[str]:
    """A broker inside the client's library."""
    keeper = Consumer({"bootstrap.servers": "none", "group.id": "x", "test.mock.num.brokers": 1})
    (broker,) = keeper.list_topics(timeout=SECONDS_MAX).brokers.values()
    yield f"{broker.host}:{broker.port}"
    keeper.close()


def fill(kafka: str, trades: int) -> None:
    producer = bus.producer(kafka)
    for topic in (*rows.ROW_TOPICS, cuts.TOPIC):
        for _ in range(trades if topic == "trades" else 1):
            producer.produce(topic, TRADE, partition=0)
    assert producer.flush(SECONDS_MAX) == 0


def fetch(packer: app.Packer, count: int) -> int:
    """Fetch until so many rows are held; return how many are."""
    deadline = time.monotonic() + SECONDS_MAX
    while (held := packer.lanes[0].buffer.rows) < count and time.monotonic() < deadline:
        packer._add(packer._consumer.consume(100, 0.1))
    return held


def test_a_partition_that_was_paused_is_read_again_after_all_are_fetched_anew(
    packer, kafka, monkeypatch
):
    monkeypatch.setattr(buffers, "ROWS_MAX", 5)
    fill(kafka, trades=10)
    count = 10 + len(rows.ROW_TOPICS) - 1
    packer._consumer, packer._reader = bus.consumer(kafka, "g"), bus.LogReader(kafka, "r")
    begin(packer)
    packer._fetch_all()
    assert fetch(packer, count) == count
    packer._pace()
    assert packer._paused == {0}

    packer._fetch_all()

    assert fetch(packer, count) == count
    packer._consumer.close()
    packer._reader.close()


def test_a_lane_does_not_wait_for_reports_that_went_with_a_producer(packer, monkeypatch):
    lane = begin(packer)
    lane.buffer.add("trades", [Fetched(0, TRADE)])
    lane.turn(100, flush=True)
    assert len(packer._producer.values) == 1 and not lane.sequencer.idle()
    monkeypatch.setattr(bus, "producer", lambda kafka: Silent())

    packer._renew_producer()

    assert lane.sequencer.must_fold()


def test_a_lane_of_which_nothing_is_on_its_way_goes_on_with_the_next_producer(packer, monkeypatch):
    lane = begin(packer)
    monkeypatch.setattr(bus, "producer", lambda kafka: Silent())

    packer._renew_producer()

    assert lane.sequencer.wants_rows()


def test_a_long_log_is_folded_with_a_beat_for_every_message(packer):
    packer._reader = Held(1_000)

    packer._new_lane(0, Mark()).fold()

    assert packer._health.beats == 1_000


def test_where_the_cuts_do_not_reach_they_are_read_anew_and_no_partition_waits(packer, monkeypatch):
    """The topic of cuts has one partition; partition 0 of the rows has the same number."""
    lane, packer._cuts.offset = begin(packer), 9
    fetched = []
    monkeypatch.setattr(packer, "_fetch_all", lambda: fetched.append(packer._cuts.offset))

    packer._add([Complaint(of=cuts.TOPIC)])

    assert (packer.lanes, packer._waiting) == ({0: lane}, {})
    packer._deal()
    assert fetched == [0]


def test_where_the_rows_do_not_reach_their_partition_waits(packer):
    begin(packer)

    packer._add([Complaint(of="trades")])

    assert packer.lanes == {} and "a row topic does not reach" in packer._waiting[0]
