"""Dominoes that map over symbols: only rows that changed are computed, the bytes are the same."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from orrery_kernels import Chain
from orrery_kernels.domino.chain import read_chain
from orrery_kernels.domino.domino import domino
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import Memo, coarse_digest
from orrery_kernels.domino.points import points_of
from orrery_kernels.domino.run import Last, plan, run
from orrery_kernels.domino.states import rows_seen
from orrery_kernels.domino.views import Leaves, Rows
from orrery_kernels.errors import DominoError, SealError
from orrery_kernels.snapshot.canonical import decode, encode
from orrery_kernels.snapshot.snapshot import freeze, thaw
from orrery_kernels.snapshot.tree import CANONICAL, build

VALUE = pa.schema({"value": pa.float64()})
BOOK = pa.schema({"bid": pa.float64(), "ask": pa.float64(), "venue": pa.string()})
PIECES: dict[bytes, bytes] = {}


@domino(version=1)
def scaled(
    rows: Annotated[Rows, "quotes/*", VALUE], by: Annotated[float, "static/by"]
) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pc.multiply(rows.column("value"), by)], ["scaled"])


@domino(version=1)
def spread(rows: Annotated[Rows, "books/*", BOOK]) -> pa.RecordBatch:
    wide = pc.subtract(rows.column("ask"), rows.column("bid"))
    return pa.RecordBatch.from_arrays([wide, rows.column("venue")], ["spread", "venue"])


@domino(version=1)
def centred(rows: Annotated[Rows, "quotes/*", VALUE]) -> pa.RecordBatch:
    values = rows.column("value").to_numpy()
    return pa.RecordBatch.from_arrays([pa.array(values - values.max())], ["off"])


@domino(version=1)
def running(rows: Annotated[Rows, "quotes/*", VALUE]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pc.cumulative_sum(rows.column("value"))], ["total"])


@domino(version=1)
def too_few(rows: Annotated[Rows, "quotes/*", VALUE]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([rows.column("value")], ["value"]).slice(1)


@domino(version=1)
def of_a_few(
    rows: Annotated[Rows, "quotes/*", VALUE], curves: Annotated[Leaves, "static/*"]
) -> pa.RecordBatch:
    """Reads another leaf for rows above one: which are read depends on the rows."""
    high = pc.max(rows.column("value")).as_py() > 1.0
    by = curves["by"] if high else 1.0
    scaled = [v * (by if v > 1.0 else 1.0) for v in rows.column("value").to_pylist()]
    return pa.RecordBatch.from_arrays([pa.array(scaled, pa.float64())], ["scaled"])


@domino(version=1)
def width(rows: pa.RecordBatch) -> float:
    return float(pc.max(rows.column("scaled")).as_py())


DOMINOES = {d.name: d for d in (scaled, spread, centred, running, too_few, of_a_few, width)}
QUOTES = {f"Q{i:03d}": float(i) for i in range(60)}


def market_of(quotes, by=2.0, before=None, code=None, **sections):
    sections = {"quotes": quotes, "static": {"by": by}} | sections
    roots = {}
    for section, leaves in sections.items():
        tree = build(list(leaves), [encode(v) for v in leaves.values()], CANONICAL)
        PIECES.update(tree.pieces)
        roots[section] = tree.root
    return Market(thaw(freeze(roots, {}, {}, code or {}).manifest), PIECES.__getitem__, before)


def chain_of(*names, dominoes=DOMINOES):
    tasks = [{"name": name, "domino": name} for name in names]
    if "width" in names:
        tasks[-1]["reads"] = {"rows": names[0]}
    return read_chain("wide", {"tasks": tasks}, dominoes)


def counted(name):
    """Return the chain of one domino that counts the rows it is given, and the counts."""
    seen: list[int] = []
    inner = DOMINOES[name]

    def function(rows, *rest):
        seen.append(rows.num_rows)
        return inner.function(rows, *rest)

    return chain_of(name, dominoes={name: replace(inner, function=function)}), seen


def last_of(steps, market):
    return Last({step.task: step for step in steps}, market.snapshot)


def test_of_a_change_only_its_rows_are_computed_in_one_call_and_the_record_says_so():
    chain, seen = counted("scaled")
    memo, before = Memo(), market_of(QUOTES)
    first = run(chain, before, memo)
    seen.clear()
    after = market_of({**QUOTES, "Q003": 9.0, "Q050": 9.0, "Q059": 9.0}, before=before)

    (step,) = run(chain, after, memo, last=last_of(first, before))

    assert step.why == "changed: rows; 3 of 60 rows computed"
    assert seen == [4], "three rows, and one that is known: it must come out as before"


@settings(max_examples=60, deadline=None)
@given(
    some.lists(
        some.tuples(
            some.dictionaries(
                some.sampled_from([f"Q{i:03d}" for i in range(30)]),
                some.none() | some.floats(allow_nan=True),
                max_size=5,
            ),
            some.sampled_from([2.0, 2.0, 2.0, 3.0]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_sequence_of_changes_gives_the_bytes_of_computing_all_from_nothing(changes):
    chain, memo = chain_of("scaled", "width"), Memo()
    quotes, last, market = {f"Q{i:03d}": float(i) for i in range(0, 30, 2)}, None, None
    for change, by in changes:
        quotes |= change
        quotes = {name: v for name, v in quotes.items() if v is not None} or {"Q000": 1.0}
        market = market_of(quotes, by, before=market)

        steps = run(chain, market, memo, last=last)

        anew = run(chain, market_of(quotes, by), Memo())
        assert [(s.key, s.row) for s in steps] == [(s.key, s.row) for s in anew]
        last = last_of(steps, market)


def test_rows_that_went_go_and_rows_that_came_are_computed():
    chain, seen = counted("scaled")
    memo, before = Memo(), market_of(QUOTES)
    first = run(chain, before, memo)
    seen.clear()
    quotes = {**QUOTES, "A": 1.0}
    del quotes["Q007"]
    after = market_of(quotes, before=before)

    (step,) = run(chain, after, memo, last=last_of(first, before))

    names = decode(memo.body(step.row.output)).column("name").to_pylist()
    assert names == sorted(quotes)
    assert (step.why, seen) == ("changed: rows; 1 of 60 rows computed", [2])


@pytest.mark.parametrize(
    "how", ["another input", "an audit", "a lost answer", "no run before", "other code"]
)
def test_all_rows_are_computed_when_more_than_rows_changed(how):
    chain, seen = counted("scaled")
    memo, before = Memo(), market_of(QUOTES)
    last = last_of(run(chain, before, memo), before)
    after = market_of({**QUOTES, "Q003": 9.0}, 3.0 if how == "another input" else 2.0, before)
    if how == "a lost answer":
        memo.bodies.clear()
    if how == "no run before":
        last = None
    if how == "other code":
        step = last.steps["scaled"]
        last = Last({"scaled": step._replace(key=bytes(32))}, last.snapshot)
    seen.clear()

    (step,) = run(chain, after, memo, how == "an audit", last)

    assert step.action == "run" and "rows computed" not in step.why
    assert seen[0] == 60


def test_a_plan_computes_nothing_and_a_run_after_it_little():
    chain, seen = counted("scaled")
    memo, before = Memo(), market_of(QUOTES)
    last = last_of(run(chain, before, memo), before)
    seen.clear()
    after = market_of({**QUOTES, "Q003": 9.0}, before=before)

    (step,) = plan(chain, after, memo.find, last=last)

    assert (step.action, step.why, seen) == ("run", "changed: rows", [])


@pytest.mark.parametrize("name", ["centred", "running"])
def test_a_row_that_depends_on_other_rows_is_refused_the_first_time_already(name):
    (step,) = run(chain_of(name), market_of(QUOTES), Memo())

    assert step.action == "fail"
    assert "must make each row from its own inputs alone" in step.why and "'Q0" in step.why


def test_what_some_rows_did_not_read_is_not_taken_for_what_all_would_not_read():
    chain, memo = chain_of("of_a_few"), Memo()
    low = dict.fromkeys(QUOTES, 0.5) | {"Q059": 5.0}
    before = market_of(low)
    last = last_of(run(chain, before, memo), before)
    middle = market_of({**low, "Q003": 0.25}, before=before)
    steps = run(chain, middle, memo, last=last)

    after = market_of({**low, "Q003": 0.25}, by=7.0, before=middle)
    (step,) = run(chain, after, memo, last=last_of(steps, middle))

    assert step.row == run(chain, market_of({**low, "Q003": 0.25}, by=7.0), Memo())[0].row


def test_leaves_that_are_mappings_are_columns_and_what_one_has_not_is_null():
    books = {"A": {"bid": 1, "ask": 1.5, "venue": "X"}, "B": {"bid": 2.0, "ask": 2.25}}
    memo = Memo()

    (step,) = run(chain_of("spread"), market_of({"Q": 1.0}, books=books), memo)

    rows = decode(memo.body(step.row.output))
    assert rows.to_pydict() == {"name": ["A", "B"], "spread": [0.5, 0.25], "venue": ["X", None]}
    assert points_of(rows) == {"A/spread": 0.5, "B/spread": 0.25}


def test_a_leaf_of_another_type_is_named():
    (step,) = run(chain_of("scaled"), market_of({**QUOTES, "Q041": "high"}), Memo())

    assert step.action == "fail"
    assert "must have 'value' as double, that of 'Q041' has not" in step.why


def test_an_answer_of_another_length_is_refused():
    (step,) = run(chain_of("too_few"), market_of(QUOTES), Memo())

    assert step.action == "fail" and "a record batch of 60 rows" in step.why


def test_signatures_that_cannot_be_mapped_are_refused():
    def bare(rows: Annotated[Rows, "quotes/*"]) -> pa.RecordBatch:
        return rows

    def names(rows: Annotated[Rows, pa.schema({"name": pa.string()})]) -> pa.RecordBatch:
        return rows

    def number(rows: Annotated[Rows, "quotes/*", VALUE]) -> float:
        return 0.0

    def two(
        rows: Annotated[Rows, "quotes/*", VALUE], more: Annotated[Rows, "books/*", BOOK]
    ) -> pa.RecordBatch:
        return rows

    for function, message in (
        (bare, "must declare columns beside 'name'"),
        (names, "must declare columns beside 'name'"),
        (number, "must return a pa.RecordBatch"),
        (two, "must map over one input, was 2"),
    ):
        with pytest.raises(DominoError, match=message):
            domino(version=1)(function)


def test_rows_come_from_leaves_and_not_from_a_task():
    tasks = [
        {"name": "a", "domino": "scaled"},
        {"name": "b", "domino": "scaled", "reads": {"rows": "a"}},
    ]

    with pytest.raises(DominoError, match="input 'rows' must be Rows, 'a' returns RecordBatch"):
        read_chain("wide", {"tasks": tasks}, DOMINOES)


def test_what_columns_are_read_is_in_the_key():
    @domino(version=1, name="scaled")
    def whole(
        rows: Annotated[Rows, "quotes/*", pa.schema({"value": pa.int64()})],
        by: Annotated[float, "static/by"],
    ) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pc.multiply(rows.column("value"), by)], ["scaled"])

    other = replace(whole, code_bytes=scaled.code_bytes)
    keys = [chain_of("scaled", dominoes={"scaled": d}).tasks[0].fixed for d in (scaled, other)]

    assert len(set(keys)) == 2


def test_rounding_of_rows_stops_at_what_a_tolerance_hides():
    def rows(x):
        return pa.RecordBatch.from_pydict({"name": ["A", "B"], "x": [1.0, x], "n": [1, 2]})

    assert coarse_digest(rows(2.0), 1e-3) == coarse_digest(rows(2.00001), 1e-3)
    assert coarse_digest(rows(2.0), 1e-3) != coarse_digest(rows(2.01), 1e-3)
    assert coarse_digest(rows(0.0), 1e-3) != coarse_digest(rows(None), 1e-3)


def test_sums_and_functions_of_arrow_that_round_by_processor_are_refused():
    def total(rows: Annotated[Rows, "quotes/*", VALUE]) -> pa.RecordBatch:
        logged = pc.ln(rows.column("value"))
        return pa.RecordBatch.from_arrays([logged], ["x"])

    with pytest.raises(SealError, match=r"pyarrow.compute.ln rounds differently"):
        domino(version=1)(total)


def states_of(ticks, before=None, digests=False):
    """Return the market of a chain's states after so many ticks of each symbol."""
    chain = Chain([{"kernel": "ewma", "alpha": 0.5}])
    state = chain.new_state()
    names = [name for name, count in ticks.items() for _ in range(count)]
    prices = np.arange(1.0, len(names) + 1.0)
    chain.run(state, pa.RecordBatch.from_pydict({"symbol": names, "price": prices}))
    symbols, records = state.table_of_records()
    tree = build(symbols, records, bytes(32) if digests else state.digest)
    PIECES.update(tree.pieces)
    roots, code = {"state/default": tree.root}, {"chain/default": state.digest}
    return Market(thaw(freeze(roots, {}, {}, code).manifest), PIECES.__getitem__, before)


def test_the_states_of_symbols_are_read_and_only_those_that_ticked_again():
    chain = read_chain("activity", {"tasks": [{"name": "seen", "domino": "rows_seen"}]},
                       {"rows_seen": rows_seen})  # fmt: skip
    memo, before = Memo(), states_of({"A": 3, "B": 1, "C": 2})
    first = run(chain, before, memo)
    after = states_of({"A": 3, "B": 1, "C": 5}, before)

    (step,) = run(chain, after, memo, last=last_of(first, before))

    rows = decode(memo.body(step.row.output))
    assert rows.to_pydict() == {"name": ["A", "B", "C"], "rows": [3, 1, 5]}
    assert step.why == "changed: states; 1 of 3 rows computed"


def test_states_that_are_held_by_their_digests_alone_are_refused():
    chain = read_chain("activity", {"tasks": [{"name": "seen", "domino": "rows_seen"}]},
                       {"rows_seen": rows_seen})  # fmt: skip

    (step,) = run(chain, states_of({"A": 3}, digests=True), Memo())

    assert step.action == "fail" and "records over 64 KiB are there by their digests" in step.why
