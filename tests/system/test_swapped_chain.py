"""The demo chain by hot swap on the real stack, without a cluster: what `make up` has."""

import time

import pytest

from .command import orrery, run
from .frozen import SECONDS_MAX
from .test_dominoes import RATES, first_done, newest_number, quote

pytestmark = pytest.mark.real
TASKS = ["day", "curve", "ladder"]


@pytest.fixture(scope="module")
def snapshot(stack) -> str:
    """A snapshot of a market with quotes: one from now on, gc may have been here."""
    quote(stack, RATES)
    return first_done(stack, newest_number(stack) + 1)["n1"].snapshot


@pytest.fixture(scope="module")
def end(stack, snapshot) -> dict:
    return orrery(stack, "run", "swapped", "--on", snapshot, "--audit", "--node", "n1")


def test_every_task_goes_through_a_slot_and_its_memory_and_time_are_told(end):
    assert end["kind"] == "completed", end
    assert [(e["name"], e["slot"]) for e in end["stages"]] == list(zip(TASKS, "aba", strict=True))
    for entry in end["stages"]:
        assert entry["peak_rss_bytes"] > 10e6 and entry["run_ms"] > 0 and entry["swap_ms"] > 0


def test_what_a_slot_computed_is_what_the_lab_computes(stack, end, snapshot):
    tree = orrery(stack, "why", f"curve/USD-SOFR@{snapshot}", "--node", "n1")

    assert end["stages"][1]["output"] == tree["digest"]


def test_asked_again_nothing_is_swapped_in(stack, end, snapshot):
    again = orrery(stack, "run", "swapped", "--on", snapshot, "--node", "n1")

    assert [entry["reused"] for entry in again["stages"]] == [True] * 3
    assert again["result"]["output"] == end["result"]["output"]


def test_what_it_found_is_asked_for_by_name_on_both_nodes(stack, end):
    deadline = time.monotonic() + SECONDS_MAX
    while run(stack, "why", "curve@latest", "--node", "n2").returncode:
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.5)

    for node in ("n1", "n2"):
        tree = orrery(stack, "why", "curve@latest", "--node", node)
        assert tree["digest"] == end["stages"][1]["output"]
        assert (tree["run"]["chain"], tree["run"]["snapshot"]) == ("swapped", end["on"])
        assert tree["inputs"][0]["leaves"][0]["rows"], "down to rows in the log"


def test_the_status_lists_slot_time_and_peak_of_every_stage(stack, end):
    shown = orrery(stack, "run", "--status", "--node", "n1")["swapped"]

    own = {row["stage"]: row for row in shown if row["run"] == end["run"]}
    assert list(own) == TASKS
    assert all(row["peak MB"] > 10 and row["swap ms"] is not None for row in own.values())


def test_why_leads_from_the_end_of_the_run_to_its_snapshot_on_the_other_node_too(stack, end):
    deadline = time.monotonic() + SECONDS_MAX
    while (told := run(stack, "why", f"run/{end['run']}", "--node", "n2")).returncode:
        assert time.monotonic() < deadline, told.stdout + told.stderr
        time.sleep(0.5)

    assert "ladder = " + end["result"]["output"][:12] in told.stdout
    assert f"of snapshot {end['on'][:12]}" in told.stdout
