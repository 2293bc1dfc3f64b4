"""A snapshot is named by what it holds and the cut it covers; why and when is in its record."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.errors import SnapshotError
from orrery_kernels.partition import partition_of
from orrery_kernels.snapshot.canonical import encode, value_digest
from orrery_kernels.snapshot.digest import digest
from orrery_kernels.snapshot.patterns import fill_in, matches
from orrery_kernels.snapshot.snapshot import Record, freeze, leaf, leaf_count, leaves, thaw
from orrery_kernels.snapshot.tree import CANONICAL, build, update

from tests.kernels.snapshot.plain_blake3 import plain_blake3

CUT = {"number": 7, "ticks/0": {"log": "L1", "offset": 12, "vector": {"row:trades:L1": 5}}}


def partitioned(quotes, partitions=4):
    """The roots of each partition's tree and all their pieces, as their owners make them."""
    roots, pieces = [], {}
    for p in range(partitions):
        own = {n: encode(v) for n, v in quotes.items() if partition_of(n, partitions) == p}
        tree = build(list(own), list(own.values()), CANONICAL)
        roots.append(tree.root)
        pieces.update(tree.pieces)
    return roots, pieces


def quotes_of(count):
    return {f"S{i}.XNAS": float(i) for i in range(count)}


def test_the_kind_of_canonical_values_is_the_digest_of_its_words():
    assert digest(b"orrery: values in canonical bytes, version 1") == CANONICAL


def test_two_nodes_with_the_same_rows_make_the_same_id_whatever_the_order_of_arrival():
    quotes = quotes_of(300)
    shuffled = list(quotes.items())
    random.Random(1).shuffle(shuffled)

    one = freeze({"quotes": partitioned(quotes)[0]}, CUT, {}, {})
    roots, pieces = partitioned({})
    for name, value in shuffled:
        p = partition_of(name, 4)
        moved = update(roots[p], {name: encode(value)}, pieces.__getitem__)
        roots[p] = moved.root
        pieces.update(moved.pieces)

    assert freeze({"quotes": roots}, dict(reversed(CUT.items())), {}, {}) == one


def test_golden_id_pins_the_byte_format():
    frozen = freeze({"quotes": bytes(32)}, {"number": 1}, {"trades": b"s" * 32}, {"ema": b"c" * 32})

    expected = b"orrery snapshot 1\n" + encode(
        {
            "sections": {"quotes": (bytes(32),)},
            "cut": {"number": 1},
            "schemas": {"trades": b"s" * 32},
            "code": {"ema": b"c" * 32},
        }
    )
    assert frozen.manifest == expected
    assert frozen.id == plain_blake3(expected)
    assert frozen.id.hex() == "a2f8985c3d52d57ad2ee5de3ddc1a07c9b61e1aa5469389072d6710072aae57a"


@pytest.mark.parametrize(
    "change",
    [
        {"sections": {"quotes": b"\1" * 32}},
        {"sections": {"quote": bytes(32)}},
        {"sections": {"quotes": [bytes(32), bytes(32)]}},
        {"cut": {"number": 2}},
        {"schemas": {"trades": b"s" * 32}},
        {"code": {"ema": b"c" * 32}},
    ],
)
def test_whatever_a_snapshot_covers_is_in_its_id(change):
    plain = {"sections": {"quotes": bytes(32)}, "cut": {"number": 1}, "schemas": {}, "code": {}}

    assert freeze(**{**plain, **change}).id != freeze(**plain).id


def test_leaves_are_found_in_the_partition_of_their_symbol():
    roots, pieces = partitioned(quotes_of(100))
    snapshot = thaw(freeze({"quotes": roots, "quotes/deep": roots[0]}, CUT, {}, {}).manifest)
    fetch = pieces.__getitem__

    assert leaf(snapshot, "quotes/S42.XNAS", fetch) == encode(42.0)
    assert leaf(snapshot, "quotes/S100.XNAS", fetch) is None
    assert list(leaves(snapshot, "quotes", fetch)) == sorted(quotes_of(100))
    assert leaf_count(thaw(freeze({"quotes": roots}, CUT, {}, {}).manifest), fetch) == 100


def test_the_longest_section_owns_a_path():
    snapshot = thaw(freeze({"state": bytes(32), "state/ema": bytes(32)}, CUT, {}, {}).manifest)

    assert snapshot.locate("state/ema/BTC/USD") == ("state/ema", "BTC/USD")
    assert snapshot.locate("state/other/X") == ("state", "other/X")


def test_a_path_outside_is_answered_with_the_nearest_section():
    snapshot = thaw(freeze({"quotes": bytes(32), "calendars": bytes(32)}, CUT, {}, {}).manifest)

    words = r"'quote/X' must be a section of the snapshot, .*; nearest sections: quotes$"
    with pytest.raises(SnapshotError, match=words):
        snapshot.locate("quote/X")


@pytest.mark.parametrize("sections", [{"": bytes(32)}, {"/a": bytes(32)}, {"a": []}, {"a": b"x"}])
def test_what_is_no_section_is_refused(sections):
    with pytest.raises(SnapshotError, match="section"):
        freeze(sections, CUT, {}, {})


def test_a_snapshot_cannot_be_changed():
    snapshot = thaw(freeze({"quotes": bytes(32)}, CUT, {}, {}).manifest)

    with pytest.raises(TypeError):
        snapshot.cut["number"] = 8
    with pytest.raises(AttributeError):
        snapshot.id = b""


def test_bytes_that_are_no_manifest_are_refused():
    whole = freeze({"quotes": bytes(32)}, CUT, {}, {}).manifest

    for broken in (b"", b"orrery record 1\n", whole[:-1], whole + b"\0"):
        with pytest.raises(SnapshotError):
            thaw(broken)


def test_why_and_when_are_in_the_record_and_read_back():
    record = Record(b"s" * 32, 7, None, "every 5s", "0/1A2B", 1_700_000_000_000_000_000, "n1")

    assert Record.from_bytes(record.to_bytes()) == record
    assert value_digest({"a": 1}) == value_digest({"a": 1})
    with pytest.raises(SnapshotError, match="must begin with"):
        Record.from_bytes(b"orrery snapshot 1\n")


@given(st.text(alphabet="ab*/.<>", max_size=8))
@settings(deadline=None)
def test_every_path_is_meant_by_itself_and_by_a_star(path):
    assert matches(path, path) and matches("*", path)


def test_patterns_mean_runs_of_characters_and_nothing_else():
    assert matches("quotes/USD-*", "quotes/USD-a/b\nc")
    assert not matches("quotes/USD.*", "quotes/USDxa")
    assert not matches("quotes/USD-*", "xquotes/USD-1")
    assert fill_in("state/<chain>/*", {"chain": "ema"}) == "state/ema/*"
    with pytest.raises(SnapshotError, match="<chain> in 'state/<chain>' must be declared"):
        fill_in("state/<chain>", {})
