"""Why, what moved, what is held, made again: answers about results of a real Postgres."""

import psycopg
import pytest
from orrery_kernels.domino.explain import why_lines
from orrery_kernels.domino.memo import LostBody
from orrery_services import store
from orrery_services.dominoes import asking
from orrery_services.dominoes.running import Runner
from orrery_services.dominoes.steps import Job
from orrery_services.errors import OutsideError
from orrery_services.gateway import domino_series
from orrery_services.node import Node
from orrery_services.protocol import domino_runs as rules
from orrery_services.snapshots import collecting
from orrery_services.store import domino_runs, domino_values, pieces

from .market import DAY_NS, RATES, STREAM, moved, write_snapshot


@pytest.fixture
def runner(node):
    made = Runner(node)
    yield made
    made.close()


def run_on(runner: Runner, number: int, rates: dict[str, float] | None = None):
    return runner.run(Job(number, "rates", write_snapshot(runner.connection, number, rates)))


def empty_what_may_go(runner: Runner, server) -> collecting.Plan:
    """Let gc keep the newest snapshot and what is needed."""
    plan = collecting.plan(runner.connection, "last 1", {}, now_ns=DAY_NS)
    database = runner.connection.info.dbname
    with psycopg.connect(server.conninfo(database, "orrery_gc"), autocommit=True) as collector:
        collecting.remove(collector, plan.bodies, now_ns=DAY_NS)
    return plan


def test_why_goes_from_a_value_over_the_curve_and_its_quotes_to_rows_in_the_log(runner):
    run = run_on(runner, 3)

    tree = asking.why(runner.connection, "value/swaps@latest")

    assert tree["run"]["snapshot"] == run.snapshot
    assert tree["run"]["code_is_as_then"] is True
    assert tree["computed_by"] == "n1"
    (curve,) = tree["inputs"]
    quotes, day = curve["inputs"]
    assert (curve["result"], day["result"]) == ("curve/USD-SOFR", "day/USD-SOFR")
    assert {leaf["path"] for leaf in quotes["leaves"]} == {f"quotes/{name}" for name in RATES}
    at = list(RATES).index("USD-SOFR-OIS-5Y")
    leaf = next(leaf for leaf in quotes["leaves"] if leaf["path"].endswith("-5Y"))
    assert leaf["rows"] == [
        {
            "topic": "market_quotes", "partition": 0, "offset": 300 + at, "ticks_offset": 3,
            "ts_event_ns": DAY_NS + 3,
        }
    ]  # fmt: skip
    assert any("topic=market_quotes" in line for line in why_lines(tree))


def test_what_gc_removed_is_said_to_have_expired_and_latest_answers_stay(runner, server):
    old = run_on(runner, 1)
    new = run_on(runner, 2, {name: rate + 0.0001 for name, rate in RATES.items()})
    plan = empty_what_may_go(runner, server)

    tree = asking.why(runner.connection, f"value/swaps@{old.snapshot}")

    shared = {step.output for step in old.steps} & {step.output for step in new.steps}
    went = {body.key.partition("/")[2] for body in plan.answers}
    assert went == {step.output for step in old.steps} - shared != set()
    lines = why_lines(tree)
    assert any(f"leaves, expired on 2025-11-25, of {old.snapshot[:12]}" in line for line in lines)
    assert tree["digest"] == old.step("value/swaps").output, "names stay"
    with pytest.raises(LostBody, match="expired on 2025-11-25"):
        domino_values.value_of(runner.connection, old, "value/swaps")
    assert asking.why(runner.connection, "value/swaps@latest")["run"]["snapshot"] == new.snapshot
    assert domino_values.value_of(runner.connection, new, "value/swaps") is not None
    runner.answers.bodies.clear()
    again = runner.run(Job(1, "rates", old.snapshot, asked="by hand"))
    assert [step.action for step in again.steps] == ["reuse"] * 4, "by their keys"


