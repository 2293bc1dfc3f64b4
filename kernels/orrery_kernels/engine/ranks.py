"""Windows that know the rank of their newest value."""

from __future__ import annotations

from types import SimpleNamespace

from orrery_kernels.engine.order import (
    block_shift,
    blocks,
    ordered_below,
    ordered_get,
    ordered_push,
)
from orrery_kernels.engine.spec import Ring, Size, Struct, i64, ring, struct
from orrery_kernels.engine.step import inline

COUNTED = 1024  # values up to which ranks are counted


def ranked(size: Size) -> Struct:
    """Return the layout of a window that knows the rank of its newest value.

    Up to COUNTED values they are counted, which is quicker than keeping them in order.
    """
    length = Ring(size).length

    def kept(p: SimpleNamespace) -> int:
        return length(p) if length(p) > COUNTED else 0

    return struct(
        n=i64,
        at=i64,
        shift=i64,
        block=i64,
        ring=ring(size),
        starts=ring(lambda p: blocks(kept(p)) if kept(p) else 1, i64),
        sorted=ring(lambda p: blocks(kept(p)) << block_shift(kept(p)) if kept(p) else 1),
    )


@inline
def ranked_push(w, x, size):
    """Fold x in and return (how many values are below x, how many equal it: itself at least)."""
    below = 0
    equal = 0
    if size <= COUNTED:
        w.ring[w.at] = x
        w.at = w.at + 1 if w.at + 1 < size else 0
        w.n = w.n + 1 if w.n < size else w.n
        for i in range(w.n):
            below += 1 if w.ring[i] < x else 0
            equal += 1 if w.ring[i] == x else 0
    else:
        ordered_push(w, x, size)
        below = ordered_below(w, x)
        for k in range(below, w.n):
            if ordered_get(w, k) > x:
                break
            equal += 1
    return below, equal
