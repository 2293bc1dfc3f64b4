"""Cuts and snapshots on the real stack: one id on both nodes, whatever is killed in between."""

import json
import time
import uuid

import pytest
from confluent_kafka import Producer
from orrery_kernels import Chain
from orrery_services import bus, store
from orrery_services.node import Node
from orrery_services.protocol import facts, snapshots
from orrery_services.snapshots import steps
from orrery_services.stack import faults
from orrery_services.store import reading
from orrery_services.store import snapshots as made_here

from .command import orrery
from .frozen import NODES, SECONDS_MAX, fired, made, replayed

pytestmark = pytest.mark.real
KILLED = ("packer", "analytics", "snapshots")


def produce(settings, rows: dict[str, float], topic: str = "market_quotes") -> None:
    producer = Producer({"bootstrap.servers": settings.kafka, "partitioner": "murmur2_random"})
    for symbol, value in rows.items():
        fields = {"symbol": symbol} | (
            {"value": value} if topic == "market_quotes" else {"price": value, "size": 1}
        )
        producer.produce(topic, json.dumps(fields).encode(), symbol)
    assert producer.flush(SECONDS_MAX) == 0


def wait_for(stack, numbers: set[int]) -> dict[str, dict[int, bytes]]:
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        both = {node: made(stack, node) for node in NODES}
        if all(numbers <= both[node].keys() for node in NODES):
            return both
        assert time.monotonic() < deadline, {n: sorted(numbers - both[n].keys()) for n in NODES}
        time.sleep(0.3)


@pytest.fixture(scope="module")
def quotes(stack) -> dict[str, float]:
    """Market quotes of this run, in the log before any cut of these tests."""
    tag = f"T{uuid.uuid4().hex[:8]}"
    found = {f"{tag}-{tenor}Y": 0.03 + tenor / 1000 for tenor in range(1, 31)}
    produce(stack.settings("n1"), found)
    produce(stack.settings("n1"), {f"{tag}-TRADED": 7.0}, "trades")
    return found


def test_a_snapshot_by_hand_is_the_same_on_both_nodes_and_holds_what_lies_below_the_cut(
    stack, quotes
):
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        told = orrery(stack, "snapshot", "--wait", str(SECONDS_MAX))
        both = wait_for(stack, {told["number"]})
        with Node(settings=stack.settings("n2")) as node:
            table = node.snapshot(told["id"]).table("quotes").to_pylist()
            rows = node.snapshot(told["id"]).table("quote_rows").to_pylist()
        found = {row["name"]: row["value"] for row in table if row["name"] in quotes}
        if len(found) == len(quotes) or time.monotonic() > deadline:
            break  # the packer may have cut before the quotes had reached it

    assert {both[node][told["number"]].hex() for node in NODES} == {told["id"]}
    assert found == quotes
    assert {row["topic"] for row in rows if row["name"] in quotes} == {"market_quotes"}


def test_static_data_are_in_every_snapshot_the_same_on_both_nodes(stack, quotes):
    declared = stack.settings("n1").values["data.static"]["instruments"]

    told = orrery(stack, "snapshot", "--wait", str(SECONDS_MAX))
    wait_for(stack, {told["number"]})
    tables = []
    for name in NODES:
        with Node(settings=stack.settings(name)) as node:
            rows = node.snapshot(told["id"]).table("static").to_pylist()
            tables.append({row.pop("name"): row for row in rows})

    assert tables[0] == tables[1]
    assert tables[0] == {f"instruments/{name}": values for name, values in declared.items()}


def test_killing_who_makes_them_loses_no_snapshot_and_doubles_none(stack, quotes):
    settings = stack.settings("n1")

    for number in range(3):
        orrery(stack, "snapshot", "--wait", str(SECONDS_MAX))
        produce(settings, {name: value + number / 100 for name, value in quotes.items()})
        faults.kill(stack, f"n1.{KILLED[number]}")
        faults.kill(stack, f"n2.{KILLED[-1 - number]}")
    stack.wait([f"{node}.{part}" for node in NODES for part in KILLED], SECONDS_MAX)
    wanted = fired(settings)
    both = wait_for(stack, {cut.number for cut in wanted})

    assert len({cut.id for cut in wanted}) == len(wanted) >= 4
    for cut in wanted:
        assert both["n1"][cut.number] == both["n2"][cut.number], cut
    for node in NODES:
        with store.connect(stack.settings(node).postgres("reader")) as connection:
            assert reading.quarantined(connection) == []
            records = list(made_here.records(connection, store.who(connection).origin))
        assert len({record.number for record in records}) == len(records) >= len(wanted)


def test_the_log_read_again_makes_the_same_ids(stack, quotes):
    settings = stack.settings("n1")
    wanted = fired(settings)[-3:]
    both = wait_for(stack, {cut.number for cut in wanted})
    chain = Chain(settings.chains["default"])
    log_id = bus.log_ids(bus.admin(settings.kafka), ["ticks"])["ticks"]
    leaves: dict[int, dict[tuple[str, int], snapshots.Leaf]] = {}

    for partition in range(settings.partitions):
        for fact in replayed(settings, chain, log_id, partition):
            if fact.kind == snapshots.LEAF:
                leaf = snapshots.leaf_of(facts.data_of(fact.payload, None))
                name = facts.chain_id(chain.digest)
                leaves.setdefault(leaf.number, {})[name, partition] = leaf

    for cut in wanted:
        again = steps.complete(cut, leaves[cut.number], settings.partitions, None)
        assert again.frozen.id == both["n1"][cut.number]


def test_people_can_name_compare_show_and_remove_snapshots(stack, quotes):
    name = next(iter(quotes))
    before = orrery(stack, "snapshot", "--wait", str(SECONDS_MAX))
    orrery(stack, "tag", before["id"][:12], f"eod-{name}")
    produce(stack.settings("n1"), {name: 0.5})
    deadline = time.monotonic() + SECONDS_MAX
    changes: list[dict] = []
    while not changes and time.monotonic() < deadline:
        after = orrery(stack, "snapshot", "--wait", str(SECONDS_MAX))
        told = orrery(stack, "diff", f"eod-{name}", after["id"])
        changes = [leaf for leaf in told["leaves"] if leaf["path"] == f"quotes/{name}"]

    shown = orrery(stack, "show", f"{after['id'][:12]}:quotes/{name}")
    listed = orrery(stack, "log", "-n", "1000")
    collected = orrery(stack, "gc", "--keep", "tags, last 1", "--rows", "1 days", "--node", "n1")

    assert [leaf["after"] for leaf in changes] == [0.5]
    assert shown["value"] == 0.5 and shown["row"]["topic"] == "market_quotes"
    assert any(f"n1/tag/eod-{name}" in one["refs"] for one in listed)
    stays = {one["id"]: one["why"] for one in collected["snapshots"] if one["keep"]}
    assert collected["expiring"] == [], "no row is a day old"
    assert before["id"] in stays and len(stays) < len(collected["snapshots"])
    with Node(settings=stack.settings("n1")) as node:
        assert node.snapshot(f"eod-{name}").table("quotes").num_rows >= len(quotes)
    assert orrery(stack, "log", "--events")[0]["what"] == "gc"
