"""Windows that know an order: highest and lowest, quantiles, ranks, median deviations."""

from __future__ import annotations

from orrery_kernels.engine.functions import floor
from orrery_kernels.engine.spec import Ring, Size, Struct, f64, i64, ring, struct
from orrery_kernels.engine.step import inf, inline, pure, select


def extreme(size: Size) -> Struct:
    """Return the layout of a window that knows its highest (or its lowest) value."""
    return struct(n=i64, at=i64, front=f64, ring=ring(size))


@inline
def highest_push(w, x, size):
    """Fold x into the window and return the highest value in it.

    Two stacks in one ring: of the block before, the highest from each place to its end; of the
    block being filled, the highest so far. Constant cost for any data.
    """
    w.ring[w.at] = x
    w.front = x if w.at == 0 else max(w.front, x)
    w.at += 1
    top = w.front
    if w.n < size:
        w.n += 1
    elif w.at < size:
        top = max(w.ring[w.at], w.front)
    if w.at == size:
        w.at = 0
        best = x
        for k in range(size):
            best = max(best, w.ring[size - 1 - k])
            w.ring[size - 1 - k] = best
    return top


@inline
def lowest_push(w, x, size):
    """Fold x into the window and return the lowest value in it (see highest_push)."""
    w.ring[w.at] = x
    w.front = x if w.at == 0 else min(w.front, x)
    w.at += 1
    top = w.front
    if w.n < size:
        w.n += 1
    elif w.at < size:
        top = min(w.ring[w.at], w.front)
    if w.at == size:
        w.at = 0
        best = x
        for k in range(size):
            best = min(best, w.ring[size - 1 - k])
            w.ring[size - 1 - k] = best
    return top


def dated_extreme(size: Size) -> Struct:
    """Return the layout of a window that knows its highest (lowest) value and its age."""
    return struct(
        n=i64, at=i64, tick=i64, front=f64, front_tick=i64, ring=ring(size), ticks=ring(size, i64)
    )


@inline
def dated_highest_push(w, x, size):
    """Fold x in; return (highest, its age in ticks); of equal values the newest counts."""
    w.tick += 1
    w.ring[w.at] = x
    w.ticks[w.at] = w.tick
    front = -inf if w.at == 0 else w.front
    w.front_tick = select(x >= front, w.tick, w.front_tick)
    w.front = select(x >= front, x, front)
    w.at += 1
    before = -inf
    before_tick = 0
    if w.n < size:
        w.n += 1
    elif w.at < size:
        before = w.ring[w.at]
        before_tick = w.ticks[w.at]
    tick = select(before > w.front, before_tick, w.front_tick)
    top = max(w.front, before)
    if w.at == size:
        w.at = 0
        best = x
        best_tick = w.tick
        for k in range(1, size):
            i = size - 1 - k
            value = w.ring[i]
            best_tick = select(best >= value, best_tick, w.tick - k)  # w.ticks[i], not looked up
            best = select(best >= value, best, value)
            w.ring[i] = best
            w.ticks[i] = best_tick
    return top, w.tick - tick


@inline
def dated_lowest_push(w, x, size):
    """Fold x in; return (lowest, its age in ticks); of equal values the newest counts."""
    top, age = dated_highest_push(w, -x, size)
    return -top, age


def ordered(size: Size) -> Struct:
    """Return the layout of a window that is also kept in ascending order.

    A tiered vector (Goodrich & Kloss 1999): blocks of about sqrt(size) values, each a circle with a
    start of its own. One value in and one out move values in two blocks, and the starts between.
    """
    length = Ring(size).length
    return struct(
        n=i64,
        at=i64,
        shift=i64,
        block=i64,
        ring=ring(size),
        starts=ring(lambda p: blocks(length(p)), i64),
        sorted=ring(lambda p: blocks(length(p)) << block_shift(length(p))),
    )


def blocks(size: int) -> int:
    return -(-size >> block_shift(size))


@pure
def block_shift(size):
    """Return s for blocks of 2**s values: all in one up to 64, then 64 or sqrt(size / 2)."""
    shift = 0
    for _ in range(40):
        if (1 << shift) >= size or (shift >= 6 and (2 << (2 * shift)) >= size):
            break
        shift += 1
    return shift


@pure
def _block_size(shift):
    return 1 << shift


@pure
def _block_of(k, shift):
    return k >> shift


@pure
def _place(k, shift, start):
    """Return where the k-th value stands; its block begins at `start`."""
    mask = (1 << shift) - 1
    return (k & ~mask) | ((start + k) & mask)


@inline
def ordered_get(w, k):
    """Return the k-th smallest value, k = 0 for the lowest, k < n."""
    return w.sorted[_place(k, w.shift, w.starts[_block_of(k, w.shift)])]


