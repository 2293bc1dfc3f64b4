"""What a worker says of its partition at a cut: a function of the log, whatever it went through."""

from blake3 import blake3
from orrery_kernels import Chain
from orrery_kernels.snapshot.canonical import decode
from orrery_kernels.snapshot.tree import items
from orrery_services.analytics import steps
from orrery_services.protocol import facts, marks, snapshots

from .partition import Log, chain, fresh, leaves, pieces, take


def tree(made: list[facts.Fact], root: str) -> dict[str, bytes]:
    held = {blake3(piece).digest(): piece for piece in pieces(made)}
    return dict(items(bytes.fromhex(root), held.__getitem__))


def test_a_leaf_holds_the_last_quotes_where_they_came_from_and_every_state():
    log = Log().trades(A=1.0, B=2.0).quotes(X=0.1, Y=0.2).quotes(X=0.3).cut(7, at_ns=50)

    made = take(work := fresh(), log)

    (leaf,) = leaves(made)
    assert (leaf.number, leaf.offset, leaf.rows, leaf.late) == (7, 3, 5, 0)
    assert leaf.vector == log.vector
    quotes = tree(made, leaf.roots["quotes"])
    assert {name: decode(body) for name, body in quotes.items()} == {"X": 0.3, "Y": 0.2}
    row = decode(tree(made, leaf.roots["quote_rows"])["X"])
    assert (row["topic"], row["offset"], row["ticks_offset"]) == ("some", 0, 2)
    names, records = work.state.leaves()
    assert tree(made, leaf.roots["state"]) == dict(zip(names, records, strict=True))


def test_rows_behind_the_marker_belong_to_the_next_cut():
    one = leaves(take(fresh(), Log().quotes(X=1.0).cut(1)))
    other = leaves(take(fresh(), Log().quotes(X=1.0).cut(1).quotes(X=2.0).cut(2)))

    assert other[0] == one[0]
    assert other[1].roots["quotes"] != one[0].roots["quotes"]


def test_only_pieces_that_changed_are_written_again():
    symbols = {f"S{number}": float(number + 1) for number in range(200)}
    log = Log().trades(**symbols).quotes(**symbols).cut(1)
    first = take(work := fresh(), log)

    log.trades(S7=9.0).cut(2)
    second = take(work, log)
    log.cut(3)
    third = take(work, log)

    assert len(pieces(first)) > 60
    assert 0 < len(pieces(second)) <= 4  # one bucket and what is above it
    assert pieces(third) == [] and leaves(third)[0].roots == leaves(second)[0].roots


def test_a_worker_that_starts_from_a_checkpoint_says_the_same_at_the_next_cut():
    log = Log().quotes(at_ns=5, X=1.0).cut(1, at_ns=10).trades(at_ns=5, A=1.0, B=1.0)
    whole = take(fresh(), log, every_rows=3)
    log.trades(at_ns=20, A=3.0).cut(2, at_ns=30)
    expected = leaves(take(fresh(), log))[1]

    again = leaves(take(from_checkpoint(whole), log))

    assert again == [expected]
    assert (expected.late, expected.late_from_ns) == (2, 5)


def from_checkpoint(made: list[facts.Fact]) -> steps.Work:
    stored = {fact.id: facts.data_of(fact.payload, None) for fact in made if fact.kind == "piece"}
    fact = next(fact for fact in reversed(made) if fact.kind == "ckpt")
    position, count, ids, market = steps.checkpoint_of(
        fact.payload, facts.data_of(fact.payload, None)
    )
    buckets = {b: b"".join(stored[name] for name in names) for b, names in ids.items()}
    log_id = facts.place_of(fact.key).log_id
    return steps.begin(chain(), log_id, 0, steps.Checkpoint(position, count, ids, buckets, market))


def test_stored_input_gives_the_same_leaf_as_the_log():
    log = Log().trades(A=1.0).quotes(X=0.1).cut(1, at_ns=9).trades(at_ns=3, A=2.0).cut(2)
    made = take(fresh(), log)
    inputs = [fact for fact in made if fact.kind == facts.INPUT]

    work, again = fresh(), []
    for fact in inputs:
        rows = facts.rows_of(fact.payload, None)
        link = marks.link_of(fact.key, fact.payload)
        again += steps.recompute(work, link, rows, 10**6)

    assert leaves(again) == leaves(made)


def test_stored_input_many_chunks_at_once_gives_the_same_leaf():
    log = Log().trades(A=1.0).quotes(X=0.1).quotes(X=0.2, Y=0.3).trades(B=5.0).cut(1, at_ns=9)
    log.quotes(at_ns=3, Y=0.4).trades(at_ns=2, A=2.0, B=1.0).quotes(at_ns=20, Z=0.5).cut(2)
    made = take(fresh(), log)
    inputs = [fact for fact in made if fact.kind == facts.INPUT]

    work, again, waiting = fresh(), [], []
    for link, fact in ((marks.link_of(fact.key, fact.payload), fact) for fact in inputs):
        if not steps.is_cut(link):
            waiting.append((link, fact.payload))
            continue
        links, payloads = zip(*waiting, strict=True)
        counts, rows = facts.many_rows_of(payloads, None)
        steps.replay_many(work, links, counts, rows)
        again += steps.replay(work, link, facts.rows_of(fact.payload, None))
        waiting = []

    assert leaves(again) == leaves(made) != []


def test_a_row_is_late_when_its_event_time_lies_before_the_last_cut():
    log = Log().trades(at_ns=1, A=1.0).cut(1, at_ns=100)
    log.trades(at_ns=99, A=1.0).trades(at_ns=40, A=1.0).trades(at_ns=100, A=1.0).cut(2, at_ns=200)

    found = leaves(take(fresh(), log))

    assert [(leaf.late, leaf.late_from_ns) for leaf in found] == [(0, None), (2, 40)]


def test_of_a_state_too_wide_for_a_leaf_the_digest_is_one():
    wide = Chain([{"kernel": "rolling_zscore", "column": "price", "window": 9000}])
    log = Log().trades(A=1.0, B=2.0).cut(1)

    made = take(work := fresh(wide), log)

    names, records = work.state.leaves()
    assert len(records[0]) > 64 * 1024
    digests = {n: blake3(r).digest() for n, r in zip(names, records, strict=True)}
    assert tree(made, leaves(made)[0].roots["state"]) == digests


def test_packs_come_ahead_of_the_leaf_and_are_named_by_what_they_hold():
    made = take(fresh(), Log().quotes(X=1.0).cut(3))

    kinds = [fact.kind for fact in made]
    pack = made[kinds.index(snapshots.PACK)]
    assert kinds.index(snapshots.PACK) < kinds.index(snapshots.LEAF)
    body = facts.data_of(pack.payload, None)
    assert pack.key == f"pack/0/000000000003/{blake3(body).hexdigest()}"
