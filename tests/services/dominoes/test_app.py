"""The loop and its workers: a death, a delay or an outside that is away costs one attempt."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from orrery_services import failpoints, metrics, store
from orrery_services.dominoes import app
from orrery_services.dominoes.pool import Ended, Pool
from orrery_services.dominoes.running import Runner
from orrery_services.dominoes.steps import ATTEMPTS_MAX, Job
from orrery_services.dominoes.worker import SERVICE
from orrery_services.protocol.answers import memo_key
from orrery_services.protocol.snapshots import snapshot_key
from orrery_services.store import domino_runs, holds, reading, refs
from orrery_services.store.answers import read_body

from .market import RATES_CHAIN, write_snapshot

ROOT = Path(__file__).resolve().parents[3]
SECONDS_MAX = 400.0
SLOW = {
    "modules": ["tests.services.dominoes.lab"],
    "tasks": [
        {"name": "mean", "domino": "mean"},
        {"name": "slow", "domino": "slow", "reads": {"x": "mean"}, "params": {"rounds": 9**8}},
    ],
}  # fmt: skip


@contextlib.contextmanager
def looping(settings, seconds_max: float = 120.0) -> Iterator[app.Loop]:
    pool = Pool(2, seconds_max)
    loop = app.Loop(settings, sorted(settings.dominoes), pool)
    yield loop
    loop.close()
    pool.close(0.5)


def turn_until(loop: app.Loop, there: Callable[[], object]) -> object:
    until = time.monotonic() + SECONDS_MAX
    while not (found := there()):
        assert time.monotonic() < until, "it did not come in time"
        loop.turn()
    return found


@pytest.fixture
def environment(monkeypatch) -> Callable:
    """Name a node in the environment: its workers are processes of their own."""

    def name(settings) -> None:
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}/kernels:{ROOT}/services:{ROOT}")
        monkeypatch.setenv("ORRERY_NODE", settings.node)
        monkeypatch.setenv("ORRERY_UNIVERSE", str(settings.universe))
        monkeypatch.setenv("ORRERY_SECRETS", str(settings.secret_file("writer").parent))
        for key in ("host", "port", "database"):
            monkeypatch.setenv(
                f"ORRERY_POSTGRES_{key.upper()}", str(settings.values[f"postgres.{key}"])
            )

    return name


def test_a_killed_worker_loses_no_snapshot_and_doubles_none(new_node, environment):
    node = new_node("n1", {"own": SLOW, "rates": RATES_CHAIN})
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        write_snapshot(writer, 1)
        at_slow = turn_until(loop, lambda: [w for w in loop._pool._workers if w.task == "slow"])

        os.kill(at_slow[0].process.pid, signal.SIGKILL)
        (rates,) = turn_until(loop, lambda: records(writer, "rates"))
        turn_until(loop, lambda: any(not run.failed for run in records(writer, "own")))

        broken, done = records(writer, "own")
        assert broken.step("slow").why == "its worker ended with -9"
        assert [(r.attempt, r.failed) for r in (broken, done)] == [(1, True), (2, False)]
        assert done.step("mean").action in ("run", "reuse")
        assert not rates.failed


@pytest.mark.parametrize("place", ["in a transaction", "behind a commit"])
@pytest.mark.parametrize("chain", ["rates", "own"])
def test_a_kill_while_answers_are_being_kept_loses_none_and_doubles_none(
    new_node, environment, monkeypatch, tmp_path, chain, place
):
    mean, slow = SLOW["tasks"]
    own = {**SLOW, "tasks": [mean, {**slow, "params": {"rounds": 9**7}}]}  # kept before the record
    node, other = (new_node(name, {"own": own, "rates": RATES_CHAIN}) for name in ("n1", "n2"))
    environment(node)
    armed = tmp_path / "armed"
    armed.mkdir()
    monkeypatch.setenv(failpoints.FOLDER, str(armed))
    point = armed / f"n1.{SERVICE}.{place}"
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        loop._chains = [chain]
        point.touch()
        snapshot = write_snapshot(writer, 1)
        (done,) = turn_until(loop, lambda: [r for r in records(writer, chain) if not r.failed])

        assert point.with_name(point.name + failpoints.FIRED).exists(), "nobody was killed"
        assert undisturbed(other, chain, snapshot) == [
            (s.task, s.key, s.output) for s in done.steps
        ]
        keys = {memo_key(step.key) for step in done.steps}
        rows = list(reading.facts_between(writer, "memo/", "memo0"))
        assert {row.key for row in rows} == keys
        for step in done.steps:
            assert read_body(writer, bytes.fromhex(step.output)), "its bytes are there"
        moves = refs.moves(writer, 100)
        assert sorted(ref.name for ref in moves) == sorted(step.task for step in done.steps)
        assert reading.quarantined(writer) == []
        count, last = writer.execute(
            "SELECT count(*), max(oseq) FROM facts WHERE stream = %s", (node.partitions,)
        ).fetchone()
        assert count == last, "numbers without a gap"
        for _ in range(3):
            loop.turn()
        assert [r for r in records(writer, chain) if not r.failed] == [done], "once"


def undisturbed(node, chain: str, snapshot: str) -> list[tuple]:
    """Return what a run finds that nobody kills."""
    runner = Runner(node)
    try:
        assert write_snapshot(runner.connection, 1) == snapshot
        run = runner.run(Job(1, chain, snapshot))
        return [(step.task, step.key, step.output) for step in run.steps]
    finally:
        runner.close()


def records(connection, chain: str) -> list:
    return list(domino_runs.of_cuts(connection, chain, 0))


def test_a_chain_that_takes_too_long_is_ended_with_its_reason(new_node, environment):
    endless = {
        **SLOW,
        "tasks": [SLOW["tasks"][0], {**SLOW["tasks"][1], "params": {"rounds": 10**12}}],
    }
    node = new_node("n1", {"own": endless})
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node, 120.0) as loop:
        write_snapshot(writer, 1)
        turn_until(loop, lambda: [w for w in loop._pool._workers if w.task == "slow"])
        loop._pool._seconds_max = 0.01

        (run,) = turn_until(loop, lambda: records(writer, "own"))

        assert "must be done within 0.2 s" in run.step("slow").why


def test_a_chain_that_cannot_be_read_fails_once_a_snapshot_and_disturbs_no_other(
    new_node, environment
):
    bad = {"tasks": [{"name": "a", "domino": "ois_kurve"}]}
    node = new_node("n1", {"bad": bad, "rates": RATES_CHAIN})
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        write_snapshot(writer, 1)

        (rates,) = turn_until(loop, lambda: records(writer, "rates"))
        (broken,) = turn_until(loop, lambda: records(writer, "bad"))
        for _ in range(3):
            loop.turn()

        assert not rates.failed
        assert broken.failed and "nearest: ois_curve" in broken.steps[0].why
        assert records(writer, "bad") == [broken]


def test_a_worker_that_only_failed_still_has_the_time_of_a_first_run(new_node, environment):
    """As in a market without quotes: the run that first has some compiles the curve."""
    failing = {"name": "b", "domino": "refuses_high", "reads": {"x": "mean"}}
    bad = {**SLOW, "tasks": [SLOW["tasks"][0], failing]}
    node = new_node("n1", {"bad": bad, "rates": RATES_CHAIN})
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        write_snapshot(writer, 1)

        turn_until(loop, lambda: records(writer, "rates") and records(writer, "bad"))
        turn_until(loop, lambda: not loop._pool.running())

        assert set().union(*(worker.warm for worker in loop._pool._workers)) == {"rates"}


def test_what_is_outside_is_tried_again_after_a_pause(new_node, environment, server):
    node = new_node("n1")
    environment(node)
    key = "UPDATE facts SET key = %s WHERE key = %s"
    admin = psycopg.connect(server.conninfo(node.values["postgres.database"]), autocommit=True)
    with admin, store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        held = snapshot_key(bytes.fromhex(write_snapshot(writer, 1)))
        admin.execute(key, ("away", held))
        turn_until(loop, lambda: not loop._waiting and loop._pool.running())
        turn_until(loop, lambda: loop._waiting)
        assert not loop._pool.running() and records(writer, "rates") == []

        admin.execute(key, (held, "away"))
        (run,) = turn_until(loop, lambda: records(writer, "rates"))

        assert not run.failed and run.attempt == 1


def test_a_job_for_which_the_outside_went_away_in_the_middle_is_tried_again_and_not_for_ever(
    new_node, environment
):
    node = new_node("n1")
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        job, tries = Job(1, "rates", write_snapshot(writer, 1)), []
        while job:
            ended = Ended(job, None, "OperationalError: gone", False, "curve/USD-SOFR", 0.1, True)
            loop._end(ended)
            tries.append(job.attempt)
            job = next(iter(loop._waiting), None)
            loop._waiting.clear()

        assert tries == [1, 2, 3]
        assert [run.attempt for run in records(writer, "rates") if run.failed] == [1, 2, 3]


def test_an_outside_that_went_away_has_longer_each_time_to_come_back(
    new_node, environment, monkeypatch
):
    node = new_node("n1")
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        monkeypatch.setattr(app.clock, "monotonic_ns", lambda: 0)
        snapshot, due_ns = write_snapshot(writer, 1), []
        for attempt in range(1, ATTEMPTS_MAX):
            job = Job(1, "rates", snapshot, attempt)
            loop._end(Ended(job, None, "Damaged: it is", False, "curve/USD-SOFR", 0.1, True))
            due_ns.append(loop._waiting.pop(job._replace(attempt=attempt + 1)))

        assert due_ns == [2 * app.RETRY_SECONDS * 10**9, 4 * app.RETRY_SECONDS * 10**9]


@pytest.mark.parametrize(
    ("why", "died", "attempts"),
    [("its worker ended with -9", True, [2]), ("it must be done within 1 s, was not", False, [])],
)
def test_an_attempt_that_was_owed_when_the_service_was_killed_is_made_by_the_next_one(
    new_node, environment, why, died, attempts
):
    """One that took too long is not made again by any."""
    node = new_node("n1")
    environment(node)
    with store.connect(node.postgres("writer")) as writer:
        job = Job(1, "rates", write_snapshot(writer, 1))
        with looping(node) as loop:
            loop._end(Ended(job, None, why, died, "curve/USD-SOFR", 0.1))

        with looping(node) as loop:
            loop._look()

            assert list(loop._waiting) == [job._replace(attempt=n) for n in attempts]


def test_a_snapshot_is_held_before_a_worker_has_it(new_node, environment):
    node = new_node("n1")
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        snapshot, seen = bytes.fromhex(write_snapshot(writer, 1)), []
        begin = loop._pool.begin

        def looked_at(job: Job) -> bool:
            seen.extend(holds.held(writer).values())
            return begin(job)

        loop._pool.begin = looked_at
        turn_until(loop, lambda: records(writer, "rates"))

        assert seen == [snapshot]


def test_what_a_library_prints_does_not_stand_among_a_workers_answers(new_node, environment):
    loud = {
        "modules": ["tests.services.dominoes.lab", "tests.services.dominoes.loud"],
        "tasks": [
            {"name": "mean", "domino": "mean"},
            {"name": "half", "domino": "halved", "reads": {"x": "mean"}},
        ],
    }
    node = new_node("n1", {"loud": loud})
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        write_snapshot(writer, 1)

        (run,) = turn_until(loop, lambda: records(writer, "loud"))

        assert not run.failed


def test_a_worker_that_was_told_to_leave_is_given_nothing(new_node, environment):
    node = new_node("n1")
    environment(node)
    with looping(node) as loop:
        worker = loop._pool._workers[0]
        worker.warm.add("rates")
        worker.process.stdin.close()

        assert loop._pool.begin(Job(1, "rates", "ab" * 32))

        assert worker.job is None and len(loop._pool._workers) == 2


def test_a_worker_that_died_unheard_is_heard_of(new_node, environment):
    node = new_node("n1")
    environment(node)
    with looping(node) as loop:
        job = Job(1, "rates", "ab" * 32)
        assert loop._pool.begin(job)
        loop._pool._workers[0].kill()

        loop._pool._tidy()  # it died behind the last look at its output

        (ended,) = loop._pool.wait([], 60.0)
        assert (ended.job, ended.died) == (job, True)


def test_snapshots_of_a_while_away_are_made_up_in_order(new_node, environment):
    node = new_node("n1", {"rates": RATES_CHAIN})
    environment(node)
    with store.connect(node.postgres("writer")) as writer:
        write_snapshot(writer, 1)
        with looping(node) as loop:
            turn_until(loop, lambda: records(writer, "rates"))
        for number in (2, 3, 4):
            write_snapshot(writer, number)

        stop = threading.Event()
        service = threading.Thread(target=app.main, args=(node, metrics.Health(), stop))
        service.start()
        until = time.monotonic() + SECONDS_MAX
        while len(records(writer, "rates")) < 4 and time.monotonic() < until:
            time.sleep(0.1)
        stop.set()
        service.join()

        runs = records(writer, "rates")
        assert [(run.number, run.attempt, run.failed) for run in runs] == [
            (1, 1, False), (2, 1, False), (3, 1, False), (4, 1, False),
        ]  # fmt: skip


def test_a_snapshot_that_is_made_long_after_later_ones_is_run_too(new_node, environment):
    node = new_node("n1")
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        write_snapshot(writer, 100)
        turn_until(loop, lambda: records(writer, "rates"))

        write_snapshot(writer, 100 - app.LOOK_BACK - 1)

        late, _ = turn_until(
            loop, lambda: len(records(writer, "rates")) == 2 and records(writer, "rates")
        )
        assert (late.number, late.failed) == (100 - app.LOOK_BACK - 1, False)


def test_another_nodes_chain_is_waited_for_then_taken_over(new_node, environment):
    more = """
[routing]
universes = ["n1", "n2"]
dominoes = { rates = "n1" }
[limits]
takeover_seconds = 1.0
"""
    node = new_node("n2", {"rates": RATES_CHAIN}, more)
    environment(node)
    with store.connect(node.postgres("writer")) as writer, looping(node) as loop:
        write_snapshot(writer, 1)
        loop.turn()
        assert loop._waiting and not loop._pool.running(), "n1 may still answer"

        (run,) = turn_until(loop, lambda: records(writer, "rates"))

        assert (run.node, run.failed) == ("n2", False)
