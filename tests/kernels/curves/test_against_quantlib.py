"""Discount factors against QuantLib 1.44, to 1e-12, and every input repriced, to 1e-12."""

from dataclasses import replace

import numpy as np
import pytest
import QuantLib as ql
from orrery_kernels.curves import (
    ESTR_OIS,
    EURIBOR_3M_SWAP,
    EURIBOR_6M,
    EURIBOR_6M_SWAP,
    USD_SOFR,
    CurveConfig,
    CurvePlan,
    Deposit,
    Fra,
    Ois,
    OvernightFuture,
    Swap,
    TenorBasis,
    Turn,
    build_curve,
    par_quote,
)
from orrery_kernels.curves.convexity import ho_lee_convexity, hull_white_convexity

from tests.kernels.curves.market import (
    AS_OF,
    MIXED_INSTRUMENTS,
    MIXED_QUOTES,
    RATES,
    SOFR_INSTRUMENTS,
    SOFR_QUOTES,
    largest_difference,
    ql_date,
    ql_mixed_helpers,
    ql_sofr_helpers,
    quoted,
    set_day,
)

ACCURATE = ql.IterativeBootstrap(1e-15)
RIVALS = {
    "log_linear": ql.PiecewiseLogLinearDiscount,
    "linear_zero": ql.PiecewiseLinearZero,
    "log_cubic": ql.PiecewiseNaturalLogCubicDiscount,
}
INTERPOLATIONS = (*RIVALS, "monotone_convex")


def worst_repricing(curve, instruments, quotes, **known):
    return max(abs(par_quote(one, curve, **known) - quotes[one.id]) for one in instruments)


def days_of(curve):
    """Every node, and a walk with a prime step between them."""
    nodes = curve.frame.node_dates
    return sorted({*nodes, *range(nodes[0], nodes[-1], 41)})


def flat_helper_curve(kind, helpers, day):
    return RIVALS[kind](day, helpers, ql.Actual365Fixed(), ACCURATE)


@pytest.mark.parametrize("kind", RIVALS)
@pytest.mark.parametrize("as_of", [AS_OF, "2024-02-29", "2025-12-31"])
def test_a_sofr_curve_has_the_discount_factors_of_quantlib(kind, as_of):
    theirs = flat_helper_curve(kind, (set_day(as_of), ql_sofr_helpers())[1], ql_date(as_of))

    ours = build_curve(as_of, SOFR_INSTRUMENTS, SOFR_QUOTES, CurveConfig("USD-SOFR", kind))

    assert largest_difference(ours, theirs, days_of(ours)) < 1e-12


@pytest.mark.parametrize("kind", ["log_linear", "linear_zero"])
def test_ois_and_futures_with_convexity_and_swaps_have_the_discount_factors_of_quantlib(kind):
    day = set_day()
    theirs = flat_helper_curve(kind, ql_mixed_helpers(), day)

    ours = build_curve(AS_OF, MIXED_INSTRUMENTS, MIXED_QUOTES, CurveConfig("USD-SOFR", kind))

    assert largest_difference(ours, theirs, days_of(ours)) < 1e-12


@pytest.mark.parametrize("kind", INTERPOLATIONS)
@pytest.mark.parametrize(
    ("instruments", "quotes"),
    [(SOFR_INSTRUMENTS, SOFR_QUOTES), (MIXED_INSTRUMENTS, MIXED_QUOTES)],
    ids=["ois", "mixed"],
)
@pytest.mark.parametrize("pillar", ["last", "maturity"])
def test_every_input_is_repriced(kind, instruments, quotes, pillar):
    config = CurveConfig("USD-SOFR", kind, pillar=pillar)

    curve = build_curve(AS_OF, instruments, quotes, config)

    futures = [one for one in instruments if isinstance(one, OvernightFuture)]
    others = [one for one in instruments if not isinstance(one, OvernightFuture)]
    assert worst_repricing(curve, others, quotes) < 1e-12
    # A price is a hundred times a rate.
    assert not futures or worst_repricing(curve, futures, quotes) < 1e-10


LEVELS = {
    "negative": RATES - 0.05,
    "zero": np.zeros(20),
    "very high": 0.3 + 2 * RATES,
    "hyperinflation": np.linspace(2.0, 0.6, 20),
    "inverted": RATES[::-1].copy(),
    "steep": np.linspace(-0.01, 0.055, 20),
}


