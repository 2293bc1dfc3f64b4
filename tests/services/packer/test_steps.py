"""What becomes of the rows of one partition."""

import json

import pytest
from orrery_kernels.columns import TICK_SCHEMA
from orrery_kernels.partition import partition_of
from orrery_services.packer.steps import MOVED_BYTES_MAX, Run, pack
from orrery_services.protocol import dead_letters, ticks, vectors
from orrery_services.protocol.rules import ALL_RULES

P = 8
HOME = {
    p: [s for s in (f"S{i}.DEMO" for i in range(200)) if partition_of(s, P) == p] for p in range(P)
}
LIFE = "11111111-2222-3333-4444-555555555555"
OTHER_LIFE = "99999999-2222-3333-4444-555555555555"


def trade(symbol: str, price: float = 1.0, **more) -> bytes:
    return json.dumps({"symbol": symbol, "price": price, "size": 1, **more}).encode()


def quote(symbol: str) -> bytes:
    return json.dumps({"symbol": symbol, "bid": 1, "ask": 2, "bid_size": 1, "ask_size": 1}).encode()


def run(values, topic="trades", first=0, headers=None, times=None) -> Run:
    offsets = list(range(first, first + len(values)))
    return Run(
        topic, f"log-of-{topic}", offsets, values, times or [0] * len(values),
        [b"key"] * len(values), headers or {},
    )  # fmt: skip


def captured(id_: int, life: str = LIFE, symbol: str = HOME[3][0], **more) -> bytes:
    return trade(symbol, id=id_, incarnation=life, **more)


def marked(values: list[bytes], table: str = "trades") -> dict:
    return {i: [("captured", table.encode())] for i in range(len(values))}


def moved(*offsets: int, partition: int = 1) -> dict:
    text = "trades/log-of-trades/{}/{}"
    return {i: [("moved", text.format(partition, at).encode())] for i, at in enumerate(offsets)}


def test_rows_that_count_become_one_batch_with_their_sources():
    packed = pack({}, [run([trade(HOME[3][0]), trade(HOME[3][1])], first=5)], 3, P)

    assert packed.rows.schema == TICK_SCHEMA
    assert packed.rows["symbol"].to_pylist() == HOME[3][:2]
    assert packed.rows["source_topic"].to_pylist() == ["trades", "trades"]
    assert packed.rows["source_partition"].to_pylist() == [3, 3]
    assert packed.rows["source_offset"].to_pylist() == [5, 6]
    assert packed.next == {vectors.row_key("trades", "log-of-trades"): 7}
    assert ticks.decode(ticks.parse(ticks.encode(packed.rows), ticks.headers({}, {}))).equals(
        packed.rows
    )


def test_what_the_vector_has_passed_is_not_read_again():
    values = [trade(HOME[3][0], price=p) for p in (1, 2, 3)]
    base = {vectors.row_key("trades", "log-of-trades"): 2}

    packed = pack(base, [run(values)], 3, P)

    assert packed.rows["price"].to_pylist() == [3.0]
    assert pack(packed.next, [run(values)], 3, P).next == packed.next


