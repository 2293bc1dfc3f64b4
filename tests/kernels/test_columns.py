"""Columns in: every Arrow type with a declared conversion, and what is said of the others."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pytest
from orrery_kernels import (
    Chain,
    dedupe_venue_trades,
    ewma,
    signed_volume,
    stale_quote_detector,
    vwap,
)
from orrery_kernels.errors import ColumnError, ParameterError

NUMBERS = [1, 2, 3, 4]
NUMERIC = [
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
    pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal32(5, 1),
    pa.decimal128(10, 2), pa.decimal256(40, 3),
]  # fmt: skip
TIMES = {
    pa.timestamp("s"): 10**9, pa.timestamp("ms"): 10**6, pa.timestamp("us", "Asia/Tokyo"): 1_000,
    pa.timestamp("ns", "UTC"): 1, pa.duration("ms"): 10**6, pa.time64("us"): 1_000,
    pa.date64(): 10**6,
}  # fmt: skip
TEXT = [
    pa.string(), pa.large_string(), pa.string_view(), pa.binary(),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int64(), pa.large_string()),
]  # fmt: skip


def trades(**columns: Any) -> pa.RecordBatch:
    known = {"symbol": ["A", "B", "A", "A"], "price": [1.0, 2.0, 3.0, 4.0], "size": [1.0] * 4}
    return pa.RecordBatch.from_pydict({**known, **columns})


def of_type(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(kind):
        return pa.array([Decimal(v) for v in values], kind)
    return pa.array(values).cast(kind)


@pytest.mark.parametrize("kind", NUMERIC, ids=str)
def test_numbers_of_any_type_are_read_as_doubles(kind: pa.DataType) -> None:
    batch = trades(price=of_type(NUMBERS, kind))

    assert ewma(batch, alpha=0.5)["ewma"].to_pylist() == [1.0, 2.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", TIMES, ids=str)
def test_times_of_any_unit_and_zone_are_read_as_nanoseconds(kind: pa.DataType) -> None:
    batch = trades(price=of_type(NUMBERS, kind))

    got = ewma(batch, alpha=0.5)["ewma"].to_pylist()

    assert got == [TIMES[kind] * value for value in (1.0, 2.0, 2.0, 3.0)]


@pytest.mark.parametrize("kind", TEXT, ids=str)
def test_symbols_and_sides_may_be_text_of_any_type(kind: pa.DataType) -> None:
    symbols = pa.array(["A", "B", "A", None]).cast(kind)
    sides = pa.array(["buy", "SELL", "b", "ask"])
    if not pa.types.is_binary(kind):
        sides = sides.cast(kind)
    batch = trades(symbol=symbols, side=sides)

    assert ewma(batch, alpha=0.5)["ewma"].to_pylist() == [1.0, 2.0, 2.0, None]
    assert signed_volume(batch)["signed_volume"].to_pylist() == [1.0, -1.0, 1.0, -1.0]


def test_dictionaries_booleans_and_columns_of_nothing_are_numbers_too() -> None:
    flags = pa.array([True, False, None, True])

    assert ewma(trades(price=flags), alpha=0.5)["ewma"].to_pylist() == [1.0, 0.0, None, 1.0]
    coded = trades(price=pa.array([1.5, 2.0, 1.5, None]).dictionary_encode())
    assert ewma(coded, alpha=0.5)["ewma"].to_pylist() == [1.5, 2.0, 1.5, None]
    assert ewma(trades(price=pa.nulls(4)))["ewma"].null_count == 4


def test_whole_numbers_and_dates_may_be_symbols() -> None:
    days = [datetime.date(2026, 1, 5), datetime.date(2026, 1, 6)] * 2

    assert ewma(trades(symbol=[1, 2, 1, 1]), alpha=0.5)["ewma"].to_pylist() == [1.0, 2.0, 2.0, 3.0]
    assert ewma(trades(symbol=days), alpha=0.5)["ewma"].to_pylist() == [1.0, 2.0, 2.0, 3.0]


@pytest.mark.parametrize("missing", [None, np.nan, np.inf])
def test_a_time_that_is_missing_in_a_column_of_doubles_skips_its_row(missing: Any) -> None:
    batch = pa.RecordBatch.from_pydict({"timestamp": [5.0, missing], "last_update": [1, 1]})

    assert stale_quote_detector(batch)["is_stale"].to_pylist() == [0, None]


@pytest.mark.parametrize("dictionary", [False, True])
def test_kinds_of_rows_may_be_names(dictionary: bool) -> None:
    kinds = pa.array(["trade", "quote", None, "trade"])
    batch = trades(kind=kinds.dictionary_encode() if dictionary else kinds)
    chain = Chain([{"kernel": "ewma", "alpha": 0.5}])
    state = chain.new_state()

    out = chain.run(state, batch)

    assert out["ewma"].to_pylist() == [1.0, None, None, 2.5]
    assert state.skipped.tolist() == [0]
    assert chain.oracle().run(batch.to_pylist()) == out.to_pylist()


@pytest.mark.parametrize("rows", [(0, 10), (3, 100), (17, 333), (64, 200), (999, 1), (500, 0)])
@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.float32(), pa.uint16()], ids=str)
def test_a_slice_reads_what_its_copy_reads(kind: pa.DataType, rows: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    batch = pa.RecordBatch.from_pydict(
        {
            "symbol": pa.array(rng.choice(["A", "B", None], 1_000).tolist()).dictionary_encode(),
            "price": pa.array(rng.random(1_000), mask=rng.random(1_000) < 0.1),
            "size": pa.array(rng.integers(1, 9, 1_000), kind, mask=rng.random(1_000) < 0.1),
            "kind": pa.array(rng.integers(0, 3, 1_000), pa.int8()),
        }
    )
    part = batch.slice(*rows)

    copied = pa.RecordBatch.from_pylist(part.to_pylist(), part.schema)

    assert vwap(part)["vwap"].to_pylist() == vwap(copied)["vwap"].to_pylist()


def test_frames_of_pandas_and_polars_come_in_through_arrow() -> None:
    batch = trades(side=["buy", "sell", "buy", "buy"])
    want = signed_volume(ewma(batch))
    frames = [batch.to_pandas(), polars.from_arrow(batch)]

    for table in [pa.table(frame) for frame in frames]:
        got = signed_volume(ewma(table)).combine_chunks()

        assert got["ewma"].to_pylist() == want["ewma"].to_pylist()
        assert got["signed_volume"].to_pylist() == want["signed_volume"].to_pylist()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"price": ["1", "2", "3", "4"]}, "column 'price' must hold numbers, or buy and sell"),
        ({"price": [[1.0]] * 4}, r"column 'price' must hold numbers, was list<"),
        ({"symbol": [["A"]] * 4}, r"column 'symbol' must hold keys that can be text, was list<"),
        ({"symbol": [b"\xff"] * 4}, "column 'symbol' must hold keys that can be text, was binary"),
        ({"kind": ["spot"] * 4}, r"column 'kind' must hold 0 \(trade\).*'spot' is not one"),
        ({"kind": [300] * 4}, r"column 'kind' must hold 0 \(trade\).*300"),
    ],
)
def test_a_column_that_cannot_be_read_is_named_with_its_type(columns: Any, said: str) -> None:
    with pytest.raises(ColumnError, match=said):
        ewma(trades(**columns))


@pytest.mark.parametrize("time", [1.5, 2.0**70, datetime.date(9999, 1, 1), "noon"])
def test_a_time_that_is_no_whole_number_of_nanoseconds_is_named(time: Any) -> None:
    batch = pa.RecordBatch.from_pydict({"timestamp": [time], "last_update": [1]})

    with pytest.raises(ColumnError, match="column 'timestamp' must hold"):
        stale_quote_detector(batch)


def test_a_column_that_is_there_twice_is_refused_where_it_is_read() -> None:
    columns, names = [pa.array(["A"]), pa.array([1.0]), pa.array([2.0])], ["symbol", "price"]
    twice = pa.RecordBatch.from_arrays(columns, [*names, "price"])
    key_twice = pa.RecordBatch.from_arrays([columns[0], *columns[:2]], ["symbol", *names])
    unread = pa.RecordBatch.from_arrays([*columns, columns[2]], [*names, "x", "x"][:4])

    for batch in (twice, key_twice):
        with pytest.raises(ColumnError, match="must be there once, was there 2 times"):
            ewma(batch)
    assert ewma(unread)["ewma"].to_pylist() == [1.0]


@pytest.mark.parametrize("rows", [6, 6_000])
@pytest.mark.parametrize(
    "key", [[5.0, 7.0, 5.0], [5, 7, 5], [True, False, True], [datetime.date(2026, 1, 2)] * 3]
)
def test_a_key_may_be_computed_with_too(key: list, rows: int) -> None:
    values = pa.array(key * (rows // 3))
    batch = pa.record_batch({"venue": values, "price": values})
    apart = batch.append_column("text", values.cast(pa.string()))

    out = ewma(batch, "venue", symbol_column="venue")

    assert out["ewma"].equals(ewma(apart, "price", symbol_column="text")["ewma"])


@pytest.mark.parametrize("kind", TEXT, ids=str)
def test_a_key_may_be_a_name_that_is_compared_too(kind: pa.DataType) -> None:
    columns = {"ts_event_ns": [1] * 5, "price": [2.0] * 5, "size": [3.0] * 5}
    venues = pa.array(["X.LONG.NAME.OF.A.VENUE", "Y", "Y", "", "Y"])
    batch = pa.record_batch({**columns, "venue": of_type(venues, kind)})
    if kind == pa.binary():
        batch = batch.set_column(3, "venue", venues)

    found = dedupe_venue_trades(batch, symbol_column="venue")["is_dup"]

    assert found.to_pylist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("kind", [[0, 0, 1, None], ["trade", "trade", "quote", None]])
def test_a_kind_of_row_may_be_a_key(kind: list) -> None:
    batch = trades(kind=kind)

    for _ in range(2):  # of which the second has no null
        out = vwap(batch, symbol_column="kind")["vwap"].to_pylist()
        assert out == [1.0, 1.5, None, None][: batch.num_rows]
        batch = batch.slice(0, 3)


def test_a_key_that_was_named_must_be_there() -> None:
    batch = trades()

    with pytest.raises(ColumnError, match="column 'venue' must be there"):
        ewma(batch, symbol_column="venue")
    with pytest.raises(ColumnError, match="column 'venue' must be there"):
        list(ewma.operator([batch], symbol_column="venue"))
    one_series = ewma(batch, symbol_column=None, alpha=0.5)["ewma"].to_pylist()
    assert one_series == [1.0, 1.5, 2.25, 3.125]


@pytest.mark.parametrize("data", [[1.0], {"price": [1.0]}, np.ones(3)], ids=["list", "dict", "np"])
def test_what_is_no_batch_is_named_with_the_way_to_make_one(data: Any) -> None:
    with pytest.raises(ColumnError, match=r"RecordBatch or Table, was .*pyarrow\.table"):
        ewma(data)
    with pytest.raises(ColumnError, match="RecordBatch, was"):
        chain = Chain([{"kernel": "ewma"}])
        chain.run(chain.new_state(), data)


def test_a_batch_that_was_refused_leaves_no_trace_in_the_next() -> None:
    chain = Chain([{"kernel": "vwap"}])
    state, batch = chain.new_state(), trades()
    without_size = batch.select(["price", "symbol"])  # the price in another place
    first = chain.run(state, batch)

    with pytest.raises(ColumnError, match="'size' must be there"):
        chain.run(state, without_size)

    assert first["vwap"].to_pylist() == [1.0, 2.0, 2.0, 8.0 / 3.0]
    assert chain.run(state, batch)["vwap"].to_pylist()[0] == 9.0 / 4.0


@pytest.mark.parametrize("values", [(1.0,), (1.0, 2.0, 3.0), ("x", 1.0), (1.0, "x"), (1.0, [])])
def test_a_tick_of_too_few_or_wrong_values_is_refused_and_changes_nothing(values: tuple) -> None:
    instance = vwap()
    instance.tick("A", 1.0, 2.0)
    before = instance.state_bytes()

    for symbol in ("A", "new"):
        with pytest.raises(ParameterError, match=r"2 numbers or None \(price, size\), was .*vwap"):
            instance.tick(symbol, *values)

    assert instance.state_bytes() == before
    assert instance.tick("A", 4.0, 1.0) == 2.0


def test_a_tick_reads_a_number_as_a_batch_does() -> None:
    smooth, age = ewma(alpha=0.5), stale_quote_detector()

    assert smooth.tick("A", Decimal(1)) == 1.0
    assert smooth.tick("A", np.float32(2.0)) == 1.5
    assert age.tick("A", float("nan"), 1) is None
    with pytest.raises(ParameterError, match="1 numbers or None"):
        smooth.tick("A", "2")
    with pytest.raises(ParameterError, match="symbol must be text or None, was 5"):
        smooth.tick(5, 1.0)
    with pytest.raises(ParameterError, match=r"symbol must be text or None, was .*ud800"):
        smooth.tick("\ud800", 1.0)
    with pytest.raises(ParameterError, match="whole ones for last_update, timestamp"):
        age.tick("A", 1.5, 1)
    with pytest.raises(ParameterError, match="whole ones for last_update, timestamp"):
        age.tick("A", 2**70, 1)


@pytest.mark.parametrize("values", [(), (1.0, 2.0), ("x",), (10**400,), ([],)])
def test_a_tick_that_is_not_one_number_is_refused_and_changes_nothing(values: tuple) -> None:
    smooth = ewma(alpha=0.5)
    smooth.tick("A", 1.0)

    for symbol in ("A", "new"):
        with pytest.raises(ParameterError, match=r"1 numbers or None \(price\), was .*\(ewma\)"):
            smooth.tick(symbol, *values)

    assert smooth.tick("A", 2.0) == 1.5


def test_a_tick_reads_a_side_as_a_batch_does() -> None:
    words = ["Buy", "sell", "ask", "", None, "unknown"]
    batch = pa.record_batch({"side": words, "size": [2.0] * len(words)})
    signed = signed_volume()

    ticked = [signed.tick("A", word, 2.0) for word in words]

    assert ticked == signed_volume(batch)["signed_volume"].to_pylist()
    with pytest.raises(ParameterError, match=r"was 'bought', 2\.0"):
        signed.tick("A", "bought", 2.0)