@pytest.mark.parametrize("kind", INTERPOLATIONS)
@pytest.mark.parametrize("level", LEVELS)
def test_rates_of_any_level_are_repriced(kind, level):
    quotes = dict(zip(SOFR_QUOTES, map(float, LEVELS[level]), strict=True))
    tenors = SOFR_INSTRUMENTS[:14] if level in ("very high", "hyperinflation") else SOFR_INSTRUMENTS
    config = CurveConfig("USD-SOFR", kind, quote_band=(-0.5, 5.0))

    curve = build_curve(AS_OF, tenors, quotes, config)

    assert worst_repricing(curve, tenors, quotes) < 1e-12


@pytest.mark.parametrize("kind", RIVALS)
def test_negative_rates_have_the_discount_factors_of_quantlib(kind):
    day, rates = set_day(), RATES - 0.05
    theirs = flat_helper_curve(kind, ql_sofr_helpers(rates), day)

    quotes = dict(zip(SOFR_QUOTES, map(float, rates), strict=True))
    ours = build_curve(AS_OF, SOFR_INSTRUMENTS, quotes, CurveConfig("USD-SOFR", kind))

    assert ours.discount("2036-01-01") > 1.0
    assert largest_difference(ours, theirs, days_of(ours)) < 1e-12


def test_turns_are_the_jumps_of_quantlib():
    day = set_day()
    jumps = {"2026-12-31": 0.9995, "2027-12-31": 0.9993}
    theirs = ql.PiecewiseLogLinearDiscount(
        day, ql_sofr_helpers(), ql.Actual365Fixed(), [quoted(size) for size in jumps.values()],
        [ql_date(date) for date in jumps], ql.LogLinear(), ACCURATE,
    )  # fmt: skip
    turns = tuple(Turn(date, size) for date, size in jumps.items())

    ours = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, CurveConfig("USD-SOFR", turns=turns))

    assert largest_difference(ours, theirs, days_of(ours)) < 1e-12
    assert worst_repricing(ours, SOFR_INSTRUMENTS, SOFR_QUOTES) < 1e-12


def test_extrapolation_goes_on_with_the_last_forward_as_quantlib_does():
    day = set_day()
    for kind in RIVALS:
        theirs = flat_helper_curve(kind, ql_sofr_helpers(), day)
        ours = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, CurveConfig("USD-SOFR", kind))
        beyond = range(ours.frame.node_dates[-1], ours.frame.node_dates[-1] + 7000, 500)

        assert largest_difference(ours, theirs, list(beyond)) < 1e-12, kind


# lballabio/QuantLib, test-suite/sofrfutures.cpp: running futures, with the fixings of October 2018.
OCTOBER_2018 = {
    1: 222, 2: 220, 3: 220, 4: 218, 5: 216, 9: 215, 10: 215, 11: 217, 12: 218, 15: 221, 16: 218,
    17: 218, 18: 219, 19: 219, 22: 218, 23: 217, 24: 218, 25: 219,
}  # fmt: skip
MONTHLY_2018 = {
    "2018-10": 97.8175, "2018-11": 97.770, "2018-12": 97.685, "2019-01": 97.595, "2019-02": 97.590,
    "2019-03": 97.525,
}  # fmt: skip
QUARTERLY_2019 = {
    "2019-03": 97.440, "2019-06": 97.295, "2019-09": 97.220, "2019-12": 97.170, "2020-03": 97.160,
    "2020-06": 97.165, "2020-09": 97.175,
}  # fmt: skip


# Their last daily rate runs on over a weekend or holiday. Our node is where it ends; QuantLib's
# is on the
# first of the month, so that it prices that rate with the next segment and no longer reprices them.
ENDS_ON_NO_BUSINESS_DAY = ("2018-11", "2018-12")


