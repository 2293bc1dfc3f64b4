"""Foreign exchange against the identities that must hold."""

import math
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

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
    wmr_london,
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


def of_london(day: str, clock: str) -> int:
    """Return a moment by London's clock as nanoseconds since 1970."""
    moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo("Europe/London"))
    return int(moment.timestamp()) * SECOND


@pytest.mark.parametrize("fix", ["16:00:00", "00:30:00", "23:10:00"])
def test_the_fix_is_at_that_hour_in_london_all_the_year_round(fix):
    hours, minutes, _ = map(int, fix.split(":"))
    days = [
        date(year, 1, 2) + timedelta(k) for year in (1999, 2024, 2026, 2100) for k in range(360)
    ]
    at = [of_london(str(day), fix) for day in days]
    times = [t + s * SECOND for t in at for s in (-151, -150, 149, 150)]

    out = wmr_london(
        rows(ts_event_ns=times, price=[1.0] * len(times), bid=[1.0] * len(times),
             ask=[1.0] * len(times)), fix_s=3600 * hours + 60 * minutes,
    )  # fmt: skip

    assert out["in_window"].to_pylist() == [0, 1, 1, 0] * len(days)


def test_bids_and_asks_have_a_median_each_and_a_trade_stands_for_its_second():
    at = of_london("2026-07-01", "16:00:00")
    ticks = [  # second, price, bid, ask
        (-200, None, 1.0, 1.2), (-150, 1.5, None, None), (-149, None, 1.3, 1.5),
        (-149, None, 1.4, 1.6), (-148, 2.0, 1.0, 1.4), (-100, None, 3.0, None),
        (200, None, 9.0, 9.9),
    ]  # fmt: skip
    seconds, price, bid, ask = (list(column) for column in zip(*ticks, strict=True))

    out = wmr_london(
        rows(ts_event_ns=[at + s * SECOND for s in seconds], price=price, bid=bid, ask=ask)
    )

    bids, asks = [1.4, 1.4, 1.8], [1.6, 1.6, 2.2]  # the samples of three seconds
    assert out["fix_bid"].to_pylist()[-1] == pytest.approx(np.median(bids))
    assert out["fix_ask"].to_pylist()[-1] == pytest.approx(np.median(asks))
    assert out["fix_price"].to_pylist()[-1] == pytest.approx(1.5)
    assert out["fix_price"].to_pylist()[:2] == [None, None]


def test_without_quotes_the_fix_is_that_of_the_trades():
    times = of_london("2026-01-05", "16:00:00") + np.arange(-150, 150) * SECOND
    prices = np.round(np.linspace(1.0, 2.0, 300) ** 2, 4)
    nothing = pa.nulls(300, pa.float64())

    out = wmr_london(rows(ts_event_ns=times, price=prices, bid=nothing, ask=nothing))
    trades = wmr_schedule(rows(ts_event_ns=times, price=prices))

    assert out["fix_price"].equals(trades["fix_price"])


def test_buying_above_the_fix_and_selling_below_it_both_cost():
    bought = rows(exec_price=[1.01, 1.03], qty=[1.0, 1.0], fix_price=[1.0, 1.0])
    sold = rows(exec_price=[0.99], qty=[-5.0], fix_price=[1.0])

    assert fix_impact(bought)["fix_impact_bps"].to_pylist() == pytest.approx([100, 200])
    assert fix_impact(sold)["fix_impact_bps"].to_pylist() == pytest.approx([100])


def test_price_and_currency_parts_add_up():
    out = pnl_fx(rows(position=[10.0, 20.0, 0.0], price=[5.0, 6.0, 5.5], fx_rate=[1.1, 1.0, 1.2]))

    assert out["pnl_total"].to_pylist()[1:] == pytest.approx([10 * (6 - 5.5), 20 * (6.6 - 6.0)])
    assert out["pnl_price"].to_pylist()[1:] == pytest.approx([10 * 1 * 1.1, 20 * -0.5 * 1.0])
