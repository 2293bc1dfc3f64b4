"""A stream over the log of a running node: what a quant reads is what the services fold."""

import orrery_services.streams  # noqa: F401 - gives Stream its sources
import pytest
from orrery_kernels import Stream, ewma
from orrery_kernels.partition import partition_of
from orrery_services.bus import admin, producer

from tests.system.batches import own_batch

pytestmark = pytest.mark.real


def test_ticks_from_the_log_go_through_a_kernel_in_their_order(stack):
    kafka = stack.settings("n1").kafka
    partitions = len(admin(kafka).list_topics("ticks", 15).topics["ticks"].partitions)
    symbol, prices = "STREAM.TEST", [10.0, 11.0, 12.5]
    home = partition_of(symbol, partitions)
    send = producer(kafka)
    send.produce("ticks", own_batch(symbol, prices), key=symbol, partition=home)
    assert send.flush(30) == 0

    stream = Stream.from_kafka(kafka).map(lambda b: ewma(b, alpha=0.5))

    mine = [row for b in stream for row in b.to_pylist() if row["symbol"] == symbol]
    assert [row["price"] for row in mine] == prices
    assert [row["ewma"] for row in mine] == [10.0, 10.5, 11.5]
