"""The state of a chain: for each kernel an array of fixed records, one per symbol.

The bytes of a symbol's record are a pure function of that symbol's ticks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orrery_kernels.errors import StateError
from orrery_kernels.partition import partition_of

_MAGIC = b"ORK1"
_FIRST_CAPACITY = 64
_LINE = 64  # bytes; records start on cache lines


class Records:
    """One kernel's records: `stride` bytes a symbol, of which the first `used` carry state."""

    def __init__(self, used: int, stride: int):
        self.used, self.stride, self.capacity = used, stride, 0
        self.grow(_FIRST_CAPACITY)

    def grow(self, capacity: int) -> None:
        block = np.zeros(capacity * self.stride + _LINE, np.uint8)
        start = -block.ctypes.data % _LINE
        fresh = block[start : start + capacity * self.stride].reshape(capacity, self.stride)
        if self.capacity:
            fresh[: self.capacity] = self.rows
        self.block, self.rows, self.capacity = block, fresh, capacity
        self.address = fresh.ctypes.data


class ChainState:
    """State of all symbols of one chain, fed in the order of the log."""

    def __init__(self, digest: bytes, sizes: Sequence[tuple[int, int]]):
        self.digest = digest
        self.records = [Records(used, stride) for used, stride in sizes]
        self.names: list[str] = []
        self.index: dict[str, int] = {}
        self.ticks = np.zeros(_FIRST_CAPACITY, np.int64)  # rows seen, per symbol
        self.dirty = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.skipped = np.zeros(len(sizes), np.int64)

    @property
    def rows(self) -> int:
        """Rows folded so far."""
        return int(self.ticks[: len(self.names)].sum())

    @property
    def symbols(self) -> list[str]:
        return sorted(self.names)

    def id_of(self, symbol: str) -> int:
        """Return the number of `symbol`, giving it a fresh record when it is new."""
        found = self.index.get(symbol)
        if found is not None:
            return found
        number = len(self.names)
        if number == len(self.ticks):
            self._grow(2 * number)
        self.index[symbol] = number
        self.names.append(symbol)
        return number

    def _grow(self, capacity: int) -> None:
        for records in self.records:
            records.grow(capacity)
        self.ticks = np.concatenate([self.ticks, np.zeros(capacity - len(self.ticks), np.int64)])
        self.dirty = np.concatenate([self.dirty, np.zeros(capacity - len(self.dirty), np.bool_)])

    def record(self, number: int) -> bytes:
        """Return one symbol's state: rows seen, then each kernel's record in the order of the chain."""
        parts = [struct.pack("<q", self.ticks[number])]
        parts += [r.rows[number, : r.used].tobytes() for r in self.records]
        return b"".join(parts)

    @property
    def record_bytes(self) -> int:
        return 8 + sum(r.used for r in self.records)

    def leaves(self) -> tuple[list[str], list[bytes]]:
        """Return the symbols, sorted, and the state of each."""
        symbols = self.symbols
        return symbols, [self.record(self.index[s]) for s in symbols]

    def buckets(self, n: int = 256) -> dict[int, bytes]:
        """Return the state by bucket of the symbol's hash; empty buckets are left out."""
        return self._buckets(n, range(len(self.names)))

    def dirty_buckets(self, n: int = 256) -> dict[int, bytes]:
        """Return the buckets in which a symbol had a row since `clear_dirty`."""
        touched = np.flatnonzero(self.dirty[: len(self.names)])
        changed = {partition_of(self.names[i], n) for i in touched.tolist()}
        members = [i for i, s in enumerate(self.names) if partition_of(s, n) in changed]
        return self._buckets(n, members)

    def clear_dirty(self) -> None:
        self.dirty[:] = False

    def to_bytes(self) -> bytes:
        """Return the state of all symbols as one canonical piece."""
        return self._pack(sorted(range(len(self.names)), key=self.names.__getitem__))

    def _buckets(self, n: int, members: Sequence[int] | range) -> dict[int, bytes]:
        grouped: dict[int, list[int]] = {}
        for number in sorted(members, key=self.names.__getitem__):
            grouped.setdefault(partition_of(self.names[number], n), []).append(number)
        return {b: self._pack(numbers) for b, numbers in sorted(grouped.items())}

    def _pack(self, numbers: Sequence[int]) -> bytes:
        parts = [_MAGIC, self.digest, struct.pack("<II", len(numbers), self.record_bytes)]
        for number in numbers:
            name = self.names[number].encode()
            parts += [struct.pack("<I", len(name)), name, self.record(number)]
        return b"".join(parts)

    def restore(self, buckets: Mapping[int, bytes]) -> None:
        """Add the symbols of `buckets`; StateError when they belong to another chain or are held already."""
        for bucket in sorted(buckets):
            self._unpack(buckets[bucket], f"bucket {bucket}")

    def _unpack(self, data: bytes, place: str) -> None:
        if data[:4] != _MAGIC or len(data) < 44:
            raise StateError(f"state must begin with {_MAGIC!r}, was {bytes(data[:4])!r} ({place})")
        if data[4:36] != self.digest:
            raise StateError(
                f"state must be of chain {self.digest.hex()[:16]}, was of {data[4:36].hex()[:16]} ({place});"
                " start that chain instead, or replay the ticks"
            )
        count, size = struct.unpack_from("<II", data, 36)
        at = 44
        for _ in range(count):
            at = self._unpack_symbol(data, at, size, place)
        if at != len(data):
            raise StateError(f"state must be {at} bytes long, was {len(data)} ({place})")

    def _unpack_symbol(self, data: bytes, at: int, size: int, place: str) -> int:
        end = at + 4 + (struct.unpack_from("<I", data, at)[0] if at + 4 <= len(data) else 0)
        if size != self.record_bytes or end + size > len(data):
            raise StateError(f"state is cut short or of another layout at byte {at} ({place})")
        name = bytes(data[at + 4 : end]).decode()
        if name in self.index:
            raise StateError(f"{name} is held already; restore into a new state ({place})")
        number = self.id_of(name)
        self.ticks[number] = struct.unpack_from("<q", data, end)[0]
        at = end + 8
        for r in self.records:
            r.rows[number, : r.used] = np.frombuffer(data, np.uint8, r.used, at)
            at += r.used
        return at

    def evict(self, symbols: Sequence[str]) -> Any:
        """Return the packed state of `symbols` and forget them (restore brings them back)."""
        packed = self._pack(sorted((self.index[s] for s in symbols), key=self.names.__getitem__))
        gone = set(symbols)
        kept = [i for i, s in enumerate(self.names) if s not in gone]
        self._keep(kept)
        return packed

    def _keep(self, kept: Sequence[int]) -> None:
        order = np.array(kept, np.int64)
        for r in self.records:
            r.rows[: len(kept)] = r.rows[order]
            r.rows[len(kept) :] = 0
        for column in (self.ticks, self.dirty):
            column[: len(kept)] = column[order]
            column[len(kept) :] = 0
        self.names = [self.names[i] for i in kept]
        self.index = {s: i for i, s in enumerate(self.names)}
