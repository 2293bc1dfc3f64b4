"""Bars against trades taken apart into units, and against a group by time."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from orrery_kernels import Stream, dollar_bars, resample_ohlc, tick_imbalance_bars, volume_bars

RNG = np.random.default_rng(20261125)
SECOND = 1_000_000_000
N = 400
PRICE = np.round(100.0 + np.cumsum(RNG.normal(size=N)), 2)
SIZE = RNG.integers(1, 60, N)
TRADES = pa.record_batch({"price": PRICE, "size": SIZE.astype(float)})


def closed(batch: pa.RecordBatch, column: str = "bar_close") -> list[dict]:
    return [row for row in batch.to_pylist() if row[column] is not None]


def test_a_volume_bar_holds_exactly_its_volume_and_an_overflow_is_split():
    units = np.repeat(PRICE, SIZE)[: SIZE.sum() // 50 * 50].reshape(-1, 50)

    bars = closed(volume_bars(TRADES, threshold=50.0))

    firsts = np.cumsum([0, *(b["bars_closed"] for b in bars)])
    assert firsts[-1] == len(units)
    for bar, k in zip(bars, firsts, strict=False):
        unit = units[k]
        assert (bar["bar_open"], bar["bar_high"]) == (unit[0], unit.max())
        assert (bar["bar_low"], bar["bar_close"]) == (unit.min(), unit[-1])
        assert bar["bar_volume"] == pytest.approx(50.0)
        assert bar["bar_vwap"] == pytest.approx(unit.mean())
        assert (units[k + 1 : k + bar["bars_closed"]] == bar["bar_close"]).all()


def test_one_trade_may_fill_many_bars():
    out = volume_bars(pa.record_batch({"price": [1.0, 2.0], "size": [3.0, 47.0]}), threshold=10.0)

    assert out["bars_closed"].to_pylist() == [None, 5]
    assert out["bar_vwap"].to_pylist()[1] == pytest.approx((3 * 1.0 + 7 * 2.0) / 10)


def test_a_dollar_bar_holds_its_value():
    bars = closed(dollar_bars(TRADES, threshold=5_000.0))

    for bar in bars:
        assert bar["bar_vwap"] * bar["bar_volume"] == pytest.approx(5_000.0)
    value = (PRICE * SIZE).sum()
    assert sum(b["bars_closed"] for b in bars) == int(value // 5_000.0)


def test_bars_are_the_same_however_the_stream_is_cut():
    out = Stream.from_table(TRADES, 7).map(lambda b: volume_bars(b, threshold=50.0)).to_table()

    assert out.combine_chunks().to_batches()[0].equals(volume_bars(TRADES, threshold=50.0))


def test_time_bars_are_those_of_a_group_by_time():
    times = np.cumsum(RNG.integers(0, 20 * SECOND, N))
    frame = pd.DataFrame({"k": times // (60 * SECOND), "price": PRICE, "size": SIZE})
    frame["value"] = frame["price"] * frame["size"]
    group = frame.groupby("k")
    volume, value = group["size"].sum(), group["value"].sum()
    want = pd.DataFrame(
        {
            "bar_open": group["price"].first(), "bar_high": group["price"].max(),
            "bar_low": group["price"].min(), "bar_close": group["price"].last(),
            "bar_volume": volume, "bar_vwap": value / volume,
            "bar_trades": group["price"].size(),
        }
    )[:-1]  # fmt: skip

    bars = closed(resample_ohlc(TRADES.append_column("ts_event_ns", pa.array(times)), freq_s=60.0))

    assert [b["bar_number"] for b in bars] == want.index.tolist()
    got = pd.DataFrame(bars)[want.columns]
    np.testing.assert_allclose(got.to_numpy(float), want.to_numpy(float), rtol=1e-12)


def test_a_late_trade_enters_no_bar_and_says_so():
    times = [0, 61 * SECOND, 59 * SECOND, 121 * SECOND]
    rows = {"ts_event_ns": times, "price": [1.0, 2.0, 99.0, 3.0], "size": [1.0] * 4}

    out = resample_ohlc(pa.record_batch(rows), freq_s=60.0)

    assert out["is_late"].to_pylist() == [0, 0, 1, 0]
    assert out["bar_high"].to_pylist() == [None, 1.0, None, 2.0]


def test_imbalance_bars_close_when_signs_lean_further_than_expected():
    bars = closed(tick_imbalance_bars(TRADES, expected_ticks=20, alpha=0.2, alpha_sign=0.05))
    sign, lean, theta, n, length, last, want = 0.0, 0.0, 0.0, 0, 0.0, None, []
    for price in PRICE:
        sign = np.sign(price - last) if last is not None and price != last else sign
        last, theta, n = price, theta + sign, n + 1
        lean += 0.05 * (sign - lean)
        full = n >= 20 if not want else abs(theta) >= length * max(abs(lean), 0.05)
        if full:
            length = n if not want else length + 0.2 * (n - length)
            lean = lean if want else theta / n
            want.append((n, theta))
            theta, n = 0.0, 0

    assert [(b["bar_trades"], b["bar_imbalance"]) for b in bars] == want
    assert len(want) > 10
