"""A worker's fold: whatever it is given, whenever it begins, the same facts come out."""

import functools

import pyarrow as pa
import pytest
from orrery_kernels import Chain
from orrery_kernels.columns import TICK_SCHEMA
from orrery_services.analytics import steps
from orrery_services.protocol import facts, marks, ticks
from orrery_services.protocol.fold import Accepted, Ignored, Position
from orrery_services.protocol.marks import Mark
from orrery_services.protocol.rules import ALL_RULES

LOG = "loglogloglogloglogloglo"
EVERY_ROWS = 7


@functools.cache
def chain() -> Chain:
    return Chain([{"kernel": "vwap"}, {"kernel": "ewma", "column": "price", "alpha": 0.3}])


def rows(first: int, count: int) -> pa.RecordBatch:
    columns = {
        "kind": pa.array([0] * count, pa.int8()),
        "symbol": pa.array(["AB"[n % 2] + ".X" for n in range(first, first + count)]),
        "ts_event_ns": pa.array(range(first, first + count), pa.int64()),
        "price": pa.array([100.0 + n % 5 for n in range(first, first + count)]),
        "size": pa.array([1.0 + n % 3 for n in range(first, first + count)]),
    }
    arrays = [columns.get(f.name, pa.nulls(count, f.type)) for f in TICK_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=TICK_SCHEMA)


def message(first: int, count: int) -> ticks.TickMessage:
    base = {"row:trades:t": first} if first else {}
    labels = ticks.headers(base, {"row:trades:t": first + count})
    return ticks.parse(ticks.encode(rows(first, count)), labels)


LENGTHS = (3, 1, 4, 2, 5, 1, 3)
FIRSTS = [sum(LENGTHS[:i]) for i in range(len(LENGTHS))]
MESSAGES = [message(first, count) for first, count in zip(FIRSTS, LENGTHS, strict=True)]


def take(work: steps.Work, offset: int, given: ticks.TickMessage) -> list[facts.Fact]:
    return steps.take(work, offset, given, lambda _: None, EVERY_ROWS)[0]


def fresh() -> steps.Work:
    return steps.begin(chain(), LOG, 0, None)


@pytest.fixture(scope="module")
def oracle() -> list[list[facts.Fact]]:
    """What a worker that was never disturbed writes, message by message."""
    work = fresh()
    return [take(work, offset, given) for offset, given in enumerate(MESSAGES)]


def none(_: bytes) -> bytes:
    raise AssertionError("nothing here is large")


def stored(oracle: list[list[facts.Fact]], offset: int) -> tuple[marks.Link, pa.RecordBatch]:
    fact = oracle[offset][0]
    return marks.link_of(fact.key, fact.payload), facts.rows_of(fact.payload, none)


def test_a_message_makes_an_input_chunk_and_a_result_chunk(oracle):
    assert [fact.kind for fact in oracle[0]] == ["in", "out"]
    assert facts.rows_of(oracle[0][0].payload, none).equals(rows(0, 3))


def test_ignored_messages_in_between_change_nothing(oracle):
    work = fresh()
    found = []
    for offset, given in enumerate([MESSAGES[0], MESSAGES[0], MESSAGES[3], MESSAGES[1]]):
        found += take(work, offset, given)

    bodies = [fact.payload for fact in found]
    expected = [fact.payload for fact in oracle[0] + oracle[1]]
    assert bodies == expected
    assert work.position.ordinal == 2


@pytest.mark.parametrize("held", range(len(LENGTHS)))
def test_after_a_crash_the_rest_is_bit_for_bit_the_same(oracle, held):
    work = fresh()
    for offset in range(held):
        steps.replay(work, *stored(oracle, offset))
    steps.start(work, Mark(LOG, *work.position), LOG)

    rest = [take(work, offset, MESSAGES[offset]) for offset in range(held, len(MESSAGES))]

    assert rest == oracle[held:]


