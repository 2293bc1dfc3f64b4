"""Rows that are old lose their bodies and keep their names; everything says so in plain words."""

import psycopg
import pytest
from orrery_kernels import Chain
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.snapshot import leaves as leaves_of
from orrery_services import store as stored
from orrery_services.analytics import recovery, steps
from orrery_services.cli import converge, gc, replay, replay_leaves, verify
from orrery_services.errors import ConfigError
from orrery_services.protocol import facts
from orrery_services.protocol.leaves import blocks
from orrery_services.protocol.leaves import root as root_of
from orrery_services.protocol.marks import Mark
from orrery_services.snapshots import expiring
from orrery_services.snapshots.making import Making
from orrery_services.store import heartbeats, leaves, ledger, low, reading, refs, results, snapshots

from ..store.test_recovery import Held
from .partition import LOG, Log, chain, cut, fresh, take
from .test_store import Universe

NAME = facts.chain_id(chain().digest)
STEPS = [{"kernel": "vwap"}, {"kernel": "ewma", "column": "price", "alpha": 0.3}]
EVERY_ROWS = 6  # of a checkpoint
DAY_NS = 86_400_000_000_000
CUTS = 6  # a day apart: three messages of two rows each, then the marker


@pytest.fixture
def filled(writer):
    """A node with a week of rows: checkpoints every six rows, a snapshot a day."""
    heartbeats.adopt_first(writer, "ticks", LOG)
    stored.commit(writer, steps.chain_fact(chain(), STEPS, 8))
    writer.execute("INSERT INTO chain_names (name, chain) VALUES ('default', %s)", (NAME,))
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    for number in range(1, CUTS + 1):
        for at in range(3):
            log.trades(at_ns=number * DAY_NS, A=1.0 + at, B=2.0 + number)
        log.cut(number, at_ns=number * DAY_NS)
        made = take(work, log, EVERY_ROWS)
        ledger.commit(writer, made, [ledger.Move(NAME, 0, steps.links(made))])
        making.add([cut(number, at_ns=number * DAY_NS)])
    assert len(making.turn()) == CUTS
    return writer


def planned(writer, days_kept: float, peers=None, chains=(NAME,)) -> list[expiring.Expiring]:
    def begins(_: str, partition: int, ordinal: int) -> Mark:
        work = recovery.at_checkpoint(writer, chain(), partition, ordinal)
        return Mark(work.log_id, *work.position)

    older = CUTS * DAY_NS - int(days_kept * DAY_NS)
    return expiring.plan(writer, chains, 1, begins, peers or {}, older)


def expire(writer, server, database, days_kept: float) -> expiring.Expiring:
    (found,) = planned(writer, days_kept)
    with psycopg.connect(server.conninfo(database, "orrery_gc"), autocommit=True) as collector:
        expiring.remove(collector, [found], now_ns=10**18)
    return found


def held_offsets(writer, prefix: str) -> list[int]:
    rows = reading.facts_between(writer, prefix, prefix + "~")
    return [facts.place_of(r.key).offset for r in rows if not facts.expired(r.payload)]


def test_rows_below_a_checkpoint_that_are_old_enough_lose_their_bodies_and_no_name(
    filled, server, database
):
    before = reading.ids_of(
        filled, [row.key for row in reading.facts_between(filled, "in/", "in0")]
    )
    root = leaves_root(filled)

    gone = expire(filled, server, database, 2.0)

    after = {row.key: row.id for row in reading.facts_between(filled, "in/", "in0")}
    assert after == before and leaves_root(filled) == root
    assert 8 <= gone.below.offset <= 15, "not above the marker of the fourth day"
    assert gone.chunks == 2 * gone.below.offset, "an input and a result each"
    for prefix in ("in/", f"out/{NAME}/"):
        assert held_offsets(filled, prefix) == list(range(gone.below.offset, 4 * CUTS))
    assert planned(filled, 2.0) == [], "what is gone is not looked for again"
    assert low.low_of(filled, 0) == low.Low(0, Mark(LOG, gone.below.offset, gone.below.ordinal),
                                            "2001-09-09")  # fmt: skip


