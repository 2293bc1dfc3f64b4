"""Chains of dominoes: declared as data, checked, found instead of computed, explained."""

import re
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest
from orrery_kernels.domino import run as running
from orrery_kernels.domino.chain import read_chain
from orrery_kernels.domino.domino import domino
from orrery_kernels.domino.explain import affected, changed_leaves, why, why_lines
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import Memo, Row, coarse_digest
from orrery_kernels.domino.run import Last, compute, plan, run
from orrery_kernels.domino.views import Leaves
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import encode
from orrery_kernels.snapshot.snapshot import freeze, thaw
from orrery_kernels.snapshot.tree import CANONICAL, build


class Curve:
    """An object of its own making, as the curve library has them."""

    def __init__(self, zeros):
        self.zeros = list(zeros)

    def to_bytes(self):
        return np.array(self.zeros).tobytes()

    @classmethod
    def from_bytes(cls, data):
        return cls(np.frombuffer(data).tolist())

    def rounded(self, tolerance):
        return [round(z / tolerance) for z in self.zeros]


@dataclass(frozen=True)
class Ladder:
    steps: tuple[float, ...]


@domino(version=1)
def curve(quotes: Annotated[Leaves, "quotes/USD-*"], *, shift: float = 0.0) -> Curve:
    return Curve(quotes[name] / 100.0 + shift for name in quotes)


@domino(version=1)
def ladder(curve: Curve, *, bump: float = 1e-4) -> Ladder:
    return Ladder(tuple(z * bump for z in curve.zeros))


@domino(version=1)
def value(ladder: Ladder, notional: Annotated[float, "static/notional"]) -> float:
    return sum(ladder.steps) * notional


@domino(version=1)
def first_two(quotes: Annotated[Leaves, "quotes/USD-*"]) -> float:
    return quotes["USD-00"] + quotes["USD-01"]


@domino(version=1)
def sign(x: float) -> int:
    return 1 if x > 0 else -1


@domino(version=1)
def fails(x: float) -> float:
    raise ValueError(f"no curve from {x}")


@domino(version=1)
def spoils_curve(curve: Curve) -> float:
    curve.zeros.append(1.0)
    return 0.0


@domino(version=1)
def spoils_dict(x: Annotated[dict, "static/table"]) -> float:
    x["a"] = 2.0
    return 0.0


@domino(version=1)
def lies(x: float) -> int:
    return x + 0.5


DOMINOES = {
    d.name: d
    for d in (curve, ladder, value, first_two, sign, fails, spoils_curve, spoils_dict, lies)
}
RATES = {
    "tasks": [
        {"name": "book", "domino": "value", "reads": {"ladder": "ladder/USD"}},
        {"name": "ladder/USD", "domino": "ladder", "reads": {"curve": "curve/USD"}},
        {"name": "curve/USD", "domino": "curve"},
    ]
}
STORE: dict[bytes, bytes] = {}


def market_of(quotes=None, static=None, before=None, number=1):
    quotes = {f"USD-{i:02d}": 1.0 + i for i in range(20)} | (quotes or {})
    static = {"notional": 1e6, "table": {"a": 1.0}} | (static or {})
    roots = {}
    for section, leaves in (("quotes", quotes), ("static", static)):
        tree = build(list(leaves), [encode(v) for v in leaves.values()], CANONICAL)
        STORE.update(tree.pieces)
        roots[section] = tree.root
    snapshot = thaw(freeze(roots, {"number": number}, {}, {}).manifest)
    return Market(snapshot, STORE.__getitem__, before)


def rates(*tasks):
    return read_chain("rates", {"tasks": list(tasks)} if tasks else RATES, DOMINOES)


def actions(steps):
    return {step.task: step.action for step in steps}


def records_of(kind: bytes, before=None) -> Market:
    tree = build(["A", "B"], [b"1", b"2"], kind)
    STORE.update(tree.pieces)
    snapshot = thaw(freeze({"state/fast": tree.root}, {"number": 1}, {}, {}).manifest)
    return Market(snapshot, STORE.__getitem__, before)


