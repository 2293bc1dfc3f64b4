"""The public contracts as JSON Schemas: what is accepted, written and told is of its schema."""

import itertools
import json
import uuid
from base64 import b64encode

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orrery_kernels.columns import TICK_SCHEMA
from orrery_services.config import find_root
from orrery_services.feed.demo import market
from orrery_services.protocol import cuts, dead_letters, facts, labels, rows, ticks
from orrery_services.replication import steps
from orrery_services.store.identity import origin_of

SCHEMAS = {
    path.stem: json.loads(path.read_text()) for path in (find_root({}) / "schemas/events").iterdir()
}
TOPICS = tuple(rows.ROW_TOPICS)
GOOD = {
    "trades": {"symbol": "BTCUSDT.DEMO", "price": "61650.10", "size": 0.5},
    "quotes": {"symbol": "A.X", "bid": 1, "ask": "2", "bid_size": 0, "ask_size": 3},
    "market_quotes": {"symbol": "USD-SOFR-OIS-1Y", "value": "-0.0041"},
}
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["buy", "sell", "1.5", "+.5e3", "1e400", "NaN", "", "9" * 19, "x" * 257]),
    st.sampled_from([0, -0.0, 1e15, 1e-15, 1e16, 7.0, 2**63 - 1, 2**63, "__debezium_unavailable"]),
)


def problems(name: str, document: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMAS[name])
    return [error.message for error in validator.iter_errors(document)]


def is_accepted(topic: str, value: bytes) -> bool:
    return not rows.read_rows(rows.KIND_OF_TOPIC[topic], [value]).refused


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_a_schema_and_says_what_it_is_of(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])

    assert SCHEMAS[name]["description"]
    assert SCHEMAS[name]["$id"] == f"orrery/events/{name}.json"


def test_there_is_a_schema_of_every_public_event():
    assert set(SCHEMAS) == {*TOPICS, "ticks", "facts", "cuts", "dead-letters", "status"}


@pytest.mark.parametrize("topic", TOPICS)
@given(data=st.data())
def test_every_row_that_is_accepted_is_one_of_its_schema(topic, data):
    fields = sorted(SCHEMAS[topic]["properties"])
    change = data.draw(st.dictionaries(st.sampled_from(fields), CELLS, max_size=3))
    document = {**GOOD[topic], **change}

    if is_accepted(topic, json.dumps(document).encode()):
        assert problems(topic, document) == []


@pytest.mark.parametrize(
    ("topic", "change"),
    [
        *(("trades", {"price": value}) for value in ("oops", "", "Infinity", "NaN", -1, 0, None)),
        *(("trades", {"size": value}) for value in (0, -1, "x", True, 1e16)),
        *(("trades", {"symbol": value}) for value in ("", 7, None, "x" * 5000, "🚀")),
        ("trades", {"symbol": "x'); DROP TABLE--"}),
        ("trades", {"symbol": "__debezium_unavailable_value"}),
        ("trades", {"side": "long"}),
        ("trades", {"ts_event_ns": 1.5}),
        ("quotes", {"bid": 0}),
        ("quotes", {"ask_size": -1}),
        ("market_quotes", {"value": "1,5"}),
    ],
)
def test_what_breaks_a_schema_is_refused_by_the_packer(topic, change):
    document = {**GOOD[topic], **change}

    assert problems(topic, document)
    assert not is_accepted(topic, json.dumps(document).encode())


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("field", ["symbol", "price", "size", "bid", "ask", "value"])
def test_a_row_without_a_field_that_its_schema_requires_is_refused(topic, field):
    if field not in SCHEMAS[topic]["required"]:
        assert field not in GOOD[topic]
        return
    document = {name: value for name, value in GOOD[topic].items() if name != field}

    assert problems(topic, document)
    assert not is_accepted(topic, json.dumps(document).encode())


def test_rows_of_the_demo_feed_are_of_their_schemas():
    sent = list(itertools.islice(market(7, 1_700_000_000_000_000_000, 100.0), 500))

    assert {row.topic for row in sent} == set(TOPICS)
    for row in sent:
        assert problems(row.topic, json.loads(row.value)) == []
        assert is_accepted(row.topic, row.value)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_captured_row_is_of_the_same_schema(topic):
    captured = {**GOOD[topic], "id": 7, "incarnation": str(uuid.UUID(int=7)), "side": None}

    assert problems(topic, captured) == []
    assert is_accepted(topic, json.dumps(captured).encode())


