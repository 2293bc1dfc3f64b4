"""Features: what a model is fed with, computed from the past alone."""

from __future__ import annotations

from orrery_kernels.engine import f64, i64, kernel, nan, param, sqrt
from orrery_kernels.engine.functions import log
from orrery_kernels.engine.order import (
    extreme,
    highest_push,
    lowest_push,
    ordered,
    ordered_below,
    ordered_get,
    ordered_push,
)
from orrery_kernels.engine.windows import (
    comoments,
    comoments_push,
    comoments_sums,
    higher_moments,
    higher_moments_central,
    higher_moments_push,
    moments,
    moments_mean,
    moments_push,
    moments_variance,
    rolling,
    rolling_push,
    sums,
    sums_push,
)
from orrery_kernels.ticks.parameters import window

_LAG = {"k": param(1, "[1, 1000000]", "ticks back")}


@kernel(
    inputs={"x": "price"},
    state={"past": rolling("k")},
    params=_LAG,
    outputs="{column}_lag{k}",
    memory=lambda p: p.k + 1,
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def lag(s, p, x):
    """The value k ticks ago.

    Formula: x_(t-k)
    Units: those of the input
    Warm-up: k ticks
    Source: Box & Jenkins (1970), Time Series Analysis (the backshift operator)
    """
    full = s.past.n == p.k
    old = rolling_push(s.past, x, p.k)
    return old if full else nan


@kernel(
    inputs={"x": "price"},
    state={"past": rolling("k")},
    params=_LAG,
    outputs="{column}_diff{k}",
    memory=lambda p: p.k + 1,
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 0),
)
def diff(s, p, x):
    """Change since k ticks ago.

    Formula: x_t - x_(t-k)
    Units: those of the input
    Warm-up: k ticks
    Source: Box & Jenkins (1970), Time Series Analysis
    """
    full = s.past.n == p.k
    old = rolling_push(s.past, x, p.k)
    return x - old if full else nan


@kernel(
    inputs={"x": "price"},
    state={"w": extreme("window")},
    **window(20, 1),
    outputs="{column}_min{window}",
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def rolling_min(s, p, x):
    """Lowest of the last `window` ticks.

    Formula: min(x_(t-window+1), ..., x_t)
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: van Herk (1992), Pattern Recognition Letters 13(7), 517-521
    """
    lowest = lowest_push(s.w, x, p.window)
    return lowest if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"x": "price"},
    state={"w": extreme("window")},
    **window(20, 1),
    outputs="{column}_max{window}",
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def rolling_max(s, p, x):
    """Highest of the last `window` ticks.

    Formula: max(x_(t-window+1), ..., x_t)
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: van Herk (1992), Pattern Recognition Letters 13(7), 517-521
    """
    highest = highest_push(s.w, x, p.window)
    return highest if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"x": "price"},
    state={"w": moments("window")},
    **window(20, 2),
    outputs="{column}_std{window}",
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 0),
)
def rolling_std(s, p, x):
    """Standard deviation of the last `window` ticks, population (divisor n).

    Formula: sqrt(mean((x - mean(x))^2))
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: West (1979), Communications of the ACM 22(9), 532-535
    """
    moments_push(s.w, x, p.window)
    return sqrt(moments_variance(s.w, 0)) if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"x": "price"},
    state={"w": higher_moments("window")},
    **window(20, 3),
    outputs="{column}_skew{window}",
    memory="window",
    scale=({"x": 1}, 0),
    shift=({"x": 1}, 0),
)
def rolling_skew(s, p, x):
    """Skewness of the last `window` ticks, biased (g1); null where they are all equal.

    Formula: m3 / m2^1.5, central moments with divisor n
    Units: none
    Warm-up: min_periods - 1 ticks
    Source: Joanes & Gill (1998), The Statistician 47(1), 183-189; sums after Pebay (2008)
    """
    higher_moments_push(s.w, x, p.window)
    _, m2, m3, _ = higher_moments_central(s.w)
    return m3 / (m2 * sqrt(m2)) if s.w.n >= p.min_periods and m2 > 0.0 else nan


@kernel(
    inputs={"x": "price"},
    state={"w": higher_moments("window")},
    **window(20, 4),
    outputs="{column}_kurt{window}",
    memory="window",
    scale=({"x": 1}, 0),
    shift=({"x": 1}, 0),
)
def rolling_kurt(s, p, x):
    """Excess kurtosis of the last `window` ticks, biased (g2); null where they are all equal.

    Formula: m4 / m2^2 - 3, central moments with divisor n
    Units: none
    Warm-up: min_periods - 1 ticks
    Source: Joanes & Gill (1998), The Statistician 47(1), 183-189; sums after Pebay (2008)
    """
    higher_moments_push(s.w, x, p.window)
    _, m2, _, m4 = higher_moments_central(s.w)
    return m4 / (m2 * m2) - 3.0 if s.w.n >= p.min_periods and m2 > 0.0 else nan


