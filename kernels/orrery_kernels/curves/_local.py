"""The solver for local curves: each node depends on its own quote and on the nodes before it.

Unknowns are y[i], the log discount factor at node i. A point is P(s) / P(e) * P(p), or one discount
factor; its log is an offset plus weights times nodes. Node after node, the points whose last node
it is are functions of one unknown,

    f(y) = known + sum of g * exp(a + b * y) = 0,

solved by third-order steps (Householder, 1970) with analytic derivatives. The first guess goes on
with the last forward rate; where a node has many points, one such step on the series of f in
b * (y - y_before), which has no exponential, improves it. Then one evaluation is mostly enough.

Work is not repeated: a point is evaluated for its last node only and enters later equations as a
number, and a row that begins like an earlier one (a 7Y swap like the 5Y) starts from its sums.
The same source serves one set of quotes and a block of `len(lanes)` scenarios: a lane that has
converged is left alone, so its bits do not depend on its neighbours.
"""

import numpy as np
from numba import njit

from orrery_kernels.curves._math import exp

OPTIONS = {"nogil": True, "fastmath": False, "error_model": "numpy"}
# Called from compiled code only: no wrapper for Python, which takes half of the compile time.
INNER = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# Inlined always: the compiler judges the whole too large, and a call costs as much as the work.
HOT = {**INNER, "forceinline": True}
ONE = (0,)
LANES = (0,) * 32
STEPS_MAX = 8
# The error left is of fourth order in the last step: below 1e-15 after a step of 1e-3 (measured).
STEP_DONE = 1e-3
SERIES = 7  # terms of the guess; the rest is below 1e-5 for a segment of 20 years at 3 %
SERIES_POINTS_MIN = 4  # below it an evaluation costs less than the series
BRACKET_FORWARDS = (-0.5, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

# Positions in the header of `ints`: three counts, then where the parts of both arrays begin.
NODES, POINTS, OWN_MAX = 0, 1, 2
ROW_START, ROW_OWN, ROW_POINT, ROW_BASE, NODE_START, NODE_USED, LEG_START, LEG_NODE = range(3, 11)
ROW_CONSTANT, ROW_PER_RATE, LEG_WEIGHT, SCALE, SHIFT, TIME, BAND = range(11, 18)
GUESS_CONSTANT, GUESS_PER_RATE = 18, 19
HEADER = 20


@njit(**INNER)
def part(array, ints, which):
    """Return the rest of a packed array from the beginning of one of its parts."""
    return array[ints[which] :]


@njit(**HOT)
def _add_terms(begin, end, point, constant, per_rate, values, i, by_constant, by_rate, lanes):
    """Add terms to the two sums of row i: over constant * value and per_rate * value."""
    if len(lanes) == 1:  # the same sums in registers
        c, r = by_constant[i, 0], by_rate[i, 0]
        for j in range(begin, end):
            value = values[point[j], 0]
            c += constant[j] * value
            r += per_rate[j] * value
        by_constant[i, 0], by_rate[i, 0] = c, r
        return
    for j in range(begin, end):
        for lane in range(len(lanes)):
            by_constant[i, lane] += constant[j] * values[point[j], lane]
            by_rate[i, lane] += per_rate[j] * values[point[j], lane]


@njit(**HOT)
def _own_weights(own, end, constant, per_rate, rate, i, by_constant, by_rate, g, lanes):
    """Set g[0] to the value of the points known so far, g[1:] to the weights of own points."""
    for lane in range(len(lanes)):
        g[0, lane] = by_constant[i, lane] + rate[lane] * by_rate[i, lane]
    for j in range(own, end):
        for lane in range(len(lanes)):
            g[1 + j - own, lane] = constant[j] + per_rate[j] * rate[lane]


@njit(**HOT)
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


@njit(**HOT)
def _guess(time, i, rate, y, u, lanes):
    """Set u, the unknown y[i], as if the forward rate of the segment before went on."""
    for lane in range(len(lanes)):
        if i == 1:
            u[lane] = -rate[lane] * time[1]
        else:
            slope = (y[i - 1, lane] - y[i - 2, lane]) / (time[i - 1] - time[i - 2])
            u[lane] = y[i - 1, lane] + slope * (time[i] - time[i - 1])


@njit(**HOT)
def _improve(constant, per_rate, rate, g, i, y, u, lanes):
    """Improve the guess by a step on known + P_before * sum of G_m * (u - before)^m / m!."""
    for lane in range(len(lanes)):
        x = u[lane] - y[i - 1, lane]
        f3 = f2 = f1 = f0 = 0.0
        for m in range(SERIES * (i + 1) - 1, SERIES * i - 1, -1):
            weight = constant[m] + per_rate[m] * rate[lane]
            f3 = f3 * x + f2
            f2 = f2 * x + f1
            f1 = f1 * x + f0
            f0 = f0 * x + weight
        f0 += g[0, lane] * exp(-y[i - 1, lane])
        u[lane] += _householder(f0, f1, 2.0 * f2, 6.0 * f3)


@njit(**HOT)
def _evaluate(count, a, b, g, u, e, sums, live, lanes):
    """Set e, the values of own points, and in sums f and three derivatives, of live lanes."""
    for k in range(count):
        for lane in range(len(lanes)):
            value = exp(a[k, lane] + b[k] * u[lane])
            e[k, lane] = value if live[lane] > 0.0 else e[k, lane]
    if len(lanes) == 1:  # the same sums in registers
        f, f1, f2, f3 = g[0, 0], 0.0, 0.0, 0.0
        for k in range(count):
            term = g[1 + k, 0] * e[k, 0]
            f += term
            f1 += term * b[k]
            f2 += term * b[k] * b[k]
            f3 += term * b[k] * b[k] * b[k]
        sums[0, 0], sums[1, 0], sums[2, 0], sums[3, 0] = f, f1, f2, f3
        return
    for lane in range(len(lanes)):
        sums[0, lane] = g[0, lane]
        sums[1, lane] = sums[2, lane] = sums[3, lane] = 0.0
    for k in range(count):
        for lane in range(len(lanes)):
            term = g[1 + k, lane] * e[k, lane]
            sums[0, lane] += term
            sums[1, lane] += term * b[k]
            sums[2, lane] += term * b[k] * b[k]
            sums[3, lane] += term * b[k] * b[k] * b[k]


@njit(**HOT)
def _householder(f, f1, f2, f3):
    """Return the third-order step towards f = 0, or Newton's where its denominator is small."""
    h = -f / f1
    second, third = f2 / f1, f3 / f1
    below = 1.0 + second * h + third * h * h * (1.0 / 6.0)
    above = 1.0 + 0.5 * second * h
    return h * (above / below) if below > 0.25 else h


@njit(**HOT)
def _step(sums, u, step, live, lanes):
    """Move each live lane; return how many go on."""
    going = 0
    for lane in range(len(lanes)):
        h = _householder(sums[0, lane], sums[1, lane], sums[2, lane], sums[3, lane])
        h = h if live[lane] > 0.0 else 0.0
        u[lane] += h
        step[lane] = h if live[lane] > 0.0 else step[lane]
        more = live[lane] > 0.0 and not abs(h) <= STEP_DONE
        live[lane] = 1.0 if more else 0.0
        going += 1 if more else 0
    return going


@njit(**HOT)
def _finish(first, used, count, a, b, u, step, e, values, lanes):
    """Keep own values with the last step carried into them, and those no equation has used yet."""
    for k in range(used):
        for lane in range(len(lanes)):
            z = b[k] * step[lane]
            cubic = 0.5 + z * (0.16666666666666666 + z * 0.041666666666666664)
            values[first + k, lane] = e[k, lane] * (1.0 + z * (1.0 + z * cubic))
    for k in range(used, count):
        for lane in range(len(lanes)):
            values[first + k, lane] = exp(a[k, lane] + b[k] * u[lane])


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


@njit(**HOT)
def _root(own, a, b, g, before, dt, u, e, sums, live, step, lanes):
    """Move u to where f is 0: Householder steps, and for one lane a bisection where they fail."""
    guess = u[0]
    for _ in range(STEPS_MAX):
        _evaluate(own, a, b, g, u, e, sums, live, lanes)
        if _step(sums, u, step, live, lanes) == 0:
            break
    if len(lanes) == 1 and not abs(step[0]) <= STEP_DONE:
        u[0] = _bracketed(own, a, b, g, guess, before, dt)
        step[0] = u[0] - u[0]  # 0, or NaN where there is no root
        for k in range(own):
            e[k, 0] = exp(a[k, 0] + b[k] * u[0])


@njit(**INNER)
def _solve(ints, floats, offsets, quotes, row, y, values, by_constant, by_rate, status, lanes):
    """Solve lanes of quotes from `row` on; status is 0 or the first node without a solution.

    by_constant[i], by_rate[i]: sums of constant and of per_rate times value over the points of
    row i.
    """
    count, widest = ints[NODES], ints[OWN_MAX]
    begin, used = part(ints, ints, NODE_START), part(ints, ints, NODE_USED)
    scale, shift = part(floats, ints, SCALE), part(floats, ints, SHIFT)
    start, owned = part(ints, ints, ROW_START), part(ints, ints, ROW_OWN)
    base, point = part(ints, ints, ROW_BASE), part(ints, ints, ROW_POINT)
    constant, per_rate = part(floats, ints, ROW_CONSTANT), part(floats, ints, ROW_PER_RATE)
    leg_start, leg_node = part(ints, ints, LEG_START), part(ints, ints, LEG_NODE)
    leg_weight, time = part(floats, ints, LEG_WEIGHT), part(floats, ints, TIME)
    guess_c, guess_r = part(floats, ints, GUESS_CONSTANT), part(floats, ints, GUESS_PER_RATE)
    scratch = np.empty((3 * widest + 9, len(lanes)))
    a, e, g = scratch[:widest], scratch[widest : 2 * widest], scratch[2 * widest : 3 * widest + 1]
    work, b = scratch[3 * widest + 1 :], np.empty(widest)
    sums, rate, live, step, u = work[:4], work[4], work[5], work[6], work[7]
    for lane in range(len(lanes)):
        status[lane] = 0
        y[0, lane] = by_constant[0, lane] = by_rate[0, lane] = 0.0
        for k in range(begin[1]):
            values[k, lane] = exp(offsets[k])
    for i in range(1, count + 1):
        first, own, all_ = begin[i], used[i] - begin[i], begin[i + 1] - begin[i]
        for lane in range(len(lanes)):
            source = min(row + lane, quotes.shape[0] - 1)
            rate[lane] = scale[i] * quotes[source, i - 1] + shift[i]
            live[lane], step[lane] = 1.0, 0.0
            by_constant[i, lane] = by_constant[base[i], lane]
            by_rate[i, lane] = by_rate[base[i], lane]
        mine, end = owned[i], start[i + 1]
        _add_terms(
            start[i], mine, point, constant, per_rate, values, i, by_constant, by_rate, lanes
        )
        _own_weights(mine, end, constant, per_rate, rate, i, by_constant, by_rate, g, lanes)
        _exponents(first, first + all_, leg_start, leg_node, leg_weight, offsets, y, a, b, lanes)
        _guess(time, i, rate, y, u, lanes)
        if own >= SERIES_POINTS_MIN:
            _improve(guess_c, guess_r, rate, g, i, y, u, lanes)
        _root(own, a, b, g, y[i - 1, 0], time[i] - time[i - 1], u, e, sums, live, step, lanes)
        for lane in range(len(lanes)):
            y[i, lane] = u[lane]
            if status[lane] == 0 and not abs(step[lane]) <= STEP_DONE:
                status[lane] = i
        _finish(first, own, all_, a, b, u, step, e, values, lanes)
        _add_terms(mine, end, point, constant, per_rate, values, i, by_constant, by_rate, lanes)


@njit(**INNER)
def _jacobian(ints, floats, quotes, values, by_rate, jacobian):
    """Set jacobian[i, j] = d y[i + 1] / d quote[j] by forward substitution (implicit function)."""
    count = ints[NODES]
    start, base = part(ints, ints, ROW_START), part(ints, ints, ROW_BASE)
    point = part(ints, ints, ROW_POINT)
    leg_start, leg_node = part(ints, ints, LEG_START), part(ints, ints, LEG_NODE)
    constant, per_rate = part(floats, ints, ROW_CONSTANT), part(floats, ints, ROW_PER_RATE)
    leg_weight = part(floats, ints, LEG_WEIGHT)
    scale, shift = part(floats, ints, SCALE), part(floats, ints, SHIFT)
    node_c, node_r = np.zeros((count + 1, count + 1)), np.zeros((count + 1, count + 1))
    for i in range(1, count + 1):
        for node in range(i):
            node_c[i, node], node_r[i, node] = node_c[base[i], node], node_r[base[i], node]
        for j in range(start[i], start[i + 1]):
            k = point[j]
            c, r = constant[j] * values[k, 0], per_rate[j] * values[k, 0]
            for leg in range(leg_start[k], leg_start[k + 1]):
                node_c[i, leg_node[leg]] += leg_weight[leg] * c
                node_r[i, leg_node[leg]] += leg_weight[leg] * r
        rate = scale[i] * quotes[i - 1] + shift[i]
        inverse = -1.0 / (node_c[i, i] + rate * node_r[i, i])
        for j in range(count):
            jacobian[i - 1, j] = 0.0
        for node in range(1, i):
            weight = (node_c[i, node] + rate * node_r[i, node]) * inverse
            if weight != 0.0:
                for j in range(node):
                    jacobian[i - 1, j] += weight * jacobian[node - 1, j]
        jacobian[i - 1, i - 1] = by_rate[i, 0] * scale[i] * inverse


@njit(**INNER)
def outside_band(ints, floats, quotes):
    """Return 0, or the first node whose rate is not a number within the band of the plan."""
    scale, shift = part(floats, ints, SCALE), part(floats, ints, SHIFT)
    band = part(floats, ints, BAND)
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
    nodes, points = ints[NODES] + 1, ints[POINTS]
    y, status = log_discounts.reshape(nodes, 1), np.empty(1, np.int64)
    buffer = np.empty((points + 2 * nodes, 1))
    values, by_constant = buffer[:points], buffer[points : points + nodes]
    by_rate = buffer[points + nodes :]
    row = quotes.reshape(1, quotes.shape[0])
    _solve(ints, floats, offsets, row, 0, y, values, by_constant, by_rate, status, ONE)
    if jacobian.shape[0] and status[0] == 0:
        _jacobian(ints, floats, quotes, values, by_rate, jacobian)
    return status[0]


@njit(**OPTIONS)
def solve_many(ints, floats, offsets, quotes, log_discounts, status):
    """Solve a curve for each row of quotes into a row of log_discounts; status as of solve_one."""
    count, total, width = ints[NODES], quotes.shape[0], len(LANES)
    y = np.empty((count + 1, width))
    values = np.empty((ints[POINTS], width))
    by_constant, by_rate = np.empty((count + 1, width)), np.empty((count + 1, width))
    found = np.empty(width, np.int64)
    for first in range(0, total, width):
        _solve(ints, floats, offsets, quotes, first, y, values, by_constant, by_rate, found, LANES)
        for lane in range(min(width, total - first)):
            outside = outside_band(ints, floats, quotes[first + lane])
            status[first + lane] = -outside if outside else found[lane]
            for i in range(count + 1):
                log_discounts[first + lane, i] = y[i, lane]
