"""As-of joins against DuckDB, pandas and a search row by row; streams against the whole join."""

from __future__ import annotations

from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels import (
    AsofJoinKernel,
    StreamingAsofJoinKernel,
    asof_join,
    asof_join_streaming,
    asof_join_table,
)
from orrery_kernels.errors import ColumnError, OrderError, ParameterError, StateError

RNG = np.random.default_rng(20261125)
DIRECTIONS = ["backward", "forward", "nearest"]


def side(rows: int, column: str, symbols: int = 5, span: int = 400) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "ts_event_ns": np.sort(RNG.integers(0, span, rows)),
            "symbol": [f"S{k}" for k in RNG.integers(0, symbols, rows)],
            column: np.arange(rows).astype(float),
        }
    )


TRADES, QUOTES = side(600, "price"), side(500, "bid")


def searched(left, right, direction, tolerance, strict) -> list[float | None]:
    """Return the bid of each left row, found by looking at every right row."""
    rights = list(
        zip(*(right[c].to_pylist() for c in ("ts_event_ns", "symbol", "bid")), strict=True)
    )
    out = []
    for t, symbol in zip(left["ts_event_ns"].to_pylist(), left["symbol"].to_pylist(), strict=True):
        mine = [(q, bid) for q, s, bid in rights if s == symbol and (q != t or not strict)]
        before = [(q, bid) for q, bid in mine if q <= t][-1:]
        after = [(q, bid) for q, bid in mine if q >= t][:1]
        found = {"backward": before, "forward": after}.get(direction)
        if found is None:
            found = sorted(before + after, key=lambda pair: abs(pair[0] - t))[:1]
        near = [bid for q, bid in found if tolerance is None or abs(q - t) <= tolerance]
        out.append(near[0] if near else None)
    return out


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("tolerance", [None, 0, 7])
@pytest.mark.parametrize("strict", [False, True])
def test_every_row_finds_what_a_search_finds(direction, tolerance, strict):
    out = asof_join(TRADES, QUOTES, tolerance=tolerance, direction=direction, strict=strict)

    assert out["bid"].to_pylist() == searched(TRADES, QUOTES, direction, tolerance, strict)
    assert out.select(TRADES.schema.names).equals(TRADES)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_join_is_that_of_pandas(direction):
    theirs = pd.merge_asof(
        TRADES.to_pandas(), QUOTES.to_pandas(), on="ts_event_ns", by="symbol", direction=direction,
        tolerance=20,
    )  # fmt: skip

    out = asof_join(TRADES, QUOTES, direction=direction, tolerance=20)

    np.testing.assert_array_equal(out["bid"].to_numpy(zero_copy_only=False), theirs["bid"])


def test_the_join_is_that_of_duckdb():
    trades, quotes = side(600, "price", span=10**9), side(500, "bid", span=10**9)  # no equal times
    con = duckdb.connect()
    con.register("trades", pa.table(trades))
    con.register("quotes", pa.table(quotes))
    rows = con.execute(
        "select q.bid from trades t asof left join quotes q"
        " on t.symbol = q.symbol and t.ts_event_ns >= q.ts_event_ns order by t.price"
    ).fetchall()

    assert asof_join(trades, quotes)["bid"].to_pylist() == [bid for (bid,) in rows]


def test_a_later_quote_never_reaches_a_trade_before_it():
    changed = side(500, "bid")
    cut = 250
    time = QUOTES["ts_event_ns"][cut].as_py()
    mixed = pa.Table.from_batches(
        [QUOTES.slice(0, cut), changed.filter(pa.compute.greater(changed["ts_event_ns"], time))]
    )

    out, want = asof_join(TRADES, mixed), asof_join(TRADES, QUOTES)

    before = np.flatnonzero(TRADES["ts_event_ns"].to_numpy() < time)
    assert out["bid"].take(before).equals(want["bid"].take(before))


