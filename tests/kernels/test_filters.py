"""Filters against the problems they solve, written apart."""

import math

import numpy as np
import pyarrow as pa
from orrery_kernels import bocpd, hp_filter, kalman_1d

RNG = np.random.default_rng(20261126)


def test_kalman_1d_is_the_mean_of_the_posterior_of_a_random_walk():
    n, q, r = 40, 0.3, 0.7
    x = np.cumsum(RNG.normal(size=n)) + RNG.normal(size=n)
    out = kalman_1d(pa.record_batch({"price": x}), q=q, r=r)

    # Levels given x: the prior is flat for the first level, then steps of variance q.
    steps = np.diff(np.eye(n), axis=0)
    for t in (1, 7, n - 1):
        precision = np.eye(t + 1) / r + steps[:t, : t + 1].T @ steps[:t, : t + 1] / q
        covariance = np.linalg.inv(precision)
        level = covariance @ (x[: t + 1] / r)
        np.testing.assert_allclose(out["kalman_filtered"][t].as_py(), level[-1], rtol=1e-10)
        np.testing.assert_allclose(
            out["kalman_variance"][t].as_py(), covariance[-1, -1], rtol=1e-10
        )


def test_hp_filter_is_the_last_point_of_the_two_sided_filter_of_the_past():
    x = 100.0 + np.cumsum(RNG.normal(size=200))
    trend = hp_filter(pa.record_batch({"price": x}), smoothing=1600.0)["trend"].to_pylist()

    for t in range(2, 200, 11):
        second = np.diff(np.eye(t + 1), 2, axis=0)
        expected = np.linalg.solve(np.eye(t + 1) + 1600.0 * second.T @ second, x[: t + 1])[-1]
        np.testing.assert_allclose(trend[t], expected, rtol=1e-9)


def student_log_pdf(x: float, nu: float, mean: float, scale_squared: float) -> float:
    gap = (x - mean) ** 2 / (nu * scale_squared)
    constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)
    return constant - 0.5 * math.log(math.pi * nu * scale_squared) - (nu + 1) / 2 * math.log1p(gap)


def run_length_posterior(xs: list[float], hazard: float) -> list[list[float]]:
    """Sum over where the current run began, each with its evidence from all data of the run."""
    evidence = []  # evidence[i]: log p(data before i, a run ends there)
    history = []
    for t in range(len(xs)):
        weights = []
        for start in range(t + 1):
            kappa, alpha, beta, mean, fit = 1.0, 1.0, 1.0, 0.0, 0.0
            for x in xs[start : t + 1]:
                fit += student_log_pdf(x, 2 * alpha, mean, beta * (kappa + 1) / (alpha * kappa))
                beta += kappa * (x - mean) ** 2 / (2 * (kappa + 1))
                mean = (kappa * mean + x) / (kappa + 1)
                kappa, alpha = kappa + 1, alpha + 0.5
            before = evidence[start - 1] + math.log(hazard) if start else 0.0
            weights.append(before + fit + (t - start) * math.log(1 - hazard))
        top = max(weights)
        total = top + math.log(sum(math.exp(w - top) for w in weights))
        evidence.append(total)
        history.append([math.exp(w - total) for w in reversed(weights)])
    return history


def test_bocpd_is_the_exact_posterior_while_runs_are_short():
    xs = [*RNG.normal(0, 1, 15), *RNG.normal(6, 1, 10)]
    out = bocpd(pa.record_batch({"log_return": xs}), hazard=0.05, max_run=40)

    for t, posterior in enumerate(run_length_posterior(xs, 0.05)):
        np.testing.assert_allclose(out["cp_prob"][t].as_py(), posterior[0], rtol=1e-9)
        assert out["run_length"][t].as_py() == int(np.argmax(posterior))


def test_bocpd_finds_a_shift_after_a_run_longer_than_it_tells_apart():
    xs = np.concatenate([RNG.normal(0, 1, 400), RNG.normal(8, 1, 20)])

    found = bocpd(pa.record_batch({"log_return": xs}), max_run=100)["cp_prob"].to_numpy()

    assert int(np.argmax(found[1:])) + 1 == 400
