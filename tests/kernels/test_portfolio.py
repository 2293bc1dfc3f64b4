"""Portfolio functions against numpy and against the conditions that define them."""

import numpy as np
import pytest
from orrery_kernels import (
    ewcov_matrix,
    exposure_limits,
    ledoit_wolf_shrinkage,
    risk_parity_weights,
)
from orrery_kernels.errors import ParameterError

RNG = np.random.default_rng(20261205)
RETURNS = RNG.normal(size=(60, 8)) @ RNG.normal(size=(8, 8))


def test_ewcov_matrix_goes_on_where_it_was():
    half = ewcov_matrix(RETURNS[:30])

    np.testing.assert_array_equal(ewcov_matrix(RETURNS[30:], start=half), ewcov_matrix(RETURNS))


def test_ewcov_matrix_is_the_weighted_sum_of_products():
    weights = 0.94 ** np.arange(59, -1, -1) * np.r_[1.0, np.full(59, 0.06)]
    expected = np.einsum("t,ti,tj->ij", weights, RETURNS, RETURNS)

    np.testing.assert_allclose(ewcov_matrix(RETURNS), expected, rtol=1e-10)


def test_ledoit_wolf_shrinks_by_the_weight_of_the_paper():
    x = RETURNS - RETURNS.mean(axis=0)
    n, m = x.shape
    sample = x.T @ x / n
    target = np.trace(sample) / m * np.eye(m)
    noise = sum(((np.outer(r, r) - sample) ** 2).sum() for r in x) / n**2
    expected = noise / ((sample - target) ** 2).sum()

    shrunk, delta = ledoit_wolf_shrinkage(RETURNS)

    assert delta == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(shrunk, expected * target + (1 - expected) * sample, rtol=1e-9)


def test_shrinkage_beats_the_sample_when_names_are_many():
    truth = np.diag(np.linspace(0.5, 2.0, 40))
    x = RNG.normal(size=(30, 40)) * np.sqrt(np.diag(truth))

    shrunk, _ = ledoit_wolf_shrinkage(x)

    assert np.linalg.norm(shrunk - truth) < np.linalg.norm(np.cov(x.T, bias=True) - truth)


def test_each_name_owes_its_share_of_the_risk():
    covariance = RETURNS.T @ RETURNS / 60
    budget = np.arange(1.0, 9.0)

    w = risk_parity_weights(covariance, budget.tolist())

    shares = w * (covariance @ w)
    np.testing.assert_allclose(shares / shares.sum(), budget / budget.sum(), rtol=1e-9)
    assert w.sum() == pytest.approx(1.0)
    assert (w > 0).all()


def test_a_covariance_without_positive_risk_is_refused():
    with pytest.raises(ParameterError, match="positive diagonal"):
        risk_parity_weights(np.zeros((2, 2)))
    with pytest.raises(ParameterError, match=r"symmetric, was 0.5 at \(0, 1\) and 0.2 at \(1, 0\)"):
        risk_parity_weights([[1.0, 0.5], [0.2, 1.0]])
    with pytest.raises(ParameterError, match="must be finite"):
        risk_parity_weights([[1.0, np.nan], [np.nan, 1.0]])


def test_caps_hold_together_and_what_broke_them_is_named():
    w = np.array([0.9, 0.5, -0.3, 0.4])
    sectors = ["tech", "tech", "bank", "bank"]

    out, breach = exposure_limits(
        w, sectors, name_max=0.6, sector_max=0.8, gross_max=1.2, net_max=0.5
    )

    assert np.abs(out).max() <= 0.6
    assert np.abs(out[:2]).sum() <= 0.8 + 1e-12
    assert np.abs(out).sum() <= 1.2 + 1e-12
    assert abs(out.sum()) <= 0.5 + 1e-12
    assert set(breach) == {"name", "sector tech", "gross", "net"}


def test_weights_within_their_caps_are_left_alone():
    w = np.array([0.2, -0.1])

    out, breach = exposure_limits(w, ["a", "b"])

    assert out.tolist() == w.tolist()
    assert breach == {}
