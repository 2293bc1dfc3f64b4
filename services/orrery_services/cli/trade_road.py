"""The hops that `orrery trade` watches, from the row topic to the other nodes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition
from orrery_kernels.partition import partition_of

from .. import bus, clock, store
from ..config import Settings, node_names
from ..errors import OutsideError, ServiceError
from ..node import Node
from ..protocol import dead_letters, ticks, vectors
from ..protocol.facts import INPUT, RESULT, Place, place_key
from ..protocol.marks import Mark
from ..store import reading
from . import status
from .trade import Hop, Left, wait_for

TRADES, TICKS = "trades", "ticks"
SHORT = 10  # hex digits shown of an id
CHAIN = "default"
POLL_SECONDS = 0.05
CONNECT_SECONDS = 0.5


class Road:
    """Everything is opened before the trade is sent, so that the times are those of the road."""

    def __init__(self, settings: Settings, still_seconds_max: float):
        self._settings, self._still_seconds_max = settings, still_seconds_max
        self._stack = ExitStack()
        self._packed_to: int | None = None  # of the row topic, as far as we have seen
        self.refused = False

    def __enter__(self) -> "Road":
        self._producer = bus.producer(self._settings.kafka)
        self._reader = bus.LogReader(self._settings.kafka, "orrery-trade")
        self._stack.callback(self._reader.close)
        self._consumer = self._watch()
        self._stack.callback(self._consumer.close)
        self._nodes = [self._stack.enter_context(Node(name)) for name in self._names()]
        for node in self._nodes:
            with suppress(ServiceError):  # who is away is told at its hop
                _ = node.connection
        logs = bus.log_ids(bus.admin(self._settings.kafka), [TRADES, TICKS])
        self._log_id, self._trades_log_id = logs[TICKS], logs[TRADES]
        return self

    def __exit__(self, *what: object) -> None:
        self._stack.close()

    def _names(self) -> list[str]:
        """Return this node first, then the others."""
        own = self._settings.node
        return [own, *(name for name in node_names() if name != own)]

    def _watch(self) -> Consumer:
        return bus.consumer(
            self._settings.kafka, "orrery-trade", auto_offset_reset="latest", fetch_wait_max_ms=10
        )

    def send(self, symbol: str, price: str, size: str, side: str | None) -> Iterator[Hop]:
        """Yield the hops of one trade as they happen. Raises OutsideError at a hop not reached."""
        fields = {"symbol": symbol, "price": price, "size": size, "side": side}
        now_ns = clock.wall_ns()
        fields |= {"ts_event_ns": now_ns, "ts_recv_ns": now_ns}
        value = msgspec.json.encode({k: v for k, v in fields.items() if v is not None})
        partition = partition_of(symbol, self._settings.partitions)
        places = [TopicPartition(TICKS, partition, self._reader.ends(TICKS, partition)[1])]
        letters = dead_letters.TOPIC
        places.append(TopicPartition(letters, 0, self._reader.ends(letters, 0)[1]))
        self._consumer.assign(places)
        self._connect()
        self._began = time.monotonic()
        key = symbol.encode() or None
        sent = bus.send_now(self._producer, TRADES, value, key, (), self._still_seconds_max)
        yield self._hop("feed", f"trades/{sent.partition()}/{sent.offset()}")
        found = self._wait_for(
            lambda: self._packed(sent), "a batch of ticks", lambda: self._rows_before(sent)
        )
        if isinstance(found, dead_letters.DeadLetter):
            self.refused = True
            yield self._hop("refused", f"dead letter {found.id}: {found.reason}")
            return
        offset, row, rows = found
        place = Place(self._log_id, partition, offset)
        where = f"ticks/{partition}/{offset}, row {row + 1} of {rows}"
        yield self._hop("packer", where)
        yield from self._through_stores(place)

    def _connect(self) -> None:
        """Have sender and reader connected before the time is taken."""
        self._producer.list_topics(TRADES, bus.REQUEST_SECONDS_MAX)
        until = time.monotonic() + CONNECT_SECONDS
        while time.monotonic() < until and self._consumer.poll(POLL_SECONDS) is None:
            pass  # what comes now was there before the trade

    def _hop(self, hop: str, what: str) -> Hop:
        return Hop(hop, what, round((time.monotonic() - self._began) * 1000, 1))

    def _packed(self, sent: Message) -> tuple[int, int, int] | dead_letters.DeadLetter | None:
        """Return where the trade is in `ticks`, or its dead letter, or None when neither came."""
        message = self._consumer.poll(POLL_SECONDS)
        if message is None or message.error():
            return None
        if message.topic() == dead_letters.TOPIC:
            wanted = f"{sent.topic()}/{sent.partition()}/{sent.offset()}"
            letters, _ = dead_letters.read([message.value()])
            return next((one for one in letters.values() if one.id == wanted), None)
        try:
            told = ticks.parse(message.value(), message.headers())
            found = ticks.decode(told)
        except ticks.BadTicks:
            return None
        if told.next is not None:
            self._packed_to = vectors.next_offset(told.next, TRADES, self._trades_log_id)
        sources = zip(*(found[n].to_pylist() for n in _SOURCE), strict=True)
        wanted = sent.topic(), sent.partition(), sent.offset()
        row = next((i for i, source in enumerate(sources) if source == wanted), None)
        return None if row is None else (message.offset(), row, found.num_rows)

    def _through_stores(self, place: Place) -> Iterator[Hop]:
        own = self._nodes[0]
        chain = store.chain_names(own.connection).get(CHAIN)
        if chain is None:
            raise OutsideError(f"node {own.name} must have computed chain {CHAIN!r} once")
        for kind, key in (
            ("input", place_key(INPUT, place)),
            ("result", place_key(RESULT, place, chain)),
        ):
            row = self._wait_for(
                lambda key=key: reading.fact_by_key(own.connection, key),
                f"the {kind} chunk of {own.name}",
                lambda: self._batches_before(own, chain, place, "analytics"),
            )
            by = row.origin.split(".", 1)[0]
            yield self._hop("store", f"{own.name}: fact {row.id.hex()[:SHORT]} ({kind}, by {by})")
        mark = self._wait_for(
            lambda: _past(self._mark(own, chain, place), place),
            f"the mark of {own.name}",
            lambda: self._batches_before(own, chain, place, "analytics"),
        )
        yield self._hop(
            "mark", f"{own.name}: {mark.ordinal} batches, to ticks offset {mark.offset}"
        )
        for other in self._nodes[1:]:
            yield self._arrived(other, chain, place)

    def _arrived(self, other: Node, chain: str, place: Place) -> Hop:
        key = place_key(RESULT, place, chain)
        try:
            row = self._wait_for(
                lambda: reading.fact_by_key(other.connection, key),
                other.name,
                lambda: self._batches_before(other, chain, place, "replication"),
            )
        except ServiceError as cause:
            raise OutsideError(f"{other.name}: {cause}") from cause
        return self._hop("replica", f"{other.name}: fact {row.id.hex()[:SHORT]}")

    # ---- what lies before it ----

    def _wait_for(self, look: Callable[[], Any], what: str, left: Callable[[], Left]) -> Any:
        return wait_for(look, what, self._still_seconds_max, left)

    def _rows_before(self, sent: Message) -> Left:
        count = None if self._packed_to is None else max(0, sent.offset() - self._packed_to)
        return Left(count, "rows", _coming_up(self._nodes, "packer"))

    def _batches_before(self, node: Node, chain: str, place: Place, service: str) -> Left:
        mark = self._mark(node, chain, place)
        count = place.offset - mark.offset if mark.log_id == place.log_id else None
        at = self._nodes if service == "analytics" else [node]
        return Left(count, "batches", _coming_up(at, service))

    def _mark(self, node: Node, chain: str, place: Place) -> Mark:
        return store.marks(node.connection).get((chain, place.partition), Mark())


def _coming_up(nodes: list[Node], service: str) -> list[str]:
    """Return the services that are up and not ready, each with the reason that it gives."""
    told = ((node.name, status.service_state(node.settings, service)) for node in nodes)
    return [f"{name} {service} waits: {at['why']}" for name, at in told if at["state"] == "waiting"]


def _past(mark: Mark, place: Place) -> Mark | None:
    return mark if mark.log_id == place.log_id and mark.offset > place.offset else None


_SOURCE = ("source_topic", "source_partition", "source_offset")
