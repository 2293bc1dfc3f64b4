"""Windows with constant cost a tick: what rolling kernels are made of.

Each is a layout for the state (`moments("window")`) and inline steps on it (`moments_push(s.w, x, w)`).
They depend on the symbol's own ticks only, so they give the same bits however a stream is cut.
"""

from __future__ import annotations

from orrery_kernels.engine.spec import Size, Struct, f64, i64, ring, struct
from orrery_kernels.engine.step import inline


def rolling(size: Size) -> Struct:
    """Return the layout of a ring that remembers the last `size` values."""
    return struct(n=i64, at=i64, ring=ring(size))


@inline
def rolling_push(r, x, size):
    """Put x in place of the oldest value and return that (0.0 while the ring fills)."""
    old = r.ring[r.at]
    r.ring[r.at] = x
    r.at = r.at + 1 if r.at + 1 < size else 0
    r.n = r.n + 1 if r.n < size else r.n
    return old


@inline
def rolling_get(r, lag, size):
    """Return the value `lag` pushes ago; lag 0 is the newest, lag < r.n."""
    i = r.at - 1 - lag
    return r.ring[i + size if i < 0 else i]


def moments(size: Size) -> Struct:
    """Return the layout of a window whose mean and variance are kept up to date."""
    return struct(n=i64, at=i64, pivot=f64, s1=f64, s2=f64, s2_max=f64, ring=ring(size))


@inline
def moments_push(m, x, size):
    """Fold x into the window.

    Power sums of (x - pivot), pivot a value of the window. They are made anew from the ring once
    every `size` ticks, and when what is left of s2 is small against what went through it: then
    digits were lost to a level shift or to an outlier that has left.
    """
    old = m.ring[m.at]
    m.ring[m.at] = x
    m.at += 1
    d = x - m.pivot
    if m.n < size:
        m.n += 1
        m.s1 += d
        m.s2 += d * d
    else:
        e = old - m.pivot
        m.s1 += d - e
        m.s2 += d * d - e * e
    m.s2_max = max(m.s2_max, m.s2)
    left = m.s2 - m.s1 * m.s1 / m.n
    guard = 4.0 * size if size > 1024 else 4096.0
    if m.at == size or left * guard < m.s2_max or not (m.s2 - m.s2 == 0.0):
        m.at = 0 if m.at == size else m.at
        m.pivot = x
        s1 = 0.0
        s2 = 0.0
        for i in range(m.n):
            v = m.ring[i] - x
            s1 += v
            s2 += v * v
        m.s1 = s1
        m.s2 = s2
        m.s2_max = s2


@inline
def moments_mean(m):
    return m.pivot + m.s1 / m.n


@inline
def moments_variance(m, less):
    """Return the variance; `less` 0 for the population, 1 for a sample."""
    v = (m.s2 - m.s1 * m.s1 / m.n) / (m.n - less)
    return max(v, 0.0)


def sums(size: Size) -> Struct:
    """Return the layout of a window whose sum is kept up to date."""
    return struct(n=i64, at=i64, total=f64, largest=f64, ring=ring(size))


@inline
def sums_push(w, x, size):
    """Fold x into the window and return its sum.

    The sum is made anew from the ring once every `size` ticks, and when it is small against the
    largest value that went through it since (whose digits it would have lost).
    """
    old = w.ring[w.at]
    w.ring[w.at] = x
    w.at += 1
    w.n = w.n + 1 if w.n < size else w.n
    w.total += x - old
    w.largest = max(w.largest, abs(w.total))
    if w.at == size or abs(w.total) * 4096.0 < w.largest or not (w.total - w.total == 0.0):
        w.at = 0 if w.at == size else w.at
        total = 0.0
        for i in range(w.n):
            total += w.ring[i]
        w.total = total
        w.largest = abs(total)
    return w.total
