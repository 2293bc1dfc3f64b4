"""Dates, day counts, calendars, schedules: against datetime, QuantLib and holidays."""

import datetime
from itertools import pairwise

import holidays
import pytest
import QuantLib as ql
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.curves.calendars import CALENDAR_NAMES, calendar, from_dates, joint
from orrery_kernels.curves.dates import (
    add_months,
    as_date,
    from_ymd,
    iso,
    parse_tenor,
    third_wednesday,
    to_ymd,
    weekday,
)
from orrery_kernels.curves.day_counts import act_act_icma, year_fraction
from orrery_kernels.curves.schedules import schedule
from orrery_kernels.errors import ParameterError

from tests.kernels.curves.market import from_ql, ql_date

EPOCH = datetime.date(1970, 1, 1)
DAYS = st.integers(as_date("2001-01-01"), as_date("2090-12-31"))
QL_CALENDARS = {
    "SOFR": ql.UnitedStates(ql.UnitedStates.SOFR),
    "US-GOV": ql.UnitedStates(ql.UnitedStates.GovernmentBond),
    "FED": ql.UnitedStates(ql.UnitedStates.FederalReserve),
    "TARGET": ql.TARGET(),
    "LONDON": ql.UnitedKingdom(ql.UnitedKingdom.Settlement),
    "TOKYO": ql.Japan(),
}
QL_DAY_COUNTS = {
    "Act/360": ql.Actual360(),
    "Act/365F": ql.Actual365Fixed(),
    "30/360": ql.Thirty360(ql.Thirty360.BondBasis),
    "30E/360": ql.Thirty360(ql.Thirty360.EurobondBasis),
    "Act/Act ISDA": ql.ActualActual(ql.ActualActual.ISDA),
}
QL_ROLLS = {
    "following": ql.Following,
    "modified_following": ql.ModifiedFollowing,
    "preceding": ql.Preceding,
    "modified_preceding": ql.ModifiedPreceding,
    "unadjusted": ql.Unadjusted,
}
# Pinned: a changed holiday is a changed market, and must be seen in a diff.
DIGESTS = {
    "FED": "8a8cfc7f45e05c16",
    "LONDON": "3cd005fdcb1455f6",
    "SOFR": "63df1427b8c0bf4f",
    "TARGET": "e0a095f3574464a4",
    "TOKYO": "e625344a0c0122e9",
    "US-GOV": "34fb633b84fc116a",
}
# Two Good Fridays on which the payroll report falls: QuantLib opens the bond market, holidays
# does not.
DISPUTED = {"US-GOV": ["2034-04-07", "2037-04-03"]}


@given(DAYS)
def test_a_date_is_the_day_number_that_the_standard_library_counts(date):
    day = EPOCH + datetime.timedelta(days=date)

    assert to_ymd(date) == (day.year, day.month, day.day)
    assert (
        from_ymd(day.year, day.month, day.day) == date == as_date(day) == as_date(day.isoformat())
    )
    assert weekday(date) == day.weekday()
    assert iso(date) == day.isoformat()


@given(DAYS, st.integers(-600, 600))
def test_adding_months_keeps_the_day_or_takes_the_last(date, months):
    assert add_months(date, months) == from_ql(ql_date(date) + ql.Period(months, ql.Months))


@pytest.mark.parametrize("text", ["2026-02-29", "2026-13-01", "20261121", "", "2026-1-1"])
def test_a_date_that_does_not_exist_is_refused_by_name(text):
    with pytest.raises(ParameterError, match="a date must"):
        as_date(text)


@pytest.mark.parametrize(("tenor", "parts"), [("3D", (0, 3)), ("2W", (0, 14)), ("1y6m", (18, 0))])
def test_a_tenor_is_months_and_days(tenor, parts):
    assert parse_tenor(tenor) == parts


@pytest.mark.parametrize("tenor", ["", "Y", "10", "1Q", "0D", "-1M", "1.5Y"])
def test_a_tenor_that_is_none_is_refused(tenor):
    with pytest.raises(ParameterError, match="a tenor must be"):
        parse_tenor(tenor)


@settings(max_examples=300)
@given(DAYS, st.integers(0, 12_000), st.sampled_from(sorted(QL_DAY_COUNTS)))
def test_year_fractions_are_those_of_quantlib(start, length, name):
    expected = QL_DAY_COUNTS[name].yearFraction(ql_date(start), ql_date(start + length))

    assert year_fraction(name, start, start + length) == pytest.approx(expected, abs=1e-13)


