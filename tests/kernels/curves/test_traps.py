"""What goes wrong on a desk, each as a test: dates, stubs, turns, percents, pillars, bad quotes."""

from dataclasses import replace

import numpy as np
import pytest
import QuantLib as ql
from hypothesis import given
from hypothesis import strategies as st
from orrery_kernels.curves import (
    EURIBOR_6M,
    SOFR_OIS,
    USD_SOFR,
    CurveConfig,
    CurvePlan,
    Deposit,
    Fra,
    Ois,
    OvernightFuture,
    Turn,
    as_date,
    build_curve,
    iso,
    par_quote,
)
from orrery_kernels.curves.dominoes import quote_day
from orrery_kernels.curves.equations import Market, equation
from orrery_kernels.errors import CurveError, ParameterError

from tests.kernels.curves.market import (
    AS_OF,
    SOFR_INSTRUMENTS,
    SOFR_QUOTES,
    largest_difference,
    ql_sofr_helpers,
    set_day,
)

SOFR = CurveConfig("USD-SOFR")


def sofr_curve(**changes):
    return build_curve(AS_OF, SOFR_INSTRUMENTS, SOFR_QUOTES, replace(SOFR, **changes))


def test_a_swap_that_ends_before_the_pillar_before_it_is_refused_as_insensitive():
    """Its own node only discounts its one coupon, and no value of it reprices the swap."""
    long_lag = replace(SOFR_OIS, payment_lag=5)
    instruments = [Ois("first", "6M", SOFR_OIS), Ois("late", "", long_lag, end="2027-05-21")]

    with pytest.raises(CurveError, match="zero_sensitivity_pillar: late accrues until 2027-05-21"):
        CurvePlan(AS_OF, instruments, SOFR)


def test_an_fra_ends_with_its_deposit_and_not_a_tenor_after_spot():
    market = Market(as_date("2026-01-28"), "EUR-EURIBOR-6M", {}, {})
    at_index = equation(Fra("FRA", "1M", EURIBOR_6M), market)
    at_spot = equation(Fra("FRA", "1M", EURIBOR_6M, ends="spot"), market)

    assert (iso(at_index.maturity), iso(at_spot.maturity)) == ("2026-08-31", "2026-08-31")
    market = market._replace(as_of=as_date("2026-11-20"))
    at_index = equation(Fra("FRA", "3M", EURIBOR_6M), market)
    at_spot = equation(Fra("FRA", "3M", EURIBOR_6M, ends="spot"), market)
    assert (iso(at_index.maturity), iso(at_spot.maturity)) == ("2027-08-24", "2027-08-24")


def test_the_two_ends_of_an_fra_are_days_apart_on_some_day_and_move_the_rate():
    differ = []
    for day in range(as_date("2026-01-05"), as_date("2026-12-24")):
        market = Market(day, "EUR-EURIBOR-6M", {}, {})
        ends = [
            equation(Fra("FRA", "4M", EURIBOR_6M, ends=e), market).maturity
            for e in ("index", "spot")
        ]
        differ.append(abs(ends[0] - ends[1]))
        day_of_three = day if differ[-1] >= 2 else None
        if day_of_three:
            break

    quotes = {"D": 0.02, "FRA": 0.03}
    factors = [
        build_curve(
            day_of_three,
            [Deposit("D", "4M", EURIBOR_6M), Fra("FRA", "4M", EURIBOR_6M, ends=ends)],
            quotes,
            CurveConfig("EUR-EURIBOR-6M"),
        ).zero_rate(day_of_three + 365)
        for ends in ("index", "spot")
    ]
    assert max(differ) >= 2
    assert abs(factors[0] - factors[1]) > 1e-6


def test_an_eighteen_month_ois_pays_its_stub_first():
    one = equation(Ois("18M", "18M", SOFR_OIS), Market(as_date(AS_OF), "USD-SOFR", {}, {}))

    pays = sorted({term.pay for term in one.terms if term.per_rate})
    accruals = sorted(-term.per_rate for term in one.terms if term.per_rate)
    assert [iso(date) for date in pays] == ["2027-05-26", "2028-05-26"]
    assert accruals == [181 / 360, 366 / 360]


def test_a_node_on_the_maturity_and_one_on_the_payment_give_other_forwards_off_the_nodes():
    """Vendor screens put the node on the maturity; both reprice every input."""
    on_payment, on_maturity = sofr_curve(), sofr_curve(pillar="maturity")
    day = set_day()
    theirs = ql.PiecewiseLogLinearDiscount(
        day, ql_sofr_helpers(pillar=ql.Pillar.MaturityDate), ql.Actual365Fixed(),
        ql.IterativeBootstrap(1e-15),
    )  # fmt: skip
    theirs.enableExtrapolation()

    days = range(as_date(AS_OF), as_date("2076-11-20"), 97)

    assert largest_difference(on_maturity, theirs, list(days)) < 1e-12
    between = [c.forward_rate("2028-02-01", "2028-05-01") for c in (on_payment, on_maturity)]
    assert abs(between[0] - between[1]) > 1e-7


