"""A Bloom filter that grows by single keys: says which of many keys were never seen."""

import math
from collections.abc import Iterable


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
