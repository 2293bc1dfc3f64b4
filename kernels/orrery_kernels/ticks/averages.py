"""Averages that many kernels share: exponential ones, from the first tick or seeded with a plain
mean, and Wilder's of rises and falls."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, struct


@inline
def ew_mean(mean, x, weight, n):
    """Return the exponential average with x folded in; n is 0 at the first tick, the first mean."""
    return x if n == 0 else (1.0 - weight) * mean + weight * x


SEEDED = struct(n=i64, total=f64, mean=f64)  # an exponential average that starts as a plain mean


@inline
def seeded_push(e, x, period, k):
    """Fold x in; the average is there once e.n == period."""
    if e.n < period:
        e.n += 1
        e.total += x
        if e.n == period:
            e.mean = e.total / period
    else:
        e.mean = (1.0 - k) * e.mean + k * x


WILDER = struct(n=i64, last=f64, up=f64, down=f64)  # mean rise and fall from tick to tick


@inline
def wilder_push(w, x, period):
    """Fold x in: plain means of the first `period` moves, then mean + (move - mean) / period.

    They are there once w.n > period.
    """
    rise = max(x - w.last, 0.0)
    fall = max(w.last - x, 0.0)
    w.last = x
    if w.n > period:
        w.up = (1.0 - 1.0 / period) * w.up + (1.0 / period) * rise
        w.down = (1.0 - 1.0 / period) * w.down + (1.0 / period) * fall
    else:
        w.n += 1
        if w.n > 1:
            w.up = (w.up * (w.n - 2.0) + rise) / (w.n - 1.0)
            w.down = (w.down * (w.n - 2.0) + fall) / (w.n - 1.0)