def test_stored_input_computes_to_the_same_results_and_checkpoints(oracle):
    work = fresh()

    made = [steps.recompute(work, *stored(oracle, n), EVERY_ROWS) for n in range(len(MESSAGES))]

    assert made == [given[1:] for given in oracle]


def test_checkpoints_are_cut_where_the_row_count_passes_a_multiple(oracle):
    where = [n for n, made in enumerate(oracle) if made[-1].kind == "ckpt"]

    assert where == [2, 4]


@pytest.mark.parametrize("cut", [2, 4])
def test_from_a_checkpoint_the_rest_is_bit_for_bit_the_same(oracle, cut):
    work = steps.begin(chain(), LOG, 0, checkpoint(oracle, cut))

    rest = [take(work, offset, MESSAGES[offset]) for offset in range(cut + 1, len(MESSAGES))]

    assert rest == oracle[cut + 1 :]


def checkpoint(oracle: list[list[facts.Fact]], cut: int) -> steps.Checkpoint:
    pieces = {fact.id: fact.payload for made in oracle for fact in made if fact.kind == "piece"}
    fact = oracle[cut][-1]
    position, count, ids, market = steps.checkpoint_of(
        fact.payload, facts.data_of(fact.payload, none)
    )
    buckets = {
        bucket: b"".join(facts.data_of(pieces[name], none) for name in names)
        for bucket, names in ids.items()
    }
    return steps.Checkpoint(position, count, ids, buckets, market)


def test_only_buckets_that_changed_make_new_pieces():
    work = steps.begin(chain(), LOG, 0, None)
    take(work, 0, message(0, EVERY_ROWS))
    one = ticks.encode(rows(0, EVERY_ROWS * 2).filter(pa.array([True, False] * EVERY_ROWS)))
    labels = ticks.headers({"row:trades:t": EVERY_ROWS}, {"row:trades:t": 99})

    made = take(work, 1, ticks.parse(one, labels))

    assert [fact.kind for fact in made] == ["in", "out", "piece", "ckpt"]


def test_a_users_own_batch_is_taken_where_it_lies_iff_it_is_valid():
    own = ticks.parse(ticks.encode(rows(0, 2)), [("schema", ticks.SCHEMA_DIGEST.encode())])

    good = steps.take(fresh(), 0, own, lambda _: None, EVERY_ROWS)[1]
    bad = steps.take(fresh(), 0, own, lambda _: "row 0: price must be > 0", EVERY_ROWS)[1]

    assert isinstance(good, Accepted) and not good.labelled
    assert bad == Ignored(0, "row 0: price must be > 0")


@pytest.mark.parametrize(
    ("delivered", "expected"),
    [(4, None), (5, (5, 6)), (9, (5, 10))],
    ids=["past", "next", "beyond"],
)
def test_a_delivery_is_only_a_bell(delivered, expected):
    assert steps.stretch(Position(offset=5), delivered) == expected


def test_a_worker_behind_a_hole_of_its_node_starts_over():
    assert steps.must_start_over(Position(ordinal=5), Mark(ordinal=4))
    assert not steps.must_start_over(Position(ordinal=5), Mark(ordinal=5))
    assert not steps.must_start_over(Position(ordinal=5), Mark(ordinal=9))


def test_a_mark_that_the_log_no_longer_reaches_waits():
    assert not steps.may_start(Mark(LOG, 4), 5, LOG)
    assert steps.may_start(Mark(LOG, 5), 5, LOG)
    assert steps.may_start(Mark("older", 90), 0, LOG)


def test_switched_off_rules_are_really_off():
    off = ALL_RULES.without
    again = MESSAGES[3]._replace(base={"row:trades:t": 77})

    assert steps.take(fresh(), 0, again, lambda _: None, 9, off("accept_only_what_continues"))[0]
    assert steps.stretch(Position(5), 9, off("read_what_lies_between")) == (9, 10)
    assert steps.may_start(Mark(LOG, 4), 5, LOG, off("wait_below_the_low_end"))
    assert not steps.must_start_over(
        Position(ordinal=5), Mark(ordinal=4), off("start_over_behind_a_hole")
    )
