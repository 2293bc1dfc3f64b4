"""Liquidity kernels against regressions and against spreads planted in a simulated market."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from orrery_kernels import amihud_illiquidity, corwin_schultz_spread, kyle_lambda, roll_spread

RNG = np.random.default_rng(20261130)


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_kyle_lambda_is_the_slope_whatever_the_unit_of_size(unit):
    q = RNG.normal(size=500) * unit
    r = 0.3 * q / unit + RNG.normal(size=500)
    frame = pd.DataFrame({"q": q, "r": r})
    expected = frame["q"].rolling(50).cov(frame["r"]) / frame["q"].rolling(50).var()

    batch = pa.record_batch({"log_return": r, "signed_volume": q})

    np.testing.assert_allclose(
        column(kyle_lambda(batch, window=50), "kyle_lambda"), expected, rtol=1e-8
    )


def test_amihud_divides_by_the_value_traded():
    r, price, volume = RNG.normal(size=60), 50.0 + RNG.random(60), 1.0 + RNG.random(60)
    expected = pd.Series(np.abs(r) / (price * volume)).rolling(20).mean()

    batch = pa.record_batch({"log_return": r, "price": price, "volume": volume})

    np.testing.assert_allclose(
        column(amihud_illiquidity(batch), "amihud_illiquidity"), expected, rtol=1e-11
    )


def test_roll_spread_recovers_the_bounce():
    n, spread = 50_000, 0.1
    price = 100 + np.cumsum(RNG.normal(size=n) * 0.01) + spread / 2 * RNG.choice([-1.0, 1.0], n)

    out = column(roll_spread(pa.record_batch({"price": price}), window=n - 2), "roll_spread")

    assert out[-1] == pytest.approx(spread, rel=0.05)


def test_roll_spread_is_the_sample_covariance_of_neighbouring_changes():
    price = 100 + np.cumsum(RNG.normal(size=300))
    moves = pd.Series(price).diff()
    cov = moves.rolling(20).cov(moves.shift(1))

    out = column(roll_spread(pa.record_batch({"price": price})), "roll_spread")

    np.testing.assert_allclose(out, 2 * np.sqrt(np.maximum(-cov, 0)), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("spread", [0.01, 0.03])
def test_corwin_schultz_recovers_a_planted_spread(spread):
    days, steps = 1_500, 390
    log_mid = np.cumsum(RNG.normal(size=(days * steps)) * 0.01 / np.sqrt(steps)).reshape(
        days, steps
    )
    mid = 100 * np.exp(log_mid)
    traded = mid * (1 + spread / 2 * RNG.choice([-1.0, 1.0], mid.shape))
    bars = pa.record_batch(
        {"high": traded.max(axis=1), "low": traded.min(axis=1), "close": traded[:, -1]}
    )

    out = column(corwin_schultz_spread(bars, window=days - 1), "corwin_schultz_spread")

    assert out[-1] == pytest.approx(spread, rel=0.2)
