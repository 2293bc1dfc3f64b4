"""Memo and runs as facts of a real Postgres: what one node computed, another one finds."""

from collections.abc import Iterator

import pytest
from orrery_services import apart, store
from orrery_services.config import Settings, load_settings
from orrery_services.errors import DivergenceError, OutsideError
from orrery_services.hotswap import chain, fact_runs, steps
from orrery_services.hotswap.fact_runs import FactRuns, Published
from orrery_services.hotswap.runs import FileRuns
from orrery_services.memo.fact_memo import FactMemo, TieredMemo
from orrery_services.memo.store import FileMemo
from orrery_services.protocol import facts, stages
from orrery_services.protocol.answers import MEMO, bytes_key, memo_key, memo_meta
from orrery_services.snapshots import collecting
from orrery_services.store import identity, reading

from tests.services.store.server import Server

KEY = "ab" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.remove()


@pytest.fixture
def node(server, tmp_path, monkeypatch) -> Settings:
    """A node with tables of its own; the environment names it, for the children that write."""
    database = server.new_database()
    with store.connect(server.conninfo(database, "orrery_writer")) as connection:
        identity.begin(connection, "n1", identity.EMPTY_DISK)
    for role in ("orrery_writer", "orrery_reader", "orrery_gc"):
        (tmp_path / role).write_text("trusted")
    env = {
        "ORRERY_NODE": "n1",
        "ORRERY_POSTGRES_HOST": "127.0.0.1",
        "ORRERY_POSTGRES_PORT": str(server.port),
        "ORRERY_POSTGRES_DATABASE": database,
        "ORRERY_SECRETS": str(tmp_path),
        "ORRERY_HOME": str(tmp_path / "home"),
    }
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("ORRERY_SCRATCH", "/not/a/setting")
    return load_settings()