class TestMarket:
    @pytest.mark.parametrize("path", ["state/fast/A", "state/fast/*", "state/*"])
    def test_the_same_bytes_of_another_kind_are_another_input(self, path):
        before = records_of(b"k" * 32)
        was = before.digest(path)

        handed_on, fresh = records_of(b"l" * 32, before), records_of(b"l" * 32)

        assert handed_on.digest(path) == fresh.digest(path) != was

    PATHS = ("quotes/USD-03", "quotes/USD-04", "quotes/USD-1*", "quotes/*", "static/notional")

    @pytest.mark.parametrize("read", [PATHS[:2], PATHS[:1] + PATHS[4:], PATHS[2:], PATHS])
    @pytest.mark.parametrize(
        "change",
        [{}, {"USD-03": 9.0}, {"USD-12": 9.0, "USD-04": 2.0}, {"NEW": 1.0},
         {f"X{i}": 1.0 for i in range(1500)}],
        ids=["nothing", "one", "two", "another", "more than are looked at"],
    )  # fmt: skip
    def test_what_is_taken_over_from_the_market_before_is_what_one_finds_anew(self, read, change):
        before = market_of()
        for pattern in read:
            before.digest(pattern)

        after, anew = market_of(change, before=before), market_of(change)

        for pattern in self.PATHS:
            assert after.digest(pattern) == anew.digest(pattern), pattern

    def test_of_leaves_that_did_not_change_nothing_is_read_again(self):
        before = market_of()
        digests = [before.digest(path) for path in self.PATHS[:2]]

        after = market_of({"USD-07": 9.0}, before=before)
        after._body = None  # nothing is there to read with

        assert [after.digest(path) for path in self.PATHS[:2]] == digests


class TestDeclaration:
    def test_tasks_come_after_what_they_read(self):
        assert rates().names == ["curve/USD", "ladder/USD", "book"]
        assert rates().downstream(["curve/USD"]) == ["ladder/USD", "book"]

    def test_the_order_of_declaration_changes_nothing(self):
        turned = read_chain("rates", {"tasks": RATES["tasks"][::-1]}, DOMINOES)

        assert turned.digest == rates().digest

    def test_needs_binds_tasks_to_open_inputs(self):
        chain = rates(
            {"name": "c/X", "domino": "curve"}, {"name": "l", "domino": "ladder", "needs": ["c/X"]}
        )

        assert chain.task("l").upstream == ["c/X"]

    def test_words_are_put_into_patterns(self):
        task = {"name": "c/X", "domino": "curve", "reads": {"quotes": "quotes/<ccy>-*"}}

        chain = rates({**task, "words": {"ccy": "EUR"}})

        assert chain.tasks[0].reads[0].target == "quotes/EUR-*"

    @pytest.mark.parametrize(
        ("tasks", "message"),
        [
            (
                [{"name": "a", "domino": "curv"}],
                r"task 'a': there is no domino 'curv'; nearest: curve",
            ),
            ([{"name": "a", "domino": "curve", "read": {}}], r"unknown key 'read'; nearest: reads"),
            (
                [{"name": "a", "domino": "sign", "reads": {"y": "quotes/A"}}],
                r"no input 'y'; known: x",
            ),
            ([{"name": "a", "domino": "sign"}], r"input 'x' must name a task or a path"),
            (
                [{"name": "a", "domino": "sign", "reads": {"x": "b"}}],
                r"'b' is neither a task nor a path",
            ),
            (
                [{"name": "a", "domino": "sign", "reads": {"x": "quotes/*"}}],
                r"takes one leaf, 'quotes/\*' may mean many",
            ),
            (
                [{"name": "a", "domino": "curve", "params": {"shfit": 1.0}}],
                r"no parameter 'shfit'; nearest: shift",
            ),
            (
                [{"name": "a", "domino": "curve", "params": {"shift": "x"}}],
                r"parameter 'shift' of domino 'curve' must be float, was 'x'",
            ),
            (
                [{"name": "a", "domino": "curve"}, {"name": "a", "domino": "curve"}],
                r"a name of its own, 'a'",
            ),
            (
                [
                    {"name": "a", "domino": "sign", "reads": {"x": "b"}},
                    {"name": "b", "domino": "sign", "reads": {"x": "a"}},
                ],
                r"must not wait for each other: (a <- b <- a|b <- a <- b)",
            ),
            (
                [
                    {"name": "c", "domino": "curve"},
                    {"name": "s", "domino": "sign", "reads": {"x": "c"}},
                ],
                r"input 'x' must be float, 'c' returns Curve",
            ),
            (
                [{"name": "s", "domino": "sign", "reads": {"x": "s/<w>"}}],
                r"<w> in 's/<w>' must be declared",
            ),
        ],
    )
    def test_what_is_no_chain_is_refused_with_place_and_remedy(self, tasks, message):
        with pytest.raises(ValueError, match=message):
            rates(*tasks)

    def test_a_signature_that_cannot_be_read_is_refused(self):
        def no_return(x: float):
            return x

        def stars(*x: float) -> float:
            return 0.0

        def default(x: float = 1.0) -> float:
            return x

        for function, message in (
            (no_return, "must say what it returns"),
            (stars, r"must be named, \*x is not"),
            (default, "must not have a default"),
        ):
            with pytest.raises(DominoError, match=message):
                domino(version=1)(function)
        with pytest.raises(DominoError, match="tolerance must be above 0"):
            domino(version=1, tolerance=0.0)
        with pytest.raises(DominoError, match="version of a domino must be"):
            domino(version=0)