def test_a_turn_counts_strictly_after_its_date():
    turned = sofr_curve(turns=(Turn("2026-12-31", 0.999),))
    at, after = as_date("2026-12-31"), as_date("2027-01-01")

    overnight = turned.forward_rate(at, after)
    before = turned.forward_rate(at - 1, at)

    assert overnight - before == pytest.approx(-np.log(0.999) * 360, rel=0.01)
    assert before == pytest.approx(turned.forward_rate(at - 2, at - 1), abs=1e-10)


def test_a_turn_outside_reason_is_refused():
    with pytest.raises(ParameterError, match="factor of a turn"):
        CurveConfig("USD-SOFR", turns=(Turn("2026-12-31", 99.9),))


def test_a_percent_passed_as_a_decimal_is_caught_by_the_quote_band():
    with pytest.raises(
        CurveError, match=r"SOFR-5Y must be in.*was 3.67.*looks like a percent"
    ) as caught:
        build_curve(AS_OF, SOFR_INSTRUMENTS, {**SOFR_QUOTES, "SOFR-5Y": 3.67}, SOFR)

    assert caught.value.quote == "SOFR-5Y"
    assert caught.value.drop == ("SOFR-5Y",)


def test_a_percent_passed_as_a_decimal_bootstraps_where_the_band_is_wide():
    wide = replace(SOFR, quote_band=(-1.0, 100.0))
    quotes = {name: 100 * rate for name, rate in SOFR_QUOTES.items()}

    curve = build_curve(AS_OF, SOFR_INSTRUMENTS[:10], quotes, wide)

    assert abs(par_quote(SOFR_INSTRUMENTS[9], curve) - quotes["SOFR-18M"]) < 1e-9


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["log_linear", "log_cubic"])
def test_a_quote_that_is_no_number_is_named(bad, kind):
    with pytest.raises(CurveError, match="the quote of SOFR-3M must be a finite number"):
        build_curve(
            AS_OF,
            SOFR_INSTRUMENTS,
            {**SOFR_QUOTES, "SOFR-3M": bad},
            replace(SOFR, interpolation=kind),
        )


def test_an_error_names_quote_pillar_bracket_residual_and_what_to_drop():
    quotes = {**SOFR_QUOTES, "SOFR-30Y": 0.16}

    with pytest.raises(CurveError, match=r"reprices SOFR-30Y.*drop SOFR-30Y") as caught:
        build_curve(AS_OF, SOFR_INSTRUMENTS, quotes, SOFR)

    error = caught.value
    assert (error.quote, iso(error.pillar)) == ("SOFR-30Y", "2056-11-28")
    assert error.bracket[0] < 0.0 < error.bracket[1]
    assert error.residual < -0.01
    assert "SOFR-30Y" in error.drop


def test_what_to_drop_is_true():
    quotes = {**SOFR_QUOTES, "SOFR-30Y": 0.16}
    with pytest.raises(CurveError) as caught:
        build_curve(AS_OF, SOFR_INSTRUMENTS, quotes, SOFR)

    for name in caught.value.drop:
        rest = [one for one in SOFR_INSTRUMENTS if one.id != name]
        curve = build_curve(AS_OF, rest, quotes, SOFR)
        assert abs(par_quote(rest[0], curve) - quotes[rest[0].id]) < 1e-12


def test_one_bad_scenario_is_named_and_the_good_ones_are_not_touched_by_its_lane():
    plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, SOFR)
    rows = np.array([plan.ordered(SOFR_QUOTES)] * 3)
    rows[1, -2] = 0.16

    with pytest.raises(CurveError, match="SOFR-30Y"):
        plan.scenarios(rows)
    assert (
        plan.scenarios(rows[::2]).tobytes()
        == np.array([plan.rebuild(rows[0]).log_discounts] * 2).tobytes()
    )


def test_a_missing_quote_is_named():
    with pytest.raises(CurveError, match="missing: SOFR-1W, SOFR-50Y"):
        build_curve(
            AS_OF,
            SOFR_INSTRUMENTS,
            {k: v for k, v in SOFR_QUOTES.items() if k[5:] not in ("1W", "50Y")},
            SOFR,
        )


def test_two_instruments_of_one_pillar_are_both_named():
    twice = [*SOFR_INSTRUMENTS, Ois("again", "5Y", SOFR_OIS)]

    with pytest.raises(CurveError, match=r"SOFR-5Y.*again|again.*SOFR-5Y"):
        CurvePlan(AS_OF, twice, SOFR)


def test_two_instruments_of_one_id_are_refused():
    with pytest.raises(CurveError, match="SOFR-1W is there twice"):
        CurvePlan(AS_OF, [SOFR_INSTRUMENTS[0], replace(SOFR_INSTRUMENTS[5], id="SOFR-1W")], SOFR)


