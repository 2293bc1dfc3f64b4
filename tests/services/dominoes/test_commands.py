"""The commands of people over results and snapshots of a real Postgres: odd input, in process."""

import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
from blake3 import blake3
from orrery_services import clock, store
from orrery_services.cli import common, main, run, run_status
from orrery_services.dominoes.running import Runner
from orrery_services.dominoes.steps import Job
from orrery_services.hotswap import domino_stage, drivers, steps
from orrery_services.hotswap.fact_runs import FactRuns
from orrery_services.memo.fact_memo import FactMemo
from orrery_services.node import Node
from orrery_services.store import domino_runs, refs

from .market import RATES, RATES_CHAIN, write_snapshot
from .test_asking import empty_what_may_go

SWAPPED = {
    "run_in": "container",
    "tasks": [
        {"name": "day", "domino": "quote_day"},
        {"name": "curve", "domino": "ois_curve", "reads": {"day": "day"}, "deadline_s": 60},
    ],
}


class Said(NamedTuple):
    code: int
    out: str
    error: str

    @property
    def document(self) -> dict:
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))


@pytest.fixture
def orrery(new_node, monkeypatch, capsys) -> Callable[..., Said]:
    """Say something at the command line of a node, as a person does."""
    node = new_node("n1", {"rates": RATES_CHAIN, "swapped": SWAPPED})
    monkeypatch.setenv("ORRERY_NODE", "n1")
    monkeypatch.setenv("ORRERY_UNIVERSE", str(node.universe))
    monkeypatch.setenv("ORRERY_SECRETS", str(node.secret_file("writer").parent))
    monkeypatch.setenv("ORRERY_HOME", str(node.home))
    for key in ("host", "port", "database"):
        monkeypatch.setenv(f"ORRERY_POSTGRES_{key.upper()}", str(node.values[f"postgres.{key}"]))

    def said(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["orrery", *words])
        with pytest.raises(SystemExit) as left:
            main.main()
        found = capsys.readouterr()
        return Said(left.value.code or 0, found.out, found.err)

    said.node = node
    return said


@pytest.fixture
def made(orrery) -> list[str]:
    """Two snapshots, and the chain run on both."""
    runner = Runner(orrery.node)
    found = [write_snapshot(runner.connection, number) for number in (1, 2)]
    for number, id_ in enumerate(found, 1):
        assert not runner.run(Job(number, "rates", id_)).failed
    runner.close()
    return found


def test_a_dry_run_of_a_chain_that_runs_in_a_pod_starts_nothing(orrery, made):
    said = orrery("run", "swapped", "--dry-run")

    assert said.code == 2 and "nothing was started" in said.error
    assert not list(orrery.node.home.rglob("*.json"))


def swapped(node, snapshot: str, kind: str = "completed") -> dict:
    """Run a swapped chain as its slots and its controller do; return the end of the run."""
    with Node(settings=node) as found:
        capsule, laid_out = run._capsule(found, "swapped", bytes.fromhex(snapshot))
    declared, digest = run._keep_declared(node, laid_out), blake3(capsule).hexdigest()
    name = run_status.new_run_id("swapped", digest, clock.wall_ns())
    asked = drivers.start_run(node, "swapped", name, snapshot, digest, declared=declared)
    outputs: dict[str, bytes] = {}
    for task in laid_out.tasks:
        needed = {name: outputs[name] for name in task.upstream}
        body = outputs[task.name] = domino_stage.run_task(capsule, task.name, needed)
        FactMemo(node).put_bytes(blake3(body).hexdigest(), body)
    trail = tuple(
        {"stage": at, "name": task, "output": blake3(body).hexdigest(), "key": "", "inputs": [],
         "slot": "a", "run_ms": 1.5}
        for at, (task, body) in enumerate(outputs.items(), 1)
    )  # fmt: skip
    end = steps.run_event(kind, asked, trail, {"status": kind, "class": "image", "why": "gone"})
    FactRuns(node).emit(end)
    return end


