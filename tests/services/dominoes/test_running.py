"""One chain on snapshots of a real Postgres: found where known, computed where not."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from blake3 import blake3
from orrery_kernels.domino.memo import LostBody, Row
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot import refs as decisions
from orrery_kernels.snapshot.changes import filter_of
from orrery_services import store
from orrery_services.dominoes import running
from orrery_services.dominoes.asking import replay
from orrery_services.dominoes.asking import why as why_of
from orrery_services.dominoes.running import Runner
from orrery_services.dominoes.steps import Job
from orrery_services.errors import ConfigError, DivergenceError, OutsideError
from orrery_services.protocol.snapshots import snapshot_key
from orrery_services.store import (
    answers,
    domino_runs,
    heartbeats,
    holds,
    identity,
    moving,
    reading,
    receiving,
    refs,
)
from orrery_services.store.answers import Answers, read_body
from orrery_services.store.domino_values import chain_from, find_run
from orrery_services.store.mended import Damaged

from .market import RATES_CHAIN, STREAM, moved, write_snapshot


@contextlib.contextmanager
def opened(node) -> Iterator[Runner]:
    runner = Runner(node)
    yield runner
    runner.close()


def replicate(source: Runner, target: Runner) -> None:
    """Bring every fact that the source wrote itself to the target, as replication does."""
    own = source.connection.execute("SELECT origin FROM incarnations").fetchone()[0]
    rows = source.connection.execute(
        "SELECT id, kind, origin, stream, oseq, key, payload FROM facts WHERE origin = %s "
        "ORDER BY stream, oseq", (own,)
    )  # fmt: skip
    receipts = [
        store.Receipt(row.origin, row.oseq, row.fact())
        for row in (reading.Row(bytes(r[0]), *r[1:6], bytes(r[6])) for r in rows)
    ]
    heartbeats.adopt_first(target.connection, "ticks", "log")
    with store.connect(target.connection.info.dsn) as replica:
        receiving.become_replica(replica)
        store.receive(replica, receipts, "facts-log", {0: 1})


def damage(server, node, key: str) -> None:
    """Change one byte of a stored payload, as a failing disk does."""
    as_admin(server, node, "UPDATE facts SET payload = set_byte(payload, "
             "octet_length(payload) - 1, 255 - get_byte(payload, octet_length(payload) - 1)) "
             "WHERE key = %s", key)  # fmt: skip


def forget(server, node, key: str) -> None:
    as_admin(server, node, "DELETE FROM facts WHERE key = %s", key)


def as_admin(server, node, statement: str, key: str) -> None:
    database = node.values["postgres.database"]
    with psycopg.connect(server.conninfo(database), autocommit=True) as admin:
        assert admin.execute(statement, (key,)).rowcount == 1


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


def test_gc_leaves_a_snapshot_alone_on_which_somebody_runs_a_chain_by_hand(writer, runner):
    snapshot, seen = write_snapshot(writer, 1), []

    runner.run(
        Job(1, "rates", snapshot, asked="by hand"), lambda _: seen.append(holds.held(writer))
    )

    assert {id_.hex() for held in seen for id_ in held.values()} == {snapshot}
    assert all("rates by hand" in holder for held in seen for holder in held)
    assert holds.held(writer) == {}


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


def test_a_run_that_another_life_of_its_node_overtook_is_run_again_in_that_one(
    new_node, monkeypatch
):
    """A disk that was put back is found out after services began: names of the life before are
    its peers' by then, and must not get a second content."""
    with opened(new_node()) as one:
        snapshot, before = write_snapshot(one.connection, 1), refs.origin(one.connection)
        compute = running.lab.run

        def overtaken(*given):
            steps = compute(*given)
            identity.begin(one.connection, "n1", identity.EMPTY_DISK)
            return steps

        monkeypatch.setattr(running.lab, "run", overtaken)
        with pytest.raises(OutsideError, match=r"must be written in it.*have to be made anew"):
            one.run(Job(1, "rates", snapshot))
        monkeypatch.setattr(running.lab, "run", compute)
        nothing = reading.facts_between(one.connection, "domino/", "domino/~")
        assert list(nothing) == []

        one.run(Job(1, "rates", snapshot))

        after = refs.origin(one.connection)
        held = list(reading.facts_between(one.connection, "domino/", "domino/~"))
        assert after != before
        assert {row.key.rpartition("/")[2] for row in held} == {after.partition(".")[2]}
        assert {row.origin for row in held} == {after}


