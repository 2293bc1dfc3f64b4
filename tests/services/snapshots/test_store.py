"""Snapshots, names and gc in a real database."""

import time

import duckdb
import polars
import psycopg
import pytest
from confluent_kafka import KafkaError, TopicPartition
from orrery_kernels.domino.explain import changed_leaves
from orrery_kernels.domino.market import Market
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.canonical import decode, encode
from orrery_kernels.snapshot.changes import might_concern
from orrery_kernels.snapshot.snapshot import freeze as freeze_sections
from orrery_kernels.snapshot.snapshot import leaf, thaw
from orrery_kernels.snapshot.snapshot import leaves as leaves_of
from orrery_kernels.snapshot.tree import CANONICAL, Built, build
from orrery_services import metrics
from orrery_services import store as store_of
from orrery_services.cli.diff import shown
from orrery_services.errors import DivergenceError, OutsideError
from orrery_services.node import Snapshot
from orrery_services.protocol import facts
from orrery_services.protocol import snapshots as rules
from orrery_services.protocol.arrivals import Range
from orrery_services.protocol.snapshots import TAG, Ref, snapshot_key
from orrery_services.snapshots import collecting, steps
from orrery_services.snapshots.making import Making
from orrery_services.snapshots.watching import Watch
from orrery_services.store import holds, ledger, mended, pieces, reading, refs, settling
from orrery_services.store import snapshots as store

from .partition import Log, chain, cut, fresh, take

P = 1


class Universe:
    """What Making asks of settings."""

    partitions, node = P, "n1"
    values = {  # noqa: RUF012
        "data.changes.paths_max": 20, "data.changes.wrong_yes_rate": 1e-6, "data.static": {},
    }  # fmt: skip


def freeze(writer: psycopg.Connection, cuts: int) -> list[store.Made]:
    """Write the log of one partition with so many cuts, and make their snapshots."""
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    symbols = {f"S{number}": float(number + 1) for number in range(40)}
    log.trades(**symbols).quotes(**symbols)
    made = []
    for number in range(1, cuts + 1):
        log.quotes(S3=float(number)).cut(number, at_ns=number * 10**9)
        ledger.commit(writer, take(work, log))
        making.add([cut(number, number * 10**9)])
        made += making.turn()
    return made


def test_a_snapshot_is_made_once_and_can_be_opened(writer):
    made = freeze(writer, 3)

    again = Making(Universe(), writer)
    again.add([cut(number, number * 10**9) for number in (1, 2, 3)])

    assert again.turn() == []
    assert [one.number for one in store.made_after(writer, 0)] == [1, 2, 3]
    assert [one.parent for one in made] == [None, made[0].id, made[1].id]
    opened, fetch = store.open_snapshot(writer, made[1].id)
    assert len(leaves_of(opened, "quotes", fetch)) == 40
    assert len(list(store.records(writer, refs.origin(writer)))) == 3


def test_a_cut_whose_leaf_is_missing_waits_and_holds_up_no_other(writer):
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    making.add([cut(1)])
    assert making.turn() == []

    ledger.commit(writer, take(work, log.quotes(X=1.0).cut(2)))
    making.add([cut(2)])

    assert [made.number for made in making.turn()] == [2]
    assert [made.number for made in Making(Universe(), writer).turn()] == []


def test_a_snapshot_made_before_one_that_waits_has_the_pieces_that_came_with_that(writer):
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    making.add([cut(1)])
    assert making.turn() == []
    making._looks[1] = 1 << 62, 1  # it is not looked for again for long
    ledger.commit(writer, take(work, log.quotes(X=1.0, Y=2.0).cut(1)))
    ledger.commit(writer, take(work, log.cut(2)))
    making.add([cut(2)])

    (made,) = making.turn()

    assert made.number == 2
    opened, fetch = store.open_snapshot(writer, made.id)
    assert len(leaves_of(opened, "quotes", fetch)) == 2


