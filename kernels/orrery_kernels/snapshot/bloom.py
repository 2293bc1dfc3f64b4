"""A Bloom filter (Bloom, 1970): "could one of these have changed?" without reading them.

No is certain; yes is wrong at most at the declared rate. The hash is BLAKE3, so that every node
makes the same filter of the same names.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.digest import digest, digest_all

_HEAD = struct.Struct("<4sIQ")
_TAG = b"BLM1"
_LN2 = 0.6931471805599453
BITS_MAX = 1 << 32


@dataclass(frozen=True)
class Bloom:
    """hashes: bits set per name; bits: the filter, packed; length: how many bits it has."""

    hashes: int
    length: int
    bits: bytes

    def might_hold(self, name: str) -> bool:
        """Return False when `name` was certainly not put in."""
        mask = self.bits
        return all(mask[at >> 3] >> (at & 7) & 1 for at in self._places(digest(name.encode())))

    def might_hold_any(self, names: Iterable[str]) -> bool:
        return any(self.might_hold(name) for name in names)

    def to_bytes(self) -> bytes:
        return _HEAD.pack(_TAG, self.hashes, self.length) + self.bits

    @classmethod
    def from_bytes(cls, data: bytes) -> "Bloom":
        if len(data) < _HEAD.size or data[:4] != _TAG:
            raise SnapshotError(f"a Bloom filter must begin with {_TAG!r}, was {data[:8]!r}")
        _, hashes, length = _HEAD.unpack_from(data)
        if len(data) != _HEAD.size + (length + 7) // 8 or not hashes:
            raise SnapshotError(f"a Bloom filter of {length} bits is not {len(data)} bytes long")
        return cls(hashes, length, data[_HEAD.size :])

    def _places(self, hashed: bytes) -> list[int]:
        # Two numbers stand for all hashes (Kirsch and Mitzenmacher, 2006).
        one, two = struct.unpack_from("<QQ", hashed)
        return [(one + i * (two | 1)) % (1 << 64) % self.length for i in range(self.hashes)]


def size_for(count: int, rate: float) -> tuple[int, int]:
    """Return (bits, hashes) for `count` names at a false-positive rate.

    >>> size_for(1000, 0.01)
    (9728, 7)
    """
    if not 0.0 < rate < 1.0:
        raise SnapshotError(f"a false-positive rate must be in (0, 1), was {rate}")
    # log2(1 / rate) by whole bits and a straight line between them: never below the true value.
    exponent, share = 0, rate
    while share < 0.5:
        share, exponent = share * 2.0, exponent + 1
    halvings = exponent + 2.0 * (1.0 - share)
    bits = max(64, ceil(count * halvings / _LN2))
    bits = -(-bits // 64) * 64
    if bits > BITS_MAX:
        raise SnapshotError(f"a Bloom filter must be under 512 MiB, {count} names need {bits} bits")
    return bits, max(1, round(halvings))


def bloom_of(names: Sequence[str], rate: float, capacity: int = 0) -> Bloom:
    """Return the filter over `names`, sized for at least `capacity` of them.

    >>> bloom_of(["quotes/A"], 0.01).might_hold("quotes/A")
    True
    """
    length, hashes = size_for(max(len(names), capacity, 1), rate)
    flags = np.zeros(length, np.uint8)
    if names:
        hashed = b"".join(digest_all([name.encode() for name in names]))
        words = np.frombuffer(hashed, "<u8").reshape(-1, 4)
        one, two = words[:, 0], words[:, 1] | np.uint64(1)
        for i in range(hashes):
            flags[(one + np.uint64(i) * two) % np.uint64(length)] = 1
    return Bloom(hashes, length, np.packbits(flags, bitorder="little").tobytes())