def test_an_answer_that_is_found_again_after_its_bytes_went_can_be_read(new_node, server):
    tasks = [{"name": "mean", "domino": "mean", "tolerance": 1e-6}]
    declared = {"own": {"modules": ["tests.services.dominoes.lab"], "tasks": tasks}}
    runner = Runner(new_node("n1", declared))
    higher = {name: rate + 0.0001 for name, rate in RATES.items()}
    for number, rates in ((1, RATES), (2, higher)):
        runner.run(Job(number, "own", write_snapshot(runner.connection, number, rates)))
    assert empty_what_may_go(runner, server).answers
    runner.answers.bodies.clear()
    runner.answers.rows.clear()

    again = runner.run(Job(3, "own", write_snapshot(runner.connection, 3, RATES)))
    value = domino_values.value_of(runner.connection, again, "mean")
    runner.close()

    assert [step.action for step in again.steps] == ["reuse"]
    assert value == pytest.approx(sum(RATES.values()) / len(RATES))


def test_a_ref_needs_the_newest_snapshot_on_which_its_answer_was_found(runner):
    first = run_on(runner, 1)
    second = run_on(runner, 2)
    third = run_on(runner, 3, {name: rate + 0.0001 for name, rate in RATES.items()})

    plan = collecting.plan(runner.connection, "last 1", {}, now_ns=DAY_NS)
    run, task = domino_values.find_run(runner.connection, "n1/day/USD-SOFR")

    kept = {one.snapshot.hex() for one in plan.kept if one.keep}
    assert third.step("day/USD-SOFR").output == second.step("day/USD-SOFR").output
    assert kept == {third.snapshot}, "all refs are at answers that were found there"
    assert (run.snapshot, task) == (third.snapshot, "day/USD-SOFR")
    assert first.snapshot not in kept


def test_a_result_that_is_not_held_is_answered_with_those_that_are(runner):
    run = run_on(runner, 1)

    for text in ("curve/EUR", "curve/EUR@latest", f"{run.snapshot}:curve/EUR"):
        with pytest.raises(OutsideError, match="there are: curve/USD-SOFR, day/USD-SOFR"):
            asking.why(runner.connection, text)


def test_what_moved_is_named_with_how_far_and_why(runner):
    before, after = run_on(runner, 1), run_on(runner, 2, moved(T5Y=0.0001))

    found = asking.compare(
        runner.connection, bytes.fromhex(before.snapshot), bytes.fromhex(after.snapshot)
    )

    curve = next(result for result in found if result["task"] == "curve/USD-SOFR")
    assert (curve["action"], curve["why"]) == ("run", "changed: quotes")
    assert curve["moved"]["point"] == "USD-SOFR-OIS-5Y"
    assert curve["moved"]["by"] == pytest.approx(0.0001, rel=0.1)
    day = next(result for result in found if result["task"] == "day/USD-SOFR")
    assert (day["before"], day["moved"]) == (day["after"], None)


def test_why_a_result_changed_is_told_by_who_computed_it_not_by_who_found_it(runner):
    before, after = run_on(runner, 1), run_on(runner, 2, moved(T5Y=0.0001))
    runner.run(Job(2, "rates", after.snapshot, asked="somebody"))  # a later record: all reused

    found = asking.compare(
        runner.connection, bytes.fromhex(before.snapshot), bytes.fromhex(after.snapshot)
    )

    curve = next(result for result in found if result["task"] == "curve/USD-SOFR")
    assert (curve["action"], curve["why"]) == ("run", "changed: quotes")


def test_made_again_without_memo_results_are_equal(runner):
    run = run_on(runner, 1)

    found, _ = asking.replay(
        runner.connection, bytes.fromhex(run.snapshot), pieces.fetcher(runner.connection)
    )

    assert [result["task"] for result in found] == [step.task for step in run.steps]
    assert all(result["equal"] for result in found)


def test_a_result_that_was_written_wrong_is_the_first_difference(runner):
    run = run_on(runner, 1)
    steps = tuple(
        step._replace(output="ab" * 32) if step.task == "ladder/swaps" else step
        for step in run.steps
    )
    store.commit(runner.connection, rules.run_fact(run._replace(attempt=2, steps=steps), STREAM))

    found, _ = asking.replay(
        runner.connection, bytes.fromhex(run.snapshot), pieces.fetcher(runner.connection)
    )

    (wrong,) = [result for result in found if not result["equal"]]
    assert (wrong["task"], wrong["attempt"], wrong["held"]) == ("ladder/swaps", 2, "ab" * 32)


