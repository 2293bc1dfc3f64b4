"""Jacobians against bumps, books against QuantLib, ladders, gamma and scenarios."""

from dataclasses import replace

import numpy as np
import pytest
import QuantLib as ql
from orrery_kernels.curves import (
    ESTR_OIS,
    EURIBOR_6M_SWAP,
    SOFR_OIS,
    CurveConfig,
    CurvePlan,
    build_curve,
)
from orrery_kernels.errors import CurveError, ParameterError
from orrery_kernels.risk import (
    SwapBook,
    SwapTrade,
    book_value,
    bucket_bump,
    dv01,
    gamma,
    ladder,
    parallel_bump,
    scenario_values,
)
from orrery_kernels.risk.ladder import parallel_gamma

from tests.kernels.curves.market import (
    AS_OF,
    MIXED_INSTRUMENTS,
    MIXED_QUOTES,
    SOFR_INSTRUMENTS,
    SOFR_QUOTES,
    ql_date,
    ql_sofr_helpers,
    set_day,
)
from tests.kernels.curves.test_against_quantlib import (
    INTERPOLATIONS,
    estr_curve,
    euribor_instruments,
)

SOFR = CurveConfig("USD-SOFR")
TRADES = (
    SwapTrade("A", SOFR_OIS, "2026-11-24", "2031-11-24", 10e6, 0.0361, True),
    SwapTrade("B", SOFR_OIS, "2027-03-15", "2046-03-15", 25e6, 0.0410, False),
    SwapTrade("C", SOFR_OIS, "2026-12-01", "2036-12-01", 7e6, 0.0390, True),
)


@pytest.mark.parametrize("kind", INTERPOLATIONS)
@pytest.mark.parametrize("pillar", ["last", "maturity"])
def test_the_jacobian_is_the_slope_of_small_moves_of_the_quotes(kind, pillar):
    plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, replace(SOFR, interpolation=kind, pillar=pillar))
    quotes = plan.ordered(SOFR_QUOTES)
    slopes, h = plan.rebuild(quotes, jacobian=True).jacobian, 2e-8

    for j in range(len(quotes)):
        move = np.zeros(len(quotes))
        move[j] = h
        up, down = (
            plan.rebuild(quotes + move).log_discounts,
            plan.rebuild(quotes - move).log_discounts,
        )
        assert slopes[:, j] == pytest.approx((up - down)[1:] / (2 * h), abs=3e-6, rel=3e-6)


def test_a_local_jacobian_is_triangular_and_a_price_moves_against_its_rate():
    plan = CurvePlan(AS_OF, MIXED_INSTRUMENTS, SOFR)

    slopes = plan.rebuild(MIXED_QUOTES, jacobian=True).jacobian

    assert np.all(slopes[np.triu_indices(len(slopes), 1)] == 0.0)
    by_quote = dict(zip(plan.quote_ids, np.diag(slopes), strict=True))
    assert all((value > 0) == name.startswith("SR3") for name, value in by_quote.items())


def test_a_curve_with_and_without_jacobian_has_the_same_bits():
    for kind in INTERPOLATIONS:
        plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, replace(SOFR, interpolation=kind))
        quotes = plan.ordered(SOFR_QUOTES)

        assert (
            plan.rebuild(quotes).log_discounts.tobytes()
            == plan.rebuild(quotes, jacobian=True).log_discounts.tobytes()
        )


def ql_values(theirs):
    """Value the trades with QuantLib on its own curve."""
    handle = ql.YieldTermStructureHandle(theirs)
    index, found = ql.Sofr(handle), {}
    calendar = ql.UnitedStates(ql.UnitedStates.SOFR)
    for trade in TRADES:
        schedule = ql.Schedule(
            ql_date(trade.start), ql_date(trade.end), ql.Period("1Y"), calendar,
            ql.ModifiedFollowing, ql.ModifiedFollowing, ql.DateGeneration.Backward, False,
        )  # fmt: skip
        side = ql.Swap.Payer if trade.pays_fixed else ql.Swap.Receiver
        swap = ql.OvernightIndexedSwap(
            side, trade.notional, schedule, trade.fixed_rate, ql.Actual360(), index, 0.0, 2,
            ql.Following, calendar, True,
        )  # fmt: skip
        swap.setPricingEngine(ql.DiscountingSwapEngine(handle))
        found[trade.id] = swap.NPV()
    return found


