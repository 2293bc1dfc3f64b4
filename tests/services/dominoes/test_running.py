"""One chain on snapshots of a real Postgres: found where known, computed where not."""

from collections.abc import Iterator

import pytest
from orrery_services.dominoes.running import Runner
from orrery_services.dominoes.steps import Job
from orrery_services.store import domino_runs

from .market import moved, write_snapshot


@pytest.fixture
def runner(node) -> Iterator[Runner]:
    made = Runner(node)
    yield made
    made.close()


def actions(run) -> dict[str, str]:
    return {step.task: step.action for step in run.steps}


def test_a_chain_runs_once_and_is_found_the_second_time(node, writer, runner):
    snapshot = write_snapshot(writer, 1)
    first = runner.run(Job(1, "rates", snapshot))

    again = Runner(node)
    second = again.run(Job(1, "rates", snapshot, asked="somebody"))
    again.close()

    assert set(actions(first).values()) == {"run"}
    assert set(actions(second).values()) == {"reuse"}
    assert [s.output for s in first.steps] == [s.output for s in second.steps]
    assert [run.attempt for run in domino_runs.of_snapshot(writer, snapshot, 1)] == [1, 2]


def test_the_next_snapshot_runs_only_what_the_change_reaches(writer, runner):
    runner.run(Job(1, "rates", write_snapshot(writer, 1)))

    run = runner.run(Job(2, "rates", write_snapshot(writer, 2, moved(T5Y=0.0001))))

    assert actions(run) == {
        "day/USD-SOFR": "run",
        "curve/USD-SOFR": "run",
        "ladder/swaps": "run",
        "value/swaps": "run",
    }
    assert run.step("curve/USD-SOFR").why == "changed: quotes"


def test_quotes_that_come_again_unchanged_stop_the_wave(writer, runner):
    runner.run(Job(1, "rates", write_snapshot(writer, 1)))

    run = runner.run(Job(2, "rates", write_snapshot(writer, 2)))

    assert actions(run) == {
        "day/USD-SOFR": "run",
        "curve/USD-SOFR": "reuse",
        "ladder/swaps": "reuse",
        "value/swaps": "reuse",
    }