def test_a_snapshot_waits_for_the_trees_that_its_leaves_name(writer):
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    came = take(work, log.quotes(X=1.0).cut(1))
    late = [fact for fact in came if fact.kind == rules.PACK]
    ledger.commit(writer, [fact for fact in came if fact.kind != rules.PACK])
    making.add([cut(1)])
    assert making.turn() == []

    ledger.commit(writer, late)
    making._looks[1] = 0, 1

    assert [made.number for made in making.turn()] == [1]


OTHER_CHAIN = chain(0.7)
CHAINS = {"default": chain(), "other": OTHER_CHAIN}


def two_chains(writer, *, erring: float) -> tuple[Making, list[facts.Fact]]:
    """Keep a cut of two chains of which the second one's worker saw another quote; return the packs
    and the leaf that it should have written."""
    both = {name: facts.chain_id(one.digest) for name, one in CHAINS.items()}
    for one, quote in ((chain(), 1.0), (OTHER_CHAIN, erring)):
        ledger.commit(writer, cut_by(one, quote))
    making = Making(Universe(), writer)
    making.add([cut(1)._replace(chains=both)])
    return making, cut_by(OTHER_CHAIN, 1.0)


def cut_by(of, quote: float) -> list[facts.Fact]:
    """Return what the worker of a chain writes of a cut behind one quote."""
    written = take(fresh(of), Log().quotes(X=quote).cut(1))
    return [fact for fact in written if fact.kind in (rules.PACK, rules.LEAF)]


def test_a_cut_of_which_two_workers_differ_is_an_alarm_until_it_is_settled(
    writer, server, database
):
    making, right = two_chains(writer, erring=2.0)
    key = rules.leaf_key(facts.chain_id(OTHER_CHAIN.digest), 0, 1)

    assert making.turn() == [] and figure() == 1
    making._looks[1] = 0, 1
    assert making.turn() == [] and figure() == 1, "the same cut, looked at again"

    ledger.commit(writer, right)  # by whoever computes it anew
    making._looks[1] = 0, 1
    assert making.turn() == [] and reading.quarantined(writer) == [key]
    with store_of.connect(server.conninfo(database, "orrery_owner")) as owner:
        settling.settle(owner, key, right[-1].id.hex())
    making._looks[1] = 0, 1

    assert [made.number for made in making.turn()] == [1]
    assert figure() == 0


def figure() -> float:
    return metrics.DIVERGED._value.get()


def test_the_reason_names_both_leaves_and_what_to_do(writer):
    making, _ = two_chains(writer, erring=2.0)
    one = cut(1)._replace(chains={n: facts.chain_id(c.digest) for n, c in CHAINS.items()})

    with pytest.raises(DivergenceError, match=r"quotes at cut 1, but leaf/.*/0/0{11}1 and leaf/.*"):
        making._make(one)


def test_a_damaged_leaf_is_not_served_and_holds_up_no_other_cut(writer, server, database):
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    ledger.commit(writer, take(work, log.quotes(X=1.0).cut(1).quotes(X=2.0).cut(2)))
    row = reading.fact_by_key(writer, rules.leaf_key(facts.chain_id(chain().digest), 0, 1))
    leaf_then = rules.leaf_of(facts.data_of(row.payload, None))
    wrong = rules.packed(leaf_then._replace(offset=leaf_then.offset + 7)._asdict())
    bad = facts.plain_fact(row.kind, row.stream, row.key, {}, wrong)[-1].payload
    with psycopg.connect(server.conninfo(database), autocommit=True) as admin:
        admin.execute("UPDATE facts SET payload = %s WHERE key = %s", (bad, row.key))
    making.add([cut(1), cut(2)])

    assert [made.number for made in making.turn()] == [2]
    assert list(mended.wanted(writer)) == [(row.origin, row.stream)]
    mended.keep(writer, row.fact())
    making._looks[1] = 0, 1
    assert [made.number for made in making.turn()] == [1]


