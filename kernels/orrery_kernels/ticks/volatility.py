"""Volatility: what moved, from returns or from bars, with and without jumps."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, inline, is_finite, kernel, nan, param, ring, sqrt
from orrery_kernels.engine.functions import LN2, log, power
from orrery_kernels.engine.normal import norm_cdf
from orrery_kernels.engine.trigonometry import PI
from orrery_kernels.engine.windows import (
    moments,
    moments_push,
    moments_variance,
    sums,
    sums_push,
)

_FULL = {"min_periods <= window": lambda p: p.min_periods <= p.window}
_MED = PI / (6.0 - 4.0 * sqrt(3.0) + PI)
_MIN = PI / (PI - 2.0)
_TRIPOWER = 1.7434720745319843  # (2^(2/3) gamma(7/6) / gamma(1/2))^-3


def _window(default: int, least: int) -> dict:
    interval = f"[{least}, 1000000]"
    return {
        "window": param(default, interval, "returns of the symbol"),
        "min_periods": param("window", interval, "returns before the first result"),
    }


def _bars(default: int, least: int = 1) -> dict:
    interval = f"[{least}, 1000000]"
    return {
        "window": param(default, interval, "bars"),
        "min_periods": param("window", interval, "bars before the first result"),
    }


@kernel(
    inputs={"r": "log_return"},
    state={"w": sums("window")},
    params={
        "window": param(20, "[1, 1000000]", "returns of the symbol"),
        "min_periods": param("window", "[1, 1000000]", "returns before the first result"),
    },
    rules={"min_periods <= window": lambda p: p.min_periods <= p.window},
    memory="window",
    scale=({"r": 1}, 2),
)
def realized_var(s, p, r):
    """Realized variance of the last `window` returns.

    Formula: sum(r^2)
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Andersen & Bollerslev (1998), International Economic Review 39(4), 885-905
    """
    total = sums_push(s.w, r * r, p.window)
    return total if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "last": f64, "w": sums(lambda p: p.window - 1)},
    params=_window(20, 2),
    rules=_FULL,
    memory="window",
    scale=({"r": 1}, 2),
)
def bipower_var(s, p, r):
    """Bipower variation: variance of the window that a jump does not enter.

    Formula: pi/2 n/(n-1) sum |r_j| |r_(j-1)| over the n returns of the window
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Barndorff-Nielsen & Shephard (2004), Journal of Financial Econometrics 2(1), 1-37
    """
    n = s.n
    product = abs(r) * abs(s.last)
    s.last = r
    s.n = n + 1 if n < p.window else n
    if n == 0:
        return nan
    total = sums_push(s.w, product, p.window - 1)
    return 0.5 * PI * s.n / (s.n - 1.0) * total if s.n >= p.min_periods else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "one": f64, "two": f64, "w": sums(lambda p: p.window - 2)},
    params=_window(20, 3),
    rules=_FULL,
    memory="window",
    scale=({"r": 1}, 2),
)
def medrv(s, p, r):
    """Variance of the window from medians of three neighbouring returns: robust to jumps and zeros.

    Formula: pi / (6 - 4 sqrt(3) + pi) n/(n-2) sum med(|r_(i-1)|, |r_i|, |r_(i+1)|)^2
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Andersen, Dobrev & Schaumburg (2012), Journal of Econometrics 169(1), 75-93
    """
    n = s.n
    a = abs(r)
    middle = max(min(a, s.one), min(max(a, s.one), s.two))
    s.two = s.one
    s.one = a
    s.n = n + 1 if n < p.window else n
    if n < 2:
        return nan
    total = sums_push(s.w, middle * middle, p.window - 2)
    return _MED * s.n / (s.n - 2.0) * total if s.n >= p.min_periods else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "last": f64, "w": sums(lambda p: p.window - 1)},
    params=_window(20, 2),
    rules=_FULL,
    memory="window",
    scale=({"r": 1}, 2),
)
def minrv(s, p, r):
    """Variance of the window from the smaller of two neighbouring returns: robust to jumps.

    Formula: pi / (pi - 2) n/(n-1) sum min(|r_i|, |r_(i+1)|)^2
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Andersen, Dobrev & Schaumburg (2012), Journal of Econometrics 169(1), 75-93
    """
    n = s.n
    smaller = min(abs(r), s.last)
    s.last = abs(r)
    s.n = n + 1 if n < p.window else n
    if n == 0:
        return nan
    total = sums_push(s.w, smaller * smaller, p.window - 1)
    return _MIN * s.n / (s.n - 1.0) * total if s.n >= p.min_periods else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "variance": f64},
    params={"lambda_": param(0.94, "[0, 1)", "weight of the past: 0.94 daily, 0.97 monthly")},
    scale=({"r": 1}, 1),
)
def riskmetrics_vol(s, p, r):
    """Exponentially weighted volatility with mean zero.

    Formula: v_t = lambda v_(t-1) + (1 - lambda) r_t^2, v_0 = r_0^2; sqrt(v_t)
    Units: return
    Warm-up: none
    Source: J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, section 5.2
    """
    s.variance = p.lambda_ * s.variance + (1.0 - p.lambda_) * r * r if s.n > 0 else r * r
    s.n = 1
    return sqrt(s.variance)


@kernel(
    state={"w": sums("window")},
    params=_bars(20),
    rules=_FULL,
    outputs=("gk_vol", "gk_var"),
    memory="window",
    scale=({"open": 1, "high": 1, "low": 1, "close": 1}, 0),
)
def gk_vol(s, p, open, high, low, close):
    """Garman-Klass volatility of a bar, from its open, high, low and close.

    Formula: var = mean of 1/2 ln^2(H/L) - (2 ln 2 - 1) ln^2(C/O); vol = sqrt(var)
    Units: return per bar
    Warm-up: min_periods - 1 bars; a bar with a price not above 0 is null and does not enter
    Source: Garman & Klass (1980), Journal of Business 53(1), 67-78
    """
    if min(min(open, high), min(low, close)) <= 0.0:
        return nan, nan
    spread = log(high / low)
    move = log(close / open)
    total = sums_push(s.w, 0.5 * spread * spread - (2.0 * LN2 - 1.0) * move * move, p.window)
    variance = total / s.w.n if s.w.n >= p.min_periods else nan
    return sqrt(max(variance, 0.0)) if s.w.n >= p.min_periods else nan, variance


@kernel(
    state={"w": sums("window")},
    params=_bars(20),
    rules=_FULL,
    outputs=("parkinson_vol", "parkinson_var"),
    memory="window",
    scale=({"high": 1, "low": 1}, 0),
)
def parkinson_vol(s, p, high, low):
    """Parkinson volatility of a bar, from its high and low.

    Formula: var = mean of ln^2(H/L) / (4 ln 2); vol = sqrt(var)
    Units: return per bar
    Warm-up: min_periods - 1 bars; a bar with a price not above 0 is null and does not enter
    Source: Parkinson (1980), Journal of Business 53(1), 61-65
    """
    if min(high, low) <= 0.0:
        return nan, nan
    spread = log(high / low)
    total = sums_push(s.w, spread * spread / (4.0 * LN2), p.window)
    variance = total / s.w.n if s.w.n >= p.min_periods else nan
    return sqrt(variance), variance


@kernel(
    state={"w": sums("window")},
    params=_bars(20),
    rules=_FULL,
    outputs=("rogers_satchell_vol", "rogers_satchell_var"),
    memory="window",
    scale=({"open": 1, "high": 1, "low": 1, "close": 1}, 0),
)
def rogers_satchell_vol(s, p, open, high, low, close):
    """Rogers-Satchell volatility of a bar: right whatever the drift.

    Formula: var = mean of ln(H/C) ln(H/O) + ln(L/C) ln(L/O); vol = sqrt(var)
    Units: return per bar
    Warm-up: min_periods - 1 bars; a bar with a price not above 0 is null and does not enter
    Source: Rogers & Satchell (1991), Annals of Applied Probability 1(4), 504-512
    """
    if min(min(open, high), min(low, close)) <= 0.0:
        return nan, nan
    term = log(high / close) * log(high / open) + log(low / close) * log(low / open)
    total = sums_push(s.w, term, p.window)
    variance = total / s.w.n if s.w.n >= p.min_periods else nan
    return sqrt(max(variance, 0.0)) if s.w.n >= p.min_periods else nan, variance


@kernel(
    state={
        "n": i64, "last": f64, "night": moments("window"), "day": moments("window"),
        "w": sums("window"),
    },
    params={"window": param(20, "[2, 1000000]", "bars")},
    let={"k": lambda p: 0.34 / (1.34 + (p.window + 1.0) / (p.window - 1.0))},
    outputs=("yang_zhang_vol", "yang_zhang_var"),
    memory=lambda p: p.window + 1,
    scale=({"open": 1, "high": 1, "low": 1, "close": 1}, 0),
)
def yang_zhang_vol(s, p, open, high, low, close):
    """Yang-Zhang volatility of a bar: right whatever the drift and the gap at the open.

    Formula: var = V(ln O_t/C_(t-1)) + k V(ln C/O) + (1 - k) RS, V sample variances over the window,
        k = 0.34 / (1.34 + (n + 1)/(n - 1)); vol = sqrt(var)
    Units: return per bar
    Warm-up: window bars; a bar with a price not above 0 is null and does not enter
    Source: Yang & Zhang (2000), Journal of Business 73(3), 477-491
    """
    if min(min(open, high), min(low, close)) <= 0.0:
        return nan, nan
    before = s.last
    first = s.n == 0
    s.last = close
    s.n = 1
    if first:
        return nan, nan
    moments_push(s.night, log(open / before), p.window)
    moments_push(s.day, log(close / open), p.window)
    term = log(high / close) * log(high / open) + log(low / close) * log(low / open)
    total = sums_push(s.w, term, p.window)
    if s.w.n < p.window:
        return nan, nan
    steady = p.k * moments_variance(s.day, 1) + (1.0 - p.k) * total / p.window
    variance = max(moments_variance(s.night, 1) + steady, 0.0)
    return sqrt(variance), variance


@kernel(
    inputs={"r": "log_return"},
    state={"up": sums("window"), "down": sums("window")},
    params=_window(20, 1),
    rules=_FULL,
    outputs=("realized_semivar_down", "realized_semivar_up"),
    memory="window",
    scale=({"r": 1}, 2),
)
def realized_semivar(s, p, r):
    """Realized variance of the falls and of the rises of the window.

    Formula: sum r^2 1{r < 0}; sum r^2 1{r > 0}
    Units: squared return, per window
    Warm-up: min_periods - 1 returns
    Source: Barndorff-Nielsen, Kinnebrock & Shephard (2010), in Volatility and Time Series Econometrics
    """
    down = sums_push(s.down, r * r if r < 0.0 else 0.0, p.window)
    up = sums_push(s.up, r * r if r > 0.0 else 0.0, p.window)
    full = s.up.n >= p.min_periods
    return down if full else nan, up if full else nan


@kernel(
    inputs={"r": "log_return"},
    state={"n": i64, "one": f64, "two": f64, "w": sums(lambda p: p.window - 2)},
    params=_window(20, 3),
    rules=_FULL,
    memory="window",
    scale=({"r": 1}, 4),
)
def tripower_quarticity(s, p, r):
    """Integrated quarticity of the window that a jump does not enter.

    Formula: n mu^-3 n/(n-2) sum (|r_i| |r_(i-1)| |r_(i-2)|)^(4/3), mu = 2^(2/3) gamma(7/6) / gamma(1/2)
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
        "n": i64, "one": f64, "two": f64, "square": sums("window"),
        "pair": sums(lambda p: p.window - 1), "triple": sums(lambda p: p.window - 2),
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
        jump where (|L| - C) / S > -ln(-ln(1 - alpha)); C, S of the largest of K normals with c = sqrt(2/pi)
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
    state={"step": sums("slow"), "fast": sums("window"), "slow": sums(lambda p: p.window - p.slow + 1)},
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

    Formula: (1 - m/n)^-1 (sum over the window of (K-step returns)^2 / K - m/n sum r^2), m = (n - K + 1)/K
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
    return 1.0 - 6.0 * x * x + 6.0 * x * x * x if x <= 0.5 else 2.0 * (1.0 - x) * (1.0 - x) * (1.0 - x)


@inline
def _autoproducts(values, gamma, start, n, lags):
    """Write to gamma[h] the sum of x_j x_(j-h) over the n values that begin at `start` of a full ring."""
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
        "n": i64, "at": i64, "largest": f64, "ring": ring("window"),
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
        weights that never give a negative variance: the same (2011), J. Econometrics 162(2), 149-169
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
    if s.n == p.window and (s.at == 0 or s.gamma[0] * 4096.0 < s.largest or not is_finite(s.gamma[0])):
        _autoproducts(s.ring, s.gamma, s.at, p.window, p.lags)
        s.largest = s.gamma[0]
    total = s.gamma[0]
    for h in range(1, p.lags + 1):
        total += 2.0 * p.weights[h] * s.gamma[h]
    return max(total, 0.0) if s.n == p.window else nan
