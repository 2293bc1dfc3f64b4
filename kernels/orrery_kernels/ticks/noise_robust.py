"""Volatility under noise, and the jumps in it."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, is_finite, kernel, nan, param, ring, sqrt
from orrery_kernels.engine.functions import log, power
from orrery_kernels.engine.normal import norm_cdf
from orrery_kernels.engine.trigonometry import PI
from orrery_kernels.engine.windows import (
    sums,
    sums_push,
)
from orrery_kernels.ticks.parameters import window

_TRIPOWER = 1.7434720745319843  # (2^(2/3) gamma(7/6) / gamma(1/2))^-3


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "one": f64, "two": f64, "w": sums(lambda p: p.window - 2)},
    **window(20, 3, "returns of the symbol"),
    memory="window",
    scale=({"r": 1}, 4),
)
def tripower_quarticity(s, p, r):
    """Integrated quarticity of the window that a jump does not enter.

    Formula: n mu^-3 n/(n-2) sum (|r_i| |r_(i-1)| |r_(i-2)|)^(4/3), mu = 2^(2/3) gamma(7/6) /
        gamma(1/2)
    Units: fourth power of return, per window
    Warm-up: min_periods - 1 returns
    Source: Barndorff-Nielsen & Shephard (2004), Journal of Financial Econometrics 2(1), 1-37
    """
    n = s.n
    product = abs(r) * s.one * s.two
    s.two = s.one
    s.one = abs(r)
    s.n = n + 1 if n < p.window else n
    if n < 2:
        return nan
    total = sums_push(s.w, power(product, 4.0 / 3.0), p.window - 2)
    return _TRIPOWER * s.n * (s.n / (s.n - 2.0)) * total if s.n >= p.min_periods else nan


@kernel(
    inputs={"r": "log_return"},
    state={
        "n": i64,
        "one": f64,
        "two": f64,
        "square": sums("window"),
        "pair": sums(lambda p: p.window - 1),
        "triple": sums(lambda p: p.window - 2),
    },
    params={"window": param(100, "[3, 1000000]", "returns of the symbol")},
    outputs=("jump_ratio", "jump_z", "jump_p_value"),
    memory="window",
    scale=({"r": 1}, 0),
)
def jump_test_bns(s, p, r):
    """Test of no jump in the window: how much of its variance the jump-robust one does not explain.

    Formula: RJ = (RV - BV)/RV; z = RJ / sqrt((pi^2/4 + pi - 5)/n max(1, TQ/BV^2)); p = 1 - Phi(z)
    Units: share, standard deviations, probability
    Warm-up: window - 1 returns; null where the window has no variance
    Source: Huang & Tauchen (2005), Journal of Financial Econometrics 3(4), 456-499
    """
    n = s.n
    a = abs(r)
    variance = sums_push(s.square, r * r, p.window)
    pair = 0.0
    triple = 0.0
    if n > 0:
        pair = sums_push(s.pair, a * s.one, p.window - 1)
    if n > 1:
        triple = sums_push(s.triple, power(a * s.one * s.two, 4.0 / 3.0), p.window - 2)
    s.two = s.one
    s.one = a
    s.n = n + 1 if n < p.window else n
    bipower = 0.5 * PI * p.window / (p.window - 1.0) * pair
    if s.n < p.window or not variance > 0.0 or not bipower > 0.0:
        return nan, nan, nan
    ratio = (variance - bipower) / variance
    quarticity = _TRIPOWER * p.window * (p.window / (p.window - 2.0)) * triple
    spread = (PI * PI / 4.0 + PI - 5.0) / p.window * max(1.0, quarticity / (bipower * bipower))
    z = ratio / sqrt(spread)
    return ratio, z, norm_cdf(-z)


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "last": f64, "w": sums(lambda p: p.window - 2)},
    params={
        "window": param(270, "[4, 1000000]", "K: returns from which the local volatility is taken"),
        "alpha": param(0.01, "(0, 1)", "chance of a false alarm among `window` returns"),
    },
    let={
        "center": lambda p: _lee_mykland_center(p.window),
        "scale": lambda p: sqrt(2.0 / PI) / sqrt(2.0 * log(1.0 * p.window)),
        "limit": lambda p: -log(-log(1.0 - p.alpha)),
    },
    outputs={"lm_statistic": f64, "lm_jump": "i8"},
    memory="window",
    scale=({"r": 1}, 0),
)
def jump_test_lm(s, p, r):
    """Test whether this return is a jump, against the volatility of the returns before it.

    Formula: L = r / sigma, sigma^2 = sum |r_j||r_(j-1)| / (K - 2) over the K - 1 returns before;
        jump where (|L| - C) / S > -ln(-ln(1 - alpha)); C, S of the largest of K normals with c =
        sqrt(2/pi)
    Units: standard deviations, flag
    Warm-up: window - 1 returns; null where these do not move
    Source: Lee & Mykland (2008), Review of Financial Studies 21(6), 2535-2563
    """
    n = s.n
    ready = s.w.n == p.window - 2
    spread = s.w.total / (p.window - 2.0)
    product = abs(r) * abs(s.last)
    s.last = r
    s.n = 1
    if n > 0:
        sums_push(s.w, product, p.window - 2)
    if not ready or not spread > 0.0:
        return nan, nan
    size = r / sqrt(spread)
    return size, 1.0 if (abs(size) - p.center) / p.scale > p.limit else 0.0


def _lee_mykland_center(n: int) -> float:
    root = sqrt(2.0 * log(1.0 * n))
    c = sqrt(2.0 / PI)
    return root / c - (log(PI) + log(log(1.0 * n))) / (2.0 * c * root)


@kernel(
    inputs={"r": "log_return"},
    state={
        "step": sums("slow"),
        "fast": sums("window"),
        "slow": sums(lambda p: p.window - p.slow + 1),
    },
    params={
        "window": param(300, "[4, 1000000]", "n: returns of the symbol"),
        "slow": param(30, "[2, 1000000]", "K: returns in one step of the slow scale"),
    },
    rules={"slow < window": lambda p: p.slow < p.window},
    memory="window",
    scale=({"r": 1}, 2),
)
def tsrv(s, p, r):
    """Two-scale realized variance: the variance of the window without the noise of its prices.

    Formula: (1 - m/n)^-1 (sum over the window of (K-step returns)^2 / K - m/n sum r^2), m = (n - K
        + 1)/K
    Units: squared return, per window
    Warm-up: window - 1 returns
    Source: Zhang, Mykland & Ait-Sahalia (2005), JASA 100, 1394-1411
    """
    fast = sums_push(s.fast, r * r, p.window)
    step = sums_push(s.step, r, p.slow)
    if s.step.n < p.slow:
        return nan
    slow = sums_push(s.slow, step * step, p.window - p.slow + 1)
    share = (p.window - p.slow + 1.0) / (p.slow * (1.0 * p.window))
    return (slow / p.slow - share * fast) / (1.0 - share) if s.fast.n == p.window else nan


def _parzen(x: float) -> float:
    return (
        1.0 - 6.0 * x * x + 6.0 * x * x * x if x <= 0.5 else 2.0 * (1.0 - x) * (1.0 - x) * (1.0 - x)
    )


@inline
def _autoproducts(values, gamma, start, n, lags):
    """Write to gamma[h] the sum of x_j x_(j-h) over the n values that begin at `start` of a full
    ring."""
    for h in range(lags + 1):
        total = 0.0
        for k in range(h, n):
            j = start + k
            b = j - h
            total += values[j - n if j >= n else j] * values[b - n if b >= n else b]
        gamma[h] = total


@kernel(
    inputs={"r": "log_return"},
    state={
        "n": i64,
        "at": i64,
        "largest": f64,
        "ring": ring("window"),
        "gamma": ring(lambda p: p.lags + 1),
    },
    params={
        "window": param(300, "[4, 1000000]", "n: returns of the symbol"),
        "lags": param(10, "[1, 10000]", "H: bandwidth; cost of a tick grows with it"),
    },
    rules={"lags < window": lambda p: p.lags < p.window},
    let={"weights": lambda p: [_parzen(h / (p.lags + 1.0)) for h in range(p.lags + 1)]},
    memory="window",
    scale=({"r": 1}, 2),
)
def realized_kernel(s, p, r):
    """Realized kernel with Parzen weights: variance of the window, robust to noise in its prices.

    Formula: g_0 + 2 sum k(h / (H + 1)) g_h, g_h = sum r_j r_(j-h) over the returns of the window
    Units: squared return, per window; never negative
    Warm-up: window - 1 returns
    Source: Barndorff-Nielsen, Hansen, Lunde & Shephard (2008), Econometrica 76(6), 1481-1536;
        weights that never give a negative variance: the same (2011), J. Econometrics 162(2),
        149-169
    """
    full = s.n == p.window
    old = s.ring[s.at]
    if full:
        for h in range(p.lags + 1):
            j = s.at + h
            s.gamma[h] -= old * s.ring[j - p.window if j >= p.window else j]
    s.ring[s.at] = r
    for h in range(p.lags + 1):
        j = s.at - h
        s.gamma[h] += r * s.ring[j + p.window if j < 0 else j]  # zero where nothing has been yet
    s.at = s.at + 1 if s.at + 1 < p.window else 0
    s.n = s.n if full else s.n + 1
    s.largest = max(s.largest, s.gamma[0])
    if s.n == p.window and (
        s.at == 0 or s.gamma[0] * 4096.0 < s.largest or not is_finite(s.gamma[0])
    ):
        _autoproducts(s.ring, s.gamma, s.at, p.window, p.lags)
        s.largest = s.gamma[0]
    total = s.gamma[0]
    for h in range(1, p.lags + 1):
        total += 2.0 * p.weights[h] * s.gamma[h]
    return max(total, 0.0) if s.n == p.window else nan
