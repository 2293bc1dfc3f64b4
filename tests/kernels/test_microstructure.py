"""Microstructure kernels against the papers: what they say of a simulated book."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from orrery_kernels import (
    book_imbalance,
    bulk_volume_class,
    effective_spread,
    l1_imbalance,
    microprice,
    midprice,
    ofi,
    ofi_sum,
    quoted_spread,
    realized_spread,
    spread_bps,
    trade_sign,
    vpin,
)
from scipy import stats

RNG = np.random.default_rng(20261201)


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


def step(price: int, size: int, change: int) -> tuple[int, int]:
    """Return price and size of a best bid after a change; every level holds about ten."""
    size += change
    while size <= 0:
        price, size = price - 1, size + int(RNG.integers(8, 13))
    while size > (depth := int(RNG.integers(8, 13))):
        price, size = price + 1, size - depth
    return price, max(size, 1)


def tick_book(n: int) -> pa.RecordBatch:
    """Return quotes of the stylised book of the paper: orders come and go on either side."""
    bid, bid_size, ask, ask_size = 10_000, 5, 20_000, 5
    rows = []
    for change in RNG.integers(-4, 5, n).tolist():
        if RNG.random() < 0.5:
            bid, bid_size = step(bid, bid_size, change)
        else:
            ask, ask_size = step(-ask, ask_size, change)
            ask = -ask
        rows.append((bid / 100, ask / 100, float(bid_size), float(ask_size)))
    names = ["bid", "ask", "bid_size", "ask_size"]
    return pa.record_batch(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


BOOK = tick_book(20_000)


def test_prices_and_imbalances_of_one_quote():
    quote = pa.record_batch({"bid": [99.0], "ask": [101.0], "bid_size": [3.0], "ask_size": [1.0]})

    assert midprice(quote)["midprice"].to_pylist() == [100.0]
    assert microprice(quote)["microprice"].to_pylist() == [(99.0 * 1 + 101.0 * 3) / 4]
    assert quoted_spread(quote)["quoted_spread"].to_pylist() == [2.0]
    assert spread_bps(quote)["spread_bps"].to_pylist() == [200.0]
    assert l1_imbalance(quote)["l1_imbalance"].to_pylist() == [0.5]
    assert book_imbalance(quote)["book_imbalance"].to_pylist() == [0.75]


def test_an_empty_book_has_no_imbalance():
    quote = pa.record_batch({"bid": [99.0], "ask": [101.0], "bid_size": [0.0], "ask_size": [0.0]})

    assert l1_imbalance(quote)["l1_imbalance"].to_pylist() == [None]
    assert microprice(quote)["microprice"].to_pylist() == [None]


def test_order_flow_imbalance_explains_the_moves_of_the_mid():
    flow = column(ofi(BOOK), "ofi")[1:]
    move = np.diff((column(BOOK, "bid") + column(BOOK, "ask")) / 2)

    sums = flow[: len(flow) // 50 * 50].reshape(-1, 50).sum(axis=1)
    moves = move[: len(move) // 50 * 50].reshape(-1, 50).sum(axis=1)

    assert stats.linregress(sums, moves).rvalue ** 2 > 0.6


def test_ofi_sum_is_the_rolling_sum_of_ofi():
    expected = pd.Series(column(ofi(BOOK), "ofi")).rolling(100).sum()

    np.testing.assert_array_equal(column(ofi_sum(BOOK), "ofi_sum"), expected)


def test_effective_spread_is_twice_the_distance_from_the_mid():
    trades = pa.record_batch({"price": [100.5, 99.0], "midprice": [100.0, 100.0]})

    assert effective_spread(trades)["effective_spread"].to_pylist() == [1.0, 2.0]


def test_vpin_of_balanced_flow_is_zero_and_of_one_sided_flow_one():
    balanced = pa.record_batch({"volume": [5.0] * 400, "side": [1, -1] * 200})
    one_sided = pa.record_batch({"volume": [5.0] * 400, "side": [1] * 400})

    assert vpin(balanced, bucket_volume=10.0, buckets=50)["vpin"].to_pylist()[-1] == 0.0
    assert vpin(one_sided, bucket_volume=10.0, buckets=50)["vpin"].to_pylist()[-1] == 1.0


def test_vpin_splits_a_trade_over_the_buckets_that_it_fills():
    sizes, sides = RNG.integers(1, 60, 300), RNG.choice([-1, 1], 300)
    units = np.repeat(sides, sizes)  # the same flow in trades of one unit
    imbalances = np.abs(units[: len(units) // 20 * 20].reshape(-1, 20).sum(axis=1)) / 20

    trades = pa.record_batch({"volume": sizes.astype(float), "side": sides})
    out = column(vpin(trades, bucket_volume=20.0, buckets=10), "vpin")

    assert out[-1] == pytest.approx(imbalances[-10:].mean(), abs=1e-12)


def test_one_trade_of_a_million_buckets_costs_no_more_than_the_buckets_remembered():
    trades = pa.record_batch({"volume": [3.0, 1e12], "side": [-1, 1]})

    assert vpin(trades, bucket_volume=10.0, buckets=5)["vpin"].to_pylist() == [None, 1.0]


def test_a_trade_at_the_mid_takes_the_sign_of_the_last_change():
    rows = {
        "price": [None, 101.0, 100.0, 99.5, None, 100.5],
        "bid": [99.0, None, None, None, 100.0, None],
        "ask": [101.0, None, None, None, 101.0, None],
    }

    signs = trade_sign(pa.record_batch(rows))["trade_sign"].to_pylist()

    assert signs == [None, 1, -1, -1, None, 1]


def test_bulk_classification_follows_the_normal_distribution():
    price = 100 + np.cumsum(RNG.normal(size=200))
    volume = RNG.random(200) + 1
    moves = pd.Series(price).diff()
    share = stats.norm.cdf(moves / moves.rolling(50, min_periods=2).std())

    out = bulk_volume_class(pa.record_batch({"price": price, "volume": volume}))

    np.testing.assert_allclose(column(out, "buy_volume"), volume * share, rtol=1e-9)
    total = column(out, "buy_volume") + column(out, "sell_volume")
    np.testing.assert_allclose(total[2:], volume[2:], rtol=1e-14)


def test_the_realized_spread_belongs_to_the_trade_horizon_ticks_ago():
    trades = pa.record_batch(
        {"price": [101.0, 100.0, 99.0], "side": [1, -1, 1], "midprice": [100.0, 100.2, 99.5]}
    )

    spreads = realized_spread(trades, horizon=2)["realized_spread"].to_pylist()

    assert spreads[:2] == [None, None]
    assert math.isclose(spreads[2], 2 * (101.0 - 99.5))
