"""The state of a chain: for each kernel an array of fixed records, one per symbol.

The bytes of a symbol's record are a pure function of that symbol's ticks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orrery_kernels.engine.spec import at_least_one
from orrery_kernels.engine.symbols import SYMBOLS_MAX, Symbols
from orrery_kernels.engine.words import WORDS
from orrery_kernels.errors import ParameterError, StateError
from orrery_kernels.partition import partition_of

_MAGIC = b"ORK1"
_FIRST_CAPACITY = 64
_LINE = 64  # bytes; records start on cache lines
_EVICTED_OF = 16  # one symbol in so many goes when a state is full
_SHOWN = 3  # names in an error


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

    def __init__(
        self,
        digest: bytes,
        sizes: Sequence[tuple[int, int]],
        symbols_max: int = SYMBOLS_MAX,
        when_full: str = "refuse",
        on_evict: Callable[[bytes], object] | None = None,
    ):
        symbols_max = at_least_one("symbols_max", symbols_max)
        if when_full not in ("refuse", "evict"):
            raise ParameterError(f"when_full must be 'refuse' or 'evict', was {when_full!r}")
        self.digest, self.evicts, self.on_evict = digest, when_full == "evict", on_evict
        self.control = np.zeros(WORDS, np.int64)
        self.table = Symbols(self.control, symbols_max)
        self.evicted = 0  # symbols given away by `evict`, asked for or because it was full
        self.clock = 0  # rows with a symbol so far; what follows is kept only where `evicts`
        self.last = np.zeros(0, np.int64)  # and of each symbol the clock at its newest row
        self.records = [Records(used, stride) for used, stride in sizes]
        self.version = 0  # changes when records have moved
        self.clean = np.zeros(0, np.int64)  # rows seen of each symbol when last cleared
        self.session: Any = None  # what runs batches over this state

    @property
    def rows(self) -> int:
        """Rows folded so far."""
        return int(self.table.ticks().sum())

    @property
    def skipped(self) -> np.ndarray:
        """Rows skipped for a null, NaN or infinite input, per kernel, since this state was made."""
        return (
            np.zeros(len(self.records), np.int64)
            if self.session is None
            else self.session.skipped()
        )

    @property
    def names(self) -> list[str]:
        """Symbols by record number, in order of first appearance."""
        return self.table.names

    @property
    def symbols(self) -> list[str]:
        return sorted(self.names)

    def id_of(self, symbol: str) -> int:
        """Return the record number of `symbol`, giving it a fresh record when it is new."""
        number = self.table.add(symbol)
        while number < 0:
            self.make_room()
            number = self.table.add(symbol)
        return number

    def make_room(self) -> None:
        """Double the room for symbols, or for their names when it is these that are full."""
        if not self.table.is_full():
            self.table.grow(self.table.capacity)
            return
        if len(self.table) == self.table.symbols_max:
            if self.evicts:
                self._evict_stalest()
                return
            raise StateError(
                f"a state must hold at most {self.table.symbols_max} symbols (symbols_max), another"
                " came; nothing of the batch was folded: evict some, state.evict(state.idlest(n)),"
                " or make the state with when_full='evict'"
            )
        capacity = 2 * self.table.capacity
        self.table.grow(capacity)
        for records in self.records:
            records.grow(capacity)
        self.version += 1

    def _evict_stalest(self) -> None:
        """Evict a share of the symbols: those whose newest row is the longest ago."""
        count = max(1, len(self.table) // _EVICTED_OF)
        oldest = np.argsort(self.last[: len(self.table)])[:count].tolist()
        going = [self.names[number] for number in oldest]
        if self.on_evict is not None:
            self._hand_over(going, self.on_evict)
        self.evict(going)
        self.version += 1

    def _hand_over(self, going: Sequence[str], on_evict: Callable[[bytes], object]) -> None:
        """Give the packed state of `going` away; they stay where it is not taken."""
        try:
            on_evict(self._pack(sorted(map(self.table.index.__getitem__, going))))
        except Exception as error:
            shown = ", ".join(sorted(going)[:_SHOWN]) + (", ..." if len(going) > _SHOWN else "")
            raise StateError(
                f"on_evict must take the state of symbols that go, raised {error!r} for {shown};"
                " nothing of the batch was folded: it can be given again"
            ) from error

    def mark(self) -> tuple[Any, ...]:
        """Return what `back_to` needs to forget all that comes after."""
        n = len(self.table)
        numbers = (self.clock, self.evicted)
        kept = [r.rows[:n].copy() for r in self.records]
        return [*self.names], self.table.ticks(), self.last[:n].copy(), self.clean, numbers, kept

    def back_to(self, mark: tuple[Any, ...]) -> None:
        """Be what this was at `mark`."""
        names, ticks, last, clean, numbers, kept = mark
        self.table.clear()
        for name, rows in zip(names, ticks.tolist(), strict=True):
            self.table.set_ticks(self.table.add(name), rows)
        for records, rows in zip(self.records, kept, strict=True):
            records.rows[: len(names)], records.rows[len(names) :] = rows, 0
        self.last[: len(last)], self.clean = last, clean
        self.clock, self.evicted = numbers
        self.version += 1

    def saw(self, ids: np.ndarray) -> None:
        """Note that the symbols `ids` have had rows, in that order; negative: none."""
        ids = ids[ids >= 0]
        self._room_for_last()
        self.last[ids] = np.arange(self.clock, self.clock + len(ids))  # of equal ids the newest
        self.clock += len(ids)

    def _room_for_last(self) -> None:
        if len(self.last) < self.table.capacity:
            more = np.zeros(self.table.capacity - len(self.last), np.int64)
            self.last = np.concatenate([self.last, more])

    def record(self, number: int) -> bytes:
        """Return one symbol's state: rows seen, then each kernel's record in order.

        Where the state evicts, the clock at its newest row comes after the rows seen.
        """
        parts = [struct.pack("<q", self.table.rows_of(number))]
        if self.evicts:
            parts.append(struct.pack("<q", self.last[number]))
        parts += [r.rows[number, : r.used].tobytes() for r in self.records]
        return b"".join(parts)

    @property
    def record_bytes(self) -> int:
        return 8 + 8 * self.evicts + sum(r.used for r in self.records)

    def leaves(self) -> tuple[list[str], list[bytes]]:
        """Return the symbols, sorted, and the state of each."""
        symbols = self.symbols
        return symbols, [self.record(self.table.index[s]) for s in symbols]

    def table_of_records(self) -> tuple[list[str], np.ndarray]:
        """Return the symbols in order of first appearance and their records as uint8[n, bytes]."""
        count = len(self.names)
        ticks = self.table.ticks()[:count].astype("<i8").view(np.uint8).reshape(count, 8)
        parts = [ticks, *(r.rows[:count, : r.used] for r in self.records)]
        return list(self.names), np.concatenate(parts, axis=1)

    def buckets(self, n: int = 256) -> dict[int, bytes]:
        """Return the state by bucket of the symbol's hash; empty buckets are left out."""
        return self._buckets(n, range(len(self.names)))

    def dirty_buckets(self, n: int = 256) -> dict[int, bytes]:
        """Return the buckets in which a symbol had a row since `clear_dirty` or its `restore`."""
        seen = self.table.ticks()
        seen[: len(self.clean)] -= self.clean
        touched = np.flatnonzero(seen)
        changed = {partition_of(self.names[i], n) for i in touched.tolist()}
        members = [i for i, s in enumerate(self.names) if partition_of(s, n) in changed]
        return self._buckets(n, members)

    def clear_dirty(self) -> None:
        """Count as changed only what changes from now on."""
        self.clean = self.table.ticks()

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
        """Add the symbols of `buckets`; StateError if of another chain or held already."""
        before, mark = len(self.table), self.mark() if self.evicts else None
        clean = np.concatenate([self.clean, np.zeros(before - len(self.clean), np.int64)])
        try:
            for bucket in sorted(buckets):
                self._unpack(buckets[bucket], f"bucket {bucket}")
        except StateError:
            if mark is None:
                self.drop(self.names[before:])  # all of it or nothing
            else:
                self.back_to(mark)
            raise
        self.clean = np.concatenate([clean, self.table.ticks()[before:]])

    def _unpack(self, data: bytes, place: str) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise StateError(f"state must be bytes, was {type(data).__name__} ({place})")
        if bytes(data[:4]) != _MAGIC or len(data) < 44:
            raise StateError(
                f"state must begin with {_MAGIC!r} and have 44 bytes or more,"
                f" was {len(data)} bytes {bytes(data[:8])!r} ({place})"
            )
        if data[4:36] != self.digest:
            raise StateError(
                f"state must be of chain {self.digest.hex()[:16]}, was of {data[4:36].hex()[:16]}"
                f" ({place}); start that chain instead, or replay the ticks"
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
        try:
            name = bytes(data[at + 4 : end]).decode()
        except UnicodeDecodeError:
            raise StateError(f"a symbol must be UTF-8, was not at byte {at} ({place})") from None
        if name in self.table.index:
            raise StateError(f"{name} is held already; restore into a new state ({place})")
        number = self.id_of(name)
        self.table.set_ticks(number, struct.unpack_from("<q", data, end)[0])
        at = end + 8
        if self.evicts:
            self._room_for_last()
            self.last[number] = struct.unpack_from("<q", data, at)[0]
            self.clock = max(self.clock, int(self.last[number]) + 1)
            at += 8
        for r in self.records:
            r.rows[number, : r.used] = np.frombuffer(data, np.uint8, r.used, at)
            at += r.used
        return at

    def idlest(self, n: int) -> list[str]:
        """Return the n symbols with the fewest rows so far, ties by name: what to evict first."""
        rows = dict(zip(self.names, self.table.ticks().tolist(), strict=True))
        return sorted(rows, key=lambda name: (rows[name], name))[:n]

    def evict(self, symbols: Sequence[str]) -> bytes:
        """Return the packed state of `symbols` and forget them (`restore` brings them back).

        Done on its own only where `when_full` is "evict": at the row that brings one symbol too
        many, and so at the same row however the stream is cut.
        """
        index = self.table.index
        unknown = [symbol for symbol in symbols if symbol not in index]
        if unknown or len(set(symbols)) < len(symbols):
            raise ParameterError(
                "symbols to evict must be held, each once,"
                f" was {', '.join(map(repr, unknown or symbols))}"
            )
        packed = self._pack(sorted((index[s] for s in symbols), key=self.names.__getitem__))
        self.drop(symbols)
        self.evicted += len(symbols)
        return packed

    def drop(self, symbols: Sequence[str]) -> None:
        """Forget `symbols`; the records of the others close up."""
        gone = {self.table.index[s] for s in symbols}
        kept = [(n, self.names[n]) for n in range(len(self.table)) if n not in gone]
        order = np.array([n for n, _ in kept], np.int64)
        ticks = self.table.ticks()
        clean = np.concatenate([self.clean, np.zeros(len(ticks) - len(self.clean), np.int64)])
        for r in self.records:
            r.rows[: len(kept)] = r.rows[order]
            r.rows[len(kept) :] = 0
        self.table.clear()
        for number, (before, name) in enumerate(kept):
            self.table.set_ticks(self.id_of(name), int(ticks[before]))
            assert self.table.index[name] == number
        self.clean = clean[order]
        if self.evicts:
            self.last[: len(kept)] = self.last[order]
