"""Guards, rule by rule."""

import numpy as np
import pyarrow as pa
from orrery_kernels import (
    circuit_breaker,
    fat_finger_guard,
    outlier_flag_mad,
    price_band_guard,
    stale_quote_detector,
    throttle_check,
)

SECOND = 1_000_000_000


def test_a_quote_is_stale_beyond_the_limit_not_at_it():
    times = pa.record_batch(
        {"timestamp": [2 * SECOND, 2 * SECOND + 1], "last_update": [SECOND, SECOND]}
    )

    assert stale_quote_detector(times, max_age_ms=1000)["is_stale"].to_pylist() == [0, 1]


def test_timestamps_are_taken_as_they_are_in_arrow():
    times = pa.record_batch(
        {
            "timestamp": pa.array([5_000], pa.timestamp("ms")),
            "last_update": pa.array([1_000_000], pa.timestamp("us")),
        }
    )

    assert stale_quote_detector(times, max_age_ms=1000)["is_stale"].to_pylist() == [1]


def test_without_a_reference_an_order_is_refused():
    orders = pa.record_batch({"order_price": [104.9, 105.1, 100.0], "mid": [100.0, 100.0, None]})

    assert price_band_guard(orders, pct=0.05)["price_check"].to_pylist() == [1, 0, 0]


def test_a_sale_of_a_billion_shares_does_not_pass():
    orders = pa.record_batch(
        {"order_price": [100.0, 100.0], "order_size": [-1e9, -10.0], "mid": [100.0, 100.0]}
    )

    assert fat_finger_guard(orders)["fat_finger_check"].to_pylist() == [0, 1]


def test_a_halt_stays_on_for_its_cool_off():
    prices = pa.record_batch(
        {"price": [100.0, 110.0, 100.0, 100.0, 100.0], "ref_price": [100.0] * 5}
    )

    halted = circuit_breaker(prices, pct=0.05, cool_off=2)["circuit_break"].to_pylist()

    assert halted == [0, 1, 1, 1, 0]


def test_a_bucket_of_two_passes_two_at_once_and_one_each_half_second_after():
    times = [0, 0, 0, SECOND // 2, SECOND // 2, SECOND, 10 * SECOND]

    passed = throttle_check(pa.record_batch({"timestamp": times}), rate=2.0, burst=2.0)

    assert passed["throttle_pass"].to_pylist() == [1, 1, 0, 1, 0, 1, 1]


def test_an_outlier_after_equal_prices_is_flagged():
    prices = np.full(202, 100.0)
    prices[200] = 1_000.0

    flags = outlier_flag_mad(pa.record_batch({"price": prices}))["outlier_flag"].to_pylist()

    assert flags[:100] == [None] * 100
    assert flags[100:] == [0] * 100 + [1, 0]


def test_outliers_are_judged_by_the_ticks_before_them():
    rng = np.random.default_rng(5)
    x = rng.normal(size=400)
    flags = outlier_flag_mad(pa.record_batch({"price": x}), window=50)["outlier_flag"].to_pylist()

    for t in range(50, 400):
        past = x[t - 50 : t]
        middle = np.median(past)
        limit = 3.0 * 1.4826022185056018 * np.median(np.abs(past - middle))
        assert flags[t] == int(abs(x[t] - middle) > limit)
