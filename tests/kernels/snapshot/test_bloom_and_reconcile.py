"""A filter that never says no wrongly; a sketch that finds exactly what two sets do not share."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.bloom import Bloom, bloom_of, size_for
from orrery_kernels.snapshot.changes import filter_of, might_concern
from orrery_kernels.snapshot.patterns import matches
from orrery_kernels.snapshot.reconcile import (
    Leaf,
    block_roots,
    decode_cells,
    encode_cells,
    ids_of,
)

from tests.kernels.snapshot.plain_blake3 import plain_blake3


def leaf(n, content=0):
    return Leaf(f"in/log/0/{n:012d}", (n * 7 + content).to_bytes(32, "big"))


PATHS = st.lists(st.text("AB-/*.", min_size=1, max_size=9).filter(lambda p: "*" not in p))


class TestChanges:
    @given(PATHS, st.text("AB-/*.", min_size=1, max_size=9))
    @settings(deadline=None)
    def test_a_pattern_that_means_a_changed_leaf_is_never_answered_with_no(self, paths, pattern):
        changes = filter_of(paths, 0.1)

        assert might_concern(changes, pattern) or not any(matches(pattern, p) for p in paths)

    @pytest.mark.parametrize("rate", [0.1, 0.01])
    def test_what_did_not_change_is_answered_with_yes_at_most_at_the_declared_rate(self, rate):
        changes, count = filter_of([f"quotes/USD-{i}" for i in range(2_000)], rate), 20_000

        wrong = sum(might_concern(changes, f"quotes/EUR{i}-*") for i in range(count))

        assert wrong <= count * rate + 4 * (count * rate) ** 0.5


class TestBloom:
    @given(st.lists(st.text(max_size=12), max_size=50), st.sampled_from([0.5, 0.01, 1e-6]))
    @settings(deadline=None)
    def test_what_was_put_in_is_always_found(self, names, rate):
        names = [name.encode("utf-8", "replace").decode() for name in names]
        held = bloom_of(names, rate)

        assert all(held.might_hold(name) for name in names)
        assert Bloom.from_bytes(held.to_bytes()) == held

    @pytest.mark.parametrize("rate", [0.1, 0.03, 0.01, 0.001])
    def test_wrong_answers_come_at_most_at_the_declared_rate(self, rate):
        count = 20_000
        held = bloom_of([f"in/{i}" for i in range(2_000)], rate)

        wrong = sum(held.might_hold(f"out/{i}") for i in range(count))

        # Four standard deviations above: one failure in 30,000 if the rate is exactly as declared.
        assert wrong <= count * rate + 4 * (count * rate) ** 0.5

    @pytest.mark.parametrize("rate", [0.4, 0.1, 0.03, 0.01, 0.001, 1e-9])
    def test_it_is_never_smaller_than_theory_asks_and_not_much_larger(self, rate):
        from math import log

        bits, _ = size_for(10_000, rate)
        ideal = -10_000 * log(rate) / log(2) ** 2

        assert ideal <= bits <= 1.15 * ideal + 64

    def test_the_same_names_make_the_same_filter_in_any_order(self):
        names = [f"quotes/{i}" for i in range(100)]

        assert bloom_of(names, 0.01) == bloom_of(names[::-1], 0.01)

    def test_the_bytes_are_those_of_another_program(self):
        one, two = struct.unpack("<QQ", plain_blake3(b"quotes/A")[:16])
        bits = 0
        for i in range(7):
            bits |= 1 << (one + i * (two | 1)) % 2**64 % 64

        expected = struct.pack("<4sIQ", b"BLM1", 7, 64) + bits.to_bytes(8, "little")

        assert bloom_of(["quotes/A"], 0.01).to_bytes() == expected

    @pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, float("nan")])
    def test_a_rate_that_is_none_is_refused(self, rate):
        with pytest.raises(SnapshotError, match=r"must be in \(0, 1\)"):
            bloom_of(["a"], rate)

    def test_bytes_that_are_no_filter_are_refused(self):
        whole = bloom_of(["a"], 0.01).to_bytes()

        for broken in (b"", whole[:-1], whole + b"\0", b"XXXX" + whole[4:]):
            with pytest.raises(SnapshotError, match="Bloom filter"):
                Bloom.from_bytes(broken)


class TestBlocks:
    def test_blocks_have_1024_leaves_and_ignore_order_and_repeats(self):
        leaves = [leaf(n) for n in range(2500)]
        shuffled = leaves + leaves[:10]
        random.Random(1).shuffle(shuffled)

        assert len(block_roots(leaves)) == 3
        assert block_roots(shuffled) == block_roots(leaves)

    def test_one_other_leaf_shows_in_its_block_alone(self):
        leaves = [leaf(n) for n in range(2500)]
        other = [*leaves[:1500], leaf(1500, content=1), *leaves[1501:]]

        pairs = zip(block_roots(leaves), block_roots(other), strict=True)

        assert [a == b for a, b in pairs] == [True, False, True]

    def test_two_contents_for_one_key_are_a_divergence(self):
        with pytest.raises(SnapshotError, match=r"DIVERGED.*in/log/0/000000000005"):
            block_roots([leaf(5), leaf(6), leaf(5, content=1)])


class TestSketch:
    @given(
        st.sets(st.integers(0, 2**64 - 1), max_size=60),
        st.sets(st.integers(0, 2**64 - 1), max_size=60),
    )
    @settings(deadline=None, max_examples=40)
    def test_it_finds_exactly_the_difference(self, ours, theirs):
        cells = encode_cells(list(theirs), 0, 2 * len(ours ^ theirs) + 20)

        found = decode_cells(cells, list(ours))

        assert found is None or (found.theirs, found.mine) == (
            sorted(theirs - ours),
            sorted(ours - theirs),
        )

    @pytest.mark.parametrize("difference", [1, 10, 100, 1000])
    def test_it_needs_few_cells_whatever_the_size_of_the_sets(self, difference):
        rng = random.Random(difference)
        shared = [rng.getrandbits(64) for _ in range(5000)]
        theirs = shared + [rng.getrandbits(64) for _ in range(difference)]

        needed = cells_needed(theirs, shared)

        # The paper tends to 1.35 cells for each; small differences vary more.
        assert needed <= 2.0 * difference + 20

    def test_sets_that_are_equal_need_one_cell(self):
        ids = [random.Random(2).getrandbits(64) for _ in range(1000)]

        assert decode_cells(encode_cells(ids, 0, 1), ids) == ([], [])

    def test_cells_can_be_sent_in_pieces(self):
        ids = [random.Random(4).getrandbits(64) for _ in range(100)]

        assert encode_cells(ids, 0, 30) + encode_cells(ids, 30, 80) == encode_cells(ids, 0, 80)

    def test_corrupt_cells_never_decode_to_a_wrong_difference(self):
        rng = random.Random(6)
        theirs = [rng.getrandbits(64) for _ in range(30)]
        cells = encode_cells(theirs, 0, 80)
        for _ in range(50):
            at = rng.randrange(len(cells))
            broken = list(cells)
            broken[at] = broken[at]._replace(ids=broken[at].ids ^ 1 << rng.randrange(64))

            found = decode_cells(broken, [])

            assert found is None or found.theirs == sorted(theirs)

    def test_a_session_key_changes_every_id(self):
        leaves = [leaf(n) for n in range(50)]

        assert not ids_of(leaves, b"one").keys() & ids_of(leaves, b"two").keys()

    def test_an_endless_sketch_is_refused(self):
        with pytest.raises(SnapshotError, match="at most 1048576 cells"):
            encode_cells([1], 0, 1 << 21)


def cells_needed(theirs, ours):
    low, high = 1, 1
    while decode_cells(encode_cells(theirs, 0, high), ours) is None:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if decode_cells(encode_cells(theirs, 0, middle), ours) is None:
            low = middle + 1
        else:
            high = middle
    return high