def test_what_a_swapped_run_found_is_asked_for_by_name_like_any_result(orrery, made):
    two = made[1]
    end = swapped(orrery.node, two)
    digest = end["stages"][1]["output"]
    FactRuns(orrery.node).emit(end)

    tree = orrery("why", "curve@latest", "--json").document
    with store.connect(orrery.node.postgres("reader")) as reader:
        standing = {ref.name: ref for ref in refs.standing(reader)}
        (record,) = domino_runs.of_snapshot(reader, two, 2)[1:]

    assert tree["digest"] == digest and tree["run"]["code_is_as_then"]
    assert [found["input"] for found in tree["inputs"]] == ["quotes", "day"]
    assert orrery("show", "curve@latest", "--json").document["digest"] == digest
    assert orrery("show", "n1/curve", "--json").document["id"] == two
    assert (standing["curve"].target, standing["curve"].move) == (digest, 1)
    assert standing["curve"].by == f"swapped, run {end['run']}"
    assert (record.chain, record.attempt, record.counts) == ("swapped", 1, {"run": 2})
    assert orrery("replay", two, "--verify", "--json").document["results"] == 6


def test_a_swapped_run_moves_refs_by_the_rule_and_only_when_it_completed(orrery, made):
    one, two = made
    swapped(orrery.node, two)

    swapped(orrery.node, one)
    failed = swapped(orrery.node, two, "failed")
    elsewhere = {**failed, "kind": "completed", "run": failed["run"] + "-x", "on": "ab" * 32}
    assert FactRuns(orrery.node).emit(elsewhere), "it ends, wherever its snapshot is"
    swapped(orrery.node, two)

    moves = orrery("log", "--refs", "--json", "-n", "100").document
    assert [ref["snapshot"] for ref in moves if ref["name"] == "curve"] == [two]
    with store.connect(orrery.node.postgres("reader")) as reader:
        runs = [r for r in domino_runs.of_snapshot(reader, two, 2) if r.chain == "swapped"]
    assert [run.attempt for run in runs] == [1, 2]


def test_an_id_is_known_in_capitals_and_a_name_goes_before_an_id_that_begins_so(orrery, made):
    one, two = made
    assert orrery("tag", one, two[:6]).code == 0

    assert orrery("show", two[:8].upper(), "--json").document["id"] == two
    assert orrery("show", two[:6], "--json").document["id"] == one, "the tag"
    assert orrery("show", two.upper(), "--json").document["id"] == two
    assert orrery("show", f"{two[:8].upper()}:quotes/USD-SOFR-OIS-5Y").code == 0


def test_a_tag_that_would_mean_something_else_is_refused(orrery, made):
    taken = ["latest", "ab" * 32, "AB" * 32]
    odd = ["", "end of day", "eod/x", "eod@1", "\N{SNOWMAN}", "x" * 101]

    said = {name: orrery("tag", made[0], name) for name in taken + odd}

    assert {one.code for one in said.values()} == {2}
    assert all("must not be 'latest' nor a whole id" in said[name].error for name in taken)
    assert all("must match" in said[name].error for name in odd)


def test_a_tag_that_is_taken_says_where_it_is_and_how_to_move_it(orrery, made):
    one, two = made
    orrery("tag", one, "eod")

    taken, moved = orrery("tag", two, "eod"), orrery("tag", two, "eod", "--move", "--json")

    assert taken.code == 2
    assert "is at " + one[:12] in taken.error and "--move" in taken.error
    assert moved.document["move"] == 2
    assert orrery("show", "eod", "--json").document["id"] == two


