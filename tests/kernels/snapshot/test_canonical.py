"""Equal values have equal bytes, different values never do, and bytes read back as the value."""

import dataclasses
import math
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.canonical import decode, encode, value_digest

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
    ),
    max_leaves=12,
)


@dataclasses.dataclass(frozen=True)
class Quote:
    bid: float
    ask: float


class Curve:
    def __init__(self, zeros):
        self.zeros = zeros

    def to_bytes(self):
        return struct.pack(f"<{len(self.zeros)}d", *self.zeros)

    @classmethod
    def from_bytes(cls, data):
        return cls(list(struct.unpack(f"<{len(data) // 8}d", data)))


def bits(value):
    """A value as something that == compares by type and by bits."""
    if isinstance(value, float):
        return ("nan",) if math.isnan(value) else ("float", struct.pack("<d", value))
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(bits, value))
    if isinstance(value, dict):
        return ("dict", frozenset((key, bits(item)) for key, item in value.items()))
    return (type(value).__name__, value)


@given(VALUES)
@settings(deadline=None)
def test_every_value_reads_back_as_it_was(value):
    assert bits(decode(encode(value))) == bits(value)


@given(VALUES, VALUES)
@settings(deadline=None)
def test_bytes_are_equal_exactly_when_values_are(one, other):
    assert (encode(one) == encode(other)) == (bits(one) == bits(other))


def test_the_byte_format_is_pinned():
    value = {"b": [1, -129, 0.5], "a": (None, True, "£", b"\0"), "c": {}}

    assert encode(value).hex() == (
        "4d52000000"  # a mapping of 82 bytes, keys in order
        "530100000061"  # "a"
        "5417000000" "4e00000000" "6600000000" "5302000000c2a3" "590100000000"
        "530100000062"  # "b"
        "4c1a000000" "490100000001" "49020000007fff" "4408000000000000000000e03f"
        "530100000063"  # "c"
        "4d00000000"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "a39450f8e60ce9ef"),
        (1, "39e50754edcd2c5a"),
        ("1", "0050f4da5dd35194"),
    ],
)
def test_golden_digests(value, expected):
    assert value_digest(value).hex()[:16] == expected


def test_one_and_its_look_alikes_never_collide():
    values = [
        1,
        1.0,
        "1",
        b"1",
        True,
        [1],
        (1,),
        {"1": 1},
        {1: 1},
        [[1]],
        None,
        "",
        b"",
        [],
        (),
        {},
    ]

    assert len({encode(value) for value in values}) == len(values)


def test_the_order_of_a_mapping_does_not_matter():
    assert encode({"x": 1, "y": 2}) == encode({"y": 2, "x": 1})


def test_every_nan_is_one_and_minus_zero_is_its_own():
    odd_nan = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0]

    assert encode(odd_nan) == encode(float("nan"))
    assert encode(np.array([odd_nan, 1.0])) == encode(np.array([np.nan, 1.0]))
    assert encode(pa.array([odd_nan])) == encode(pa.array([float("nan")]))
    assert encode(-0.0) != encode(0.0)


COLUMNS = [
    pa.array([1, None, -3], pa.int32()),
    pa.array([1.5, None, float("inf")]),
    pa.array([True, None, False, True, True, True, True, True, None]),
    pa.array(["a", None, "", "ünï"]),
    pa.array([b"\0", None], pa.large_binary()),
    pa.array([1, None], pa.timestamp("ns", tz="UTC")),
    pa.array([1, 2], pa.timestamp("us")),
    pa.array([19000, None], pa.date32()),
    pa.array([], pa.string()),
    pa.array([None, None], pa.float64()),
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: str(c.type))
def test_a_column_reads_back_and_its_bytes_ignore_where_it_lies(column):
    padded = pa.concat_arrays([column, column, column])
    n = len(column)

    assert decode(encode(column)).equals(column) or column.null_count < n
    assert str(decode(encode(column))) == str(column)
    assert encode(padded.slice(n, n)) == encode(column)
    assert encode(pa.chunked_array([column.slice(0, n // 2), column.slice(n // 2)])) == encode(
        column
    )


def test_what_lies_under_a_null_does_not_matter():
    valid = pa.py_buffer(b"\x05")
    one = pa.Array.from_buffers(pa.int64(), 3, [valid, pa.py_buffer(struct.pack("<3q", 1, 2, 3))])
    other = pa.Array.from_buffers(pa.int64(), 3, [valid, pa.py_buffer(struct.pack("<3q", 1, 9, 3))])
    text = [pa.py_buffer(struct.pack("<4i", 0, 1, 4, 5)), pa.py_buffer(b"axyzb")]

    assert encode(one) == encode(other)
    assert encode(pa.Array.from_buffers(pa.string(), 3, [valid, *text])) == encode(
        pa.array(["a", None, "b"])
    )


def test_a_dictionary_column_has_the_bytes_of_the_plain_one():
    plain = pa.array(["x", "y", "x", None])

    assert encode(plain.dictionary_encode()) == encode(plain)


def test_batches_read_back_with_names_types_and_nullability():
    schema = pa.schema([pa.field("s", pa.string(), nullable=False), pa.field("x", pa.float64())])
    batch = pa.record_batch([pa.array(["a", "b"]), pa.array([1.0, None])], schema=schema)

    assert decode(encode(batch)).equals(batch)
    assert decode(encode(batch)).schema.equals(schema)
    assert decode(encode(pa.Table.from_batches([batch]))).to_batches() == [batch]
    assert encode(batch) != encode(batch.rename_columns(["s", "y"]))


def test_arrays_keep_type_and_shape_and_cannot_be_written_to():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::2]

    found = decode(encode(array))

    assert found.dtype == np.int32 and found.tolist() == [[0, 2], [3, 5]]
    assert encode(array.T) == encode(array.T.copy())
    with pytest.raises(ValueError):
        found[0, 0] = 9


def test_objects_read_back_when_their_class_is_declared():
    curve = decode(encode(Curve([0.01, 0.02])), [Quote, Curve])

    assert curve.zeros == [0.01, 0.02]
    assert decode(encode([Quote(1.0, 2.0)]), [Quote, Curve]) == [Quote(1.0, 2.0)]
    with pytest.raises(SnapshotError, match=r"class 'Quote' must be declared .* declared: Curve"):
        decode(encode(Quote(1.0, 2.0)), [Curve])


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, np.array(["a"]), "\ud800", int])
def test_what_has_no_canonical_bytes_is_refused(value):
    with pytest.raises(SnapshotError, match="must"):
        encode(value)


@given(st.binary(max_size=80))
def test_random_bytes_are_refused_or_canonical(data):
    try:
        value = decode(data)
    except SnapshotError:
        return
    assert bits(decode(encode(value))) == bits(value)


def test_every_cut_of_a_value_is_refused():
    whole = encode({"a": [1, 2.0, "x"], "b": np.arange(3.0), "c": pa.array(["q", None])})

    for end in range(len(whole)):
        with pytest.raises(SnapshotError):
            decode(whole[:end])


def test_a_bottomless_value_is_refused():
    nested = []
    for _ in range(100):
        nested = [nested]

    with pytest.raises(SnapshotError, match="64 deep"):
        encode(nested)