class TestMemo:
    def test_what_was_computed_is_found(self):
        memo, market = Memo(), market_of()

        first, second = run(rates(), market, memo), run(rates(), market, memo)

        assert set(actions(first).values()) == {"run"}
        assert set(actions(second).values()) == {"reuse"}
        assert [s.row for s in first] == [s.row for s in second]

    def test_another_node_finds_it_whatever_the_order_of_its_quotes(self):
        memo = Memo()
        run(rates(), market_of(), memo)
        backwards = market_of({f"USD-{i:02d}": 1.0 + i for i in reversed(range(20))})

        assert set(actions(run(rates(), backwards, memo)).values()) == {"reuse"}

    def test_what_is_computed_is_told_beforehand_and_what_is_found_is_not(self):
        memo, told = Memo(), []
        before = market_of()
        run(rates(), before, memo, tell=told.append)

        run(rates(), market_of(static={"notional": 2e6}, before=before), memo, tell=told.append)

        assert told == ["curve/USD", "ladder/USD", "book", "book"]

    def test_only_what_a_change_reaches_is_run(self):
        memo = Memo()
        before = market_of()
        run(rates(), before, memo)

        steps = run(rates(), market_of(static={"notional": 2e6}, before=before), memo)

        assert actions(steps) == {"curve/USD": "reuse", "ladder/USD": "reuse", "book": "run"}

    def test_an_equal_answer_stops_the_wave(self):
        tasks = [
            {"name": "s", "domino": "sign", "reads": {"x": "static/notional"}},
            {"name": "t", "domino": "sign", "reads": {"x": "s"}},
        ]
        memo = Memo()
        run(rates(*tasks), market_of(), memo)

        steps = run(rates(*tasks), market_of(static={"notional": 5.0}), memo)

        assert actions(steps) == {"s": "run", "t": "reuse"}

    def test_a_parameter_a_version_and_a_place_are_in_the_key(self):
        keys = set()
        for task in (
            {"name": "c/1", "domino": "curve"},
            {"name": "c/1", "domino": "curve", "params": {"shift": 1e-9}},
            {"name": "c/1", "domino": "curve", "reads": {"quotes": "quotes/USD-0*"}},
        ):
            keys.add(run(rates(task), market_of(), Memo())[0].key)
        other = {**DOMINOES, "curve": domino(version=2, name="curve")(curve.function)}
        chain = read_chain("rates", {"tasks": [{"name": "c/1", "domino": "curve"}]}, other)
        keys.add(run(chain, market_of(), Memo())[0].key)

        assert len(keys) == 4

    def test_a_given_default_and_a_silent_one_have_one_key(self):
        said = rates({"name": "c/1", "domino": "curve", "params": {"shift": 0}})
        silent = rates({"name": "c/1", "domino": "curve"})

        assert said.tasks[0].fixed == silent.tasks[0].fixed

    def test_what_was_not_read_may_change(self):
        task = {"name": "f/1", "domino": "first_two"}
        memo, before = Memo(), market_of()
        run(rates(task), before, memo)

        elsewhere = run(rates(task), market_of({"USD-07": 9.0}, before=before), memo)[0]
        there = run(rates(task), market_of({"USD-01": 9.0}, before=before), memo)[0]

        assert (elsewhere.action, elsewhere.why) == ("reuse", "what it read did not change")
        assert there.action == "run"

    def test_two_answers_for_one_key_are_a_divergence(self):
        memo = Memo()
        memo.keep(b"k", Row(b"a" * 32), b"")

        with pytest.raises(DominoError, match="DIVERGED: one memo key must have one answer"):
            memo.keep(b"k", Row(b"b" * 32), b"")

    def test_carried_over_digests_equal_those_worked_out_afresh(self):
        chain = [market_of()]
        changes = [{"USD-03": 7.0}, {"USD-03": 7.0, "USD-99": 1.0}, {}, {"EUR-01": 3.0}]
        for quotes in changes:
            before = chain[-1]
            for pattern in ("quotes/USD-*", "quotes/*", "static/notional", "quotes/USD-03"):
                before.digest(pattern)
            chain.append(market_of(quotes, before=before))

        for quotes, carried in zip(changes, chain[1:], strict=True):
            fresh = market_of(quotes)
            for pattern in ("quotes/USD-*", "quotes/*", "static/notional", "quotes/USD-03"):
                assert carried.digest(pattern) == fresh.digest(pattern)
                assert carried.paths(pattern) == fresh.paths(pattern)


