"""Rows that were fetched and not yet packed, of one partition, topic by topic."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from confluent_kafka import Message

from .steps import Run

ROWS_MAX, BYTES_MAX = 40_000, 32 << 20  # with more a partition is paused: the others go on
BATCH_BYTES_MAX = 900_000  # of JSON: 5,000 trades; in columns they take a fifth of it


class Field(Sequence):
    """One property of many messages, asked for only when it is needed."""

    def __init__(self, messages: list[Message], read: Callable[[Message], object]):
        self._messages, self._read = messages, read

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, i: int | slice) -> object:
        if isinstance(i, slice):
            return Field(self._messages[i], self._read)
        return self._read(self._messages[i])

    def __iter__(self) -> Iterator[object]:
        return map(self._read, self._messages)


def timestamp_ms(message: Message) -> int:
    return message.timestamp()[1]


class Buffer:
    """The fetched messages of one partition. `log_ids` names the log of each row topic."""

    def __init__(self, log_ids: dict[str, str]):
        self._log_ids = log_ids
        self._messages: dict[str, list[Message]] = {}
        self._next: dict[str, tuple[int, int]] = {}  # topic -> messages and bytes of `next_runs`
        self.rows = self.bytes = 0

    def full(self) -> bool:
        """Whether no more should be fetched: rows may be small, or a megabyte each."""
        return self.rows > ROWS_MAX or self.bytes > BYTES_MAX

    def add(self, topic: str, messages: list[Message]) -> None:
        held = self._messages.get(topic)
        if held:
            held.extend(messages)
        else:
            self._messages[topic] = messages
        self.rows += len(messages)
        self.bytes += sum(map(len, messages))

    def clear(self) -> None:
        self._messages.clear()
        self._next.clear()
        self.rows = self.bytes = 0

    def oldest_ms(self) -> int | None:
        """Return Kafka's time of the oldest row, or None when there is none."""
        return min((timestamp_ms(held[0]) for held in self._messages.values()), default=None)

    def next_runs(self, rows_max: int, bytes_max: int = BATCH_BYTES_MAX) -> list[Run]:
        """Return the next rows of all topics in the order in which they will be merged.

        They stay until `drop` is called: what does not fit one message is asked for anew, less.
        """
        counts = {topic: len(held) for topic, held in self._messages.items()}
        if self.rows > rows_max:
            counts = self._share(rows_max)
        each = bytes_max // max(1, len(counts))
        self._next = {t: _fitting(self._messages[t], n, each) for t, n in counts.items()}
        return [
            _run(topic, self._log_ids[topic], self._messages[topic][:count])
            for topic, (count, _) in self._next.items()
        ]

    def drop(self) -> None:
        """Forget what `next_runs` returned last."""
        for topic, (count, size) in self._next.items():
            held = self._messages[topic]
            self.rows -= count
            self.bytes -= size
            if count == len(held):
                del self._messages[topic]
            else:
                del held[:count]
        self._next.clear()

    def _share(self, rows_max: int) -> dict[str, int]:
        """Return how many of each topic are among the first `rows_max` by time."""
        if len(self._messages) == 1:
            return dict.fromkeys(self._messages, rows_max)
        topics = sorted(self._messages)
        times = [
            np.maximum.accumulate([timestamp_ms(m) for m in self._messages[topic][:rows_max]])
            for topic in topics
        ]
        which = np.repeat(np.arange(len(topics)), [len(t) for t in times])
        first = np.argsort(np.concatenate(times), kind="stable")[:rows_max]
        counts = np.bincount(which[first], minlength=len(topics)).tolist()
        return {topic: count for topic, count in zip(topics, counts, strict=True) if count}


def _fitting(held: list[Message], count: int, bytes_max: int) -> tuple[int, int]:
    """Return how many of the first `count` stay below `bytes_max`, one always, and their bytes."""
    sizes = np.fromiter(map(len, held[:count]), np.int64, count).cumsum()
    fits = max(1, int(np.searchsorted(sizes, bytes_max, side="right")))
    return fits, int(sizes[fits - 1])


def _run(topic: str, log_id: str, messages: list[Message]) -> Run:
    return Run(
        topic,
        log_id,
        [m.offset() for m in messages],
        [m.value() for m in messages],
        Field(messages, timestamp_ms),
        Field(messages, Message.key),
        {i: held for i, m in enumerate(messages) if (held := m.headers())},
    )