def test_of_a_domino_by_symbol_only_what_changed_is_computed_also_by_the_next_process(new_node):
    node = new_node(chains={"own": own({"name": "bps", "domino": "in_basis_points"})})
    rates = moved(T5Y=0.0001), moved(T5Y=0.0001, T2Y=0.0002), moved(T10Y=0.0003)
    runs = []
    for number, quotes in enumerate([None, *rates], 1):
        with opened(node) as one:  # each is a process that knows nothing of the one before
            snapshot = write_snapshot(one.connection, number, quotes)
            runs.append(one.run(Job(number, "own", snapshot)))

    with opened(node) as one:
        again, _ = replay(one.connection, bytes.fromhex(snapshot), one._fetch)
        shown = why_of(one.connection, "bps@latest")
    assert [run.step("bps").why for run in runs] == [
        "never computed for these inputs",
        "changed: rows; 1 of 11 rows computed",
        "changed: rows; 1 of 11 rows computed",
        "changed: rows; 3 of 11 rows computed",
    ]
    assert {entry["task"] for entry in again if entry["equal"]} == {"mean", "bps"}
    assert shown["why"] == "changed: rows; 3 of 11 rows computed"


def test_of_a_domino_by_symbol_all_is_computed_where_the_snapshot_before_is_gone(new_node, server):
    node = new_node(chains={"own": own({"name": "bps", "domino": "in_basis_points"})})
    with opened(node) as one:
        first = write_snapshot(one.connection, 1)
        one.run(Job(1, "own", first))
    damage(server, node, snapshot_key(bytes.fromhex(first)))

    with opened(node) as one:
        run = one.run(Job(2, "own", write_snapshot(one.connection, 2, moved(T5Y=0.0001))))

    assert actions(run)["bps"] == "run"
    assert run.step("bps").why == "changed: rows"


def test_quotes_that_come_again_unchanged_stop_the_wave(writer, runner):
    runner.run(Job(1, "rates", write_snapshot(writer, 1)))

    run = runner.run(Job(2, "rates", write_snapshot(writer, 2)))

    assert actions(run) == {
        "day/USD-SOFR": "run",
        "curve/USD-SOFR": "reuse",
        "ladder/swaps": "reuse",
        "value/swaps": "reuse",
    }


def test_every_result_has_a_ref_that_moves_with_it_and_keeps_its_history(writer, runner):
    first = runner.run(Job(1, "rates", write_snapshot(writer, 1)))
    runner.run(Job(2, "rates", write_snapshot(writer, 2)))
    third = runner.run(Job(3, "rates", write_snapshot(writer, 3, moved(T5Y=0.0001))))
    again = runner.run(Job(1, "rates", first.snapshot, asked="somebody"))

    moves = [ref for ref in refs.moves(writer, 100) if ref.name == "curve/USD-SOFR"]
    assert {ref.name for ref in refs.standing(writer)} == set(actions(first))
    assert [(ref.move, ref.number) for ref in moves] == [(2, 3), (1, 1)]
    assert [ref.target for ref in moves] == [
        r.step("curve/USD-SOFR").output for r in (third, first)
    ]
    assert again.step("curve/USD-SOFR").output == first.step("curve/USD-SOFR").output
    assert moves[0].by == "rates, snapshot" and moves[0].snapshot == third.snapshot


def test_latest_of_a_result_is_that_of_the_greatest_cut_on_every_node(new_node):
    with opened(new_node("n1")) as n1, opened(new_node("n2")) as n2:
        for number, rates in ((1, None), (2, moved(T5Y=0.0001)), (3, None)):
            for one in (n1, n2):
                snapshot = write_snapshot(one.connection, number, rates)
            n1.run(Job(number, "rates", snapshot))
        n2.run(Job(1, "rates", write_snapshot(n2.connection, 1)))
        replicate(n1, n2)

        for one in (n1, n2):
            run, task = find_run(one.connection, "curve/USD-SOFR@latest")
            ref = decisions.resolve(
                "curve/USD-SOFR@latest", map(moving.as_decided, refs.standing(one.connection))
            )
            assert (ref.number, ref.target.hex()) == (3, run.step(task).output)
            assert refs.resolve(one.connection, "n1/curve/USD-SOFR").hex() == run.snapshot
        run, task = find_run(n2.connection, "n2/curve/USD-SOFR")
        assert (task, run.number) == ("curve/USD-SOFR", 1)


