"""When to cut, and what the leaves of a cut make: pure decisions."""

from datetime import UTC, datetime

import pytest
from orrery_kernels.snapshot.triggers import read_trigger
from orrery_services.errors import ConfigError, DivergenceError
from orrery_services.protocol import cuts, facts, snapshots
from orrery_services.snapshots import cutting, steps, watching

from .partition import Log, chain, cut, fresh, leaves, take

SECOND = 1_000_000_000
EVERY = read_trigger("every 5s")


def fired(number: int, firing: str, at_ns: int, trigger: str = "every 5s") -> cuts.Cut:
    return cuts.Cut(number, firing, trigger, at_ns, "n1", {"default": "A" * 16})


def due(trigger, seen: steps.Seen, now_ns: int, observed=None, offsets=None, started_ns: int = 0):
    return steps.due(trigger, seen, observed or steps.Observed(), offsets or {}, started_ns, now_ns)


def test_of_two_messages_with_one_number_the_first_counts():
    seen = steps.Seen()

    taken = [
        seen.take(one)
        for one in (fired(1, "a", 1), fired(1, "b", 1), fired(3, "c", 1), fired(2, "d", 1))
    ]

    assert taken == [True, False, True, False]
    assert seen.greatest == 3 and set(seen.fired) == {"a", "c"}


@pytest.mark.parametrize(
    "data",
    [None, b"", b"x", b"[]", b"{}", cuts.encode(fired(0, "a", 1)),
     cuts.encode(fired(2**60, "a", 1)), cuts.encode(fired(1, "", 1)),
     cuts.encode(fired(1, "a", -1)), cuts.encode(fired(1, "a", 1)._replace(chains={})),
     cuts.encode(fired(1, "a", 1)._replace(chains={"x": 3}))],
)  # fmt: skip
def test_a_message_that_is_no_cut_is_refused_with_a_reason(data):
    with pytest.raises(ValueError):
        cuts.decode(data)


def test_an_interval_fires_once_for_all_nodes_and_says_what_it_missed():
    seen = steps.Seen()
    first = due(EVERY, seen, 12 * SECOND)
    seen.take(fired(1, first.fire[0].id, first.fire[0].due_ns))

    again = due(EVERY, seen, 13 * SECOND)
    late = due(EVERY, seen, 27 * SECOND)

    assert [one.due_ns for one in first.fire] == [10 * SECOND]
    assert again == ([], [])
    assert [one.due_ns for one in late.fire] == [25 * SECOND]
    assert [one.due_ns for one in late.skipped] == [15 * SECOND, 20 * SECOND]
    event = steps.skipped_event(EVERY, late.skipped)
    assert (event["count"], event["first"], event["last"]) == (2, "every 5s#3", "every 5s#4")


def test_missed_firings_are_made_up_when_that_is_declared():
    seen = steps.Seen()
    seen.take(fired(1, "every 5s#2", 10 * SECOND))

    found = due(read_trigger("every 5s", "make up"), seen, 27 * SECOND)

    assert [one.due_ns for one in found.fire] == [15 * SECOND, 20 * SECOND, 25 * SECOND]
    assert found.skipped == []


def test_of_more_missed_firings_than_may_wait_all_are_made_up_or_said_to_be_skipped():
    trigger, seen, number = read_trigger("every 5s", "make up"), steps.Seen(), 1
    seen.take(fired(1, "every 5s#0", 0))
    now_ns, missed, said = 5000 * 5 * SECOND, 5000, 0

    while found := due(trigger, seen, now_ns).fire:  # as the service goes round
        said += sum(
            steps.skipped_event(trigger, some)["count"]
            for some in [due(trigger, seen, now_ns).skipped]
            if some
        )
        waiting: dict[str, cutting.Wanted] = {}
        for one in found:
            wanted = cutting.Wanted(one.id, trigger.text, one.due_ns, {"default": "A"})
            cutting.take_in(waiting, seen.fired, wanted)
        assert 0 < len(waiting) <= cutting.WANTED_MAX
        for one in waiting.values():
            number += 1
            assert seen.take(fired(number, one.id, one.at_ns))

    assert (number - 1, said) == (1001, missed - 1001)


def test_what_another_node_has_fired_is_not_owed():
    seen = steps.Seen()
    seen.take(fired(1, "every 5s#2", 10 * SECOND))
    seen.take(fired(2, "every 5s#3", 15 * SECOND))

    assert due(EVERY, seen, 19 * SECOND) == ([], [])


def test_a_count_trigger_fires_when_the_packers_have_read_so_many():
    trigger = read_trigger("on 1,000 events")

    few = due(trigger, steps.Seen(), 1, steps.Observed(events=1999, events_at_cut=1200))
    many = due(trigger, steps.Seen(), 1, steps.Observed(events=2000, events_at_cut=1200))

    assert few.fire == [] and [one.id for one in many.fire] == ["on 1,000 events#2"]


def test_a_change_is_looked_for_behind_the_last_cut_once_its_snapshot_is_made():
    trigger, seen = read_trigger("on quote change 0.0005"), steps.Seen()
    seen.take(fired(4, "x", 1, "by hand"))
    moved = steps.Observed(quotes={"X": 0.041}, quotes_at_cut={"X": 0.040}, number=4)

    assert [one.id for one in due(trigger, seen, 1, moved).fire] == [
        "on quote change 0.0005#after-4"
    ]
    assert due(trigger, seen, 1, moved._replace(quotes={"X": 0.0404})).fire == []
    assert due(trigger, seen, 1, moved._replace(number=3)).fire == []


