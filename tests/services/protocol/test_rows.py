"""Which rows count: the definition, and the fast way that must equal it."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.columns import KIND_MARKET_QUOTE, KIND_QUOTE, KIND_TRADE
from orrery_services.protocol import fields, rows

TRADE = {"symbol": "BTCUSDT.DEMO", "price": "61650.10", "size": 0.5}
QUOTE = {"symbol": "A.X", "bid": "1.10", "ask": 1.2, "bid_size": 0, "ask_size": "3"}


def bytes_of(row: dict, **changes) -> bytes:
    row = {**row, **changes}
    return json.dumps({k: v for k, v in row.items() if v is not ...}).encode()


def reason_for(value: bytes | None, kind: int = KIND_TRADE) -> str:
    with pytest.raises(rows.Refused) as caught:
        rows.read_row(kind, value)
    return str(caught.value)


def columns_of(read: rows.Rows) -> dict:
    return {name: column.to_pylist() for name, column in read.columns.items()}


def test_a_trade_needs_only_symbol_price_and_size():
    read = rows.read_rows(KIND_TRADE, [bytes_of(TRADE)])

    assert columns_of(read) == {
        "symbol": ["BTCUSDT.DEMO"], "price": [61650.10], "size": [0.5], "side": [0],
        "ts_event_ns": [None], "ts_recv_ns": [None], "trade_id": [None],
    }  # fmt: skip


def test_decimal_text_and_numbers_give_the_same_nearest_float():
    texts = ["0.1", "61650.10", "1e-8", "123456789.123456789", "0.30000000000000004"]
    values = [bytes_of(TRADE, price=t) for t in texts]
    values += [b'{"symbol":"A","size":1,"price":' + t.encode() + b"}" for t in texts]

    prices = rows.read_rows(KIND_TRADE, values).columns["price"].to_pylist()

    assert prices == [float(t) for t in texts] * 2


def test_a_trade_id_may_be_text_or_an_integer_and_unknown_fields_are_allowed():
    values = [bytes_of(TRADE, trade_id=7), bytes_of(TRADE, trade_id="x-7", note={"deep": [1]})]

    assert rows.read_rows(KIND_TRADE, values).columns["trade_id"].to_pylist() == ["7", "x-7"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"price": ...}, "price is missing"),
        ({"symbol": ...}, "symbol is missing"),
        ({"price": "oops"}, 'price must be a decimal number, was "oops"'),
        ({"price": True}, "price must be a decimal number"),
        ({"price": None}, "price must be a decimal number"),
        ({"price": []}, "price must be a decimal number"),
        ({"price": "NaN"}, "price must be a decimal number"),
        ({"price": "Infinity"}, "price must be a decimal number"),
        ({"price": -1}, "price must be from 1e-15"),
        ({"price": "-0.01"}, "price must be from"),
        ({"price": 0}, "price must be from"),
        ({"price": "9" * 400}, "price must be from"),
        ({"size": 0}, "size must be from"),
        ({"size": "0.000"}, "size must be from"),
        ({"side": "BUY"}, 'side must be "buy" or "sell"'),
        ({"side": 1}, 'side must be "buy" or "sell"'),
        ({"side": "null"}, 'side must be "buy" or "sell"'),
        ({"ts_event_ns": "yesterday"}, "ts_event_ns must be an integer"),
        ({"ts_event_ns": 1.5}, "ts_event_ns must be an integer"),
        ({"ts_event_ns": -1}, "ts_event_ns must be an integer"),
        ({"ts_recv_ns": 2**63}, "ts_recv_ns must be an integer"),
        ({"trade_id": 1.5}, "trade_id must be text or an integer"),
        ({"trade_id": False}, "trade_id must be text or an integer"),
        ({"trade_id": "x" * 300}, "trade_id must have at most 256 bytes"),
        ({"symbol": ""}, "symbol must not be empty"),
        ({"symbol": 5}, "symbol must be text"),
        ({"symbol": "S" * 5000}, "symbol must have at most 256 bytes"),
        ({"symbol": "x'); DROP TABLE--"}, "symbol must be ASCII letters"),
        ({"symbol": "🚀.MOON"}, "symbol must be ASCII letters"),
        ({"symbol": "A\nB"}, "symbol must be ASCII letters"),
        ({"symbol": "__debezium_unavailable_value"}, "symbol must be known"),
    ],
)
def test_every_bad_field_is_refused_with_its_name_and_costs_no_other_row(changes, word):
    good = bytes_of(TRADE, price="1.00")

    read = rows.read_rows(KIND_TRADE, [good, bytes_of(TRADE, **changes), good])

    assert read.index.tolist() == [0, 2]
    assert word in read.refused[1]
    assert word in reason_for(bytes_of(TRADE, **changes))


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b"\0" * 9, b"{}{}",
        b'{"symbol":"A","price":NaN,"size":1}', b'{"symbol":"A","price":1,"size":1e400}',
        b'{"symbol":"\\ud800","price":1,"size":1}', b'{"symbol":"A","price":1,"size":1} x',
        b'\xef\xbb\xbf{"symbol":"A","price":1,"size":1}', b'{"a":' * 100_000,
    ],
)  # fmt: skip
def test_bytes_that_are_no_row_are_refused_and_cost_no_other_row(value):
    good = bytes_of(TRADE)

    read = rows.read_rows(KIND_TRADE, [good, value, good])

    assert read.index.tolist() == [0, 2]
    assert read.refused[1]
    assert len(read.refused[1]) < 400


def test_pieces_that_only_together_are_rows_are_each_refused():
    """Joined, these are three rows in three values: the fast decoder must not be fooled."""
    good = bytes_of(TRADE)
    half = b'{"symbol":"A","price":1'
    rest = b',"size":1}'
    for values in (
        [half, rest, good + b"\n" + good],
        [half + b',"x":{}', b"{" + rest, good + good],
    ):
        read = rows.read_rows(KIND_TRADE, values)

        assert read.index.tolist() == []
        assert sorted(read.refused) == [0, 1, 2]


def test_a_quote_has_one_empty_side_at_most():
    both = bytes_of(QUOTE, ask_size="0.0")

    read = rows.read_rows(KIND_QUOTE, [bytes_of(QUOTE), both])

    assert columns_of(read)["bid_size"] == [0.0]
    assert read.refused == {1: "bid_size and ask_size must not both be 0"}


def test_a_market_quote_may_be_negative():
    values = [b'{"symbol":"EUR/3M","value":"-0.0051"}', b'{"symbol":"EUR/3M","value":"nan"}']

    read = rows.read_rows(KIND_MARKET_QUOTE, values)

    assert read.columns["value"].to_pylist() == [-0.0051]
    assert "value must be a decimal number" in read.refused[1]


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**25), 10**25),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats().map(repr),
    st.sampled_from(["", "null", "1_0", " 1", "0x1", "+1.5", ".5", "5.", "01", "1e5", "-0", "٣"]),
    st.none(),
    st.booleans(),
    st.text(max_size=4),
)
TIMES = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(0, 2**63).map(str), NUMBERS, st.just(...)
)
FIELD = {
    "symbol": st.one_of(st.sampled_from(["A.X", "B", ""]), st.text(max_size=5), st.integers()),
    "side": st.sampled_from(["buy", "sell", None, "null", "x", 1, ...]),
    "trade_id": st.one_of(st.text(max_size=5), st.integers(), NUMBERS, st.just(...)),
    "ts_event_ns": TIMES,
    "ts_recv_ns": TIMES,
}
OBJECTS = {
    kind: st.fixed_dictionaries(
        {name: FIELD.get(name, NUMBERS) for name in row.__struct_fields__}
    ).map(lambda row: bytes_of(row))
    for kind, row in rows.ROW_TYPES.items()
}
GOOD = {
    KIND_TRADE: bytes_of(TRADE),
    KIND_QUOTE: bytes_of(QUOTE),
    KIND_MARKET_QUOTE: b'{"symbol":"A","value":1}',
}


# Objects as text, so that a key may come twice, a word be escaped, a number be written in any way.
KEYS = {
    kind: st.sampled_from([f'"{name}"' for name in row.__struct_fields__])
    for kind, row in rows.ROW_TYPES.items()
}
WRITTEN = r"""
    1 1.5 -0 -0.0 1e400 1e-400 1e5 01 1. .5 7.0 -1 NaN Infinity true null [] [1] {}
    9007199254740993 123456789012345678901 9223372036854775807 9223372036854775808
    "1.5" "-0" "1e400" "nan" "NaN" "inf" "1_0" "+1" "0x1" "01" "1." ".5" "1E+5" "٣"
    "" "buy" "Buy" "b\u0075y" "A.X" "\u0041.X" "A\/X" "é" "\ud83d\ude80" "\ud800" "\t"
    {"symbol":"A"} {"a":[{"b":"}"}]} "}\n{" "__debezium_unavailable_value"
    "1700000000000000000" "9007199254740993" "0.1000000000000000055511151231257827"
