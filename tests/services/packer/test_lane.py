"""One partition of a packer: what is fetched goes out in batches that each fit one message."""

import json

import numpy as np
import pytest
from orrery_services.packer.cuts import Cuts
from orrery_services.packer.lane import Lane
from orrery_services.packer.sequencer import Send
from orrery_services.protocol import ticks
from orrery_services.protocol.marks import Mark
from orrery_services.protocol.rules import ALL_RULES

from .fetched import Fetched

LOGS = {"trades": "L", "quotes": "L", "market_quotes": "L", "ticks": "L"}
COUNT = 5_000


def noisy(at: int) -> bytes:
    """Return a trade whose columns do not compress."""
    rng = np.random.default_rng(at)
    row = {"symbol": "A.X", "price": rng.uniform(1, 2), "size": 1, "trade_id": rng.bytes(16).hex()}
    return json.dumps(row).encode()


@pytest.fixture
def sent() -> list[Send]:
    return []


@pytest.fixture
def lane(sent) -> Lane:
    def produce(send: Send, report: object) -> None:
        sent.append(send)

    made = Lane(0, 1, LOGS, Mark(), None, produce, Cuts(), ALL_RULES)
    made.sequencer.caught_up()
    made.buffer.add("trades", [Fetched(at, noisy(at)) for at in range(COUNT)])
    return made


@pytest.mark.parametrize(("value_bytes_max", "batches"), [(900 * 1024, 1), (100_000, 4)])
def test_a_batch_is_as_large_as_a_message_allows(monkeypatch, lane, sent, value_bytes_max, batches):
    monkeypatch.setattr(ticks, "VALUE_BYTES_MAX", value_bytes_max)

    lane.turn(COUNT, flush=True)
    while lane.buffer.rows:
        lane.turn(COUNT, flush=True)

    read = [ticks.decode(ticks.parse(send.value, send.headers)) for send in sent]
    offsets = [at for batch in read for at in batch["source_offset"].to_pylist()]
    assert offsets == [*range(COUNT)]
    assert all(len(send.value) <= value_bytes_max for send in sent)
    assert len(sent) == batches
