"""Speed of curves, QuantLib 1.44 beside us.

Ours is the call of a user: `plan.rebuild(quotes)` with a new array, returning a Curve. QuantLib's
is the same work: every quote set to a new value, then one discount factor asked. Thread CPU time,
the least of many rounds, ours and theirs in turn.
"""

import time
from collections.abc import Callable

import numpy as np
import QuantLib as ql
from orrery_kernels.curves import SOFR_OIS, CurveConfig, CurvePlan
from orrery_kernels.risk import SwapBook, SwapTrade, ladder

from tests.kernels.curves.market import (
    AS_OF,
    CONVEXITY,
    MIXED_FUTURES,
    MIXED_INSTRUMENTS,
    MIXED_OIS,
    MIXED_QUOTES,
    MIXED_SWAPS,
    RATES,
    SOFR_INSTRUMENTS,
    SOFR_QUOTES,
    TENORS,
    ql_ois,
    set_day,
)

from .road_table import Table

ROUNDS = 60
RIVALS = {
    "log_linear": ql.PiecewiseLogLinearDiscount,
    "linear_zero": ql.PiecewiseLinearZero,
    "log_cubic": ql.PiecewiseNaturalLogCubicDiscount,
    "monotone_convex": ql.PiecewiseConvexMonotoneForward,
}


def microseconds(work: Callable[[], object], calls: int) -> float:
    """Return thread CPU time per call of one round."""
    begin = time.thread_time_ns()
    for _ in range(calls):
        work()
    return (time.thread_time_ns() - begin) / calls / 1000.0


