"""Digits of rolling moments at every tick of a long series with shocks, against 64-bit mantissas.

300,000 ticks; ten million with ORRERY_TEST_SOAK=1 (`make soak`).
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import Chain

TICKS = 10_000_000 if os.environ.get("ORRERY_TEST_SOAK") else 300_000
CHUNK = 20_000
WINDOW = 100
GOALS = {"variance": 1e-12, "skewness": 1e-11, "kurtosis": 1e-9}
CHAIN = [
    {"kernel": "rolling_std", "window": WINDOW, "output": "std"},
    {"kernel": "rolling_skew", "window": WINDOW, "output": "skew"},
    {"kernel": "rolling_kurt", "window": WINDOW, "output": "kurt"},
]


def shocked(ticks: int) -> np.ndarray:
    """A price near 100,000 that moves by 1e-4, with bursts, shifts of level and wrong prints."""
    rng = np.random.default_rng(7)
    n = np.arange(ticks)
    move = 1e-4 * rng.normal(size=ticks) * np.where(n % 5_003 < 50, 30.0, 1.0)
    level = np.repeat(1e4 * rng.normal(size=ticks // 3_001 + 1), 3_001)[:ticks]
    x = 1e5 + np.cumsum(0.01 * move) + move + np.where(n % 90_000 > 45_000, level, 0.0)
    x[n % 7_919 == 1_234] = 1e9
    x[n % 50_021 == 31_234] = 1e15
    return x


def exact_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return variance, skewness and excess kurtosis of every window, each from scratch."""
    windows = np.lib.stride_tricks.sliding_window_view(x, WINDOW).astype(np.longdouble)
    apart = windows - windows[:, :1]  # exact, or as good: the mean of large numbers would not be
    apart -= apart.mean(axis=1, keepdims=True)
    square = apart * apart
    m2, m3 = square.mean(axis=1), (square * apart).mean(axis=1)
    m4 = (square * square).mean(axis=1)
    return m2, m3 / m2 ** np.longdouble(1.5), m4 / (m2 * m2) - 3


def worst_errors(ticks: int) -> dict[str, float]:
    """Return the largest error of each moment over all ticks, relative for the variance."""
    chain, x = Chain(CHAIN), shocked(ticks)
    out = chain.run(chain.new_state(), pa.RecordBatch.from_pydict({"price": x}))
    std, skew, kurt = (column.to_numpy(zero_copy_only=False) for column in out.columns)
    worst = dict.fromkeys(GOALS, 0.0)
    for first in range(0, ticks - WINDOW, CHUNK):
        part = slice(first + WINDOW - 1, min(first + CHUNK + WINDOW - 1, ticks))
        variance, skewness, kurtosis = exact_moments(x[first : part.stop])
        errors = {
            "variance": std[part].astype(np.longdouble) ** 2 / variance - 1,
            "skewness": skew[part] - skewness,
            "kurtosis": kurt[part] - kurtosis,
        }
        for name, error in errors.items():
            worst[name] = max(worst[name], float(np.abs(error).max()))
    return worst


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double has no more digits than double here"
)
def test_moments_keep_their_digits_at_every_tick() -> None:
    worst = worst_errors(TICKS)

    print(f"{TICKS:,} ticks, largest errors {worst}")
    assert all(worst[name] <= goal for name, goal in GOALS.items()), worst
