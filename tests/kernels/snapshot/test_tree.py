"""A tree is its contents: no order, no history, no node shows in its root."""

import random
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.buckets import bits_for, bucket_of, read_bucket
from orrery_kernels.snapshot.descent import diff
from orrery_kernels.snapshot.tree import (
    CANONICAL,
    bodies,
    build,
    get,
    items,
    proof,
    proved,
    read_root,
    update,
)

from tests.kernels.snapshot.plain_blake3 import plain_blake3

NAMES = st.text(max_size=6)
LEAVES = st.dictionaries(NAMES, st.binary(max_size=80), max_size=60)


def tree_of(leaves):
    return build(list(leaves), list(leaves.values()), CANONICAL)


def numbered(count, width=8):
    return {f"S{i:05d}.XNAS": struct.pack("<q", i).ljust(width, b"\0") for i in range(count)}


def plain_root(leaves):
    """The root by another program, in plain Python."""

    buckets = [[] for _ in range(1 << bits_for(len(leaves)))]
    for key in sorted(k.encode() for k in leaves):
        buckets[bucket_of(key, bits_for(len(leaves)))].append(key)
    level = []
    for keys in buckets:
        values = [leaves[key.decode()] for key in keys]
        ends = [sum(map(len, part[: i + 1])) for part in (keys, values) for i in range(len(keys))]
        head = b"B" + struct.pack(f"<{1 + len(ends)}I", len(keys), *ends)
        level.append(plain_blake3(head + b"".join(keys) + b"".join(values)))
    while len(level) > 16:
        level = [plain_blake3(b"N" + b"".join(level[i : i + 16])) for i in range(0, len(level), 16)]
    head = b"R\x01" + struct.pack("<BQ", bits_for(len(leaves)), len(leaves)) + CANONICAL
    return plain_blake3(head + b"".join(level))


@pytest.mark.parametrize("count", [0, 1, 8, 9, 100, 128, 129, 1000, 3000])
def test_the_root_equals_that_of_another_program(count):
    leaves = numbered(count)

    assert tree_of(leaves).root == plain_root(leaves)


def test_golden_roots_pin_the_byte_format():
    assert tree_of({}).root.hex() == (
        "c4c4486b3ab151322c2174947a296eee5e862b520e4883f9a1dc477f2e2085fc"
    )
    assert tree_of(numbered(1000)).root.hex() == (
        "1992361c56a1e1d5c3dece3b7f5ed096a98a72d2626b666ffde8cc053ad2ada4"
    )


@given(LEAVES, st.randoms())
@settings(deadline=None, max_examples=60)
def test_the_order_of_arrival_does_not_show(leaves, rng):
    shuffled = list(leaves.items())
    rng.shuffle(shuffled)

    assert tree_of(dict(shuffled)).root == tree_of(leaves).root


@given(LEAVES, st.dictionaries(NAMES, st.one_of(st.none(), st.binary(max_size=80)), max_size=30))
@settings(deadline=None, max_examples=120)
def test_history_does_not_show(leaves, changes):
    start = tree_of(leaves)
    after = {k: v for k, v in {**leaves, **changes}.items() if v is not None}

    moved = update(start.root, changes, start.pieces.__getitem__)

    assert moved.root == tree_of(after).root
    store = {**start.pieces, **moved.pieces}
    assert dict(items(moved.root, store.__getitem__)) == after


def test_a_thousand_small_changes_end_at_the_root_of_the_contents():
    rng = random.Random(7)
    leaves = numbered(300)
    tree = tree_of(leaves)
    root, store = tree.root, dict(tree.pieces)
    for step in range(1000):
        name = f"S{rng.randrange(900):05d}.XNAS"
        value = rng.randbytes(rng.randrange(20)) if rng.random() < 0.6 else None
        leaves[name] = value
        moved = update(root, {name: value}, store.__getitem__)
        root = moved.root
        store.update(moved.pieces)
        if step % 100 == 0:
            held = {k: v for k, v in leaves.items() if v is not None}
            assert root == tree_of(held).root

    assert root == tree_of({k: v for k, v in leaves.items() if v is not None}).root


def test_every_piece_is_named_by_its_bytes_and_is_reachable():
    tree = tree_of(numbered(1000))

    reached = list(bodies(tree.root, tree.pieces.__getitem__))

    assert all(plain_blake3(body) == name for name, body in tree.pieces.items())
    assert len(reached) == len(tree.pieces)


def test_an_unchanged_part_is_shared():
    tree = tree_of(numbered(20_000))

    moved = update(tree.root, {"S00042.XNAS": b"new"}, tree.pieces.__getitem__)

    assert len(moved.pieces) == 4  # a bucket, two branches, the root
    assert sum(map(len, moved.pieces.values())) < 4000
    assert get(moved.root, "S00042.XNAS", {**tree.pieces, **moved.pieces}.__getitem__) == b"new"
    assert get(tree.root, "S00042.XNAS", tree.pieces.__getitem__) == numbered(43)["S00042.XNAS"]


