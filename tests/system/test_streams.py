"""A stream over the log of a running node: what a quant reads is what the services fold."""

import orrery_services.streams  # noqa: F401 - gives Stream its sources
import pyarrow as pa
import pytest
from orrery_kernels import Stream, ewma
from orrery_kernels.columns import KIND_TRADE, TICK_SCHEMA
from orrery_kernels.partition import partition_of
from orrery_services.bus import admin, producer

pytestmark = pytest.mark.real


def trades(symbol: str, prices: list[float]) -> bytes:
    """Return a user's own batch as an IPC stream."""
    rows = [
        {
            "kind": KIND_TRADE, "symbol": symbol, "ts_event_ns": k, "price": price, "size": 1.0,
            "side": 1,
        }
        for k, price in enumerate(prices, 1_760_000_000_000_000_000)
    ]  # fmt: skip
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TICK_SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, TICK_SCHEMA))
    return sink.getvalue().to_pybytes()


def test_ticks_from_the_log_go_through_a_kernel_in_their_order(stack):
    kafka = stack.settings("n1").kafka
    partitions = len(admin(kafka).list_topics("ticks", 15).topics["ticks"].partitions)
    symbol, prices = "STREAM.TEST", [10.0, 11.0, 12.5]
    home = partition_of(symbol, partitions)
    send = producer(kafka)
    send.produce("ticks", trades(symbol, prices), key=symbol, partition=home)
    assert send.flush(30) == 0

    stream = Stream.from_kafka(kafka).map(lambda b: ewma(b, alpha=0.5))

    mine = [row for b in stream for row in b.to_pylist() if row["symbol"] == symbol]
    assert [row["price"] for row in mine] == prices
    assert [row["ewma"] for row in mine] == [10.0, 10.5, 11.5]
