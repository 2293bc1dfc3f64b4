"""Execution kernels and schedules: signs, sums, and the directions the papers prove."""

import math

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import (
    arrival_price_impact,
    iceberg_slicer,
    implementation_shortfall,
    optimal_ac_schedule,
    post_only_shading,
    pov,
    rolling_vwap,
    schedule_simulator,
    slippage_decomposition,
    smart_order_router,
    twap,
    vwap,
)
from orrery_kernels.errors import ParameterError

SECOND = 1_000_000_000


def rows(**columns) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values) for name, values in columns.items()})


def test_a_price_counts_for_as_long_as_it_stood():
    out = twap(rows(ts_event_ns=[0, SECOND, 4 * SECOND], price=[10.0, 20.0, 99.0]))

    assert out["twap"].to_pylist() == [10.0, 10.0, (10 * 1 + 20 * 3) / 4]


def test_a_session_begins_anew():
    out = twap(
        rows(ts_event_ns=[0, 9 * SECOND, 10 * SECOND], price=[1.0, 2.0, 7.0]), session_s=10.0
    )

    assert out["twap"].to_pylist() == [1.0, 1.0, 7.0]


def test_vwap_over_everything_and_over_a_window():
    trades = rows(price=[10.0, 20.0, 30.0], size=[1.0, 1.0, 2.0])

    assert vwap(trades)["vwap"].to_pylist() == [10.0, 15.0, 22.5]
    assert rolling_vwap(trades, window=2)["rolling_vwap"].to_pylist() == [None, 15.0, 80 / 3]


def test_participation_catches_up_what_the_cap_held_back():
    out = pov(rows(volume=[1000.0, 100.0, 0.0]), rate=0.1, child_max=60.0)

    assert out["child_qty"].to_pylist() == pytest.approx([60.0, 50.0, 0.0])


def test_participation_ends_with_the_parent():
    out = pov(rows(volume=[1000.0] * 3), rate=0.1, parent_qty=150.0)

    assert out["child_qty"].to_pylist() == [100.0, 50.0, 0.0]


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_shortfall_counts_the_unfilled_part_on_either_side(side):
    fills = rows(
        exec_price=[100.0 + side, 100.0 + 3 * side], qty=[side * 30, side * 10],
        arrival_price=[100.0, 50.0], price=[100.0, 100.0 + 5 * side],
    )  # fmt: skip

    out = implementation_shortfall(fills, parent_qty=side * 80)

    assert out["execution_cost_bps"].to_pylist()[-1] == pytest.approx(0.5 * 150)
    assert out["opportunity_cost_bps"].to_pylist()[-1] == pytest.approx(0.5 * 500)
    assert out["implementation_shortfall_bps"].to_pylist()[-1] == pytest.approx(325)


def test_arrival_impact_is_a_cost_on_both_sides():
    out = arrival_price_impact(
        rows(exec_price=[101.0, 99.0], arrival_mid=[100.0, 100.0], side=[1, -1])
    )

    assert out["arrival_impact_bps"].to_pylist() == [100.0, 100.0]


def test_the_parts_of_slippage_add_up_to_the_shortfall():
    order = {"decision": [100.0], "arrival": [101.0], "exec_price": [102.0], "close": [104.0]}
    out = slippage_decomposition(rows(**order, fees=[0.1], filled=[75.0], qty=[100.0]))

    assert out["delay_bps"].to_pylist() == pytest.approx([75.0])
    assert out["market_bps"].to_pylist() == pytest.approx([75.0])
    assert out["opportunity_bps"].to_pylist() == pytest.approx([100.0])
    assert out["total_bps"].to_pylist() == pytest.approx([75 + 75 + 100 + 7.5])


