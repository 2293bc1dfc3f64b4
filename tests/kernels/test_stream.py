"""Streams and operators: the surfaces made from each kernel agree with each other."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import (
    Chain,
    Stream,
    create_ewma_operator,
    ewma,
    log_returns,
    macd,
    midprice,
    plan,
    vwap,
)
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


@pytest.mark.parametrize("key", [[b"a", b"b", b"a", None], [7, 8, 7, None], [0.5, 2.0, 0.5, None]])
def test_rows_of_one_key_share_a_partition_whatever_the_type_of_the_column(key: list) -> None:
    text = pa.array(key).cast(pa.string())
    batches = [
        pa.record_batch({"symbol": k, "price": [1.0, 2.0, 3.0, 4.0]}) for k in (pa.array(key), text)
    ]

    for partitions in (1, 2, 5):
        first, second = plan(ewma.operator(batches)).run(partitions)

        assert first["ewma"].to_pylist()[:2] == [1.0, 2.0]
        assert second["ewma"].to_pylist()[:2] == [pytest.approx(0.94 * 1.12 + 0.06), 2.0]


def test_a_plan_is_plain_data() -> None:
    stream = Stream.from_table(trades(), 250)
    made = plan(ewma.operator(stream, alpha=0.5))

    again = type(made).from_json(made.to_json(), stream)

    assert [b.to_pydict() for b in again.run(2)] == [b.to_pydict() for b in made.run(2)]


@pytest.mark.parametrize(
    "kind",
    [pa.string_view(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.binary_view()],
    ids=str,
)
def test_columns_of_any_form_go_through_a_plan_and_come_out_as_they_were(kind: pa.DataType) -> None:
    table = trades(300)
    for name in ("symbol", "venue"):
        place, values = table.schema.get_field_index(name), table[name].combine_chunks()
        plain = pa.types.is_dictionary(kind)
        values = values.dictionary_encode().cast(kind) if plain else values.cast(kind)
        table = table.set_column(place, name, values)
    op = ewma.operator(table.replace_schema_metadata({"of": "us"}).to_batches(max_chunksize=100))

    for partitions in (1, 3):
        out = list(plan(op).run(partitions))

        assert [batch.schema for batch in out] == [batch.schema for batch in op]
        assert out == list(op)
        assert out[0].schema.metadata == {b"of": b"us"}


def test_a_key_may_be_a_number_that_is_computed_with() -> None:
    batch = pa.record_batch({"symbol": [5, 7, 5, 7, 9], "volume": [1, 2, 3, 4, 5]})
    op = ewma.operator([batch], "symbol")

    assert list(plan(op).run(3)) == list(op) == [ewma(batch, "symbol")]


def test_an_operator_that_goes_on_from_a_state_is_not_planned_as_if_it_had_none() -> None:
    source = Stream.from_table(pa.table({"symbol": ["A", "B"], "price": [1.0, 2.0]}), batch_size=1)
    read, fed, restored = (ewma.operator(source, alpha=0.5) for _ in range(3))
    list(read)  # and begins anew, as the source does
    fed.process_batch(next(iter(source)))
    restored.restore(fed.state_bytes())

    assert list(plan(read).run()) == list(read)
    for op in (fed, restored, log_returns.operator(restored, "ewma")):
        with pytest.raises(ParameterError, match="begins without state, but ewma_operator"):
            plan(op)


def test_numbers_of_numpy_are_plain_data_in_a_plan() -> None:
    source = trades(50).to_batches()
    chosen = plan(macd.operator(source, fast=np.int64(3), slow=np.int32(9), output=("a", "b", "c")))

    again = type(chosen).from_json(chosen.to_json(), source)

    assert list(again.run(2)) == list(macd.operator(source, fast=3, slow=9, output=["a", "b", "c"]))


def test_state_of_another_kernel_is_refused() -> None:
    op = ewma.operator(None, alpha=0.5)
    op.process_batch(trades(5).to_batches()[0])

    with pytest.raises(StateError, match="must be of chain"):
        ewma.operator(None, alpha=0.25).restore(op.state_bytes())


@pytest.mark.parametrize("state", [None, "ORK1", b"", b"ORK", 7, [b""]])
def test_what_is_no_state_is_refused_and_changes_nothing(state: Any) -> None:
    instance, op = ewma(alpha=0.5), ewma.operator(None, alpha=0.5)
    instance.tick("A", 1.0)

    for held in (instance, op):
        with pytest.raises(StateError, match="state must be"):
            held.restore(state)

    assert instance.tick("A", 2.0) == 1.5


@pytest.mark.parametrize("names", [["a", "a", "b"], ["a", "b", "b"]])
def test_two_outputs_of_one_kernel_have_two_names(names: list[str]) -> None:
    with pytest.raises(ColumnError, match=r"'[ab]' must be new, was there 2 times \(macd\)"):
        macd(trades(5), output=names)


def test_an_output_may_not_take_the_name_of_a_column_of_ticks() -> None:
    with pytest.raises(ColumnError, match=r"'volume' must be new, was a column of ticks \(ewma\)"):
        ewma(trades(5).drop(["volume"]), output="volume")


def test_a_second_output_of_one_name_is_refused() -> None:
    with pytest.raises(ColumnError, match="use output="):
        ewma(ewma(trades(5)))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ColumnError, match="'prise' must be there"):
        ewma(trades(5), "prise")


def test_a_wrong_parameter_is_named_with_its_rule() -> None:
    with pytest.raises(ParameterError, match=r"alpha must be in \(0, 1\], was 1.7"):
        ewma(trades(5), alpha=1.7)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"alpha": np.array([0.1, 0.2])}, "alpha must be a number"),
        ({"alpha": 1.7}, r"alpha must be in \(0, 1\], was 1.7 \(ewma\)$"),
        ({"alpha": 10**400}, r"alpha must be a number of 64 bits, was 10{400} \(ewma\)$"),
        ({"alhpa": 0.1}, "'alhpa' is not a parameter of ewma; it has: alpha"),
        ({"output": 3}, r"output must name 1 columns \(ewma\), was 3"),
        ({"output": ""}, "output must name 1 columns"),
        ({"column": "price", "x": "size"}, "column is another word for x, give one of them"),
        ({"x": None}, "x must name a column, was None"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        ewma(trades(5), **given)


def test_a_column_given_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match="x must be given once, was 'price' and 'volume'"):
        ewma(trades(5), "price", x="volume")
    with pytest.raises(ParameterError, match="reads 1 columns"):
        ewma.operator(None, "price", "volume")


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_a_chain_runs_on_one_thread_or_more(threads: int) -> None:
    chain = Chain([{"kernel": "ewma"}])

    with pytest.raises(ParameterError, match=r"threads must be a whole number in \[1, inf\)"):
        chain.run(chain.new_state(), trades(5).to_batches()[0], threads=threads)


def test_steps_that_are_no_steps_are_named() -> None:
    with pytest.raises(ParameterError, match=r"a step must be .*'ewma'"):
        Chain(["ewma"])
    with pytest.raises(ParameterError, match=r"'ewna' \(step 1\); did you mean 'ewma'"):
        Chain([{"kernel": "ewna"}])


def test_rows_skipped_are_counted() -> None:
    holed = pa.table({"symbol": ["A"] * 4, "price": [1.0, None, float("nan"), float("inf")]})
    instance, op = ewma(), ewma.operator([*holed.to_batches()])

    instance(holed)
    instance.tick("A", None)
    list(op)

    assert (instance.skipped, op.skipped) == (4, 3)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_instances_and_operators_are_copied_and_pickled_with_a_state_of_their_own(
    again: Any,
) -> None:
    instance, op = ewma(alpha=0.5), ewma.operator(None, alpha=0.5, symbol_column="venue")
    first, second = trades(20).to_batches()[0], trades(9).to_batches()[0]
    instance(first), op.process_batch(first)

    copies = again(instance), again(op)

    assert copies[0](second).equals(instance(second))
    assert copies[1].process_batch(second).equals(op.process_batch(second))
    assert copies[0].state_bytes() == instance.state_bytes()
    assert again(instance.chain).digest == instance.chain.digest


def test_an_operator_read_again_gives_the_same_again() -> None:
    op = ewma.operator(log_returns.operator(Stream.from_table(trades(), 100)), "log_return")

    assert list(op) == list(op)
    assert list(Stream(op)) == list(op)


def test_two_readings_of_an_operator_at_once_are_each_as_one_alone() -> None:
    shared = log_returns.operator(Stream.from_table(trades(), 100))
    fast, slow = ewma.operator(shared, "log_return"), vwap.operator(shared, size="volume")

    both = list(zip(fast, slow, strict=True))
    first, second = iter(shared), iter(shared)
    in_turn = [next(reading) for _ in range(30) for reading in (first, second)]

    assert [batch for batch, _ in both] == list(fast)
    assert [batch for _, batch in both] == list(slow)
    assert in_turn[::2] == in_turn[1::2] == list(shared)


def test_an_operator_over_batches_that_come_once_goes_on_where_it_was() -> None:
    batches = trades(300).to_batches(max_chunksize=100)
    op = ewma.operator(iter(batches))

    first = [next(iter(op))]
    rest = list(op)

    assert first + rest == list(ewma.operator(batches))


def test_an_operator_goes_on_from_a_restored_state() -> None:
    first, rest = trades(300).to_batches(max_chunksize=200)
    before = ewma.operator([first])
    list(before)
    op = ewma.operator([rest])

    op.restore(before.state_bytes())

    assert list(op) == list(op) == [ewma(trades(300)).to_batches(max_chunksize=200)[1]]


def test_a_plan_sees_through_a_stream_without_stages() -> None:
    op = ewma.operator(Stream(log_returns.operator(Stream.from_table(trades(), 100))), "log_return")

    assert not op.requires_shuffle()
    assert [len(stage.steps) for stage in plan(op).stages] == [2]
    assert repr(plan(Stream(op))) == repr(plan(op))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plan(3), "plan needs an operator"),
        (lambda: list(plan(ewma.operator([])).run(0)), "partitions must be"),
        (lambda: list(plan(ewma.operator([])).run(2.5)), "partitions must be"),
        (lambda: list(plan(ewma.operator([])).run(True)), "partitions must be"),
        (lambda: list(plan(ewma.operator()).run()), "a plan must have a source"),
        (lambda: type(plan(ewma.operator([]))).from_json("[{}]", []), "a plan must be a list"),
        (lambda: ewma.operator([], symbol_column=None), "symbol_column must name a column"),
        (lambda: list(ewma.operator()), "must have a source"),
        (lambda: Stream.from_table(trades(5), 0), "batch_size must be"),
        (lambda: Stream.from_table(trades(5), "many"), "batch_size must be a whole number"),
        (lambda: Stream.from_table([1]), "table must be a pyarrow Table"),
        (lambda: Stream.from_table(trades(5)).map(None), "map needs a function"),
        (lambda: list(Stream.from_table(trades(5)).map(lambda b: None)), r"was None \(stage 1\)"),
        (lambda: Stream.from_batches([]).to_table(), "without batches"),
        (
            lambda: Stream.from_batches(trades(5)),
            r"record batches in order, was Table; .*from_table",
        ),
        (lambda: ewma.operator(trades(5).to_batches()[0]), "in order, was RecordBatch"),
        (lambda: ewma.operator(5), "a source must be a stream, .* was int"),
    ],
)
def test_what_cannot_be_planned_or_streamed_is_said(call: Any, said: str) -> None:
    with pytest.raises((ParameterError, ColumnError), match=said):
        call()


def test_a_stream_of_no_rows_keeps_the_schema() -> None:
    out = Stream.from_table(trades(5).slice(0, 0)).map(lambda b: ewma(b)).to_table()

    assert (out.num_rows, out.schema) == (0, ewma(trades(5)).schema)


def test_an_instance_made_inside_a_stage_is_that_of_the_stage() -> None:
    table = trades(50)

    out = Stream.from_table(table, 7).map(lambda b: ewma(alpha=0.5)(b)).to_table()

    assert out.combine_chunks().equals(ewma(table, alpha=0.5).combine_chunks())
