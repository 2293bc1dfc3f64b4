"""Windows with constant cost a tick: what rolling kernels are made of.

Each is a layout for the state (`moments("window")`) and inline steps on it
(`moments_push(s.w, x, p.window)`).
They depend on the symbol's own ticks only, so they give the same bits however a stream is cut, and
what has left the window leaves no trace in the digits: running sums are made anew from the ring
once every `size` ticks (64 where that is more), and at once when a large value that left has taken
their digits with it.
"""

from __future__ import annotations

from orrery_kernels.engine.spec import Size, Struct, f64, i64, ring, struct
from orrery_kernels.engine.step import inline

_REMADE_TICKS_MIN = 64  # short windows need not be summed anew each time they have gone round


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


def sums(size: Size) -> Struct:
    """Return the layout of a window whose sum is kept up to date."""
    return struct(n=i64, at=i64, age=i64, per=f64, total=f64, largest=f64, ring=ring(size))


@inline
def sums_push(w, x, size):
    """Fold x into the window and return its sum."""
    old = w.ring[w.at]
    w.ring[w.at] = x
    w.at = w.at + 1 if w.at + 1 < size else 0
    w.age += 1
    if w.n < size:
        w.n += 1
        w.per = 1.0 / w.n
    w.total += x - old
    w.largest = max(w.largest, abs(w.total))
    due = w.age >= max(size, _REMADE_TICKS_MIN)
    if due or not abs(w.total) * 4096.0 - w.largest >= 0.0:  # inf - inf asks for it too
        w.age = 0
        total = 0.0
        largest = 0.0
        for i in range(w.n):
            total += w.ring[i]
            largest = max(largest, abs(w.ring[i]))
        w.total = total
        w.largest = max(largest, abs(total)) if due else abs(total)
    return w.total


@inline
def sums_mean(w):
    return w.total * w.per


def moments(size: Size) -> Struct:
    """Return the layout of a window whose mean and variance are kept up to date."""
    return struct(
        n=i64, at=i64, age=i64, per=f64, pivot=f64, s1=f64, s2=f64, s2_max=f64, ring=ring(size)
    )


@inline
def moments_push(m, x, size):
    """Fold x into the window.

    Power sums of (x - pivot), pivot a value of the window. What is left of s2 being small against
    what went through it means that digits were lost, to a level shift or an outlier that has left.
    """
    old = m.ring[m.at]
    m.ring[m.at] = x
    m.at = m.at + 1 if m.at + 1 < size else 0
    m.age += 1
    d = x - m.pivot
    if m.n < size:
        m.n += 1
        m.per = 1.0 / m.n
        m.s1 += d
        m.s2 += d * d
    else:
        e = old - m.pivot
        m.s1 += d - e
        m.s2 += d * d - e * e
    m.s2_max = max(m.s2_max, m.s2)
    left = m.s2 - m.s1 * m.s1 * m.per
    guard = 4.0 * size if size > 1024 else 4096.0
    due = m.age >= max(size, _REMADE_TICKS_MIN)
    if due or not left * guard >= m.s2_max:
        m.age = 0
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
    return m.pivot + m.s1 * m.per


@inline
def moments_variance(m, less):
    """Return the variance; `less` 0 for the population, 1 for a sample."""
    left = m.s2 - m.s1 * m.s1 * m.per
    v = left * m.per if less == 0 else left / (m.n - less)
    return max(v, 0.0)


def higher_moments(size: Size) -> Struct:
    """Return the layout of a window with mean, variance, skewness and kurtosis."""
    return struct(
        n=i64,
        at=i64,
        age=i64,
        per=f64,
        pivot=f64,
        s1=f64,
        s2=f64,
        s3=f64,
        s4=f64,
        s2_max=f64,
        ring=ring(size),
    )


@inline
def higher_moments_push(m, x, size):
    """Fold x into the window; as moments_push, with the pivot at the window's mean.

    Right after the sums are made anew s2 is all that is left: a factor of 16 asks for it once.
    """
    old = m.ring[m.at]
    m.ring[m.at] = x
    m.at = m.at + 1 if m.at + 1 < size else 0
    m.age += 1
    d = x - m.pivot
    e = old - m.pivot
    if m.n < size:
        m.n += 1
        m.per = 1.0 / m.n
        e = 0.0
    d2 = d * d
    e2 = e * e
    m.s1 += d - e
    m.s2 += d2 - e2
    m.s3 += d2 * d - e2 * e
    m.s4 += d2 * d2 - e2 * e2
    m.s2_max = max(m.s2_max, m.s2)
    left = m.s2 - m.s1 * m.s1 * m.per
    due = m.age >= max(size, _REMADE_TICKS_MIN)
    if due or left * 16.0 < m.s2_max or m.s4 - m.s4 != 0.0:
        m.age = 0
        first = 0.0
        for i in range(m.n):
            first += m.ring[i] - x
        pivot = x + first * m.per
        s1 = 0.0
        s2 = 0.0
        s3 = 0.0
        s4 = 0.0
        for i in range(m.n):
            v = m.ring[i] - pivot
            v2 = v * v
            s1 += v
            s2 += v2
            s3 += v2 * v
            s4 += v2 * v2
        m.pivot = pivot
        m.s1 = s1
        m.s2 = s2
        m.s3 = s3
        m.s4 = s4
        m.s2_max = s2


