"""Books of several levels, impact, micro-price and matching, against sums and least squares."""

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import (
    book_slope,
    har_rv,
    hasbrouck_impact,
    microprice_stoikov,
    ofi,
    ofi_multilevel,
    trade_quote_match,
)

RNG = np.random.default_rng(20261126)


def rows(**columns) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values) for name, values in columns.items()})


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


def deep_book(n: int, levels: int = 5) -> dict[str, list]:
    mid = 100.0 + 0.01 * np.cumsum(RNG.integers(-1, 2, n))
    book = {}
    for k in range(1, 6):
        there = k <= levels
        book[f"bid_{k}"] = (mid - 0.01 * k).tolist() if there else [None] * n
        book[f"ask_{k}"] = (mid + 0.01 * k).tolist() if there else [None] * n
        for side in ("bid", "ask"):
            sizes = RNG.integers(2, 90, n).astype(float).tolist()
            book[f"{side}_size_{k}"] = sizes if there else [None] * n
    return {name: pa.array(values, pa.float64()) for name, values in book.items()}


def test_each_level_has_the_order_flow_imbalance_of_its_own_quotes():
    book = deep_book(300)
    out = ofi_multilevel(pa.record_batch(book))

    for k in range(1, 6):
        names = ("bid", "ask", "bid_size", "ask_size")
        alone = pa.record_batch({name: book[f"{name}_{k}"] for name in names})
        assert out[f"ofi_{k}"].equals(ofi(alone)["ofi"])


def test_a_level_that_is_missing_is_null_and_begins_anew():
    book = deep_book(6)
    for name in ("bid_2", "ask_2"):
        book[name] = pa.array([None if k == 2 else v for k, v in enumerate(book[name].to_pylist())])

    out = ofi_multilevel(pa.record_batch(book))

    assert [v is None for v in out["ofi_2"].to_pylist()] == [True, False, True, True, False, False]
    assert out["ofi_1"].null_count == 1


def slope(mid: float, prices: list[float], sizes: list[float]) -> float:
    v = np.log(np.cumsum(sizes))
    parts = [v[0] / abs(prices[0] / mid - 1)]
    for k in range(len(v) - 1):
        parts.append((v[k + 1] / v[k] - 1) / abs(prices[k + 1] / prices[k] - 1))
    return sum(parts) / len(parts)


@pytest.mark.parametrize("levels", [2, 5])
def test_the_slope_of_the_book_is_the_mean_elasticity_of_its_levels(levels):
    book = deep_book(40, levels)
    out = book_slope(pa.record_batch(book))

    for t in (0, 17, 39):
        mid = (book["bid_1"][t].as_py() + book["ask_1"][t].as_py()) / 2
        sides = [
            slope(
                mid,
                [book[f"{side}_{k}"][t].as_py() for k in range(1, levels + 1)],
                [book[f"{side}_size_{k}"][t].as_py() for k in range(1, levels + 1)],
            )
            for side in ("bid", "ask")
        ]
        assert out["bid_slope"][t].as_py() == pytest.approx(sides[0], rel=1e-9)
        assert out["ask_slope"][t].as_py() == pytest.approx(sides[1], rel=1e-9)
        assert out["book_slope"][t].as_py() == pytest.approx(sum(sides) / 2, rel=1e-9)


def impact(r: np.ndarray, x: np.ndarray, lags: int, horizon: int) -> tuple[float, float]:
    """Return (permanent, immediate) impact by least squares and a simulated shock."""
    past = np.array([[*r[t - lags : t][::-1], *x[t - lags : t][::-1]] for t in range(lags, len(r))])
    trade = np.linalg.lstsq(past, x[lags:], rcond=None)[0]
    quote = np.linalg.lstsq(np.column_stack([past, x[lags:]]), r[lags:], rcond=None)[0]
    moves, flow = [0.0] * lags, [0.0] * lags
    for h in range(horizon + 1):
        seen = np.array([*moves[::-1][:lags], *flow[::-1][:lags]])
        now = seen @ trade + (h == 0)
        moves.append(seen @ quote[:-1] + quote[-1] * now)
        flow.append(now)
    return sum(moves), quote[-1]


def test_the_impact_of_a_trade_is_that_of_the_two_regressions():
    x = np.sign(RNG.normal(size=700))
    r = 0.002 * x + 0.001 * np.roll(x, 1) - 0.0005 * np.roll(x, 2) + RNG.normal(size=700) * 1e-3

    out = hasbrouck_impact(rows(log_return=r, side=x), lags=3, horizon=15)

    for t in (150, 699):
        permanent, immediate = impact(r[: t + 1], x[: t + 1], 3, 15)
        assert out["hasbrouck_impact"][t].as_py() == pytest.approx(permanent, rel=1e-8)
        assert out["hasbrouck_immediate"][t].as_py() == pytest.approx(immediate, rel=1e-8)


