"""A Postgres that stands still makes everybody behind it wait; nothing piles up or is lost."""

import itertools
import time
import urllib.request
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from orrery_kernels.partition import partition_of
from orrery_services import Node
from orrery_services.analytics.lane import FLIGHTS_MAX
from orrery_services.stack import faults

from .batches import own_batch
from .frozen import NODES
from .test_commands import SECONDS_MAX, until

pytestmark = pytest.mark.real
ROWS = 50  # of a batch
BATCHES = 200  # of a partition: many more than may be on their way
STILL_SECONDS = 3.0
LOCK = "LOCK TABLE facts IN EXCLUSIVE MODE"  # who writes waits, who reads does not


@pytest.fixture(scope="module")
def symbols(stack) -> dict[int, str]:
    """A symbol of every partition, once both workers have computed something of theirs."""
    partitions, tag = stack.settings("n1").partitions, uuid.uuid4().hex[:8]
    first, found = (homes(f"{tag}-{word}", partitions) for word in ("first", "then"))
    before = {node: computed(stack, node) for node in NODES}

    def both_compute() -> bool:
        send(stack, first, [[1.0]])
        return all(computed(stack, node) > before[node] for node in NODES)

    until(both_compute, "each worker to have a partition")
    return found


def homes(tag: str, partitions: int) -> dict[int, str]:
    """Return a symbol of every partition."""
    names = (f"{tag}-{number}" for number in itertools.count())
    found: dict[int, str] = {}
    while len(found) < partitions:
        name = next(names)
        found.setdefault(partition_of(name, partitions), name)
    return found


def send(stack, symbols: dict[int, str], batches: list[list[float]]) -> None:
    settings = stack.settings("n1")
    producer = Producer({"bootstrap.servers": settings.kafka})
    for prices, symbol in itertools.product(batches, symbols.values()):
        home = partition_of(symbol, settings.partitions)
        producer.produce("ticks", own_batch(symbol, prices), symbol, home)
    assert producer.flush(SECONDS_MAX) == 0


def computed(stack, node: str) -> float:
    """Return how many rows a worker has computed, committed or not."""
    url = f"{stack.settings(node).metrics_url('analytics')}/metrics"
    with urllib.request.urlopen(url, timeout=SECONDS_MAX) as answer:
        lines = answer.read().decode().splitlines()
    told = (line for line in lines if line.startswith('orrery_rows_total{hop="analytics"}'))
    return sum(float(line.rsplit(" ", 1)[1]) for line in told)


def at_rest(look: Callable[[], float]) -> float:
    """Return a figure once it has not changed for a while."""
    deadline, last, since = time.monotonic() + SECONDS_MAX, look(), time.monotonic()
    while time.monotonic() - since < STILL_SECONDS:
        assert time.monotonic() < deadline, f"{last} still moves"
        time.sleep(0.2)
        if (now := look()) != last:
            last, since = now, time.monotonic()
    return last


def test_while_postgres_stands_still_nothing_piles_up_and_then_all_of_it_is_held(stack, symbols):
    prices = [[float(batch * ROWS + row + 1) for row in range(ROWS)] for batch in range(BATCHES)]
    before = computed(stack, "n1")

    with faults.admin(stack, "n1") as admin, admin.transaction():
        admin.execute(LOCK)
        send(stack, symbols, prices)
        until(lambda: any(len(read(stack, "n2", s)) for s in symbols.values()), "n2 to go on")
        taken = at_rest(lambda: computed(stack, "n1")) - before

    assert 0 < taken <= 2 * FLIGHTS_MAX * ROWS, "what waits for its commit, and one stretch of it"
    wanted = [price for batch in prices for price in batch]
    for node, symbol in itertools.product(NODES, symbols.values()):
        until(
            lambda node=node, symbol=symbol: len(read(stack, node, symbol)) >= len(wanted),
            f"{node} holds all of {symbol}",
        )
        assert read(stack, node, symbol) == wanted


def read(stack, node: str, symbol: str) -> list[float]:
    with Node(settings=stack.settings(node)) as opened:
        return opened.read(chain="default", symbol=symbol)["price"].to_pylist()