# The ISDA memo "EMU and market conventions: recent developments" (1998), section 4, as
# QuantLib's test suite also has it: (start, end, reference period, months, fraction).
@pytest.mark.parametrize(
    ("start", "end", "period", "months", "fraction"),
    [
        ("2003-11-01", "2004-05-01", ("2003-11-01", "2004-05-01"), 6, 0.500000000000),
        ("1999-02-01", "1999-07-01", ("1998-07-01", "1999-07-01"), 12, 0.410958904110),
        ("1999-07-01", "2000-07-01", ("1999-07-01", "2000-07-01"), 12, 1.000000000000),
        ("2002-08-15", "2003-07-15", ("2003-01-15", "2003-07-15"), 6, 0.915760869565),
        ("2003-07-15", "2004-01-15", ("2003-07-15", "2004-01-15"), 6, 0.500000000000),
        ("1999-07-30", "2000-01-30", ("1999-07-30", "2000-01-30"), 6, 0.500000000000),
        ("2000-01-30", "2000-06-30", ("2000-01-30", "2000-07-30"), 6, 0.417582417582),
    ],
)
def test_act_act_icma_gives_the_numbers_of_the_isda_memo(start, end, period, months, fraction):
    got = act_act_icma(as_date(start), as_date(end), as_date(period[0]), as_date(period[1]), months)

    assert got == pytest.approx(fraction, abs=1e-12)


@pytest.mark.parametrize(
    ("start", "end", "fraction"),
    [
        ("2003-11-01", "2004-05-01", 0.497724380567),
        ("1999-02-01", "1999-07-01", 0.410958904110),
        ("2002-08-15", "2003-07-15", 0.915068493151),
        ("2000-01-30", "2000-06-30", 0.415300546448),
    ],
)
def test_act_act_isda_gives_the_numbers_of_the_isda_memo(start, end, fraction):
    got = year_fraction("Act/Act ISDA", as_date(start), as_date(end))

    assert got == pytest.approx(fraction, abs=1e-12)


def test_an_unknown_day_count_is_refused_with_the_known_ones():
    with pytest.raises(ParameterError, match=r"30E/360.*was 'Act/366'"):
        year_fraction("Act/366", 0, 1)


@pytest.mark.parametrize("name", sorted(QL_CALENDARS))
def test_a_stored_calendar_is_that_of_quantlib_day_for_day(name):
    ours, theirs = calendar(name), QL_CALENDARS[name]

    different = [
        iso(day)
        for day in range(as_date("2000-01-01"), as_date("2110-12-31"))
        if ours.is_business_day(day) != theirs.isBusinessDay(ql_date(day))
    ]

    assert different == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("TARGET", "XECB"),
        ("FED", "XFED"),
        ("LONDON", "XLON"),
        ("TOKYO", "XJPX"),
        ("US-GOV", "USGS"),
    ],
)
def test_a_stored_calendar_agrees_with_a_second_source(name, code):
    closed = holidays.financial_holidays(code, years=range(2009, 2042))
    ours = calendar(name)

    different = [
        iso(day)
        for day in range(as_date("2010-01-01"), as_date("2040-12-31"))
        if weekday(day) < 5
        and ours.is_business_day(day) == (EPOCH + datetime.timedelta(days=day) in closed)
    ]

    assert different == DISPUTED.get(name, [])


def test_the_sofr_calendar_is_open_on_no_good_friday_that_the_government_bond_market_is_not():
    differ = [
        iso(day)
        for day in range(as_date("2018-01-01"), as_date("2041-01-01"))
        if calendar("SOFR").is_business_day(day) != calendar("US-GOV").is_business_day(day)
    ]

    assert len(differ) == 5
    assert all(month in ("03", "04") for _, month, _ in (day.split("-") for day in differ))


@pytest.mark.parametrize("name", [name for name in CALENDAR_NAMES if name != "WEEKENDS"])
def test_the_digest_of_a_calendar_is_pinned(name):
    assert calendar(name).digest.hex()[:16] == DIGESTS[name]


def test_the_digest_of_a_calendar_sees_one_moved_holiday():
    sofr = calendar("SOFR")
    moved = from_dates("SOFR", sofr.first, sofr.last, [sofr.holidays[0] + 1, *sofr.holidays[1:]])

    assert moved.digest != sofr.digest
    assert from_dates("SOFR", sofr.first, sofr.last, sofr.holidays[::-1]).digest == sofr.digest