def test_what_was_cut_before_a_crash_is_made_after_it(writer):
    ledger.commit(writer, take(fresh(), Log().quotes(X=1.0).cut(5)))
    Making(Universe(), writer).add([cut(5)])  # and then it dies

    assert [made.number for made in Making(Universe(), writer).turn()] == [5]


def test_who_listens_hears_of_a_snapshot(writer, server, database):
    with psycopg.connect(server.conninfo(database, "orrery_reader"), autocommit=True) as listener:
        listener.execute("LISTEN snapshots")
        made = freeze(writer, 1)

        heard = next(listener.notifies(timeout=60))

    assert heard.payload == made[0].id.hex()


def test_a_filter_says_what_cannot_have_changed_since_the_snapshot_before(writer):
    one, two, three = freeze(writer, 3)

    (second,) = store.changes_between(writer, one.id, two.id)
    both = store.changes_between(writer, one.id, three.id)

    assert might_concern(second, "quotes/S3") and might_concern(second, "quote_rows/*")
    assert not might_concern(second, "quotes/S4") and not might_concern(second, "quotes/EUR-*")
    assert len(both) == 2 and both[0] == second
    assert store.changes_between(writer, three.id, one.id) is None


def test_of_too_many_changes_and_of_the_first_snapshot_all_may_have_changed(writer):
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    for number, price in enumerate((1.0, 2.0), 1):
        log.quotes(**{f"S{at}": price for at in range(21)}).cut(number)
        ledger.commit(writer, take(work, log))
        making.add([cut(number)])
    one, two = making.turn()

    assert store.changes_between(writer, one.id, two.id) is None


def tag(writer: psycopg.Connection, made: store.Made, name: str, expected: bytes | None = None):
    at = Ref("n1", TAG + name, made.id.hex(), made.number, 0, made.id.hex(), "me", 1)
    return refs.move(writer, P, at, expected)


def test_a_ref_moves_only_from_where_one_saw_it(writer):
    one, two = freeze(writer, 2)
    tag(writer, one, "eod")

    with pytest.raises(SnapshotError, match="somebody moved it first"):
        tag(writer, two, "eod")
    moved = tag(writer, two, "eod", one.id)

    assert moved.move == 2 and refs.now_at(writer, "n1", "tag/eod") == two.id
    assert [ref.move for ref in refs.moves(writer, 10)] == [2, 1]
    assert refs.resolve(writer, "eod") == two.id


class Quotes:
    """A consumer of market quotes whose log begins at an offset, and what it hears."""

    def __init__(self, low: int, *heard: object) -> None:
        self.low, self.heard, self.assigned = low, list(heard), []

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        return self.low, 10**6

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned = [place.offset for place in places]

    def consume(self, many: int, seconds: float) -> list:
        return self.heard


def watching_quotes(writer, consumer: Quotes) -> Watch:
    watch = Watch(Universe(), writer, {"count"})
    watch._consumer, watch._log_id = consumer, "m"
    return watch


@pytest.mark.parametrize(("low", "begun"), [(0, 41), (41, 41), (100, 100)])
def test_quotes_are_looked_at_from_the_cut_on_or_from_the_first_that_is_left(writer, low, begun):
    (made,) = freeze(writer, 1)
    watch = watching_quotes(writer, Quotes(low))

    watch._begin_at(made)

    assert watch._consumer.assigned == [begun]


def test_quotes_that_cannot_be_read_are_no_quotes_that_did_not_change(writer):
    class Failed:
        def error(self) -> KafkaError:
            return KafkaError(KafkaError._AUTO_OFFSET_RESET, "fetch failed", False, False)

    with pytest.raises(OutsideError, match="reading market_quotes"):
        watching_quotes(writer, Quotes(0, Failed()))._read_quotes()


