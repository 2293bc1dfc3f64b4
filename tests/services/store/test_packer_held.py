"""A packer sees how long its node takes to hold what was packed."""

import time

import pytest
from orrery_services import store
from orrery_services.packer import held
from orrery_services.store import heartbeats

from .test_ledger import LOG, chunks, move

PACE_MS_MAX = 250
LONG_SECONDS = 0.2
SECONDS_MAX = 60.0


@pytest.fixture
def watch(server, database, writer):
    heartbeats.adopt_first(writer, "ticks", LOG)
    made = held.Held(server.conninfo(database, "orrery_reader"), LOG, PACE_MS_MAX)
    yield made
    made.close()


def commit(writer, offset: int, ordinal: int) -> None:
    made = chunks(offset, ordinal)
    store.commit(writer, made, [move(made)])


def pause() -> None:
    time.sleep(held.LOOK_MS / 1000 + 0.01)


def test_what_is_held_at_once_keeps_the_pace(watch, writer):
    commit(writer, 0, 0)

    watch.look({0: 1})

    assert not watch.watches()
    assert watch.pace_ms() == held.PACE_MS_MIN


def test_what_takes_long_to_be_held_slows_the_pace_and_what_does_not_brings_it_back(watch, writer):
    watch.look({0: 1})
    time.sleep(LONG_SECONDS)
    commit(writer, 0, 0)
    look_until_all_is_held(watch, {0: 1})
    slow = watch._took_ms
    commit(writer, 1, 1)
    while watch._reached != {0: 2}:  # looks are not too often
        look_until_all_is_held(watch, {0: 2})

    assert slow > held.PACE_MS_MIN
    assert watch._took_ms < slow
    assert held.PACE_MS_MIN <= watch.pace_ms() <= PACE_MS_MAX


def look_until_all_is_held(watch, positions: dict[int, int]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    watch.look(positions)
    while watch.watches():
        assert time.monotonic() < deadline
        pause()
        watch.look(positions)


def test_the_pace_follows_what_is_still_on_its_way(watch):
    watch.look({0: 1})
    time.sleep(LONG_SECONDS)

    assert watch.pace_ms() >= LONG_SECONDS * 1000 / held.ON_THEIR_WAY


def test_nothing_is_looked_for_when_all_is_held(watch, writer):
    commit(writer, 0, 0)
    watch.look({0: 1})
    pause()

    watch.close()
    watch.look({0: 1})

    assert watch._connection is None


def test_a_partition_that_went_elsewhere_is_not_waited_for(watch):
    watch.look({0: 1, 1: 5})
    pause()

    watch.look({})

    assert not watch.watches()


def test_a_database_that_does_not_answer_makes_batches_larger_and_stops_nothing(watch):
    watch._conninfo = "postgresql://nobody@127.0.0.1:1/nothing"

    watch.look({0: 1})
    time.sleep(held.ON_THEIR_WAY * PACE_MS_MAX / 1000)

    assert watch.pace_ms() == PACE_MS_MAX