def test_no_instruments_are_no_curve():
    with pytest.raises(CurveError, match="at least one instrument"):
        CurvePlan(AS_OF, [], SOFR)


def test_an_expired_future_is_named():
    with pytest.raises(CurveError, match="drop SR3"):
        CurvePlan(AS_OF, [OvernightFuture("SR3", "2026-06", 3, USD_SOFR)], SOFR)


def test_a_running_future_without_its_fixings_says_which_day_is_missing():
    with pytest.raises(CurveError, match="USD-SOFR has none on 2026-09-16"):
        CurvePlan(AS_OF, [OvernightFuture("SR3", "2026-09", 3, USD_SOFR)], SOFR)


def test_extrapolation_fails_where_it_should():
    curve = sofr_curve(extrapolation="fail")
    last = curve.frame.node_dates[-1]

    assert 0.0 < curve.discount(last) < 1.0
    with pytest.raises(CurveError, match="ends on 2076-11-27 and does not extrapolate"):
        curve.discount(last + 1)


def test_flat_zero_extrapolation_keeps_the_last_zero_rate():
    curve = sofr_curve(extrapolation="flat_zero")
    last = curve.frame.node_dates[-1]

    assert curve.zero_rate(last + 5000) == pytest.approx(curve.zero_rate(last), abs=1e-15)


def test_the_past_has_no_discount_factor():
    with pytest.raises(CurveError, match="before 2026-11-20, was 2026-11-19"):
        sofr_curve().discount("2026-11-19")


@pytest.mark.parametrize("field", ["interpolation", "extrapolation", "pillar", "forwards"])
def test_a_name_that_is_none_is_refused_with_the_names_there_are(field):
    with pytest.raises(ParameterError, match=f"{field} must be one of .*was 'magic'"):
        CurveConfig("USD-SOFR", **{field: "magic"})


def test_a_curve_built_on_another_says_when_that_is_missing_or_of_another_day():
    plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS[:6], replace(SOFR, discount="USD-FUNDING"))
    quotes = plan.ordered(SOFR_QUOTES)
    old = build_curve("2026-11-19", SOFR_INSTRUMENTS, SOFR_QUOTES, replace(SOFR, name="USD-SOFR"))

    with pytest.raises(CurveError, match="built on curve USD-FUNDING"):
        plan.rebuild(quotes)
    with pytest.raises(CurveError, match="same day"):
        plan.rebuild(quotes, {"USD-FUNDING": old})


DAY_NS = 86_400_000_000_000


@pytest.mark.parametrize(
    ("days", "quotes_min", "day"),
    [
        ([20, 20, 20], 2, "1970-01-21"),
        ([20, 20, 9999], 2, "1970-01-21"),  # one that is dated ahead
        ([20, 21, 21], 2, "1970-01-22"),
        ([20, 21, 9999, 9999], 3, "1970-01-22"),
        ([20, 9999], 1, "1997-05-18"),
        ([20], 2, "1970-01-21"),
        ([20, None, 0], 2, "1970-01-21"),
        ([20] * 5 + [9999] * 2, 2, "1970-01-21"),  # two of seven
        ([20] * 14 + [9999] * 6, 2, "1970-01-21"),
        ([19] * 14 + [20] * 6, 2, "1970-01-20"),  # a day begins with a third of the strip
        ([19] * 13 + [20] * 7, 2, "1970-01-21"),
    ],
)
def test_the_day_of_a_curve_is_one_that_several_quotes_have_reached(days, quotes_min, day):
    rows = {f"Q{at}": {"ts_event_ns": day and day * DAY_NS} for at, day in enumerate(days)}

    assert quote_day.function(rows, quotes_min=quotes_min) == day


@given(st.lists(st.integers(1, 60), min_size=1, max_size=24), st.data())
def test_a_quote_that_comes_never_takes_a_curve_back_to_a_day_before(days, data):
    named = {f"Q{at}": {"ts_event_ns": day * DAY_NS} for at, day in enumerate(days)}
    moved = data.draw(st.sampled_from(sorted(named)))
    later = {**named, moved: {"ts_event_ns": named[moved]["ts_event_ns"] + DAY_NS}}

    assert quote_day.function(named) <= quote_day.function(later)


def test_a_day_that_no_quote_can_give_is_refused():
    with pytest.raises(CurveError, match="quotes_min must be at least 1, was 0"):
        quote_day.function({"Q": {"ts_event_ns": DAY_NS}}, quotes_min=0)
    with pytest.raises(CurveError, match="one_in must be at least 1, was 0"):
        quote_day.function({"Q": {"ts_event_ns": DAY_NS}}, one_in=0)
    with pytest.raises(CurveError, match="one quote at least must say its event time"):
        quote_day.function({"Q": {"ts_event_ns": None}})