def test_an_answer_is_found_under_its_key_with_its_bytes(node, tmp_path):
    memo = FactMemo(node)
    (tmp_path / "x").write_bytes(b"answer" * 200_000)  # larger than a row: in pieces
    digest = blake3_of(tmp_path / "x")

    memo.put(KEY, digest, tmp_path / "x")

    assert memo.digest_of(KEY) == digest
    assert memo.digest_of("cd" * 32) is None
    assert memo.fetch(digest, tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == b"answer" * 200_000
    assert not memo.fetch("cd" * 32, tmp_path / "z")


def blake3_of(path) -> str:
    from orrery_services import scratch

    return scratch.digest_file(str(path))[0]


def test_the_same_answer_twice_is_one_fact_and_another_one_is_an_alarm(node, tmp_path):
    memo = FactMemo(node)
    for name, data in (("one", b"1"), ("two", b"2")):
        (tmp_path / name).write_bytes(data)
    memo.put(KEY, blake3_of(tmp_path / "one"), tmp_path / "one")
    memo.put(KEY, blake3_of(tmp_path / "one"), tmp_path / "one")

    with pytest.raises(DivergenceError, match=f"memo/{KEY[:8]}"):
        memo.put(KEY, blake3_of(tmp_path / "two"), tmp_path / "two")

    assert memo.digest_of(KEY) is None, "neither is served"


def test_keys_are_listed_from_where_one_was_per_origin(node, tmp_path):
    memo = FactMemo(node)
    (tmp_path / "x").write_bytes(b"1")
    keys = [stages.stage_key("c", {}, [str(n)]) for n in range(2)]
    memo.put(keys[0], blake3_of(tmp_path / "x"), tmp_path / "x")
    first, cursor = memo.keys_since(0)
    memo.put(keys[1], blake3_of(tmp_path / "x"), tmp_path / "x")

    again, cursor = memo.keys_since(cursor)

    assert (first, again) == ([keys[0]], [keys[1]])
    assert memo.keys_since(cursor)[0] == []


def test_near_answers_first_and_both_remember(node, tmp_path):
    near, far = FileMemo(tmp_path / "memo"), FactMemo(node)
    memo = TieredMemo(near, far)
    (tmp_path / "x").write_bytes(b"1")
    digest = blake3_of(tmp_path / "x")

    memo.put(KEY, digest, tmp_path / "x")

    assert near.digest_of(KEY) == far.digest_of(KEY) == memo.digest_of(KEY) == digest
    elsewhere = TieredMemo(FileMemo(tmp_path / "other machine"), far)
    assert elsewhere.digest_of(KEY) == digest
    assert elsewhere.fetch(digest, tmp_path / "y")
    assert elsewhere.keys_since(0)[0] == [KEY]


def a_run(name: str = "20260101t000000.000-daisy-ab", node: str = "n1") -> chain.Run:
    declared = {"run_in": "pod", "tasks": [{"name": "s1", "image": "r/x@sha256:" + "1" * 64}]}
    read = chain.read_chain("daisy", declared)
    return chain.start_run(read, name, "eod", KEY)._replace(node=node)


def test_a_run_is_open_until_its_end_is_a_fact_and_attempts_are_counted(node):
    runs, run = FactRuns(node), a_run()
    runs.request(run)
    runs.request(run)
    assert runs.open_runs() == [run]

    runs.emit(steps.run_event("started", run, (), {"pod": "domino-0"}))
    assert [open_run.attempt for open_run in runs.open_runs()] == [2]

    end = steps.run_event("completed", run, (), {"status": "completed", "output": KEY})
    assert runs.emit(end)
    assert not runs.emit(end)
    assert runs.open_runs() == []
    assert [event["kind"] for event in runs.events(run.id)] == ["started", "completed"]
    assert [r.id for r in runs.history()] == [run.id]


def test_a_run_that_belongs_to_another_universe_is_left_to_it(node):
    runs = FactRuns(node)

    runs.request(a_run(node="n2"))

    assert runs.open_runs() == []
    assert len(runs.history()) == 1


def ask(node: Settings, *wanted: chain.Run) -> None:
    """Write requests as facts of this node, without a child for each."""
    with store.connect(node.postgres("writer")) as connection:
        for run in wanted:
            store.commit(connection, request_of(node, run))


def request_of(node: Settings, run: chain.Run) -> list[facts.Fact]:
    key, text = f"run/{run.id}/request", chain.encode_run(run)
    return facts.plain_fact("run", node.partitions, key, {}, text.encode())


def test_however_many_runs_of_others_are_open_those_of_this_node_are_found(node, monkeypatch):
    monkeypatch.setattr(fact_runs, "OPEN_MAX", 2)
    ask(node, *(a_run(f"20260101t00000{n}.000-daisy-ab", "n2") for n in range(3)))
    ask(node, a_run("20260101t000009.000-daisy-ab"))

    assert [run.id[:15] for run in FactRuns(node).open_runs()] == ["20260101t000009"]


def test_all_requests_are_read_once_and_then_what_is_new_or_unfinished(node, monkeypatch):
    runs, asked = FactRuns(node), []
    ask(node, a_run("20260101t000001.000-daisy-ab"), a_run("20260101t000005.000-daisy-ab"))
    assert len(runs.open_runs()) == 2
    rows = runs._rows
    monkeypatch.setattr(runs, "_rows", lambda *told: asked.append(told) or rows(*told))

    ask(node, a_run("20260101t000000.000-daisy-ab"))  # named before those that are known
    runs.emit(steps.run_event("failed", a_run("20260101t000001.000-daisy-ab"), (), {}))
    found = [[run.id[:15] for run in runs.open_runs()] for _ in range(2)]

    assert found == [["20260101t000000", "20260101t000005"]] * 2
    assert fact_runs._UNFINISHED not in [question for question, *_ in asked]
    (last,) = [values for question, *values in asked if question == fact_runs._OF_RUNS][-1]
    assert [name[:15] for name in last] == ["20260101t000000", "20260101t000005"]


def test_a_request_that_fills_a_hole_of_another_node_is_found(node, monkeypatch):
    monkeypatch.setattr(fact_runs, "NUMBERS_AT_ONCE", 1)
    runs = FactRuns(node)
    (wanted,) = request_of(node, a_run())
    (other,) = facts.plain_fact("event", node.partitions, "event/x/1/1", {}, b"{}")
    with store.connect(node.postgres("writer")) as connection:
        arrive(connection, other, 2, contiguous=0)
        assert runs.open_runs() == runs.open_runs() == []

        arrive(connection, wanted, 1, contiguous=2)

    assert [run.id for run in runs.open_runs()] == [a_run().id]


def arrive(connection, fact: facts.Fact, number: int, contiguous: int) -> None:
    connection.execute(
        "INSERT INTO facts (id, kind, origin, stream, oseq, key, payload) "
        "VALUES (%b, %s, 'n2.x', %s, %s, %s, %b)",
        (fact.id, fact.kind, fact.stream, number, fact.key, fact.payload),
    )
    connection.execute(
        "INSERT INTO origins (origin, stream, contiguous, greatest) VALUES ('n2.x', %s, %s, 2) "
        "ON CONFLICT (origin, stream) DO UPDATE SET contiguous = excluded.contiguous",
        (fact.stream, contiguous),
    )


def test_runs_of_plain_processes_end_as_facts_too(node, tmp_path):
    far = FactRuns(node)
    runs, run = Published(FileRuns(tmp_path / "runs"), far), a_run()
    runs.request(run)

    runs.emit(steps.run_event("failed", run, (), {"status": "failed", "class": "image"}))

    assert runs.open_runs() == []
    assert [event["kind"] for event in far.events(run.id)] == ["failed"]


def test_postgres_away_is_said_in_one_line_and_comes_back(node, server, tmp_path):
    runs = FactRuns(node)
    runs.request(a_run())
    server.stop()
    with pytest.raises(OutsideError, match="does not answer"):
        runs.open_runs()

    server.start()

    assert len(runs.open_runs()) == 1


def test_a_key_whose_bytes_never_came_or_expired_is_unknown(node):
    apart.write(MEMO, memo_key(KEY), memo_meta("cd" * 32))

    assert FactMemo(node).digest_of(KEY) is None


def test_a_key_whose_bytes_gc_has_removed_is_unknown_and_they_are_not_fetched(node, tmp_path):
    memo = FactMemo(node)
    (tmp_path / "x").write_bytes(b"answer")
    digest = blake3_of(tmp_path / "x")
    memo.put(KEY, digest, tmp_path / "x")

    with store.connect(node.postgres("gc")) as collector:
        body = collecting.Body(bytes_key(digest), "", 0, 0, 0)
        collecting.remove(collector, [body], now_ns=10**18)

    assert memo.digest_of(KEY) is None
    assert not memo.fetch(digest, tmp_path / "y")


def test_a_request_of_another_release_holds_up_none_of_the_others(node):
    runs = FactRuns(node)
    runs._write("run/20250101t000000.000-newer-00/request", '{"colour":1,"stages":[]}')
    runs.request(a_run())

    assert [run.id for run in runs.open_runs()] == [a_run().id]
    assert [run.id for run in runs.history()] == [a_run().id]


def test_of_two_ends_written_at_the_same_moment_the_first_stands(node, monkeypatch):
    runs, run = FactRuns(node), a_run()
    runs.request(run)
    assert runs.emit(steps.run_event("failed", run, (), {"class": "lost"}))
    late = FactRuns(node)
    monkeypatch.setattr(late, "_rows", lambda *_: [])  # it looked a moment before

    assert not late.emit(steps.run_event("completed", run, (), {"output": KEY}))

    assert [event["kind"] for event in runs.events(run.id)] == ["failed"]
    with store.connect(node.postgres("reader")) as connection:
        assert reading.quarantined(connection) == [], "it is no alarm"


def test_of_two_starts_of_one_attempt_the_first_stands_and_it_is_no_alarm(node, monkeypatch):
    runs, late, run = FactRuns(node), FactRuns(node), a_run()
    assert runs.emit(steps.run_event("started", run, (), {"pod": "domino-0"}))
    monkeypatch.setattr(late, "_rows", lambda *_: [])

    assert not late.emit(steps.run_event("started", run, (), {"pod": "domino-1"}))

    assert [event["result"]["pod"] for event in runs.events(run.id)] == ["domino-0"]
    with store.connect(node.postgres("reader")) as connection:
        assert reading.quarantined(connection) == []
