"""Order statistics of a window: medians, quantiles, ranks, outliers."""

from __future__ import annotations

from orrery_kernels.engine import f64, kernel, nan, param
from orrery_kernels.engine.heaps import split, split_median, split_push, split_quantile
from orrery_kernels.engine.order import (
    ordered,
    ordered_mad,
    ordered_median,
    ordered_push,
)
from orrery_kernels.engine.ranks import ranked, ranked_push
from orrery_kernels.ticks.parameters import window

_MAD_TO_SD = (
    1.4826022185056018  # 1 / norm_inv(0.75): the MAD of a normal in its standard deviations
)


@kernel(
    inputs={"x": "price"},
    state={"w": ordered("window")},
    **window(
        21,
        3,
        k=param(3.0, "(0, inf)", "distance from the median in robust standard deviations"),
    ),
    outputs={"hampel_flag": "i8", "hampel_value": f64},
    memory="window",
)
def robust_hampel(s, p, x):
    """Hampel filter: flag a value far from the median of its window and give the median instead.

    Formula: flag where |x - median| > k 1.4826 MAD over the last `window` ticks, this one included
    Units: flag, and those of the input
    Warm-up: min_periods - 1 ticks
    Source: Hampel (1974), JASA 69, 383-393; Pearson (2002), IEEE Trans. CST 10(1), 55-63
    """
    ordered_push(s.w, x, p.window)
    if s.w.n < p.min_periods:
        return nan, nan
    middle = ordered_median(s.w)
    far = abs(x - middle) > p.k * _MAD_TO_SD * ordered_mad(s.w)
    return 1.0 if far else 0.0, middle if far else x


@kernel(
    inputs={"x": "price"},
    state={"w": split("window")},
    **window(100, 1),
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def rolling_median(s, p, x):
    """Median of the last `window` ticks.

    Formula: the middle value, or the mean of the two in the middle
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: definition
    """
    split_push(s.w, x, p.window, 0.5)
    return split_median(s.w, p.window) if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"x": "price"},
    state={"w": split("window")},
    **window(100, 1, q=param(0.5, "[0, 1]", "share of the values below")),
    memory="window",
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def rolling_quantile(s, p, x):
    """Quantile of the last `window` ticks, interpolated (type 7).

    Formula: the value at place q (n - 1) of the sorted window
    Units: those of the input
    Warm-up: min_periods - 1 ticks
    Source: Hyndman & Fan (1996), The American Statistician 50(4), 361-365
    """
    split_push(s.w, x, p.window, p.q)
    return split_quantile(s.w, p.window, p.q) if s.w.n >= p.min_periods else nan


@kernel(
    inputs={"x": "price"},
    state={"w": ranked("window")},
    **window(100, 1),
    memory="window",
    scale=({"x": 1}, 0),
)
def rolling_rank(s, p, x):
    """Rank of the newest tick in its window, as a share; equal values take their mean rank.

    Formula: (values below + (values equal + 1) / 2) / n (pandas: rolling.rank(pct=True))
    Units: above 0, up to 1
    Warm-up: min_periods - 1 ticks
    Source: Kendall (1945), Biometrika 33(3), 239-251, for ties
    """
    below, equal = ranked_push(s.w, x, p.window)
    return (below + 0.5 * (equal + 1)) / s.w.n if s.w.n >= p.min_periods else nan
