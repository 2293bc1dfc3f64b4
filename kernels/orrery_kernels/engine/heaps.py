"""Windows that know one quantile: two heaps that meet at it, O(log size) a tick."""

from __future__ import annotations

from orrery_kernels.engine.functions import floor
from orrery_kernels.engine.spec import Size, Struct, i64, ring, struct
from orrery_kernels.engine.step import inline, pure

_LEVELS_MAX = 40  # of a heap: windows have at most a million values


def split(size: Size) -> Struct:
    """Return the layout of a window split at a quantile.

    The low values are a heap with the highest on top, which grows from the left of `heap`; the
    others one with the lowest on top, which grows from the right. Both hold places in `values`;
    `places` says where in its heap each value is, from 1 on, and below 0 in the high one.
    """
    return struct(
        n=i64, at=i64, low=i64, values=ring(size), places=ring(size, i64), heap=ring(size, i64)
    )


@pure
def _half(i):
    return i >> 1


@inline
def split_push(w, x, size, q):
    """Fold x in place of the oldest value; q is the quantile, the same for every tick.

    Only one value can be on the wrong side then, and it is on top: one exchange puts it right.
    """
    slot = w.at
    w.at = w.at + 1 if w.at + 1 < size else 0
    place = w.places[slot]
    if w.n < size:
        w.n += 1
        low = int(floor(q * (w.n - 1))) + 1
        place = low if low > w.low else w.low - w.n
        w.low = low
        w.heap[place - 1 if place > 0 else size + place] = slot
    w.values[slot] = x
    for turn in range(3):
        _settle(w, size, place)
        if turn == 2 or w.n == w.low:
            break
        if turn == 0:
            highest = w.heap[0]
            lowest = w.heap[size - 1]
            if w.values[highest] <= w.values[lowest]:
                break
            w.heap[0] = lowest
            w.heap[size - 1] = highest
        place = 1 if turn == 0 else -1


@inline
def _settle(w, size, place):
    """Move the value at `place` up, then down its heap to where it belongs."""
    step = 1 if place > 0 else -1
    sign = 1.0 * step
    base = -1 if place > 0 else size
    count = w.low if place > 0 else w.n - w.low
    i = place * step
    slot = w.heap[base + step * i]
    key = sign * w.values[slot]
    for _ in range(_LEVELS_MAX):
        above = w.heap[base + step * max(_half(i), 1)]
        if i == 1 or sign * w.values[above] >= key:
            break
        w.heap[base + step * i] = above
        w.places[above] = step * i
        i = _half(i)
    for _ in range(_LEVELS_MAX):
        j = 2 * i
        if j > count:
            break
        below = w.heap[base + step * j]
        other = w.heap[base + step * min(j + 1, count)]
        right = sign * w.values[other] > sign * w.values[below]
        below = other if right else below
        if sign * w.values[below] <= key:
            break
        w.heap[base + step * i] = below
        w.places[below] = step * i
        i = j + 1 if right else j
    w.heap[base + step * i] = slot
    w.places[slot] = step * i


@inline
def split_quantile(w, size, q):
    """Return the quantile q of split_push, interpolated (type 7 of Hyndman & Fan 1996)."""
    part = q * (w.n - 1)
    part = part - floor(part)
    low = w.values[w.heap[0]]
    high = w.values[w.heap[size - 1 if w.n > w.low else 0]]
    return low + part * (high - low)


@inline
def split_median(w, size):
    """Return the median of a window split at 0.5: the middle value, or the mean of the two."""
    low = w.values[w.heap[0]]
    high = w.values[w.heap[size - 1 if w.n > w.low else 0]]
    return 0.5 * (low + high) if w.n == 2 * w.low else low