"""
SPACED = ['" 1"', '"1 "', '"\t1"', '"\n"', " 1 ", "\n1", '"\u2028"', '"\udcff"']
VALUES = st.sampled_from([*WRITTEN.split(), *SPACED])


@st.composite
def odd_objects(draw, kind):
    """Return a good row with other fields put before, behind or instead of its own."""
    fields_of = draw(st.permutations(GOOD[kind].decode()[1:-1].split(", ")))
    keys = st.one_of(KEYS[kind], st.sampled_from(['"x"', '"sym\\u0062ol"', '"Symbol"', "symbol"]))
    more = draw(st.lists(st.tuples(keys, VALUES), max_size=3))
    at = draw(st.integers(0, len(fields_of)))
    parts = [*fields_of[:at], *(f"{key}:{value}" for key, value in more), *fields_of[at:]]
    space = draw(st.sampled_from(["", " ", "\n", "\r\n", "\t", "\v"]))
    return f"{{{space}{f',{space}'.join(parts)}{space}}}".encode(errors="surrogateescape")


def bits(x: object) -> object:
    return struct.pack("d", x) if isinstance(x, float) else x


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_fast_way_equals_the_definition_whatever_else_is_in_the_batch(data):
    kind = data.draw(st.sampled_from(sorted(rows.ROW_TYPES)))
    values = data.draw(st.lists(st.one_of(OBJECTS[kind], st.just(GOOD[kind])), max_size=8))
    for i in data.draw(st.lists(st.integers(0, 7), max_size=2)):
        if i < len(values):
            values[i] = values[i][: data.draw(st.integers(0, len(values[i])))]

    assert_as_defined(kind, values)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_way_of_writing_an_object_tells_the_fast_way_from_the_definition(data):
    kind = data.draw(st.sampled_from(sorted(rows.ROW_TYPES)))
    values = data.draw(st.lists(odd_objects(kind), min_size=1, max_size=4))

    assert_as_defined(kind, values * data.draw(st.sampled_from([1, 1, 40])))


def assert_as_defined(kind: int, values: list[bytes]) -> None:
    read = rows.read_rows(kind, values)

    assert sorted([*read.index.tolist(), *read.refused]) == list(range(len(values)))
    for at, i in enumerate(read.index.tolist()):
        row = rows.read_row(kind, values[i])
        for name in row.__struct_fields__:
            want = getattr(row, name)
            want = fields.SIDES[want] if name == "side" else want
            assert bits(read.columns[name][at].as_py()) == bits(want), name
    for i, reason in read.refused.items():
        assert reason == reason_for(values[i], kind)


def test_each_row_is_judged_alone_however_the_stream_is_cut():
    rng = np.random.default_rng(7)
    odd = [
        b"{",
        bytes_of(TRADE, ts_event_ns="5"),
        bytes_of(TRADE, price=".5"),
        bytes_of(TRADE, size=0),
    ]
    values = [odd[rng.integers(4)] if rng.random() < 0.1 else bytes_of(TRADE) for _ in range(400)]
    whole = rows.read_rows(KIND_TRADE, values)

    kept, refused = [], {}
    for start in range(0, 400, 7):
        part = rows.read_rows(KIND_TRADE, values[start : start + 7])
        kept += (part.index + start).tolist()
        refused |= {i + start: reason for i, reason in part.refused.items()}

    assert kept == whole.index.tolist()
    assert refused == whole.refused
