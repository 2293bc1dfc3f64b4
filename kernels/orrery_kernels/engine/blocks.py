"""Blocks that results are written to, used again when Arrow lets go of them.

A fresh block costs more in page faults than the kernels that fill it. A block begins with a word
that is not 0 while Arrow holds it; the native `release` clears it.
"""

from __future__ import annotations

import ctypes
from threading import Lock

import numpy as np

FREE_BYTES_MAX = 1 << 28  # kept for later; beyond it the largest free blocks go
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


_blocks: list[Block] = []
_lock = Lock()
# Arrow may let go of a block while the interpreter shuts down: the list must outlive it.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_blocks))


def take(size: int) -> Block:
    """Return a block of at least `size` bytes that nobody holds, marked as held."""
    with _lock:
        for block in _blocks:
            if block.size >= size and block.words[0] == 0 and block.size <= 8 * size + _PAGE:
                block.words[0] = 1
                return block
        _trim()
        block = Block(-(-size // _PAGE) * _PAGE if size > _PAGE else _PAGE)
        _blocks.append(block)
        return block


def _trim() -> None:
    free = sorted((b for b in _blocks if b.words[0] == 0), key=lambda b: b.size)
    total = sum(b.size for b in free)
    while free and total > FREE_BYTES_MAX:
        gone = free.pop()
        total -= gone.size
        _blocks.remove(gone)
