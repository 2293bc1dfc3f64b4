"""Facts of other nodes: once, under their number, and never before what they stand on."""

import psycopg
import pytest
from orrery_services import store
from orrery_services.errors import DivergenceError
from orrery_services.protocol import facts
from orrery_services.protocol.arrivals import Range
from orrery_services.store import heartbeats, reading, receiving

from .test_ledger import CHAIN, LOG, chunks, move

OTHER = "n2.AAAAAAAAAAAAAAAAAAAAAA"
THIRD = "n3.AAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture
def replica(server, database, writer):
    heartbeats.adopt_first(writer, "ticks", LOG)
    with store.connect(server.conninfo(database, "orrery_writer")) as connection:
        receiving.become_replica(connection)
        yield connection


def receipts(offset, ordinal, first, origin=OTHER, **more):
    made = chunks(offset, ordinal, **more)
    return [store.Receipt(origin, first + i, fact) for i, fact in enumerate(made)]


def receive(replica, given):
    return store.receive(replica, given, "facts-log", {0: 1})


def test_the_mark_moves_with_what_came(replica):
    done = receive(replica, receipts(0, 0, 1) + receipts(3, 1, 3))

    assert done.inserted == 4
    assert store.marks(replica)[CHAIN, 0] == (LOG, 4, 2, {"row:trades:t": 4})


def test_half_a_message_moves_no_mark(replica):
    first, second = receipts(0, 0, 1)

    receive(replica, [second])
    before = store.marks(replica)[CHAIN, 0]
    receive(replica, [first])

    assert before.ordinal == 0
    assert store.marks(replica)[CHAIN, 0].ordinal == 1


def test_a_hole_stops_the_mark_until_it_is_filled(replica):
    receive(replica, receipts(5, 2, 5) + receipts(0, 0, 1))
    before = store.marks(replica)[CHAIN, 0].ordinal

    receive(replica, receipts(3, 1, 3))

    assert before == 1
    assert store.marks(replica)[CHAIN, 0][:3] == (LOG, 6, 3)


def test_the_same_delivery_again_is_a_no_op(replica):
    given = receipts(0, 0, 1)
    receive(replica, given)

    done = receive(replica, given + given)

    assert (done.inserted, done.again, done.held) == (0, 4, 0)


def test_a_fact_that_is_held_already_arrives_and_is_no_gap(replica, writer):
    store.commit(writer, chunks(0, 0), [move(chunks(0, 0))])

    done = receive(replica, receipts(0, 0, 1))

    assert done.held == 2
    assert heartbeats.missing(writer) == {}
    assert reading.fact_under(writer, OTHER, 0, 2).key == chunks(0, 0)[1].key


def test_a_missing_number_is_a_gap_also_the_last_one(replica, writer):
    receive(replica, receipts(0, 0, 1) + receipts(5, 2, 5))
    heartbeats.heard(writer, {OTHER: {"0": 8}})

    found = heartbeats.missing(writer)

    assert found == {(OTHER, 0): [Range(3, 4), Range(7, 8)]}


def test_settling_changes_nothing_that_is_missing(replica, writer):
    receive(replica, receipts(0, 0, 1) + receipts(5, 2, 5))
    before = heartbeats.missing(writer)

    heartbeats.settle(writer)

    assert heartbeats.missing(writer) == before == {(OTHER, 0): [Range(3, 4)]}
    assert writer.execute("SELECT contiguous, greatest FROM origins").fetchall() == [(2, 6)]


def test_another_content_is_an_alarm_and_arrives(replica, writer):
    receive(replica, receipts(0, 0, 1))

    done = receive(replica, receipts(0, 0, 1, origin=THIRD, result=b"other"))

    assert [d.came.key for d in done.divergences] == [chunks(0, 0)[1].key]
    assert reading.quarantined(writer) == [chunks(0, 0)[1].key]
    assert heartbeats.missing(writer) == {}
    assert reading.fact_under(writer, THIRD, 0, 2).id == done.divergences[0].came.id


def test_two_facts_under_one_number_are_both_quarantined_and_the_rest_is_written(replica):
    receive(replica, receipts(0, 0, 1))

    with pytest.raises(DivergenceError, match="must name one fact"):
        receive(replica, receipts(3, 1, 1) + receipts(5, 1, 3, partition=1))

    assert store.marks(replica)[CHAIN, 0].ordinal == 1
    names = {fact.key for fact in chunks(0, 0) + chunks(3, 1)}
    assert set(reading.quarantined(replica)) == names
    assert reading.fact_under(replica, OTHER, 1, 4) is not None