def least(*works: tuple[Callable[[], object], int]) -> list[float]:
    """Return the least microseconds of each work, their rounds in turn."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for i, (work, calls) in enumerate(works):
            best[i] = min(best[i], microseconds(work, calls))
    return best


def moving(quotes: np.ndarray, count: int = 64) -> np.ndarray:
    return quotes + np.random.default_rng(1).normal(0.0, 2e-4, (count, len(quotes)))


def ours(plan: CurvePlan, rows: np.ndarray, jacobian: bool = False) -> Callable[[], object]:
    turn = iter(range(10**12))
    return lambda: plan.rebuild(rows[next(turn) % len(rows)], None, jacobian)


def theirs(kind: str, helpers: list, simple: list, rows: np.ndarray) -> Callable[[], object]:
    curve = RIVALS[kind](set_day(), helpers, ql.Actual365Fixed())
    turn, last = iter(range(10**12)), ql.Date(20, 11, 2070)

    def work() -> float:
        row = rows[next(turn) % len(rows)]
        for quote, value in zip(simple, row, strict=True):
            quote.setValue(float(value))
        return curve.discount(last)

    return work


def sofr_rival(kind: str, rows: np.ndarray) -> Callable[[], object]:
    simple = [ql.SimpleQuote(float(rate)) for rate in RATES]
    helpers = [ql_ois(tenor, ql.QuoteHandle(q)) for tenor, q in zip(TENORS, simple, strict=True)]
    return theirs(kind, helpers, simple, rows)


def mixed_rival(plan: CurvePlan, rows: np.ndarray) -> Callable[[], object]:
    simple = {name: ql.SimpleQuote(float(MIXED_QUOTES[name])) for name in plan.quote_ids}
    helpers = [ql_ois(t, ql.QuoteHandle(simple[f"SOFR-{t}"])) for t in MIXED_OIS | MIXED_SWAPS]
    for month in MIXED_FUTURES:
        handle = ql.QuoteHandle(simple[f"SR3-{month}"])
        convexity = ql.QuoteHandle(ql.SimpleQuote(CONVEXITY[month]))
        year, number = map(int, month.split("-"))
        helpers.append(ql.SofrFutureRateHelper(handle, number, year, ql.Quarterly, convexity))
    return theirs("log_linear", helpers, list(simple.values()), rows)


def show(table: Table, work: str, goal: str, mine: float, rival: float | None) -> None:
    beside = f" (QuantLib {rival:,.0f} us, {rival / mine:,.0f}x)" if rival else ""
    table.add(work, goal, f"{mine:.2f} us{beside}")


def measure(table: Table) -> None:
    rebuilds(table)
    scenarios(table)
    mixed(table)
    scratch_and_book(table)


def rebuilds(table: Table) -> None:
    rows = moving(RATES)
    goals = {"log_linear": "<= 7 us", "log_cubic": "<= 30 us", "monotone_convex": "<= 100 us"}
    for kind in RIVALS:
        plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, CurveConfig("USD-SOFR", kind))
        plan.rebuild(rows[0]), plan.rebuild(rows[0], None, True)
        slow = 4 if kind in ("log_cubic", "monotone_convex") else 20
        mine, with_jacobian, rival = least(
            (ours(plan, rows), 200), (ours(plan, rows, True), 200), (sofr_rival(kind, rows), slow)
        )
        show(table, f"SOFR 20 quotes, {kind}, rebuild", goals.get(kind, ""), mine, rival)
        # The rival's jacobian is twenty bumped rebuilds.
        goal = "+5 us" if kind == "log_linear" else ""
        more = f"+{with_jacobian - mine:.2f} us (QuantLib {20 * rival:,.0f} us: 20 rebuilds)"
        table.add("   with its jacobian", goal, more)


def scenarios(table: Table) -> None:
    rows = moving(RATES)
    plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, CurveConfig("USD-SOFR"))
    plan.scenarios(rows)
    mine, rival = least((lambda: plan.scenarios(rows), 20), (sofr_rival("log_linear", rows), 20))
    show(table, "   64 scenarios of it at once (log_linear), each", "<= 1.5 us", mine / 64, rival)


def mixed(table: Table) -> None:
    plan = CurvePlan(AS_OF, MIXED_INSTRUMENTS, CurveConfig("USD-SOFR"))
    rows = moving(plan.ordered(MIXED_QUOTES))
    plan.rebuild(rows[0])
    mine, many, rival = least(
        (ours(plan, rows), 200), (lambda: plan.scenarios(rows), 20), (mixed_rival(plan, rows), 20)
    )
    show(table, "4 OIS + 12 futures + 14 swaps, log_linear", "<= 8 us", mine, rival)
    show(table, "   64 scenarios at once, each", "<= 1.5 us", many / 64, rival)


def scratch_and_book(table: Table) -> None:
    config = CurveConfig("USD-SOFR")
    plan = CurvePlan(AS_OF, SOFR_INSTRUMENTS, config)
    curve = plan.rebuild(SOFR_QUOTES, jacobian=True)
    trades = [
        SwapTrade(
            f"T{n:04d}",
            SOFR_OIS,
            f"2027-{n % 12 + 1:02d}-1{n % 9}",
            f"{2029 + n % 25}-06-15",
            1e6,
            0.037,
        )
        for n in range(1000)
    ]
    book, curves, plans = SwapBook(AS_OF, trades), {"USD-SOFR": curve}, {"USD-SOFR": plan}
    book.values(curves), ladder(book, plans, curves)

    def scratch() -> object:
        simple = [ql.SimpleQuote(float(rate)) for rate in RATES]
        helpers = [
            ql_ois(tenor, ql.QuoteHandle(q)) for tenor, q in zip(TENORS, simple, strict=True)
        ]
        return RIVALS["log_linear"](set_day(), helpers, ql.Actual365Fixed()).discount(
            set_day() + 400
        )

    mine, value, risk, rival = least(
        (lambda: CurvePlan(AS_OF, SOFR_INSTRUMENTS, config).rebuild(RATES), 1),
        (lambda: book.values(curves), 5),
        (lambda: ladder(book, plans, curves), 5),
        (scratch, 1),
    )
    show(table, "SOFR 20 quotes, from instruments to curve", "", mine, rival)
    show(table, "1,000 swaps, present value of each", "", value, None)
    show(table, "1,000 swaps, key-rate ladder of the book", "", risk, None)
