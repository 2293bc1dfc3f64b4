"""Chains of dominoes on the real stack: computed once, found elsewhere, explained, made again."""

import json
import re
import time
from collections.abc import Iterator

import pytest
from blake3 import blake3
from confluent_kafka import Consumer, Producer, TopicPartition
from orrery_kernels.domino.memo import LostBody
from orrery_services import clock, store
from orrery_services.protocol.answers import bytes_key
from orrery_services.protocol.domino_runs import DominoRun
from orrery_services.stack import faults
from orrery_services.store import domino_runs
from orrery_services.store.answers import read_body

from .command import orrery, run
from .frozen import NODES, SECONDS_MAX

pytestmark = pytest.mark.real
DAMAGE = "UPDATE facts SET payload = set_byte(payload, 9, get_byte(payload, 9) # 1) WHERE key = %s"
TENORS = ("1M", "3M", "6M", "1Y", "2Y", "3Y", "5Y", "7Y", "10Y", "20Y", "30Y")
RATES = {f"USD-SOFR-OIS-{tenor}": 0.043 - 0.0004 * at for at, tenor in enumerate(TENORS)}


def quote(stack, rates: dict[str, float]) -> None:
    """Produce market quotes, as a venue would."""
    settings = stack.settings("n1")
    producer = Producer({"bootstrap.servers": settings.kafka, "partitioner": "murmur2_random"})
    for symbol, value in rates.items():
        row = {"symbol": symbol, "value": value, "ts_event_ns": clock.wall_ns()}
        producer.produce("market_quotes", json.dumps(row).encode(), symbol)
    assert producer.flush(SECONDS_MAX) == 0


def runs(stack, node: str, first: int = 0, chain: str = "rates") -> list[DominoRun]:
    """Return the node's own runs of a chain, in the order of cuts."""
    with store.connect(stack.settings(node).postgres("reader")) as connection:
        found = list(domino_runs.of_cuts(connection, chain, first))
    return [run for run in found if run.node == node and run.asked == "snapshot"]


def until(there):
    deadline = time.monotonic() + SECONDS_MAX
    while not (found := there()):
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.3)
    return found


def first_done(stack, first: int) -> dict[str, DominoRun]:
    """Wait for the first cut from `first` on that both nodes ran without a failure."""
    return until(lambda: next(done_by_both(stack, first), None))


def done_by_both(stack, first: int) -> Iterator[dict[str, DominoRun]]:
    done = {n: {r.number: r for r in runs(stack, n, first) if not r.failed} for n in NODES}
    for number in sorted(done["n1"].keys() & done["n2"].keys()):
        yield {node: done[node][number] for node in NODES}


@pytest.fixture(scope="module")
def ran(stack) -> dict[str, DominoRun]:
    """The first cut after the quotes of these tests on which n2 had to compute nothing: where n1 is
    held up for long, it takes over."""
    quote(stack, RATES)

    def found() -> dict[str, DominoRun] | None:
        return next((x for x in done_by_both(stack, 0) if actions(x["n2"]) == {"reuse"}), None)

    return until(found)


def actions(run: DominoRun) -> set[str]:
    return {step.action for step in run.steps}


def test_what_n1_computed_is_found_on_n2(stack, ran):
    assert actions(ran["n1"]) <= {"run", "reuse"} and actions(ran["n2"]) == {"reuse"}
    assert ran["n1"].snapshot == ran["n2"].snapshot
    assert [s.output for s in ran["n1"].steps] == [s.output for s in ran["n2"].steps]


def test_of_the_states_of_symbols_only_those_that_ticked_are_computed(stack, ran):
    from_cut = ran["n1"].number
    quote(stack, {"USD-SOFR-OIS-5Y": RATES["USD-SOFR-OIS-5Y"]})

    def few() -> tuple[DominoRun, DominoRun] | None:
        by_node = {n: {r.number: r for r in runs(stack, n, from_cut, "activity")} for n in NODES}
        for number in sorted(by_node["n1"].keys() & by_node["n2"].keys()):
            there, here = by_node["n2"][number], by_node["n1"][number]
            if "rows computed" in there.steps[0].why and here.steps[0].action == "reuse":
                return there, here
        return None

    computed, found = until(few)
    some, of_all = re.search(r"; ([\d,]+) of ([\d,]+) rows", computed.steps[0].why).groups()
    assert int(some.replace(",", "")) < int(of_all.replace(",", ""))
    assert int(of_all.replace(",", "")) >= len(RATES)
    assert found.steps[0].output == computed.steps[0].output, "n1 found what n2 computed"
    replayed = orrery(stack, "replay", computed.snapshot, "--verify", "--node", "n1")
    assert replayed["first_difference"] is None


def test_why_leads_to_the_message_in_the_log(stack, ran):
    tree = orrery(stack, "why", f"curve/USD-SOFR@{ran['n1'].snapshot}", "--node", "n2")

    assert tree["computed_by"] in NODES
    assert tree["run"]["lsn"] and tree["run"]["code_is_as_then"]
    quotes = next(found for found in tree["inputs"] if found.get("input") == "quotes")
    assert {leaf["path"].partition("/")[2] for leaf in quotes["leaves"]} == set(RATES)
    leaf = quotes["leaves"][0]
    (row,) = leaf["rows"]
    told = message_at(stack, row["topic"], row["partition"], row["offset"])
    assert f"quotes/{told['symbol']}" == leaf["path"]
    assert told["value"] == RATES[told["symbol"]]


def message_at(stack, topic: str, partition: int, offset: int) -> dict:
    settings = stack.settings("n1")
    reader = Consumer({"bootstrap.servers": settings.kafka, "group.id": "test-why"})
    reader.assign([TopicPartition(topic, partition, offset)])
    message = until(lambda: reader.poll(1.0))
    reader.close()
    assert message.offset() == offset
    return json.loads(message.value())