class TestTolerance:
    TASKS = (
        {"name": "c/1", "domino": "curve", "tolerance": 1e-6},
        {"name": "l", "domino": "ladder", "reads": {"curve": "c/1"}},
    )

    def test_noise_does_not_reprice_and_is_marked(self):
        memo = Memo()
        run(rates(*self.TASKS), market_of(), memo)

        steps = run(rates(*self.TASKS), market_of({"USD-00": 1.0 + 1e-9}), memo)

        assert actions(steps) == {"c/1": "run", "l": "reuse"}
        assert steps[1].why == "inputs equal within tolerance"

    def test_an_audit_does_not_tolerate(self):
        memo = Memo()
        run(rates(*self.TASKS), market_of(), memo)

        steps = run(rates(*self.TASKS), market_of({"USD-00": 1.0 + 1e-9}), memo, audit=True)

        assert actions(steps) == {"c/1": "run", "l": "run"}

    def test_more_than_noise_runs(self):
        memo = Memo()
        run(rates(*self.TASKS), market_of(), memo)

        steps = run(rates(*self.TASKS), market_of({"USD-00": 1.001}), memo)

        assert actions(steps) == {"c/1": "run", "l": "run"}

    def test_rounding_goes_into_every_kind_of_value(self):
        nested = {"a": [1.0, (2.0, np.array([3.0]))], "b": "x", "c": float("inf")}
        noisy = {
            "a": [1.0 + 1e-9, (2.0 - 1e-9, np.array([3.0 + 1e-9]))],
            "b": "x",
            "c": float("inf"),
        }

        assert coarse_digest(nested, 1e-6) == coarse_digest(noisy, 1e-6)
        assert coarse_digest(nested, 1e-6) != coarse_digest(nested, 1e-5)
        assert coarse_digest(nested, 1e-6) != coarse_digest({**nested, "b": "y"}, 1e-6)


class TestFailure:
    def test_a_failure_stops_its_own_downstream_alone(self):
        tasks = (
            {"name": "bad", "domino": "fails", "reads": {"x": "static/notional"}},
            {"name": "after", "domino": "sign", "reads": {"x": "bad"}},
            {"name": "c/1", "domino": "curve"},
        )
        memo = Memo()

        steps = {s.task: s for s in run(rates(*tasks), market_of(), memo)}

        assert actions(steps.values()) == {"bad": "fail", "after": "skip", "c/1": "run"}
        assert steps["bad"].why == "ValueError: no curve from 1000000.0"
        assert len(memo.rows) == 1, "an error has no memo key"

    def test_what_went_wrong_outside_is_the_callers_and_no_failure_of_a_task(self):
        chain = rates({"name": "bad", "domino": "fails", "reads": {"x": "static/notional"}})

        with pytest.raises(ValueError, match="no curve"):
            run(chain, market_of(), Memo(), outside=(OSError, ValueError))

        assert actions(run(chain, market_of(), Memo(), outside=(OSError,))) == {"bad": "fail"}

    @pytest.mark.parametrize(
        ("task", "message"),
        [
            ({"domino": "spoils_dict"}, "must not change its input: copy the dict"),
            ({"domino": "spoils_curve", "reads": {"curve": "c/1"}}, "must not change its input"),
            (
                {"domino": "lies", "reads": {"x": "static/notional"}},
                "must return .*int.*, returned float",
            ),
            ({"domino": "sign", "reads": {"x": "static/table"}}, "input 'x' must be .*float"),
            ({"domino": "sign", "reads": {"x": "static/notionl"}}, "nearest: static/notional"),
            ({"domino": "curve", "reads": {"quotes": "quotes/USDD-*"}}, "nearest: quotes/USD-"),
            ({"domino": "curve", "reads": {"quotes": "qotes/USD-*"}}, "nearest: quotes/"),
        ],
    )
    def test_a_domino_that_breaks_its_word_is_told(self, task, message):
        tasks = ({"name": "c/1", "domino": "curve"}, {"name": "t", **task})

        step = {s.task: s for s in run(rates(*tasks), market_of(), Memo())}["t"]

        assert step.action == "fail"
        assert re.search(message, step.why)

    def test_a_corrupt_body_is_never_used_but_computed_again(self):
        memo, market = Memo(), market_of()
        before = run(rates(), market, memo)
        last = before[-1]
        del memo.rows[last.key]
        whole = dict(memo.bodies)
        for name in memo.bodies:
            memo.bodies[name] = memo.bodies[name][:-1]

        steps = run(rates(), market, memo)

        assert steps[-1].action == "run"
        assert steps[-1].row == last.row
        assert memo.bodies[before[-2].row.output] == whole[before[-2].row.output]

    def test_lost_bytes_that_cannot_be_made_again_are_a_divergence(self):
        memo, market = Memo(), market_of()
        before = run(rates(), market, memo)
        del memo.rows[before[-1].key]
        forged = Row(b"f" * 32)
        memo.rows[before[-2].key] = forged

        steps = run(rates(), market, memo)

        assert steps[-1].action == "fail"
        assert "DIVERGED" in steps[-1].why


