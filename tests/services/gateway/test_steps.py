"""Projections show the last of everything, and never a NaN."""

import math

import pyarrow as pa
import pytest
from orrery_services import tsdb
from orrery_services.gateway import steps
from orrery_services.protocol.facts import Place

PLACE = Place("log", 0, 5)
ROWS = pa.record_batch(
    {
        "symbol": ["A", "B", "A", "A"],
        "ts_event_ns": pa.array([1_000_000, 2_000_000, 2_500_000, 2_900_000], pa.int64()),
    }
)
OUTPUTS = pa.record_batch(
    {
        "vwap": pa.array([1.5, math.nan, None, 3.5]),
        "spread": pa.array([None, 0.5, 0.25, None]),
    }
)


def test_the_latest_row_keeps_what_it_does_not_say_anew():
    found = steps.latest(PLACE, ROWS, OUTPUTS)

    assert (found["A"].row, found["A"].ts_event_ns) == (3, 2_900_000)
    assert found["A"].outputs == {"vwap": 3.5, "spread": 0.25}
    assert found["B"].outputs == {"spread": 0.5}


def test_the_last_rows_are_bounded_and_keep_their_place():
    found = steps.last_rows(PLACE, ROWS, OUTPUTS, 2)

    assert [(one.row, one.symbol) for one in found] == [(2, "A"), (3, "A")]


def test_points_have_one_value_a_millisecond_and_no_nan():
    found = {(p.symbol, p.output): (p.values, p.times_ms) for p in steps.points(ROWS, OUTPUTS)}

    assert found == {
        ("A", "vwap"): ([1.5, 3.5], [1, 2]),
        ("A", "spread"): ([0.25], [2]),
        ("B", "spread"): ([0.5], [2]),
    }


def test_rows_without_a_time_are_no_points():
    rows = pa.record_batch({"symbol": ["A"], "ts_event_ns": pa.nulls(1, pa.int64())})

    assert steps.points(rows, OUTPUTS.slice(0, 1)) == []


def test_merging_chunks_keeps_the_last_and_what_it_does_not_say_anew():
    trade = steps.latest(PLACE, ROWS.slice(0, 1), OUTPUTS.slice(0, 1))
    quote = steps.latest(PLACE._replace(offset=6), ROWS.slice(2, 1), OUTPUTS.slice(2, 1))

    (found,) = steps.merge([trade, quote])

    assert (found.symbol, found.place.offset) == ("A", 6)
    assert found.outputs == {"vwap": 1.5, "spread": 0.25}
    assert steps.as_json(found.outputs) == '{"vwap":1.5,"spread":0.25}'


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_store_is_never_sent_what_it_has_no_word_for(value):
    named_null = tsdb.Series({"__name__": "orrery_x", "symbol": "null"}, [1.5, value], [1, 2])

    with pytest.raises(ValueError, match=r"orrery_x.*must be finite, one was (nan|inf)"):
        tsdb.write("http://127.0.0.1:1", [named_null])
