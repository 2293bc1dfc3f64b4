"""The rows that are sent: JSON trades over twenty symbols, Arrow batches of a partition each."""

import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from orrery_kernels.columns import TICK_SCHEMA
from orrery_kernels.partition import partition_of
from orrery_services import bus

SYMBOLS = [f"S{i}.DEMO" for i in range(20)]
BATCH_ROWS = 5_000
DEFAULT_LINGER_MS = 5  # librdkafka's
MADE_ROWS = 50_000  # distinct rows; more are repeats of these


class Sent(NamedTuple):
    """One row that the broker has: where it lies and when it was produced."""

    partition: int
    offset: int
    at: float  # time.perf_counter()


def trade(i: int) -> tuple[str, str]:
    symbol, time_ns = SYMBOLS[i % len(SYMBOLS)], 1_700_000_000_000_000_000 + i * 1_000_000
    row = {
        "symbol": symbol, "price": f"{100 + i * 7919 % 999 / 100:.2f}", "size": str(i % 9 + 1),
        "side": "buy", "ts_event_ns": time_ns, "ts_recv_ns": time_ns, "trade_id": str(i),
    }  # fmt: skip
    return symbol, json.dumps(row)


def preload(kafka: str, count: int) -> None:
    """Put `count` trades into the log."""
    producer = bus.producer(kafka, linger_ms=20)
    made = [trade(i) for i in range(min(count, MADE_ROWS))]
    for i in range(count):
        symbol, row = made[i % len(made)]
        while True:
            try:
                producer.produce("trades", row, symbol)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)


def paced(kafka: str, rows_per_second: int, seconds: float) -> list[Sent]:
    """Produce trades at a steady rate, as a client with its defaults does; return what the broker
    has acknowledged."""
    producer, sent = bus.producer(kafka, linger_ms=DEFAULT_LINGER_MS), []
    begin, count = time.perf_counter(), int(rows_per_second * seconds)
    for i in range(count):
        symbol, row = trade(i)
        producer.produce("trades", row, symbol, on_delivery=_note(sent, time.perf_counter()))
        producer.poll(0)
        early = begin + (i + 1) / rows_per_second - time.perf_counter()
        if early > 0:
            time.sleep(early)
    producer.flush(30)
    return sent


def _note(sent: list[Sent], at: float) -> object:
    def report(error: object, message: object) -> None:
        if error is None:
            sent.append(Sent(message.partition(), message.offset(), at))

    return report


def batches(partitions: int) -> dict[int, bytes]:
    """Return one batch of BATCH_ROWS ticks for every partition that has a symbol."""
    homes: dict[int, list[str]] = {}
    for symbol in SYMBOLS:
        homes.setdefault(partition_of(symbol, partitions), []).append(symbol)
    return {partition: _batch(symbols) for partition, symbols in homes.items()}


def _batch(symbols: list[str]) -> bytes:
    rng = np.random.default_rng(1)
    filled = {
        "kind": np.zeros(BATCH_ROWS, np.int8),
        "symbol": [symbols[i % len(symbols)] for i in range(BATCH_ROWS)],
        "ts_event_ns": 1_700_000_000_000_000_000 + np.arange(BATCH_ROWS) * 1_000_000,
        "price": np.round(100 + np.cumsum(rng.normal(0, 0.01, BATCH_ROWS)), 2),
        "size": rng.integers(1, 100, BATCH_ROWS).astype(float),
        "side": rng.choice(np.array([-1, 1], np.int8), BATCH_ROWS),
    }
    columns = [
        pa.array(filled[f.name], f.type) if f.name in filled else pa.nulls(BATCH_ROWS, f.type)
        for f in TICK_SCHEMA
    ]
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, TICK_SCHEMA, options=options) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=TICK_SCHEMA))
    return sink.getvalue().to_pybytes()


def produce_batches(kafka: str, made: dict[int, bytes], count: int) -> None:
    """Put `count` batches into `ticks`, the partitions in turn."""
    producer = bus.producer(kafka)
    turns: Iterator[int] = (i % len(made) for i in range(count))
    places = sorted(made)
    for turn in turns:
        partition = places[turn]
        while True:
            try:
                producer.produce("ticks", made[partition], partition=partition)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)
