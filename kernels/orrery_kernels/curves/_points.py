"""Rows over points over dates: what equations and swap books have in common, compiled."""

import numpy as np
from numba import njit

from orrery_kernels.curves._local import OPTIONS
from orrery_kernels.curves._math import exp


@njit(**OPTIONS)
def exp_of(x, out):
    for i in range(x.shape[0]):
        out[i] = exp(x[i])


@njit(**OPTIONS)
def multiply(left, right, out):
    """Set out to left @ right, summed in order: a library's product depends on the processor."""
    for i in range(left.shape[0]):
        out[i, :] = 0.0
        for k in range(left.shape[1]):
            weight = left[i, k]
            if weight != 0.0:
                for j in range(right.shape[1]):
                    out[i, j] += weight * right[k, j]


@njit(**OPTIONS)
def row_sums(starts, points, constants, per_rates, leg_starts, leg_dates, signs, logs, sums):
    """Set sums[i] to the sums of constant * value and per_rate * value over row i.

    logs: log discount factor at each date of the table that leg_dates points into.
    """
    values = np.empty(leg_starts.shape[0] - 1)
    for k in range(values.shape[0]):
        total = 0.0
        for leg in range(leg_starts[k], leg_starts[k + 1]):
            total += signs[leg] * logs[leg_dates[leg]]
        values[k] = exp(total)
    for i in range(starts.shape[0] - 1):
        by_constant = by_rate = 0.0
        for j in range(starts[i], starts[i + 1]):
            by_constant += constants[j] * values[points[j]]
            by_rate += per_rates[j] * values[points[j]]
        sums[i, 0], sums[i, 1] = by_constant, by_rate


@njit(**OPTIONS)
def date_slopes(
    starts,
    points,
    constants,
    per_rates,
    leg_starts,
    leg_dates,
    signs,
    logs,
    rates,
    sizes,
    groups,
    out,
):
    """Add to out[group, date] the slope of size * (constant + per_rate * rate) * value by date."""
    values = np.empty(leg_starts.shape[0] - 1)
    for k in range(values.shape[0]):
        total = 0.0
        for leg in range(leg_starts[k], leg_starts[k + 1]):
            total += signs[leg] * logs[leg_dates[leg]]
        values[k] = exp(total)
    for i in range(starts.shape[0] - 1):
        for j in range(starts[i], starts[i + 1]):
            k = points[j]
            slope = sizes[i] * (constants[j] + per_rates[j] * rates[i]) * values[k]
            for leg in range(leg_starts[k], leg_starts[k + 1]):
                out[groups[i], leg_dates[leg]] += slope * signs[leg]