def test_columns_of_any_type_come_along_and_names_of_both_sides_are_told_apart():
    right = QUOTES.append_column("venue", pa.array(["X", None] * 250)).append_column(
        "size", pa.array(np.arange(500, dtype=np.int32))
    )
    left = TRADES.append_column("size", pa.array(np.ones(600)))

    out = asof_join(left, right)

    assert out.schema.names == [
        "ts_event_ns", "symbol", "price", "size", "ts_event_ns_right", "bid", "venue", "size_right",
    ]  # fmt: skip
    rows = [None if b is None else int(b) for b in out["bid"].to_pylist()]
    venues = right["venue"].to_pylist()
    assert out["venue"].to_pylist() == [None if r is None else venues[r] for r in rows]
    assert out["size_right"].to_pylist() == rows


def test_what_the_schema_of_the_left_rows_says_is_said_of_the_joined_ones():
    left = TRADES.replace_schema_metadata({"venue": "DEMO"})

    assert asof_join(left, QUOTES).schema.metadata == left.schema.metadata


def test_two_columns_out_have_two_names():
    left = TRADES.append_column("size", pa.array(np.ones(600)))
    right = QUOTES.append_column("size", pa.array(np.ones(500)))
    right = right.append_column("size_right", pa.array(np.ones(500)))

    with pytest.raises(ColumnError, match="'size_right' must be new; give another suffix"):
        asof_join(left, right)

    assert asof_join(left, right, suffix="_then").schema.names[-2:] == ["size_then", "size_right"]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view(), pa.large_string()], ids=str)
def test_text_comes_along_in_any_form(kind):
    names = pa.array([f"n{k}" if k % 7 else None for k in range(500)])
    right = QUOTES.append_column("name", names)

    out = asof_join(TRADES, QUOTES.append_column("name", names.cast(kind)))

    assert out["name"].type == kind
    assert out["name"].cast(pa.large_binary()) == asof_join(TRADES, right)["name"].cast(
        pa.large_binary()
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"suffix": None}, "suffix must be text .* was None, False"),
        ({"strict": "no"}, "strict True or False, was '_right', 'no'"),
        ({"by": 3}, "by must name columns, was 3"),
        ({"by": ["symbol", None]}, "by must name columns"),
        ({"rows_max": "many"}, r"rows_max must be a whole number in \[1, inf\), was 'many'"),
        ({"rows_max": 0}, "rows_max must be"),
        ({"when_full": "forget"}, "when_full must be 'evict' or 'refuse', was 'forget'"),
    ],
)
def test_what_is_wrong_with_a_join_is_said(given, said):
    with pytest.raises(ParameterError, match=said):
        AsofJoinKernel(**given)


def test_a_tolerance_beyond_all_times_is_none():
    assert asof_join(TRADES, QUOTES, tolerance=2**70).equals(asof_join(TRADES, QUOTES))


def test_keys_may_be_dictionaries_whole_numbers_or_several_columns_and_null_finds_nothing():
    def keyed(batch, keys):
        return pa.record_batch([batch["ts_event_ns"], batch.column(2), *keys.values()],
                               names=["ts_event_ns", batch.schema.names[2], *keys])  # fmt: skip

    want = asof_join(TRADES, QUOTES)["bid"]
    numbers = [
        pa.array([None if s == "S0" else int(s[1:]) for s in b["symbol"].to_pylist()])
        for b in (TRADES, QUOTES)
    ]
    left, right = (
        keyed(b, {"a": b["symbol"].dictionary_encode(), "n": n})
        for b, n in zip((TRADES, QUOTES), numbers, strict=True)
    )

    assert asof_join(left, right, by="a")["bid"].equals(want)
    is_null = np.array(TRADES["symbol"].to_pylist()) == "S0"
    for by in ("n", ["a", "n"]):
        out = asof_join(left, right, by=by)["bid"]
        assert out.take(np.flatnonzero(~is_null)).equals(want.take(np.flatnonzero(~is_null)))
        assert out.take(np.flatnonzero(is_null)).null_count == is_null.sum()