def test_a_schedule_follows_the_clocks_of_its_zone():
    trigger = read_trigger("at 17:00 America/New_York")
    offsets = {trigger.zone: watching.offsets_of(trigger.zone, datetime(2026, 3, 1, tzinfo=UTC))}
    before, after = datetime(2026, 3, 6, 12, tzinfo=UTC), datetime(2026, 3, 8, 21, 0, 1, tzinfo=UTC)
    start_ns, now_ns = (round(day.timestamp()) * SECOND for day in (before, after))

    found = due(trigger, steps.Seen(), now_ns, offsets=offsets, started_ns=start_ns)

    instants = [
        datetime.fromtimestamp(f.due_ns / SECOND, UTC) for f in (*found.skipped, *found.fire)
    ]
    assert [at.hour for at in instants] == [22, 22, 21]  # the clocks went forward on the 8th
    assert instants[-1].day == 8


def test_a_zone_that_is_none_and_a_trigger_that_is_none_are_named():
    with pytest.raises(ConfigError, match="Mars/Base"):
        watching.offsets_of("Mars/Base", datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ConfigError, match=r"data.snapshots.odd: .*'often'.*universe.toml"):
        steps.read_triggers({"odd": {"trigger": "often"}}, "universe.toml")


def leaf_of_each(partitions: int, of=None) -> dict[tuple[str, int], snapshots.Leaf]:
    of = of or chain()
    log = Log().trades(at_ns=5, A=1.0).quotes(at_ns=5, X=0.1).cut(1, at_ns=9)
    (leaf,) = leaves(take(fresh(of), log))
    return {(facts.chain_id(of.digest), p): leaf for p in range(partitions)}


def test_a_snapshot_exists_when_every_leaf_is_held_and_not_before():
    found = leaf_of_each(3)
    lacking = {slot: leaf for slot, leaf in found.items() if slot[1] != 1}

    assert steps.complete(cut(1, 9), lacking, 3, None) is None
    done = steps.complete(cut(1, 9), found, 3, None)
    assert len(done.frozen.id) == 32 and (done.late, done.slice) == (0, "")


def test_the_id_is_a_golden_value():
    """Another id for the same leaves is another format: stored snapshots would lose their names."""
    roots = {name: f"{at}" * 64 for at, name in enumerate(("state", "quotes", "quote_rows"))}
    leaf = snapshots.Leaf(1, "c" * 64, "log", 3, {"cut": 1, "cut_ns": 9}, 5, 0, None, roots)
    made = cuts.Cut(1, "by hand#1", "by hand", 9, "n1", {"default": "A" * 16})

    done = steps.complete(made, {("A" * 16, p): leaf for p in range(2)}, 2, None)

    assert done.frozen.id.hex() == GOLDEN


GOLDEN = "6a7c68a1fc2a5b8d7780d5f73372db0aa64594aac70d3bd11fca1b79f4f854f3"


STATIC = {
    "instruments": {
        "USD-SOFR-OIS-10Y": {"tick_size": 0.00005, "currency": "USD"},
        "EUR/USD": {"tick_size": 0.00001, "lot": 1000, "cls": True},
    },
    "holders": {"A1": {"limit": 25e6}},
}


def test_the_root_of_static_data_and_the_id_with_them_are_golden_values():
    roots = {name: f"{at}" * 64 for at, name in enumerate(("state", "quotes", "quote_rows"))}
    leaf = snapshots.Leaf(1, "c" * 64, "log", 3, {"cut": 1, "cut_ns": 9}, 5, 0, None, roots)
    made = cuts.Cut(1, "by hand#1", "by hand", 9, "n1", {"default": "A" * 16})
    turned = {group: dict(reversed(named.items())) for group, named in reversed(STATIC.items())}

    root = steps.static_root(STATIC)
    done = steps.complete(
        made._replace(static=root), {("A" * 16, p): leaf for p in range(2)}, 2, None
    )

    assert root == GOLDEN_STATIC == steps.static_root(turned), "whatever the order"
    assert done.frozen.id.hex() == GOLDEN_WITH_STATIC
    assert steps.static_root({}) == steps.static_root({"instruments": {}}) == ""


GOLDEN_STATIC = "0f7e97f5fe454c0a82e39592f44b42db290863616de83945998c89d30a107417"
GOLDEN_WITH_STATIC = "f3544bbd27b9ea3d90629d14c7d323cedcb1e33151679eab5865546a344544a2"


def test_chains_that_saw_other_quotes_make_no_snapshot():
    other = chain(0.5)
    log = Log().trades(at_ns=5, A=1.0).quotes(at_ns=5, X=0.2).cut(1, at_ns=9)
    (leaf,) = leaves(take(fresh(other), log))
    name = facts.chain_id(other.digest)
    both = cut(1, 9)._replace(chains={"default": facts.chain_id(chain().digest), "other": name})

    with pytest.raises(DivergenceError, match="the same quotes at cut 1, but leaf/"):
        steps.complete(both, {**leaf_of_each(1), (name, 0): leaf}, 1, None)


def test_late_rows_make_the_next_version_of_the_slice_they_belong_to():
    log = Log().cut(1, at_ns=100).trades(at_ns=60, A=1.0).trades(at_ns=90, A=1.0).cut(2, at_ns=200)
    found = leaves(take(fresh(), log))[1]

    done = steps.complete(cut(2, 200), {(facts.chain_id(chain().digest), 0): found}, 1, 100)
    record = steps.record_of(done, cut(2, 200), b"p" * 32, "n1", "0/1", 300)

    assert (done.late, record.slice, record.parent) == (2, "60..100", b"p" * 32)