@pytest.mark.parametrize("written", ["with the record", "before it"])
def test_a_ref_does_not_move_to_an_answer_that_diverges(new_node, monkeypatch, written):
    monkeypatch.setattr(answers, "FLUSH_SECONDS", 60.0 if written == "with the record" else -1.0)
    with opened(new_node("n1")) as n1:
        snapshot = write_snapshot(n1.connection, 1)
        n1.answers.refresh()
        key = next(step.key for step in n1.plan("rates", snapshot) if step.key)
        n1.answers.find = lambda _: None  # as if the other answer came in this moment
        forge(n1, key)

        run = n1.run(Job(1, "rates", snapshot))

        assert (run.attempt, run.failed) == (2, True)
        assert [step.task for step in run.steps if step.key == key.hex()] == [
            step.task for step in run.steps if step.action == "fail"
        ]
        assert refs.standing(n1.connection) == []


def test_of_two_processes_one_computes_a_key_and_the_other_finds_its_answer(new_node):
    node, key, body = new_node(), b"k" * 32, b"answer"
    with opened(node) as one, opened(node) as other:
        assert one.answers.claim(key) is None, "it is ours to compute"
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(other.answers.claim, key)
            one.answers.keep(key, Row(blake3(body).digest()), body)
            one.answers.flush()

            assert waiting.result(60) == Row(blake3(body).digest())
        assert other.answers.body(blake3(body).digest()) == body


def test_what_is_kept_in_the_middle_of_a_run_stays_within_its_bound(new_node, monkeypatch):
    monkeypatch.setattr(answers, "FLUSH_SECONDS", -1.0)
    monkeypatch.setattr(answers, "BODIES_BYTES_MAX", 100)
    with opened(new_node()) as runner:
        for at in range(10):
            body = bytes([at]) * 60
            runner.answers.keep(bytes([at]) * 32, Row(blake3(body).digest()), body)

        assert sum(map(len, runner.answers.bodies.values())) <= 100
        assert runner.answers.body(blake3(bytes(60)).digest()) == bytes(60), "it is a fact"


def test_two_processes_that_wait_for_each_others_keys_do_not_wait_long(new_node, monkeypatch):
    monkeypatch.setattr(answers, "FLUSH_SECONDS", 60.0)
    node, keys, body = new_node(), (b"k" * 32, b"l" * 32), b"answer"
    row, both_wait = Row(blake3(body).digest()), threading.Barrier(2)
    with opened(node) as one, opened(node) as other, ThreadPoolExecutor(2) as threads:
        for runner, key in ((one, keys[0]), (other, keys[1])):
            assert runner.answers.claim(key) is None
            runner.answers.keep(key, row, body)
            commit = runner.answers._commit
            monkeypatch.setattr(
                runner.answers, "_commit", lambda commit=commit: (both_wait.wait(60.0), commit())
            )

        pairs = ((one, keys[1]), (other, keys[0]))
        waiting = [threads.submit(runner.answers.claim, key) for runner, key in pairs]

        assert [found.result(answers.CLAIM_SECONDS_MAX / 2) for found in waiting] == [row, row]


def test_who_waits_for_a_process_that_dies_computes_itself(new_node):
    node, key = new_node(), b"k" * 32
    with opened(node) as one, opened(node) as other:
        assert one.answers.claim(key) is None
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(other.answers.claim, key)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
            one.connection.close()  # as the kernel does for a process that is killed

            assert waiting.result(60.0) is None, "it is the other's to compute"


def test_who_waits_too_long_computes_as_well_and_the_answers_are_one(new_node, monkeypatch):
    node, key, body = new_node(), b"k" * 32, b"answer"
    monkeypatch.setattr(answers, "CLAIM_SECONDS_MAX", 0.2)
    with opened(node) as one, opened(node) as other:
        assert one.answers.claim(key) is None

        assert other.answers.claim(key) is None, "the claim has expired"

        for runner in (other, one):
            runner.answers.keep(key, Row(blake3(body).digest()), body)
            runner.answers.flush()
        assert read_body(one.connection, blake3(body).digest()) == body
        assert not reading.quarantined(one.connection)


MEAN = {"name": "mean", "domino": "mean"}


def own(*tasks: dict) -> dict:
    return {"modules": ["tests.services.dominoes.lab"], "tasks": [MEAN, *tasks]}


def test_a_chain_is_one_however_it_is_spelled_and_wherever_it_runs(new_node):
    twice = {"name": "twice", "domino": "scaled", "params": {"by": 2.0}}
    one = own({**twice, "reads": {"x": "mean"}, "tolerance": 1e-6})
    other = {
        **own({"name": "twice", "domino": "scaled", "needs": ["mean"]}),
        "run_in": "process",
        "modules": ["orrery_kernels.curves.dominoes", "tests.services.dominoes.lab"],
    }
    with opened(new_node("n1", {"own": one})) as n1, opened(new_node("n2", {"own": other})) as n2:
        runs = [
            node.run(Job(number, "own", write_snapshot(node.connection, number)))
            for number, node in ((1, n1), (2, n2))
        ]
        replicate(n1, n2)

        assert runs[0].declared == runs[1].declared
        assert n2.connection.execute("SELECT count(*) FROM divergences").fetchone() == (0,)
        tree = why_of(n2.connection, "twice@latest")
        assert tree["run"]["code_is_as_then"] and tree["parameters"] == {"by": 2.0}