@inline
def higher_moments_central(m):
    """Return (mean, m2, m3, m4), the central moments divided by n."""
    a = m.s1 * m.per
    r2 = m.s2 * m.per
    r3 = m.s3 * m.per
    r4 = m.s4 * m.per
    m2 = max(r2 - a * a, 0.0)
    m3 = r3 - 3.0 * a * r2 + 2.0 * a * a * a
    m4 = r4 - 4.0 * a * r3 + 6.0 * a * a * r2 - 3.0 * a * a * a * a
    return m.pivot + a, m2, m3, m4


def comoments(size: Size) -> Struct:
    """Return the layout of a window of pairs with variances and covariance."""
    return struct(
        n=i64, at=i64, age=i64, per=f64, pivot_x=f64, pivot_y=f64, sx=f64, sy=f64, sxx=f64,
        syy=f64, sxy=f64, sxx_max=f64, syy_max=f64, x=ring(size), y=ring(size),
    )  # fmt: skip


@inline
def comoments_push(m, x, y, size):
    """Fold the pair (x, y) into the window."""
    old_x = m.x[m.at]
    old_y = m.y[m.at]
    m.x[m.at] = x
    m.y[m.at] = y
    m.at = m.at + 1 if m.at + 1 < size else 0
    m.age += 1
    dx = x - m.pivot_x
    dy = y - m.pivot_y
    ex = old_x - m.pivot_x
    ey = old_y - m.pivot_y
    if m.n < size:
        m.n += 1
        m.per = 1.0 / m.n
        ex = 0.0
        ey = 0.0
    m.sx += dx - ex
    m.sy += dy - ey
    m.sxx += dx * dx - ex * ex
    m.syy += dy * dy - ey * ey
    m.sxy += dx * dy - ex * ey
    m.sxx_max = max(m.sxx_max, m.sxx)
    m.syy_max = max(m.syy_max, m.syy)
    left_x = m.sxx - m.sx * m.sx * m.per
    left_y = m.syy - m.sy * m.sy * m.per
    guard = 4.0 * size if size > 1024 else 4096.0
    lost = left_x * guard < m.sxx_max or left_y * guard < m.syy_max
    due = m.age >= max(size, _REMADE_TICKS_MIN)
    if due or lost or m.sxx + m.syy - (m.sxx + m.syy) != 0.0:
        m.age = 0
        m.pivot_x = x
        m.pivot_y = y
        sx = 0.0
        sy = 0.0
        sxx = 0.0
        syy = 0.0
        sxy = 0.0
        for i in range(m.n):
            u = m.x[i] - x
            v = m.y[i] - y
            sx += u
            sy += v
            sxx += u * u
            syy += v * v
            sxy += u * v
        m.sx = sx
        m.sy = sy
        m.sxx = sxx
        m.syy = syy
        m.sxy = sxy
        m.sxx_max = sxx
        m.syy_max = syy


@inline
def comoments_means(m):
    """Return (mean of x, mean of y)."""
    return m.pivot_x + m.sx * m.per, m.pivot_y + m.sy * m.per


@inline
def comoments_sums(m):
    """Return (Sxx, Syy, Sxy): sums of squares and products about the means."""
    sxx = max(m.sxx - m.sx * m.sx * m.per, 0.0)
    syy = max(m.syy - m.sy * m.sy * m.per, 0.0)
    return sxx, syy, m.sxy - m.sx * m.sy * m.per


def trend(size: Size) -> Struct:
    """Return the layout of a window with its sum and its sum weighted by position (oldest 1)."""
    return struct(
        n=i64, at=i64, age=i64, per=f64, pivot=f64, s1=f64, sw=f64, largest=f64, ring=ring(size)
    )


@inline
def trend_push(m, x, size):
    """Fold x in: s1 = sum(v), sw = sum(k v), v = value - pivot, k = 1 oldest ... n newest."""
    old = m.ring[m.at]
    m.ring[m.at] = x
    m.at = m.at + 1 if m.at + 1 < size else 0
    m.age += 1
    d = x - m.pivot
    if m.n < size:
        m.n += 1
        m.per = 1.0 / m.n
        m.sw += m.n * d
        m.s1 += d
    else:
        m.sw += size * d - m.s1
        m.s1 += d - (old - m.pivot)
    m.largest = max(m.largest, abs(m.sw))
    due = m.age >= max(size, _REMADE_TICKS_MIN)
    if due or not abs(m.sw) * 4096.0 - m.largest >= 0.0:  # inf - inf asks for it too
        start = 0 if m.n < size else m.at
        m.age = 0
        m.pivot = x
        s1 = 0.0
        sw = 0.0
        for k in range(m.n):
            i = start + k
            v = m.ring[i - size if i >= size else i] - x
            s1 += v
            sw += (k + 1) * v
        m.s1 = s1
        m.sw = sw
        m.largest = abs(sw)


@inline
def trend_mean(m):
    return m.pivot + m.s1 * m.per


@inline
def trend_weighted_mean(m):
    """Return sum(k x) / sum(k), k = 1 for the oldest: the linearly weighted average."""
    return m.pivot + m.sw / (0.5 * m.n * (m.n + 1))


@inline
def trend_slope(m):
    """Return the least-squares slope per tick; n >= 2."""
    n = 1.0 * m.n
    return (12.0 * m.sw - 6.0 * (n + 1.0) * m.s1) / (n * (n * n - 1.0))