def test_a_change_to_what_is_there_makes_no_other_root():
    tree = tree_of(numbered(50))

    same = update(tree.root, {"S00007.XNAS": numbered(8)["S00007.XNAS"]}, tree.pieces.__getitem__)

    assert same.root == tree.root


@given(LEAVES, LEAVES)
@settings(deadline=None, max_examples=120)
def test_a_diff_names_exactly_what_differs(before, after):
    one, other = tree_of(before), tree_of(after)
    store = {**one.pieces, **other.pieces}

    found = {c.name: (c.before, c.after) for c in diff(one.root, other.root, store.__getitem__)}

    names = before.keys() | after.keys()
    assert found == {
        n: (before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)
    }


def test_a_diff_reads_little():
    tree = tree_of(numbered(50_000))
    moved = update(tree.root, {"S00042.XNAS": b"x" * 8}, tree.pieces.__getitem__)
    store, reads = {**tree.pieces, **moved.pieces}, []

    def fetch(name):
        reads.append(name)
        return store[name]

    changes = list(diff(tree.root, moved.root, fetch))

    assert [c.name for c in changes] == ["S00042.XNAS"]
    assert len(reads) == 10  # on each side: the root, three branches, one bucket


def test_records_of_one_width_make_the_tree_of_their_bytes():
    leaves = numbered(500, 64)
    records = np.frombuffer(b"".join(leaves.values()), np.uint8).reshape(500, 64)

    assert build(list(leaves), records, CANONICAL).root == tree_of(leaves).root
    assert build(pa.array(list(leaves)), records, CANONICAL).root == tree_of(leaves).root


def test_a_sliced_column_of_names_is_read_where_it_begins():
    names = pa.array(["x", "y", "a", "b", "c"])

    sliced = build(names.slice(2), [b"1", b"2", b"3"], CANONICAL)

    assert sliced.root == tree_of({"a": b"1", "b": b"2", "c": b"3"}).root


@given(st.sets(st.binary(max_size=20), min_size=1, max_size=50))
@settings(deadline=None)
def test_names_that_are_parts_of_each_other_are_told_apart(parts):
    names = [part.hex() for part in parts]
    tree = build(names, [n.encode() for n in names], CANONICAL)

    assert all(get(tree.root, n, tree.pieces.__getitem__) == n.encode() for n in names)
    assert get(tree.root, "absent", tree.pieces.__getitem__) is None


def test_the_kind_of_values_is_part_of_the_root():
    assert build(["a"], [b"1"], b"k" * 32).root != build(["a"], [b"1"], CANONICAL).root


def test_every_kind_of_odd_name_is_kept_verbatim():
    names = [
        "",
        "x'); DROP TABLE--",
        "../",
        "{}",
        "a\nb",
        "NULL",
        "\u00e9",
        "e\u0301",
        "🙂",
        "a" * 5000,
    ]
    tree = build(names, [str(i).encode() for i in range(len(names))], CANONICAL)

    assert sorted(n for n, _ in items(tree.root, tree.pieces.__getitem__)) == sorted(names)


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (["a", "b", "a"], [b"", b"", b""], "'a' is doubled"),
        (["a"], [b"", b""], "1 have 2"),
        (["\ud800"], [b""], "valid Unicode"),
        ([1], [b""], "must be text"),
        (["a"], [b"x" * 70_000], "64 KiB"),
    ],
)
def test_what_is_no_tree_is_refused(names, values, message):
    with pytest.raises(SnapshotError, match=message):
        build(names, values, CANONICAL)


def test_bytes_that_are_no_piece_are_refused():
    tree = tree_of(numbered(20))
    body = tree.pieces[read_root(tree.pieces[tree.root]).below[0]]

    with pytest.raises(SnapshotError, match="must begin with 'R'"):
        read_root(body)
    with pytest.raises(SnapshotError, match="must begin with 'B'"):
        read_bucket(b"N" + bytes(512))
    with pytest.raises(SnapshotError, match="cut off"):
        read_bucket(body[:-1])


def test_a_proof_shows_presence_and_absence_to_whoever_knows_only_the_root():
    tree = tree_of(numbered(3000))
    fetch = tree.pieces.__getitem__

    present, absent = (proof(tree.root, name, fetch) for name in ("S00042.XNAS", "S99999.XNAS"))

    assert len(present) == 4
    assert proved(tree.root, "S00042.XNAS", present) == numbered(43)["S00042.XNAS"]
    assert proved(tree.root, "S99999.XNAS", absent) is None


def test_a_forged_proof_is_refused():
    tree = tree_of(numbered(3000))
    pieces = proof(tree.root, "S00042.XNAS", tree.pieces.__getitem__)
    forged = pieces[-1].replace(b"\x2a", b"\x2b")

    assert forged != pieces[-1]
    for broken in (pieces[:-1], [*pieces[:-1], forged], []):
        with pytest.raises(SnapshotError, match="must lead from the root"):
            proved(tree.root, "S00042.XNAS", broken)
