"""Refs, retention and triggers: decisions from data, so that every node decides alike."""

import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.refs import Ref, find_by_prefix, follow, move, resolve
from orrery_kernels.snapshot.retention import Held, read_policy, retain
from orrery_kernels.snapshot.triggers import (
    due_by_change,
    due_by_count,
    due_by_interval,
    due_by_schedule,
    read_trigger,
)

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def target(n):
    return n.to_bytes(32, "big")


class TestRefs:
    def test_a_ref_moves_when_it_is_where_the_mover_thinks(self):
        first = move([], "n1", "curve/X", None, target(1), 1)
        second = move([first], "n1", "curve/X", target(1), target(2), 2)

        assert (first.move, second.move) == (1, 2)
        assert resolve("curve/X", [second, first]) == second

    def test_of_two_movers_one_is_told(self):
        first = move([], "n1", "curve/X", None, target(1), 1)
        second = move([first], "n1", "curve/X", target(1), target(2), 2)

        with pytest.raises(
            SnapshotError, match=r"n1/curve/X must be at .* somebody moved it first"
        ):
            move([first, second], "n1", "curve/X", target(1), target(3), 2)

    @given(st.randoms())
    def test_latest_is_the_greatest_cut_then_the_greatest_digest_in_any_order(self, rng):
        refs = [
            Ref("n1", "curve/X", target(9), 4, 1),
            Ref("n1", "curve/X", target(5), 7, 2),
            Ref("n2", "curve/X", target(6), 7, 1),
            Ref("n2", "other", target(99), 99, 1),
        ]
        rng.shuffle(refs)

        assert resolve("curve/X@latest", refs).target == target(6)
        assert resolve("n1/curve/X", refs).target == target(5)

    def test_a_followed_ref_moves_when_its_answer_changes_and_never_back(self):
        first = follow([], "n1", "curve/X", target(1), 4)

        assert first == Ref("n1", "curve/X", target(1), 4, 1)
        assert follow([first], "n1", "curve/X", target(1), 5) is None
        assert follow([first], "n1", "curve/X", target(2), 3) is None
        assert follow([first], "n1", "curve/X", target(2), 5).move == 2

    @given(
        st.lists(st.integers(0, 2), min_size=1, max_size=12),
        st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40),
    )
    def test_latest_is_the_answer_of_the_newest_cut_whoever_missed_which(self, answers, turns):
        moves: list[Ref] = []
        at = [0, 0, 0]

        def run(node: int, number: int) -> None:
            last: dict[str, Ref] = {ref.origin: ref for ref in moves}
            made = follow(last.values(), f"n{node}", "x", target(answers[number]), number)
            moves.extend([made] if made else [])

        for node, computes in [*turns, (0, True)]:
            if computes:
                run(node, at[node])
            at[node] = min(at[node] + 1, len(answers) - 1)
        for node in range(3):
            run(node, len(answers) - 1)

        assert resolve("x@latest", moves).target == target(answers[-1])
        for origin in {ref.origin for ref in moves}:
            numbers = [(ref.move, ref.number) for ref in moves if ref.origin == origin]
            assert numbers == sorted(numbers), "moves count up, and cuts with them"

    def test_an_unknown_name_is_answered_with_the_nearest(self):
        refs = [Ref("n1", "curve/USD-SOFR", target(1), 1, 1)]

        with pytest.raises(SnapshotError, match=r"nearest: curve/USD-SOFR"):
            resolve("curve/USD-SOFRR@latest", refs)
        with pytest.raises(SnapshotError, match="must come 'latest'"):
            resolve("curve/USD-SOFR@newest", refs)

    def test_a_short_id_names_one_object_or_says_which_are_near(self):
        digests = [bytes.fromhex("ab" * 32), bytes.fromhex("ac" * 32)]

        assert find_by_prefix("AB", digests) == digests[0]
        with pytest.raises(SnapshotError, match="2 begin so: abababababab, acacacacacac"):
            find_by_prefix("a", digests)
        with pytest.raises(SnapshotError, match="nearest: abababababab"):
            find_by_prefix("abc", digests)
        with pytest.raises(SnapshotError, match="no object begins with ''"):
            find_by_prefix("", digests)


