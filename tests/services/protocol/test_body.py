"""Equal columns have equal bytes, and the bytes give the columns back."""

import math
import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orrery_services import compiled
from orrery_services.protocol import bodies, body, body_loops, few

SCHEMA = pa.schema(
    [("i8", pa.int8()), ("i32", pa.int32()), ("i64", pa.int64()), ("f", pa.float64()),
     ("s", pa.string())]
)  # fmt: skip
VALUES = (
    st.integers(-(2**7), 2**7 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=64),
    st.one_of(st.text(max_size=20), st.sampled_from(["A.X", "B.X"])),
)
ROWS = st.lists(st.tuples(*(st.none() | value for value in VALUES)), min_size=1, max_size=40)


@pytest.fixture(scope="module", autouse=True)
def loops() -> None:
    compiled.keep_loops()


def batch(rows) -> pa.RecordBatch:
    columns = [list(column) for column in zip(*rows, strict=True)]
    arrays = [pa.array(c, kind) for c, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def bits(value):
    """Return a value so that -0.0 is not 0.0, and every NaN is one."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    return value


def same(one: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    return [[bits(v) for v in row.values()] for row in one.to_pylist()] == [
        [bits(v) for v in row.values()] for row in other.to_pylist()
    ]


@given(ROWS)
def test_a_body_gives_its_columns_back_to_the_bit(rows):
    columns = batch(rows)

    assert same(body.decode(body.encode(columns), SCHEMA), columns)


@given(many=st.lists(ROWS, min_size=1, max_size=5))
@pytest.mark.parametrize("decode", [bodies.decode, body_loops.decode])
def test_many_bodies_give_their_rows_end_to_end(decode, many):
    batches = [batch(rows) for rows in many]

    found = decode([body.encode(one) for one in batches], SCHEMA)

    assert same(found, pa.concat_batches(batches))
    assert found.schema == SCHEMA


@given(ROWS)
def test_a_few_values_are_written_as_many_are(rows):
    for column in batch(rows[: few.VALUES_MAX]).columns:
        if column.null_count < len(column):
            assert body._encode_few(column) == body._encode_column(column)


@given(ROWS, ROWS)
def test_a_slice_has_the_body_of_its_rows(before, rows):
    whole = pa.concat_batches([batch(before), batch(rows)])

    assert body.encode(whole.slice(len(before))) == body.encode(batch(rows))


@given(ROWS)
def test_what_lies_under_a_null_does_not_show(rows):
    columns = batch(rows)
    dirty = pa.RecordBatch.from_arrays(
        [_with_rubbish(column) for column in columns.columns], schema=SCHEMA
    )

    assert body.encode(dirty) == body.encode(columns)


def _with_rubbish(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type) or not column.null_count:
        return column
    valid, values = column.buffers()
    data = bytearray(values)
    width = column.type.bit_width // 8
    for row, value in enumerate(column.to_pylist()):
        if value is None:
            data[row * width : (row + 1) * width] = b"\x5a" * width
    return pa.Array.from_buffers(column.type, len(column), [valid, pa.py_buffer(bytes(data))])


@pytest.mark.parametrize("payload", [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8DEADBEEF0000])
def test_every_nan_has_one_spelling(payload):
    odd = struct.unpack("<d", payload.to_bytes(8, "little"))[0]
    one = batch([(None, None, None, odd, None), (None, None, None, 1.0, None)])
    plain = batch([(None, None, None, math.nan, None), (None, None, None, 1.0, None)])

    assert body.encode(one) == body.encode(plain)


@given(ROWS, st.sampled_from(SCHEMA.names))
def test_one_column_can_be_read_alone(rows, name):
    columns = batch(rows)

    alone = body.decode_column(body.encode(columns), SCHEMA, name)

    assert list(map(bits, alone.to_pylist())) == list(map(bits, columns[name].to_pylist()))


def decode_in_a_loop(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    return body_loops.decode([data], schema)


def decode_among_many(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    return bodies.decode([data], schema)


@pytest.mark.parametrize("decode", [body.decode, decode_among_many, decode_in_a_loop])
@given(data=st.binary(max_size=200))
def test_any_bytes_decode_or_say_why_not(decode, data):
    try:
        decode(data, SCHEMA)
    except body.BadBody as cause:
        assert str(cause)


@pytest.mark.parametrize("decode", [body.decode, decode_among_many, decode_in_a_loop])
@given(rows=ROWS, data=st.data())
def test_a_damaged_body_never_fails_in_another_way(decode, rows, data):
    good = body.encode(batch(rows))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]

    try:
        decode(bad, SCHEMA)
    except body.BadBody as cause:
        assert str(cause)


@given(many=st.lists(ROWS, min_size=1, max_size=5), data=st.data())
def test_what_the_loop_reads_of_damaged_bodies_is_what_is_read_without_it(many, data):
    found = [body.encode(batch(rows)) for rows in many]
    bad = bytearray(found[-1])
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(0, 255))
    found[-1] = bytes(bad)

    rows = body_loops._rows(found, SCHEMA)

    assert rows is not None or bytes(bad) != body.encode(batch(many[-1])), "whole ones are read"
    if rows is not None:
        assert same(rows, bodies.decode(found, SCHEMA))


def test_the_format_is_pinned():
    columns = batch([(1, 2, 3, 0.5, "A"), (1, 2, 5, 1.5, "B"), (1, None, 9, math.nan, "A")])

    assert body.encode(columns).hex() == PINNED


PINNED = (
    "03000008010000000000000001800903020000000000000002010b03000000000000000102040302"
    "18000000000000000000000000000000000000e0f8f83f3f7f04030d000801000000000000004142"
    "41"
)