@kernel(
    inputs={"x": "log_return"},
    state={"past": rolling("lag"), "w": comoments("window")},
    **window(
        100,
        3,
        "pairs",
        lag=param(1, "[1, 1000000]", "ticks between the two values of a pair"),
    ),
    outputs="{column}_autocorr{lag}",
    memory=lambda p: p.window + p.lag,
    scale=({"x": 1}, 0),
    shift=({"x": 1}, 0),
)
def autocorr(s, p, x):
    """Correlation of the last `window` values with those `lag` ticks before them.

    Formula: corr(x_t, x_(t-lag)) over `window` pairs; null where either side does not vary
    Units: -1 to 1
    Warm-up: lag + min_periods - 1 ticks
    Source: Box & Jenkins (1970), Time Series Analysis
    """
    ready = s.past.n == p.lag
    old = rolling_push(s.past, x, p.lag)
    if not ready:
        return nan
    comoments_push(s.w, x, old, p.window)
    sxx, syy, sxy = comoments_sums(s.w)
    both = sqrt(sxx) * sqrt(syy)
    return sxy / both if s.w.n >= p.min_periods and both > 0.0 else nan


@kernel(rows="trade", memory=1, scale=({"size": 1}, 1))
def signed_volume(side, size):
    """Size with the sign of the aggressor.

    Formula: side v; side +1 for a buy, -1 for a sell, 0 where unknown
    Units: those of size
    Warm-up: none
    Source: Hasbrouck (1991), Journal of Finance 46(1), 179-207
    """
    return side * size


@kernel(
    inputs={"x": "log_return"},
    state={"w": ordered("window")},
    **window(
        100,
        2,
        bins=param(10, "[2, 10000]", "equal bins between the window's lowest and highest"),
    ),
    outputs="entropy",
    memory="window",
)
def entropy_hist(s, p, x):
    """Entropy of the histogram of the last `window` ticks.

    Formula: -sum p_i ln p_i over `bins` equal bins from lowest to highest; 0 where all are equal
    Units: nats, 0 to ln(bins)
    Warm-up: min_periods - 1 ticks
    Source: Shannon (1948), Bell System Technical Journal 27(3), 379-423
    """
    ordered_push(s.w, x, p.window)
    n = s.w.n
    low = ordered_get(s.w, 0)
    width = (ordered_get(s.w, n - 1) - low) / p.bins
    total = 0.0
    before = 0
    for i in range(1, p.bins + 1):
        below = ordered_below(s.w, low + width * i) if i < p.bins and width > 0.0 else n
        share = (below - before) / n
        total -= share * log(share) if share > 0.0 else 0.0
        before = below
    return max(total, 0.0) if n >= p.min_periods else nan


@kernel(
    inputs={"x": "price"},
    state={"past": rolling("horizon")},
    params={
        "horizon": param(1, "[1, 1000000]", "ticks ahead that are judged"),
        "threshold": param(0.0, "[0, inf)", "return that still counts as no move"),
    },
    outputs={"label_next_move": "i8"},
    memory=lambda p: p.horizon + 1,
    scale=({"x": 1}, 0),
)
def label_next_move(s, p, x):
    """Label of the tick `horizon` ticks ago, known only now: what the price did after it.

    Formula: +1, 0, -1 as x_t / x_(t-horizon) - 1 is above, within, below the threshold; the label
        belongs to the tick t - horizon (join it there with `lag`); null where that price is not
        above 0
    Units: none
    Warm-up: horizon ticks
    Source: Lopez de Prado (2018), Advances in Financial Machine Learning, chapter 3
    """
    full = s.past.n == p.horizon
    old = rolling_push(s.past, x, p.horizon)
    if not full or old <= 0.0:
        return nan
    move = (x - old) / old
    return (1.0 if move > p.threshold else 0.0) - (1.0 if move < -p.threshold else 0.0)


@kernel(
    inputs={"r": "log_return"},
    state={"w": moments("window")},
    **window(
        100,
        2,
        "returns of the symbol",
        periods_per_year=param(1.0, "(0, inf)", "returns in a year; 1 leaves the ratio as it is"),
    ),
    let={"root": lambda p: sqrt(p.periods_per_year)},
    outputs="sharpe",
    memory="window",
    scale=({"r": 1}, 0),
)
def rolling_sharpe(s, p, r):
    """Sharpe ratio of the last `window` returns (excess returns, if that is what is fed in).

    Formula: mean / sd sqrt(periods_per_year), sd of a sample (divisor n - 1); null where sd = 0
    Units: none, per year
    Warm-up: min_periods - 1 returns
    Source: Sharpe (1994), Journal of Portfolio Management 21(1); Lo (2002), FAJ 58(4) for its error
    """
    moments_push(s.w, r, p.window)
    if s.w.n < p.min_periods:
        return nan
    sd = sqrt(moments_variance(s.w, 1))
    return moments_mean(s.w) / sd * p.root if sd > 0.0 else nan


@kernel(
    state={"n": i64, "held": f64, "w": sums("window")},
    params={"window": param(20, "[1, 1000000]", "ticks of the symbol")},
    scale=({"position": 1, "price": 1, "nav": 2}, 0),
)
def turnover(s, p, position, price, nav):
    """Value traded over the last `window` ticks as a share of the net asset value.

    Formula: sum |q_t - q_(t-1)| P_t / NAV_t over the window; the first position is held, not
        traded; null where nav is not above 0 (such a tick does not enter)
    Units: none
    Warm-up: the first tick is null, then the window fills
    Source: Datar, Naik & Radcliffe (1998), Journal of Financial Markets 1(2), 203-219
    """
    if nav <= 0.0:
        return nan
    traded = abs(position - s.held) * price / nav
    first = s.n == 0
    s.n = 1
    s.held = position
    if first:
        return nan
    return sums_push(s.w, traded, p.window)