class TestRetention:
    def held(self, *ages_ns, now=400 * DAY):
        count = len(ages_ns)
        return [Held(target(count - i), count - i, now - age) for i, age in enumerate(ages_ns)], now

    def test_what_a_tag_a_ref_or_a_run_needs_stays_whatever_the_policy_says(self):
        snapshots, now = self.held(0, 100 * DAY, 200 * DAY, 300 * DAY, 390 * DAY)

        kept = retain(
            snapshots,
            {"eod": target(4)},
            {"n1/curve/X": target(3)},
            {"r7": target(2)},
            "tags, 1 day",
            now,
        )

        assert {k.snapshot: k.why for k in kept if k.keep} == {
            target(5): "1 day",
            target(4): "tag eod",
            target(3): "ref n1/curve/X",
            target(2): "run r7 is in flight",
        }
        assert [k.why for k in kept if not k.keep] == ["not in 'tags, 1 day'"]

    def test_what_a_tag_needs_stays_also_when_the_policy_does_not_say_so(self):
        snapshots, now = self.held(0, 50 * DAY, 100 * DAY)

        kept = retain(snapshots, {"eod": target(1)}, {}, {}, "1 day", now)

        assert [(k.keep, k.why) for k in kept] == [
            (True, "1 day"), (False, "not in '1 day'"), (True, "tag eod"),
        ]  # fmt: skip

    def test_one_a_day_keeps_the_last_of_each_day(self):
        day = 400 * DAY
        snapshots = [Held(target(i), i, day + i * 6 * HOUR) for i in range(12)]

        kept = retain(snapshots, {}, {}, {}, "one a day for 1 week", day + 3 * DAY)

        assert [k.snapshot for k in kept if k.keep] == [target(11), target(7), target(3)]

    def test_the_newest_stays_even_when_nothing_asks_for_it(self):
        snapshots, now = self.held(90 * DAY, 91 * DAY)

        kept = retain(snapshots, {}, {}, {}, "last 0", now)

        assert [(k.keep, k.why) for k in kept] == [(True, "the newest"), (False, "not in 'last 0'")]

    @given(st.lists(st.integers(0, 2000), max_size=40, unique=True), st.randoms())
    def test_the_order_in_which_snapshots_are_named_does_not_matter(self, ages, rng):
        snapshots = [Held(target(n), n, 4000 * DAY - age * DAY) for n, age in enumerate(ages)]
        policy = "30 days, one a week for 1 year, last 3"
        expected = retain(snapshots, {}, {}, {}, policy, 4000 * DAY)
        rng.shuffle(snapshots)

        assert retain(snapshots, {}, {}, {}, policy, 4000 * DAY) == expected

    @pytest.mark.parametrize(
        "text", ["", "30 dayz", "one a fortnight for 2 years", "all", "tags,,"]
    )
    def test_a_policy_that_cannot_be_read_says_what_can_be_said(self, text):
        with pytest.raises(SnapshotError, match="a policy is made of 'tags', 'last 1000'"):
            read_policy(text)


