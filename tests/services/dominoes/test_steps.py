"""What is to be run, by whom and when: decided from what is known, without an outside."""

import pytest
from orrery_services.dominoes import steps
from orrery_services.dominoes.steps import Job
from orrery_services.protocol import domino_runs as rules
from orrery_services.protocol import facts
from orrery_services.protocol.domino_runs import DominoRun, Ran


def test_every_chain_runs_on_every_snapshot_that_it_has_not_seen():
    jobs = steps.new_jobs([(7, "aa"), (8, "bb")], ["rates", "risk"], [("rates", 7)])

    assert jobs == [Job(7, "risk", "aa"), Job(8, "rates", "bb"), Job(8, "risk", "bb")]


@pytest.mark.parametrize(
    ("mine", "owner_is_done", "waited", "starts"),
    [
        (True, False, 0.0, True),
        (False, False, 0.0, False),
        (False, True, 0.0, True),
        (False, False, 10.0, True),
    ],
)
def test_what_another_node_computes_is_waited_for_but_not_for_ever(
    mine, owner_is_done, waited, starts
):
    assert steps.may_start(mine, owner_is_done, waited, 10.0) is starts


def test_routing_names_who_computes_a_chain():
    table = {"universes": ["n1", "n2"], "dominoes": {"rates": "n1", "*": "local"}}

    assert steps.owner("rates", table, "n2") == "n1"
    assert steps.owner("risk", table, "n2") == "n2"
    assert steps.owner("risk", {}, "n2") == "n2"


def test_chains_that_run_in_pods_are_left_to_the_hot_swap():
    declared = {
        "a": {"tasks": [{"name": "t", "domino": "d"}]},
        "b": {"run_in": "pod", "tasks": [{"name": "t", "domino": "d"}]},
        "c": {"tasks": [{"name": "t", "domino": "d", "run_in": "container"}]},
    }

    assert list(steps.process_chains(declared)) == ["a"]


def a_broken_run(attempt: int, again: bool = True) -> DominoRun:
    job = Job(7, "rates", "ab" * 32, attempt)
    return steps.broken_run(job, "n1", "curve/X", "its worker ended with -9", (1, 2), again)


def a_run(number: int, output: str | None, node: str = "n1", attempt: int = 1) -> DominoRun:
    step = Ran("curve/X", "run" if output else "fail", "why", "k", output, ("i",))
    return DominoRun(
        "rates", "d", "ab" * 32, number, 5, node, attempt, "snapshot", False, 1, 2, (step,)
    )


@pytest.mark.parametrize(
    ("why", "run", "owed"),
    [
        ("its worker died", a_broken_run(1), True),
        ("its worker died again", a_broken_run(steps.ATTEMPTS_MAX - 1), True),
        ("its worker died too often", a_broken_run(steps.ATTEMPTS_MAX), False),
        ("it took too long", a_broken_run(1, again=False), False),
        ("it is done", a_run(7, "aa"), False),
        ("a task of it failed", a_run(7, None), False),
    ],
)
def test_another_attempt_is_owed_to_a_run_whose_worker_died_but_not_for_ever(why, run, owed):
    (fact,) = rules.run_fact(run, 8)

    assert rules.run_of(facts.data_of(fact.payload, None)).owed is owed, why


def test_a_record_is_read_back_as_it_was_written():
    run = a_run(7, "aa")
    (fact,) = rules.run_fact(run, 8)

    assert fact.key == f"domino/rates/000000000007/{'ab' * 32}/n1/0001"
    assert rules.run_of(facts.data_of(fact.payload, None)) == run


def test_latest_is_the_greatest_cut_then_the_greatest_digest_and_never_a_failure():
    runs = [a_run(7, "bb"), a_run(8, "aa"), a_run(8, "cc", "n2"), a_run(9, None)]

    assert rules.newest_with(runs, "curve/X") == runs[2]
    assert rules.newest_with(list(reversed(runs)), "curve/X") == runs[2]
    assert rules.newest_with(runs, "curve/Y") is None


def test_what_a_node_runs_again_after_it_lost_its_disk_is_another_record():
    before, after = a_run(7, "aa"), a_run(7, "bb")._replace(incarnation="Q0pn")

    assert after.key == f"{before.key}/Q0pn"
    assert after.key.startswith(rules.run_key("rates", 7, "ab" * 32, "n1", 1))