def test_a_planted_impact_is_recovered():
    x = np.sign(RNG.normal(size=20_000))
    r = 2e-4 * x + 1e-4 * np.concatenate([[0.0], x[:-1]]) + RNG.normal(size=20_000) * 5e-4

    out = hasbrouck_impact(rows(log_return=r, side=x))

    assert column(out, "hasbrouck_immediate")[-1] == pytest.approx(2e-4, rel=0.05)
    assert column(out, "hasbrouck_impact")[-1] == pytest.approx(3e-4, rel=0.15)


def test_the_forecast_of_variance_is_the_least_squares_of_day_week_and_month():
    rv = np.exp(RNG.normal(-9.0, 0.4, 200))
    out = column(har_rv(rows(realized_var=rv), week=5, month=22), "har_rv")

    def regressors(t):
        return [1.0, rv[t], rv[t - 4 : t + 1].mean(), rv[t - 21 : t + 1].mean()]

    for t in (80, 199):
        x = np.array([regressors(k) for k in range(21, t)])
        scale = np.array([1.0, 1e-4, 1e-4, 1e-4])
        beta = np.linalg.lstsq(x / scale, rv[22 : t + 1], rcond=None)[0] / scale
        assert out[t] == pytest.approx(np.dot(beta, regressors(t)), rel=1e-7)
    assert np.isnan(out[: 22 + 30 - 1]).all()
    assert np.isfinite(out[22 + 30 - 1 :]).all()


def learnt(states, moves, buckets, count) -> np.ndarray:
    """Return G* = sum B^k G1 of the paper, from mirrored transitions; moves of the mid in ticks."""
    stay, jump, drift = np.zeros((count, count)), np.zeros((count, count)), np.zeros(count)
    for (a, b), move in zip(pairwise(states), moves, strict=True):
        for i, j, m in ((a, b, move), (mirrored(a, buckets), mirrored(b, buckets), -move)):
            (stay if m == 0 else jump)[i, j] += 1
            drift[i] += m
    total = (stay + jump).sum(axis=1)
    total[total == 0] = 1
    inverse = np.linalg.inv(np.eye(count) - stay / total[:, None])
    first, step = inverse @ (drift / total), inverse @ (jump / total[:, None])
    out, term = np.zeros(count), first
    for _ in range(400):
        out, term = out + term, step @ term
    return out


def mirrored(state: int, buckets: int) -> int:
    return state - state % buckets + buckets - 1 - state % buckets


def test_the_micro_price_is_the_mid_and_the_adjustment_of_the_paper():
    n, buckets = 3_000, 4
    lean = RNG.integers(0, buckets, n)
    jump = np.where(RNG.random(n) < 0.2 + 0.1 * np.abs(lean - 1.5), np.sign(lean - 1.5), 0.0)
    mid = 100.0 + 0.01 * np.concatenate([[0.0], np.cumsum(jump[:-1])])
    wide = 1 + (RNG.random(n) < 0.3)
    bid, ask = mid - 0.005 * wide, mid + 0.005 * wide
    size = (lean + 0.5) / buckets * 100.0
    quotes = rows(bid=bid, ask=ask, bid_size=size, ask_size=100.0 - size)

    out = column(
        microprice_stoikov(quotes, tick_size=0.01, buckets=buckets, spreads=2, every=n),
        "microprice_stoikov",
    )

    states = ((wide - 1) * buckets + lean).tolist()
    g = learnt(states, np.round(np.diff((bid + ask) / 2) / 0.01, 6), buckets, 2 * buckets)
    assert out[-1] == pytest.approx((bid[-1] + ask[-1]) / 2 + 0.01 * g[states[-1]], abs=1e-7)
    assert np.isnan(out[:-1]).all()
    np.testing.assert_allclose(g, [-g[mirrored(k, buckets)] for k in range(8)], atol=1e-9)


def test_a_trade_meets_the_quote_that_stood_long_enough_before_it():
    ms = 1_000_000
    stream = rows(
        ts_event_ns=[0, 5 * ms, 6 * ms, 7 * ms, 100_000 * ms],
        price=[None, None, 10.0, 11.0, 12.0],
        bid=[9.0, 9.5, None, None, None],
        ask=[9.2, 9.7, None, None, None],
    )

    now, later = trade_quote_match(stream), trade_quote_match(stream, lag_ms=2.0)

    assert now["matched_bid"].to_pylist() == [None, None, 9.5, 9.5, None]
    assert later["matched_bid"].to_pylist() == [None, None, 9.0, 9.5, None]
    assert later["quote_age_ns"].to_pylist() == [None, None, 6 * ms, 2 * ms, None]
    assert math.isclose(now["matched_ask"][2].as_py(), 9.7)
