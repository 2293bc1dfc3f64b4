"""Monotone convex against published numbers and a twin in plain Python with rational arithmetic.

QuantLib is no witness here: its version is disputed (lballabio/QuantLib, issue 490).
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.curves import CurveConfig
from orrery_kernels.curves._interpolate import MONOTONE_CONVEX, prepare, read, weights
from orrery_kernels.curves.curve import Curve, Frame


def forwards(times, logs, positive=False):
    aux = np.zeros((2, len(times)))
    prepare(MONOTONE_CONVEX, positive, times, logs, aux)
    return aux


def read_at(times, logs, at, positive=False):
    out = np.empty(len(at))
    read(
        MONOTONE_CONVEX, 0, times, logs, forwards(times, logs, positive), np.asarray(at, float), out
    )
    return out


def test_forwards_are_those_of_dehlbom_2020():
    """Gustaf Dehlbom, "Interpolation of the yield curve", Uppsala University (2020)."""
    times, logs = np.arange(6.0), np.log([1.0, 0.98, 0.955, 0.92, 0.88, 0.83])

    discrete, at_nodes = forwards(times, logs)

    assert discrete[1:] == pytest.approx([0.0202, 0.0258, 0.0373, 0.0445, 0.0585], abs=1e-4)
    assert at_nodes == pytest.approx([0.0188, 0.0230, 0.0316, 0.0409, 0.0515, 0.0620], abs=1e-4)


def test_zero_rates_are_those_of_dehlbom_2020():
    times, logs = np.arange(6.0), np.log([1.0, 0.98, 0.955, 0.92, 0.88, 0.83])
    pieces = [
        ([0.2, 0.5, 0.9], lambda t: 0.0014 * t**2 + 0.0188),
        ([1.01, 1.02], lambda t: -0.0028 / t + 0.023),
        ([1.1, 1.5, 1.9], lambda t: 0.0029 * t**2 - 0.0088 * t - 0.0058 / t + 0.0319),
        ([2.1, 2.5, 2.9], lambda t: -0.0022 * t**2 + 0.0212 * t + 0.0324 / t - 0.0268),
        ([3.1, 3.5, 3.9], lambda t: 0.0031 * t**2 - 0.0274 * t - 0.1188 / t + 0.1217),
        ([4.1, 4.5, 4.9], lambda t: -0.0035 * t**2 + 0.0525 * t + 0.314 / t - 0.2005),
    ]

    for at, expected in pieces:
        got = -read_at(times, logs, at) / np.array(at)
        assert got == pytest.approx([expected(t) for t in at], abs=3e-4)


def test_yields_are_those_of_google_tf_quant_finance():
    """google/tf-quant-finance, rates/hagan_west/monotone_convex_test.py, interpolated yields."""
    times = np.arange(5.0)
    logs = -times * np.array([0.0, 5.0, 4.75, 4.533333, 4.775]) / 100
    at = np.array([0.25, 0.5, 1.0, 2.0, 3.0, 1.1, 2.5, 2.9, 3.6, 4.0])
    expected = [
        5.1171875,
        5.09375,
        5.0,
        4.75,
        4.533333,
        4.9746,
        4.624082,
        4.535422,
        4.661777,
        4.775,
    ]

    got = -read_at(times, logs, at) / at * 100

    assert got == pytest.approx(expected, abs=1e-5)


def twin_forward(x, g0, g1):
    """g of Hagan & West (2006), section 6.2, as it stands in the paper."""
    if g0 == 0 or g1 == 0:
        return Fraction(0)
    if (g0 > 0 and -g0 / 2 >= g1 >= -2 * g0) or (g0 < 0 and -g0 / 2 <= g1 <= -2 * g0):
        return g0 * (1 - 4 * x + 3 * x * x) + g1 * (-2 * x + 3 * x * x)
    if (g0 < 0 and g1 > -2 * g0) or (g0 > 0 and g1 < -2 * g0):
        eta = (g1 + 2 * g0) / (g1 - g0)
        return g0 if x <= eta else g0 + (g1 - g0) * ((x - eta) / (1 - eta)) ** 2
    if (g0 > 0 and 0 > g1 > -g0 / 2) or (g0 < 0 and 0 < g1 < -g0 / 2):
        eta = 3 * g1 / (g1 - g0)
        return g1 + (g0 - g1) * ((eta - x) / eta) ** 2 if x < eta else g1
    eta, low = g1 / (g1 + g0), -g0 * g1 / (g0 + g1)
    if x <= eta:
        return low + (g0 - low) * ((eta - x) / eta) ** 2
    return low + (g1 - low) * ((x - eta) / (1 - eta)) ** 2


RATE = st.integers(-60, 200).map(lambda n: n / 1000)


@settings(max_examples=200, deadline=None)
@given(st.lists(RATE, min_size=3, max_size=7))
def test_the_forward_is_the_one_of_the_paper(discrete):
    times = np.arange(len(discrete) + 1.0)
    logs = -np.concatenate([[0.0], np.cumsum(discrete)])
    mean, at_nodes = forwards(times, logs)
    h = 1e-5

    for i in range(1, len(times)):
        for x in (0.13, 0.41, 0.77):
            t = i - 1 + x
            left, right = read_at(times, logs, [t - h, t + h])
            g0, g1 = at_nodes[i - 1] - mean[i], at_nodes[i] - mean[i]
            expected = float(twin_forward(Fraction(x), Fraction(g0), Fraction(g1))) + mean[i]
            assert (left - right) / (2 * h) == pytest.approx(expected, abs=2e-6)


@settings(max_examples=200, deadline=None)
@given(st.lists(RATE, min_size=1, max_size=8))
def test_the_curve_meets_its_nodes(discrete):
    times = np.concatenate([[0.0], np.cumsum(np.arange(1, len(discrete) + 1) * 0.75)])
    logs = np.concatenate([[0.0], -np.cumsum(np.array(discrete) * np.diff(times))])

    got = read_at(times, logs, times[1:])

    assert got == pytest.approx(logs[1:], abs=1e-14)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 200).map(lambda n: n / 1000), min_size=2, max_size=8))
def test_positive_forwards_stay_positive(discrete):
    times = np.arange(len(discrete) + 1.0)
    logs = -np.concatenate([[0.0], np.cumsum(discrete)])
    at = np.linspace(0.0, times[-1], 40 * len(discrete) + 1)

    factors = read_at(times, logs, at, positive=True)

    assert np.all(np.diff(factors) <= 1e-15)


@settings(max_examples=100, deadline=None)
@given(st.lists(RATE, min_size=2, max_size=6, unique=True), st.floats(0.05, 8.0))
def test_slopes_by_node_are_those_of_small_moves(discrete, t):
    times = np.arange(len(discrete) + 1.0)
    logs = -np.concatenate([[0.0], np.cumsum(discrete)])
    out, at, h = np.empty((1, len(discrete))), np.array([t]), 1e-7
    weights(MONOTONE_CONVEX, False, 0, times, logs, forwards(times, logs), at, out)

    for node in range(1, len(times)):
        moved = [logs.copy(), logs.copy()]
        moved[0][node] += h
        moved[1][node] -= h
        up, down = (read_at(times, m, at)[0] for m in moved)
        here = read_at(times, logs, at)[0]
        sides = sorted([(up - here) / h, (here - down) / h])
        assert sides[0] - 2e-5 <= out[0, node - 1] <= sides[1] + 2e-5


def test_a_flat_curve_stays_flat():
    frame = Frame(0, CurveConfig("X", "monotone_convex"), (0, 365, 730, 1825), ("a", "b", "c"), b"")
    curve = Curve(frame, -0.03 * frame.times, None)

    assert curve.log_discount_factors(np.arange(0, 3000, 7)) == pytest.approx(
        -0.03 * np.arange(0, 3000, 7) / 365, abs=1e-14
    )