def test_results_whose_leaves_have_expired_are_not_said_to_differ(runner, server):
    old = run_on(runner, 1)
    new = run_on(runner, 2, {name: rate + 0.0001 for name, rate in RATES.items()})
    empty_what_may_go(runner, server)
    fetch = pieces.fetcher(runner.connection)

    gone, market = asking.replay(runner.connection, bytes.fromhex(old.snapshot), fetch)
    there, _ = asking.replay(runner.connection, bytes.fromhex(new.snapshot), fetch, market)

    assert gone == [{"chain": "rates", "task": None, "equal": True, "expired": "2025-11-25"}]
    assert [one["equal"] for one in there] == [True] * 4


def test_behind_an_answer_within_a_tolerance_nothing_differs_either(new_node):
    tasks = [
        {"name": "mean", "domino": "mean", "tolerance": 1e-6},
        {"name": "twice", "domino": "scaled", "reads": {"x": "mean"}},
        {"name": "again", "domino": "scaled", "reads": {"x": "twice"}},
    ]
    runner = Runner(new_node("n1", {"own": {"modules": ["tests.services.dominoes.lab"],
                                            "tasks": tasks}}))  # fmt: skip
    ids = [
        write_snapshot(runner.connection, number, rates)
        for number, rates in ((1, RATES), (2, moved(T5Y=1e-9)))
    ]
    runs = [runner.run(Job(number, "own", id_)) for number, id_ in enumerate(ids, 1)]

    found, _ = asking.replay(
        runner.connection, bytes.fromhex(ids[1]), pieces.fetcher(runner.connection)
    )
    runner.close()

    assert [step.action for step in runs[1].steps] == ["run", "reuse", "reuse"]
    assert [(one["task"], one["equal"]) for one in found] == [
        ("mean", True), ("twice", True), ("again", True),
    ]  # fmt: skip
    assert found[2]["held"] != found[2]["came"] and found[2]["why"] == "within tolerance"


def test_a_snapshot_does_not_differ_from_itself_and_what_is_gone_is_not_measured(runner, server):
    old = run_on(runner, 1)
    new = run_on(runner, 2, {name: rate + 0.0001 for name, rate in RATES.items()})
    ids = bytes.fromhex(old.snapshot), bytes.fromhex(new.snapshot)
    empty_what_may_go(runner, server)
    runner.answers.bodies.clear()

    found = asking.compare(runner.connection, *ids)

    assert asking.compare(runner.connection, ids[0], ids[0]) == []
    curve = next(one for one in found if one["task"] == "curve/USD-SOFR")
    assert curve["before"] != curve["after"] and curve["moved"] is None


def test_a_curve_is_read_in_python_as_it_was_computed(node, runner):
    run = run_on(runner, 1)

    with Node(settings=node) as found:
        curve = found.snapshot(run.snapshot[:12]).curve("USD-SOFR")

    assert curve.points().keys() == RATES.keys()
    assert curve.discount("2035-11-25") < 1.0


def test_series_are_made_of_the_records_one_sample_a_cut(runner):
    for number, rates in ((1, None), (2, None), (3, moved(T10Y=0.001))):
        run_on(runner, number, rates)
    runs = list(domino_runs.of_cuts(runner.connection, "rates", 0))

    found = {
        (one.labels["task"], one.labels["point"]): one
        for one in domino_series.series(runner.connection, "n1", runs)
    }

    ten = found["curve/USD-SOFR", "USD-SOFR-OIS-10Y"]
    assert ten.times_ms == [(DAY_NS + number) // 1_000_000 for number in (1, 2, 3)]
    assert ten.values[0] == ten.values[1] < ten.values[2]
    assert ("value/swaps", "") in found
    assert ("ladder/swaps", "total") in found
