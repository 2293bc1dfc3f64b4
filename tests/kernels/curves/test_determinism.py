"""The same bits whatever the order, the company in a batch, the process, the way from bytes."""

import subprocess
import sys
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.curves import (
    CurveConfig,
    CurvePlan,
    Turn,
    build_curve,
    from_bytes,
    par_quote,
    to_bytes,
)
from orrery_kernels.curves._math import exp, log
from orrery_kernels.curves.calendars import from_dates
from orrery_kernels.errors import StateError

from tests.kernels.curves.market import (
    AS_OF,
    MIXED_INSTRUMENTS,
    MIXED_QUOTES,
    RATES,
    SOFR_INSTRUMENTS,
    SOFR_QUOTES,
)
from tests.kernels.curves.test_against_quantlib import (
    INTERPOLATIONS,
    estr_curve,
    euribor_instruments,
)

SOFR = CurveConfig("USD-SOFR", quote_band=(-0.10, 0.50))
# Pinned on x86-64: other bits are another solver (raise SOLVER_VERSION) or another processor's
# fault.
GOLDEN = {
    "linear_zero": "4a5aebbfad246881",
    "log_cubic": "303f5d9977ab165e",
    "log_linear": "46b8a07897990754",
    "monotone_convex": "6873a85bf5b19c9b",
}
PLAN = CurvePlan(AS_OF, SOFR_INSTRUMENTS, SOFR)
SEEDS = st.integers(0, 2**32 - 1)


def moved_rates(seed, rows):
    """All rates moved by up to 5 %, each by some 5 basis points more: steeper has no 50Y curve."""
    dice = np.random.default_rng(seed)
    return RATES + dice.uniform(-0.05, 0.04, (rows, 1)) + dice.normal(0.0, 5e-4, (rows, 20))


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(30)), st.permutations(range(30)), st.sampled_from(INTERPOLATIONS))
def test_the_order_of_instruments_and_quotes_changes_no_byte(first, second, kind):
    config = replace(SOFR, interpolation=kind)
    instruments = [MIXED_INSTRUMENTS[i] for i in first]
    quotes = {MIXED_INSTRUMENTS[i].id: MIXED_QUOTES[MIXED_INSTRUMENTS[i].id] for i in second}

    shuffled = CurvePlan(AS_OF, instruments, config).rebuild(quotes, jacobian=True)

    straight = build_curve(AS_OF, MIXED_INSTRUMENTS, MIXED_QUOTES, config)
    assert to_bytes(shuffled) == to_bytes(straight)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 70))
def test_a_scenario_has_the_bits_it_has_alone(seed, count):
    """Lanes of a block converge after different numbers of steps and must not touch each other."""
    rows = moved_rates(seed, count)

    together = PLAN.scenarios(rows)

    for row, logs in zip(rows, together, strict=True):
        assert PLAN.rebuild(row).log_discounts.tobytes() == logs.tobytes()


@pytest.mark.parametrize("kind", INTERPOLATIONS)
def test_scenarios_have_the_bits_of_single_curves_for_every_interpolation(kind):
    plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, replace(SOFR, interpolation=kind))
    rows = RATES + np.linspace(-0.02, 0.02, 5)[:, None]

    together = plan.scenarios(rows)

    alone = np.array([plan.rebuild(row).log_discounts for row in rows])
    assert together.tobytes() == alone.tobytes()


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_every_input_is_repriced_for_any_moves(seed):
    rates = moved_rates(seed, 1)[0]

    curve = PLAN.rebuild(rates)

    for one, rate in zip(PLAN.instruments, rates, strict=True):
        assert abs(par_quote(one, curve) - rate) < 1e-12


def curves_to_store():
    yield build_curve(
        AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, replace(SOFR, turns=(Turn("2026-12-31", 0.9996),))
    )
    yield build_curve(
        AS_OF,
        MIXED_INSTRUMENTS,
        MIXED_QUOTES,
        replace(SOFR, interpolation="log_cubic"),
        jacobian=False,
    )
    instruments, quotes = euribor_instruments()
    config = CurveConfig("EUR-EURIBOR-6M", discount="EUR-ESTR")
    yield build_curve(AS_OF, instruments, quotes, config, curves={"EUR-ESTR": estr_curve()[1]})


def test_a_curve_comes_back_from_its_bytes_as_it_was():
    for curve in curves_to_store():
        data = to_bytes(curve)

        again = from_bytes(data)

        days = np.arange(curve.as_of, curve.as_of + 20_000, 111)
        assert to_bytes(again) == data
        assert again.discount_factors(days).tobytes() == curve.discount_factors(days).tobytes()
        assert [other.name for other in again.others] == [other.name for other in curve.others]


def test_cut_or_foreign_bytes_are_refused():
    data = to_bytes(next(curves_to_store()))

    for bad in (b"", b"PAR1" + data, data[:-1], data[: len(data) // 2], data + b"\0"):
        with pytest.raises(StateError):
            from_bytes(bad)


def test_the_bytes_of_a_curve_are_pinned():
    found = {}
    for kind in INTERPOLATIONS:
        curve = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, replace(SOFR, interpolation=kind))
        found[kind] = blake2b(to_bytes(curve), digest_size=8).hexdigest()

    assert found == GOLDEN


def test_the_digest_of_a_plan_sees_conventions_calendars_and_day_and_not_the_order():
    digest = PLAN.frame.plan_digest
    other = CurvePlan(AS_OF, SOFR_INSTRUMENTS[::-1], SOFR)
    no_holidays = from_dates("SOFR", 0, 60_000, [])
    moved = CurvePlan(AS_OF, SOFR_INSTRUMENTS, SOFR, {"SOFR": no_holidays})
    next_day = CurvePlan("2026-11-23", SOFR_INSTRUMENTS, SOFR)
    wider = CurvePlan(AS_OF, SOFR_INSTRUMENTS, replace(SOFR, quote_band=(-1.0, 1.0)))

    assert other.frame.plan_digest == digest
    digests = {digest, moved.frame.plan_digest, next_day.frame.plan_digest, wider.frame.plan_digest}
    assert len(digests) == 4


def test_another_process_with_another_hash_seed_gives_the_same_bytes():
    code = (
        "from tests.kernels.curves.market import *\n"
        "from orrery_kernels.curves import *\n"
        "config = CurveConfig('USD-SOFR', quote_band=(-0.10, 0.50))\n"
        "curve = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, config)\n"
        "print(to_bytes(curve).hex())"
    )
    root = Path(__file__).resolve().parents[3]
    paths = [str(root), str(root / "kernels")]

    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        env={"PYTHONHASHSEED": "7", "PATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    here = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, SOFR)
    assert ran.stdout.strip() == to_bytes(here).hex()


@settings(max_examples=300, deadline=None)
@given(st.floats(-50.0, 50.0))
def test_exp_is_within_one_unit_in_the_last_place(x):
    with mpmath.workdps(40):
        error = abs(mpmath.mpf(exp(x)) - mpmath.exp(mpmath.mpf(x)))

    assert error <= np.spacing(exp(x))


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-12, 1e12))
def test_log_is_within_one_unit_in_the_last_place(x):
    with mpmath.workdps(40):
        error = abs(mpmath.mpf(log(x)) - mpmath.log(mpmath.mpf(x)))

    assert error <= np.spacing(abs(log(x))) or error < 1e-18