def test_the_columns_of_ticks_are_those_of_the_schema_in_this_order():
    columns = SCHEMAS["ticks"]["properties"]

    assert [*columns] == TICK_SCHEMA.names == SCHEMAS["ticks"]["required"]
    for field in TICK_SCHEMA:
        assert columns[field.name]["arrow"] == str(field.type)
        assert ("null" in columns[field.name]["type"]) == field.nullable
    assert SCHEMAS["ticks"]["x-schema-digest"] == ticks.SCHEMA_DIGEST
    assert {name for name, _ in ticks.headers({}, {})} == set(SCHEMAS["ticks"]["x-headers"])


def test_a_row_of_a_batch_is_of_the_schema_of_ticks():
    row = {**dict.fromkeys(TICK_SCHEMA.names), "kind": 0, "symbol": "A.X", "price": 1.5, "side": 1}

    batch = pa.RecordBatch.from_pylist([row], schema=TICK_SCHEMA)

    assert problems("ticks", batch.to_pylist()[0]) == []


CUT = cuts.Cut(7, "every 5s#12", "every 5s", 60_000_000_000, "n1", {"default": "A" * 16})


def test_a_cut_is_of_its_schema():
    assert problems("cuts", json.loads(cuts.encode(CUT))) == []


def test_a_cut_names_static_data_or_says_nothing_of_them():
    with_static = CUT._replace(static="ab" * 32)

    assert problems("cuts", json.loads(cuts.encode(with_static))) == []
    assert cuts.decode(cuts.encode(with_static)) == with_static
    assert b"static" not in cuts.encode(CUT) and cuts.decode(cuts.encode(CUT)) == CUT
    for odd in ("", "ab", "AB" * 32, None, 7):
        document = json.loads(cuts.encode(CUT)) | {"static": odd}
        assert problems("cuts", document)
        with pytest.raises(ValueError, match="64 hex digits"):
            cuts.decode(json.dumps(document).encode())


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(cuts.Cut._fields, CELLS)))
def test_every_cut_that_is_read_is_of_its_schema(change):
    document = json.loads(cuts.encode(CUT)) | change

    try:
        cuts.decode(json.dumps(document).encode())
    except ValueError:
        return
    assert problems("cuts", document) == []


@pytest.mark.parametrize("field", [name for name in cuts.Cut._fields if name != cuts.STATIC])
def test_a_cut_without_a_field_is_refused(field):
    document = {name: value for name, value in CUT._asdict().items() if name != field}

    assert problems("cuts", document)
    with pytest.raises(ValueError, match=field):
        cuts.decode(json.dumps(document).encode())


def test_the_headers_of_a_fact_are_of_their_schema():
    fact = facts.plain_fact("chain", 8, "chain/abc", {}, b"data")[-1]
    sent = steps.headers_of(steps.Delivery(origin_of("n1", uuid.uuid4()), 1, fact))

    assert problems("facts", {name: data.decode() for name, data in sent}) == []
    hexed = {name: data.decode() for name, data in sent} | {"id": fact.id.hex()}
    assert problems("facts", hexed) == []
    assert steps.parse(b"chain/abc", fact.payload, sent, 8).fact.id == fact.id


@pytest.mark.parametrize("value", [None, b"", b"\xff{", b"x" * 100_000])
def test_a_dead_letter_is_of_its_schema(value):
    place = labels.Place("trades", "log", 3, 14)
    letter = dead_letters.letter(place, "price is missing", value, b"k", [("h", None)], 5)

    written = json.loads(dead_letters.seal(letter).value)

    assert problems("dead-letters", written) == []
    kept = written["refused"]["value"]
    assert kept == (None if value is None else b64encode(value[:65_536]).decode())


def test_a_dead_letter_that_was_sent_again_is_of_the_schema():
    again = dead_letters.seal(dead_letters.Replayed("trades/3/14", "trades/3/20"))

    assert problems("dead-letters", json.loads(again.value)) == []