def test_a_failure_stops_its_own_downstream_and_is_kept_under_its_attempt(new_node):
    failing = own(
        {"name": "high", "domino": "refuses_high", "reads": {"x": "mean"}},
        {"name": "after", "domino": "scaled", "reads": {"x": "high"}},
        {"name": "beside", "domino": "scaled", "reads": {"x": "mean"}},
    )
    node = new_node("n1", {"rates": RATES_CHAIN, "own": failing})
    with opened(node) as runner:
        snapshot = write_snapshot(runner.connection, 1)

        runs = [runner.run(Job(1, chain, snapshot)) for chain in ("own", "rates")]
        again = runner.run(Job(1, "own", snapshot, asked="somebody"))

        assert actions(runs[0]) == {
            "mean": "run", "high": "fail", "after": "skip", "beside": "run",
        }  # fmt: skip
        assert set(actions(runs[1]).values()) == {"run"}
        assert runs[0].step("high").why == "ValueError: must be <= 0.0, was high"
        assert (again.attempt, again.step("high").action) == (2, "fail"), "errors have no memo"
        assert again.step("high").key is None


def test_what_one_node_computed_is_found_on_another(new_node):
    with opened(new_node("n1")) as n1, opened(new_node("n2")) as n2:
        snapshot = write_snapshot(n1.connection, 1)
        computed = n1.run(Job(1, "rates", snapshot))
        assert write_snapshot(n2.connection, 1) == snapshot, "the same rows make the same snapshot"
        replicate(n1, n2)

        found = n2.run(Job(1, "rates", snapshot))

        assert set(actions(found).values()) == {"reuse"}
        assert [s.output for s in found.steps] == [s.output for s in computed.steps]


def test_both_may_compute_the_same_without_harm(new_node):
    with opened(new_node("n1")) as n1, opened(new_node("n2")) as n2:
        for one in (n1, n2):
            one.run(Job(1, "rates", write_snapshot(one.connection, 1)))

        replicate(n1, n2)

        assert n2.connection.execute("SELECT count(*) FROM divergences").fetchone() == (0,)


def test_two_answers_for_one_key_are_an_alarm_and_neither_is_served(new_node):
    with opened(new_node("n1")) as n1, opened(new_node("n2")) as n2:
        snapshot = write_snapshot(n1.connection, 1)
        write_snapshot(n2.connection, 1)
        key = next(step.key for step in n1.plan("rates", snapshot) if step.key)
        forge(n1, key)
        replicate(n1, n2)
        n2.answers.refresh()
        before = n2.answers.find(key)

        forge(n2, key, b"another")

        assert before.output == blake3(b"forged").digest()
        assert n2.connection.execute("SELECT count(*) FROM divergences").fetchone() == (1,)
        fresh = Answers(n2.connection, STREAM)
        fresh.refresh()
        assert fresh.find(key) is None


def forge(runner: Runner, key: bytes, body: bytes = b"forged") -> None:
    """Write an answer that no domino gave."""
    with contextlib.suppress(DivergenceError, DominoError):
        answers = Answers(runner.connection, STREAM)
        answers.keep(key, Row(blake3(body).digest()), body)
        answers.flush()


def test_a_corrupt_body_is_never_served_but_computed_again(node, writer, server):
    with opened(node) as runner:
        snapshot = write_snapshot(writer, 1)
        first = runner.run(Job(1, "rates", snapshot))
    curve = first.step("curve/USD-SOFR").output
    damage(server, node, f"bytes/{curve}")
    forget(server, node, f"memo/{first.step('value/swaps').key}")

    with opened(node) as runner:
        again = runner.run(Job(1, "rates", snapshot, asked="somebody"))

        assert again.step("value/swaps") == first.step("value/swaps")._replace(
            why=again.step("value/swaps").why
        )
        with pytest.raises(LostBody, match="damaged"):
            read_body(runner.connection, bytes.fromhex(curve))


