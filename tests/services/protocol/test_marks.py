"""A mark never passes a hole, and numbers have no gap."""

from hypothesis import given
from hypothesis import strategies as st
from orrery_services.protocol import arrivals, leaves, marks
from orrery_services.protocol.arrivals import Arrived
from orrery_services.protocol.facts import Fact, Place
from orrery_services.protocol.leaves import Leaf
from orrery_services.protocol.marks import Link, Mark
from orrery_services.protocol.rules import ALL_RULES

LINKS = [Link(Place("log", 0, 2 * n + 1), n, {"row:t:x": n + 1}) for n in range(12)]


def fact(key: str, content: str = "") -> Fact:
    return Fact(f"{key}{content}".encode().ljust(32, b"."), "x", 0, key, b"")


@given(st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)), st.randoms())
def test_the_mark_is_the_first_message_of_which_a_half_is_missing(inputs, results, random):
    links = [LINKS[n] for n in inputs]
    random.shuffle(links)
    expected = next((n for n in range(12) if n not in inputs & results), 12)

    mark = marks.advance(Mark(), links, {LINKS[n].place for n in results})

    assert mark.ordinal == expected
    assert mark.vector == ({"row:t:x": expected} if expected else {})
    assert mark.offset == (2 * expected if expected else 0)


@given(st.lists(st.integers(0, 11), max_size=30))
def test_in_whatever_order_halves_come_the_mark_ends_at_the_same_place(order):
    every = {link.place for link in LINKS}
    mark, held = Mark(), []
    for n in [*order, *range(12)]:
        held.append(LINKS[n])
        mark = marks.advance(mark, held, every)

    assert mark == marks.advance(Mark(), LINKS, every)
    assert mark.ordinal == 12


def test_a_message_without_a_label_moves_the_mark_and_no_vector():
    link = Link(Place("log", 0, 7), 0, {})

    assert marks.advance(Mark(), [link], {link.place}) == Mark("log", 8, 1, {})


def test_a_mark_goes_on_in_the_log_that_was_adopted():
    link = Link(Place("new", 0, 0), 4, {"row:t:x": 9})

    mark = marks.advance(Mark("old", 90, 4, {"row:t:x": 8}), [link], {link.place})

    assert mark == Mark("new", 1, 5, {"row:t:x": 9})


def test_with_the_rule_off_the_mark_jumps_a_hole():
    places = {link.place for link in LINKS}
    links = [LINKS[0], LINKS[5]]

    for name in ("mark_is_contiguous", "mark_counts_ordinals"):
        assert marks.advance(Mark(), links, places, ALL_RULES.without(name)).ordinal == 6
    assert marks.advance(Mark(), links, places).ordinal == 1


def test_only_what_is_inserted_gets_a_number():
    held = {"b": fact("b").id}

    writing = marks.number([fact("a"), fact("b"), fact("c"), fact("a")], held, last=7)

    assert [(one.oseq, one.fact.key) for one in writing.insert] == [(8, "a"), (9, "c")]
    assert [one.key for one in writing.held] == ["b", "a"]


def test_another_content_under_a_key_is_never_written():
    writing = marks.number([fact("a", "1"), fact("a", "2"), fact("b", "2")], {"b": b"?"}, last=0)

    assert [one.fact.id for one in writing.insert] == [fact("a", "1").id]
    assert [one.came.key for one in writing.divergences] == ["a", "b"]


@given(st.sets(st.integers(1, 40)), st.integers(0, 45), st.integers(0, 40))
def test_gaps_are_exactly_what_is_missing(here, named, settled):
    contiguous = next(n for n in range(42) if n + 1 not in here)
    state = Arrived(min(settled, contiguous), max(here, default=0), named)
    state = arrivals.arrive(state, here, ())
    top = max(max(here, default=0), named)

    found = arrivals.gaps(state, here)

    missing = {n for gap in found for n in range(gap.low, gap.high + 1)}
    assert missing == set(range(1, top + 1)) - here
    assert arrivals.is_gapless(state) == (not missing)


@given(st.permutations(range(1, 15)), st.integers(1, 5))
def test_in_whatever_order_numbers_arrive_nothing_is_missing_in_the_end(order, many):
    state, here = Arrived(), set()
    for i in range(0, len(order), many):
        state = arrivals.arrive(state, here, order[i : i + many])
        here |= set(order[i : i + many])

    assert state == Arrived(14, 14, 0)


def test_asks_are_bounded():
    found = arrivals.gaps(Arrived(0, 0, 10**9), (), many=10)

    assert sum(gap.high - gap.low + 1 for gap in found) == 10


def test_the_rule_of_the_tail_can_be_missed():
    state = Arrived(3, 3, 5)

    assert arrivals.gaps(state, ()) != []
    assert arrivals.gaps(state, (), ALL_RULES.without("heartbeat_names_the_last")) == []


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 2999))
def test_roots_are_equal_iff_the_leaves_are(many, others, changed):
    def held(count: int, odd: int | None = None) -> list[Leaf]:
        ids = [bytes(31) + bytes([n == odd]) for n in range(count)]
        return [Leaf(f"in/{n:06d}", one) for n, one in enumerate(ids)]

    one, other = list(leaves.blocks(held(many))), list(leaves.blocks(held(others)))
    odd = list(leaves.blocks(held(many, changed)))

    assert (leaves.root(one) == leaves.root(other)) == (many == others)
    assert (leaves.root(one) == leaves.root(odd)) == (changed >= many)
    assert bool(leaves.differing(one, odd)) == (changed < many)