def test_the_refs_of_both_nodes_are_listed_with_their_moves_and_lead_to_the_results(stack, ran):
    tasks = {step.task for step in ran["n1"].steps}
    results = {(node, task) for node in NODES for task in tasks}
    until(lambda: results <= {(r["node"], r["name"]) for r in refs_of(stack)})

    listed = refs_of(stack)
    for node, task in sorted(results):
        moves = [r for r in listed if (r["node"], r["name"]) == (node, task)]
        assert [r["move"] for r in moves] == list(range(len(moves), 0, -1)), "newest first, no gap"
        numbers = [r["number"] for r in moves]
        assert numbers == sorted(numbers, reverse=True)
        assert all(r["by"].startswith("rates, ") for r in moves)
    at = next(r for r in listed if (r["node"], r["name"]) == ("n1", "curve/USD-SOFR"))
    tree = orrery(stack, "why", "n1/curve/USD-SOFR", "--node", "n2")
    assert tree["run"]["node"] == "n1"
    assert tree["run"]["cut"] >= at["number"], "the newest run that found what the ref is at"
    assert tree["computed_by"] in NODES


def refs_of(stack) -> list[dict]:
    return orrery(stack, "log", "--refs", "-n", "1000", "--node", "n2")


def test_history_shows_a_node_of_the_curve_as_its_answers_say(stack, ran):
    words = ("history", "curve/USD-SOFR", "--tenor", "10Y", "--node", "n2")

    def told() -> list[dict]:
        done = run(stack, *words, "--json")
        return json.loads(done.stdout)["samples"] if done.returncode == 0 else []

    sample = until(told)[-1]
    shown = orrery(stack, "show", "curve/USD-SOFR@latest", "--node", "n2")["rows"]
    assert sample["point"] == "USD-SOFR-OIS-10Y"
    (value,) = (row["value"] for row in shown if row["point"] == sample["point"])
    assert sample["value"] == pytest.approx(value, rel=1e-12), "the store keeps 15 digits"


def test_diff_names_the_quote_the_dominoes_and_how_far_results_moved(stack, ran):
    before = runs(stack, "n1")[-1]
    quote(stack, {"USD-SOFR-OIS-5Y": RATES["USD-SOFR-OIS-5Y"] + 0.0001})
    after = until(lambda: moved_since(stack, before))

    found = orrery(stack, "diff", before.snapshot, after.snapshot)

    assert "quotes/USD-SOFR-OIS-5Y" in {leaf["path"] for leaf in found["leaves"]}
    results = {result["task"]: result for result in found["results"]}
    why = ("changed: quotes", "computed before from the same inputs")  # the other node was first
    assert results["curve/USD-SOFR"]["why"] in why
    moved = results["curve/USD-SOFR"]["moved"]
    assert moved["point"] == "USD-SOFR-OIS-5Y"
    assert 0.00009 < moved["by"] < 0.00011
    assert results["day/USD-SOFR"]["moved"] is None


def moved_since(stack, before: DominoRun) -> DominoRun | None:
    was = before.step("curve/USD-SOFR").output
    found = [r for r in runs(stack, "n1", before.number + 1) if not r.failed]
    return next((r for r in found if r.step("curve/USD-SOFR").output != was), None)


@pytest.mark.parametrize("node", NODES)
def test_a_snapshot_and_its_results_are_made_again_from_stored_bytes(stack, ran, node):
    found = orrery(stack, "replay", ran[node].snapshot, "--verify", "--node", node)

    assert found["first_difference"] is None
    assert found["leaves"] == stack.settings(node).partitions
    assert found["results"] >= 2 * len(ran["n1"].steps), "the records of both nodes"


def test_a_damaged_answer_is_not_served_and_comes_back_from_the_log_or_a_peer(stack, ran):
    output = ran["n2"].step("curve/USD-SOFR").output
    with faults.admin(stack, "n2") as admin:
        assert admin.execute(DAMAGE, (bytes_key(output),)).rowcount == 1

    with store.connect(stack.settings("n2").postgres("reader")) as connection:

        def served() -> bytes | None:
            try:
                return read_body(connection, bytes.fromhex(output))
            except LostBody:
                return None

        assert served() is None
        assert blake3(until(served)).hexdigest() == output


def test_killing_dominoes_in_the_middle_loses_no_snapshot_and_doubles_none(stack, ran):
    first = runs(stack, "n1")[-1].number + 1
    for node in ("n1", "n2", "n1"):
        quote(stack, {name: rate + 0.0002 for name, rate in RATES.items()})
        time.sleep(3.0)
        faults.kill(stack, f"{node}.dominoes")
    stack.wait([f"{node}.dominoes" for node in NODES], SECONDS_MAX)
    last = until(lambda: newest_number(stack) > first + 3 and newest_number(stack))

    for node in NODES:
        until(lambda node=node: len(good(stack, node, first, last)) > last - first)
        numbers = [run.number for run in good(stack, node, first, last)]
        assert numbers == list(range(first, last + 1)), "each once, in order"
    with store.connect(stack.settings("n2").postgres("reader")) as connection:
        assert store.reading.quarantined(connection) == []
    replayed = orrery(stack, "replay", "latest", "--since", ran["n1"].snapshot, "--verify")
    assert replayed["first_difference"] is None
    assert replayed["snapshots"] >= last - ran["n1"].number


def newest_number(stack) -> int:
    with store.connect(stack.settings("n1").postgres("reader")) as connection:
        return connection.execute("SELECT max(number) FROM snapshots").fetchone()[0]


def good(stack, node: str, first: int, last: int) -> list[DominoRun]:
    return [r for r in runs(stack, node, first) if not r.failed and r.number <= last]
