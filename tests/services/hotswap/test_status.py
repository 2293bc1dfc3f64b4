"""What people see of runs: a row per stage, from the pod while it runs, from its record after."""

from dataclasses import replace

import pytest
import typer
from orrery_services.cli import run, run_status
from orrery_services.config import load_settings
from orrery_services.errors import ConfigError
from orrery_services.hotswap import drivers, pods, steps
from orrery_services.hotswap.runs import FileRuns
from orrery_services.protocol import stages
from rich.console import Console
from typer.testing import CliRunner

from .objects import a_pod_at, a_run, container, ended, image, swap

DAISY = {"daisy": {"run_in": "pod", "tasks": [{"name": "a", "command": ["true"]}]}}


def states(pod: dict) -> list[str]:
    return [row["state"] for row in run_status.live_rows(pods.look(pod))]


def test_a_run_on_its_way_shows_done_running_and_waiting_stages():
    assert states(a_pod_at(2, container("slot-b", 2, False))) == [
        "done 00000000", "running", "waiting",
    ]  # fmt: skip


def test_a_stage_under_swap_a_repeated_one_and_a_preloaded_one_can_be_told_apart():
    creating = container("slot-a", 1, False, {"waiting": {"reason": "ErrImagePull"}})
    again = container("slot-a", 3, False, None, ended("slot-a", 2, 7))
    preloaded = {
        "noted": {"token-b": "run-1/2/1", "swap-b": swap(2, "slot-b")},
        "images": {"slot-b": image(2)},
        "statuses": [container("slot-b", 2, False)],
    }

    assert states(a_pod_at(1, creating))[0] == "swapping ErrImagePull"
    assert states(a_pod_at(1, again))[0] == "again, exit 7"
    assert states(a_pod_at(1, container("slot-a", 2, False), **preloaded))[1] == "preloaded"


def test_a_run_that_ended_shows_what_was_reused_and_why_it_failed():
    run = a_run()
    trail = ({"stage": 1, "name": "s1", "output": "ab" * 32, "reused": True},)
    result = {
        "status": "failed",
        "stage": 2,
        "class": "permanent",
        "why": "no quotes",
        "exit_code": 70,
    }

    rows = run_status.ended_rows(run, [steps.run_event("failed", run, trail, result)])

    assert [row["memo"] for row in rows] == ["hit", ""]
    assert rows[1]["stage"] == "s2"
    assert rows[1]["state"] == "failed: permanent, exit 70: no quotes"
    assert run_status.ended_rows(run, [])[0]["state"] == "asked for"


def test_a_run_on_its_way_elsewhere_says_where_it_was_started():
    run = a_run(node="n2")
    started = steps.run_event("started", run, (), {"pod": "domino-0"})

    (row,) = run_status.ended_rows(run, [started])

    assert row["state"] == "started in domino-0 on n2"


def test_a_run_whose_pod_was_evicted_says_so_until_the_next_attempt_has_begun():
    run, why = a_run(node="n2"), "Evicted: the node was low on resource: memory"
    started = steps.run_event("started", run, (), {"pod": "domino-0"})
    lost = steps.run_event("lost", run, (), {"pod": "domino-0", "why": why})
    again = steps.run_event("started", run._replace(attempt=2), (), {"pod": "domino-1"})

    states = [run_status.ended_rows(run, told)[0]["state"] for told in (
        [lost, started], [lost, started, again],
    )]  # fmt: skip

    assert states == [f"begun anew after {why}", "started in domino-1 on n2"]


def test_who_may_not_look_at_pods_sees_what_is_written_down_and_is_told(monkeypatch, capsys):
    """A pod of ours without a token, as `kubectl exec deploy/packer -- orrery run --status` is."""
    monkeypatch.setenv("ORRERY_HOTSWAP_DRIVER", "kubernetes")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")

    assert run_status.pods_with_runs(load_settings("n1")) == []

    said = capsys.readouterr().err
    assert "stages on their way are not shown: no Kubernetes to be found" in said


def test_a_run_that_belongs_to_another_node_is_asked_for_and_waited_for_there(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("ORRERY_HOME", str(tmp_path))
    settings = replace(load_settings("n1"), routing={"dominoes": {"daisy": "n2"}}, dominoes=DAISY)

    run = run_status.ask(settings, "daisy", "ab" * 32, b"input")
    theirs = FileRuns(tmp_path / "hotswap" / "n2" / "runs")
    theirs.emit(steps.run_event("completed", theirs.open_runs()[0], (), {"status": "completed"}))

    assert run.node == "n2"
    assert run_status.outcome(settings, run.id, 5.0, run.node)["kind"] == "completed"


def test_a_chain_that_cannot_be_read_stops_none_of_the_others(monkeypatch, tmp_path):
    monkeypatch.setenv("ORRERY_HOME", str(tmp_path))
    bad = {"run_in": "pod", "tasks": [{"name": "a", "command": "not a list"}]}
    settings = replace(load_settings("n1"), dominoes={"bad": bad, **DAISY})

    found, refused = drivers.read_chains(settings)

    assert (list(found), list(refused)) == (["daisy"], ["bad"])
    assert run_status.ask(settings, "daisy", "ab" * 32, b"input").chain == "daisy"
    with pytest.raises(ConfigError, match="command must be a list of texts"):
        run_status.ask(settings, "bad", "ab" * 32, b"input")
    with pytest.raises(ConfigError, match=r"was 'other'; there are \['daisy'\]"):
        run_status.ask(settings, "other", "ab" * 32, b"input")


@pytest.mark.parametrize("name", ["Daily.Curve_2", "x" * 100, "Ω curve", "a/b"])
def test_whatever_a_chain_is_called_its_runs_have_names(name):
    assert stages.is_run_name(run_status.new_run_id(name, "ab" * 32, 1_700_000_000_000_000_000))


def test_the_table_fits_a_narrow_terminal():
    rows = run_status.live_rows(pods.look(a_pod_at(2, container("slot-b", 2, False))))
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123

    console.print(run_status.table_of(rows))

    text = console.export_text()
    assert "done 00000000" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_first_end_of_a_run_stands(tmp_path):
    """Two controllers, one of them late, may see it end in two ways."""
    runs = FileRuns(tmp_path)
    run = a_run(1)
    runs.request(run)

    first = runs.emit(steps.run_event("failed", run._replace(attempt=4), (), {"class": "lost"}))
    late = runs.emit(steps.run_event("completed", run._replace(attempt=3), (), {}))

    assert (first, late) == (True, False)
    assert [event["kind"] for event in runs.events(run.id)] == ["failed"]
    assert runs.open_runs() == []


@pytest.mark.parametrize("words", [["daisy", "--watch"], ["--watch", "--json"]])
def test_a_watch_that_was_to_start_a_run_or_to_speak_to_a_program_is_refused(words):
    app = typer.Typer()
    run.register(app)

    done = CliRunner().invoke(app, words)

    assert isinstance(done.exception, ConfigError)
    assert "starts nothing" in str(done.exception)


def test_the_status_of_a_chain_is_of_that_chain_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("ORRERY_HOME", str(tmp_path))
    tulip = {"tulip": DAISY["daisy"]}
    settings = replace(load_settings("n1"), dominoes={**DAISY, **tulip})
    for name in ("daisy", "tulip"):
        run_status.ask(settings, name, "ab" * 32, b"input")

    (row,) = run_status.rows(settings, "tulip")

    assert "tulip" in row["run"]
    assert len(run_status.rows(settings)) == 2
