"""Foreign exchange against the identities that must hold."""

import math

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import (
    carry_signal,
    cip_basis,
    fix_impact,
    forward_points,
    fx_cross_price,
    pip_value,
    pnl_fx,
    triangular_arbitrage,
    wmr_schedule,
)

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def rows(**columns) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values) for name, values in columns.items()})


def test_a_reverse_gap_is_an_arbitrage_too():
    quotes = rows(
        ab_bid=[1.0, 1.0, 1.0], ab_ask=[1.0, 1.0, 1.0], bc_bid=[2.0, 2.0, 2.0],
        bc_ask=[2.0, 2.0, 2.0], ac_bid=[1.98, 2.02, 2.0], ac_ask=[1.98, 2.02, 2.0],
    )  # fmt: skip

    out = triangular_arbitrage(quotes)

    assert out["arb_edge_bps"].to_pylist() == pytest.approx([1e4 * (2 / 1.98 - 1), 100.0, 0.0])
    assert out["arb_route"].to_pylist() == [1, -1, 0]


def test_the_spread_of_the_three_markets_is_paid():
    quotes = rows(
        ab_bid=[0.999],
        ab_ask=[1.001],
        bc_bid=[1.998],
        bc_ask=[2.002],
        ac_bid=[1.999],
        ac_ask=[2.001],
    )

    assert triangular_arbitrage(quotes)["arb_edge_bps"].to_pylist()[0] < 0
    assert triangular_arbitrage(quotes)["arb_route"].to_pylist() == [0]


def test_forward_points_and_the_basis_undo_each_other_at_every_tenor():
    spot, dom, foreign, years = [1.1, 1.1], [0.05, 0.05], [0.03, 0.03], [0.25, 2.0]
    points = forward_points(rows(spot=spot, r_dom=dom, r_for=foreign, years=years))
    forward = [s + f for s, f in zip(spot, points["forward_points"].to_pylist(), strict=True)]

    basis = cip_basis(rows(spot=spot, forward=forward, r_dom=dom, r_for=foreign, years=years))

    assert points["forward_points"].to_pylist() == pytest.approx(
        [1.1 * math.expm1(0.02 * t) for t in years]
    )
    assert basis["cip_basis"].to_pylist() == pytest.approx([0.0, 0.0], abs=1e-15)


def test_carry_pays_for_volatility_only_when_asked():
    pair = rows(r_dom=[0.05], r_for=[0.01], volatility=[0.1])

    assert carry_signal(pair)["carry_signal"].to_pylist() == [0.05 - 0.01]
    assert carry_signal(pair, risk_aversion=0.2)["carry_signal"].to_pylist() == pytest.approx(
        [0.02]
    )


def test_pip_value_and_cross_price():
    assert pip_value(rows(quote_to_account=[1.0]))["pip_value"].to_pylist() == [10.0]
    cross = fx_cross_price(rows(ab_bid=[1.1], ab_ask=[1.2], bc_bid=[2.0], bc_ask=[2.1]))
    assert cross["cross_bid"].to_pylist() == [2.2]
    assert cross["cross_ask"].to_pylist() == [1.2 * 2.1]


def test_the_fix_is_the_median_of_the_last_price_of_each_second():
    rng = np.random.default_rng(7)
    start = 20_000 * DAY + (57_600 - 150) * SECOND
    times = np.sort(start - 5 * SECOND + rng.integers(0, 320 * SECOND, 2_000))
    prices = 1.1 + rng.normal(size=2_000) * 1e-4
    out = wmr_schedule(rows(ts_event_ns=times, price=prices))

    seconds = (times - start) // SECOND
    samples = [prices[seconds == s][-1] for s in range(300) if (seconds == s).any()]
    assert out["fix_price"].to_pylist()[-1] == np.median(samples)
    assert out["in_window"].to_pylist() == [int(0 <= s < 300) for s in seconds]


def test_a_new_day_begins_a_new_fix():
    at = 57_600 * SECOND
    times = [
        20_000 * DAY + at,
        20_000 * DAY + at + SECOND,
        20_001 * DAY + at,
        20_001 * DAY + at + SECOND,
    ]

    fixes = wmr_schedule(rows(ts_event_ns=times, price=[1.0, 9.0, 2.0, 9.0]))[
        "fix_price"
    ].to_pylist()

    assert fixes == [None, 1.0, None, 2.0]


def test_buying_above_the_fix_and_selling_below_it_both_cost():
    bought = rows(exec_price=[1.01, 1.03], qty=[1.0, 1.0], fix_price=[1.0, 1.0])
    sold = rows(exec_price=[0.99], qty=[-5.0], fix_price=[1.0])

    assert fix_impact(bought)["fix_impact_bps"].to_pylist() == pytest.approx([100, 200])
    assert fix_impact(sold)["fix_impact_bps"].to_pylist() == pytest.approx([100])


def test_price_and_currency_parts_add_up():
    out = pnl_fx(rows(position=[10.0, 20.0, 0.0], price=[5.0, 6.0, 5.5], fx_rate=[1.1, 1.0, 1.2]))

    assert out["pnl_total"].to_pylist()[1:] == pytest.approx([10 * (6 - 5.5), 20 * (6.6 - 6.0)])
    assert out["pnl_price"].to_pylist()[1:] == pytest.approx([10 * 1 * 1.1, 20 * -0.5 * 1.0])
