"""Two instruments: how they move together, which one leads, and how to hold one against the other.

Where ticks of the two do not come at the same time, both legs are rows of one ordered stream: the
column `leg` is 0 for a and 1 for b. Where they do, they are two columns of one row.
"""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, kernel, nan, param, ring, sqrt, struct
from orrery_kernels.engine.windows import sums, sums_push


@kernel(
    params={"beta": param(1.0, doc="units of b held against one of a")},
    memory=1,
    scale=({"a": 1, "b": 1}, 1),
)
def pairs_spread(p, a, b):
    """Spread of a pair: one leg less beta of the other, prices of one moment in one row.

    Formula: a - beta b
    Units: those of a
    Warm-up: none
    Source: Engle & Granger (1987), Econometrica 55(2); Gatev, Goetzmann & Rouwenhorst (2006), RFS
        19(3)
    """
    return a - p.beta * b


@kernel(
    state={"n": i64, "alpha": f64, "beta": f64, "aa": f64, "ab": f64, "bb": f64},
    params={
        "q": param(1e-5, "[0, inf)", "variance of one step of alpha and of beta"),
        "r": param(0.1, "(0, inf)", "variance of one observation"),
        "prior": param(1e6, "(0, inf)", "variance of alpha and beta before the first tick"),
    },
    outputs=("hedge_ratio", "hedge_alpha", "hedge_spread"),
)
def kalman_hedge_ratio(s, p, a, b):
    """Hedge ratio that moves: the slope and intercept of a on b, followed by a Kalman filter.

    Formula: state (alpha, beta) walks at random, a = alpha + beta b + noise; spread is the surprise
        a - alpha - beta b before the update
    Units: a per b, those of a, those of a
    Warm-up: none; the first ticks are led by the prior (0, 0)
    Source: Kalman (1960); Elliott, van der Hoek & Malcolm (2005), Quantitative Finance 5(3),
        271-276
    """
    aa = s.aa + p.q if s.n > 0 else p.prior
    bb = s.bb + p.q if s.n > 0 else p.prior
    ab = s.ab
    s.n = 1
    gap = a - s.alpha - s.beta * b
    pa = aa + ab * b
    pb = ab + bb * b
    total = pa + pb * b + p.r
    s.alpha += pa / total * gap
    s.beta += pb / total * gap
    s.aa = aa - pa * pa / total
    s.ab = ab - pa * pb / total
    s.bb = bb - pb * pb / total
    return s.beta, s.alpha, gap


@inline
def _put_pair(sums, base, x, y, sign):
    """Add (sign 1) or take away (sign -1) a pair of distances from the pivots."""
    sums[base] += sign * x
    sums[base + 1] += sign * y
    sums[base + 2] += sign * x * x
    sums[base + 3] += sign * y * y
    sums[base + 4] += sign * x * y
    sums[base + 5] = max(sums[base + 5], sums[base + 2])
    sums[base + 6] = max(sums[base + 6], sums[base + 3])


@inline
def _sum_anew(a_ring, b_ring, sums, newest, size, window, max_lag, a0, b0):
    """Make the sums of every shift from the rings: no trace of what has left."""
    for m in range(2 * max_lag + 1):
        base = 7 * m
        for c in range(7):
            sums[base + c] = 0.0
        back_a = max(m - max_lag, 0)
        back_b = max(max_lag - m, 0)
        for j in range(window):
            ia = newest - j - back_a
            ib = newest - j - back_b
            x = a_ring[ia + size if ia < 0 else ia] - a0
            y = b_ring[ib + size if ib < 0 else ib] - b0
            _put_pair(sums, base, x, y, 1.0)
        sums[base + 5] = sums[base + 2]
        sums[base + 6] = sums[base + 3]


@inline
def _correlation(sums, base, n):
    sxx = max(sums[base + 2] - sums[base] * sums[base] / n, 0.0)
    syy = max(sums[base + 3] - sums[base + 1] * sums[base + 1] / n, 0.0)
    both = sqrt(sxx) * sqrt(syy)
    value = (sums[base + 4] - sums[base] * sums[base + 1] / n) / both
    return min(max(value, -1.0), 1.0) if both > 0.0 else 0.0


@inline
def _lost(sums, base, n):
    """Say whether digits of a shift are gone: little is left of what went through its sums."""
    guard = 4.0 * n if n > 1024 else 4096.0
    left_x = (sums[base + 2] - sums[base] * sums[base] / n) * guard < sums[base + 5]
    left_y = (sums[base + 3] - sums[base + 1] * sums[base + 1] / n) * guard < sums[base + 6]
    return 1 if left_x or left_y else 0


