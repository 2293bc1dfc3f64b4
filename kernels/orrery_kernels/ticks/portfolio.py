"""Portfolios: matrices of many names, and weights from them. Sums in a fixed order, so the same
bits anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orrery_kernels.engine import function, sqrt
from orrery_kernels.errors import ParameterError
from orrery_kernels.ticks.parameters import must_be_finite

_ITERATIONS_MAX = 10_000


def _returns(returns: np.ndarray, rows_min: int) -> np.ndarray:
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] < rows_min or not np.isfinite(x).all():
        raise ParameterError(
            f"returns must be finite, (ticks, names), {rows_min} ticks or more, was {x.shape}"
        )
    return x


def _ordered_sum(terms: np.ndarray) -> np.ndarray:
    """Return the sum over the first axis, one term after the other (numpy's own order may vary)."""
    total = np.zeros(terms.shape[1:])
    for term in terms:
        total = total + term
    return total


@function
def ewcov_matrix(
    returns: np.ndarray, lambda_: float = 0.94, start: np.ndarray | None = None
) -> np.ndarray:
    """Return the exponentially weighted covariance (names, names) after the last row of returns.

    Formula: S = lambda S + (1 - lambda) r r', mean zero; S starts as r_0 r_0', or as `start`, with
        which a stream goes on where it was.
    Source: J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, section 5.2

    >>> ewcov_matrix(np.array([[1.0, 2.0], [0.0, 0.0]]), lambda_=0.5).tolist()
    [[0.5, 1.0], [1.0, 2.0]]
    """
    x = _returns(returns, 1)
    if not 0.0 <= lambda_ < 1.0:
        raise ParameterError(f"lambda_ must be in [0, 1), was {lambda_}")
    state = None if start is None else np.array(start, dtype=np.float64)
    if state is not None and state.shape != (x.shape[1],) * 2:
        raise ParameterError(f"start must be {(x.shape[1],) * 2}, a row a name, was {state.shape}")
    for row in x:
        product = row[:, None] * row[None, :]
        state = product if state is None else lambda_ * state + (1.0 - lambda_) * product
    return state


@function
def ledoit_wolf_shrinkage(returns: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the covariance shrunk towards a multiple of the identity, (names, names), and the
    weight delta.

    Formula: delta F + (1 - delta) S, S with divisor n, F = (tr S / m) I, delta = min(1, sum |r r' -
        S|^2 / n^2 / |S - F|^2), |.| Frobenius
    Source: Ledoit & Wolf (2004), Journal of Multivariate Analysis 88(2), 365-411
    """
    x = _returns(returns, 2)
    n, m = x.shape
    x = x - _ordered_sum(x) / n
    products = x[:, :, None] * x[:, None, :]
    sample = _ordered_sum(products) / n
    mean = float(_ordered_sum(np.diagonal(sample)[:, None])[0]) / m
    target = mean * np.eye(m)
    distance = float(_ordered_sum(((sample - target) ** 2).reshape(-1, 1))[0])
    noise = float(_ordered_sum(((products - sample) ** 2).reshape(n, -1).reshape(-1, 1))[0]) / (
        n * n
    )
    delta = min(1.0, noise / distance) if distance > 0.0 else 1.0
    return delta * target + (1.0 - delta) * sample, delta


@function
def risk_parity_weights(
    covariance: np.ndarray, budget: Sequence[float] | None = None
) -> np.ndarray:
    """Return long-only weights (names,) that sum to 1 and to which each name owes its share of the
    risk.

    Formula: w_i (S w)_i proportional to budget_i (default equal), by cyclical coordinate descent on
        w' S w / 2 - sum b_i ln w_i: w_i = (-c + sqrt(c^2 + 4 S_ii b_i)) / (2 S_ii), c = sum_(j !=
        i) S_ij w_j
    Source: Maillard, Roncalli & Teiletche (2010), JPM 36(4); Spinu (2013); Griveau-Billion et al.
        (2013)

    >>> risk_parity_weights(np.array([[4.0, 0.0], [0.0, 1.0]])).round(12).tolist()
    [0.333333333333, 0.666666666667]
    """
    s = np.asarray(covariance, dtype=np.float64)
    m = len(s)
    if s.shape != (m, m) or not m or not (np.diagonal(s) > 0.0).all():
        raise ParameterError(f"covariance must be square with a positive diagonal, was {s.shape}")
    uneven = np.argwhere(np.abs(s - s.T) > 1e-9 * np.diagonal(s).max())
    if not np.isfinite(s).all() or len(uneven):
        i, j = uneven[0] if len(uneven) else np.argwhere(~np.isfinite(s))[0]
        raise ParameterError(
            "covariance must be finite and symmetric,"
            f" was {s[i, j]} at ({i}, {j}) and {s[j, i]} at ({j}, {i})"
        )
    share = np.full(m, 1.0 / m) if budget is None else np.asarray(budget, dtype=np.float64)
    if len(share) != m or not (share > 0.0).all():
        raise ParameterError(f"budget must hold {m} shares above 0, was {budget}")
    share = share / sum(share.tolist())
    w = [1.0 / sqrt(float(s[i, i])) for i in range(m)]
    for _ in range(_ITERATIONS_MAX):
        before = list(w)
        for i in range(m):
            other = sum(float(s[i, j]) * w[j] for j in range(m) if j != i)
            root = sqrt(other * other + 4.0 * float(s[i, i]) * float(share[i]))
            w[i] = (root - other) / (2.0 * float(s[i, i]))
        if max(abs(a - b) for a, b in zip(w, before, strict=True)) <= 1e-15 * max(w):
            break
    else:
        raise ParameterError(
            "covariance must be positive definite for weights of equal risk to exist"
        )
    total = sum(w)
    return np.array([x / total for x in w])


@function
def exposure_limits(
    weights: np.ndarray,
    sectors: Sequence[str],
    name_max: float = 1.0,
    sector_max: float = 1.0,
    gross_max: float = 1.0,
    net_max: float = 1.0,
) -> tuple[np.ndarray, dict[str, float]]:
    """Return weights (names,) that keep to the caps, and what each broken cap had been.

    Each name is clipped to name_max, each sector's gross scaled to sector_max, the book's gross to
    gross_max, and the side that leads scaled down until the net is within net_max. Later caps only
    scale down, so earlier ones still hold.
    Source: practice (limits of a mandate)

    >>> exposure_limits(np.array([0.6, -0.2]), ["tech", "tech"], name_max=0.5)[1]
    {'name': 0.6}
    """
    w = np.asarray(weights, dtype=np.float64).copy()
    if len(w) != len(sectors):
        raise ParameterError(
            f"sectors must name each weight, were {len(sectors)} for {len(w)} weights"
        )
    caps = {"name_max": name_max, "sector_max": sector_max, "gross_max": gross_max}
    for name, cap in {**caps, "net_max": net_max}.items():
        if not cap >= 0.0:
            raise ParameterError(f"{name} must be in [0, inf), was {cap!r}")
    must_be_finite(weights=w)
    breach: dict[str, float] = {}
    if len(w) and (largest := float(np.abs(w).max())) > name_max:
        breach["name"] = largest
        w = np.clip(w, -name_max, name_max)
    for sector in sorted(set(sectors)):
        inside = [k for k, s in enumerate(sectors) if s == sector]
        gross = sum(abs(float(w[k])) for k in inside)
        if gross > sector_max:
            breach[f"sector {sector}"] = gross
            w[inside] *= sector_max / gross
    gross = sum(abs(float(x)) for x in w)
    if gross > gross_max:
        breach["gross"] = gross
        w *= gross_max / gross
    long, short = sum(max(float(x), 0.0) for x in w), sum(max(-float(x), 0.0) for x in w)
    if abs(long - short) > net_max:
        breach["net"] = long - short
        lead, other = max(long, short), min(long, short)
        leads = w > 0.0 if long > short else w < 0.0
        w[leads] *= (other + net_max) / lead
    return w, breach
