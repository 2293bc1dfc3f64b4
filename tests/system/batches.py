"""Batches of ticks as a user makes them."""

import pyarrow as pa
from orrery_kernels.columns import KIND_TRADE, TICK_SCHEMA


def own_batch(symbol: str, prices: list[float]) -> bytes:
    """Return a user's own batch of trades as an IPC stream."""
    rows = [
        {
            "kind": KIND_TRADE, "symbol": symbol, "ts_event_ns": k, "price": price, "size": 1.0,
            "side": 1,
        }
        for k, price in enumerate(prices, 1_760_000_000_000_000_000)
    ]  # fmt: skip
    return stream_of(pa.RecordBatch.from_pylist(rows, TICK_SCHEMA))


def stream_of(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
