"""The solver for curves whose nodes depend on each other: Newton with the analytic jacobian.

For splines a point's log is linear in the nodes (a constant matrix per set of dates); for monotone
convex both are computed anew at every step. Starts from the log-linear curve.
"""

import numpy as np
from numba import njit

from orrery_kernels.curves import _local
from orrery_kernels.curves._interpolate import MONOTONE_CONVEX, prepare, read, weights
from orrery_kernels.curves._local import INNER, OPTIONS, part
from orrery_kernels.curves._math import exp

STEPS_MAX = 40
NEAR = 1e-5  # from here one more step with the same matrix leaves an error below 1e-15
NEAR_KINKED = 1e-7  # monotone convex: its slopes jump where a forward crosses its neighbour's mean,
MOVE_LEFT = 1e-12  # so the last step must have been small, or it is done again with new slopes
MOVE_MAX = 1.0  # in log discount factor


@njit(**INNER)
def _slopes(
    kind, positive, extrapolation, times, dates, y, aux, ints, floats, offsets, logs, slopes
):
    """Set the log of each point and its slopes in the nodes (monotone convex)."""
    count, points = ints[_local.NODES], ints[_local.POINTS]
    leg_start, leg_date = part(ints, ints, _local.LEG_START), part(ints, ints, _local.LEG_NODE)
    sign = part(floats, ints, _local.LEG_WEIGHT)
    prepare(kind, positive, times, y, aux)
    at, by_node = np.empty(dates.shape[0]), np.empty((dates.shape[0], count))
    read(kind, extrapolation, times, y, aux, dates, at)
    weights(kind, positive, extrapolation, times, y, aux, dates, by_node)
    for k in range(points):
        logs[k] = offsets[k]
        slopes[k, :] = 0.0
        for leg in range(leg_start[k], leg_start[k + 1]):
            logs[k] += sign[leg] * at[leg_date[leg]]
            for i in range(count):
                slopes[k, i] += sign[leg] * by_node[leg_date[leg], i]


@njit(**INNER)
def _logs(offsets, slopes, y, logs):
    """Set the log of each point from its constant slopes (splines)."""
    for k in range(logs.shape[0]):
        total = offsets[k]
        for j in range(slopes.shape[1]):
            total += slopes[k, j] * y[j + 1]
        logs[k] = total


@njit(**INNER)
def _residuals(ints, floats, quotes, values, by_constant, by_rate, out):
    """Set out to minus the present value of each row; keep the two sums of each row."""
    start, base = part(ints, ints, _local.ROW_START), part(ints, ints, _local.ROW_BASE)
    point = part(ints, ints, _local.ROW_POINT)
    constant, per_rate = (
        part(floats, ints, _local.ROW_CONSTANT),
        part(floats, ints, _local.ROW_PER_RATE),
    )
    scale, shift = part(floats, ints, _local.SCALE), part(floats, ints, _local.SHIFT)
    for i in range(1, ints[_local.NODES] + 1):
        by_c, by_r = by_constant[base[i]], by_rate[base[i]]
        for j in range(start[i], start[i + 1]):
            by_c += constant[j] * values[point[j]]
            by_r += per_rate[j] * values[point[j]]
        by_constant[i], by_rate[i] = by_c, by_r
        out[i - 1] = -(by_c + (scale[i] * quotes[i - 1] + shift[i]) * by_r)


@njit(**INNER)
def _matrix(ints, floats, quotes, values, slopes, by_c, by_r, out):
    """Set out[i, j] to the slope of the present value of row i + 1 in node j + 1."""
    count = ints[_local.NODES]
    start, base = part(ints, ints, _local.ROW_START), part(ints, ints, _local.ROW_BASE)
    point = part(ints, ints, _local.ROW_POINT)
    constant, per_rate = (
        part(floats, ints, _local.ROW_CONSTANT),
        part(floats, ints, _local.ROW_PER_RATE),
    )
    scale, shift = part(floats, ints, _local.SCALE), part(floats, ints, _local.SHIFT)
    for i in range(1, count + 1):
        for j in range(count):
            by_c[i, j], by_r[i, j] = by_c[base[i], j], by_r[base[i], j]
        for row in range(start[i], start[i + 1]):
            k = point[row]
            c, r = constant[row] * values[k], per_rate[row] * values[k]
            for j in range(count):
                by_c[i, j] += c * slopes[k, j]
                by_r[i, j] += r * slopes[k, j]
        rate = scale[i] * quotes[i - 1] + shift[i]
        for j in range(count):
            out[i - 1, j] = by_c[i, j] + rate * by_r[i, j]


