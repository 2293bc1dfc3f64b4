"""A fact is named by its content, and nothing else has its name."""

import pyarrow as pa
import pytest
import zstandard
from orrery_kernels.columns import TICK_SCHEMA
from orrery_services.protocol import facts
from orrery_services.protocol.facts import BadFact, Fact, Place

PLACE = Place("AbCdEfGhIjKlMnOpQrStUv", 3, 17)


def ticks(count: int) -> pa.RecordBatch:
    columns = {
        "kind": pa.array([0] * count, pa.int8()),
        "symbol": pa.array(["A.X"] * count),
        "price": pa.array([100.0 + i for i in range(count)]),
        "size": pa.array([1.0] * count),
    }
    arrays = [columns.get(f.name, pa.nulls(count, f.type)) for f in TICK_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=TICK_SCHEMA)


def none(_: bytes) -> bytes:
    raise AssertionError("no piece is asked for")


def test_an_input_chunk_gives_its_rows_its_ordinal_and_what_it_moves():
    fact = facts.input_chunk(PLACE, 5, {"row:trades:x": 8}, ticks(3))[-1]

    assert facts.rows_of(fact.payload, none).equals(ticks(3))
    assert facts.meta_of(fact.payload)["ordinal"] == 5
    assert facts.meta_of(fact.payload)["changed"] == {"row:trades:x": 8}
    assert facts.place_of(fact.key) == PLACE


def test_the_name_covers_kind_key_meta_and_body():
    base = facts.plain_fact("in", 3, "in/a", {"ordinal": 1}, b"body")[0]
    others = [
        facts.plain_fact("out", 3, "in/a", {"ordinal": 1}, b"body")[0],
        facts.plain_fact("in", 3, "in/b", {"ordinal": 1}, b"body")[0],
        facts.plain_fact("in", 3, "in/a", {"ordinal": 2}, b"body")[0],
        facts.plain_fact("in", 3, "in/a", {"ordinal": 1}, b"Body")[0],
        facts.plain_fact("in", 3, "in/a", {}, b'{"ordinal":1}body')[0],
    ]

    assert len({base.id, *(fact.id for fact in others)}) == 6


def test_another_compression_has_the_same_name():
    fact = facts.plain_fact("x", 0, "x/1", {}, b"".join(b"%d," % n for n in range(999)))[0]
    data = facts.data_of(fact.payload, none)
    harder = zstandard.ZstdCompressor(level=19).compress(data)
    again = fact._replace(payload=fact.payload[:5] + harder)

    facts.check(again)
    assert again.payload != fact.payload


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_no_changed_byte_keeps_the_name(at):
    fact = facts.plain_fact("x", 0, "x/1", {"n": 1}, bytes(range(256)))[0]
    damaged = bytearray(fact.payload)
    damaged[at] ^= 1

    with pytest.raises((BadFact, ValueError)):
        facts.check(fact._replace(payload=bytes(damaged)))


@pytest.mark.parametrize("size", [facts.BODY_BYTES_MAX, facts.BODY_BYTES_MAX + 1, 1_700_000])
def test_large_bodies_are_trees_of_rows_that_fit(size):
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    *pieces, fact = facts.plain_fact("x", 2, "x/1", {}, data)
    held = {piece.id: piece.payload for piece in pieces}

    for one in [*pieces, fact]:
        facts.check(one)
        assert len(one.payload) <= facts.ROW_BYTES_MAX
    assert facts.data_of(fact.payload, held.__getitem__) == data
    assert facts.pieces_of(fact.payload) == [piece.id for piece in pieces]
    assert bool(pieces) == (size > facts.BODY_BYTES_MAX)


def test_equal_pieces_are_one_fact_of_their_stream():
    one, same, elsewhere = facts.piece(1, b"abc"), facts.piece(1, b"abc"), facts.piece(2, b"abc")

    assert one == same
    assert one.id != elsewhere.id