def test_who_names_a_snapshot_whose_leaves_went_is_told(orrery, made, server):
    runner = Runner(orrery.node)
    higher = {name: rate + 0.0001 for name, rate in RATES.items()}
    third = write_snapshot(runner.connection, 3, higher)
    assert not runner.run(Job(3, "rates", third)).failed
    empty_what_may_go(runner, server)
    runner.close()

    gone, there = orrery("tag", made[0], "gone"), orrery("tag", third, "there")

    assert (gone.code, there.code) == (0, 0)
    assert "not all of its leaves are here" in gone.error and there.error == ""


def test_who_has_no_name_is_named_by_number(monkeypatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 4711)

    assert common.person() == "user 4711"


ODD = [
        ("show", ""), ("show", "abc"), ("show", "f" * 5000), ("show", "x" * 5000),
        ("show", "../../etc/passwd"), ("show", "latest:"), ("show", "latest:../quotes/x"),
        ("show", "latest:quotes"), ("show", "latest:quotes/" + "y" * 5000), ("show", ":"),
        ("show", "\N{CHART WITH UPWARDS TREND}"), ("show", "latest:quotes/\N{SNOWMAN}"),
        ("show", "@latest"), ("show", "curve/USD-SOFR@nowhere"), ("show", "\udcff"),
        ("show", "%"), ("show", "latest:quotes/%"), ("show", "ffff"),
        ("why", ""), ("why", "latest"), ("why", "eod"), ("why", "latest:quotes/USD-SOFR-OIS-5Y"),
        ("why", "curve/USD-SOFFR"), ("why", "run/"), ("why", "run/.."),
        ("why", "run/" + "a" * 5000), ("why", "run/x/y/z"), ("why", "x@y@z"), ("why", "::"),
        ("diff", "latest", "nothing"), ("diff", ""), ("tag", "nothing", "eod"),
        ("run", "rats"), ("run", "rates", "--on", "nothing"), ("run", ""), ("run",),
        ("replay", "latest"), ("replay", "nothing", "--verify"),
        ("gc", "--keep", "", "--dry-run"), ("gc", "--keep", "everything", "--dry-run"),
        ("gc", "--keep", "tags,", "--dry-run"), ("gc", "--keep", "last -1", "--dry-run"),
        ("history", "curve/USD-SOFR", "--from", "yesterday"),
        ("history", "curve/USD-SOFR", "--from", "9" * 5000),
        ("history", "curve/USD-SOFR", "--from", "2026-13-01"),
        ("history", "curve/USD-SOFR", "--from", "1", "--to", "0"),
        ("log", "-n", "0"), ("log", "-n", "many"),
]  # fmt: skip


def test_what_cannot_be_is_refused_in_one_line_without_a_traceback(orrery, made):
    found = {words: orrery(*words) for words in ODD}

    for words, said in found.items():
        assert said.code in (1, 2) and said.out == "", words
        assert said.error.strip() and "Traceback" not in said.error, words
    assert "a policy is made of" in found["gc", "--keep", "", "--dry-run"].error
    assert "nearest sections: quotes" in found["show", "latest:quotes"].error
    assert "there are: curve/USD-SOFR" in found["why", "curve/USD-SOFFR"].error
    assert "run/ID/stage" in found["why", "run/.."].error
    assert "must be UTF-8" in found["show", "\udcff"].error


def test_a_result_that_has_failed_for_long_is_asked_for_where_its_ref_is(orrery, made, monkeypatch):
    monkeypatch.setattr(domino_runs, "LOOK_BACK_MAX", 2)
    runner = Runner(orrery.node)
    for number in (3, 4, 5):
        empty = write_snapshot(runner.connection, number, {"EUR-ESTR-OIS-1Y": 0.02})
        assert runner.run(Job(number, "rates", empty)).failed
    runner.close()

    tree = orrery("why", "curve/USD-SOFR@latest", "--json").document

    with store.connect(orrery.node.postgres("reader")) as reader:
        target = refs.latest_of(reader, "curve/USD-SOFR").target
    assert tree["digest"] == target
    assert orrery("show", "curve/USD-SOFR@latest", "--json").document["digest"] == target