def test_topics_are_merged_by_time_and_stay_in_order_within_themselves():
    symbol = HOME[3][0]
    trades = run([trade(symbol, price=p) for p in (1, 2, 3)], times=[10, 5, 30])
    quotes = run([quote(symbol), quote(symbol)], topic="quotes", times=[9, 10])

    packed = pack({}, [trades, quotes], 3, P)

    assert packed.rows["kind"].to_pylist() == [1, 1, 0, 0, 0]
    assert packed.rows["price"].to_pylist() == [None, None, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("count", [3, 200])
def test_a_row_on_the_wrong_partition_is_sent_home_with_its_origin(count):
    values = [trade(HOME[3][0])] * (count - 2) + [trade(HOME[5][0]), trade(HOME[6][0])]

    packed = pack({}, [run(values, first=40)], 3, P)

    assert packed.rows.num_rows == count - 2
    assert [(m.topic, m.partition, m.key.decode()) for m in packed.moved] == [
        ("trades", 5, HOME[5][0]), ("trades", 6, HOME[6][0]),
    ]  # fmt: skip
    assert packed.moved[0].value == values[-2]
    assert packed.moved[0].headers == [
        ("moved", f"trades/log-of-trades/3/{40 + count - 2}".encode())
    ]
    assert packed.next == {vectors.row_key("trades", "log-of-trades"): 40 + count}


def test_a_moved_row_counts_once_by_where_it_was_moved_from():
    values = [trade(HOME[3][0], price=p) for p in (1, 2, 2, 1, 3)]

    packed = pack({}, [run(values, headers=moved(7, 9, 9, 7, 12))], 3, P)

    assert packed.rows["price"].to_pylist() == [1.0, 2.0, 3.0]
    assert packed.repeated_moved == 2
    assert packed.next[vectors.moved_key("trades", "log-of-trades", 1)] == 12


def test_origins_on_different_partitions_are_counted_apart():
    headers = {**moved(7), 1: moved(7, partition=2)[0]}

    packed = pack({}, [run([trade(HOME[3][0])] * 2, headers=headers)], 3, P)

    assert packed.rows.num_rows == 2


def test_a_captured_row_counts_once_by_incarnation_and_id():
    values = [captured(1), captured(2), captured(1), captured(2), captured(3)]

    packed = pack({}, [run(values, headers=marked(values))], 3, P)
    again = pack(packed.next, [run(values, first=5, headers=marked(values))], 3, P)

    assert packed.rows["source_offset"].to_pylist() == [0, 1, 4]
    assert packed.repeated_captured == 2
    assert again.rows.num_rows == 0
    assert again.repeated_captured == 5
    assert again.next[f"cap:{LIFE}:trades"] == 3


def test_another_life_of_the_database_counts_its_own_ids():
    values = [captured(5), captured(1, OTHER_LIFE)]

    packed = pack({}, [run(values, headers=marked(values))], 3, P)

    assert packed.rows.num_rows == 2


def test_a_captured_row_equals_a_produced_one_once_parsed():
    fields = {"price": "61650.10", "size": "0.5", "side": "buy", "ts_event_ns": 5, "trade_id": "9"}
    row = {"symbol": HOME[3][0], "ts_recv_ns": None, **fields}
    flat = json.dumps({"id": 1, "incarnation": LIFE, **row}).encode()
    produced = json.dumps(row).encode()

    packed = pack({}, [run([produced, flat], headers={1: [("captured", b"trades")]})], 3, P)

    one, two = packed.rows.drop_columns(["source_offset"]).to_pylist()
    assert one == two


def test_a_captured_row_sent_home_is_noted_here_and_judged_there_by_its_origin_alone():
    value = captured(4, symbol=HOME[5][0])
    here = pack({}, [run([value], headers=marked([value]))], 3, P)
    headers = {0: here.moved[0].headers}
    seen = {f"cap:{LIFE}:trades": 9}

    there = pack(seen, [run([here.moved[0].value], headers=headers)], 5, P)

    assert here.next[f"cap:{LIFE}:trades"] == 4
    assert ("captured", b"trades") in here.moved[0].headers
    assert there.rows.num_rows == 1
    assert there.next[f"cap:{LIFE}:trades"] == 9


def test_without_the_header_incarnation_and_id_are_unknown_fields():
    packed = pack({}, [run([captured(1), captured(1)])], 3, P)

    assert packed.rows.num_rows == 2
    assert list(packed.next) == [vectors.row_key("trades", "log-of-trades")]


def test_a_refused_row_becomes_a_dead_letter_and_the_vector_passes_it():
    values = [trade(HOME[3][0]), b'{"symbol":"A","price":"oops","size":1}', None]

    packed = pack({}, [run(values, times=[1, 2, 3], first=10)], 3, P)

    assert [letter.id for letter in packed.dead] == ["trades/3/11", "trades/3/12"]
    assert "price must be a decimal number" in packed.dead[0].reason
    assert packed.dead[0].value == values[1]
    assert packed.dead[0].timestamp_ms == 2
    assert "tombstone" in packed.dead[1].reason
    assert packed.next == {vectors.row_key("trades", "log-of-trades"): 13}


def test_a_dead_letter_holds_at_most_64_kib_and_the_digest_of_the_whole():
    value = b"{" + b"x" * 900_000

    letter = pack({}, [run([value])], 3, P).dead[0]

    assert (letter.size, len(letter.value)) == (900_001, 65_536)
    letters, _ = dead_letters.read([dead_letters.seal(letter).value] * 2)
    assert list(letters.values()) == [letter]


@pytest.mark.parametrize(
    "header",
    [
        ("moved", b"nonsense"), ("moved", b"trades/x/99/1"), ("moved", b"orders/x/1/1"),
        ("moved", b"trades/x/1/-1"), ("moved", b"trades/x;y/1/1"), ("moved", None),
        ("captured", b"orders"), ("captured", b""), ("captured", b"trades"),
    ],
)  # fmt: skip
def test_a_header_that_makes_no_sense_is_refused_and_costs_no_other_row(header):
    values = [trade(HOME[3][0])] * 3

    packed = pack({}, [run(values, headers={1: [header]})], 3, P)

    assert packed.rows["source_offset"].to_pylist() == [0, 2]
    assert len(packed.dead) == 1
    assert len(packed.next) == 1


@pytest.mark.parametrize("bad", [{"incarnation": "x"}, {"id": -1}, {"id": "one"}, {"id": 2**63}])
def test_a_captured_row_without_a_proper_identity_is_refused(bad):
    value = trade(HOME[3][0], **{"incarnation": LIFE, "id": 1, **bad})

    packed = pack({}, [run([value], headers=marked([value]))], 3, P)

    assert len(packed.dead) == 1
    assert len(packed.next) == 1


def test_a_misplaced_row_that_would_not_fit_with_its_origin_is_refused():
    value = trade(HOME[5][0], note="x" * MOVED_BYTES_MAX)

    packed = pack({}, [run([value])], 3, P)

    assert packed.moved == []
    assert "must have at most" in packed.dead[0].reason


def test_the_same_rows_give_the_same_chunks_however_they_are_cut():
    values = [trade(HOME[i % P][0], price=i + 1) for i in range(100)]
    whole = pack({}, [run(values)], 3, P)

    base, prices, sent = {}, [], []
    for first in range(0, 100, 7):
        part = pack(base, [run(values[first : first + 7], first=first)], 3, P)
        base = part.next
        prices += part.rows["price"].to_pylist()
        sent += part.moved

    assert base == whole.next
    assert prices == whole.rows["price"].to_pylist()
    assert sent == whole.moved


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        ("compare_captured_ids", 2),
        ("compare_moved_origins", 2),
        ("moved_row_judged_by_origin_alone", 0),
    ],
)
def test_a_rule_switched_off_is_seen(rule, count):
    off = ALL_RULES.without(rule)
    values = [captured(1), captured(1)]
    headers = marked(values)
    base = {}
    if rule != "compare_captured_ids":
        headers = {i: [*moved(7, 7)[i], ("captured", b"trades")] for i in range(2)}
    if rule == "moved_row_judged_by_origin_alone":
        base = {f"cap:{LIFE}:trades": 9}

    assert pack(base, [run(values, headers=headers)], 3, P).rows.num_rows == 1
    assert pack(base, [run(values, headers=headers)], 3, P, off).rows.num_rows == count
