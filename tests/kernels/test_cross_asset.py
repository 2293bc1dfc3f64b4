"""Pairs against brute sums, regressions, and a lead that was planted."""

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import (
    hayashi_yoshida_corr,
    hayashi_yoshida_cov,
    kalman_hedge_ratio,
    pairs_spread,
    xcorr_leadlag,
)

RNG = np.random.default_rng(20261203)


def rows(**columns) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values) for name, values in columns.items()})


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


def test_a_spread_is_one_leg_less_beta_of_the_other():
    assert pairs_spread(rows(a=[10.0], b=[4.0]), beta=2.0)["pairs_spread"].to_pylist() == [2.0]


def test_kalman_hedge_finds_slope_and_intercept():
    b = 100 + np.cumsum(RNG.normal(size=3_000))
    a = 300.0 + 2.0 * b + RNG.normal(size=3_000) * 0.1

    out = kalman_hedge_ratio(rows(a=a, b=b), q=1e-9, r=0.01)

    assert column(out, "hedge_ratio")[-1] == pytest.approx(2.0, abs=0.01)
    assert column(out, "hedge_alpha")[-1] == pytest.approx(300.0, abs=1.0)
    assert column(out, "hedge_spread")[-500:].std() == pytest.approx(0.1, rel=0.2)


def test_kalman_hedge_with_a_still_state_is_the_regression():
    b = RNG.normal(size=200)
    a = 1.0 + 0.5 * b + RNG.normal(size=200)
    x = np.column_stack([np.ones(200), b])
    expected = np.linalg.solve(x.T @ x + np.eye(2) * 1e-6, x.T @ a)

    out = kalman_hedge_ratio(rows(a=a, b=b), q=0.0, r=1.0, prior=1e6)

    np.testing.assert_allclose(column(out, "hedge_alpha")[-1], expected[0], rtol=1e-6)
    np.testing.assert_allclose(column(out, "hedge_ratio")[-1], expected[1], rtol=1e-6)


@pytest.mark.parametrize("lead", [-4, 0, 3])
def test_the_planted_lead_is_found(lead):
    common = RNG.normal(size=1_000)
    a = np.roll(common, max(-lead, 0)) + 0.3 * RNG.normal(size=1_000)
    b = np.roll(common, max(lead, 0)) + 0.3 * RNG.normal(size=1_000)

    out = xcorr_leadlag(rows(x=a, y=b), max_lag=6, window=200)

    assert set(column(out, "optimal_lag")[300:].tolist()) == {lead}
    assert column(out, "max_corr")[300:].min() > 0.8


def test_every_shift_is_the_correlation_of_its_window():
    a, b = RNG.normal(size=300), RNG.normal(size=300)
    a[100] = 1e9  # leaves no trace once it is gone
    out = xcorr_leadlag(rows(x=a, y=b), max_lag=3, window=40)

    for t in (43, 99, 145, 200, 299):
        found = {}
        for k in range(-3, 4):
            ends = (t - max(k, 0), t - max(-k, 0))
            pair = a[ends[0] - 39 : ends[0] + 1], b[ends[1] - 39 : ends[1] + 1]
            found[k] = np.corrcoef(*pair)[0, 1]
        best = max(found, key=lambda k: abs(found[k]))
        assert out["optimal_lag"][t].as_py() == best
        assert out["max_corr"][t].as_py() == pytest.approx(found[best], rel=1e-9)


def two_legs(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times (some equal between the legs), legs and log prices of ticks of two assets."""
    ticks = {
        (int(t), int(leg))
        for t, leg in zip(RNG.integers(0, n * 2, n), RNG.integers(0, 2, n), strict=True)
    }
    times, legs = np.array(sorted(ticks)).T
    return times, legs, RNG.normal(size=len(times))


def overlaps_by_tick(times, legs, prices) -> np.ndarray:
    """For each tick, the sum of products of its return with those that overlap and ended before."""
    last, intervals, out = {}, [], np.zeros(len(times))
    for t in range(len(times)):
        leg = legs[t]
        if leg in last:
            u = last[leg]
            r, span = prices[t] - prices[u], (times[u], times[t])
            for other, s, (x, w) in intervals:
                if other != leg and max(span[0], x) < min(span[1], w):
                    out[t] += r * s
            intervals.append((leg, r, span))
        last[leg] = t
    return out


def test_hayashi_yoshida_is_the_brute_sum_over_overlapping_returns():
    times, legs, prices = two_legs(400)
    parts = overlaps_by_tick(times, legs, prices)

    out = hayashi_yoshida_cov(
        rows(ts_event_ns=times, leg=legs.astype(float), log_price=prices), window=60
    )

    expected = [parts[max(0, t - 59) : t + 1].sum() for t in range(len(times))]
    np.testing.assert_allclose(column(out, "hayashi_yoshida_cov"), expected, atol=1e-10)


def test_two_legs_that_move_together_correlate_whatever_their_times():
    steps = np.cumsum(RNG.normal(size=40_000))
    moments = np.sort(RNG.choice(40_000, 8_000, replace=False))
    legs = RNG.integers(0, 2, 8_000).astype(float)

    out = hayashi_yoshida_corr(
        rows(ts_event_ns=moments, leg=legs, log_price=steps[moments]), window=8_000
    )

    assert column(out, "hayashi_yoshida_corr")[-1] == pytest.approx(1.0, abs=0.1)