def leaves_root(writer) -> bytes:
    mark = stored.marks(writer)[NAME, 0]
    return root_of(blocks(leaves.of_chunks(writer, NAME, 0, mark)))


def test_nothing_is_expired_where_nothing_is_old_cut_or_checkpointed(filled):
    assert low.low_of(filled, 0) is None
    assert planned(filled, CUTS) == [], "no cut is that old"
    assert planned(filled, 2.0, chains=()) == [], "no chain could go on"
    filled.execute("UPDATE snapshots SET at_ns = at_ns + %s", (10 * DAY_NS,))
    assert planned(filled, 2.0) == [], "nothing was cut by then"


def test_rows_wait_for_a_peer_that_has_not_named_them(filled):
    origin = refs.origin(filled)
    (alone,) = planned(filled, 0.0)

    assert planned(filled, 0.0, {"n2": {}}) == []
    assert planned(filled, 0.0, {"n2": {origin: {"0": 10**6}}}) == [alone]
    (some,) = planned(filled, 0.0, {"n2": {origin: {"0": 30}}})
    assert 0 < some.below.ordinal < alone.below.ordinal


def test_rows_wait_for_a_peer_that_lost_its_disk_until_it_has_its_own_again(filled):
    before, after = refs.origin(filled), {"n1.new": {"0": 10**6}}  # the peer that wrote is n1

    assert planned(filled, 0.0, {"n1": after}) == []
    assert planned(filled, 0.0, {"n1": {**after, before: {"0": 10**6}}}) == planned(filled, 0.0)


def test_a_worker_goes_on_after_its_old_rows_went(filled, server, database):
    more = Log()
    more.vector = dict(stored.marks(filled)[NAME, 0].vector)
    more.trades(at_ns=7 * DAY_NS, A=9.0, B=8.0)
    undisturbed = recovery.recover(filled, chain(), LOG, 0)
    offset = undisturbed.position.offset

    expire(filled, server, database, 0.0)

    found = recovery.recover(filled, chain(), LOG, 0)
    assert offset == 4 * CUTS
    assert take_next(found, more, offset) == take_next(undisturbed, more, offset)


def take_next(work: steps.Work, log: Log, offset: int) -> list[facts.Fact]:
    return steps.take(work, offset, log.messages[0], lambda _: None, EVERY_ROWS)[0]


def test_the_command_plans_for_every_chain_that_is_declared_or_named(filled):
    settings = Universe()
    settings.chains = {"default": STEPS}
    now_ns = CUTS * DAY_NS

    assert gc._old_rows(filled, settings, {}, "2 days", now_ns) == planned(filled, 2.0)
    assert gc._old_rows(filled, settings, {}, "", now_ns) == []
    settings.chains = {"default": STEPS, "new": [{"kernel": "midprice"}]}
    assert gc._old_rows(filled, settings, {}, "2 days", now_ns) == [], "it must read all of them"


def test_a_chain_that_was_not_computed_before_the_rows_went_is_told_so(filled, server, database):
    expire(filled, server, database, 2.0)

    with pytest.raises(facts.BadFact, match=r"rows below offset .* expired on 2001-09-09"):
        recovery.recover(filled, chain(0.7), LOG, 0)


def test_verify_recomputes_what_is_left_and_says_what_is_not(filled, server, database):
    gone = expire(filled, server, database, 2.0)
    mark = stored.marks(filled)[NAME, 0]

    found = verify.verify_partition(Held(filled), chain(), 0, mark, 0)

    assert (found.chunks, found.differ) == (mark.ordinal - gone.below.ordinal, [])
    where, root = found.expired
    assert where.text == (
        f"partition 0: rows below offset {gone.below.offset} of ticks expired on 2001-09-09, "
        "their names are held"
    )
    assert root == low.root_below(filled, NAME, where) != bytes(32)


