"""A lane computes on while its chunks are being committed."""

import pytest
from orrery_services import store
from orrery_services.analytics import steps
from orrery_services.analytics.committer import Committer
from orrery_services.analytics.lane import Lane
from orrery_services.protocol import ticks
from orrery_services.protocol.rules import ALL_RULES
from orrery_services.store import heartbeats, reading

from ..analytics.test_steps import EVERY_ROWS, LOG, MESSAGES, chain, fresh, take

STEPS = [{"kernel": "vwap"}, {"kernel": "ewma", "column": "price", "alpha": 0.3}]
ACCEPTED = range(len(MESSAGES))


@pytest.fixture
def lane(writer, server, database):
    heartbeats.adopt_first(writer, "ticks", LOG)
    committer = Committer(server.conninfo(database, "orrery_writer"), 50_000, 0.0, ALL_RULES)
    made = Lane(
        chain(), (LOG, 0), committer, None, lambda _: None, None, EVERY_ROWS, ALL_RULES
    )  # fmt: skip
    made.work = fresh()
    yield made
    committer.close()


def deliver(lane: Lane, offset: int) -> object:
    given = MESSAGES[offset]
    return lane.take(offset, given.value, ticks.headers(given.base, given.next))


def settled(lane: Lane) -> bool:
    holes = False
    while lane.flights:
        lane.flights[0].committed.result(timeout=30)
        holes |= lane.settle()
    return holes


def test_chunks_are_taken_before_those_ahead_are_committed_and_all_arrive(lane, writer):
    flights = [deliver(lane, offset) for offset in ACCEPTED]

    assert [flight.position.ordinal for flight in flights] == [n + 1 for n in ACCEPTED]
    assert not settled(lane)
    assert store.newest_mark(writer, 0).ordinal == len(MESSAGES)
    work = fresh()
    for fact in (fact for n in ACCEPTED for fact in take(work, n, MESSAGES[n])):
        assert reading.fact_by_key(writer, fact.key).id == fact.id


def test_a_commit_that_leaves_a_hole_behind_the_fold_ends_the_work(lane, writer):
    for offset in (0, 1):  # folded, and never written
        take(lane.work, offset, MESSAGES[offset])
    for offset in (2, 3):
        deliver(lane, offset)

    assert settled(lane)
    assert lane.work is None
    assert store.newest_mark(writer, 0).ordinal == 0


def test_who_waits_for_a_commit_may_be_cancelled_and_the_commit_may_not(lane, writer):
    flight = deliver(lane, 0)

    assert not flight.committed.cancel()
    assert not settled(lane)
    assert store.newest_mark(writer, 0).ordinal == 1


class Log:
    """A log of `ticks` of which only the ends are asked for."""

    def __init__(self, end: int):
        self.end = end

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, self.end


def test_a_lane_stands_still_while_the_log_ends_before_what_it_folded(lane, writer):
    store.commit(writer, steps.chain_fact(chain(), STEPS, 8))
    for offset in ACCEPTED:
        deliver(lane, offset)
    assert not settled(lane)
    position = lane.work.position

    lane._reader = Log(position.offset - 1)
    assert lane.catch_up()
    assert lane.work is None
    assert not lane.recover(writer)
    assert "the log lost messages" in lane.stands and "orrery log renew ticks" in lane.stands
    lane._reader = Log(position.offset)

    assert lane.recover(writer)
    assert (lane.work.position, lane.stands) == (position, "")


class Growing(Log):
    """A log to which a message comes whenever its ends were told; somebody stores it at once."""

    def __init__(self, end: int, store_input):
        super().__init__(end)
        self._store_input = store_input

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        told = super().ends(topic, partition)
        self._store_input(self.end)
        self.end += 1
        return told


def test_input_that_comes_while_a_lane_recovers_is_no_lost_end(lane, writer):
    """Another chain's worker, or the replicator, stores what the log did not hold a moment ago."""
    store.commit(writer, steps.chain_fact(chain(), STEPS, 8))
    work = fresh()
    inputs = [take(work, offset, MESSAGES[offset])[:1] for offset in ACCEPTED]
    store.commit(writer, inputs[0])
    lane._reader = Growing(1, lambda offset: store.commit(writer, inputs[offset]))

    assert lane.recover(writer)

    assert lane.stands == ""
