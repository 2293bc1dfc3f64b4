"""Log discount factors between the nodes, compiled.

`times` and `y` have a node 0 at time 0 with log discount factor 0. `aux` (2, n + 1) holds what
`prepare` computes once a curve: second derivatives of the spline, or the discrete and the
node forwards of monotone convex (Hagan & West 2006, "Interpolation methods for curve
construction").
"""

import numpy as np
from numba import njit

from orrery_kernels.curves._local import INNER, OPTIONS

LOG_LINEAR, LINEAR_ZERO, LOG_CUBIC, MONOTONE_CONVEX = range(4)
FLAT_FORWARD, FLAT_ZERO = range(2)


@njit(**OPTIONS)
def prepare(kind, positive, times, y, aux):
    """Set aux from the nodes."""
    if kind == LOG_CUBIC:
        _second_derivatives(times, y, aux[0], aux[1])
    elif kind == MONOTONE_CONVEX:
        _node_forwards(positive, times, y, aux[0], aux[1])


@njit(**INNER)
def _second_derivatives(times, y, second, work):
    """Natural spline: a tridiagonal system, zero at both ends (Thomas algorithm)."""
    n = times.shape[0] - 1
    second[0] = second[n] = work[0] = 0.0
    for i in range(1, n):
        left, right = times[i] - times[i - 1], times[i + 1] - times[i]
        bend = 6.0 * ((y[i + 1] - y[i]) / right - (y[i] - y[i - 1]) / left)
        pivot = 2.0 * (left + right) - left * work[i - 1]
        work[i] = right / pivot
        second[i] = (bend - left * second[i - 1]) / pivot
    for i in range(n - 2, 0, -1):
        second[i] -= work[i] * second[i + 1]


@njit(**INNER)
def _node_forwards(positive, times, y, discrete, forward):
    """Set discrete forwards, and node forwards, held in [0, 2 discrete] if positive."""
    n = times.shape[0] - 1
    for i in range(1, n + 1):
        discrete[i] = (y[i - 1] - y[i]) / (times[i] - times[i - 1])
    discrete[0] = discrete[1]
    for i in range(1, n):
        left, right = times[i] - times[i - 1], times[i + 1] - times[i]
        forward[i] = (left * discrete[i + 1] + right * discrete[i]) / (left + right)
        if positive:
            forward[i] = max(0.0, min(forward[i], 2.0 * min(discrete[i], discrete[i + 1])))
    forward[0] = discrete[1] if n == 1 else 1.5 * discrete[1] - 0.5 * forward[1]
    forward[n] = discrete[n] if n == 1 else 1.5 * discrete[n] - 0.5 * forward[n - 1]
    if positive:
        forward[0] = max(0.0, min(forward[0], 2.0 * discrete[1]))
        forward[n] = max(0.0, min(forward[n], 2.0 * discrete[n]))


@njit(**INNER)
def segment_of(times, t):
    """Return the i in 1..n with times[i - 1] < t <= times[i], or n beyond the end."""
    low, high = 0, times.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if times[middle] < t:
            low = middle
        else:
            high = middle
    return high


@njit(**OPTIONS)
def read(kind, extrapolation, times, y, aux, t, out):
    """Set out to the log discount factors at the times t >= 0."""
    n = times.shape[0] - 1
    for j in range(t.shape[0]):
        if t[j] > times[n]:
            if extrapolation == FLAT_ZERO:
                out[j] = y[n] * (t[j] / times[n])
            else:
                out[j] = y[n] + end_slope(kind, times, y, aux) * (t[j] - times[n])
            continue
        i = segment_of(times, t[j])
        width = times[i] - times[i - 1]
        w = (t[j] - times[i - 1]) / width
        if kind == LINEAR_ZERO:
            out[j] = t[j] * (y[i] / times[i])
            if i > 1:
                out[j] = t[j] * ((1.0 - w) * (y[i - 1] / times[i - 1]) + w * (y[i] / times[i]))
        elif kind == MONOTONE_CONVEX:
            g, _, _ = _excess(w, aux[1, i - 1] - aux[0, i], aux[1, i] - aux[0, i])
            out[j] = y[i - 1] - width * (aux[0, i] * w + g)
        else:
            out[j] = (1.0 - w) * y[i - 1] + w * y[i]
            if kind == LOG_CUBIC:
                v = 1.0 - w
                bend = (v * v * v - v) * aux[0, i - 1] + (w * w * w - w) * aux[0, i]
                out[j] += bend * width * width * (1.0 / 6.0)


@njit(**INNER)
def end_slope(kind, times, y, aux):
    """Return the slope of the log discount factor at the last node: minus the last forward rate."""
    n = times.shape[0] - 1
    width = times[n] - times[n - 1]
    if kind == MONOTONE_CONVEX:
        return -aux[1, n]
    if kind == LINEAR_ZERO:
        slope = 0.0 if n == 1 else (y[n] / times[n] - y[n - 1] / times[n - 1]) / width
        return y[n] / times[n] + times[n] * slope
    slope = (y[n] - y[n - 1]) / width
    if kind == LOG_CUBIC:
        slope += width * aux[0, n - 1] * (1.0 / 6.0)
    return slope