@njit(**INNER)
def factor(matrix, order):
    """Replace a matrix by its LU factors, rows in `order`; return False if it is singular."""
    n = matrix.shape[0]
    for i in range(n):
        order[i] = i
    for column in range(n):
        best = column
        for i in range(column + 1, n):
            if abs(matrix[i, column]) > abs(matrix[best, column]):
                best = i
        if not abs(matrix[best, column]) > 1e-14:
            return False
        if best != column:
            order[column], order[best] = order[best], order[column]
            for j in range(n):
                matrix[column, j], matrix[best, j] = matrix[best, j], matrix[column, j]
        inverse = 1.0 / matrix[column, column]
        for i in range(column + 1, n):
            if matrix[i, column] != 0.0:
                weight = matrix[i, column] * inverse
                matrix[i, column] = weight
                for j in range(column + 1, n):
                    matrix[i, j] -= weight * matrix[column, j]
    return True


@njit(**INNER)
def solve_factored(matrix, order, right, out):
    """Solve for one right side."""
    n = matrix.shape[0]
    for i in range(n):
        total = right[order[i]]
        for j in range(i):
            total -= matrix[i, j] * out[j]
        out[i] = total
    for i in range(n - 1, -1, -1):
        total = out[i]
        for j in range(i + 1, n):
            total -= matrix[i, j] * out[j]
        out[i] = total / matrix[i, i]


@njit(**INNER)
def _invert_rates(matrix, order, by_rate, scale, jacobian):
    """Set jacobian to minus the inverse of the factored matrix times the slopes in the quotes."""
    n = matrix.shape[0]
    for i in range(n):
        jacobian[i, :] = 0.0
        jacobian[i, order[i]] = -by_rate[order[i] + 1] * scale[order[i] + 1]
        for k in range(i):
            weight = matrix[i, k]
            if weight != 0.0:
                for j in range(n):
                    jacobian[i, j] -= weight * jacobian[k, j]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            weight = matrix[i, k]
            for j in range(n):
                jacobian[i, j] -= weight * jacobian[k, j]
        inverse = 1.0 / matrix[i, i]
        for j in range(n):
            jacobian[i, j] *= inverse


@njit(**OPTIONS)
def solve_global(
    settings, ints, floats, offsets, times, dates, constant_slopes, quotes, y, jacobian
):
    """Improve y, the starting log discounts, to the solution; return 0, or 1 + the worst row.

    settings: kind, positive forwards, extrapolation. ints, floats: as for the local solver, but a
    point's legs are (date, sign). constant_slopes: of each point in each node, unless monotone
    convex.
    """
    kind, positive, extrapolation = settings[0], settings[1] != 0, settings[2]
    count, points = ints[_local.NODES], ints[_local.POINTS]
    scale = part(floats, ints, _local.SCALE)
    slopes = constant_slopes
    if kind == MONOTONE_CONVEX:
        slopes = np.empty((points, count))
    logs, values, aux = np.empty(points), np.empty(points), np.empty((2, count + 1))
    by_c, by_r = np.zeros((count + 1, count + 1)), np.zeros((count + 1, count + 1))
    sum_c, sum_r = np.zeros(count + 1), np.zeros(count + 1)
    matrix, order = np.empty((count, count)), np.empty(count, np.int64)
    residual, move = np.empty(count), np.empty(count)
    near = NEAR_KINKED if kind == MONOTONE_CONVEX else NEAR
    stage = 0  # 0: far, 1: near, the next step keeps the matrix, 2: done
    for _ in range(STEPS_MAX):
        if kind == MONOTONE_CONVEX:
            _slopes(
                kind, positive, extrapolation, times, dates, y, aux, ints, floats, offsets, logs,
                slopes,
            )  # fmt: skip
        else:
            _logs(offsets, slopes, y, logs)
        for k in range(points):
            values[k] = exp(logs[k])
        _residuals(ints, floats, quotes, values, sum_c, sum_r, residual)
        if stage == 0 or (stage == 2 and jacobian.shape[0]):
            _matrix(ints, floats, quotes, values, slopes, by_c, by_r, matrix)
            if not factor(matrix, order):
                break
        if stage == 2:
            if jacobian.shape[0]:
                _invert_rates(matrix, order, sum_r, scale, jacobian)
            return 0
        solve_factored(matrix, order, residual, move)
        largest = np.max(np.abs(move))
        if not largest < np.inf:
            break
        limit = min(1.0, MOVE_MAX / largest) if largest > 0.0 else 1.0
        for i in range(count):
            y[i + 1] += limit * move[i]
        if stage == 1 and kind == MONOTONE_CONVEX and largest > MOVE_LEFT:
            stage = 0
        elif stage == 1:
            stage = 2
            if not jacobian.shape[0]:
                return 0
        elif largest < near:
            stage = 1
    return 1 + np.argmax(np.abs(residual))
