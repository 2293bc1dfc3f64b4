"""The oracle has the last word on everything that these tests put into the logs, kills and all.

Source offsets = rows + dead letters + moved rows + repeats, and every result of both nodes has the
bits that the interpreter finds from the raw rows in the order of the log.
"""

import itertools
import time
from collections.abc import Callable

import psycopg
import pytest
from orrery_kernels import Chain
from orrery_services import bus, store
from orrery_services.config import Settings
from orrery_services.protocol.marks import Mark
from orrery_services.stack import Stack
from orrery_services.store import results

from tests.system import oracle
from tests.system.batches import own_batch
from tests.system.flow import Flow

pytestmark = pytest.mark.real
NODES = ("n1", "n2")
CHAIN = "default"
OWN = [f"OWN{number}.USER" for number in range(4)]
FLOW_SECONDS = 5.0  # of rows of its own, where this is the only test
SECONDS_MAX = 120.0
Logs = tuple[dict[oracle.Place, oracle.Raw], dict[int, list[oracle.Batch]], set[oracle.Place]]


def until(look: Callable[[], object], what: str) -> object:
    deadline = time.monotonic() + SECONDS_MAX
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {SECONDS_MAX:.0f} s: {what}"
        time.sleep(0.2)
    return found


def stand_at(stack: Stack, node: str, ordinals: dict[int, int]) -> bool:
    with psycopg.connect(stack.settings(node).postgres("reader")) as connection:
        chain = results.chain_info(connection, CHAIN).id
        marks = store.marks(connection)
    return all(marks.get((chain, p), Mark()).ordinal >= many for p, many in ordinals.items())


def send_own(settings: Settings) -> None:
    """Send batches of a user's own straight to `ticks`, good ones and bad ones."""
    producer = bus.producer(settings.kafka)
    for symbol, prices in itertools.product(OWN, ([10.0, 11.0], [-1.0])):
        bus.send_now(producer, "ticks", own_batch(symbol, prices), symbol.encode())


@pytest.fixture(scope="module")
def logs(stack: Stack) -> Logs:
    """Raw rows, what counts, and dead letters, once all rows are packed and both nodes hold all."""
    settings = stack.settings("n1")
    send_own(settings)
    flow = Flow(settings, seed=2)
    flow.start()
    time.sleep(FLOW_SECONDS)
    flow.finish()
    raw, batches = until(lambda: oracle.logs(settings), "every row to be packed")
    ordinals = {p: len(found) for p, found in batches.items()}
    until(lambda: all(stand_at(stack, node, ordinals) for node in NODES), "both nodes hold all")
    return raw, batches, oracle.refused(settings)


def test_every_offset_of_the_row_topics_is_accounted_for(logs):
    raw, batches, dead = logs

    assert oracle.unaccounted(raw, batches, dead) == []
    assert len(raw) > 100 and len(dead) > 1, "there was something to account for"


def test_every_row_is_at_home_and_those_of_one_source_are_in_order(logs):
    assert oracle.out_of_order(logs[1]) == []


@pytest.mark.parametrize("node", NODES)
def test_every_result_has_the_bits_of_the_interpreter(stack, logs, node):
    raw, batches, _ = logs
    chain = Chain(stack.settings(node).chains[CHAIN])
    compared = 0

    for partition, found in batches.items():
        held = oracle.held(stack.settings(node), CHAIN, partition, len(found))
        wanted = zip(found, oracle.wanted(chain, found, raw), strict=True)
        for batch, rows in wanted:
            assert oracle.bits(held.pop(batch.offset, [])) == oracle.bits(rows), (partition, batch)
            compared += len(rows)
        assert held == {}, "nothing is held that does not count"
    assert compared > 100


def test_the_oracle_sees_a_row_that_is_lost_doubled_refused_or_taken_by_mistake(logs):
    raw, batches, dead = logs
    packed = (b for found in batches.values() for b in found if b.rows)
    batch = next(b for b in packed if b.rows[0]["source_topic"])
    row = batch.rows[0]
    place = row["source_topic"], row["source_partition"], row["source_offset"]
    bad = min(dead & raw.keys())

    def said(rows: list[oracle.Row], dead: set[oracle.Place]) -> str:
        changed = {
            p: [b._replace(rows=rows) if b is batch else b for b in found]
            for p, found in batches.items()
        }
        return "; ".join(oracle.unaccounted(raw, changed, dead))

    assert f"{place} is nowhere" in said(batch.rows[1:], dead)
    assert f"{place} counts 2 times" in said([row, *batch.rows], dead)
    assert f"{place} went 2 ways" in said(batch.rows, dead | {place})
    assert f"{place} is refused" in said(batch.rows[1:], dead | {place})
    assert f"{bad} is nowhere" in said(batch.rows, dead - {bad})
    taken = dict(zip(("source_topic", "source_partition", "source_offset"), bad, strict=True))
    assert f"{bad} is taken" in said([row | taken, *batch.rows], dead - {bad})