@pytest.mark.parametrize("between", ["\x1f", "\x00", "", "1:"])
def test_keys_of_several_columns_are_equal_only_where_each_column_is(between):
    left = pa.record_batch({"ts_event_ns": [5, 6, 7], "a": ["x" + between + "y", "x", "x"],
                            "b": ["z", between + "zy", None]})  # fmt: skip
    right = pa.record_batch({"ts_event_ns": [1, 2, 3], "bid": [1.0, 2.0, 3.0],
                             "a": ["x", "x" + between + "y", "x"],
                             "b": ["y" + between + "z", "y", "z"]})  # fmt: skip

    apart = asof_join(left, right, by=["a", "b"])["bid"]
    together = asof_join(left, right.set_column(3, "b", pa.array([between + "zy"] * 3)),
                         by=["a", "b"])["bid"]  # fmt: skip

    assert apart.to_pylist() == [None, None, None]
    assert together.to_pylist() == [None, 3.0, None]


def test_many_keys_of_three_columns_are_those_of_pandas_whole_and_as_a_stream():
    rng = np.random.default_rng(20261126)
    left, right = (
        pd.DataFrame(
            {"ts_event_ns": np.sort(rng.integers(0, 100_000, rows)), "a": rng.integers(0, 30, rows)}
            | {"b": rng.choice(["u", "v", "u\x1fv"], rows), "c": rng.integers(-9, 9, rows)}
        )
        for rows in (3_000, 5_000)
    )
    right["bid"] = rng.normal(size=len(right))
    want = pd.merge_asof(left, right, on="ts_event_ns", by=["a", "b", "c"])["bid"]
    join = AsofJoinKernel(by=["a", "b", "c"])
    batches = (pa.RecordBatch.from_pandas(frame, preserve_index=False) for frame in (left, right))
    trades, quotes = batches

    whole = asof_join(trades, quotes, by=["a", "b", "c"])["bid"]
    join.add(quotes)
    cut = [join.probe(trades.slice(k, 700)) for k in range(0, len(trades), 700)]

    assert want.notna().sum() > 500
    np.testing.assert_array_equal(whole.to_numpy(zero_copy_only=False), want.to_numpy())
    assert pa.Table.from_batches(cut)["bid"].combine_chunks().equals(whole)


def test_timestamps_count_in_nanoseconds_and_null_times_find_nothing():
    times = pa.array([1, None, 3], pa.timestamp("us"))
    left = pa.record_batch({"timestamp": times, "price": [1.0, 2.0, 3.0]})
    right = pa.record_batch(
        {"timestamp": pa.array([None, 2], pa.timestamp("us")), "bid": [8.0, 9.0]}
    )

    assert asof_join(left, right, on="timestamp")["bid"].to_pylist() == [None, None, 9.0]
    assert asof_join(left, right, "timestamp", tolerance=999)["bid"].to_pylist() == [None] * 3


def test_a_table_may_come_in_any_order():
    shuffled = pa.Table.from_batches([QUOTES]).take(RNG.permutation(500))

    out = asof_join_table(TRADES, shuffled, strict=True)

    want = asof_join(TRADES, QUOTES, strict=True)
    assert out["ts_event_ns_right"].equals(want["ts_event_ns_right"])


def test_no_rows_on_either_side_keep_the_schema():
    nothing = asof_join(TRADES, QUOTES.slice(0, 0))

    assert nothing["bid"].null_count == 600
    assert asof_join(TRADES.slice(0, 0), QUOTES).schema == nothing.schema


def test_time_that_runs_backwards_and_columns_that_are_missing_are_named():
    with pytest.raises(OrderError, match="in order of 'ts_event_ns', row 1"):
        asof_join(TRADES.take([5, 0]), QUOTES)
    with pytest.raises(ColumnError, match="'venue' must be there"):
        asof_join(TRADES, QUOTES, by="venue")
    with pytest.raises(ParameterError, match="direction must be one of"):
        asof_join(TRADES, QUOTES, direction="sideways")
    with pytest.raises(ParameterError, match="tolerance must be a whole number"):
        asof_join(TRADES, QUOTES, tolerance=-1)
    with pytest.raises(ParameterError, match="tolerance must be a whole number"):
        asof_join(TRADES, QUOTES, tolerance="1s")


