"""Parameters that many kernels share, said once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from orrery_kernels.engine import param
from orrery_kernels.engine.spec import Param
from orrery_kernels.errors import ParameterError


def window(
    default: int,
    least: int = 1,
    unit: str = "ticks of the symbol",
    rules: Mapping[str, Callable[[Any], bool]] | None = None,
    **others: Param,
) -> dict[str, Any]:
    """Return `params=` and `rules=` of a kernel over its last `window` ticks.

    It is null before it has seen `min_periods` of them, which are a full window unless said.
    """
    interval = f"[{least}, 1000000]"
    first = f"{unit.split()[0]} before the first result"
    spans = {
        "window": param(default, interval, unit),
        "min_periods": param("window", interval, first),
    }
    fits = {"min_periods <= window": lambda p: p.min_periods <= p.window}
    return {"params": {**spans, **others}, "rules": {**fits, **(rules or {})}}


def period(default: int, least: int = 2) -> dict[str, Param]:
    """Return TA-Lib's parameter `period` with its default."""
    return {"period": param(default, f"[{least}, 100000]", "ticks of the symbol")}


EMA_K = {"k": lambda p: 2.0 / (p.period + 1.0)}


def fast_and_slow(fast: int, slow: int, signal: int | None = None) -> dict[str, Any]:
    """Return `params=`, `rules=` and `let=` of a kernel of two exponential averages, and of a third
    over their difference. Their weights are p.a, p.b and p.c."""
    spans = {
        "fast": param(fast, "[2, 100000]", "span of the fast average, in ticks"),
        "slow": param(slow, "[2, 100000]", "span of the slow average, in ticks"),
    }
    weights = {"a": lambda p: 2.0 / (p.fast + 1.0), "b": lambda p: 2.0 / (p.slow + 1.0)}
    if signal is not None:
        spans["signal"] = param(signal, "[1, 100000]", "span of the difference's average, in ticks")
        weights["c"] = lambda p: 2.0 / (p.signal + 1.0)
    return {"params": spans, "rules": {"fast < slow": lambda p: p.fast < p.slow}, "let": weights}


def must_be_finite(**values: Any) -> None:
    """Raise ParameterError for a number, or an array of them, with a NaN or an infinity in it."""
    for name, value in values.items():
        try:
            finite = bool(np.isfinite(np.asarray(value, np.float64)).all())
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise ParameterError(f"{name} must be finite, was {value!r}")
