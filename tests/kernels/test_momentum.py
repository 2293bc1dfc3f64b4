"""Momentum kernels against TA-Lib and pandas."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import talib
from orrery_kernels import (
    bollinger_bands,
    donchian_channel,
    ema,
    macd,
    rsi,
    sma,
    stochastic_osc,
)

RNG = np.random.default_rng(20261125)
PRICE = 100.0 + np.cumsum(RNG.normal(size=3_000))
HIGH, LOW = PRICE + RNG.random(3_000), PRICE - RNG.random(3_000)
BATCH = pa.record_batch({"price": PRICE, "high": HIGH, "low": LOW, "close": PRICE})
SERIES = pd.Series(PRICE)


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


def assert_same(actual: np.ndarray, expected: np.ndarray, rtol: float = 1e-11) -> None:
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=rtol, atol=rtol * 100)


def test_sma_is_the_mean_of_the_window():
    assert_same(column(sma(BATCH, window=20), "sma"), SERIES.rolling(20).mean())


def test_sma_forgets_a_print_of_1e16_once_it_has_left():
    shocked = PRICE.copy()
    shocked[100] = 1e16

    out = column(sma(pa.record_batch({"price": shocked}), window=20), "sma")

    assert_same(out[120:], SERIES.rolling(20).mean()[120:])


def test_ema_is_the_recursion_that_starts_at_the_first_tick():
    expected = SERIES.ewm(alpha=0.1, adjust=False).mean()

    assert_same(column(ema(BATCH, alpha=0.1), "ema"), expected)


def test_macd_is_the_difference_of_two_averages_and_its_own_average():
    def average(x, span):
        return x.ewm(span=span, adjust=False).mean()

    line = average(SERIES, 12) - average(SERIES, 26)
    out = macd(BATCH)

    assert_same(column(out, "macd"), line)
    assert_same(column(out, "macd_signal"), average(line, 9))
    assert_same(column(out, "macd_hist"), line - average(line, 9))


def test_rsi_has_wilders_seed():
    assert_same(column(rsi(BATCH, period=14), "rsi"), talib.RSI(PRICE, 14))


def test_rsi_of_a_price_that_never_moves_is_null():
    flat = pa.record_batch({"price": np.full(50, 7.0)})

    assert column(rsi(flat), "rsi").tolist() == pytest.approx([float("nan")] * 50, nan_ok=True)


def test_bollinger_bands_are_those_of_ta_lib():
    upper, middle, lower = talib.BBANDS(PRICE, 20, 2.0, 2.0)
    out = bollinger_bands(BATCH, window=20, k=2.0)

    assert_same(column(out, "bb_upper"), upper, 1e-9)
    assert_same(column(out, "bb_mid"), middle)
    assert_same(column(out, "bb_lower"), lower, 1e-9)


def test_bollinger_bands_keep_their_digits_far_from_zero():
    far = pa.record_batch({"price": RNG.normal(size=4_000) + 1e8})

    width = column(bollinger_bands(far), "bb_upper") - column(bollinger_bands(far), "bb_mid")

    x = far.column("price").to_numpy() - 1e8
    expected = 2.0 * pd.Series(x).rolling(20).std(ddof=0)
    np.testing.assert_allclose(width[19:], expected[19:], atol=4e-8)


def test_donchian_channel_is_the_highest_and_the_lowest():
    out = donchian_channel(BATCH, window=20)

    assert_same(column(out, "donchian_high"), SERIES.rolling(20).max(), 0.0)
    assert_same(column(out, "donchian_low"), SERIES.rolling(20).min(), 0.0)


def test_stochastic_d_averages_the_past_k_only():
    highest = pd.Series(HIGH).rolling(14).max()
    lowest = pd.Series(LOW).rolling(14).min()
    k = 100.0 * (SERIES - lowest) / (highest - lowest)
    out = stochastic_osc(BATCH)

    assert_same(column(out, "stoch_k"), k)
    assert_same(column(out, "stoch_d"), k.rolling(3).mean())