@inline
def ordered_below(w, x):
    """Return how many values of the window are below x: which block, then where in it."""
    c = 0
    length = _block_of(w.n - 1, w.shift)
    for _ in range(40):
        if length <= 0:
            break
        half = _block_of(length + 1, 1)
        there = c + half
        c = there if w.sorted[there * w.block + w.starts[there]] < x else c
        length = length - half
    base = c * w.block
    start = w.starts[c]
    low = 0
    length = min(w.n - base, w.block)
    for _ in range(40):
        if length <= 0:
            break
        half = _block_of(length + 1, 1)
        there = low + half
        low = there if w.sorted[base + _place(there - 1, w.shift, start)] < x else low
        length = length - half
    return base + low


@inline
def ordered_push(w, x, size):
    """Fold x into the window: found by bisection, moved within blocks of some sqrt(size)."""
    if w.n == 0:
        w.shift = block_shift(size)
        w.block = _block_size(w.shift)
    old = w.ring[w.at]
    w.ring[w.at] = x
    w.at = w.at + 1 if w.at + 1 < size else 0
    to = ordered_below(w, x)
    gone = w.n
    if w.n < size:
        w.n += 1
    else:
        gone = min(ordered_below(w, old), size - 1)
    if to > gone:
        _ordered_down(w, gone, to - 1, x)
    else:
        _ordered_up(w, to, gone, x)


@inline
def _ordered_down(w, a, b, x):
    """Move the values at a + 1 ... b one down, over that at a, and put x at b."""
    first = _block_of(a, w.shift)
    last = _block_of(b, w.shift)
    hole = 0
    for c in range(first, last + 1):
        base = c * w.block
        low = a - base if c == first else 0
        high = b - base if c == last else w.block - 1
        start = w.starts[c]
        if c > first:
            w.sorted[hole] = w.sorted[base + start]
        if low == 0 and high == w.block - 1:
            w.starts[c] = start + 1 if start + 1 < w.block else 0
            hole = base + start
        else:
            low = _place(low, w.shift, start)
            high = _place(high, w.shift, start)
            for i in range(low, high if low <= high else w.block - 1):
                w.sorted[base + i] = w.sorted[base + i + 1]
            if low > high:
                w.sorted[base + w.block - 1] = w.sorted[base]
                for i in range(high):
                    w.sorted[base + i] = w.sorted[base + i + 1]
            hole = base + high
    w.sorted[hole] = x


@inline
def _ordered_up(w, a, b, x):
    """Move the values at a ... b - 1 one up, over that at b, and put x at a."""
    first = _block_of(a, w.shift)
    last = _block_of(b, w.shift)
    hole = 0
    for k in range(last - first + 1):
        c = last - k
        base = c * w.block
        low = a - base if c == first else 0
        high = b - base if c == last else w.block - 1
        start = w.starts[c]
        if k > 0:
            w.sorted[hole] = w.sorted[base + _place(w.block - 1, w.shift, start)]
        if low == 0 and high == w.block - 1:
            start = start - 1 if start > 0 else w.block - 1
            w.starts[c] = start
            hole = base + start
        else:
            low = _place(low, w.shift, start)
            high = _place(high, w.shift, start)
            for i in range(high - low if low <= high else high):
                w.sorted[base + high - i] = w.sorted[base + high - i - 1]
            if low > high:
                w.sorted[base] = w.sorted[base + w.block - 1]
                for i in range(w.block - 1 - low):
                    w.sorted[base + w.block - 1 - i] = w.sorted[base + w.block - 2 - i]
            hole = base + low
    w.sorted[hole] = x


@inline
def ordered_quantile(w, q):
    """Return the quantile q in [0, 1], interpolated (type 7 of Hyndman & Fan 1996)."""
    place = q * (w.n - 1)
    k = int(floor(place))
    part = place - k
    low = ordered_get(w, k)
    high = ordered_get(w, k + 1 if k + 1 < w.n else k)
    return low + part * (high - low)


@inline
def ordered_median(w):
    """Return the median: the middle value, or the mean of the two in the middle."""
    return 0.5 * (ordered_get(w, (w.n - 1) // 2) + ordered_get(w, w.n // 2))


@inline
def _ordered_distance(w, k, middle, split):
    """Return the k-th smallest |value - middle|, by bisection of how many of the nearest are among
    the `split` values below middle."""
    low = k + 1 - (w.n - split) if k + 1 > w.n - split else 0
    high = k + 1 if k + 1 < split else split
    for _ in range(40):
        if low >= high:
            break
        left = (low + high) // 2
        right = k + 1 - left
        below = middle - ordered_get(w, split - 1 - left)
        more = below < ordered_get(w, split + right - 1) - middle
        low = left + 1 if more else low
        high = high if more else left
    right = k + 1 - low
    distance = 0.0
    if low > 0:
        distance = middle - ordered_get(w, split - low)
    above = 0.0
    if right > 0:
        above = ordered_get(w, split + right - 1) - middle
    return max(distance, above)


@inline
def ordered_mad(w):
    """Return the median absolute deviation from the median, not scaled."""
    middle = ordered_median(w)
    split = ordered_below(w, middle)
    low = (w.n - 1) // 2
    distance = _ordered_distance(w, low, middle, split)
    if low < w.n // 2:
        distance = 0.5 * (distance + _ordered_distance(w, low + 1, middle, split))
    return distance
