"""Which partition a symbol lives on: Kafka's default partitioner, murmur2 of the key's bytes."""

from functools import lru_cache

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_SYMBOLS_REMEMBERED = 1 << 17


def murmur2(data: bytes) -> int:
    """Return the 32-bit murmur2 of `data`, as Java's Kafka client computes it (Appleby, 2008).

    >>> hex(murmur2(b"21"))
    '0xc5f2f8ec'
    """
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=_SYMBOLS_REMEMBERED)
def partition_of(symbol: str, partitions: int) -> int:
    """Return the partition, 0 <= p < partitions, on which every row of `symbol` belongs.

    >>> partition_of("AAPL.XNAS", 1)
    0
    """
    return (murmur2(symbol.encode()) & 0x7FFFFFFF) % partitions