def test_read_begins_where_rows_are_held(filled, server, database):
    info = results.chain_info(filled, "default")
    every = list(results.chunks(filled, info, 0, Mark()))

    gone = expire(filled, server, database, 2.0)

    with pytest.raises(facts.BadFact, match="expired on 2001-09-09"):
        list(results.chunks(filled, info, 0, Mark()))
    left = list(results.chunks(filled, info, 0, low.low_of(filled, 0).mark))
    assert [c.fact for c in left] == [c.fact for c in every if c.ordinal >= gone.below.ordinal]


def test_replay_makes_again_what_it_can_and_says_what_it_cannot(filled, server, database):
    made = snapshots.made_after(filled, 0)
    expire(filled, server, database, 2.0)

    old = replay.verified(Held(filled), made[0].id.hex())
    all_of_them = replay.verified(Held(filled), "latest", made[0].id.hex())

    assert (old["leaves"], old["differ"]) == (0, [])
    assert "1 leaves were not made again" in old["expired"][0]
    assert all_of_them["first_difference"] is None
    assert 0 < all_of_them["leaves"] < CUTS


def test_replay_recomputes_with_the_chains_of_then_also_after_another_declaration(filled):
    other = [{"kernel": "midprice"}]
    stored.commit(filled, steps.chain_fact(Chain(other), other, 8))
    now = facts.chain_id(Chain(other).digest)
    filled.execute("UPDATE chain_names SET chain = %s WHERE name = 'default'", (now,))

    found = replay.verified(Held(filled), "latest", snapshots.made_after(filled, 0)[0].id.hex())

    assert (found["leaves"], found["differ"]) == (CUTS, [])


def test_replay_of_one_snapshot_lists_none_that_came_after_it(filled, monkeypatch):
    asked, list_them = [], snapshots.made_after

    def listed(*args):
        asked.append(list_them(*args))
        return asked[-1]

    first = list_them(filled, 0)[0]
    monkeypatch.setattr(snapshots, "made_after", listed)
    replay.verified(Held(filled), first.id.hex())

    assert asked == [[first]]


def test_replay_since_a_later_snapshot_is_refused(filled):
    first = snapshots.made_after(filled, 0)[0].id.hex()

    with pytest.raises(ConfigError, match=f"was cut {CUTS} of 1"):
        replay.verified(Held(filled), first, "latest")


def test_converge_says_of_which_rows_only_names_are_compared(filled, server, database):
    assert converge._expired(Held(filled)) == []

    expire(filled, server, database, 2.0)

    assert converge._expired(Held(filled)) == [low.low_of(filled, 0).text]


def test_snapshots_stay_whole_when_the_rows_below_them_go(filled, server, database):
    expire(filled, server, database, 0.0)

    for made in snapshots.made_after(filled, 0):
        opened, fetch = snapshots.open_snapshot(filled, made.id)
        assert len(leaves_of(opened, "state/default", fetch)) == 2


def test_the_age_of_rows_is_one_age():
    assert expiring.age_of("30 days") == 30 * DAY_NS
    for policy in ("tags", "last 7", "one a day for 5 years", "30 days, 2 days"):
        with pytest.raises(SnapshotError, match="kept for one age such as '30 days'"):
            expiring.age_of(policy)


def test_many_chunks_are_made_again_by_several_processes_with_the_same_answer(
    filled, server, database, monkeypatch
):
    node = Held(filled)
    node.settings = Elsewhere(server.conninfo(database, "orrery_reader"))
    numbers = set(range(1, CUTS + 1))
    parts, _ = replay_leaves.parts_of(node, numbers)
    alone = replay_leaves.recomputed(node, parts * 4, lambda: "done")
    monkeypatch.setattr(replay_leaves, "CHUNKS_ALONE_MAX", 0)
    monkeypatch.setattr(replay_leaves.os, "cpu_count", lambda: 2)

    apart = replay_leaves.recomputed(node, parts * 4, lambda: "done")

    assert apart == alone
    assert [equal for _, equal in apart[0][0]] == [True] * CUTS and apart[1] == "done"


class Elsewhere:
    """Settings of a node that another process can open."""

    node, partitions = "n1", 1

    def __init__(self, conninfo: str):
        self.conninfo = conninfo

    def postgres(self, _: str) -> str:
        return self.conninfo
