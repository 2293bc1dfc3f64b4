"""Risk kernels against scipy, pandas and numpy, and against what they must find."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from orrery_kernels import (
    cornish_fisher_var,
    cusum,
    drawdown_equity,
    evt_pot_var,
    expected_shortfall,
    fx_beta,
    garch11_filter,
    hawkes_intensity,
    historical_cvar,
    historical_var,
    kelly_fraction,
    ou_half_life,
    page_hinkley,
    vol_target,
)
from scipy import stats

RNG = np.random.default_rng(20261202)
PNL = RNG.standard_t(4, size=800)


def rows(**columns) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values) for name, values in columns.items()})


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


@pytest.mark.parametrize("sign", [1, -1])
def test_cusum_finds_a_shift_to_either_side_and_starts_anew(sign):
    x = RNG.normal(size=400)
    x[300:] += sign * 3.0

    out = cusum(rows(value=x), window=100)

    alarms = column(out, "cusum_alarm")
    assert alarms[300:310].tolist().count(sign) >= 1
    first = 300 + alarms[300:].tolist().index(sign)
    name = "cusum_up" if sign > 0 else "cusum_down"
    assert column(out, name)[first] > 5.0
    assert column(out, name)[first + 1] < column(out, name)[first]


def test_cusum_judges_by_the_ticks_before_this_one():
    x = RNG.normal(size=150)
    out = column(cusum(rows(value=x), window=100), "cusum_up")
    up = 0.0
    for t in range(100, 150):
        past = x[t - 100 : t]
        up = max(0.0, up + (x[t] - past.mean()) / past.std(ddof=1) - 0.5)
        assert out[t] == pytest.approx(up, abs=1e-9)


def test_page_hinkley_tells_a_rise_from_a_fall():
    up = np.concatenate([RNG.normal(0, 1, 300), RNG.normal(3, 1, 60)])

    rise = column(page_hinkley(rows(value=up), threshold=30.0), "page_hinkley_alarm")
    fall = column(page_hinkley(rows(value=-up), threshold=30.0), "page_hinkley_alarm")

    assert rise[:300].tolist() == [0.0] * 300
    assert 1.0 in rise[300:330]
    assert fall.tolist() == (-rise).tolist()


def test_historical_var_is_the_quantile_of_type_7():
    expected = -pd.Series(PNL).rolling(250).quantile(0.05)

    np.testing.assert_allclose(column(historical_var(rows(pnl=PNL)), "var"), expected, rtol=1e-12)


def test_cvar_and_expected_shortfall_are_means_of_the_tail():
    cvar, shortfall = historical_cvar(rows(pnl=PNL)), expected_shortfall(rows(pnl=PNL), alpha=0.03)
    for t in (249, 500, 799):
        window = np.sort(PNL[t - 249 : t + 1])
        tail = window[window <= np.quantile(window, 0.05)]
        assert cvar["cvar"][t].as_py() == pytest.approx(-tail.mean(), rel=1e-12)
        worst = (window[:7].sum() + 0.5 * window[7]) / 7.5
        assert shortfall["expected_shortfall"][t].as_py() == pytest.approx(-worst, rel=1e-12)


def test_cornish_fisher_of_a_normal_is_the_normal_quantile():
    out = cornish_fisher_var(rows(mean=[0.01], stddev=[0.02], skew=[0.0], kurt=[0.0]))

    assert out["cf_var"].to_pylist() == pytest.approx([-(0.01 + 0.02 * stats.norm.ppf(0.05))])
    assert out["cf_valid"].to_pylist() == [1]


def test_cornish_fisher_says_where_it_is_no_quantile():
    out = cornish_fisher_var(rows(mean=[0.0], stddev=[1.0], skew=[5.0], kurt=[0.0]))

    assert out["cf_valid"].to_pylist() == [0]


def test_the_tail_of_a_pareto_is_found():
    loss = stats.genpareto.rvs(0.25, size=40_000, random_state=np.random.default_rng(3))
    out = evt_pot_var(rows(loss=loss), window=40_000, p=0.999)

    expected = stats.genpareto.ppf(0.999, 0.25)
    assert column(out, "pot_var")[-1] == pytest.approx(expected, rel=0.1)
    assert column(out, "pot_es")[-1] == pytest.approx((expected + 1.0) / 0.75, rel=0.15)


def test_drawdown_is_measured_from_the_peak_so_far():
    out = drawdown_equity(rows(equity=[100.0, 120.0, 90.0, 150.0, 120.0]))

    assert out["drawdown"].to_pylist() == pytest.approx([0.0, 0.0, 0.25, 0.0, 0.2])
    assert out["max_drawdown"].to_pylist() == pytest.approx([0.0, 0.0, 0.25, 0.25, 0.25])


def test_vol_target_and_kelly_scale_with_the_risk():
    r = RNG.normal(size=300) * 0.01 + 0.0005
    window = pd.Series(r).rolling(100)

    kelly = column(kelly_fraction(rows(log_return=r), cap=50.0), "kelly")
    np.testing.assert_allclose(kelly, window.mean() / window.var(ddof=0), rtol=1e-9)
    leverage = column(vol_target(rows(log_return=[0.01, 0.0, 0.0])), "leverage")
    assert leverage[0] == pytest.approx(0.1 / (0.01 * math.sqrt(252)))
    assert leverage[2] == pytest.approx(min(3.0, leverage[0] / 0.94))


def test_fx_beta_is_the_slope():
    f = RNG.normal(size=200)
    r = 0.4 * f + RNG.normal(size=200)
    expected = pd.Series(r).rolling(60).cov(pd.Series(f)) / pd.Series(f).rolling(60).var()

    beta = column(fx_beta(rows(log_return=r, fx_return=f)), "fx_beta")

    np.testing.assert_allclose(beta, expected, rtol=1e-9)


def test_garch_is_the_recursion_of_bollerslev():
    r = RNG.normal(size=50) * 0.01
    out = garch11_filter(rows(log_return=r))
    v = 1e-6 / (1 - 0.98)
    for t in range(50):
        assert out["garch_vol"][t].as_py() == pytest.approx(math.sqrt(v))
        v = 1e-6 + 0.08 * r[t] ** 2 + 0.9 * v
        assert out["garch_forecast"][t].as_py() == pytest.approx(math.sqrt(v))


def test_the_half_life_of_a_planted_process_is_found():
    x = [0.0]
    for e in RNG.normal(size=20_000):
        x.append(2.0 + 0.95 * (x[-1] - 2.0) + e)

    out = ou_half_life(rows(spread=x), window=20_000)

    assert column(out, "ou_half_life")[-1] == pytest.approx(math.log(2) / -math.log(0.95), rel=0.1)
    assert column(out, "ou_mean")[-1] == pytest.approx(2.0, abs=0.5)
    assert column(out, "ou_sigma")[-1] == pytest.approx(1.0, rel=0.02)


def test_hawkes_intensity_is_the_sum_over_the_past():
    times = np.cumsum(RNG.integers(1, 2_000_000_000, 40))
    out = column(hawkes_intensity(rows(ts_event_ns=times)), "hawkes_intensity")

    for t in (0, 7, 39):
        past = np.exp(-1.0 * (times[t] - times[: t + 1]) / 1e9)
        assert out[t] == pytest.approx(1.0 + 0.5 * past.sum(), rel=1e-12)
