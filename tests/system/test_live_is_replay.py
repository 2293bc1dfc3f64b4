"""Five minutes of capture live, with kills, against a replay in one process: the same, to the bit.

The capture is played faster than it was; its cuts come as often in it as they would.
"""

import itertools
import json
import threading
import time

import pytest
from blake3 import blake3
from confluent_kafka import Producer
from orrery_kernels import Chain
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import Memo
from orrery_kernels.domino.run import run
from orrery_kernels.snapshot.snapshot import thaw
from orrery_services import bus, clock, store
from orrery_services.protocol import facts, snapshots
from orrery_services.snapshots import app, cutting, steps
from orrery_services.stack import faults
from orrery_services.store import domino_runs, domino_values

from tests import capture

from .frozen import NODES, SECONDS_MAX, fired, made, replayed

pytestmark = pytest.mark.real
SPEED = 15
KILL_SECONDS = 1.5  # between two kills: each part of each node once in the time that it lasts
CHAIN = "rates"
KILLED = [f"{node}.{part}" for part in ("packer", "analytics", "snapshots", "dominoes")
          for node in NODES]  # fmt: skip


def play(settings, rows: list[capture.Row]) -> None:
    """Produce rows of the capture at SPEED times its own pace."""
    producer = Producer({"bootstrap.servers": settings.kafka, "partitioner": "murmur2_random"})
    begin_ns = clock.wall_ns()
    for row in rows:
        at_ns = begin_ns + (row.at_ns - capture.START_NS) // SPEED
        while (left_ns := at_ns - clock.wall_ns()) > 0:
            producer.poll(left_ns / 1e9)
        message = row.message() | {"ts_event_ns": at_ns}
        producer.produce(row.topic, json.dumps(message).encode(), row.symbol)
    assert producer.flush(60) == 0


def cut_every(settings, seconds: float, count: int) -> list[int]:
    """Cut so often, and return the numbers of the cuts."""
    with store.connect(settings.postgres("reader")) as connection:
        chains = app.chains_of(connection, settings)
    found, due = [], time.monotonic()
    for at in range(count):
        due += seconds
        time.sleep(max(0.0, due - time.monotonic()))
        wanted = cutting.Wanted(f"capture#{due}-{at}", "capture", clock.wall_ns(), chains)
        found.append(cutting.cut_now(settings, wanted, 0, SECONDS_MAX).number)
    return found


def kill_in_turn(stack, stop: threading.Event, killed: list[str]) -> None:
    for part in itertools.cycle(KILLED):
        if stop.wait(KILL_SECONDS):
            return
        stack.wait([part], SECONDS_MAX)
        faults.kill(stack, part)
        killed.append(part)


@pytest.fixture(scope="module")
def lived(stack) -> list[int]:
    """The capture, lived through by both nodes; the numbers of its cuts."""
    settings, stop, killed, rows = stack.settings("n1"), threading.Event(), [], capture.rows()
    first = [row for row in rows if row.at_ns == capture.START_NS]
    play(settings, first)  # every swap: before they are there the chain has nothing to compute
    wait_for_a_run(stack)
    killer = threading.Thread(target=kill_in_turn, args=(stack, stop, killed))
    player = threading.Thread(target=play, args=(settings, rows[len(first) :]))
    killer.start()
    player.start()
    try:
        numbers = cut_every(settings, capture.CUT_SECONDS / SPEED, len(capture.cut_times()))
        player.join(SECONDS_MAX)
        deadline = time.monotonic() + SECONDS_MAX  # a slow machine gets round to all later
        while len(set(killed)) < len(KILLED) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        stop.set()
        killer.join()
    assert not player.is_alive() and len(set(killed)) == len(KILLED)
    stack.wait(KILLED, SECONDS_MAX)
    return numbers


def wait_for_a_run(stack) -> None:
    """Wait until both nodes ran the chain without a failure."""
    deadline, left = time.monotonic() + SECONDS_MAX, set(NODES)
    while left:
        for node in sorted(left):
            with store.connect(stack.settings(node).postgres("reader")) as connection:
                runs = list(domino_runs.last(connection, CHAIN, 4))
            if any(one.node == node and not one.failed for one in runs):
                left.discard(node)
        assert time.monotonic() < deadline, f"{sorted(left)} did not run {CHAIN}"
        time.sleep(0.3)


def wait_for_runs(stack, node: str, numbers: list[int]) -> dict[int, domino_runs.DominoRun]:
    """Return the node's run of every cut, once there is one that did not fail."""
    deadline = time.monotonic() + SECONDS_MAX
    with store.connect(stack.settings(node).postgres("reader")) as connection:
        while True:
            runs = domino_runs.of_cuts(connection, CHAIN, min(numbers), max(numbers) + 1)
            found = {one.number: one for one in runs if one.node == node and not one.failed}
            if not (missing := set(numbers) - found.keys()):
                return found
            assert time.monotonic() < deadline, f"{node} did not run {CHAIN} on {sorted(missing)}"
            time.sleep(0.5)


def replay(settings) -> tuple[dict, dict[bytes, bytes]]:
    """Return the leaves of every cut, and all pieces of trees, by reading the log in one go."""
    chain = Chain(settings.chains["default"])
    name = facts.chain_id(chain.digest)
    log_id = bus.log_ids(bus.admin(settings.kafka), ["ticks"])["ticks"]
    leaves: dict[int, dict] = {}
    pieces: dict[bytes, bytes] = {}
    for partition in range(settings.partitions):
        for fact in replayed(settings, chain, log_id, partition):
            if fact.kind == snapshots.LEAF:
                leaf = snapshots.leaf_of(facts.data_of(fact.payload, None))
                leaves.setdefault(leaf.number, {})[name, partition] = leaf
            elif fact.kind == snapshots.PACK:
                packed = snapshots.pieces_of(facts.data_of(fact.payload, None))
                pieces.update({blake3(piece).digest(): piece for _, piece in packed})
    return leaves, pieces


def test_every_snapshot_and_every_result_of_a_day_with_kills_is_that_of_a_replay(stack, lived):
    settings = stack.settings("n1")
    live = {node: wait_for_runs(stack, node, lived) for node in NODES}
    frozen = {node: made(stack, node) for node in NODES}
    wanted = [cut for cut in fired(settings) if cut.number in lived]

    leaves, pieces = replay(settings)
    chain = domino_values.chain_from(CHAIN, settings.dominoes[CHAIN])
    market, memo = None, Memo()
    for cut in wanted:
        done = steps.complete(cut, leaves[cut.number], settings.partitions, None)
        market = Market(thaw(done.frozen.manifest), pieces.__getitem__, market)
        again = {step.task: step.row.output.hex() for step in run(chain, market, memo)}

        for node in NODES:
            assert frozen[node][cut.number] == done.frozen.id, (node, cut)
            lines = live[node][cut.number].steps
            assert {line.task: line.output for line in lines} == again, (node, cut)
    assert len(wanted) == len(capture.cut_times())