def test_a_long_market_maker_quotes_lower_and_never_crosses():
    quotes = {
        "sigma": [2.0] * 2,
        "time_left": [1.0] * 2,
        "midprice": [100.0] * 2,
        "bid": [99.9] * 2,
        "ask": [100.1] * 2,
    }
    out = post_only_shading(rows(**quotes, inventory=[0.0, 50.0]))
    half = 0.1 * 4 / 2 + math.log(1 + 0.1 / 1.5) / 0.1

    assert out["ask_quote"].to_pylist()[0] == pytest.approx(math.ceil((100 + half) * 100) / 100)
    assert out["bid_quote"].to_pylist()[1] < out["bid_quote"].to_pylist()[0]
    assert out["ask_quote"].to_pylist()[1] == pytest.approx(99.91)


def test_an_iceberg_shows_the_next_peak_when_the_last_is_gone():
    out = iceberg_slicer(
        rows(fill_qty=[0.0, 60.0, 40.0, 100.0], jitter=[0.0, 0.0, 1.0, 0.0]),
        parent_qty=250.0, peak=100.0, jitter_share=0.1,
    )  # fmt: skip

    assert out["child_qty"].to_pylist() == pytest.approx([100.0, 0.0, 110.0, 0.0])


def first_slice(risk_aversion: float, sigma: float = 0.5) -> float:
    return optimal_ac_schedule(1.0, 5.0, sigma, 0.0, 0.1, risk_aversion)[0]


def test_more_risk_aversion_and_more_risk_both_trade_sooner():
    by_aversion = [first_slice(x) for x in (0.0, 0.1, 1.0, 10.0, 1e6)]
    by_risk = [first_slice(1.0, sigma) for sigma in (0.0, 0.5, 1.0, 5.0)]

    assert by_aversion == sorted(by_aversion)
    assert by_risk == sorted(by_risk)
    assert by_aversion[0] == pytest.approx(0.1)


def test_the_schedule_is_the_sinh_of_the_paper_and_adds_up():
    horizon, sigma, eta, aversion, n = 5.0, 0.95, 0.25, 0.2, 10
    tau = horizon / n
    kappa = math.acosh(aversion * sigma**2 / eta * tau**2 / 2 + 1) / tau
    left = [
        math.sinh(kappa * (horizon - k * tau)) / math.sinh(kappa * horizon) for k in range(n + 1)
    ]

    out = optimal_ac_schedule(1e6, horizon, sigma, 0.0, eta, aversion, n)

    np.testing.assert_allclose(out, -1e6 * np.diff(left), rtol=1e-9)
    assert out.sum() == pytest.approx(1e6)


def test_a_day_in_seconds_does_not_overflow():
    out = optimal_ac_schedule(1e6, 23_400.0, 0.3, 1e-9, 1e-6, 1.0, slices=390)

    assert np.isfinite(out).all()
    assert out.sum() == pytest.approx(1e6)


def test_the_optimal_schedule_costs_less_with_its_risk_than_its_neighbours():
    horizon, sigma, gamma, eta, aversion = 5.0, 0.95, 0.01, 0.25, 0.2
    best = optimal_ac_schedule(1000.0, horizon, sigma, gamma, eta, aversion)

    def value(schedule):
        out = schedule_simulator(schedule, horizon, sigma, gamma, eta)
        return out["cost_total"] + aversion * out["risk"] ** 2

    for k in range(9):
        moved = best.copy()
        moved[k], moved[k + 1] = moved[k] + 1.0, moved[k + 1] - 1.0
        assert value(moved) > value(best)


def test_a_router_takes_the_cheapest_levels_and_says_what_is_missing():
    args = (["A", "B", "A"], [10.0, 10.01, 10.02], [5, 5, 5], [0.02, 0.0, 0.0])

    assert smart_order_router("buy", 8, *args) == {"B": 5.0, "A": 3.0}
    assert smart_order_router("sell", 20, *args) == {"A": 10.0, "B": 5.0, "": 5.0}


def test_parameters_that_make_no_sense_are_named():
    with pytest.raises(ParameterError, match="eta must be above"):
        optimal_ac_schedule(1.0, 1.0, 0.5, 10.0, 0.1, 1.0, slices=2)
