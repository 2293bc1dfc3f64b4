"""The symbols of a state: a hash table in plain arrays that native code fills and Python reads."""

from __future__ import annotations

import numpy as np

from orrery_kernels.engine.program import native_call
from orrery_kernels.engine.words import Word

SYMBOLS_MAX = 1 << 28  # a bound of one's own: Chain.new_state(symbols_max=...)
_FIRST_CAPACITY = 64
_NAME_BYTES = 24  # room in the arena for each symbol, to begin with
_LINE = 64
_ENTRY_WORDS = 4  # of a slot: first and last 8 bytes of the name, number and length, rows seen
_ROWS_SEEN = 3


class Symbols:
    """Symbol -> record number, in order of first appearance, and the rows seen of each."""

    def __init__(self, control: np.ndarray, symbols_max: int = SYMBOLS_MAX):
        self.control, self.symbols_max = control, symbols_max
        self.address = control.ctypes.data
        self.capacity = 0
        self.arena = np.zeros(0, np.uint8)
        self.ends = np.zeros(1, np.int64)
        self.places = np.zeros(0, np.int64)
        self.entries = np.zeros((0, _ENTRY_WORDS), np.int64)
        self._names: list[str] = []
        self._index: dict[str, int] = {}
        self.grow(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return int(self.control[Word.SYMBOLS])

    @property
    def names(self) -> list[str]:
        """The symbols by record number."""
        self.sync()
        return self._names

    @property
    def index(self) -> dict[str, int]:
        self.sync()
        return self._index

    def sync(self) -> None:
        """Learn the names that native code has entered since."""
        for number in range(len(self._names), len(self)):
            name = self.arena[self.ends[number] : self.ends[number + 1]].tobytes().decode()
            self._names.append(name)
            self._index[name] = number

    def ticks(self) -> np.ndarray:
        """Return the rows seen, by record number."""
        return self.entries[self.places[: len(self)] // (8 * _ENTRY_WORDS), _ROWS_SEEN]

    def set_ticks(self, number: int, rows: int) -> None:
        self.entries[self.places[number] // (8 * _ENTRY_WORDS), _ROWS_SEEN] = rows

    def rows_of(self, number: int) -> int:
        """Return the rows seen of one symbol."""
        return int(self.entries[self.places[number] // (8 * _ENTRY_WORDS), _ROWS_SEEN])

    def add(self, name: str) -> int:
        """Return the record number of `name`, a fresh one when it is new; negative when full."""
        data = np.frombuffer(name.encode() + bytes(1), np.uint8)
        return native_call("insert")(self.address, data.ctypes.data, len(data) - 1)

    def is_full(self) -> bool:
        return len(self) == int(self.control[Word.CAPACITY])

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` symbols, and as much more for their names."""
        arena = np.zeros(max(2 * len(self.arena), capacity * _NAME_BYTES), np.uint8)
        arena[: len(self.arena)] = self.arena
        self.arena = arena
        self.control[Word.ARENA], self.control[Word.ARENA_SIZE] = arena.ctypes.data, len(arena)
        if capacity > self.capacity:
            self._more_slots(capacity)

    def _more_slots(self, capacity: int) -> None:
        self.ends = _grown(self.ends, capacity + 1)
        self.places = _grown(self.places, capacity)
        before, self.capacity = self.entries, capacity
        self._fresh_entries()
        c = self.control
        c[Word.NAME_ENDS], c[Word.PLACES] = self.ends.ctypes.data, self.places.ctypes.data
        c[Word.CAPACITY] = min(capacity, self.symbols_max)
        if len(self):
            native_call("rehash")(self.address, before.ctypes.data, len(self))

    def _fresh_entries(self) -> None:
        count = 4 * self.capacity
        block = np.zeros(count * _ENTRY_WORDS + _LINE // 8, np.int64)
        start = -block.ctypes.data % _LINE // 8
        self.entries = block[start : start + count * _ENTRY_WORDS].reshape(count, _ENTRY_WORDS)
        c = self.control
        c[Word.SLOTS], c[Word.SLOTS_MASK] = self.entries.ctypes.data, count - 1

    def clear(self) -> None:
        """Forget all symbols."""
        self.control[Word.SYMBOLS] = 0
        self._names.clear()
        self._index.clear()
        self.entries[:] = 0


def _grown(array: np.ndarray, length: int) -> np.ndarray:
    fresh = np.zeros(length, array.dtype)
    fresh[: len(array)] = array
    return fresh
