"""Streams and operators: the surfaces made from each kernel agree with each other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import Stream, create_ewma_operator, ewma, log_returns, midprice, plan, vwap
from orrery_kernels.errors import ColumnError, ParameterError, StateError


def trades(rows: int = 3_000, symbols: int = 7) -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "symbol": [f"S{k}" for k in rng.integers(0, symbols, rows)],
            "venue": [f"V{k}" for k in rng.integers(0, 3, rows)],
            "price": 100.0 + rng.normal(size=rows),
            "volume": rng.integers(1, 9, rows),
            "bid": 99.0 + rng.normal(size=rows),
            "ask": 101.0 + rng.normal(size=rows),
        }
    )


def momentum(table: pa.Table, batch_size: int) -> pa.Table:
    return (
        Stream.from_table(table, batch_size)
        .map(lambda b: log_returns(b, "price"))
        .map(lambda b: ewma(b, alpha=0.06))
        .map(lambda b: vwap(b, "price", "volume"))
        .to_table()
        .combine_chunks()
    )


@pytest.mark.parametrize("size", [1, 13, 1_000])
def test_a_stream_gives_the_same_bits_for_every_batch_size(size: int) -> None:
    table = trades()

    assert momentum(table, size).equals(momentum(table, 3_000))


def test_a_function_on_its_own_is_pure() -> None:
    table = trades()

    assert ewma(table, alpha=0.06).equals(ewma(table, alpha=0.06))


def test_outside_a_stream_a_call_starts_empty_also_after_a_stream() -> None:
    table = trades(10)

    list(Stream.from_table(table, 5).map(lambda b: ewma(b)))

    assert ewma(table)["ewma"][0].as_py() == table["price"][0].as_py()


def test_one_stage_may_call_two_kernels_and_one_kernel_twice() -> None:
    table = trades()

    def both(batch: pa.RecordBatch) -> pa.RecordBatch:
        return ewma(ewma(batch, alpha=0.1, output="fast"), alpha=0.01, output="slow")

    out = Stream.from_table(table, 11).map(both).to_table().combine_chunks()

    assert out["fast"].equals(ewma(table, alpha=0.1).combine_chunks()["ewma"])
    assert out["slow"].equals(ewma(table, alpha=0.01).combine_chunks()["ewma"])


def test_a_stage_that_calls_other_kernels_for_another_batch_is_refused() -> None:
    turns = iter([0.1, 0.2])

    with pytest.raises(ParameterError, match="same kernels for every batch"):
        list(Stream.from_table(trades(10), 5).map(lambda b: ewma(b, alpha=next(turns))))


def test_iterating_again_starts_again() -> None:
    stream = Stream.from_table(trades(), 100).map(lambda b: ewma(b))

    assert list(stream) == list(stream)


def test_an_instance_keeps_its_state_and_goes_where_a_function_goes() -> None:
    table = trades()

    out = Stream.from_table(table, 17).map(ewma(alpha=0.06)).to_table().combine_chunks()

    assert out.equals(ewma(table, alpha=0.06).combine_chunks())


def test_an_instance_restored_elsewhere_goes_on() -> None:
    first, second = ewma(alpha=0.5), ewma(alpha=0.5)
    first.tick("A", 1.0)

    second.restore(first.state_bytes())

    assert second.tick("A", 2.0) == first.tick("A", 2.0) == 1.5


def test_operators_chain_by_their_source_and_keep_rows_and_null_keys() -> None:
    table = trades(500)
    holed = table.set_column(0, "symbol", pa.array([None, *table["symbol"].to_pylist()[1:]]))
    stream = Stream.from_table(holed, 50)

    op = create_ewma_operator(
        source=log_returns.operator(stream), alpha=0.06, symbol_column="symbol"
    )
    out = pa.Table.from_batches(list(Stream(op))).combine_chunks()

    assert out.select(holed.schema.names).equals(holed.combine_chunks())
    assert out["ewma"][0].as_py() is None
    assert out.equals(ewma(log_returns(holed), alpha=0.06).combine_chunks())


def test_a_shuffle_is_needed_only_where_the_key_changes() -> None:
    stream = Stream.from_table(trades(), 100)
    mid = midprice.operator(stream)
    first = log_returns.operator(mid)
    same = ewma.operator(first)
    other = vwap.operator(same, symbol_column="venue")

    assert [op.requires_shuffle() for op in (mid, first, same, other)] == [False, True, False, True]
    assert [op.get_partition_keys() for op in (mid, first, other)] == [[], ["symbol"], ["venue"]]
    assert [(s.key, s.shuffle, len(s.steps)) for s in plan(other).stages] == [
        ("symbol", True, 3),
        ("venue", True, 1),
    ]


@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_a_plan_gives_the_same_bits_on_any_number_of_partitions(partitions: int) -> None:
    stream = Stream.from_table(trades(), 250)
    op = vwap.operator(ewma.operator(log_returns.operator(stream)), symbol_column="venue")

    out = pa.Table.from_batches(list(plan(op).run(partitions=partitions)))

    assert out.combine_chunks().equals(pa.Table.from_batches(list(op)).combine_chunks())


def test_a_plan_is_plain_data() -> None:
    stream = Stream.from_table(trades(), 250)
    made = plan(ewma.operator(stream, alpha=0.5))

    again = type(made).from_json(made.to_json(), stream)

    assert [b.to_pydict() for b in again.run(2)] == [b.to_pydict() for b in made.run(2)]


def test_state_of_another_kernel_is_refused() -> None:
    op = ewma.operator(None, alpha=0.5)
    op.process_batch(trades(5).to_batches()[0])

    with pytest.raises(StateError, match="must be of chain"):
        ewma.operator(None, alpha=0.25).restore(op.state_bytes())


def test_a_second_output_of_one_name_is_refused() -> None:
    with pytest.raises(ColumnError, match="use output="):
        ewma(ewma(trades(5)))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ColumnError, match="'prise' must be there"):
        ewma(trades(5), "prise")


def test_a_wrong_parameter_is_named_with_its_rule() -> None:
    with pytest.raises(ParameterError, match=r"alpha must be in \(0, 1\], was 1.7"):
        ewma(trades(5), alpha=1.7)