class TestTriggers:
    def test_every_node_gives_an_interval_the_same_id(self):
        trigger = read_trigger("every 5s")

        one = due_by_interval(trigger, 100 * SECOND, 105 * SECOND + 3)
        other = due_by_interval(trigger, 104 * SECOND, 109 * SECOND)

        assert one.fire == other.fire
        assert one.fire[0].id == "every 5s#21" and one.fire[0].due_ns == 105 * SECOND

    def test_an_interval_that_has_not_passed_fires_nothing(self):
        trigger = read_trigger("every 5s")

        assert due_by_interval(trigger, 100 * SECOND, 104 * SECOND) == ([], [])

    def test_missed_intervals_are_made_up_or_skipped_as_declared_and_never_lost(self):
        made_up = due_by_interval(read_trigger("every 5s", "make up"), 100 * SECOND, 121 * SECOND)
        skipped = due_by_interval(read_trigger("every 5s", "skip"), 100 * SECOND, 121 * SECOND)

        assert [f.due_ns // SECOND for f in made_up.fire] == [105, 110, 115, 120]
        assert made_up.skipped == []
        assert [f.due_ns // SECOND for f in skipped.fire] == [120]
        assert [f.due_ns // SECOND for f in skipped.skipped] == [105, 110, 115]

    def test_a_year_of_missed_seconds_is_bounded_and_said(self):
        due = due_by_interval(read_trigger("every 1s", "make up"), 0, 365 * DAY)

        assert len(due.fire) == 1001
        assert [f.id for f in due.skipped] == ["every 1s#1", "every 1s#31534999"]

    @given(st.lists(st.integers(0, 400), min_size=1, max_size=30))
    def test_counting_fires_once_for_every_step_that_was_reached(self, sizes):
        trigger, before, named = read_trigger("on 100 events"), 0, []
        for size in sizes:
            due = due_by_count(trigger, before, before + size)
            named += [int(f.id.split("#")[1]) for f in due.fire]
            before += size

        reached = {sum(sizes[: i + 1]) // 100 for i in range(len(sizes))} - {0}
        assert named == sorted(reached)

    def test_a_quote_that_moves_within_tolerance_does_not_fire(self):
        trigger = read_trigger("on quote change 0.0005")

        assert not due_by_change(trigger, {"A": 1.0}, {"A": 1.0005 - 1e-12}, 3).fire
        assert due_by_change(trigger, {"A": 1.0}, {"A": 1.0006}, 3).fire
        assert due_by_change(trigger, {"A": 1.0}, {"A": 1.0, "B": 2.0}, 3).fire
        assert due_by_change(trigger, {"A": 1.0}, {"A": float("nan")}, 3).fire

    @pytest.mark.parametrize(
        ("day", "expected"),
        [
            ((2026, 1, 15), "2026-01-15T22:00:00"),  # winter: UTC-5
            ((2026, 7, 15), "2026-07-15T21:00:00"),  # summer: UTC-4
            ((2026, 3, 8), "2026-03-08T21:00:00"),  # the day clocks go forward
            ((2026, 11, 1), "2026-11-01T22:00:00"),  # the day they go back
        ],
    )
    def test_a_schedule_follows_its_zone(self, day, expected):
        trigger = read_trigger("at 17:00 America/New_York")
        start = int(datetime(*day, 12, tzinfo=UTC).timestamp()) * SECOND

        due = due_by_schedule(trigger, start, start + 12 * HOUR, offsets_of("America/New_York"))

        found = datetime.fromtimestamp(due.fire[0].due_ns / SECOND, UTC)
        assert found.isoformat()[:19] == expected
        assert len(due.fire) == 1 and not due.skipped

    def test_a_local_time_that_does_not_exist_fires_at_the_change_and_one_that_comes_twice_once(
        self,
    ):
        zone = offsets_of("America/New_York")
        gap = read_trigger("at 02:30 America/New_York")
        start = int(datetime(2026, 3, 8, 0, tzinfo=UTC).timestamp()) * SECOND
        twice = read_trigger("at 01:30 America/New_York")
        autumn = int(datetime(2026, 11, 1, 0, tzinfo=UTC).timestamp()) * SECOND

        spring = due_by_schedule(gap, start, start + DAY, zone)
        fall = due_by_schedule(twice, autumn, autumn + DAY, zone)

        assert [f.due_ns for f in spring.fire] == [start + 7 * HOUR]
        assert [f.due_ns for f in fall.fire] == [autumn + 5 * HOUR + HOUR // 2]

    def test_a_week_without_the_scheduler_is_said(self):
        trigger = read_trigger("at 17:00 UTC")

        due = due_by_schedule(trigger, 0, 7 * DAY, [(-(1 << 62), 0)])

        assert len(due.fire) == 1 and len(due.skipped) == 6

    @pytest.mark.parametrize(
        "text", ["", "every", "every 0s", "every 5 parsecs", "on 0 events", "at 25:00 UTC", "soon",
                 "on quote change -1", "on quote change x"],
    )  # fmt: skip
    def test_a_trigger_that_cannot_be_read_says_what_can_be_said(self, text):
        with pytest.raises(SnapshotError, match="a trigger must be like 'every 5s'"):
            read_trigger(text)

    def test_an_interval_shorter_than_triggers_are_looked_at_is_refused(self):
        with pytest.raises(SnapshotError, match="at least 100ms, was 'every 99ms'"):
            read_trigger("every 99ms")

        assert read_trigger("every 100ms").step == 100_000_000


def offsets_of(zone):
    """The offsets of a zone in 2025-2027, found hour by hour from the system's time-zone data."""
    offsets, last = [], None
    start = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
    for hour in range(24 * 365 * 2):
        instant = start + hour * 3600
        local = datetime.fromtimestamp(instant, ZoneInfo(zone))
        seconds = int(local.utcoffset().total_seconds())
        if seconds != last:
            offsets.append((instant * SECOND, seconds))
            last = seconds
    return offsets


def test_random_prefixes_of_a_digest_find_it():
    rng = random.Random(3)
    digests = [rng.randbytes(32) for _ in range(300)]

    assert all(find_by_prefix(d.hex()[:12], digests) == d for d in digests)
