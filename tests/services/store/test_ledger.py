"""Facts are written once, numbered without a gap, and the mark never passes a hole."""

import threading

import psycopg
import pytest
from orrery_services import store
from orrery_services.protocol import facts
from orrery_services.protocol.facts import Place
from orrery_services.protocol.marks import Link
from orrery_services.store import identity, ledger, reading

LOG = "logloglogloglogloglogl"
CHAIN = "chainchainchainc"


def chunks(offset: int, ordinal: int, partition: int = 0, result: bytes = b"r") -> list[facts.Fact]:
    place = Place(LOG, partition, offset)
    meta = {"ordinal": ordinal, "changed": {"row:trades:t": offset + 1}}
    return [
        *facts.plain_fact("in", partition, facts.place_key("in", place), meta, b"i"),
        *facts.plain_fact("out", partition, facts.place_key("out", place, CHAIN), {}, result),
    ]


def move(given: list[facts.Fact], partition: int = 0) -> ledger.Move:
    return ledger.Move(CHAIN, partition, ledger.links_of(given))


def test_a_chunk_moves_the_mark_behind_it(writer):
    given = chunks(0, 0)

    outcome = store.commit(writer, given, [move(given)])

    mark = store.marks(writer)[CHAIN, 0]
    assert outcome.marks == {(CHAIN, 0): mark}
    assert mark == (LOG, 1, 1, {"row:trades:t": 1})
    assert outcome.inserted == 2


def test_a_repeat_is_a_no_op(writer):
    given = chunks(0, 0)
    store.commit(writer, given, [move(given)])

    outcome = store.commit(writer, given, [move(given)])

    assert (outcome.inserted, outcome.held) == (0, 2)
    assert [row.oseq for row in rows(writer)] == [1, 2]
    assert store.marks(writer)[CHAIN, 0].ordinal == 1


def test_a_hole_stops_the_mark_and_filling_it_frees_what_lies_beyond(writer):
    first, second = chunks(0, 0), chunks(3, 1)

    beyond = store.commit(writer, second, [move(second)])
    both = store.commit(writer, first, [move(first + second)])

    assert beyond.marks[CHAIN, 0].ordinal == 0
    assert both.marks[CHAIN, 0][:3] == (LOG, 4, 2)


def test_two_contents_under_one_key_are_an_alarm_and_both_are_kept(writer):
    given, other = chunks(0, 0), chunks(0, 0, result=b"something else")
    store.commit(writer, given, [move(given)])

    outcome = store.commit(writer, other, [move(other)])

    assert [d.came.id for d in outcome.divergences] == [other[1].id]
    assert reading.quarantined(writer) == [given[1].key]
    assert store.fact_by_key(writer, given[1].key).id == given[1].id


def test_numbers_are_gapless_when_two_workers_write_the_same_stream(writer, server, database):
    def work(first: int) -> None:
        with store.connect(server.conninfo(database, "orrery_writer")) as connection:
            for offset in range(first, 100, 2):
                store.commit(connection, chunks(offset, offset), [])

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

    assert sorted(row.oseq for row in rows(writer)) == list(range(1, 201))


def test_a_rolled_back_transaction_leaves_no_gap_and_no_fact(writer):
    bad = facts.Fact(b"short", "x", 0, "x/1", b"")
    with pytest.raises(psycopg.errors.CheckViolation):
        store.commit(writer, [*chunks(0, 0), bad])

    outcome = store.commit(writer, chunks(0, 0))

    assert outcome.inserted == 2
    assert [row.oseq for row in rows(writer)] == [1, 2]


def test_facts_after_a_new_incarnation_are_numbered_from_one_again(writer):
    store.commit(writer, chunks(0, 0))

    identity.begin(writer, "n1", "restored")
    store.commit(writer, chunks(1, 1))

    numbers = [(row.origin, row.oseq) for row in rows(writer)]
    assert sorted(oseq for _, oseq in numbers) == [1, 1, 2, 2]
    assert len({origin for origin, _ in numbers}) == 2


def test_large_bodies_become_pieces_and_come_back_whole(writer):
    data = bytes(range(256)) * 5000
    store.commit(writer, facts.plain_fact("run", 8, "run/1", {}, data))

    row = store.fact_by_key(writer, "run/1")

    assert facts.data_of(row.payload, store.fetch_piece(writer, 8)) == data
    assert max(len(found.payload) for found in rows(writer)) <= facts.ROW_BYTES_MAX


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET payload = ''",
        "DELETE FROM facts",
        "TRUNCATE facts",
        "COPY facts FROM STDIN",
        "UPDATE divergences SET key = ''",
        "DROP TABLE facts",
    ],
)
def test_the_writer_may_not_change_what_is_written(writer, statement):
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)):
        writer.execute(statement)


def test_the_reader_may_only_read(server, database, writer):
    with store.connect(server.conninfo(database, "orrery_reader")) as reader:
        assert store.marks(reader) == {}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("INSERT INTO logs VALUES ('a', 'b')")


def test_links_need_both_chunks():
    given = chunks(7, 3)

    assert ledger.links_of(given) == [Link(Place(LOG, 0, 7), 3, {"row:trades:t": 8})]
    assert ledger.links_of(given[:1]) == []


def rows(connection: psycopg.Connection) -> list[reading.Row]:
    return list(store.facts_between(connection, "a", "z"))
