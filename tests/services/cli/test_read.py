"""orrery read writes the same rows in every format, and no rows are no failure."""

import io
import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from orrery_services.cli import read
from orrery_services.errors import ConfigError

SCHEMA = pa.schema([("symbol", pa.string()), ("ts_event_ns", pa.int64()), ("vwap", pa.float64())])
ROWS = pa.record_batch([["A.X", "é,\"'"], [1, None], [0.1, None]], schema=SCHEMA)
READERS = {
    "arrow": lambda data: pa.ipc.open_stream(data).read_all(),
    "parquet": lambda data: pa.parquet.read_table(io.BytesIO(data)),
    "csv": lambda data: pa.csv.read_csv(
        io.BytesIO(data), convert_options=pa.csv.ConvertOptions(column_types=SCHEMA)
    ),
    "json": lambda data: pa.Table.from_pylist(
        [json.loads(line) for line in data.splitlines()], SCHEMA
    ),
}


def written(batches: list[pa.RecordBatch], form: str) -> bytes:
    sink = io.BytesIO()
    sink.close = lambda: None
    read.write(batches, SCHEMA, form, sink)
    return sink.getvalue()


@pytest.mark.parametrize("form", read.FORMATS)
def test_every_format_gives_the_rows_back(form):
    found = READERS[form](written([ROWS, ROWS], form))

    assert found.to_pylist() == ROWS.to_pylist() * 2


@pytest.mark.parametrize("form", ["arrow", "parquet", "csv"])
def test_no_rows_still_have_columns(form):
    found = READERS[form](written([], form))

    assert found.num_rows == 0
    assert found.column_names == SCHEMA.names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("1700000000000000001", 1_700_000_000_000_000_001),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T23:13:20.123456789+01:00", 1_700_000_000_123_456_789),
        ("2023-11-14", 1_699_920_000_000_000_000),
    ],
)
def test_a_moment_is_exact_to_the_nanosecond(text, expected):
    assert read.nanoseconds(text) == expected


@pytest.mark.parametrize(("text", "nearest"), [("9999-12-31", 2**63 - 1), ("0001-01-01", -(2**63))])
def test_a_moment_that_64_bits_do_not_hold_is_the_nearest_that_they_do(text, nearest):
    assert read.nanoseconds(text) == nearest


def test_a_moment_that_is_none_says_so():
    with pytest.raises(ConfigError, match="ISO 8601"):
        read.nanoseconds("yesterday")
