"""TA-Lib's MA types: indicators of averages with averages of any kind.

An indicator with its usual average is one kernel. With another it is put together from the kernels
of that average and the small ones below, which the steps here name; what lies between is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from orrery_kernels.engine import i64, kernel, nan, param
from orrery_kernels.engine.spec import Param

Steps = Sequence[dict[str, Any]]
KINDS = (
    "sma", "ema", "wma", "dema", "tema", "trima", "kama", "t3", "mama", "hma", "none", "zlema",
    "rma",
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 4, 5, 6, 8, 7, 9, 10, 12, 13)  # TA-Lib's MA_Type of each
SMA, EMA, RMA = (KINDS.index(name) for name in ("sma", "ema", "rma"))
FOLDED = 8  # so many of KINDS, the first, are one step in ta_ma and ta_macdext
_MAMA_TICKS = 32  # before its first result, whatever the period


def kind(default: str = "sma") -> Param:
    """Return the parameter that says which average: its name, or TA-Lib's number of it."""
    return Param(default, "", "which average, by name or by TA-Lib's MA_Type", KINDS, NUMBERS)


def warm_up(which: int, n: int) -> int:
    """Return after how many ticks the average over n is there."""
    name = KINDS[which]
    if n == 1 or name == "none":
        return 0
    fixed = {"mama": _MAMA_TICKS, "kama": n, "hma": n + root(n) - 2, "zlema": (n - 1) // 2 + n - 1}
    return fixed.get(name, {"dema": 2, "tema": 3, "t3": 6}.get(name, 1) * (n - 1))


def root(n: int) -> int:
    """Return the whole part of the square root."""
    k = 1
    while (k + 1) * (k + 1) <= n:
        k += 1
    return k


def _average(which: int, n: int, column: str, output: str) -> dict[str, Any]:
    """Return the step of the average over n values of `column`; over one it is the value itself."""
    name = KINDS[which]
    if n == 1 or name == "none":
        return {"kernel": "ta_ma", "x": column, "period": 1, "output": output}
    if name == "mama":
        return {"kernel": "ta_mama", "x": column, "output": [output, output + ".following"]}
    return {"kernel": f"ta_{name}", "x": column, "period": n, "output": output}


def one(p: SimpleNamespace, name: str, x: str) -> Steps:
    """Return the steps of ta_ma where its own step has not the kind."""
    if p.matype < FOLDED:
        return []
    last = {"kernel": "ta_ma", "x": f"{name}.mean", "period": 1}
    return [_average(p.matype, p.period, x, f"{name}.mean"), last]


def varying(p: SimpleNamespace, name: str, x: str, periods: str) -> Steps:
    """Return the steps of ta_mavp with MAMA, which is the same whatever the period."""
    if KINDS[p.matype] != "mama":
        return []
    counted = [f"{name}.x", f"{name}.periods"]
    return [
        {"kernel": "both", "x": x, "y": periods, "output": counted},
        _average(p.matype, p.maxperiod, counted[0], f"{name}.mean"),
        {"kernel": "ta_ma", "x": f"{name}.mean", "period": 1},
    ]


def _two(p: SimpleNamespace, name: str, x: str) -> Steps:
    return [
        _average(p.matype, p.fast, x, f"{name}.fast"),
        _average(p.matype, p.slow, x, f"{name}.slow"),
    ]


def difference(p: SimpleNamespace, name: str, x: str) -> Steps:
    """Return the steps of ta_apo."""
    last = {"kernel": "pairs_spread", "a": f"{name}.fast", "b": f"{name}.slow"}
    return [] if p.matype == EMA else [*_two(p, name, x), last]


def percentage(p: SimpleNamespace, name: str, x: str) -> Steps:
    """Return the steps of ta_ppo and ta_pvo."""
    last = {"kernel": "percent_above", "x": f"{name}.fast", "y": f"{name}.slow"}
    return [] if p.matype == EMA else [*_two(p, name, x), last]


def bands(p: SimpleNamespace, name: str, x: str) -> Steps:
    """Return the steps of ta_bbands."""
    if p.matype == SMA:
        return []
    return [
        _average(p.matype, p.period, x, f"{name}.middle"),
        {"kernel": "ta_stddev", "x": x, "period": p.period, "output": f"{name}.sd"},
        {"kernel": "bands_about", "middle": f"{name}.middle", "width": f"{name}.sd",
         "up": p.nbdevup, "down": p.nbdevdn},
    ]  # fmt: skip


def _fast(p: SimpleNamespace, name: str, bars: Sequence[str]) -> dict[str, Any]:
    high, low, close = bars
    output = [f"{name}.fast", f"{name}.fast_d"]
    return {"kernel": "ta_stochf", "high": high, "low": low, "close": close, "fastk": p.fastk,
            "fastd": 1, "output": output}  # fmt: skip


def _slow(p: SimpleNamespace, name: str) -> Steps:
    return [
        _average(p.slowk_matype, p.slowk, f"{name}.fast", f"{name}.k"),
        _average(p.slowd_matype, p.slowd, f"{name}.k", f"{name}.d"),
    ]


def stochastic(p: SimpleNamespace, name: str, *bars: str) -> Steps:
    """Return the steps of ta_stoch."""
    if p.slowk_matype == p.slowd_matype == SMA:
        return []
    last = {"kernel": "both", "x": f"{name}.k", "y": f"{name}.d"}
    return [_fast(p, name, bars), *_slow(p, name), last]


def kdj(p: SimpleNamespace, name: str, *bars: str) -> Steps:
    """Return the steps of ta_kdj."""
    if p.slowk_matype == p.slowd_matype == RMA:
        return []
    last = {"kernel": "kdj_lines", "k": f"{name}.k", "d": f"{name}.d"}
    return [_fast(p, name, bars), *_slow(p, name), last]


def fast_stochastic(p: SimpleNamespace, name: str, *bars: str) -> Steps:
    """Return the steps of ta_stochf."""
    return [] if p.fastd_matype == SMA else [_fast(p, name, bars), *_with_mean(p, name)]


def stochastic_rsi(p: SimpleNamespace, name: str, x: str) -> Steps:
    """Return the steps of ta_stochrsi."""
    output = [f"{name}.fast", f"{name}.fast_d"]
    fast = {"kernel": "ta_stochrsi", "x": x, "period": p.period, "fastk": p.fastk, "fastd": 1,
            "output": output}  # fmt: skip
    return [] if p.fastd_matype == SMA else [fast, *_with_mean(p, name)]


def _with_mean(p: SimpleNamespace, name: str) -> Steps:
    return [
        _average(p.fastd_matype, p.fastd, f"{name}.fast", f"{name}.d"),
        {"kernel": "both", "x": f"{name}.fast", "y": f"{name}.d"},
    ]


def macd(p: SimpleNamespace, name: str, x: str) -> Steps:
    """Return the steps of ta_macdext where its own step has not all the kinds."""
    if max(p.fast_matype, p.slow_matype, p.signal_matype) < FOLDED:
        return []
    return [
        {"kernel": "after_ticks", "x": x, "ticks": p.fast_from, "output": f"{name}.x_fast"},
        {"kernel": "after_ticks", "x": x, "ticks": p.slow_from, "output": f"{name}.x_slow"},
        _average(p.fast_matype, p.fast, f"{name}.x_fast", f"{name}.fast"),
        _average(p.slow_matype, p.slow, f"{name}.x_slow", f"{name}.slow"),
        {"kernel": "pairs_spread", "a": f"{name}.fast", "b": f"{name}.slow",
         "output": f"{name}.line"},
        _average(p.signal_matype, p.signal, f"{name}.line", f"{name}.signal"),
        {"kernel": "macd_lines", "line": f"{name}.line", "signal": f"{name}.signal"},
    ]  # fmt: skip


@kernel(memory=1, scale=({"x": 1, "y": 1}, 0))
def percent_above(x, y):
    """How far x is above y, in percent; 0 where y is 0.

    Formula: 100 (x - y) / y
    Units: percent
    Warm-up: none
    Source: Appel (2005), Technical Analysis: Power Tools for Active Investors (the percentage
        price oscillator)
    """
    return (x - y) / y * 100.0 if y != 0.0 else 0.0


@kernel(
    params={
        "up": param(2.0, "(-inf, inf)", "widths up"),
        "down": param(2.0, "(-inf, inf)", "widths down"),
    },
    outputs=("band_upper", "band_middle", "band_lower"),
    memory=1,
    scale=({"middle": 1, "width": 1}, 1),
)
def bands_about(p, middle, width):
    """Bands about a line that is there already.

    Formula: middle + up width, middle, middle - down width
    Units: those of the middle
    Warm-up: none
    Source: Bollinger (2001), Bollinger on Bollinger Bands
    """
    return middle + p.up * width, middle, middle - p.down * width


@kernel(outputs=("both_x", "both_y"), memory=1, scale=({"x": 1, "y": 1}, 1))
def both(x, y):
    """Two columns where both are there.

    Formula: x, y; null where either is
    Units: those of the inputs
    Warm-up: none
    Source: the warm-up of TA-Lib's functions of several outputs, which begin together
    """
    return x, y


@kernel(outputs=("kdj_k", "kdj_d", "kdj_j"), memory=1, scale=({"k": 1, "d": 1}, 1))
def kdj_lines(k, d):
    """The three lines of a KDJ stochastic, of its two.

    Formula: k, d, 3 k - 2 d
    Units: those of the inputs
    Warm-up: none
    Source: Lane (1984), Technical Analysis of Stocks & Commodities 2(3); TA-Lib, function KDJ
    """
    return k, d, 3.0 * k - 2.0 * d


@kernel(
    outputs=("macd_line", "macd_line_signal", "macd_line_hist"),
    memory=1,
    scale=({"line": 1, "signal": 1}, 1),
)
def macd_lines(line, signal):
    """The three lines of a convergence/divergence, of its two.

    Formula: line, signal, line - signal
    Units: those of the inputs
    Warm-up: none
    Source: Appel (1979); Aspray (1986) for the histogram
    """
    return line, signal, line - signal


@kernel(
    inputs={"x": "price"},
    state={"n": i64},
    params={"ticks": param(1, "[0, 1000000]", "ticks of the symbol left out")},
    scale=({"x": 1}, 1),
    shift=({"x": 1}, 1),
)
def after_ticks(s, p, x):
    """The value, without the symbol's first ticks.

    Formula: x_t, null for the first `ticks`
    Units: those of the input
    Warm-up: `ticks`
    Source: TA-Lib, function MACDEXT, whose averages begin so that they are there together
    """
    n = s.n
    s.n = n + 1 if n < p.ticks else n
    return x if n >= p.ticks else nan
