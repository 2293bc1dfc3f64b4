"""Windows that know an order: highest and lowest, quantiles, ranks, median deviations."""

from __future__ import annotations

from orrery_kernels.engine.functions import floor
from orrery_kernels.engine.spec import Size, Struct, f64, i64, ring, struct
from orrery_kernels.engine.step import inline


def extreme(size: Size) -> Struct:
    """Return the layout of a window that knows its highest (or its lowest) value."""
    return struct(n=i64, at=i64, front=f64, ring=ring(size))


@inline
def highest_push(w, x, size):
    """Fold x into the window and return the highest value in it.

    Two stacks in one ring: of the block before, the highest from each place to its end; of the block
    being filled, the highest so far. Constant cost for any data.
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
    """Return the layout of a window that knows its highest (lowest) value and how long ago it was."""
    return struct(
        n=i64, at=i64, tick=i64, front=f64, front_tick=i64, ring=ring(size), ticks=ring(size, i64)
    )


@inline
def dated_highest_push(w, x, size):
    """Fold x in; return (highest, its age in ticks); of equal values the newest counts."""
    w.tick += 1
    w.ring[w.at] = x
    w.ticks[w.at] = w.tick
    if w.at == 0 or x >= w.front:
        w.front = x
        w.front_tick = w.tick
    w.at += 1
    top = w.front
    tick = w.front_tick
    if w.n < size:
        w.n += 1
    elif w.at < size:
        if w.ring[w.at] > top:
            top = w.ring[w.at]
            tick = w.ticks[w.at]
    if w.at == size:
        w.at = 0
        for k in range(1, size):
            i = size - 1 - k
            if w.ring[i + 1] >= w.ring[i]:
                w.ring[i] = w.ring[i + 1]
                w.ticks[i] = w.ticks[i + 1]
    return top, w.tick - tick


@inline
def dated_lowest_push(w, x, size):
    """Fold x in; return (lowest, its age in ticks); of equal values the newest counts."""
    top, age = dated_highest_push(w, -x, size)
    return -top, age


def ordered(size: Size) -> Struct:
    """Return the layout of a window that is also kept in ascending order."""
    return struct(n=i64, at=i64, ring=ring(size), sorted=ring(size))


@inline
def ordered_below(w, x):
    """Return how many values of the window are below x."""
    low = 0
    length = w.n
    for _ in range(40):
        if length <= 0:
            break
        half = length // 2
        right = w.sorted[low + half] < x
        low = low + half + 1 if right else low
        length = length - half - 1 if right else half
    return low


@inline
def ordered_push(w, x, size):
    """Fold x into the window; found by bisection, moved in one run of memory."""
    old = w.ring[w.at]
    w.ring[w.at] = x
    w.at = w.at + 1 if w.at + 1 < size else 0
    to = ordered_below(w, x)
    if w.n < size:
        for k in range(w.n - to):
            w.sorted[w.n - k] = w.sorted[w.n - k - 1]
        w.sorted[to] = x
        w.n += 1
    else:
        gone = ordered_below(w, old)
        if to > gone:
            for i in range(gone, to - 1):
                w.sorted[i] = w.sorted[i + 1]
            w.sorted[to - 1] = x
        else:
            for k in range(gone - to):
                w.sorted[gone - k] = w.sorted[gone - k - 1]
            w.sorted[to] = x


@inline
def ordered_get(w, k):
    """Return the k-th smallest value, k = 0 for the lowest, k < n."""
    return w.sorted[k]


@inline
def ordered_quantile(w, q):
    """Return the quantile q in [0, 1] of the window, interpolated (type 7 of Hyndman & Fan 1996)."""
    place = q * (w.n - 1)
    k = int(floor(place))
    part = place - k
    low = w.sorted[k]
    high = w.sorted[k + 1 if k + 1 < w.n else k]
    return low + part * (high - low)


@inline
def ordered_median(w):
    """Return the median: the middle value, or the mean of the two in the middle."""
    return 0.5 * (w.sorted[(w.n - 1) // 2] + w.sorted[w.n // 2])


@inline
def _ordered_distance(w, k, middle):
    """Return the k-th smallest |value - middle|, by bisection of how many come from below middle."""
    split = ordered_below(w, middle)
    low = k + 1 - (w.n - split) if k + 1 > w.n - split else 0
    high = k + 1 if k + 1 < split else split
    for _ in range(40):
        if low >= high:
            break
        left = (low + high) // 2
        right = k + 1 - left
        if middle - w.sorted[split - 1 - left] < w.sorted[split + right - 1] - middle:
            low = left + 1
        else:
            high = left
    right = k + 1 - low
    distance = middle - w.sorted[split - low] if low > 0 else 0.0
    above = w.sorted[split + right - 1] - middle if right > 0 else 0.0
    return max(distance, above)


@inline
def ordered_mad(w):
    """Return the median absolute deviation from the median, not scaled."""
    middle = ordered_median(w)
    a = _ordered_distance(w, (w.n - 1) // 2, middle)
    b = _ordered_distance(w, w.n // 2, middle)
    return 0.5 * (a + b)