def quote(*times: int, **columns: list[float]) -> pa.RecordBatch:
    return pa.record_batch(
        {"ts_event_ns": [*times], **(columns or {"bid": [0.1 * t for t in times]})}
    )


def test_right_rows_that_were_refused_answer_nothing() -> None:
    join = AsofJoinKernel(by=None)

    with pytest.raises(OrderError, match="row 1 has 4 after 6"):
        join.add(quote(6, 4, bid=[7.0, 8.0]))
    join.add(quote(4, 6, bid=[0.4, 0.6]))
    with pytest.raises(OrderError, match="4 came after 6"):
        join.add(quote(4, bid=[9.0]))

    assert join.probe(quote(5, 9, price=[1.0, 2.0]))["bid"].to_pylist() == [0.4, 0.6]


def test_a_stream_refuses_rows_out_of_order_and_other_columns_and_goes_on() -> None:
    join = StreamingAsofJoinKernel(by=None)
    join.push_right(quote(4, 6))

    with pytest.raises(OrderError, match=r"right rows must be in order .* row 0 has 5 after 6"):
        join.push_right(quote(5))
    with pytest.raises(OrderError, match=r"right rows must be in order .* row 1 has 7 after 8"):
        join.push_right(quote(8, 7))
    with pytest.raises(ColumnError, match="columns of a stream must stay"):
        join.push_right(quote(9, ask=[1.0]))
    join.push_left(quote(7, price=[1.0]))

    assert join.finish()["bid"].to_pylist() == [0.6000000000000001]


def cuts(rows: int) -> st.SearchStrategy:
    return st.lists(st.integers(0, rows), max_size=8).map(lambda c: [0, *sorted(c), rows])


def cut(batch: pa.RecordBatch, places: list[int]) -> list[pa.RecordBatch]:
    return [batch.slice(a, b - a) for a, b in pairwise(places)]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("strict", [False, True])
@settings(max_examples=15, deadline=None)
@given(left=cuts(600), right=cuts(500))
def test_two_streams_however_cut_join_as_their_tables(direction, strict, left, right):
    rules = {"tolerance": 9, "direction": direction, "strict": strict}

    out = asof_join_streaming(cut(TRADES, left), cut(QUOTES, right), **rules)

    whole = pa.Table.from_batches(list(out)).combine_chunks().to_batches()[0]
    assert whole.equals(asof_join(TRADES, QUOTES, **rules))


def test_what_comes_out_does_not_depend_on_which_stream_is_early():
    def run(order: str) -> pa.Table:
        join, out = StreamingAsofJoinKernel(), []
        left, right = (
            iter(cut(TRADES, list(range(0, 601, 60)))),
            iter(cut(QUOTES, list(range(0, 501, 50)))),
        )
        for turn in order:
            out.append(join.push_left(next(left)) if turn == "l" else join.push_right(next(right)))
        out.append(join.finish())
        return pa.Table.from_batches([b for b in out if b is not None]).combine_chunks()

    assert run("rl" * 10).equals(run("lr" * 10))
    assert run("r" * 10 + "l" * 10).equals(run("l" * 10 + "r" * 10))
    assert run("rl" * 10).to_batches()[0].equals(asof_join(TRADES, QUOTES))


def test_a_left_row_waits_until_nothing_can_change_its_answer():
    join = StreamingAsofJoinKernel(by=None, tolerance=3, direction="forward")
    join.push_left(pa.record_batch({"ts_event_ns": [10], "price": [1.0]}))

    assert join.push_right(pa.record_batch({"ts_event_ns": [5, 13], "bid": [1.0, 2.0]})) is None
    out = join.push_right(pa.record_batch({"ts_event_ns": [14], "bid": [3.0]}))
    assert out["bid"].to_pylist() == [2.0]


