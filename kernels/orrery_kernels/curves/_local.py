"""The solver for curves that are local: each node depends on its own quote and the nodes before it.

Unknowns are y[i], the log discount factor at node i. A point is P(s) / P(e) * P(p), or one discount
factor; its log is an offset plus weights times nodes. Node after node, the points whose last node it
is are functions of one unknown,

    f(y) = known + sum of g * exp(a + b * y) = 0,

solved by Householder's third-order step (Householder, 1970) with analytic derivatives. The first guess
goes on with the last forward rate; where a node has many points it is improved by one such step on
the series of f in b * (y - y_before), which has no exponential. Then one evaluation is mostly enough.

Work is not repeated: a point is evaluated for its first node only and enters later equations as a
number, and a row that begins like an earlier one (a 7Y swap like the 5Y) starts from its sums.
The same source serves one set of quotes and a block of `len(lanes)` scenarios: a lane that has converged
is left alone, so its bits do not depend on its neighbours.
"""

import numpy as np
from numba import njit

from orrery_kernels.curves._math import exp

OPTIONS = {"nogil": True, "fastmath": False, "error_model": "numpy"}
# Called from compiled code only: no wrapper for Python, which takes half of the compile time.
INNER = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
ONE = (0,)
LANES = (0,) * 32
STEPS_MAX = 8
# The error left is of fourth order in the last step: below 1e-15 after a step of 1e-3 (measured).
STEP_DONE = 1e-3
SERIES = 7  # terms of the guess; the rest is below 1e-5 for a segment of 20 years at 3 %
SERIES_POINTS_MIN = 4  # below it an evaluation costs less than the series
BRACKET_FORWARDS = (-0.5, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

# Positions in the header of `ints`: three counts, then where each part of `ints` or `floats` begins.
NODES, POINTS, OWN_MAX = 0, 1, 2
ROW_START, ROW_OWN, ROW_POINT, ROW_BASE, NODE_START, NODE_USED, LEG_START, LEG_NODE = range(3, 11)
ROW_CONSTANT, ROW_PER_RATE, LEG_WEIGHT, SCALE, SHIFT, TIME, BAND = range(11, 18)
GUESS_CONSTANT, GUESS_PER_RATE = 18, 19
HEADER = 20


@njit(**INNER)
def part(array, ints, which):
    """Return the rest of a packed array from the beginning of one of its parts."""
    return array[ints[which] :]


@njit(**INNER)
def _known(
    begin, own, end, point, constant, per_rate, rate, values, by_constant, by_rate, g, lanes
):
    """Complete the sums over points of earlier nodes; set g[0] to their value, g[1:] to own weights."""
    for j in range(begin, own):
        for lane in range(len(lanes)):
            by_constant[lane] += constant[j] * values[point[j], lane]
            by_rate[lane] += per_rate[j] * values[point[j], lane]
    for lane in range(len(lanes)):
        g[0, lane] = by_constant[lane] + rate[lane] * by_rate[lane]
    for j in range(own, end):
        for lane in range(len(lanes)):
            g[1 + j - own, lane] = constant[j] + per_rate[j] * rate[lane]


@njit(**INNER)
def _exponents(begin, end, leg_start, leg_node, leg_weight, offsets, y, a, b, lanes):
    """Set a and b of each point of a node: its log is a + b * y[node]."""
    for k in range(begin, end):
        last = leg_start[k + 1] - 1
        b[k - begin] = leg_weight[last]
        for lane in range(len(lanes)):
            a[k - begin, lane] = offsets[k]
        for j in range(leg_start[k], last):
            for lane in range(len(lanes)):
                a[k - begin, lane] += leg_weight[j] * y[leg_node[j], lane]


@njit(**INNER)
def _guess(time, i, rate, y, lanes):
    """Go on with the forward rate of the segment before."""
    for lane in range(len(lanes)):
        if i == 1:
            y[1, lane] = -rate[lane] * time[1]
        else:
            slope = (y[i - 1, lane] - y[i - 2, lane]) / (time[i - 1] - time[i - 2])
            y[i, lane] = y[i - 1, lane] + slope * (time[i] - time[i - 1])


@njit(**INNER)
def _evaluate(count, a, b, g, y, values, sums, live, lanes):
    """Set the values of own points, and f with three derivatives in sums, of the lanes that are live."""
    for k in range(count):
        for lane in range(len(lanes)):
            value = exp(a[k, lane] + b[k] * y[lane])
            values[k, lane] = value if live[lane] > 0.0 else values[k, lane]
    for lane in range(len(lanes)):
        sums[0, lane] = g[0, lane]
        sums[1, lane] = 0.0
        sums[2, lane] = 0.0
        sums[3, lane] = 0.0
    for k in range(count):
        for lane in range(len(lanes)):
            term = g[1 + k, lane] * values[k, lane]
            sums[0, lane] += term
            term *= b[k]
            sums[1, lane] += term
            term *= b[k]
            sums[2, lane] += term
            sums[3, lane] += term * b[k]


@njit(**INNER)
def _improve(constant, per_rate, rate, known, before, y, lanes):
    """Improve the guess y by a step on known + P_before * sum of G_m * (y - before)^m / m!."""
    for lane in range(len(lanes)):
        x = y[lane] - before[lane]
        f3 = f2 = f1 = f0 = 0.0
        for m in range(SERIES - 1, -1, -1):
            weight = constant[m] + per_rate[m] * rate[lane]
            f3 = f3 * x + f2
            f2 = f2 * x + f1
            f1 = f1 * x + f0
            f0 = f0 * x + weight
        f0 += known[lane] * exp(-before[lane])
        y[lane] += _householder(f0, f1, 2.0 * f2, 6.0 * f3)


@njit(**INNER)
def _householder(f, f1, f2, f3):
    """Return the third-order step towards f = 0, or the Newton step where its denominator is small."""
    h = -f / f1
    second, third = f2 / f1, f3 / f1
    below = 1.0 + second * h + third * h * h * (1.0 / 6.0)
    above = 1.0 + 0.5 * second * h
    return h * (above / below) if below > 0.25 else h


@njit(**INNER)
def _step(sums, y, step, live, lanes):
    """Move each live lane; return how many go on."""
    going = 0
    for lane in range(len(lanes)):
        h = _householder(sums[0, lane], sums[1, lane], sums[2, lane], sums[3, lane])
        h = h if live[lane] > 0.0 else 0.0
        y[lane] += h
        step[lane] = h if live[lane] > 0.0 else step[lane]
        more = live[lane] > 0.0 and not abs(h) <= STEP_DONE
        live[lane] = 1.0 if more else 0.0
        going += 1 if more else 0
    return going


@njit(**INNER)
def _finish(used, count, a, b, y, step, values, lanes):
    """Carry the last step into own points, and evaluate those no equation has used yet."""
    for k in range(used):
        for lane in range(len(lanes)):
            z = b[k] * step[lane]
            cubic = 0.5 + z * (0.16666666666666666 + z * 0.041666666666666664)
            values[k, lane] *= 1.0 + z * (1.0 + z * cubic)
    for k in range(used, count):
        for lane in range(len(lanes)):
            values[k, lane] = exp(a[k, lane] + b[k] * y[lane])


@njit(**INNER)
def _add_own(own, end, point, constant, per_rate, values, by_constant, by_rate, lanes):
    """Complete the sums of a row with its own points, for later rows to start from."""
    for j in range(own, end):
        for lane in range(len(lanes)):
            by_constant[lane] += constant[j] * values[point[j], lane]
            by_rate[lane] += per_rate[j] * values[point[j], lane]


@njit(**INNER)
def _bracketed(count, a, b, g, guess, before, dt):
    """Return a log discount factor with f = 0 nearest to the guess by bisection, or NaN."""
    best = np.nan
    left, f_left = 0.0, 0.0
    for j in range(len(BRACKET_FORWARDS)):
        right = before - BRACKET_FORWARDS[j] * dt
        f_right = _function(count, a, b, g, right)
        if j > 0 and f_left * f_right <= 0.0:
            root = _bisect(count, a, b, g, left, right, f_left)
            if not abs(best - guess) <= abs(root - guess):
                best = root
        left, f_left = right, f_right
    return best


@njit(**INNER)
def _function(count, a, b, g, y):
    total = g[0, 0]
    for k in range(count):
        total += g[1 + k, 0] * exp(a[k, 0] + b[k] * y)
    return total


@njit(**INNER)
def _bisect(count, a, b, g, left, right, f_left):
    for _ in range(200):
        middle = 0.5 * (left + right)
        f_middle = _function(count, a, b, g, middle)
        if f_middle * f_left > 0.0:
            left = middle
        else:
            right = middle
    return 0.5 * (left + right)


@njit(**INNER)
def _solve(ints, floats, offsets, quotes, first, y, values, sums_of, status, lanes):
    """Solve lanes first, first + 1, ... of quotes; status is 0 or the first node without a solution.

    sums_of[0 or 1, i] are the sums of constant and per_rate times value over the points of row i.
    """
    count, own_max = ints[NODES], ints[OWN_MAX]
    begin, used, time = (
        part(ints, ints, NODE_START),
        part(ints, ints, NODE_USED),
        part(floats, ints, TIME),
    )
    scale, shift = part(floats, ints, SCALE), part(floats, ints, SHIFT)
    start, owned, base = (
        part(ints, ints, ROW_START),
        part(ints, ints, ROW_OWN),
        part(ints, ints, ROW_BASE),
    )
    point = part(ints, ints, ROW_POINT)
    constant, per_rate = part(floats, ints, ROW_CONSTANT), part(floats, ints, ROW_PER_RATE)
    leg_start, leg_node = part(ints, ints, LEG_START), part(ints, ints, LEG_NODE)
    leg_weight = part(floats, ints, LEG_WEIGHT)
    guess_c, guess_r = part(floats, ints, GUESS_CONSTANT), part(floats, ints, GUESS_PER_RATE)
    scratch = np.empty((2 * own_max + 10, len(lanes)))
    a, g, work = scratch[:own_max], scratch[own_max : 2 * own_max + 1], scratch[2 * own_max + 1 :]
    b, sums, rate, live, step = np.empty(own_max), work[:4], work[4], work[5], work[6]
    for lane in range(len(lanes)):
        status[lane] = 0
        y[0, lane] = 0.0
        sums_of[0, 0, lane] = 0.0
        sums_of[1, 0, lane] = 0.0
        for k in range(begin[1]):
            values[k, lane] = exp(offsets[k])
    for i in range(1, count + 1):
        for lane in range(len(lanes)):
            source = min(first + lane, quotes.shape[0] - 1)
            rate[lane] = scale[i] * quotes[source, i - 1] + shift[i]
            live[lane], step[lane] = 1.0, 0.0
            sums_of[0, i, lane] = sums_of[0, base[i], lane]
            sums_of[1, i, lane] = sums_of[1, base[i], lane]
        mine, own, by_c, by_r = values[begin[i] :], used[i] - begin[i], sums_of[0, i], sums_of[1, i]
        _known(
            start[i],
            owned[i],
            start[i + 1],
            point,
            constant,
            per_rate,
            rate,
            values,
            by_c,
            by_r,
            g,
            lanes,
        )
        _exponents(begin[i], begin[i + 1], leg_start, leg_node, leg_weight, offsets, y, a, b, lanes)
        _guess(time, i, rate, y, lanes)
        guess = y[i, 0]
        if own >= SERIES_POINTS_MIN:
            _improve(
                guess_c[SERIES * i :], guess_r[SERIES * i :], rate, g[0], y[i - 1], y[i], lanes
            )
        for _ in range(STEPS_MAX):
            _evaluate(own, a, b, g, y[i], mine, sums, live, lanes)
            if _step(sums, y[i], step, live, lanes) == 0:
                break
        if len(lanes) == 1 and not abs(step[0]) <= STEP_DONE:
            y[i, 0] = _bracketed(own, a, b, g, guess, y[i - 1, 0], time[i] - time[i - 1])
            live[0] = 1.0
            _evaluate(own, a, b, g, y[i], mine, sums, live, lanes)
            _step(sums, y[i], step, live, lanes)
        for lane in range(len(lanes)):
            if status[lane] == 0 and not abs(step[lane]) <= STEP_DONE:
                status[lane] = i
        _finish(own, begin[i + 1] - begin[i], a, b, y[i], step, mine, lanes)
        _add_own(owned[i], start[i + 1], point, constant, per_rate, values, by_c, by_r, lanes)


@njit(**INNER)
def _jacobian(ints, floats, quotes, values, sums_of, jacobian):
    """Set jacobian[i, j] = d y[i + 1] / d quote[j]: one forward substitution (implicit function)."""
    count = ints[NODES]
    start, base, point = (
        part(ints, ints, ROW_START),
        part(ints, ints, ROW_BASE),
        part(ints, ints, ROW_POINT),
    )
    leg_start, leg_node = part(ints, ints, LEG_START), part(ints, ints, LEG_NODE)
    constant, per_rate = part(floats, ints, ROW_CONSTANT), part(floats, ints, ROW_PER_RATE)
    leg_weight = part(floats, ints, LEG_WEIGHT)
    scale, shift = part(floats, ints, SCALE), part(floats, ints, SHIFT)
    by_c, by_r = np.zeros((count + 1, count + 1)), np.zeros((count + 1, count + 1))
    for i in range(1, count + 1):
        by_c[i, :i] = by_c[base[i], :i]
        by_r[i, :i] = by_r[base[i], :i]
        for j in range(start[i], start[i + 1]):
            value = values[point[j], 0]
            for leg in range(leg_start[point[j]], leg_start[point[j] + 1]):
                by_c[i, leg_node[leg]] += leg_weight[leg] * (constant[j] * value)
                by_r[i, leg_node[leg]] += leg_weight[leg] * (per_rate[j] * value)
        rate = scale[i] * quotes[i - 1] + shift[i]
        inverse = -1.0 / (by_c[i, i] + rate * by_r[i, i])
        row = jacobian[i - 1]
        row[:] = 0.0
        for node in range(1, i):
            weight = (by_c[i, node] + rate * by_r[i, node]) * inverse
            if weight != 0.0:
                for j in range(node):
                    row[j] += weight * jacobian[node - 1, j]
        row[i - 1] = sums_of[1, i, 0] * scale[i] * inverse


@njit(**INNER)
def outside_band(ints, floats, quotes):
    """Return 0, or the first node whose rate is not a number within the band of the plan."""
    scale, shift, band = (
        part(floats, ints, SCALE),
        part(floats, ints, SHIFT),
        part(floats, ints, BAND),
    )
    for i in range(1, ints[NODES] + 1):
        rate = scale[i] * quotes[i - 1] + shift[i]
        if not (band[0] <= rate <= band[1]):
            return i
    return 0


@njit(**OPTIONS)
def solve_one(ints, floats, offsets, quotes, log_discounts, jacobian):
    """Solve one curve; return 0, the first node without a solution, or minus a node out of band.

    An empty jacobian is not wanted.
    """
    outside = outside_band(ints, floats, quotes)
    if outside:
        return -outside
    y = log_discounts.reshape(ints[NODES] + 1, 1)
    values = np.empty((ints[POINTS], 1))
    status = np.empty(1, np.int64)
    sums_of = np.empty((2, ints[NODES] + 1, 1))
    row = quotes.reshape(1, quotes.shape[0])
    _solve(ints, floats, offsets, row, 0, y, values, sums_of, status, ONE)
    if jacobian.shape[0] and status[0] == 0:
        _jacobian(ints, floats, quotes, values, sums_of, jacobian)
    return status[0]


@njit(**OPTIONS)
def solve_many(ints, floats, offsets, quotes, log_discounts, status):
    """Solve a curve for each row of quotes into the rows of log_discounts; status as of solve_one."""
    count, total, width = ints[NODES], quotes.shape[0], len(LANES)
    y = np.empty((count + 1, width))
    values = np.empty((ints[POINTS], width))
    sums_of = np.empty((2, count + 1, width))
    found = np.empty(width, np.int64)
    for first in range(0, total, width):
        _solve(ints, floats, offsets, quotes, first, y, values, sums_of, found, LANES)
        for lane in range(min(width, total - first)):
            outside = outside_band(ints, floats, quotes[first + lane])
            status[first + lane] = -outside if outside else found[lane]
            for i in range(count + 1):
                log_discounts[first + lane, i] = y[i, lane]
