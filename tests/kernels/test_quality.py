"""Data quality kernels, rule by rule, and transforms against scipy."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from orrery_kernels import (
    Chain,
    bar_consistency,
    boxcox,
    boxcox_fitted,
    clock_skew_align,
    dedupe_trade_ids,
    dedupe_trades,
    dedupe_venue_trades,
    gap_fill,
    gap_fill_linear,
    winsorize,
    yeo_johnson,
)
from orrery_kernels.errors import ColumnError, ParameterError
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


IDS = ["a", "b", None, "a", "", "", "b2", "A"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), "dictionary"])
def test_a_trade_whose_id_was_there_is_a_duplicate_whatever_holds_the_text(kind):
    ids = pa.array(IDS)
    ids = ids.dictionary_encode() if kind == "dictionary" else ids.cast(kind)

    out = dedupe_trade_ids(pa.record_batch({"trade_id": ids}))

    assert out["is_dup"].to_pylist() == [0, 0, None, 1, 0, 1, 0, 0]


def test_ids_may_be_numbers_and_are_forgotten_beyond_the_horizon():
    out = dedupe_trade_ids(rows(trade_id=[7, 8, 7, 9, 10, 7]), horizon=2)["is_dup"]

    assert out.to_pylist() == [0, 0, 1, 0, 0, 0]


def test_ids_of_text_are_the_same_in_a_batch_a_tick_and_plain_python():
    chain = Chain([{"kernel": "dedupe_trade_ids"}])
    batch = pa.record_batch({"symbol": ["S"] * len(IDS), "trade_id": IDS})
    want = chain.run(chain.new_state(), batch)["is_dup"].to_pylist()
    ticks = chain.new_state()

    assert [chain.tick(ticks, "S", (name,)) for name in IDS] == want
    assert [row["is_dup"] for row in chain.oracle().run(batch.to_pylist())] == want
    batched = chain.new_state()
    chain.run(batched, batch)
    assert ticks.to_bytes() == batched.to_bytes()


def test_text_where_a_number_belongs_is_refused_still():
    with pytest.raises(ColumnError, match="'ts_event_ns' must hold whole numbers or times"):
        dedupe_trades(rows(ts_event_ns=["1"], price=[1.0], size=[1.0]))
    with pytest.raises(ParameterError, match="whole ones for ts_event_ns"):
        dedupe_trades().tick("S", "1", 1.0, 1.0)
    with pytest.raises(ColumnError, match="'trade_id' must hold whole numbers"):
        dedupe_trade_ids(rows(trade_id=[0.5]))


def test_the_same_trade_on_another_venue_is_another_trade():
    trades = rows(
        ts_event_ns=[1, 1, 1, 1], price=[5.0] * 4, size=[1.0] * 4, venue=["X", "Y", "X", None]
    )

    assert dedupe_venue_trades(trades)["is_dup"].to_pylist() == [0, 0, 1, None]


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


def test_a_line_fills_the_slots_left_empty_once_their_end_is_known():
    ticks = rows(ts_event_ns=[0, SECOND, 4 * SECOND, 3 * SECOND], price=[1.0, 2.0, 5.0, 4.0])

    out = gap_fill_linear(ticks)

    assert out["gap_slots"].to_pylist() == [None, 0, 2, 0]
    assert out["filled"].to_pylist() == [None, 1.0, 3.0, 5.0]
    assert out["fill_step"].to_pylist() == [None, 0.0, 1.0, 0.0]
    assert out["was_gap"].to_pylist() == [None, 0, 1, 0]


@pytest.mark.parametrize("name", ["gap_fill", "gap_fill_linear", "resample_ohlc", "twap"])
@pytest.mark.parametrize("seconds", [-1.0, 1e-12, 1e300])
def test_a_length_of_time_is_one_that_nanoseconds_can_count(name, seconds):
    given = {"session_s" if name == "twap" else "freq_s": seconds}
    if (name, seconds) == ("twap", 1e-12):
        given = {"session_s": 1e10}

    with pytest.raises(ParameterError, match=r"_s must be in \[.*, 1e9\], was"):
        Chain([{"kernel": name, **given}])


@pytest.mark.parametrize("name", ["lag_ms", "tolerance_ms"])
def test_a_distance_in_time_is_one_that_nanoseconds_can_count(name):
    with pytest.raises(ParameterError, match=rf"{name} must be in .*, 1e12\], was 1e\+300"):
        Chain([{"kernel": "trade_quote_match", name: 1e300}])


def test_the_line_is_that_of_pandas():
    seconds = np.cumsum(RNG.integers(1, 6, 200))
    prices = RNG.normal(100.0, 1.0, 200)
    want = pd.Series(prices, seconds).reindex(range(seconds[0], seconds[-1] + 1)).interpolate()

    out = gap_fill_linear(rows(ts_event_ns=seconds * SECOND, price=prices)).to_pylist()

    filled = {}
    for end, row in zip(seconds[1:], out[1:], strict=True):
        gap = row["gap_slots"]
        filled |= {end - gap + j: row["filled"] + j * row["fill_step"] for j in range(gap)}
    assert len(filled) > 200
    np.testing.assert_allclose([*filled.values()], want[[*filled]], rtol=1e-13)


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


@pytest.mark.parametrize("draw", ["lognormal", "square", "root"])
def test_the_fitted_power_is_that_of_scipy(draw):
    normal = RNG.normal(5.0, 1.0, 300)
    x = {"lognormal": np.exp(normal / 5.0), "square": np.abs(normal) ** 2, "root": normal**0.5}[
        draw
    ]
    out = boxcox_fitted(rows(price=x), window=120, every=30, min_periods=60)

    power, value = (out[n].to_numpy(zero_copy_only=False) for n in ("price_lambda", "price_bc"))
    for row in range(59, 300, 30):
        window = x[max(0, row - 119) : row + 1]
        likeliest = stats.boxcox_normmax(window, brack=(-1.9, 1.9), method="mle")
        assert power[row : row + 30] == pytest.approx(min(max(likeliest, -2.0), 2.0), abs=2e-6)
    np.testing.assert_allclose(value[59:], special.boxcox(x, power)[59:], rtol=1e-10, atol=1e-12)
    assert np.isnan(power[:59]).all()


def test_the_fitted_power_stays_where_the_likelihood_is_looked_for():
    x = np.linspace(1.0, 1.0 + 1e-4, 50) ** 3
    constant, out = np.full(50, 7.0), boxcox_fitted(rows(price=x), window=20, min_periods=10)

    assert np.nanmax(np.abs(out["price_lambda"].to_numpy(zero_copy_only=False))) <= 2.0
    assert boxcox_fitted(rows(price=constant), window=20)["price_bc"].null_count == 19
    assert boxcox_fitted(rows(price=[-1.0, 0.0]))["price_bc"].null_count == 2