def test_a_forward_join_of_streams_without_a_tolerance_is_refused():
    with pytest.raises(ParameterError, match="needs a tolerance in a stream"):
        StreamingAsofJoinKernel(direction="nearest")


def test_a_stream_remembers_no_more_than_its_keys_and_what_is_ahead():
    join, longest = StreamingAsofJoinKernel(), 0
    trades, quotes = side(20_000, "price", span=10**9), side(20_000, "bid", span=10**9)
    places = list(range(0, 20_001, 100))
    for left, right in zip(cut(trades, places), cut(quotes, places), strict=True):
        join.push_right(right)
        join.push_left(left)
        longest = max(longest, len(join.right.times))

    assert longest < 1_500
    assert (join.evicted, join.undecided) == (0, 0)


def test_beyond_its_bound_a_stream_evicts_the_oldest_and_counts_them():
    join = StreamingAsofJoinKernel(by=None, rows_max=3)
    join.push_right(
        pa.record_batch({"ts_event_ns": list(range(10)), "bid": [float(k) for k in range(10)]})
    )
    assert (join.evicted, len(join.right.times)) == (7, 3)

    out = join.push_left(
        pa.record_batch({"ts_event_ns": [5, 8, 20, 21, 22, 23], "price": [0.0] * 6})
    )

    assert out["bid"].to_pylist() == [None, 8.0, 9.0]
    assert (join.undecided, join.waiting) == (1, 3)


@settings(max_examples=15, deadline=None)
@given(places=st.lists(st.integers(0, 400), max_size=8))
def test_a_join_kept_going_answers_as_the_join_of_the_whole(places):
    edges = [0, *sorted(places), 401]
    join, out = AsofJoinKernel(), []
    for low, high in pairwise(edges):
        for batch, take in ((QUOTES, join.add), (TRADES, lambda b: out.append(join.probe(b)))):
            times = batch["ts_event_ns"].to_numpy()
            inside = np.flatnonzero((times >= low) & (times < high))
            take(batch.take(pa.array(inside)))

    assert (
        pa.Table.from_batches(out)
        .combine_chunks()
        .to_batches()[0]
        .equals(asof_join(TRADES, QUOTES))
    )


@pytest.mark.parametrize("strict", [False, True])
def test_a_join_kept_going_forgets_what_no_row_can_ask_for(strict):
    trades, quotes = side(30_000, "price", span=10**9), side(30_000, "bid", span=10**9)
    join, out = AsofJoinKernel(strict=strict), []
    for start in range(0, 30_000, 1_000):
        end = trades["ts_event_ns"][start + 999].as_py()
        have = len(out) and out[-1]["ts_event_ns"][-1].as_py()
        times = quotes["ts_event_ns"].to_numpy()
        join.add(quotes.take(pa.array(np.flatnonzero((times > have - (not out)) & (times <= end)))))
        out.append(join.probe(trades.slice(start, 1_000)))

    whole = pa.Table.from_batches(out).combine_chunks().to_batches()[0]
    assert whole.equals(asof_join(trades, quotes, strict=strict))
    assert len(join) < 10_000
    assert join.evicted == 0


def test_a_full_join_evicts_or_refuses_as_it_was_told():
    rows = pa.record_batch({"ts_event_ns": [1, 2, 3], "bid": [1.0, 2.0, 3.0]})
    evicting = AsofJoinKernel(by=None, rows_max=2)
    refusing = AsofJoinKernel(by=None, rows_max=2, when_full="refuse")

    evicting.add(rows)

    assert (len(evicting), evicting.evicted) == (2, 1)
    with pytest.raises(StateError, match="at most rows_max = 2"):
        refusing.add(rows)
    assert len(refusing) == 0
    with pytest.raises(OrderError, match="right rows must be in order"):
        evicting.add(rows)
