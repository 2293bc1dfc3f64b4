"""Two contents under one key: how one comes out of it, and that nothing is lost on the way."""

import pytest
from orrery_services import store
from orrery_services.errors import ConfigError, DivergenceError
from orrery_services.store import heartbeats, reading, settling

from .test_ledger import chunks
from .test_receiving import OTHER, THIRD, receipts, receive, replica

__all__ = ["replica"]
KEY = chunks(0, 0)[1].key
HERE, THERE = chunks(0, 0)[1], chunks(0, 0, result=b"other")[1]


@pytest.fixture
def owner(server, database, writer):
    with store.connect(server.conninfo(database, "orrery_owner")) as connection:
        yield connection


@pytest.fixture
def diverged(replica):
    """A node that holds HERE, to which THERE came."""
    receive(replica, receipts(0, 0, 1))
    receive(replica, receipts(0, 0, 1, origin=THIRD, result=b"other"))
    return replica


def test_both_contents_are_told_the_held_one_first(diverged, writer):
    told = [(one.fact.id, one.origin, one.oseq) for one in settling.contents(writer, KEY)]

    assert told == [(HERE.id, OTHER, 2), (THERE.id, THIRD, 2)]
    assert settling.contents(writer, chunks(0, 0)[0].key) == []


def test_the_held_content_stays_and_the_key_is_served_again(diverged, writer, owner):
    settling.settle(owner, KEY, HERE.id.hex()[:10])

    assert reading.quarantined(writer) == []
    assert store.fact_by_key(writer, KEY).id == HERE.id


def test_the_other_content_takes_its_place_under_a_number_of_this_node(diverged, writer, owner):
    settling.settle(owner, KEY, THERE.id.hex()[:10])

    row, own = store.fact_by_key(writer, KEY), store.who(writer).origin
    assert (row.id, row.origin, row.oseq) == (THERE.id, own, 1)
    assert reading.quarantined(writer) == []
    assert heartbeats.missing(writer) == {}


def test_whoever_lacks_a_number_still_gets_what_came_under_it(diverged, writer, owner):
    for _ in range(2):  # before and after
        assert reading.fact_under(writer, OTHER, 0, 2) == HERE
        assert reading.fact_under(writer, THIRD, 0, 2) == THERE
        settling.settle(owner, KEY, THERE.id.hex())


def test_what_was_settled_is_no_alarm_when_the_other_comes_again(diverged, writer, owner):
    settling.settle(owner, KEY, THERE.id.hex())

    receive(diverged, receipts(0, 0, 3))  # HERE, under another number

    assert reading.quarantined(writer) == []
    assert store.fact_by_key(writer, KEY).id == THERE.id


def test_numbers_go_on_behind_one_that_was_exchanged(diverged, writer, owner):
    settling.settle(owner, KEY, THERE.id.hex())
    settling.settle(owner, KEY, HERE.id.hex())  # a person may err

    store.commit(writer, chunks(3, 1), [])

    own = store.who(writer).origin
    numbers = writer.execute(
        "SELECT oseq FROM facts WHERE origin = %s UNION SELECT oseq FROM arrivals WHERE origin = %s"
        " ORDER BY 1",
        (own, own),
    ).fetchall()
    assert numbers == [(1,), (2,), (3,), (4,)]
    assert store.fact_by_key(writer, KEY).id == HERE.id


@pytest.mark.parametrize("begins", ["", "00", "x'); DROP TABLE facts"])
def test_what_does_not_name_one_content_is_refused(diverged, owner, begins):
    with pytest.raises(ConfigError, match="--as must begin one id"):
        settling.settle(owner, KEY, begins)

    assert reading.quarantined(owner) == [KEY]


def test_a_key_of_one_content_is_refused(diverged, owner):
    with pytest.raises(ConfigError, match="must be settled, 'nothing' is none here"):
        settling.settle(owner, "nothing", "ab")


def test_of_two_facts_under_one_number_only_the_one_of_the_key_can_stay(replica, writer, owner):
    receive(replica, receipts(0, 0, 1))
    with pytest.raises(DivergenceError):
        receive(replica, receipts(3, 1, 1))
    held, came = settling.contents(owner, chunks(0, 0)[0].key)

    with pytest.raises(ConfigError, match="came under its number alone"):
        settling.settle(owner, held.fact.key, came.fact.id.hex())
    settling.settle(owner, held.fact.key, held.fact.id.hex())

    assert held.fact.key not in reading.quarantined(writer)


def test_nobody_but_the_owner_may_settle(diverged, writer):
    with pytest.raises(Exception, match="permission denied"):
        settling.settle(writer, KEY, THERE.id.hex())

    assert store.fact_by_key(writer, KEY).id == HERE.id
