"""The cuts that the log asks for: read by every packer, whatever it packs."""

from array import array
from bisect import bisect_right
from collections.abc import Sequence

import structlog
from confluent_kafka import Message

from ..protocol import cuts, vectors

HELD_MAX = 1_000_000  # 16 bytes each; beyond that the oldest are forgotten
log = structlog.get_logger()


class Cuts:
    """Numbers and times of the cuts that count, in order."""

    def __init__(self) -> None:
        self.offset = 0  # of the topic, to be read next
        self._numbers, self._times_ns = array("q"), array("q")

    def add(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.offset() < self.offset:
                continue  # read again after a seek
            self.offset = message.offset() + 1
            try:
                cut = cuts.decode(message.value())
            except ValueError as cause:
                log.warning("no cut", offset=message.offset(), reason=str(cause))
                continue
            if cuts.counts(self._numbers[-1] if self._numbers else 0, cut):
                self._numbers.append(cut.number)
                self._times_ns.append(cut.at_ns)
        if (over := len(self._numbers) - HELD_MAX) > 0:
            del self._numbers[:over], self._times_ns[:over]

    def behind(self, vector: vectors.Vector) -> tuple[int, int] | None:
        """Return number and time of the first cut that a partition has not made."""
        at = bisect_right(self._numbers, vector.get(vectors.CUT, 0))
        return (self._numbers[at], self._times_ns[at]) if at < len(self._numbers) else None
