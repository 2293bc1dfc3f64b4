"""The one way to Kafka: producers that lose and reorder nothing, consumers, who a log is.

Every producer partitions by murmur2 of the key, as Java's does.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from . import clock
from .errors import OutsideError, made_anew

REQUEST_SECONDS_MAX = 15
LOGS_SECONDS = 5  # between two looks at who the logs are
LOGS_REQUEST_SECONDS_MAX = 1.0
UNANSWERED_MAX = 2  # looks without an answer: then the broker is away
AWAY = "the broker does not answer"
SILENCE_SECONDS_MAX = 15  # of a log that is known to hold more
QUEUE_KBYTES_MAX = 65_536  # of messages waiting to be sent, or read ahead
QUEUE_MESSAGES_MAX = 200_000
_LOGGER = logging.getLogger("kafka")
# Idle connections that the broker closes, and reconnects while it is away, are no news.
_CLIENT = {
    "log.connection.close": False,
    "log_level": 4,
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 1000,
    "socket.keepalive.enable": True,
    "socket.nagle.disable": True,
    "broker.address.family": "v4",
}


def producer(kafka: str, **more: object) -> Producer:
    """Return a producer: acknowledged by all replicas, never out of order, never twice."""
    return Producer(
        {
            **_CLIENT,
            "bootstrap.servers": kafka,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "message.max.bytes": 16_000_000,  # the topic decides; too large is refused by it
            "delivery.timeout.ms": 30_000,
            "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
            "queue.buffering.max.kbytes": QUEUE_KBYTES_MAX,
            **{name.replace("_", "."): value for name, value in more.items()},
        },
        logger=_LOGGER,
    )


def send_now(
    producer: Producer,
    topic: str,
    value: bytes | None,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
    seconds_max: float = REQUEST_SECONDS_MAX,
) -> Message:
    """Send one message; return it, with its place, once the broker has it. Raises OutsideError."""
    reports: list[tuple[KafkaError | None, Message]] = []
    try:
        producer.produce(
            topic, value, key, headers=list(headers), on_delivery=lambda *told: reports.append(told)
        )
        producer.flush(seconds_max)
    except (BufferError, KafkaException) as cause:
        raise OutsideError(f"{topic} must take a message, but: {said(cause)}") from cause
    error, message = reports[0] if reports else (f"nothing within {seconds_max:g} s", None)
    if error is not None or message is None:
        raise OutsideError(f"{topic} must take a message, but the broker says: {error}")
    return message


def consumer(kafka: str, group: str, **more: object) -> Consumer:
    """Return a consumer that commits nothing by itself."""
    return Consumer(
        {
            **_CLIENT,
            "bootstrap.servers": kafka,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "partition.assignment.strategy": "range",  # partition p of every topic to one member
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 1_000,
            "fetch.wait.max.ms": 500,  # what comes is sent at once all the same
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": QUEUE_KBYTES_MAX,
            "queued.min.messages": 20_000,
            **{name.replace("_", "."): value for name, value in more.items()},
        },
        logger=_LOGGER,
    )


def admin(kafka: str) -> AdminClient:
    return AdminClient({**_CLIENT, "bootstrap.servers": kafka}, logger=_LOGGER)


def log_ids(
    client: AdminClient, topics: Sequence[str], seconds_max: float = REQUEST_SECONDS_MAX
) -> dict[str, str]:
    """Return the identity of each topic's log: Kafka's UUID for it, which a new one does not share.

    Raises OutsideError when a topic is not there or the broker stays away.
    """
    asked = client.describe_topics(TopicCollection(list(topics)), request_timeout=seconds_max)
    try:
        return {name: _printed(future.result().topic_id) for name, future in asked.items()}
    except KafkaException as cause:
        if cause.args[0].code() in _AWAY:
            raise OutsideError(
                f"the broker must answer within {seconds_max:g} s, but: {said(cause)}; "
                "`orrery doctor` says what is wrong"
            ) from cause
        raise OutsideError(
            f"topics {', '.join(topics)} must be there, but Kafka says: {said(cause)}; "
            "`make up` makes them"
        ) from cause


_AWAY = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}


def said(cause: Exception) -> str:
    """Return what Kafka's client says, in its plain words."""
    error = cause.args[0] if cause.args else cause
    return error.str() if isinstance(error, KafkaError) else str(error)


def _printed(topic_id: object) -> str:
    """Return a topic's UUID as Kafka prints it: the client's own text may hold `+` and `/`."""
    return str(topic_id).replace("+", "-").replace("/", "_").rstrip("=")


class LogsWatch:
    """Sees that a topic was deleted and made anew: clients read on in the new log, by offset.

    And that the broker is away: a consumer only waits then, and nothing fails.
    """

    def __init__(self, kafka: str, logs: Mapping[str, str]):
        self._admin, self._logs, self._looked_ns = admin(kafka), logs, clock.monotonic_ns()
        self._unanswered = 0

    def away(self) -> bool:
        """Return whether the last looks had no answer: one may be late."""
        return self._unanswered >= UNANSWERED_MAX

    def look(self) -> None:
        """Ask every few seconds. Raises OutsideError when a log is another one than it was.

        A broker that does not answer, and a topic that is not there, say nothing about that.
        """
        if clock.monotonic_ns() - self._looked_ns < LOGS_SECONDS * 1e9:
            return
        try:
            found = log_ids(self._admin, list(self._logs), LOGS_REQUEST_SECONDS_MAX)
            self._unanswered = 0
        except OutsideError:
            found = {}
            self._unanswered += 1
        for topic, log_id in found.items():
            if log_id != self._logs[topic]:
                raise made_anew(topic, self._logs[topic], log_id)
        self._looked_ns = clock.monotonic_ns()


def ends_of(asking: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Return the first offset of a partition that is still there and the one behind the last."""
    place = TopicPartition(topic, partition)
    try:
        return asking.get_watermark_offsets(place, timeout=REQUEST_SECONDS_MAX)
    except KafkaException as cause:
        raise OutsideError(f"the ends of {topic}/{partition}: {said(cause)}") from cause


class LogReader:
    """Reads stretches of partitions by offset, without a group. One thread at a time."""

    def __init__(self, kafka: str, name: str):
        self._consumer = consumer(
            kafka, f"{name}-reader", auto_offset_reset="earliest", enable_partition_eof=True,
            queued_max_messages_kbytes=16_384, queued_min_messages=1000, fetch_wait_max_ms=20,
        )  # fmt: skip

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset that is still there and the one behind the last."""
        return ends_of(self._consumer, topic, partition)

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """Yield what lies in [start, end). Raises OutsideError when nothing comes for too long."""
        if start >= end:
            return
        self._consumer.assign([TopicPartition(topic, partition, start)])
        deadline = time.monotonic() + SILENCE_SECONDS_MAX
        try:
            while True:
                for message in self._consumer.consume(500, timeout=0.02):
                    error = message.error()
                    if error is None:
                        deadline = time.monotonic() + SILENCE_SECONDS_MAX
                        if message.offset() >= end:
                            return
                        yield message
                        if message.offset() == end - 1:
                            return
                    elif error.code() == KafkaError._PARTITION_EOF:
                        if message.offset() >= end:
                            return
                    elif not error.retriable():
                        raise OutsideError(f"reading {topic}/{partition} at {start}: {error}")
                if time.monotonic() > deadline:
                    raise OutsideError(
                        f"{topic}/{partition} must be readable to {end}, but nothing came for "
                        f"{SILENCE_SECONDS_MAX} s"
                    )
        finally:
            self._consumer.unassign()

    def close(self) -> None:
        self._consumer.close()