@kernel(
    inputs={"a": "x", "b": "y"},
    state={
        "n": i64,
        "at": i64,
        "a0": f64,
        "b0": f64,
        "a_ring": ring(lambda p: p.window + p.max_lag + 1),
        "b_ring": ring(lambda p: p.window + p.max_lag + 1),
        "sums": ring(lambda p: 7 * (2 * p.max_lag + 1)),
    },
    params={
        "max_lag": param(
            10, "[1, 1000]", "largest lead or lag looked at; cost of a tick grows with it"
        ),
        "window": param(100, "[5, 100000]", "pairs"),
    },
    outputs={"optimal_lag": "i32", "max_corr": f64},
    memory=lambda p: p.window + p.max_lag + 1,
)
def xcorr_leadlag(s, p, a, b):
    """Which of two series leads: the shift at which they correlate most.

    Formula: argmax over k in -L..L of |corr(a_(t-k), b_t)|, k < 0: corr(a_t, b_(t+k)), over
        `window` pairs; k > 0 says that a leads by k ticks; of equal ones the smallest |k|, then the
        positive one
    Units: ticks, -1 to 1
    Warm-up: window + max_lag ticks
    Source: de Jong & Nijman (1997), Journal of Empirical Finance 4(2); Hoffmann, Rosenbaum &
        Yoshida (2013)
    """
    size = p.window + p.max_lag + 1
    shifts = 2 * p.max_lag + 1
    newest = s.at
    s.a_ring[newest] = a
    s.b_ring[newest] = b
    s.at = s.at + 1 if s.at + 1 < size else 0
    was_full = s.n == size
    s.n = s.n if was_full else s.n + 1
    if s.n < size:
        return nan, nan
    lost = 0
    if was_full and s.at > 0:
        for m in range(shifts):
            back_a = max(m - p.max_lag, 0)
            back_b = max(p.max_lag - m, 0)
            for j in range(2):  # the new pair comes, the one `window` before it goes
                ia = newest - back_a - j * p.window
                ib = newest - back_b - j * p.window
                x = s.a_ring[ia + size if ia < 0 else ia] - s.a0
                y = s.b_ring[ib + size if ib < 0 else ib] - s.b0
                _put_pair(s.sums, 7 * m, x, y, 1.0 - 2.0 * j)
            lost += _lost(s.sums, 7 * m, p.window)
    if lost > 0 or s.at == 0 or not was_full:
        s.a0 = a
        s.b0 = b
        _sum_anew(s.a_ring, s.b_ring, s.sums, newest, size, p.window, p.max_lag, a, b)
    best = _correlation(s.sums, 7 * p.max_lag, p.window)
    lag = 0
    for m in range(1, p.max_lag + 1):
        leads = _correlation(s.sums, 7 * (p.max_lag + m), p.window)
        follows = _correlation(s.sums, 7 * (p.max_lag - m), p.window)
        if abs(leads) > abs(best):
            best = leads
            lag = m
        if abs(follows) > abs(best):
            best = follows
            lag = -m
    return 1.0 * lag, best


_LEGS = struct(
    a_n=i64, a_ts=i64, a=f64, b_at_a=f64, b_n=i64, b_ts=i64, b=f64, a_at_b=f64,
    cov=sums("window"), var_a=sums("window"), var_b=sums("window"),
)  # fmt: skip


@inline
def _legs_push(w, ts_ns, leg, price, size):
    """Fold one tick of either leg in.

    The returns of b over intervals that overlap (t_before, t] of a add up to b now less b at
        t_before:
    so each pair of overlapping intervals is counted once, when the later one ends, at constant
        cost.
    """
    of_a = leg < 0.5
    n = w.a_n if of_a else w.b_n
    r = price - (w.a if of_a else w.b)
    other = (
        (w.b - w.b_at_a if w.b_n > 0 else 0.0) if of_a else (w.a - w.a_at_b if w.a_n > 0 else 0.0)
    )
    apart = ts_ns > (w.a_ts if of_a else w.b_ts)
    joint = r * other if n > 0 and apart else 0.0
    square = r * r if n > 0 else 0.0
    if of_a:
        w.a_n = 1
        w.a = price
        w.b_at_a = w.b
        if w.b_n > 0 and (
            n == 0 or w.b_ts == ts_ns
        ):  # b's interval ends here, or begins with a's first
            w.a_at_b = price
        w.a_ts = ts_ns
    else:
        w.b_n = 1
        w.b = price
        w.a_at_b = w.a
        if w.a_n > 0 and (n == 0 or w.a_ts == ts_ns):
            w.b_at_a = price
        w.b_ts = ts_ns
    sums_push(w.cov, joint, size)
    sums_push(w.var_a, square if of_a else 0.0, size)
    sums_push(w.var_b, 0.0 if of_a else square, size)


@kernel(
    inputs={"ts_ns": "ts_event_ns", "leg": "leg", "log_price": "log_price"},
    state={"w": _LEGS},
    params={"window": param(200, "[2, 1000000]", "ticks of both legs")},
    scale=({"log_price": 1}, 2),
)
def hayashi_yoshida_cov(s, p, ts_ns: i64, leg, log_price):
    """Covariance of two prices that tick at different times, with nothing interpolated.

    Formula: sum r_i s_j over pairs of returns whose intervals overlap, counted at the tick at which
        the later of the two ends, over the last `window` ticks of both legs; a second tick of one
        leg at one time spans no interval of its own
    Units: squared return, per window
    Warm-up: none; 0 until both legs have moved
    Source: Hayashi & Yoshida (2005), Bernoulli 11(2), 359-379
    """
    _legs_push(s.w, ts_ns, leg, log_price, p.window)
    return s.w.cov.total


@kernel(
    inputs={"ts_ns": "ts_event_ns", "leg": "leg", "log_price": "log_price"},
    state={"w": _LEGS},
    params={"window": param(200, "[2, 1000000]", "ticks of both legs")},
    scale=({"log_price": 1}, 0),
)
def hayashi_yoshida_corr(s, p, ts_ns: i64, leg, log_price):
    """Correlation of two prices that tick at different times.

    Formula: the Hayashi-Yoshida covariance over the root of the two realized variances, same ticks;
        null while either leg has not moved (not bounded by 1 in a finite sample)
    Units: none
    Warm-up: none
    Source: Hayashi & Yoshida (2005), Bernoulli 11(2), 359-379
    """
    _legs_push(s.w, ts_ns, leg, log_price, p.window)
    both = sqrt(max(s.w.var_a.total, 0.0)) * sqrt(max(s.w.var_b.total, 0.0))
    return s.w.cov.total / both if both > 0.0 else nan
