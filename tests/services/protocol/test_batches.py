"""A user's own batch straight to `ticks` passes the same rules as a row, or none of it counts."""

import json

import pyarrow as pa
import pytest
from orrery_kernels.columns import TICK_SCHEMA
from orrery_kernels.partition import partition_of
from orrery_services.packer.steps import Run, pack
from orrery_services.protocol import fold, ticks
from orrery_services.protocol.batches import check_batch

P = 8
SYMBOL = "BTCUSDT.DEMO"
HOME = partition_of(SYMBOL, P)
TRADE = {"kind": 0, "symbol": SYMBOL, "price": 1.5, "size": 2.0, "side": 1}
QUOTE = {"kind": 1, "symbol": SYMBOL, "bid": 1.0, "ask": 2.0, "bid_size": 0.0, "ask_size": 1.0}
MARKET_QUOTE = {"kind": 2, "symbol": SYMBOL, "value": -0.5}
ELSEWHERE = next(s for s in map(str, range(99)) if partition_of(s, P) != HOME)


def batch(*rows: dict) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=TICK_SCHEMA)


def test_rows_of_every_kind_pass():
    assert check_batch(batch(TRADE, QUOTE, MARKET_QUOTE), HOME, P) is None


@pytest.mark.parametrize(
    ("row", "changes", "word"),
    [
        (TRADE, {"kind": 3}, "kind must be 0, 1 or 2"),
        (TRADE, {"price": float("nan")}, "price must be from"),
        (TRADE, {"price": float("inf")}, "price must be from"),
        (TRADE, {"price": None}, "price must be from"),
        (TRADE, {"size": 0.0}, "size must be from"),
        (TRADE, {"side": None}, "side must be 1, -1 or 0"),
        (TRADE, {"side": -128}, "side must be 1, -1 or 0"),
        (TRADE, {"bid": 1.0}, "bid belongs only to a quote"),
        (TRADE, {"ts_event_ns": -1}, "ts_event_ns must be nanoseconds"),
        (TRADE, {"trade_id": "x" * 300}, "trade_id must have at most"),
        (TRADE, {"source_offset": 5}, "source_offset must be null"),
        (TRADE, {"symbol": ""}, "symbol must not be empty"),
        (TRADE, {"symbol": "x'); DROP TABLE--"}, "symbol must be ASCII"),
        (TRADE, {"symbol": ELSEWHERE}, "symbol must be one of partition"),
        (QUOTE, {"ask": -1.0}, "ask must be from"),
        (QUOTE, {"ask_size": 0.0}, "must not both be 0"),
        (QUOTE, {"price": 1.0}, "price belongs only to a trade"),
        (QUOTE, {"trade_id": "1"}, "trade_id belongs only to a trade"),
        (MARKET_QUOTE, {"value": None}, "value must be from"),
        (MARKET_QUOTE, {"side": 0}, "side belongs only to a trade"),
    ],
)
def test_one_bad_row_refuses_the_batch_and_is_named(row, changes, word):
    reason = check_batch(batch(TRADE, QUOTE, {**row, **changes}), HOME, P)

    assert reason is not None
    assert reason.startswith("row 2: ")
    assert word in reason


def test_a_batch_without_rows_is_refused():
    assert check_batch(batch(), HOME, P) == "a batch must have at least one row"


def test_what_the_packer_writes_passes_but_for_its_sources():
    value = json.dumps({"symbol": SYMBOL, "price": "1.5", "size": 2}).encode()
    rows = pack(
        {}, [Run("trades", "L", [0] * 100, [value] * 100, [0] * 100, [None] * 100)], HOME, P
    ).rows

    bare = rows.to_pylist()
    for row in bare:
        row |= dict.fromkeys(("source_topic", "source_partition", "source_offset"))

    assert check_batch(batch(*bare), HOME, P) is None
    assert "must be null" in check_batch(rows, HOME, P)


@pytest.mark.parametrize("cut", [0, 1, 9, 100, -1])
def test_truncated_bytes_and_other_schemas_are_ignored_with_a_reason(cut):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TICK_SCHEMA) as writer:
        writer.write_batch(batch(TRADE))
    whole = sink.getvalue().to_pybytes()
    other = pa.BufferOutputStream()
    with pa.ipc.new_stream(other, pa.schema([("a", pa.int8())])) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist([{"a": 1}], schema=writer_schema()))

    def take(value: bytes) -> object:
        return fold.take(fold.Position(), 0, ticks.parse(value, []), lambda _: None)[1]

    assert isinstance(take(whole), fold.Accepted)
    assert isinstance(take(other.getvalue().to_pybytes()), fold.Ignored)
    if cut != -1:
        assert isinstance(take(whole[:cut]), fold.Ignored)


def writer_schema() -> pa.Schema:
    return pa.schema([("a", pa.int8())])


@pytest.mark.parametrize(
    "value", [b"", b"\xff\xff\xff\xff\0\0\0\0", TICK_SCHEMA.serialize().to_pybytes()]
)
def test_a_labelled_message_without_a_batch_is_refused(value):
    message = ticks.parse(value, ticks.headers({}, {}))

    with pytest.raises(ticks.BadTicks, match="must be an Arrow batch"):
        ticks.decode(message)
