"""Regressions that go on from tick to tick: what trades do to prices, what volatility does next.

The moments of all variables are kept in one matrix; its Cholesky factor holds the regression of
each variable on those before it.
"""

from __future__ import annotations

from orrery_kernels.engine import i64, inline, kernel, nan, param, ring, sqrt
from orrery_kernels.engine.windows import rolling, rolling_get, rolling_push, sums, sums_push

_SINGULAR = 1e-12  # share of a variable's square that the others must leave unexplained


@inline
def moments_fold(m, z, k, keep):
    """Fold the k variables z into the matrix of moments m, of which `keep` stays."""
    for i in range(k):
        for j in range(i + 1):
            m[i * k + j] = keep * m[i * k + j] + z[i] * z[j]


@inline
def factor(m, c, k):
    """Write the Cholesky factor of m to c; return 0 where a variable but the last is explained."""
    good = 1
    for i in range(k):
        for j in range(i + 1):
            total = m[i * k + j]
            for h in range(j):
                total -= c[i * k + h] * c[j * k + h]
            if i > j:
                c[i * k + j] = total / c[j * k + j]
            else:
                if i + 1 < k and not total > _SINGULAR * m[i * k + i]:
                    good = 0
                c[i * k + j] = sqrt(max(total, 0.0))
    return good


@inline
def coefficients(c, beta, k, row):
    """Write to beta the regression of variable `row` on those before it."""
    for h in range(row):
        i = row - 1 - h
        total = c[row * k + i]
        for j in range(i + 1, row):
            total -= c[j * k + i] * beta[j]
        beta[i] = total / c[i * k + i]


@kernel(
    inputs={"rv": "realized_var"},
    state={
        "n": i64, "ready": i64, "week": sums("week"),
        "month": sums("month"), "z": ring(5), "m": ring(25), "c": ring(25), "beta": ring(4),
    },
    params={
        "week": param(5, "[2, 10000]", "days of the middle horizon"),
        "month": param(22, "[3, 10000]", "days of the long horizon"),
        "lambda_": param(1.0, "(0, 1]", "weight of the past; 1 is least squares over all of it"),
        "min_periods": param(30, "[6, 1000000]", "days regressed before the first forecast"),
    },
    rules={"week < month": lambda p: p.week < p.month},
    scale=({"rv": 1}, 1),
)  # fmt: skip
def har_rv(s, p, rv):
    """Forecast of the next realized variance from those of the last day, week and month.

    Formula: RV_(t+1) = c + b_d RV_t + b_w mean_week RV + b_m mean_month RV, least squares over the
        days so far
    Units: those of the input
    Warm-up: month + min_periods - 1 days; null where the three horizons do not vary
    Source: Corsi (2009), Journal of Financial Econometrics 7(2), 174-196
    """
    if s.ready > 0:
        s.z[4] = rv
        moments_fold(s.m, s.z, 5, p.lambda_)
        s.n = s.n + 1 if s.n < p.min_periods else s.n
    week = sums_push(s.week, rv, p.week) / p.week
    month = sums_push(s.month, rv, p.month) / p.month
    s.z[0] = 1.0
    s.z[1] = rv
    s.z[2] = week
    s.z[3] = month
    s.ready = 1 if s.month.n == p.month else 0
    if s.n < p.min_periods:
        return nan
    if factor(s.m, s.c, 5) == 0:
        return nan
    coefficients(s.c, s.beta, 5, 4)
    return s.beta[0] + s.beta[1] * rv + s.beta[2] * week + s.beta[3] * month


def _variables(p: object) -> int:
    return 2 * p.lags + 2


@kernel(
    inputs={"r": "log_return", "x": "side"},
    state={
        "n": i64, "r": rolling("lags"), "x": rolling("lags"), "z": ring(_variables),
        "m": ring(lambda p: _variables(p) * _variables(p)),
        "c": ring(lambda p: _variables(p) * _variables(p)),
        "trade": ring(_variables), "quote": ring(_variables),
        "moves": ring(lambda p: p.horizon + 1), "flow": ring(lambda p: p.horizon + 1),
    },
    params={
        "lags": param(5, "[1, 50]", "trades looked back on; a tick costs its cube"),
        "horizon": param(20, "[1, 1000]", "trades after which an impact counts as permanent"),
        "lambda_": param(1.0, "(0, 1]", "weight of the past; 1 is least squares over all of it"),
        "min_periods": param(100, "[8, 1000000]", "trades regressed before the first result"),
    },
    rules={"min_periods > 2 lags + 2": lambda p: p.min_periods > 2 * p.lags + 2},
    let={"k": _variables},
    outputs=("hasbrouck_impact", "hasbrouck_immediate"),
    scale=({"r": 1}, 1),
)  # fmt: skip
def hasbrouck_impact(s, p, r, x):
    """Permanent impact of a trade: what a surprising one moves the quotes in the end.

    Formula: r_t = sum a_i r_(t-i) + b_0 x_t + sum b_i x_(t-i), x_t = sum c_i r_(t-i) + sum d_i
        x_(t-i), least squares over the trades so far; impact = sum of r over `horizon` trades after
        x_0 = 1; r the return of the quote's mid, x the sign or the signed size of the trade
    Units: return per unit of x; immediate is b_0
    Warm-up: lags + min_periods - 1 trades; null where the variables do not vary on their own
    Source: Hasbrouck (1991), Journal of Finance 46(1), 179-207
    """
    lags = p.lags
    if s.r.n == lags:
        for i in range(lags):
            s.z[i] = rolling_get(s.r, i, lags)
            s.z[lags + i] = rolling_get(s.x, i, lags)
        s.z[2 * lags] = x
        s.z[2 * lags + 1] = r
        moments_fold(s.m, s.z, p.k, p.lambda_)
        s.n = s.n + 1 if s.n < p.min_periods else s.n
    rolling_push(s.r, r, lags)
    rolling_push(s.x, x, lags)
    if s.n < p.min_periods:
        return nan
    if factor(s.m, s.c, p.k) == 0:
        return nan
    coefficients(s.c, s.trade, p.k, 2 * lags)
    coefficients(s.c, s.quote, p.k, 2 * lags + 1)
    total = 0.0
    for h in range(p.horizon + 1):
        flow = 1.0 if h == 0 else 0.0
        move = 0.0
        for i in range(lags):
            if h > i:
                before = s.moves[h - 1 - i]
                traded = s.flow[h - 1 - i]
                flow += s.trade[i] * before + s.trade[lags + i] * traded
                move += s.quote[i] * before + s.quote[lags + i] * traded
        move += s.quote[2 * lags] * flow
        s.flow[h] = flow
        s.moves[h] = move
        total += move
    return total, s.quote[2 * lags]
