"""Blocks that results are written to, used again when Arrow lets go of them.

A fresh block costs more in page faults than the kernels that fill it. A block begins with a word
that is not 0 while Arrow holds it; the native `release` clears it.
"""

from __future__ import annotations

import ctypes
from collections import deque
from threading import Lock

import numpy as np

FREE_BYTES_MAX = 1 << 28  # kept for later; beyond it the largest free blocks go
_LOOKS_MAX = 8  # at blocks of a size, before a new one is made
_LINE = 64
_PAGE = 4096


class Block:
    """Memory on a cache line, with its busy word in front."""

    def __init__(self, size: int):
        self.size = size
        self.memory = np.empty(size + _LINE, np.uint8)
        start = -self.memory.ctypes.data % _LINE
        self.address = self.memory.ctypes.data + start
        self.words = memoryview(self.memory[start : start + size]).cast("B")[:16].cast("q")
        self.words[0] = 1


_blocks: dict[int, deque[Block]] = {}  # by size; the one looked at last is at the end
_fresh_bytes = 0  # allocated since the free blocks were last counted
_lock = Lock()
# Arrow may let go of a block while the interpreter shuts down: the blocks must outlive it.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_blocks))


def take(size: int) -> Block:
    """Return a block of at least `size` bytes that nobody holds, marked as held."""
    size = max(_PAGE, 1 << (size - 1).bit_length())  # what is not written to takes no memory
    with _lock:
        blocks = _blocks.setdefault(size, deque())
        for _ in range(min(len(blocks), _LOOKS_MAX)):
            block = blocks[0]
            blocks.rotate(-1)
            if block.words[0] == 0:
                block.words[0] = 1
                return block
        _make_room(size)
        block = Block(size)
        _blocks[size].append(block)
        return block


def _make_room(size: int) -> None:
    """Let free blocks go, the largest first, until no more than FREE_BYTES_MAX are left."""
    global _fresh_bytes
    _fresh_bytes += size
    if _fresh_bytes < FREE_BYTES_MAX // 4:
        return
    _fresh_bytes, kept = 0, 0
    for held in sorted(_blocks):
        free = [b for b in _blocks[held] if b.words[0] == 0]
        room = max(0, (FREE_BYTES_MAX - kept) // held)
        kept += held * min(room, len(free))
        gone = set(map(id, free[room:]))
        _blocks[held] = deque(b for b in _blocks[held] if id(b) not in gone)