@njit(**INNER)
def _excess(x, g0, g1):
    """Return the integral from 0 to x of g, the forward less its mean, and its slopes in g0 and g1.

    The four regions of Hagan & West; g(0) = g0, g(1) = g1, integral to 1 zero.
    """
    if g0 == 0.0 or g1 == 0.0:
        return 0.0, 0.0, 0.0
    if g0 * g1 > 0.0:
        return _same_sign(x, g0, g1)
    ratio = g1 / g0
    if -2.0 <= ratio <= -0.5:
        c0, c1 = x * (1.0 - x) * (1.0 - x), x * x * (x - 1.0)
        return g0 * c0 + g1 * c1, c0, c1
    if ratio < -2.0:
        u = g1 * (x - 1.0) - g0 * (x + 2.0)
        if u * g1 <= 0.0:
            return g0 * x, x, 0.0
        k = u / (3.0 * g0)
        return g0 * x + g0 * k * k * k, x - k * k * (x + 2.0 + 2.0 * k), k * k * (x - 1.0)
    v = g1 * (x - 3.0) - g0 * x
    if v * g1 >= 0.0:
        return g1 * (x - 1.0), 0.0, x - 1.0
    k = v / (3.0 * g1)
    return g1 * (x - 1.0) - g1 * k * k * k, k * k * x, x - 1.0 - k * k * (x - 3.0 - 2.0 * k)


@njit(**INNER)
def _same_sign(x, g0, g1):
    total = g0 + g1
    eta, low = g1 / total, -g0 * g1 / total
    eta0, eta1 = -g1 / (total * total), g0 / (total * total)
    low0, low1 = -eta * eta, -(1.0 - eta) * (1.0 - eta)
    if x <= eta:
        k = (eta - x) / eta
        part = eta * (k * k * k - 1.0) * (1.0 / 3.0)
        value = low * x - (g0 - low) * part
        by_low = x + part
        by_eta = -(g0 - low) * (k * k - (2.0 * k * k * k + 1.0) * (1.0 / 3.0))
        return value, by_low * low0 + by_eta * eta0 - part, by_low * low1 + by_eta * eta1
    k = (x - eta) / (1.0 - eta)
    part = (1.0 - eta) * k * k * k * (1.0 / 3.0)
    value = (2.0 * low + g0) * eta * (1.0 / 3.0) + low * (x - eta) + (g1 - low) * part
    by_low = x - eta * (1.0 / 3.0) - part
    by_eta = (g0 - low) * (1.0 / 3.0) + (g1 - low) * (2.0 * k * k * k * (1.0 / 3.0) - k * k)
    by0 = by_low * low0 + by_eta * eta0 + eta * (1.0 / 3.0)
    return value, by0, by_low * low1 + by_eta * eta1 + part


@njit(**OPTIONS)
def weights(kind, positive, extrapolation, times, y, aux, t, out):
    """Set out[j, i - 1] to the slope of the log discount factor at t[j] in that of node i."""
    n = times.shape[0] - 1
    if kind == MONOTONE_CONVEX:
        slopes = np.zeros((n + 1, n + 2))
        _forward_slopes(positive, times, aux[0], aux[1], slopes)
        for j in range(t.shape[0]):
            _monotone_row(extrapolation, times, aux, slopes, t[j], out[j])
        return
    unit, spare, column = np.zeros(n + 1), np.zeros((2, n + 1)), np.empty(t.shape[0])
    for i in range(1, n + 1):
        unit[i] = 1.0
        prepare(kind, positive, times, unit, spare)
        read(kind, extrapolation, times, unit, spare, t, column)
        unit[i] = 0.0
        for j in range(t.shape[0]):
            out[j, i - 1] = column[j]


@njit(**INNER)
def _forward_slopes(positive, times, discrete, forward, slopes):
    """Set slopes[i, j]: of the forward at node i in the discrete forward of segment j."""
    n = times.shape[0] - 1
    if n == 1:
        slopes[0, 1] = slopes[1, 1] = 1.0
        return
    for i in range(1, n):
        left, right = times[i] - times[i - 1], times[i + 1] - times[i]
        slopes[i, i], slopes[i, i + 1] = right / (left + right), left / (left + right)
        if positive:
            smaller = i if discrete[i] <= discrete[i + 1] else i + 1
            _held(forward[i], discrete[smaller], smaller, slopes[i])
    for node, segment, inner in ((0, 1, 1), (n, n, n - 1)):
        for j in range(1, n + 1):
            slopes[node, j] = -0.5 * slopes[inner, j]
        slopes[node, segment] += 1.5
        if positive:
            _held(forward[node], discrete[segment], segment, slopes[node])


@njit(**INNER)
def _held(forward, discrete, segment, row):
    """A forward held at 0 or at twice a discrete one follows that alone."""
    if forward <= 0.0 or forward == 2.0 * discrete:
        row[:] = 0.0
        row[segment] = 2.0 if forward > 0.0 else 0.0


@njit(**INNER)
def _monotone_row(extrapolation, times, aux, slopes, t, row):
    n = times.shape[0] - 1
    row[:] = 0.0
    i = segment_of(times, t)
    width = times[i] - times[i - 1]
    if t > times[n] and extrapolation == FLAT_ZERO:
        row[n - 1] = t / times[n]
        return
    w = min(1.0, (t - times[i - 1]) / width)
    _, by0, by1 = _excess(w, aux[1, i - 1] - aux[0, i], aux[1, i] - aux[0, i])
    beyond = max(0.0, t - times[n])
    if i > 1:
        row[i - 2] += 1.0
    for j in range(max(1, i - 1), min(n, i + 1) + 1):
        own = w - by0 - by1 if j == i else 0.0
        slope = -width * (own + by0 * slopes[i - 1, j] + by1 * slopes[i, j])
        slope = (slope - beyond * slopes[n, j]) / (times[j] - times[j - 1])
        row[j - 1] -= slope
        if j > 1:
            row[j - 2] += slope