def test_a_piece_that_is_a_tree_is_refused():
    *_, fact = facts.plain_fact("x", 2, "x/1", {}, bytes(1_200_000))

    with pytest.raises(BadFact, match="was a tree"):
        facts.data_of(fact.payload, lambda _: fact.payload)


def test_a_body_that_would_fill_the_memory_is_refused():
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    fact = facts.plain_fact("x", 0, "x/1", {}, b"")[0]

    with pytest.raises(BadFact, match="must be <="):
        facts.check(Fact(fact.id, "x", 0, "x/1", bytes((1, facts.ZSTD, 2)) + b"{}" + bomb))


def test_rows_of_another_schema_are_refused():
    outputs = pa.record_batch({"vwap": [1.0]})
    fact = facts.result_chunk(PLACE, "chain", outputs)[-1]

    with pytest.raises(BadFact, match="schema"):
        facts.rows_of(fact.payload, none)


def test_keys_of_a_partition_sort_as_its_log_does():
    keys = [facts.place_key("in", PLACE._replace(offset=at)) for at in (9, 10, 99, 100, 10**11)]

    assert keys == sorted(keys)


def test_a_body_that_is_gone_names_its_day_and_one_from_before_days_says_so():
    (fact,) = facts.plain_fact("out", 0, "out/a", {"schema": "x"}, b"body")
    gone = facts.gone(fact.payload, 10**18)
    without_day = gone[: len(facts.gone(fact.payload, 0)) - 1]

    assert facts.expired(fact.payload) is None
    assert facts.expired(gone) == "2001-09-09"
    assert facts.expired(without_day) == facts.UNRECORDED
    assert facts.meta_of(without_day) == {"schema": "x"}
    with pytest.raises(facts.BadFact, match="expired on a day that was not recorded: gc removed"):
        facts.data_of(without_day, None)


IN_KEY, OUT_KEY = facts.place_key("in", PLACE), facts.place_key("out", PLACE, "chain")
IN_META = {"ordinal": 5, "changed": {}}


def test_chunks_and_what_is_none_are_named_as_readers_expect():
    outputs = pa.record_batch({"vwap": [1.0]})
    for fact in (
        facts.input_chunk(PLACE, 5, {"row:trades:x": 8}, ticks(3))[-1],
        facts.result_chunk(PLACE, "chain", outputs)[-1],
        facts.plain_fact("note", 9, "note/a/b", {}, b"")[-1],
        facts.piece(1, b"abc"),
    ):
        facts.check_named(fact)


@pytest.mark.parametrize(
    ("kind", "stream", "key", "meta"),
    [
        ("note", 0, "note/a\0b", {}),
        ("no\0te", 0, "note/a", {}),
        ("out", 3, "out", {}),
        ("out", 3, facts.place_key("out", PLACE), {}),
        ("out", 3, OUT_KEY.replace("out", "in"), IN_META),
        ("out", 4, OUT_KEY, {}),
        ("note", 3, OUT_KEY, {}),
        ("in", 3, OUT_KEY, IN_META),
        ("in", 3, IN_KEY + "x", IN_META),
        ("in", 3, IN_KEY.replace("/0", "/", 1), IN_META),
        ("in", 3, IN_KEY, {"ordinal": 5}),
        ("in", 3, IN_KEY, {"ordinal": "5", "changed": {}}),
        ("in", 3, IN_KEY, {"ordinal": 5, "changed": []}),
        ("in", 3, IN_KEY, {"ordinal": 5, "changed": {"a": "6"}}),
        ("in", 3, facts.place_key("in", PLACE._replace(offset=1 << 63)), IN_META),
        ("note", 3, "note/" + "x" * facts.KEY_BYTES_MAX, {}),
    ],
)
def test_a_fact_that_readers_of_chunks_could_not_place_is_refused(kind, stream, key, meta):
    """Its content is what its id names: nothing else would stop it on its way into a store."""
    (fact,) = facts.plain_fact(kind, stream, key, meta, b"body")
    facts.check(fact)

    with pytest.raises((BadFact, ValueError)):
        facts.check_named(fact)