def test_another_fact_under_a_number_that_only_arrived_is_not_swallowed(replica, writer):
    store.commit(writer, chunks(0, 0), [move(chunks(0, 0))])
    receive(replica, receipts(0, 0, 1))  # held: only its number is written down

    with pytest.raises(DivergenceError, match=r"number 1 of n2\.A+/0 was in/"):
        receive(replica, receipts(3, 1, 1))

    assert store.fact_by_key(writer, chunks(3, 1)[0].key) is None


def test_other_bytes_under_the_same_number_and_key_are_not_swallowed(replica):
    receive(replica, receipts(0, 0, 1))

    with pytest.raises(DivergenceError, match="must name one fact"):
        receive(replica, receipts(0, 0, 1, result=b"other"))

    assert reading.quarantined(replica) == [chunks(0, 0)[1].key]


def test_a_heartbeat_names_what_is_held_of_everybody(replica, writer):
    store.commit(writer, chunks(9, 0, partition=3))
    receive(replica, receipts(0, 0, 1))

    held = heartbeats.beat(writer, 8, now_ns=5)

    assert held == {store.who(writer).origin: {"3": 2}, OTHER: {"0": 2}}
    row = writer.execute("SELECT * FROM heartbeats").fetchone()
    fact = heartbeats.Fact(row[0], row[1], row[3], row[5], row[6])
    assert heartbeats.read(fact) == held


def test_a_heartbeat_names_the_last_that_came_and_up_to_where_all_have_come(replica, writer):
    """By the first a peer sees what it lacks, by the second what may be removed."""
    first, last = receipts(0, 0, 1), receipts(2, 0, 5)
    receive(replica, first)
    heartbeats.settle(writer)
    receive(replica, last)
    heartbeats.settle(writer)

    heartbeats.beat(writer, 8, now_ns=5)

    assert heartbeats.read(newest_heartbeat(writer))[OTHER] == {"0": 6}
    assert heartbeats.read_whole(newest_heartbeat(writer))[OTHER] == {"0": 2}

    receive(replica, receipts(1, 0, 3))
    heartbeats.settle(writer)
    heartbeats.beat(writer, 8, now_ns=6)

    assert heartbeats.read_whole(newest_heartbeat(writer))[OTHER] == {"0": 6}


def newest_heartbeat(connection) -> heartbeats.Fact:
    row = connection.execute("SELECT * FROM heartbeats ORDER BY oseq DESC LIMIT 1").fetchone()
    return heartbeats.Fact(row[0], row[1], row[3], row[5], row[6])


def test_only_one_session_is_the_replicator(replica, server, database):
    second = store.connect(server.conninfo(database, "orrery_writer"))

    with second, pytest.raises(psycopg.errors.ObjectInUse):
        receiving.become_replica(second)


def test_a_chain_that_only_another_node_computes_has_a_mark_here_too(replica):
    given = receipts(0, 0, 1)

    receive(replica, given)

    assert (CHAIN, 0) in store.marks(replica)


def test_every_transaction_of_a_replica_is_stamped_with_its_own_time(replica):
    before = replica.execute("SELECT clock_timestamp()").fetchone()[0]
    receive(replica, receipts(0, 0, 1))
    between = replica.execute("SELECT clock_timestamp()").fetchone()[0]
    receive(replica, receipts(3, 1, 3))

    query = "SELECT pg_xact_commit_timestamp(xmin) FROM facts WHERE oseq = %s"
    first, second = (replica.execute(query, (oseq,)).fetchone()[0] for oseq in (1, 3))
    assert before < first < between < second


def test_a_chunk_that_changes_many_sources_moves_the_mark(replica):
    changed = {f"row:trades:{source:064d}": 1 for source in range(400)}
    place = facts.Place(LOG, 0, 0)
    meta = {"ordinal": 0, "changed": changed}
    given = [
        *facts.plain_fact("in", 0, facts.place_key("in", place), meta, b"i"),
        *facts.plain_fact("out", 0, facts.place_key("out", place, CHAIN), {}, b"r"),
    ]

    receive(replica, [store.Receipt(OTHER, 1 + i, fact) for i, fact in enumerate(given)])

    assert store.marks(replica)[CHAIN, 0] == (LOG, 1, 1, changed)
