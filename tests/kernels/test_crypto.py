"""Perpetuals and futures on coins: identities and signs."""

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import (
    basis_annualized,
    cash_and_carry_edge,
    dominance_index,
    funding_apr,
    funding_cost,
    liquidation_density,
    open_interest_delta,
    perp_fair_price,
    term_structure,
    venue_score,
)
from orrery_kernels.errors import ParameterError


def rows(**columns) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values) for name, values in columns.items()})


def test_three_payments_a_day_make_1095_a_year():
    assert funding_apr(rows(funding_rate=[0.0001]))["funding_apr"].to_pylist() == pytest.approx(
        [0.1095]
    )


def test_a_short_receives_positive_funding_and_costs_add_up():
    out = funding_cost(
        rows(position=[-2.0, -2.0], price=[100.0, 110.0], funding_rate=[0.001, -0.002])
    )

    assert out["funding_cost"].to_pylist() == pytest.approx([-0.2, 0.44])
    assert out["funding_cost_total"].to_pylist() == pytest.approx([-0.2, 0.24])


def test_basis_is_a_simple_rate_to_the_date_of_the_future():
    out = basis_annualized(
        rows(future_price=[102.0, 102.0], spot_price=[100.0, 100.0], days=[73.0, 0.0])
    )

    assert out["basis_apr"].to_pylist() == [pytest.approx(0.1), None]


def test_open_interest_changes_and_fair_price():
    delta = open_interest_delta(rows(open_interest=[5.0, 8.0, 7.0]))

    assert delta["oi_delta"].to_pylist() == [None, 3.0, -1.0]
    fair = perp_fair_price(rows(spot=[100.0], funding_expected=[0.001], basis=[0.002]))
    assert fair["perp_fair"].to_pylist() == pytest.approx([100.3])


def test_the_short_leg_of_a_carry_earns_the_funding():
    out = cash_and_carry_edge(rows(perp=[101.0], spot=[100.0], funding=[0.0005]), fees_bps=10.0)

    assert out["carry_edge_bps"].to_pylist() == pytest.approx([100 + 5 - 10])


def test_term_structure_has_the_slope_of_the_line_through_the_tenors():
    days = np.array([30.0, 90.0, 180.0])
    prices = 100.0 * np.exp((0.05 + 0.02 * days / 365) * days / 365)

    out = term_structure(prices.tolist(), days.tolist(), 100.0)

    np.testing.assert_allclose(out["basis_apr"], 0.05 + 0.02 * days / 365)
    assert out["slope"] == pytest.approx(0.02)
    assert out["contango"] is True


def test_longs_are_liquidated_below_and_shorts_above():
    edges, density = liquidation_density(
        np.array([100.0, 100.0]),
        np.array([10.0, 10.0]),
        np.array([3.0, 4.0]),
        np.array([True, False]),
        bins=4,
    )

    assert (edges[0], edges[-1]) == (pytest.approx(90.5), pytest.approx(109.5))
    assert density.tolist() == [3.0, 0.0, 0.0, 4.0]


def test_a_venue_is_scored_by_what_it_costs_and_offers():
    cheap = {"spread": 1.0, "depth": 9.0, "fee": 1.0, "latency": 5.0}
    dear = {"spread": 2.0, "depth": 3.0, "fee": 2.0, "latency": 1.0}

    assert venue_score({"A": cheap, "B": dear}) == {"A": 2.0, "B": -2.0}
    assert venue_score({"A": cheap, "B": dear}, {"latency": 9.0})["A"] < 0


def test_dominance_refuses_a_whole_of_nothing():
    with pytest.raises(ParameterError, match="sum to more than 0"):
        dominance_index({"A": 0.0})
    with pytest.raises(ParameterError, match="caps must be name -> capitalisation"):
        dominance_index([1.0, 2.0])


def test_positions_and_venues_that_do_not_fit_together_are_named():
    with pytest.raises(ParameterError, match="of one length above 0, were 2, 1, 1, 1"):
        liquidation_density([100.0, 2.0], [10.0], [1.0], [True])
    with pytest.raises(ParameterError, match=r"venue 'A' must have .* lacks depth, fee"):
        venue_score({"A": {"spread": 1.0, "latency": 2.0}})
