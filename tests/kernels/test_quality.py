"""Data quality kernels, rule by rule, and transforms against scipy."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from orrery_kernels import (
    bar_consistency,
    boxcox,
    clock_skew_align,
    dedupe_trades,
    gap_fill,
    winsorize,
    yeo_johnson,
)
from scipy import special, stats

SECOND = 1_000_000_000
RNG = np.random.default_rng(20261204)


def rows(**columns) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values) for name, values in columns.items()})


def test_a_trade_equal_in_time_price_and_size_is_a_duplicate():
    trades = rows(
        ts_event_ns=[1, 1, 1, 2, 1], price=[5.0, 5.0, 5.0, 5.0, 5.0], size=[1.0, 2.0, 1.0, 1.0, 2.0]
    )

    assert dedupe_trades(trades)["is_dup"].to_pylist() == [0, 0, 1, 0, 1]


def test_a_duplicate_beyond_the_horizon_is_not_known():
    trades = rows(ts_event_ns=[1, 2, 3, 1], price=[5.0] * 4, size=[1.0] * 4)

    assert dedupe_trades(trades, horizon=2)["is_dup"].to_pylist() == [0, 0, 0, 0]


def test_the_clock_offset_is_that_of_the_fastest_message():
    out = clock_skew_align(
        rows(ts_recv_ns=[1050, 2010, 3070], ts_event_ns=[1000, 2000, 3000]), window=2
    )

    assert out["clock_offset_ns"].to_pylist() == [50, 10, 10]
    assert out["ts_aligned_ns"].to_pylist() == [1050, 2010, 3010]


def test_empty_slots_are_counted_and_filled_with_what_stood():
    ticks = rows(ts_event_ns=[0, SECOND, 4 * SECOND, 3 * SECOND], price=[1.0, 2.0, 3.0, 4.0])

    out = gap_fill(ticks)

    assert out["gap_slots"].to_pylist() == [None, 0, 2, 0]
    assert out["filled"].to_pylist() == [None, 1.0, 2.0, 3.0]
    assert out["was_gap"].to_pylist() == [None, 0, 1, 0]


def test_a_bar_says_where_it_contradicts_itself():
    bars = rows(
        open=[2.0] * 4, high=[3.0, 3.0, 2.5, 3.0], low=[1.0, 2.1, 1.0, 1.0], close=[2.9] * 4,
        volume=[1.0, 1.0, 1.0, -1.0],
    )  # fmt: skip

    assert bar_consistency(bars)["bar_reason"].to_pylist() == [0, 1, 2, 3]
    assert bar_consistency(bars)["bar_ok"].to_pylist() == [1, 0, 0, 0]


def test_winsorize_clips_to_the_quantiles_of_the_window():
    x = RNG.standard_t(3, size=400)
    window = pd.Series(x).rolling(100)
    expected = np.clip(x, window.quantile(0.05), window.quantile(0.95))

    out = winsorize(rows(log_return=x), lower=0.05, upper=0.95)["log_return_w"]

    np.testing.assert_allclose(out.to_numpy(zero_copy_only=False), expected, rtol=1e-13)


@pytest.mark.parametrize("lam", [-1.0, 0.0, 0.5, 2.0])
def test_boxcox_is_that_of_scipy(lam):
    x = np.abs(RNG.normal(size=50)) + 0.1
    out = boxcox(rows(price=x), lambda_=lam)["price_bc"].to_numpy()

    np.testing.assert_allclose(out, special.boxcox(x, lam), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lam", [-0.5, 0.0, 1.0, 2.0])
def test_yeo_johnson_is_that_of_scipy(lam):
    x = RNG.normal(size=50)
    out = yeo_johnson(rows(log_return=x), lambda_=lam)["log_return_yj"].to_numpy()

    np.testing.assert_allclose(out, stats.yeojohnson(x, lam), rtol=1e-12, atol=1e-14)


def test_boxcox_of_what_is_not_positive_is_null():
    assert boxcox(rows(price=[-1.0, 0.0, 1.0]))["price_bc"].to_pylist() == [None, None, 0.0]
