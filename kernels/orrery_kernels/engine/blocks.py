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
OWN_BYTES_MAX = 1 << 14  # blocks so small may be kept by one taker, who then needs no lock
_LOOKS_MAX = 8  # at blocks of a size, before a new one is made
_LINE = 64
_PAGE = 4096


class Block:
    """Memory on a cache line. In front: held by Arrow, scratch, kept by one taker."""

    def __init__(self, size: int):
        self.size = size
        self.memory = np.empty(size + _LINE, np.uint8)
        start = -self.memory.ctypes.data % _LINE
        self.address = self.memory.ctypes.data + start
        self.words = memoryview(self.memory[start : start + size]).cast("B")[:24].cast("q")
        self.words[0], self.words[2] = 1, 0


_blocks: dict[int, deque[Block]] = {}  # by size; the one looked at last is at the end
_fresh_bytes = 0  # allocated since the free blocks were last counted
_lock = Lock()
# Arrow may let go of a block while the interpreter shuts down: the blocks must outlive it.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_blocks))


def take(size: int) -> Block:
    """Return a block of at least `size` bytes that nobody holds, marked as held."""
    size = _rounded(size)
    with _lock:
        blocks = _blocks.setdefault(size, deque())
        for _ in range(min(len(blocks), _LOOKS_MAX)):
            block = blocks[0]
            blocks.rotate(-1)
            if block.words[0] == block.words[2] == 0:
                block.words[0] = 1
                return block
        _make_room(size)
        block = Block(size)
        _blocks[size].append(block)
        return block


def _rounded(size: int) -> int:
    return max(_PAGE, 1 << (size - 1).bit_length())  # what is not written to takes no memory


class Own:
    """Two blocks of a size for one taker, who calls from one thread at a time.

    Two, because what was returned last is mostly still held when the next is made. The pool holds
    their memory all the while, and has them back when this goes.
    """

    def __init__(self, size: int):
        self.size = _rounded(size)
        self.blocks = [take(size), take(size)] if self.size <= OWN_BYTES_MAX else []
        for block in self.blocks:
            block.words[0], block.words[2] = 0, 1

    def fits(self, size: int) -> bool:
        return _rounded(size) == self.size

    def take(self) -> Block:
        for block in self.blocks:
            words = block.words
            if words[0] == 0:
                words[0] = 1
                return block
        return take(self.size)

    def __del__(self) -> None:
        for block in self.blocks:
            block.words[2] = 0


def _make_room(size: int) -> None:
    """Let free blocks go, the largest first, until no more than FREE_BYTES_MAX are left."""
    global _fresh_bytes
    _fresh_bytes += size
    if _fresh_bytes < FREE_BYTES_MAX // 4:
        return
    _fresh_bytes, kept = 0, 0
    for held in sorted(_blocks):
        free = [b for b in _blocks[held] if b.words[0] == b.words[2] == 0]
        room = max(0, (FREE_BYTES_MAX - kept) // held)
        kept += held * min(room, len(free))
        gone = set(map(id, free[room:]))
        _blocks[held] = deque(b for b in _blocks[held] if id(b) not in gone)