def test_texts_mean_snapshots_and_unknown_ones_name_the_nearest(writer):
    one, two = freeze(writer, 2)
    tag(writer, one, "eod-2026-11-21")

    assert refs.resolve(writer, two.id.hex()[:10]) == two.id
    assert refs.resolve(writer, "latest") == two.id
    assert refs.resolve(writer, "eod-2026-11-21") == one.id
    with pytest.raises(SnapshotError, match="nearest: eod-2026-11-21"):
        refs.resolve(writer, "eod-2026-11-20")
    with pytest.raises(SnapshotError, match="nearest"):
        refs.resolve(writer, "ffffffffff")


def test_a_piece_whose_bytes_are_not_its_name_is_never_served(writer, server, database):
    (made,) = freeze(writer, 1)
    opened, _ = store.open_snapshot(writer, made.id)
    root = opened.sections["quotes"][0]
    pack = writer.execute("SELECT pack FROM tree_pieces WHERE digest = %s", (root,)).fetchone()[0]
    row = reading.fact_by_key(writer, pack)
    data = bytearray(facts.data_of(row.payload, None))
    data[len(data) // 2] ^= 1
    bad = facts.plain_fact(row.kind, row.stream, row.key, {}, bytes(data))[-1].payload
    with psycopg.connect(server.conninfo(database), autocommit=True) as admin:
        admin.execute("UPDATE facts SET payload = %s WHERE key = %s", (bad, pack))

    served = []
    with pytest.raises(facts.BadFact):
        for (digest,) in writer.execute("SELECT digest FROM tree_pieces").fetchall():
            served.append(pieces.fetcher(writer)(bytes(digest)))

    assert root not in {pieces.blake3(piece).digest() for piece in served}


def test_a_damaged_body_is_asked_for_and_served_again_from_a_second_copy(writer, server, database):
    (made,) = freeze(writer, 1)
    key = snapshot_key(made.id)
    row = reading.fact_by_key(writer, key)
    damaged = row.payload[:-1] + bytes([row.payload[-1] ^ 1])
    with psycopg.connect(server.conninfo(database), autocommit=True) as admin:
        admin.execute("UPDATE facts SET payload = %s WHERE key = %s", (damaged, key))

    with pytest.raises(mended.Damaged, match="second copy is asked for"):
        store.open_snapshot(writer, made.id)
    asked = mended.wanted(writer)
    refused = mended.keep(writer, row.fact()._replace(payload=damaged))
    taken = mended.keep(writer, row.fact())

    assert asked == {(row.origin, row.stream): [Range(row.oseq, row.oseq)]}
    assert (refused, taken) == (False, True)
    assert store.open_snapshot(writer, made.id)[0].id == made.id
    assert mended.wanted(writer) == {}
    assert not mended.keep(writer, row.fact()), "nobody asks any more"


def collect(writer, server, database, policy: str, peers=None) -> collecting.Plan:
    found = collecting.plan(writer, policy, peers or {}, now_ns=10**18)
    remove(server, database, found)
    return found


def test_gc_removes_what_nothing_needs_and_leaves_names(writer, server, database):
    made = freeze(writer, 5)
    tag(writer, made[1], "eod")
    holds.hold(writer, made[2].id, "dominoes rates 7")

    plan = collect(writer, server, database, "tags, last 1")

    kept = {one.snapshot: one.why for one in plan.kept if one.keep}
    assert set(kept) == {made[1].id, made[2].id, made[4].id}
    assert plan.packs
    for one in (made[1], made[2], made[4]):
        opened, fetch = store.open_snapshot(writer, one.id)
        assert all(leaves_of(opened, section, fetch) for section in opened.sections)
    opened, fetch = store.open_snapshot(writer, made[3].id)  # its name and manifest stay
    with pytest.raises(OutsideError, match="expired"):
        leaves_of(opened, "quotes", fetch)
    gone = reading.fact_by_key(writer, plan.packs[0].key)
    assert facts.expired(gone.payload) == "2001-09-09" and facts.check(gone.fact()) is None
    assert pieces.index_rest(writer) == 0  # what is gone is not looked for again
    again = collect(writer, server, database, "tags, last 1")
    assert again.packs == [] and again.gone == 1
    assert made[3].id not in {one.snapshot for one in again.kept}  # it is not said to go again


def test_a_piece_that_comes_again_while_gc_removes_its_old_pack_stays(writer, server, database):
    log, work, making = Log(), fresh(), Making(Universe(), writer)

    def made(number: int, quote: float) -> store.Made:
        log.trades(A=float(number)).quotes(A=quote).cut(number, at_ns=number * 10**9)
        ledger.commit(writer, take(work, log))
        making.add([cut(number, number * 10**9)])
        return making.turn()[0]

    made(1, 7.0)
    made(2, 8.0)
    plan = collecting.plan(writer, "last 1", {}, now_ns=10**18)
    third = made(3, 7.0)  # meanwhile, and its quotes are those of the first

    remove(server, database, plan)

    assert plan.packs
    opened, fetch = store.open_snapshot(writer, third.id)
    assert [decode(x) for x in leaves_of(opened, "quotes", fetch).values()] == [7.0]


def remove(server, database, plan: collecting.Plan) -> None:
    with (
        psycopg.connect(server.conninfo(database, "orrery_gc"), autocommit=True) as collector,
        pieces.removing(collector),
    ):
        collecting.condemn(collector, plan)
        collecting.remove(collector, plan.bodies, now_ns=10**18)


@pytest.mark.parametrize("here", ["TICK", "FINER"])
def test_static_data_that_come_back_while_gc_removes_their_old_pack_stay(
    writer, server, database, here
):
    """Declared here, or held here from a cut of before and declared elsewhere."""
    log, work = Log(), fresh()

    def made(number: int, declared: dict, named: dict) -> store.Made:
        log.trades(A=float(number)).cut(number, at_ns=number * 10**9)
        ledger.commit(writer, take(work, log))
        making = Making(declaring(declared), writer)
        root = steps.static_root(named)
        making.add([cut(number, number * 10**9)._replace(static=root)])
        return making.turn()[0]

    made(1, TICK, TICK)
    made(2, FINER, FINER)
    plan = collecting.plan(writer, "last 1", {}, now_ns=10**18)
    third = made(3, {"TICK": TICK, "FINER": FINER}[here], TICK)  # meanwhile
    remove(server, database, plan)
    fourth = made(4, TICK, TICK)

    assert any(pack.key.startswith(f"pack/{P}/") for pack in plan.packs)
    for one in (third, fourth):
        opened, fetch = store.open_snapshot(writer, one.id)
        assert leaf(opened, "static/instruments/X", fetch) == encode({"tick_size": 0.01})
    packs = [key for (key,) in writer.execute("SELECT key FROM facts WHERE kind = 'pack'")]
    assert not any(key.startswith(rules.pack_prefix(P, 4)) for key in packs), "once is enough"


def test_calendars_that_come_back_while_gc_removes_their_old_pack_stay(
    writer, server, database, monkeypatch
):
    log, work, now = Log(), fresh(), steps.calendar_tree()
    other = build(["TARGET"], [encode({"first": 1, "last": 2, "holidays": []})], CANONICAL)

    def made(number: int, calendars: Built) -> store.Made:
        monkeypatch.setattr(steps, "calendar_tree", lambda: calendars)
        log.trades(A=float(number)).cut(number, at_ns=number * 10**9)
        ledger.commit(writer, take(work, log))
        making = Making(Universe(), writer)
        making.add([cut(number, number * 10**9)])
        return making.turn()[0]

    made(1, now)
    made(2, other)
    plan = collecting.plan(writer, "last 1", {}, now_ns=10**18)
    third = made(3, now)  # the release of before is back
    remove(server, database, plan)

    opened, fetch = store.open_snapshot(writer, third.id)
    assert "TARGET" in leaves_of(opened, "calendars", fetch)


def test_a_snapshot_that_is_named_while_gc_looks_is_not_removed(writer, server, database):
    made = freeze(writer, 3)
    plan = collecting.plan(writer, "last 1", {}, now_ns=10**18)
    tag(writer, made[1], "eod")

    with pytest.raises(OutsideError, match="n1/tag/eod came while gc looked"):
        remove(server, database, plan)

    again = collecting.plan(writer, "last 1", {}, now_ns=10**18)
    remove(server, database, again)
    opened, fetch = store.open_snapshot(writer, made[1].id)
    assert len(leaves_of(opened, "quotes", fetch)) == 40


def test_who_names_a_snapshot_when_gc_has_begun_finds_that_it_went(writer, server, database):
    made = freeze(writer, 3)
    plan = collecting.plan(writer, "last 1", {}, now_ns=10**18)
    opened, _ = store.open_snapshot(writer, made[1].id)
    roots = [root for each in opened.sections.values() for root in each]

    with (
        psycopg.connect(server.conninfo(database, "orrery_gc"), autocommit=True) as collector,
        pieces.removing(collector),
    ):
        collecting.condemn(collector, plan)
        held = pieces.are_held(writer, roots)  # it looks for packs that came late, and may not

    again = collecting.plan(writer, "last 1", {}, now_ns=10**18)
    assert not held
    assert again.packs == plan.packs, "what a killed gc has begun is ended by the next one"


def test_a_snapshot_that_is_made_while_gc_looks_stays(writer, monkeypatch):
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    for number in range(1, 4):
        log.trades(A=float(number)).cut(number, number * 10**9)
    written = take(work, log)
    late = next(f for f in written if f.key.startswith("leaf/") and rules.number_of(f.key) == 2)
    ledger.commit(writer, [fact for fact in written if fact is not late])
    making.add([cut(number, number * 10**9) for number in range(1, 4)])
    making.turn()
    listed = store.made_after

    def and_then_the_second_is_made(*args):
        found = listed(*args)
        monkeypatch.setattr(store, "made_after", listed)
        with psycopg.connect(writer.info.dsn, autocommit=True) as beside:
            ledger.commit(beside, [late])
            until_made(Making(Universe(), beside))
        return found

    monkeypatch.setattr(store, "made_after", and_then_the_second_is_made)
    plan = collecting.plan(writer, "last 1", {}, now_ns=10**18)

    second = store.made_after(writer, 1, 1)[0]
    assert second.number == 2
    went = {pack.key for pack in plan.packs}
    assert not went & collecting.packs_of(writer, [second.id])


def test_gc_leaves_what_a_cut_needs_that_still_waits_for_a_leaf(writer, server, database):
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    log.trades(**{f"S{at}": 1.0 for at in range(40)})
    for number in range(1, 5):
        log.trades(S3=float(number)).cut(number, number * 10**9)
    written = take(work, log)
    late = next(f for f in written if f.key.startswith("leaf/") and rules.number_of(f.key) == 2)
    ledger.commit(writer, [fact for fact in written if fact is not late])
    making.add([cut(number, number * 10**9) for number in range(1, 5)])
    assert [one.number for one in making.turn()] == [1, 3, 4]

    plan = collect(writer, server, database, "last 1")
    ledger.commit(writer, [late])
    made = until_made(making)

    assert [one.why for one in plan.kept if one.keep] == [
        "last 1", "cut 2 behind it is not made yet",
    ]  # fmt: skip
    opened, fetch = store.open_snapshot(writer, made.id)
    assert len(leaves_of(opened, "state/default", fetch)) == 40


def until_made(making: Making) -> store.Made:
    until = time.monotonic() + 60
    while not (found := making.turn()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found[0]


def test_of_snapshots_that_are_made_late_the_day_of_their_cut_counts(writer):
    day_ns = 86_400 * 10**9
    log, work, making = Log(), fresh(), Making(Universe(), writer)
    for number, day in enumerate((1, 1, 2, 2, 3, 3), 1):
        log.trades(A=float(number)).cut(number, at_ns=day * day_ns + number)
        ledger.commit(writer, take(work, log))
        making.add([cut(number, day * day_ns + number)])
    assert len(making.turn()) == 6  # all at once, as after a while away

    plan = collecting.plan(writer, "one a day for 1 week", {}, now_ns=4 * day_ns)

    assert [plan.numbers[one.snapshot] for one in plan.kept if one.keep] == [6, 4, 2]


def test_a_snapshot_that_a_run_held_may_go_when_the_service_starts_anew(writer):
    made = freeze(writer, 3)
    holds.hold(writer, made[0].id, "dominoes rates")
    held = {one.snapshot for one in plan_of(writer) if one.keep}

    holds.release_all(writer, "dominoes")

    assert held - {one.snapshot for one in plan_of(writer) if one.keep} == {made[0].id}


def test_what_somebody_holds_by_hand_outlives_a_service_that_starts_and_not_his_own_session(
    writer, server, database
):
    made = freeze(writer, 3)
    with psycopg.connect(server.conninfo(database, "orrery_writer"), autocommit=True) as session:
        mine = made[0].id, holds.in_session(session, "dominoes rates by hand")
        holds.hold(session, *mine)
        holds.hold(session, made[1].id, "dominoes rates")

        holds.release_all(writer, "dominoes")
        during = set(holds.held(writer).values())

    until = time.monotonic() + 60
    while holds.held(writer):  # who died has nothing in flight
        assert time.monotonic() < until
        time.sleep(0.02)
    holds.release_all(writer, "dominoes")
    assert during == {made[0].id}
    assert writer.execute("SELECT count(*) FROM snapshot_holds").fetchone() == (0,)


def plan_of(writer):
    return collecting.plan(writer, "last 1", {}, now_ns=1).kept


def test_gc_waits_for_a_peer_that_has_not_named_a_pack(writer, server, database):
    freeze(writer, 3)
    origin = refs.origin(writer)

    waiting = collecting.plan(writer, "last 1", {"n2": {origin: {"0": 1}}}, now_ns=1)
    ready = collecting.plan(writer, "last 1", {"n2": {origin: {"0": 10**6}}}, now_ns=1)

    assert waiting.packs == [] and waiting.waiting == len(ready.packs) > 0


def test_gc_waits_for_a_peer_that_lost_its_disk_until_it_has_its_own_packs_again(writer):
    freeze(writer, 3)
    before, after = refs.origin(writer), {"n1.new": {"0": 10**6}}  # the peer that wrote is n1

    waiting = collecting.plan(writer, "last 1", {"n1": after}, now_ns=1)
    ready = collecting.plan(writer, "last 1", {"n1": {**after, before: {"0": 10**6}}}, now_ns=1)

    assert waiting.packs == [] and waiting.waiting == len(ready.packs) > 0


def test_only_the_role_of_gc_may_empty_a_body(writer):
    freeze(writer, 1)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        writer.execute("UPDATE facts SET payload = '' WHERE kind = 'pack'")


def test_pieces_that_were_not_indexed_are_found_again(writer, server, database):
    (made,) = freeze(writer, 1)
    with psycopg.connect(server.conninfo(database), autocommit=True) as admin:
        admin.execute("DELETE FROM tree_pieces")

    packs = pieces.index_rest(writer)

    opened, fetch = store.open_snapshot(writer, made.id)
    assert packs == 2, "the leaves, and the calendars"
    assert pieces.index_cuts(writer, [1], P + 1) == pieces.index_rest(writer) == 0, "once"
    assert len(leaves_of(opened, "state/default", fetch)) == 40


TICK = {"instruments": {"X": {"tick_size": 0.01}, "Y": {"tick_size": 0.5, "lot": 10}}}
FINER = {"instruments": {"X": {"tick_size": 0.001}, "Y": {"tick_size": 0.5, "lot": 10}}}


def declaring(static: dict) -> Universe:
    found = Universe()
    found.values = Universe.values | {"data.static": static}
    return found


def test_static_data_are_leaves_and_a_diff_names_the_one_that_changed(writer):
    log, work, made = Log(), fresh(), []
    for number, static in enumerate((TICK, TICK, FINER), 1):
        log.trades(A=float(number)).cut(number)
        ledger.commit(writer, take(work, log))
        making = Making(declaring(static), writer)
        making.add([cut(number)._replace(static=steps.static_root(static))])
        made += making.turn()

    first, second, third = (store.open_snapshot(writer, one.id) for one in made)
    assert leaf(first[0], "static/instruments/X", first[1]) == encode({"tick_size": 0.01})
    table = Snapshot(writer, made[0].id).table("static").to_pylist()
    assert table == [
        {"name": "instruments/X", "tick_size": 0.01, "lot": None},
        {"name": "instruments/Y", "tick_size": 0.5, "lot": 10},
    ]
    assert first[0].sections["static"] == second[0].sections["static"]
    changed = dict(changed_leaves(second[0], third[0], third[1]))
    assert [path for path in changed if path.startswith("static/")] == ["static/instruments/X"]
    assert decode(changed["static/instruments/X"].after) == {"tick_size": 0.001}


def test_of_a_state_too_wide_for_a_leaf_the_digest_is_shown_and_no_number_of_rows():
    code, record = b"c" * 32, (7).to_bytes(8, "little") + bytes(24)
    wide = build(["A"], [b"d" * 32], b"w" * 32)
    narrow = build(["A"], [record], code)
    sections = {"state/wide": wide.root, "state/narrow": narrow.root}
    opened = thaw(freeze_sections(sections, {"number": 1}, {}, {"chain/narrow": code}).manifest)
    market = Market(opened, {**wide.pieces, **narrow.pieces}.__getitem__)

    assert shown(market, "state/wide/A", b"d" * 32) == {"state_digest": "64" * 32}
    assert shown(market, "state/narrow/A", record) == {"state_bytes": 32, "rows": 7}


def test_a_table_of_leaves_is_read_by_pandas_polars_and_duckdb(writer):
    (made,) = freeze(writer, 1)

    quotes = Snapshot(writer, made.id).table("quotes")

    sums = [
        quotes.to_pandas()["value"].sum(),
        polars.from_arrow(quotes)["value"].sum(),
        duckdb.sql("SELECT sum(value) FROM quotes").fetchall()[0][0],
    ]
    assert quotes.num_rows == 40 and sums == [sum(quotes["value"].to_pylist())] * 3
    lent = polars.from_arrow(quotes)["value"].to_arrow().buffers()[1].address
    assert lent == quotes["value"].chunk(0).buffers()[1].address, "no copy"


def test_what_a_leaf_calls_its_name_does_not_hide_that_of_the_leaf(writer):
    static = {"desks": {"D1": {"name": "rates", "limit": 5.0}}}
    log, work, making = Log(), fresh(), Making(declaring(static), writer)
    log.trades(A=1.0).cut(1)
    ledger.commit(writer, take(work, log))
    making.add([cut(1)._replace(static=steps.static_root(static))])
    (made,) = making.turn()

    table = Snapshot(writer, made.id).table("static").to_pylist()

    assert table == [{"name": "desks/D1", "own_name": "rates", "limit": 5.0}]


def test_a_node_that_declares_other_static_data_waits_for_those_that_the_cut_names(writer):
    log, work = Log(), fresh()
    log.trades(A=1.0).cut(1)
    ledger.commit(writer, take(work, log))
    making = Making(declaring(FINER), writer)
    named = steps.static_tree(TICK)
    making.add([cut(1)._replace(static=named.root.hex())])

    waiting = making.turn()
    ledger.commit(writer, rules.pack_facts(named.pieces, P, 1))  # as it comes from the other node
    making._looks[1] = 0, 0
    (made,) = making.turn()

    assert waiting == []
    opened, fetch = store.open_snapshot(writer, made.id)
    assert leaf(opened, "static/instruments/X", fetch) == encode({"tick_size": 0.01})