class TestPlan:
    def test_a_dry_run_says_what_would_be_computed_and_why(self):
        memo, before = Memo(), market_of()
        last = Last({s.task: s for s in run(rates(), before, memo)})
        after = market_of({"USD-05": 1.5}, before=before)

        steps = plan(rates(), after, memo.find, last=last)

        assert [(s.task, s.action, s.why) for s in steps] == [
            ("curve/USD", "run", "changed: quotes"),
            ("ladder/USD", "wait", "waits for curve/USD"),
            ("book", "wait", "waits for ladder/USD"),
        ]
        assert len(memo.rows) == 3, "nothing was computed"

    def test_a_plan_agrees_with_the_run(self):
        memo, market = Memo(), market_of()
        run(rates(), market, memo)

        assert actions(plan(rates(), market, memo.find)) == actions(run(rates(), market, memo))


class TestExplain:
    def test_why_goes_down_to_leaves_rows_and_the_cut(self):
        memo, market = Memo(), market_of()
        steps = {s.task: s for s in run(rates(), market, memo)}

        tree = why("book", rates(), steps, market, lambda path: [{"topic": "quotes", "offset": 5}])

        assert tree["digest"] == steps["book"].row.output.hex()
        curve_part = tree["inputs"][0]["inputs"][0]
        assert curve_part["result"] == "curve/USD" and curve_part["code"] == curve.code.hex()
        leaves = curve_part["inputs"][0]
        assert len(leaves["leaves"]) == 20 and leaves["cut"] == {"number": 1}
        assert leaves["leaves"][0]["rows"] == [{"topic": "quotes", "offset": 5}]
        lines = why_lines(tree)
        assert lines[0].startswith("book ") and any("topic=quotes offset=5" in x for x in lines)

    def test_a_diff_names_the_leaves_and_the_tasks_they_reach(self):
        before = market_of()
        after = market_of({"USD-05": 1.5, "EUR-01": 2.0})

        leaves = changed_leaves(before.snapshot, after.snapshot, STORE.__getitem__)
        paths = sorted(path for path, _ in leaves)

        assert paths == ["quotes/EUR-01", "quotes/USD-05"]
        assert [a.task for a in affected(rates(), paths)] == ["curve/USD", "ladder/USD", "book"]
        assert affected(rates(), ["quotes/EUR-01"]) == []

    def test_recorded_reads_spare_tasks_that_patterns_would_wake(self):
        task = {"name": "f/1", "domino": "first_two"}
        step = run(rates(task), market_of(), Memo())[0]
        read_sets = {"f/1": step.read_set}

        assert affected(rates(task), ["quotes/USD-07"], read_sets) == []
        assert affected(rates(task), ["quotes/USD-01"], read_sets)[0].because == ("quotes/USD-01",)
        assert len(affected(rates(task), ["quotes/USD-07"])) == 1


def test_a_run_in_pieces_by_a_shell_equals_the_run_in_one():
    memo, market = Memo(), market_of()
    expected = {s.task: s.row for s in run(rates(), market, Memo())}
    rows = {}
    for task in rates().tasks:
        exact, _ = running.input_digests(task, market, rows, False)
        outputs = {name: row.output for name, row in rows.items()}
        done = compute(task, running.arguments_of(task, rates(), market, outputs, memo))
        memo.keep(running.key_of(task, exact), done.row, done.body)
        rows[task.name] = done.row

    assert rows == expected