def test_a_damaged_pack_fails_no_task_and_is_run_once_a_second_copy_has_come(node, writer, server):
    snapshot = write_snapshot(writer, 1)
    (pack,) = reading.facts_between(writer, "pack/", "pack0")
    damage(server, node, pack.key)
    with opened(node) as runner, pytest.raises(Damaged):
        runner.run(Job(1, "rates", snapshot))
    assert list(domino_runs.of_cuts(writer, "rates", 0)) == []

    damage(server, node, pack.key)  # the same byte, turned back
    with opened(node) as runner:
        assert not runner.run(Job(1, "rates", snapshot)).failed


def test_a_snapshot_that_is_not_held_and_a_chain_that_is_not_declared_are_named(node, writer):
    with opened(node) as runner:
        snapshot = write_snapshot(writer, 1)

        with pytest.raises(OutsideError, match="snapshot abababababab must be held"):
            runner.run(Job(1, "rates", "ab" * 32))
        with pytest.raises(ConfigError, match="'rats' is not; there are: rates"):
            runner.run(Job(1, "rats", snapshot))


@pytest.mark.parametrize(
    ("declared", "error", "message"),
    [
        ({"tasks": [MEAN], "task": 1}, ConfigError, "has 'task'"),
        ({"tasks": [{"name": "a", "domino": "mean"}]}, DominoError, "there is no domino 'mean'"),
        ({"modules": ["no.such"], "tasks": [MEAN]}, DominoError, "must be importable"),
        (own({"name": "t", "domino": "scaled", "reads": {"x": "t"}}), DominoError, "wait for each"),
        (
            own({"name": "t", "domino": "swap_value", "reads": {"curve": "mean"},
                 "params": {"trades": []}}),
            DominoError, "must be Curve, 'mean' returns float",
        ),
        (own({"name": "tag/eod", "domino": "mean"}), ConfigError, "must not begin with 'tag/'"),
        (own({"name": "a@b", "domino": "mean"}), ConfigError, "nor hold '@'"),
        (own({"name": "fx:EUR", "domino": "mean"}), ConfigError, "or ':'"),
        (own({"name": "run/a", "domino": "mean"}), ConfigError, "or 'run/'"),
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_be_is_refused_with_its_reason(declared, error, message):
    with pytest.raises(error, match=message):
        chain_from("own", declared)


def test_a_path_that_is_not_there_fails_its_task_and_names_the_nearest(new_node):
    task = {"name": "c", "domino": "quote_day", "reads": {"rows": "quote_rows/USD-SOFFR-*"}}
    with opened(new_node("n1", {"own": own(task)})) as runner:
        snapshot = write_snapshot(runner.connection, 1)

        run = runner.run(Job(1, "own", snapshot))

        assert run.step("c").action == "fail"
        assert "nearest: quote_rows/USD-SOFR" in run.step("c").why
        assert run.step("mean").action == "run"


def test_an_answer_without_reading_is_written_down_by_the_incarnation_that_gave_it(node, writer):
    first_id, second_id = write_snapshot(writer, 1), write_snapshot(writer, 2)
    nothing = filter_of(["quotes/EUR-OIS-5Y"], 1e-6).to_bytes()
    writer.execute("UPDATE snapshots SET changed = %s WHERE number = 2", (nothing,))
    with opened(node) as runner:
        first = runner.run(Job(1, "rates", first_id))
    identity.begin(writer, "n1", identity.EMPTY_DISK)  # as after the loss of a disk

    with opened(node) as runner:
        second = runner.run(Job(2, "rates", second_id))

    assert {s.why for s in second.steps} == {"no leaf that it reads can have changed since cut 1"}
    assert second.incarnation == refs.origin(writer).partition(".")[2]
    assert second.incarnation != first.incarnation


def test_a_chain_of_whose_leaves_none_can_have_changed_is_answered_without_reading_them(
    node, writer
):
    other, own = (
        filter_of([f"quotes/{name}"], 1e-6).to_bytes() for name in ("EUR-OIS-5Y", "USD-SOFR-OIS-5Y")
    )
    first_id, second_id = write_snapshot(writer, 1), write_snapshot(writer, 2)
    third_id = write_snapshot(writer, 3, moved(T5Y=0.0001))
    for number, changed in ((2, other), (3, own)):
        writer.execute("UPDATE snapshots SET changed = %s WHERE number = %s", (changed, number))

    with opened(node) as runner:
        first = runner.run(Job(1, "rates", first_id))
        second = runner.run(Job(2, "rates", second_id))
        third = runner.run(Job(3, "rates", third_id))

    assert {s.why for s in second.steps} == {"no leaf that it reads can have changed since cut 1"}
    assert [s.output for s in second.steps] == [s.output for s in first.steps]
    assert third.step("curve/USD-SOFR").action == "run"
