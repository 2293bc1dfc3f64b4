"""Volatility against brute sums from the papers, and against what it must recover."""

import math

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import (
    bipower_var,
    gk_vol,
    jump_test_bns,
    jump_test_lm,
    medrv,
    minrv,
    parkinson_vol,
    realized_kernel,
    realized_semivar,
    realized_var,
    riskmetrics_vol,
    rogers_satchell_vol,
    tripower_quarticity,
    tsrv,
    yang_zhang_vol,
)
from scipy import special, stats

RNG = np.random.default_rng(20261129)
R = RNG.normal(size=600) * 1e-3
R[200:210] = 0.0
RETURNS = pa.record_batch({"log_return": R})
CLOSE = 100.0 * np.exp(np.cumsum(R))
OPEN = CLOSE * np.exp(RNG.normal(size=600) * 1e-3)
HIGH = np.maximum(OPEN, CLOSE) * np.exp(np.abs(RNG.normal(size=600)) * 1e-3)
LOW = np.minimum(OPEN, CLOSE) * np.exp(-np.abs(RNG.normal(size=600)) * 1e-3)
BARS = pa.record_batch({"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE})


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


def each_window(window: int, function, x: np.ndarray = R) -> np.ndarray:
    out = np.full(len(x), np.nan)
    for t in range(window - 1, len(x)):
        out[t] = function(x[t - window + 1 : t + 1])
    return out


def assert_same(actual, expected, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=0.0)


def bipower(r: np.ndarray) -> float:
    n = len(r)
    return math.pi / 2 * n / (n - 1) * np.sum(np.abs(r[1:]) * np.abs(r[:-1]))


def quarticity(r: np.ndarray) -> float:
    n, a = len(r), np.abs(r)
    mu = 2 ** (2 / 3) * special.gamma(7 / 6) / special.gamma(1 / 2)
    return n * mu**-3 * n / (n - 2) * np.sum((a[2:] * a[1:-1] * a[:-2]) ** (4 / 3))


def test_realized_and_semi_variance_are_sums_of_squares():
    assert_same(
        column(realized_var(RETURNS), "realized_var"), each_window(20, lambda r: np.sum(r**2))
    )
    down = column(realized_semivar(RETURNS), "realized_semivar_down")
    assert_same(down, each_window(20, lambda r: np.sum(r[r < 0] ** 2)))


def test_bipower_var_uses_the_returns_of_the_window_only():
    assert_same(column(bipower_var(RETURNS), "bipower_var"), each_window(20, bipower))


def test_medrv_and_minrv_are_the_sums_of_the_paper():
    def med(r):
        a = np.abs(r)
        middle = np.median(np.stack([a[2:], a[1:-1], a[:-2]]), axis=0)
        return (
            math.pi / (6 - 4 * math.sqrt(3) + math.pi) * len(r) / (len(r) - 2) * np.sum(middle**2)
        )

    def smallest(r):
        a = np.abs(r)
        return (
            math.pi / (math.pi - 2) * len(r) / (len(r) - 1) * np.sum(np.minimum(a[1:], a[:-1]) ** 2)
        )

    assert_same(column(medrv(RETURNS), "medrv"), each_window(20, med))
    assert_same(column(minrv(RETURNS), "minrv"), each_window(20, smallest))


@pytest.mark.parametrize("kernel", [medrv, minrv, bipower_var])
def test_robust_variances_are_right_on_brownian_motion(kernel):
    r = pa.record_batch({"log_return": RNG.normal(size=200_000)})

    total = column(kernel(r, window=200_000), kernel.__name__)[-1]

    assert total / 200_000 == pytest.approx(1.0, abs=0.02)


def test_riskmetrics_vol_starts_at_the_first_return():
    variance, expected = R[0] ** 2, []
    for r in R:
        variance = 0.94 * variance + 0.06 * r**2 if expected else variance
        expected.append(math.sqrt(variance))

    assert_same(column(riskmetrics_vol(RETURNS), "riskmetrics_vol"), expected)


def test_volatilities_of_bars_are_means_of_the_terms_of_the_papers():
    o, h, low, c = (np.log(x) for x in (OPEN, HIGH, LOW, CLOSE))
    terms = {
        gk_vol: 0.5 * (h - low) ** 2 - (2 * math.log(2) - 1) * (c - o) ** 2,
        parkinson_vol: (h - low) ** 2 / (4 * math.log(2)),
        rogers_satchell_vol: (h - c) * (h - o) + (low - c) * (low - o),
    }
    for kernel, term in terms.items():
        expected = each_window(20, np.mean, term)
        name = kernel.__name__.removesuffix("_vol")
        assert_same(column(kernel(BARS), f"{name}_var"), expected)
        assert_same(column(kernel(BARS), f"{name}_vol"), np.sqrt(expected))


def test_yang_zhang_adds_night_day_and_range():
    n = 20
    o, h, low, c = (np.log(x) for x in (OPEN, HIGH, LOW, CLOSE))
    night, day = o[1:] - c[:-1], (c - o)[1:]
    ranges = ((h - c) * (h - o) + (low - c) * (low - o))[1:]
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    parts = [each_window(n, np.mean, ranges)]
    parts += [each_window(n, lambda x: np.var(x, ddof=1), x) for x in (night, day)]
    expected = parts[1] + k * parts[2] + (1 - k) * parts[0]

    assert_same(column(yang_zhang_vol(BARS, window=n), "yang_zhang_var")[1:], expected, 1e-9)


def test_tripower_quarticity_is_the_sum_of_the_paper():
    actual = column(tripower_quarticity(RETURNS), "tripower_quarticity")

    np.testing.assert_allclose(actual, each_window(20, quarticity), rtol=1e-9, atol=1e-25)


def test_the_ratio_test_is_that_of_huang_and_tauchen():
    n = 100
    out = jump_test_bns(RETURNS, window=n)
    for t in (99, 350, 599):
        r = R[t - n + 1 : t + 1]
        ratio = 1 - bipower(r) / np.sum(r**2)
        spread = (math.pi**2 / 4 + math.pi - 5) / n * max(1.0, quarticity(r) / bipower(r) ** 2)
        assert_same(out["jump_ratio"][t].as_py(), ratio)
        assert_same(out["jump_z"][t].as_py(), ratio / math.sqrt(spread))
        assert_same(out["jump_p_value"][t].as_py(), stats.norm.sf(ratio / math.sqrt(spread)), 1e-9)


def test_a_planted_jump_is_found_and_nothing_else():
    r = RNG.normal(size=3_000) * 1e-3
    r[2_000] = 0.02

    flags = column(jump_test_lm(pa.record_batch({"log_return": r})), "lm_jump")

    found = np.flatnonzero(flags == 1.0)
    assert 2_000 in found
    assert len(found) <= 3


def test_the_lee_mykland_statistic_divides_by_the_volatility_before_the_return():
    k = 50
    out = column(jump_test_lm(RETURNS, window=k), "lm_statistic")

    for t in (k, 150, 590):
        past = np.abs(R[t - k + 1 : t])
        assert_same(out[t], R[t] / math.sqrt(np.sum(past[1:] * past[:-1]) / (k - 2)))


def test_tsrv_sees_through_the_noise_of_prices():
    n, k = 20_000, 100
    noise = RNG.normal(size=n + 1) * 2e-3
    clean = np.concatenate([[0.0], np.cumsum(RNG.normal(size=n) * 1e-3)])
    r = np.diff(clean + noise)
    out = column(tsrv(pa.record_batch({"log_return": r}), window=n, slow=k), "tsrv")[-1]

    y = clean + noise
    share = (n - k + 1) / k / n
    expected = (np.sum((y[k:] - y[:-k]) ** 2) / k - share * np.sum(r**2)) / (1 - share)
    assert_same(out, expected, 1e-9)
    assert out == pytest.approx(n * 1e-6, rel=0.2)
    assert np.sum(r**2) > 5 * n * 1e-6


def test_realized_kernel_is_the_weighted_sum_of_autocovariances():
    n, lags = 60, 5

    def kernel_sum(r):
        total = np.sum(r**2)
        for h in range(1, lags + 1):
            x = h / (lags + 1)
            weight = 1 - 6 * x**2 + 6 * x**3 if x <= 0.5 else 2 * (1 - x) ** 3
            total += 2 * weight * np.sum(r[h:] * r[:-h])
        return max(total, 0.0)

    actual = column(realized_kernel(RETURNS, window=n, lags=lags), "realized_kernel")

    assert_same(actual, each_window(n, kernel_sum), 1e-9)
