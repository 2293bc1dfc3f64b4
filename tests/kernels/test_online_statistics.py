"""Online statistics against pandas, numpy and scipy."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from orrery_kernels import (
    ew_var,
    ew_zscore,
    ewcorr,
    ewcov,
    ewma_adjusted,
    frac_diff,
    robust_hampel,
    rolling_beta,
    rolling_median,
    rolling_quantile,
    rolling_rank,
    simple_return,
    welford_mean_var,
)
from orrery_kernels.engine.ranks import COUNTED

RNG = np.random.default_rng(20261128)
N = 1_500
PRICE = 100.0 + np.cumsum(RNG.normal(size=N))
X = RNG.normal(size=N)
Y = 0.6 * X + RNG.normal(size=N)
BATCH = pa.record_batch({"price": PRICE, "x": X, "y": Y})
SERIES, PAIR = pd.Series(PRICE), pd.DataFrame({"x": X, "y": Y})


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


def assert_same(actual, expected, tolerance: float = 1e-11) -> None:
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_simple_return_is_a_share_of_the_price_before():
    assert_same(column(simple_return(BATCH), "simple_return"), SERIES.pct_change())


def test_welford_counts_every_tick_so_far():
    out = welford_mean_var(BATCH)

    assert_same(column(out, "mean"), SERIES.expanding().mean())
    assert_same(column(out, "variance"), SERIES.expanding().var(), 1e-9)
    assert_same(column(out, "stddev"), SERIES.expanding().std(), 1e-9)


def test_ewma_adjusted_has_weights_that_sum_to_one():
    assert_same(column(ewma_adjusted(BATCH), "ewma_adjusted"), SERIES.ewm(alpha=0.06).mean())


def test_ew_var_ewcov_and_ewcorr_are_the_biased_moments_of_pandas():
    ewm = PAIR.ewm(alpha=0.06, adjust=False)
    cov = ewm.cov(bias=True)["y"].xs("x", level=1)

    assert_same(column(ew_var(BATCH, column="x"), "ew_var"), ewm["x"].var(bias=True), 1e-9)
    assert_same(column(ewcov(BATCH), "ewcov"), cov, 1e-9)
    assert_same(column(ewcorr(BATCH), "ewcorr")[5:], ewm["x"].corr(PAIR["y"])[5:], 1e-8)


def test_ew_zscore_is_the_distance_from_the_mean_in_deviations_of_pandas():
    ewm = PAIR["x"].ewm(alpha=0.06, adjust=False)

    found = column(ew_zscore(BATCH, column="x"), "ew_zscore")

    assert_same(found[1:], ((PAIR["x"] - ewm.mean()) / ewm.std(bias=True))[1:], 1e-9)


@pytest.mark.parametrize("size", [21, 150])
def test_hampel_replaces_a_spike_by_the_median_and_leaves_the_rest(size: int):
    x = RNG.normal(size=300)
    x[170] = 50.0
    out = robust_hampel(pa.record_batch({"price": x}), window=size, k=3.0)

    for t in range(size - 1, 300):
        window = x[t - size + 1 : t + 1]
        middle = np.median(window)
        far = abs(x[t] - middle) > 3.0 * 1.4826022185056018 * np.median(np.abs(window - middle))
        assert out["hampel_flag"][t].as_py() == int(far)
        assert out["hampel_value"][t].as_py() == (middle if far else x[t])


def test_frac_diff_is_the_binomial_series_cut_where_it_is_small():
    d, weights = 0.4, [1.0]
    while abs(following := -weights[-1] * (d - len(weights) + 1) / len(weights)) >= 1e-3:
        weights.append(following)
    expected = np.convolve(PRICE, weights)[:N]
    expected[: len(weights) - 1] = np.nan

    assert_same(column(frac_diff(BATCH, d=d, tau=1e-3), "frac_diff"), expected, 1e-9)


def test_frac_diff_of_order_one_is_the_change():
    assert_same(column(frac_diff(BATCH, d=1.0), "frac_diff"), SERIES.diff())


def test_rolling_order_statistics_are_those_of_pandas():
    window = SERIES.rolling(50)

    assert_same(column(rolling_median(BATCH, window=50), "rolling_median"), window.median(), 1e-15)
    quantile = column(rolling_quantile(BATCH, window=50, q=0.1), "rolling_quantile")
    assert_same(quantile, window.quantile(0.1), 1e-13)


@pytest.mark.parametrize("window", [1, 30, COUNTED, COUNTED + 1])
def test_equal_values_take_their_mean_rank(window: int):
    coarse = np.round(X, 1)

    ranks = rolling_rank(pa.record_batch({"price": coarse}), window=window)

    assert_same(column(ranks, "rolling_rank"), pd.Series(coarse).rolling(window).rank(pct=True))


def test_rolling_beta_is_the_slope_of_the_regression():
    expected = PAIR["x"].rolling(60).cov(PAIR["y"]) / PAIR["x"].rolling(60).var()

    assert_same(column(rolling_beta(BATCH, window=60), "rolling_beta"), expected, 1e-9)