def test_a_book_of_swaps_is_worth_what_quantlib_says():
    day = set_day()
    theirs = ql.PiecewiseLogLinearDiscount(
        day, ql_sofr_helpers(), ql.Actual365Fixed(), ql.IterativeBootstrap(1e-15)
    )
    theirs.enableExtrapolation()
    curve = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, SOFR)
    book = SwapBook(AS_OF, TRADES[::-1])

    values = dict(
        zip((trade.id for trade in book.trades), book.values({"USD-SOFR": curve}), strict=True)
    )

    for name, expected in ql_values(theirs).items():
        assert values[name] == pytest.approx(expected, abs=1e-5), name  # of up to 25 million
    assert book_value(book, {"USD-SOFR": curve}) == pytest.approx(sum(values.values()), abs=1e-6)


def test_the_order_of_trades_changes_no_bit_of_the_value():
    curve = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, SOFR)

    values = [
        book_value(SwapBook(AS_OF, list(order)), {"USD-SOFR": curve})
        for order in (TRADES, TRADES[::-1])
    ]

    assert values[0] == values[1]


def test_a_running_swap_takes_what_is_known_from_fixings():
    """One day after the start: growth known for a day, and nothing left of it in the forwards."""
    start = "2026-11-17"
    trade = SwapTrade("run", SOFR_OIS, start, "2027-11-17", 1e6, 0.0, True)
    fixings = {"USD-SOFR": {"2026-11-17": 0.0433, "2026-11-18": 0.0434, "2026-11-19": 0.0432}}
    curve = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, SOFR)

    value = book_value(SwapBook(AS_OF, [trade], fixings=fixings), {"USD-SOFR": curve})

    known = (1 + 0.0433 / 360) * (1 + 0.0434 / 360) * (1 + 0.0432 / 360)
    expected = 1e6 * (known / curve.discount("2027-11-17") - 1) * curve.discount("2027-11-19")
    assert value == pytest.approx(expected, abs=1e-6)
    with pytest.raises(CurveError, match="needs the fixing of USD-SOFR on 2026-11-17"):
        SwapBook(AS_OF, [trade])


def test_a_swap_that_has_ended_is_worth_nothing():
    trade = SwapTrade("old", SOFR_OIS, "2020-01-15", "2025-01-15", 1e6, 0.05)
    curve = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, SOFR)

    assert book_value(SwapBook(AS_OF, [trade]), {"USD-SOFR": curve}) == 0.0


@pytest.mark.parametrize("kind", INTERPOLATIONS)
def test_a_key_rate_ladder_is_what_moving_each_quote_does(kind):
    plan = CurvePlan(AS_OF, MIXED_INSTRUMENTS, replace(SOFR, interpolation=kind))
    curve = plan.rebuild(MIXED_QUOTES, jacobian=True)
    book = SwapBook(AS_OF, TRADES)

    got = ladder(book, {"USD-SOFR": plan}, {"USD-SOFR": curve}).buckets["USD-SOFR"]

    # Monotone convex has kinks, as on quotes in a line: there a slope is one between the two sides.
    size, here = 0.01, book_value(book, {"USD-SOFR": curve})
    for name in plan.quote_ids:
        up, down = (
            book_value(
                book, {"USD-SOFR": plan.rebuild(bucket_bump(plan, curve.quotes, name, s * size))}
            )
            for s in (1, -1)
        )
        low, high = sorted([(up - here) / size, (here - down) / size])
        assert low - 0.05 <= got[name] <= high + 0.05, name


def test_dv01_is_what_moving_all_quotes_does():
    plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, SOFR)
    curve, book = plan.rebuild(SOFR_QUOTES, jacobian=True), SwapBook(AS_OF, TRADES)
    up, down = (
        book_value(book, {"USD-SOFR": plan.rebuild(parallel_bump(plan, curve.quotes, size))})
        for size in (0.1, -0.1)
    )

    got = dv01(book, {"USD-SOFR": plan}, {"USD-SOFR": curve})

    assert got == pytest.approx((up - down) / 0.2, rel=1e-6)


