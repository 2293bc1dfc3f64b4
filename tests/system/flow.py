"""A market that flows while servers fail, and what a node holds of it.

Every row has an event time of its own, so (symbol, ts_event_ns) names it. A row is acknowledged
when Kafka or Postgres said so; of what ended in an error nobody knows, so it may be held or not.
"""

import json
import random
import threading
from collections import Counter
from typing import NamedTuple

import psycopg
from confluent_kafka import Message, Producer
from orrery_services import Node, store
from orrery_services.config import Settings
from orrery_services.protocol.marks import Mark
from orrery_services.store import results

FIRST_NS = 1_700_000_000_000_000_000
TAG = ".KILL"  # the stack has rows of other tests too
SYMBOLS = [f"S{number}{TAG}" for number in range(12)]
PARTITIONERS = ("murmur2_random", "consistent_random")
ROUND_SECONDS = 0.1
ROUND_ROWS = 10
CAPTURED_EVERY_ROUNDS = 3  # one INSERT then
BAD_SHARE = 0.03
DELIVERY_MS_MAX = 300_000  # longer than any server is away
FLUSH_SECONDS_MAX = 120.0
END_SECONDS_MAX = 60.0
BAD_VALUES = (
    '{"symbol":"%s","price":"oops","size":1}',
    '{"symbol":"%s","price":"Infinity","size":1}',
    '{"symbol":"%s","price":1,"size":-2}',
    "{%s",
)
INSERT = "INSERT INTO trades (symbol, price, size, ts_event_ns) VALUES (%s, 101.25, 1, %s)"
INSERT_MS_MAX = 5000


class Key(NamedTuple):
    symbol: str
    ts_event_ns: int


class Flow(threading.Thread):
    """Sends seeded trades and quotes, some of them bad, until `finish`."""

    def __init__(self, settings: Settings, seed: int):
        super().__init__(name="flow", daemon=True)
        self.settings = settings
        self.acknowledged: set[Key] = set()
        self.unsure: set[Key] = set()
        self.bad: set[bytes] = set()
        self._random = random.Random(seed)
        self._number = 0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._producers = [
            Producer(
                {
                    "bootstrap.servers": settings.kafka,
                    "partitioner": partitioner,
                    "enable.idempotence": True,
                    "delivery.timeout.ms": DELIVERY_MS_MAX,
                    "log_level": 0,  # that servers go away is what this is about
                }
            )
            for partitioner in PARTITIONERS
        ]

    def run(self) -> None:
        rounds = 0
        while not self._end.wait(ROUND_SECONDS):
            rounds += 1
            for _ in range(ROUND_ROWS):
                self.send(self._random.choice(self._producers))
            if rounds % CAPTURED_EVERY_ROUNDS == 0:
                self.insert()
            for producer in self._producers:
                producer.poll(0)

    def finish(self) -> None:
        """Stop, and wait until everything that was sent has an answer."""
        self._end.set()
        self.join(END_SECONDS_MAX)
        assert not self.is_alive(), f"the flow must end within {END_SECONDS_MAX} s"
        for producer in self._producers:
            left = producer.flush(FLUSH_SECONDS_MAX)
            assert left == 0, f"{left} rows have no answer after {FLUSH_SECONDS_MAX} s"

    def sent(self) -> set[Key]:
        """Return what was acknowledged up to now."""
        with self._lock:
            return set(self.acknowledged)

    def next_key(self) -> Key:
        with self._lock:
            self._number += 1
            return Key(SYMBOLS[self._number % len(SYMBOLS)], FIRST_NS + self._number)

    def note(self, keys: set[Key], sure: bool = True) -> None:
        with self._lock:
            (self.acknowledged if sure else self.unsure).update(keys)

    def send(self, producer: Producer) -> None:
        key = self.next_key()
        if self._random.random() < BAD_SHARE:
            text = self._random.choice(BAD_VALUES) % f"{key.symbol} {key.ts_event_ns}"
            producer.produce("trades", text, key.symbol, on_delivery=self._refused)
            return
        row = {"symbol": key.symbol, "ts_event_ns": key.ts_event_ns}
        price = round(100 * self._random.uniform(0.9, 1.1), 2)
        if self._random.random() < 0.5:
            topic, row = "trades", row | {"price": price, "size": 1}
        else:
            ask = round(price + 0.01, 2)
            topic, row = "quotes", row | {"bid": price, "ask": ask, "bid_size": 2, "ask_size": 3}

        def told(error: object, _: Message) -> None:
            self.note({key}, sure=error is None)

        producer.produce(topic, json.dumps(row), key.symbol, on_delivery=told)

    def _refused(self, error: object, message: Message) -> None:
        assert error is None, f"a bad row must be taken by the broker, but: {error}"
        with self._lock:
            self.bad.add(message.value())

    def insert(self) -> None:
        """Insert one trade. A commit that nobody answered for may have happened."""
        key = self.next_key()
        try:
            with psycopg.connect(
                self.settings.postgres("writer"),
                connect_timeout=2,
                options=f"-c statement_timeout={INSERT_MS_MAX}",
            ) as writer:
                writer.execute(INSERT, key)
        except psycopg.Error:
            self.note({key}, sure=False)
        else:
            self.note({key})


class Held:
    """What one node holds: every row of every chunk below its marks, counted."""

    def __init__(self, settings: Settings, chain: str):
        self.name, self.rows = settings.node, Counter()
        self._node, self._chain = Node(settings=settings), chain
        self._read_to: dict[int, Mark] = {}

    def look(self) -> None:
        """Read what is new since the last look. Ordinals leave no hole."""
        connection = self._node.connection
        info = results.chain_info(connection, self._chain)
        for (chain, partition), mark in store.marks(connection).items():
            at = self._read_to.get(partition, Mark())
            if chain != info.id or mark.ordinal <= at.ordinal:
                continue
            for chunk in results.chunks(connection, info, partition, at, mark.ordinal):
                assert chunk.ordinal == at.ordinal, f"{self.name} lacks ordinal {at.ordinal}"
                at = Mark(chunk.place.log_id, chunk.place.offset + 1, chunk.ordinal + 1)
                symbols, times = (chunk.rows[name].to_pylist() for name in Key._fields)
                found = map(Key, symbols, times)
                self.rows.update(key for key in found if key.symbol.endswith(TAG))
                self._read_to[partition] = at
            assert at.ordinal == mark.ordinal, f"{self.name} lacks ordinal {at.ordinal}"

    def twice(self) -> set[Key]:
        return {key for key, count in self.rows.items() if count > 1}

    def close(self) -> None:
        self._node.close()