def test_running_futures_with_fixings_have_the_discount_factors_of_quantlib():
    day = set_day("2018-10-26")
    fixings = {f"2018-10-{number:02d}": rate / 1e4 for number, rate in OCTOBER_2018.items()}
    index = ql.Sofr()
    index.clearFixings()
    for date, rate in fixings.items():
        index.addFixing(ql_date(date), rate)
    helpers, instruments, quotes = [], [], {}
    for months, frequency, prices in (
        (1, ql.Monthly, MONTHLY_2018),
        (3, ql.Quarterly, QUARTERLY_2019),
    ):
        for month, price in prices.items():
            if months == 1 and month in ENDS_ON_NO_BUSINESS_DAY:
                continue
            year, number = map(int, month.split("-"))
            helpers.append(ql.SofrFutureRateHelper(price, number, year, frequency))
            instruments.append(OvernightFuture(f"SR{months}-{month}", month, months, USD_SOFR))
            quotes[instruments[-1].id] = price
    theirs = flat_helper_curve("log_linear", helpers, day)

    ours = build_curve(
        "2018-10-26", instruments, quotes, CurveConfig("USD-SOFR"), fixings={"USD-SOFR": fixings}
    )

    assert largest_difference(ours, theirs, days_of(ours)) < 1e-12
    index.clearFixings()
    march = instruments[4]
    assert par_quote(march, ours, fixings={"USD-SOFR": fixings}) == pytest.approx(97.44, abs=1e-9)


def test_a_monthly_future_that_ends_on_a_weekend_is_repriced_with_the_others():
    fixings = {"USD-SOFR": {f"2018-10-{n:02d}": rate / 1e4 for n, rate in OCTOBER_2018.items()}}
    instruments = [OvernightFuture(month, month, 1, USD_SOFR) for month in MONTHLY_2018]

    curve = build_curve(
        "2018-10-26", instruments, MONTHLY_2018, CurveConfig("USD-SOFR"), fixings=fixings
    )

    assert worst_repricing(curve, instruments, MONTHLY_2018, fixings=fixings) < 1e-10


def test_a_future_that_starts_on_juneteenth_starts_there():
    day = set_day("2024-06-27")
    fixings = {"2024-06-18": 0.02, "2024-06-20": 0.02, "2024-06-21": 0.02, "2024-06-24": 0.02,
               "2024-06-25": 0.02, "2024-06-26": 0.02}  # fmt: skip
    index = ql.Sofr()
    index.clearFixings()
    for date, rate in fixings.items():
        index.addFixing(ql_date(date), rate)
    prices = {"2024-06": 97.220, "2024-09": 97.170, "2024-12": 97.160, "2025-03": 97.165}
    helpers = [
        ql.SofrFutureRateHelper(price, int(month[5:]), int(month[:4]), ql.Quarterly)
        for month, price in prices.items()
    ]
    theirs = flat_helper_curve("log_linear", helpers, day)
    instruments = [OvernightFuture(month, month, 3, USD_SOFR) for month in prices]

    ours = build_curve(
        "2024-06-27", instruments, prices, CurveConfig("USD-SOFR"), fixings={"USD-SOFR": fixings}
    )

    assert largest_difference(ours, theirs, days_of(ours)) < 1e-12
    index.clearFixings()


ESTR_RATES = {"1W": 0.0192, "1M": 0.0192, "3M": 0.0190, "6M": 0.0188, "1Y": 0.0187, "2Y": 0.0192,
              "5Y": 0.0215, "10Y": 0.0250, "20Y": 0.0268, "30Y": 0.0262}  # fmt: skip
DEPOSITS = {"1W": 0.0201, "1M": 0.0203, "3M": 0.0205}
FRAS = {"1M": 0.0208, "3M": 0.0209, "6M": 0.0210}
SWAPS = {"2Y": 0.0216, "3Y": 0.0222, "5Y": 0.0236, "7Y": 0.0249, "10Y": 0.0266, "15Y": 0.0281,
         "20Y": 0.0283, "30Y": 0.0277}  # fmt: skip


def estr_curve(kind="log_linear", jacobian=False):
    instruments = [Ois(f"ESTR-{tenor}", tenor, ESTR_OIS) for tenor in ESTR_RATES]
    quotes = {f"ESTR-{tenor}": rate for tenor, rate in ESTR_RATES.items()}
    plan = CurvePlan(AS_OF, instruments, CurveConfig("EUR-ESTR", kind))
    return plan, plan.rebuild(quotes, jacobian=jacobian)