def test_a_ladder_goes_through_the_curve_that_discounts():
    estr_plan, estr = estr_curve(jacobian=True)
    instruments, quotes = euribor_instruments()
    plan = CurvePlan(
        AS_OF, instruments, CurveConfig("EUR-EURIBOR-6M", "log_cubic", discount="EUR-ESTR")
    )
    curves = {"EUR-ESTR": estr}
    curves["EUR-EURIBOR-6M"] = plan.rebuild(quotes, curves, jacobian=True)
    trades = [
        SwapTrade("E", EURIBOR_6M_SWAP, "2026-12-01", "2039-12-01", 50e6, 0.031, False),
        SwapTrade("O", ESTR_OIS, "2026-12-01", "2033-12-01", 20e6, 0.02, True),
    ]
    book = SwapBook(AS_OF, trades, discount="EUR-ESTR")
    plans = {"EUR-ESTR": estr_plan, "EUR-EURIBOR-6M": plan}

    got = ladder(book, plans, curves)

    for name in estr_plan.quote_ids:
        values = []
        for size in (0.01, -0.01):
            moved = {"EUR-ESTR": estr_plan.rebuild(bucket_bump(estr_plan, estr.quotes, name, size))}
            moved["EUR-EURIBOR-6M"] = plan.rebuild(quotes, moved)
            values.append(book_value(book, moved))
        expected = (values[0] - values[1]) / 0.02
        assert got.buckets["EUR-ESTR"][name] == pytest.approx(expected, abs=0.02, rel=1e-5), name
    assert abs(got.buckets["EUR-EURIBOR-6M"]["SWAP-15Y"]) > 1000


def test_scenarios_of_a_book_are_its_values_on_rebuilt_curves():
    plan, book = CurvePlan(AS_OF, SOFR_INSTRUMENTS, SOFR), SwapBook(AS_OF, TRADES)
    rows = plan.ordered(SOFR_QUOTES) + np.linspace(-0.01, 0.01, 7)[:, None]

    got = scenario_values(book, plan, rows)

    assert got.tolist() == [book_value(book, {"USD-SOFR": plan.rebuild(row)}) for row in rows]


def test_gamma_adds_up_to_how_dv01_moves():
    plan, book = CurvePlan(AS_OF, SOFR_INSTRUMENTS, SOFR), SwapBook(AS_OF, TRADES)
    curve = plan.rebuild(SOFR_QUOTES, jacobian=True)
    moved = [
        plan.rebuild(parallel_bump(plan, curve.quotes, size), jacobian=True) for size in (5.0, -5.0)
    ]

    up, down = (dv01(book, {"USD-SOFR": plan}, {"USD-SOFR": one}) for one in moved)

    assert parallel_gamma(book, plan, curve) == pytest.approx((up - down) / 10.0, rel=1e-3)
    diagonal = gamma(book, plan, curve)
    assert diagonal.shape == (20,)
    assert np.isfinite(diagonal).all()


def test_a_book_names_the_curve_it_lacks_and_the_day_that_differs():
    book = SwapBook(AS_OF, TRADES)
    with pytest.raises(CurveError, match="needs curve USD-SOFR"):
        book.values({})
    old = build_curve("2026-11-19", SOFR_INSTRUMENTS, SOFR_QUOTES, SOFR)
    with pytest.raises(CurveError, match="as of 2026-11-20, curve USD-SOFR of 2026-11-19"):
        book.values({"USD-SOFR": old})


def test_a_bump_of_no_quote_and_two_trades_of_one_id_are_refused():
    plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, SOFR)

    with pytest.raises(ParameterError, match="was 'SOFR-99Y'"):
        bucket_bump(plan, plan.ordered(SOFR_QUOTES), "SOFR-99Y", 1.0)
    with pytest.raises(ParameterError, match="must differ"):
        SwapBook(AS_OF, [TRADES[0], TRADES[0]])
