"""Feature kernels against pandas, scipy and numpy."""

import numpy as np
import pandas as pd
import pyarrow as pa
from orrery_kernels import (
    autocorr,
    diff,
    entropy_hist,
    label_next_move,
    lag,
    rolling_kurt,
    rolling_max,
    rolling_min,
    rolling_sharpe,
    rolling_skew,
    rolling_std,
    signed_volume,
    turnover,
)
from scipy import stats

RNG = np.random.default_rng(20261127)
N = 2_000
PRICE = 100.0 + np.cumsum(RNG.normal(size=N))
RETURN = RNG.standard_t(4, size=N) * 1e-3
BATCH = pa.record_batch({"price": PRICE, "log_return": RETURN})
SERIES = pd.Series(PRICE)


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


def each_window(x: np.ndarray, window: int, function) -> np.ndarray:
    out = np.full(len(x), np.nan)
    for t in range(window - 1, len(x)):
        out[t] = function(x[t - window + 1 : t + 1])
    return out


def assert_same(actual, expected, tolerance: float = 1e-11) -> None:
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_lag_and_diff_look_k_ticks_back():
    assert_same(column(lag(BATCH, k=3), "price_lag3"), SERIES.shift(3))
    assert_same(column(diff(BATCH, k=3), "price_diff3"), SERIES.diff(3))


def test_rolling_extremes_and_deviation_are_those_of_pandas():
    assert_same(column(rolling_min(BATCH), "price_min20"), SERIES.rolling(20).min(), 0)
    assert_same(column(rolling_max(BATCH), "price_max20"), SERIES.rolling(20).max(), 0)
    assert_same(column(rolling_std(BATCH), "price_std20"), SERIES.rolling(20).std(ddof=0), 1e-9)


def test_rolling_skew_and_kurt_are_the_biased_ones_of_scipy():
    skew = each_window(PRICE, 50, stats.skew)
    kurt = each_window(PRICE, 50, stats.kurtosis)

    assert_same(column(rolling_skew(BATCH, window=50), "price_skew50"), skew, 1e-10)
    assert_same(column(rolling_kurt(BATCH, window=50), "price_kurt50"), kurt, 1e-9)


def test_autocorr_correlates_the_window_with_the_one_before_it():
    expected = pd.Series(RETURN).rolling(100).corr(pd.Series(RETURN).shift(2))

    actual = column(autocorr(BATCH, lag=2, window=100), "log_return_autocorr2")

    assert_same(actual, expected, 1e-8)


def test_signed_volume_takes_buy_and_sell_as_words_or_signs():
    by_sign = pa.record_batch({"side": [1, -1, 0], "size": [2.0, 3.0, 4.0]})
    by_word = pa.record_batch({"side": ["buy", "sell", "buy"], "volume": [2.0, 3.0, 4.0]})

    assert signed_volume(by_sign)["signed_volume"].to_pylist() == [2.0, -3.0, 0.0]
    assert signed_volume(by_word)["signed_volume"].to_pylist() == [2.0, -3.0, 4.0]


def test_entropy_is_that_of_the_histogram_of_numpy():
    def entropy(x):
        return stats.entropy(np.histogram(x, bins=10)[0])

    actual = column(entropy_hist(BATCH), "entropy")

    # A value on the edge of two bins may fall to either side in the last digit of the edge.
    differ = np.abs(actual - each_window(RETURN, 100, entropy))[99:] > 1e-11
    assert differ.mean() < 0.01


def test_entropy_of_equal_values_is_zero():
    flat = pa.record_batch({"log_return": np.zeros(120)})

    assert column(entropy_hist(flat), "entropy")[99:].tolist() == [0.0] * 21


def test_a_label_belongs_to_the_tick_horizon_ticks_ago():
    prices = pa.record_batch({"price": [100.0, 101.0, 101.05, 99.0, 99.0]})

    labels = label_next_move(prices, horizon=1, threshold=0.001)["label_next_move"].to_pylist()

    assert labels == [None, 1, 0, -1, 0]


def test_rolling_sharpe_is_mean_over_deviation_times_the_root_of_the_year():
    window = pd.Series(RETURN).rolling(100)
    expected = window.mean() / window.std() * np.sqrt(252)

    assert_same(column(rolling_sharpe(BATCH, periods_per_year=252.0), "sharpe"), expected, 1e-9)


def test_turnover_counts_what_was_traded_in_either_direction():
    book = pa.record_batch(
        {"position": [10.0, 15.0, 5.0, 5.0], "price": [2.0] * 4, "nav": [100.0] * 4}
    )

    traded = turnover(book, window=2)["turnover"].to_pylist()

    assert traded[0] is None
    assert_same(traded[1:], [0.1, 0.1 + 0.2, 0.2], 1e-15)