def ql_estr_curve(day):
    helpers = [
        ql.OISRateHelper(
            2, ql.Period(tenor), quoted(rate), ql.Estr(), ql.YieldTermStructureHandle(), True, 1,
            ql.Following, ql.Annual,
        )
        for tenor, rate in ESTR_RATES.items()
    ]  # fmt: skip
    curve = flat_helper_curve("log_linear", helpers, day)
    curve.enableExtrapolation()
    return curve


def euribor_instruments():
    instruments = [Deposit(f"DEP-{tenor}", tenor, EURIBOR_6M) for tenor in DEPOSITS]
    instruments += [Fra(f"FRA-{start}", start, EURIBOR_6M) for start in FRAS]
    instruments += [Swap(f"SWAP-{tenor}", tenor, EURIBOR_6M_SWAP) for tenor in SWAPS]
    quotes = {
        **{f"DEP-{tenor}": rate for tenor, rate in DEPOSITS.items()},
        **{f"FRA-{tenor}": rate for tenor, rate in FRAS.items()},
        **{f"SWAP-{tenor}": rate for tenor, rate in SWAPS.items()},
    }
    return instruments, quotes


def ql_euribor_helpers(discount):
    helpers = [
        ql.DepositRateHelper(
            quoted(rate),
            ql.Period(tenor),
            2,
            ql.TARGET(),
            ql.ModifiedFollowing,
            True,
            ql.Actual360(),
        )
        for tenor, rate in DEPOSITS.items()
    ]
    helpers += [
        ql.FraRateHelper(quoted(rate), int(m[:-1]), ql.Euribor6M()) for m, rate in FRAS.items()
    ]
    helpers += [
        ql.SwapRateHelper(
            quoted(rate), ql.Period(tenor), ql.TARGET(), ql.Annual, ql.ModifiedFollowing,
            ql.Thirty360(ql.Thirty360.BondBasis), ql.Euribor6M(), ql.QuoteHandle(), ql.Period(0,
            ql.Days), discount,
        )
        for tenor, rate in SWAPS.items()
    ]  # fmt: skip
    return helpers


@pytest.mark.parametrize("dual", [False, True], ids=["single", "dual"])
@pytest.mark.parametrize("kind", RIVALS)
def test_deposits_fras_and_swaps_have_the_discount_factors_of_quantlib(dual, kind):
    day = set_day()
    handle = (
        ql.YieldTermStructureHandle(ql_estr_curve(day)) if dual else ql.YieldTermStructureHandle()
    )
    theirs = flat_helper_curve(kind, ql_euribor_helpers(handle), day)
    instruments, quotes = euribor_instruments()
    discount = "EUR-ESTR" if dual else ""
    curves = {"EUR-ESTR": estr_curve()[1]} if dual else None

    config = CurveConfig("EUR-EURIBOR-6M", kind, discount=discount)
    ours = build_curve(AS_OF, instruments, quotes, config, curves=curves)

    assert largest_difference(ours, theirs, days_of(ours)) < 1e-12
    assert worst_repricing(ours, instruments, quotes, curves=curves) < 1e-12


def test_tenor_basis_swaps_have_the_discount_factors_of_quantlib():
    day = set_day()
    handle = ql.YieldTermStructureHandle(ql_estr_curve(day))
    six = flat_helper_curve("log_linear", ql_euribor_helpers(handle), day)
    six.enableExtrapolation()
    spreads = {"1Y": 0.0006, "2Y": 0.0007, "5Y": 0.0008, "10Y": 0.0009, "20Y": 0.0008}
    three_index = ql.Euribor3M()
    six_index = ql.Euribor6M(ql.YieldTermStructureHandle(six))
    helpers = [
        ql.IborIborBasisSwapRateHelper(
            quoted(spread), ql.Period(tenor), 2, ql.TARGET(), ql.ModifiedFollowing, False,
            three_index, six_index, handle, True,
        )
        for tenor, spread in spreads.items()
    ]  # fmt: skip
    theirs = flat_helper_curve("log_linear", helpers, day)

    instruments, quotes = euribor_instruments()
    estr = estr_curve()[1]
    config = CurveConfig("EUR-EURIBOR-6M", discount="EUR-ESTR")
    curves = {"EUR-ESTR": estr}
    curves["EUR-EURIBOR-6M"] = build_curve(AS_OF, instruments, quotes, config, curves=curves)
    basis = [
        TenorBasis(f"3S6S-{tenor}", tenor, EURIBOR_3M_SWAP, EURIBOR_6M_SWAP) for tenor in spreads
    ]
    ours = build_curve(
        AS_OF,
        basis,
        {f"3S6S-{tenor}": spread for tenor, spread in spreads.items()},
        CurveConfig("EUR-EURIBOR-3M", discount="EUR-ESTR"),
        curves=curves,
    )

    assert largest_difference(ours, theirs, days_of(ours)) < 1e-12