def test_a_joint_calendar_is_closed_when_one_of_its_parts_is_whatever_the_order():
    both = joint(calendar("TARGET"), calendar("LONDON"))

    assert both == calendar("LONDON+TARGET") == calendar("TARGET+LONDON")
    assert not both.is_business_day(as_date("2026-05-01"))  # Labour Day, TARGET only
    assert not both.is_business_day(as_date("2026-08-31"))  # bank holiday, London only
    assert calendar("LONDON").is_business_day(as_date("2026-05-01"))


def test_a_day_outside_a_calendar_is_refused_and_not_guessed():
    with pytest.raises(ParameterError, match="TARGET covers 2000-01-01 to 2110-12-31"):
        calendar("TARGET").adjust(as_date("2111-01-03"), "following")


@given(DAYS, st.sampled_from(sorted(QL_CALENDARS)), st.sampled_from(sorted(QL_ROLLS)))
def test_rolls_are_those_of_quantlib(date, name, roll):
    expected = QL_CALENDARS[name].adjust(ql_date(date), QL_ROLLS[roll])

    assert calendar(name).adjust(date, roll) == from_ql(expected)


@given(DAYS, st.sampled_from(sorted(QL_CALENDARS)), st.integers(-30, 30))
def test_business_days_are_counted_as_quantlib_does(date, name, days):
    expected = QL_CALENDARS[name].advance(ql_date(date), days, ql.Days)

    assert calendar(name).add_business_days(date, days) == from_ql(expected)


@settings(max_examples=400)
@given(
    DAYS,
    st.integers(20, 6_000),
    st.sampled_from([1, 3, 6, 12]),
    st.sampled_from(sorted(QL_CALENDARS)),
    st.sampled_from(sorted(QL_ROLLS)),
    st.booleans(),
    st.booleans(),
)
def test_schedules_are_those_of_quantlib(start, length, months, name, roll, end_of_month, backward):
    theirs, rule = QL_CALENDARS[name], QL_ROLLS[roll]
    generation = ql.DateGeneration.Backward if backward else ql.DateGeneration.Forward
    start = from_ql(theirs.adjust(ql_date(start)))
    expected = ql.Schedule(
        ql_date(start), ql_date(start + length), ql.Period(months, ql.Months), theirs, rule, rule,
        generation, end_of_month,
    )  # fmt: skip

    stub = "short_front" if backward else "short_back"
    got = schedule(start, start + length, months, calendar(name), roll, stub, end_of_month)

    assert got == [from_ql(date) for date in expected]


def test_an_eighteen_month_swap_has_a_short_front_stub_of_six_months():
    dates = schedule(as_date("2026-11-24"), as_date("2028-05-24"), 12, calendar("SOFR"))

    assert [iso(date) for date in dates] == ["2026-11-24", "2027-05-24", "2028-05-24"]


def test_a_long_stub_joins_the_odd_period_to_its_neighbour():
    start, end = as_date("2026-11-24"), as_date("2029-02-26")

    short = schedule(start, end, 12, calendar("SOFR"), stub="short_front")
    front = schedule(start, end, 12, calendar("SOFR"), stub="long_front")
    back = schedule(start, end, 12, calendar("SOFR"), stub="long_back")

    assert [iso(d) for d in short] == ["2026-11-24", "2027-02-26", "2028-02-28", "2029-02-26"]
    assert [iso(d) for d in front] == ["2026-11-24", "2028-02-28", "2029-02-26"]
    assert [iso(d) for d in back] == ["2026-11-24", "2027-11-24", "2029-02-26"]


def test_an_imm_schedule_meets_third_wednesdays_between_its_ends():
    dates = schedule(
        as_date("2026-12-16"), as_date("2027-12-15"), 3, calendar("TARGET"), roll_on="imm"
    )

    assert dates == [
        third_wednesday(y, m) for y, m in [(2026, 12), (2027, 3), (2027, 6), (2027, 9), (2027, 12)]
    ]


@given(DAYS, st.integers(30, 4000), st.sampled_from([1, 3, 6, 12]))
def test_a_schedule_rises_and_keeps_its_ends(start, length, months):
    dates = schedule(start, start + length, months, calendar("TARGET"))

    assert all(left < right for left, right in pairwise(dates))
    assert dates[0] == calendar("TARGET").adjust(start, "modified_following")
