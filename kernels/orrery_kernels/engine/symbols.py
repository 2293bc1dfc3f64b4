"""The symbols of a state: a hash table in plain arrays that native code fills and Python reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from orrery_kernels.engine.native import NEEDS_ROOM, Word
from orrery_kernels.engine.program import native_call

_FIRST_CAPACITY = 64
_NAME_BYTES = 24  # room in the arena for each symbol, to begin with


class Symbols:
    """Symbol -> record number, in order of first appearance."""

    def __init__(self, control: np.ndarray):
        self.control = control
        self.address = control.ctypes.data
        self.capacity = 0
        self.arena = np.zeros(0, np.uint8)
        self.ends = np.zeros(1, np.int64)
        self.keys = np.zeros((0, 3), np.int64)
        self.ticks = np.zeros(0, np.int64)  # rows seen, per symbol
        self.dirty = np.zeros(0, np.bool_)
        self._names: list[str] = []
        self._index: dict[str, int] = {}
        self.grow(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return int(self.control[Word.SYMBOLS])

    @property
    def names(self) -> list[str]:
        """The symbols by record number."""
        self._sync()
        return self._names

    @property
    def index(self) -> dict[str, int]:
        self._sync()
        return self._index

    def _sync(self) -> None:
        for number in range(len(self._names), len(self)):
            name = self.arena[self.ends[number] : self.ends[number + 1]].tobytes().decode()
            self._names.append(name)
            self._index[name] = number

    def add(self, name: str) -> int:
        """Return the record number of `name`, a fresh one when it is new; NEEDS_ROOM when full."""
        data = np.frombuffer(name.encode() + bytes(1), np.uint8)
        offsets = np.array([0, len(data) - 1], np.int32)
        return native_call("insert")(self.address, offsets.ctypes.data, data.ctypes.data)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` symbols (and as much more for their names)."""
        arena = np.zeros(max(2 * len(self.arena), capacity * _NAME_BYTES), np.uint8)
        arena[: len(self.arena)] = self.arena
        self.arena = arena
        if capacity > self.capacity:
            self.keys = _grown(self.keys, capacity)
            self.ends = _grown(self.ends, capacity + 1)
            self.ticks = _grown(self.ticks, capacity)
            self.dirty = _grown(self.dirty, capacity)
            self.capacity = capacity
            self._rehash()
        self._point()

    def _rehash(self) -> None:
        self.slots = np.zeros(2 * self.capacity, np.int32)
        c = self.control
        c[Word.SLOTS], c[Word.SLOTS_MASK] = self.slots.ctypes.data, len(self.slots) - 1
        c[Word.KEYS] = self.keys.ctypes.data
        if len(self):
            native_call("rehash")(self.address, 0, len(self))

    def _point(self) -> None:
        c = self.control
        c[Word.NAME_ENDS], c[Word.ARENA] = self.ends.ctypes.data, self.arena.ctypes.data
        c[Word.ARENA_SIZE], c[Word.CAPACITY] = len(self.arena), self.capacity
        c[Word.TICKS], c[Word.DIRTY] = self.ticks.ctypes.data, self.dirty.ctypes.data

    def is_full(self) -> bool:
        return len(self) == self.capacity

    def clear(self) -> None:
        """Forget all symbols."""
        self.control[Word.SYMBOLS] = 0
        self._names, self._index = [], {}
        self.slots[:] = 0
        self.ticks[:] = 0
        self.dirty[:] = False


def _grown(array: np.ndarray, length: int) -> np.ndarray:
    fresh: Any = np.zeros((length, *array.shape[1:]), array.dtype)
    fresh[: len(array)] = array
    return fresh


__all__ = ["NEEDS_ROOM", "Symbols"]