def test_a_swap_with_other_months_and_a_stub_is_repriced():
    odd = replace(
        EURIBOR_6M_SWAP, fixed_months=6, fixed_day_count="Act/Act ISDA", stub="long_front"
    )
    instruments = [
        Deposit("D", "6M", EURIBOR_6M),
        Swap("odd", "27M", odd),
        Swap("dated", "", odd, start="2026-12-16", end="2031-03-19"),
    ]
    quotes = {"D": 0.02, "odd": 0.021, "dated": 0.023}

    curve = build_curve(AS_OF, instruments, quotes, CurveConfig("EUR-EURIBOR-6M", "log_cubic"))

    assert worst_repricing(curve, instruments, quotes) < 1e-12


def test_zero_and_forward_rates_are_those_of_quantlib():
    day = set_day()
    theirs = flat_helper_curve("log_linear", ql_sofr_helpers(), day)
    ours = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, CurveConfig("USD-SOFR"))
    start, end = ql_date("2030-03-05"), ql_date("2031-06-05")
    compoundings = {"continuous": ql.Continuous, "annual": ql.Compounded, "simple": ql.Simple}

    for name, rule in compoundings.items():
        zero = theirs.zeroRate(end, ql.Actual365Fixed(), rule, ql.Annual).rate()
        forward = theirs.forwardRate(start, end, ql.Actual360(), rule, ql.Annual).rate()
        assert ours.zero_rate("2031-06-05", name) == pytest.approx(zero, abs=1e-12)
        assert ours.forward_rate("2030-03-05", "2031-06-05", "Act/360", name) == pytest.approx(
            forward, abs=1e-12
        )


def test_par_quotes_of_swaps_off_the_pillars_are_those_of_quantlib():
    day = set_day()
    theirs = flat_helper_curve("log_linear", ql_sofr_helpers(), day)
    theirs.enableExtrapolation()
    ours = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, CurveConfig("USD-SOFR"))
    index = ql.Sofr(ql.YieldTermStructureHandle(theirs))

    for tenor in ("5M", "13Y", "28Y", "37M"):
        swap = ql.MakeOIS(ql.Period(tenor), index, 0.0, paymentLag=2, paymentFrequency=ql.Annual)
        ours_ = par_quote(Ois("x", tenor, SOFR_INSTRUMENTS[0].convention), ours)
        assert ours_ == pytest.approx(swap.fairRate(), abs=1e-12), tenor


@pytest.mark.parametrize("start", [0.1, 1.0, 4.75])
@pytest.mark.parametrize("mean_reversion", [0.001, 0.03, 0.2])
def test_hull_white_convexity_is_that_of_quantlib(start, mean_reversion):
    expected = ql.HullWhite.convexityBias(96.2, start, start + 0.25, 0.011, mean_reversion)

    got = hull_white_convexity(0.011, mean_reversion, start, start + 0.25, 0.038)

    assert got == pytest.approx(expected, rel=1e-9)


def test_hull_white_goes_over_into_no_mean_reversion():
    limit = hull_white_convexity(0.01, 0.0, 2.0, 2.25, 0.04)

    assert hull_white_convexity(0.01, 1e-7, 2.0, 2.25, 0.04) == pytest.approx(limit, rel=1e-6)
    assert ho_lee_convexity(0.01, 2.0, 2.25) == pytest.approx(2.25e-4, rel=1e-12)


def test_the_time_of_day_of_no_library_matters():
    """QuantLib's evaluation date is process-wide; ours is an argument."""
    set_day("2011-01-03")
    first = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, CurveConfig("USD-SOFR"))
    set_day("2031-01-03")
    second = build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, CurveConfig("USD-SOFR"))

    assert first.log_discounts.tobytes() == second.log_discounts.tobytes()
