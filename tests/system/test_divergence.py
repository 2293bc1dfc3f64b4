"""Two owners write different contents under one name: everybody says so, and a person ends it."""

import json
import urllib.request
import uuid

import pytest
from orrery_services import clock, store
from orrery_services.protocol import facts, snapshots
from orrery_services.stack import faults
from orrery_services.store import reading

from .command import orrery, run, until_well
from .frozen import NODES
from .test_commands import SECONDS_MAX, until

pytestmark = pytest.mark.real
DIVERGED = 1  # exit code


@pytest.fixture(scope="module")
def contents(stack) -> list[facts.Fact]:
    """One key and what each node holds under it. n2 hears of the other only when it has its own."""
    stream, key = stack.settings("n1").partitions, f"{snapshots.EVENT}/rogue-{uuid.uuid4().hex}/0"
    told = [{"what": "rogue", "by": "test", "node": n, "at_ns": clock.wall_ns()} for n in NODES]
    made = [facts.plain_fact(snapshots.EVENT, stream, key, {}, snapshots.packed(x)) for x in told]
    faults.pause(stack, "n2.replication")
    try:
        for node, content in zip(NODES, made, strict=True):
            with store.connect(stack.settings(node).postgres("writer")) as writer:
                store.commit(writer, content)
    finally:
        faults.resume(stack, "n2.replication")
    for node in NODES:
        until(lambda node=node: quarantined(stack, node) == [key], f"{node} heard of both")
    return [content for (content,) in made]


def quarantined(stack, node: str) -> list[str]:
    with store.connect(stack.settings(node).postgres("reader")) as connection:
        return reading.quarantined(connection)


def diverged_keys(stack, node: str) -> float:
    url = f"{stack.settings(node).metrics_url('replication')}/metrics"
    with urllib.request.urlopen(url, timeout=SECONDS_MAX) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith("orrery_diverged_keys ")]
    return float(line.split()[1])


def test_status_says_so_and_why_and_fails(stack, contents):
    done = run(stack, "status", "--json")

    told = json.loads(done.stdout)
    assert (done.returncode, told["state"]) == (DIVERGED, "DIVERGED")
    assert {f"{node}: 1 keys have two contents" for node in NODES} <= set(told["problems"])


def test_the_figure_that_pages_somebody_is_up(stack, contents):
    for node in NODES:
        until(lambda node=node: diverged_keys(stack, node) == 1, f"the figure of {node}")


def test_converge_names_the_key_and_the_range_and_fails(stack, contents):
    key = contents[0].key

    def told() -> dict | None:
        done = run(stack, "converge", "--wait", "60", "--json")
        assert done.returncode == DIVERGED, done.stdout + done.stderr
        found = json.loads(done.stdout)
        return found if found["parts"][-1]["differ"] else None  # nothing is on its way meanwhile

    found = until(told, "a range that differs")
    assert found["state"] == "DIVERGED"
    assert found["diverged"] == {node: [key] for node in NODES}
    assert len(set(found["roots"].values())) == len(NODES)
    assert any(first <= key <= last for first, last in found["parts"][-1]["differ"])


def test_who_settles_it_on_every_node_comes_out_of_it(stack, contents):
    key, wanted = contents[0].key, contents[1].id.hex()
    listed = orrery(stack, "settle", key, "--node", "n1")["contents"]
    assert [one["id"] for one in listed] == [content.id.hex() for content in contents]
    assert [one["held"] for one in listed] == [True, False]

    for node in NODES:
        told = orrery(stack, "settle", key, "--as", wanted[:12], "--node", node)
        assert told["stays"] == wanted

    assert until_well(stack, "status", "--wait", "60")["state"] == "CONVERGED"
    found = until_well(stack, "converge", "--wait", "60")
    assert found["diverged"] == {node: [] for node in NODES}
    for node in NODES:
        with store.connect(stack.settings(node).postgres("reader")) as connection:
            assert store.fact_by_key(connection, key).id.hex() == wanted
        until(lambda node=node: diverged_keys(stack, node) == 0, f"the figure of {node}")
    events = orrery(stack, "log", "--events", "-n", "100", "--node", "n2")
    told = [event for event in events if event.get("key") == key and event["what"] == "settled"]
    assert {event["node"] for event in told} == set(NODES)
