"""Plain functions of the memo: a Bloom filter over keys, and what a path asks for."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from ..protocol import stages

PARTS_OF_A_RUN_PATH = 2


class BloomFilter:
    """Says "never seen" for sure, "seen" with a stated rate of error (Bloom, 1970).

    Keys are blake3 digests in hex: their bits are uniform already, so the positions are taken from
    them by double hashing (Kirsch, Mitzenmacher, 2006) and are the same on every machine.

    >>> seen = BloomFilter(1000, 0.01)
    >>> seen.add("ab" * 32)
    >>> ("ab" * 32 in seen, "cd" * 32 in seen)
    (True, False)
    """

    def __init__(self, capacity: int, error_rate: float) -> None:
        if capacity < 1 or not 0 < error_rate < 1:
            raise ValueError(
                "a Bloom filter needs capacity >= 1 and an error rate in (0, 1), "
                f"was {capacity}, {error_rate}"
            )
        self.capacity = capacity
        self.bits = max(8, math.ceil(-capacity * math.log(error_rate) / math.log(2) ** 2))
        self.hashes = max(1, round(self.bits / capacity * math.log(2)))
        self.count = 0
        self._field = bytearray((self.bits + 7) // 8)

    def _positions(self, key: str) -> Iterable[int]:
        first, second = int(key[:16], 16), int(key[16:32], 16) | 1
        return ((first + i * second) % self.bits for i in range(self.hashes))

    def add(self, key: str) -> None:
        for position in self._positions(key):
            self._field[position >> 3] |= 1 << (position & 7)
        self.count += 1

    def __contains__(self, key: str) -> bool:
        return all(self._field[p >> 3] & 1 << (p & 7) for p in self._positions(key))

    @property
    def full(self) -> bool:
        """More keys than it was sized for: the rate of error is no longer the stated one."""
        return self.count > self.capacity


class Question(NamedTuple):
    """What a path asks for."""

    kind: str
    slot: str = ""
    run: str = ""
    stage: int = 0
    key: str = ""


def parse_path(path: str) -> Question | None:
    """Return what a path asks for, None when nothing answers it.

    >>> parse_path("/v1/slots/a/done")
    Question(kind='slot', slot='a', run='', stage=0, key='')
    >>> parse_path("/v1/runs/../1") is None
    True
    """
    parts = path.split("?", 1)[0].strip("/").split("/")
    match parts:
        case ["healthz"] | ["metrics"]:
            return Question(parts[0])
        case ["v1", "slots", slot, "done"] if slot in stages.SLOTS:
            return Question("slot", slot=slot)
        case ["v1", "runs", run, stage] if stages.is_run_name(run) and _is_number(stage):
            return Question("run", run=run, stage=int(stage))
        case ["v1", "memo", key] if stages.is_digest(key):
            return Question("memo", key=key)
        case ["v1", "fetch"] | ["v1", "flush"]:
            return Question(parts[1])
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def is_wish(body: object) -> bool:
    """Whether a body of /v1/fetch names a place in the scratch and the digest to put there."""
    return (
        isinstance(body, dict)
        and stages.is_run_name(str(body.get("run", "")))
        and type(body.get("stage")) is int
        and body["stage"] >= 0
        and stages.is_digest(body.get("digest"))
    )


def fetched_marker(body: dict) -> stages.Marker:
    """Return the marker of a stage whose output came from the memo instead of from computing."""
    return {
        "token": str(body.get("token", "")),
        "key": str(body.get("key", "")),
        "inputs": [text for text in body.get("inputs", []) if stages.is_digest(text)],
        "reused": True,
        "peak_rss_bytes": 0,
        "run_ms": 0.0,
    }
