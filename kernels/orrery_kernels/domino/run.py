"""Run a chain over a snapshot: find what is known, compute what is not, stop where nothing changed.

Everything here is a function of its arguments; who looks up, who keeps and who runs in parallel is
the caller's affair. `plan` says beforehand what `run` would do, and why.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from orrery_kernels.domino import by_row
from orrery_kernels.domino.chain import Chain, Task
from orrery_kernels.domino.compute import Computed, answer, arguments_of, checked, compute, sealed
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import (
    Lookup,
    LostBody,
    ReadSet,
    Row,
    Store,
    coarse_digest,
    key_of,
    narrow_key,
)
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import decode
from orrery_kernels.snapshot.snapshot import Snapshot

NEAR = "inputs equal within tolerance"
Action = Literal["reuse", "run", "wait", "fail", "skip"]


class Step(NamedTuple):
    """What a task did or would do. inputs: digest of each input; row: its answer, if known."""

    task: str
    action: Action
    why: str
    key: bytes | None = None
    inputs: tuple[bytes, ...] = ()
    row: Row | None = None
    read_set: ReadSet | None = None


class Last(NamedTuple):
    """The steps of the run before, and the snapshot that it was on."""

    steps: Mapping[str, Step]
    snapshot: Snapshot | None = None


def plan(
    chain: Chain,
    market: Market,
    find: Lookup,
    audit: bool = False,
    last: Last | None = None,
) -> list[Step]:
    """Say for every task whether its answer is known, and if not, why it must run.

    last: the run before, to name what changed since. A task that waits for one that must run may
    still be cut off, when that one's answer is what it was.
    """
    steps: dict[str, Step] = {}
    for task in chain.tasks:
        waits = [name for name in task.upstream if steps[name].row is None]
        if waits:
            failed = any(steps[name].action in ("fail", "skip") for name in waits)
            why = f"waits for {', '.join(waits)}"
            steps[task.name] = Step(task.name, "skip" if failed else "wait", why)
            continue
        try:
            steps[task.name] = _look_up(task, chain, market, find, steps, audit, last)
        except DominoError as error:
            steps[task.name] = Step(task.name, "fail", str(error))
    return list(steps.values())


def run(
    chain: Chain,
    market: Market,
    memo: Store,
    audit: bool = False,
    last: Last | None = None,
    tell: Callable[[str], object] | None = None,
    outside: tuple[type[Exception], ...] = (),
) -> list[Step]:
    """Run or reuse every task, one after another. A failure stops its own downstream only.

    last: the run before: of a domino that maps over rows only those that changed since are
    computed, unless it is an audit. tell: is called with the name of each task that is not found,
    before it is computed.
    """
    steps: dict[str, Step] = {}
    for task in chain.tasks:
        broken = [name for name in task.upstream if steps[name].row is None]
        if broken:
            steps[task.name] = Step(task.name, "skip", f"{', '.join(broken)} has no answer")
            continue
        try:
            step = _look_up(task, chain, market, memo.find, steps, audit, last)
            if step.row is None:
                if tell:
                    tell(task.name)
                before = None if audit else last
                step = _narrow_or_run(step, task, chain, market, memo, steps, before)
            steps[task.name] = _with_near(step, task, chain, market, memo, steps, audit)
        except outside:  # no fault of the task: the caller tries again
            raise
        except Exception as error:  # whatever a domino raises is its own: it must not stop others
            why = f"{type(error).__name__}: {error}"
            steps[task.name] = Step(task.name, "fail", why)
    return list(steps.values())


def input_digests(
    task: Task, market: Market, rows: Mapping[str, Row], audit: bool
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the digests of what a task reads: exactly, and within the declared tolerances."""
    exact, near = [], []
    for read in task.reads:
        if read.from_task:
            row = rows[read.target]
            exact.append(row.output)
            near.append(row.coarse if row.coarse and not audit else row.output)
        else:
            exact.append(market.digest(read.target))
            near.append(exact[-1])
    return tuple(exact), tuple(near)


def _look_up(
    task: Task,
    chain: Chain,
    market: Market,
    find: Lookup,
    steps: Mapping[str, Step],
    audit: bool,
    last: Last | None,
) -> Step:
    rows = {name: steps[name].row for name in task.upstream}
    exact, near = input_digests(task, market, rows, audit)
    key = key_of(task, exact)
    if row := find(key):
        return Step(task.name, "reuse", "computed before from the same inputs", key, exact, row)
    if near != exact and (row := find(key_of(task, near))):
        return Step(task.name, "reuse", NEAR, key, exact, row)
    before = last.steps.get(task.name) if last else None
    return Step(task.name, "run", _why_run(task, exact, before), key, exact)


def _with_near(
    step: Step,
    task: Task,
    chain: Chain,
    market: Market,
    memo: Store,
    steps: Mapping[str, Step],
    audit: bool,
) -> Step:
    """Add the rounded answer where one is declared, and remember it for inputs like these."""
    row = step.row
    if task.tolerance and row.coarse is None:
        try:
            body = checked(memo.body(row.output), row.output, task.name)
        except LostBody as lost:
            body = _again(task, chain, market, _outputs(steps), memo, lost)
        value = decode(body, task.domino.classes)
        row = row._replace(coarse=coarse_digest(value, task.tolerance))
    rows = {name: steps[name].row for name in task.upstream}
    exact, near = input_digests(task, market, rows, audit)
    if near != exact:
        memo.keep_near(key_of(task, near), row)
    return step._replace(row=row)


def _narrow_or_run(
    step: Step,
    task: Task,
    chain: Chain,
    market: Market,
    memo: Store,
    steps: Mapping[str, Step],
    last: Last | None,
) -> Step:
    for read_set in memo.read_sets(task.fixed):
        key = narrow_key(task, read_set, step.inputs, market)
        row = memo.find(key) if key else None
        if row is not None:
            why = "what it read did not change"
            memo.keep(step.key, row, memo.body(row.output))
            return step._replace(action="reuse", why=why, row=row, read_set=read_set)
    if row := memo.claim(step.key):
        why = "computed meanwhile by somebody else"
        return step._replace(action="reuse", why=why, row=row)
    outputs = _outputs(steps)

    def given(names: Sequence[str] | None = None) -> list[Any]:
        return _arguments(task, chain, market, outputs, memo, names)

    step, done = _brought_up(step, task, market, memo, last, given)
    done = done or compute(task, given())
    memo.keep(step.key, done.row, done.body)
    if done.read_set is not None:
        memo.keep_read_set(task.fixed, done.read_set)
        narrow = narrow_key(task, done.read_set, step.inputs, market)
        memo.keep(narrow, done.row, done.body)
    return step._replace(row=done.row, read_set=done.read_set)


def _brought_up(
    step: Step,
    task: Task,
    market: Market,
    memo: Store,
    last: Last | None,
    given: Callable[[Sequence[str] | None], list[Any]],
) -> tuple[Step, Computed | None]:
    """Compute the rows that changed since the run before, where that can be known and done."""
    at, was = task.domino.by_row, last.steps.get(task.name) if last and last.snapshot else None
    if at is None or was is None or not _differs_only_in(task, at, was, step.inputs):
        return step, None
    try:
        body = checked(memo.body(was.row.output), was.row.output, task.name)
        known = decode(body, task.domino.classes)
        found = by_row.stale(last.snapshot, market, task.reads[at].target, known)
    except Exception:  # of the run before something is gone: all is computed anew
        return step, None
    made = found and by_row.brought_up(task, known, found, lambda names: answer(task, given(names)))
    if made is None:
        return step, None
    step = step._replace(why=f"{step.why}; {found.text} computed")
    return step, sealed(task, made, ())  # what all rows would have read nobody knows


def _differs_only_in(task: Task, at: int, was: Step, now: Sequence[bytes]) -> bool:
    """Return whether a step gave this task's own answer for inputs of which one was another."""
    own = was.row is not None and was.why != NEAR and was.key == key_of(task, was.inputs)
    pairs = enumerate(zip(was.inputs, now, strict=False))
    return own and all(i == at or before == after for i, (before, after) in pairs)


def _arguments(
    task: Task,
    chain: Chain,
    market: Market,
    outputs: Mapping[str, bytes],
    memo: Store,
    names: Sequence[str] | None = None,
) -> list[Any]:
    """Return the values of a task's inputs; bytes that were lost are computed again."""
    while True:
        try:
            return arguments_of(task, chain, market, outputs, memo, names)
        except LostBody as lost:
            source = chain.task(next(n for n in task.upstream if outputs[n] == lost.output))
            _again(source, chain, market, outputs, memo, lost)


def _outputs(steps: Mapping[str, Step]) -> dict[str, bytes]:
    return {name: done.row.output for name, done in steps.items() if done.row}


def _again(
    task: Task,
    chain: Chain,
    market: Market,
    outputs: Mapping[str, bytes],
    memo: Store,
    lost: LostBody,
) -> bytes:
    """Compute the bytes of an answer again that are lost, and give them to the memo."""
    again = compute(task, _arguments(task, chain, market, outputs, memo))
    if again.row.output != lost.output:
        raise DominoError(
            f"DIVERGED: the bytes of {task.name!r}, {lost.output.hex()[:12]}, are lost, "
            f"and now it gives {again.row.output.hex()[:12]}: it read what is no input"
        ) from lost
    memo.repair(lost.output, again.body)
    return again.body


def _why_run(task: Task, exact: tuple[bytes, ...], last: Step | None) -> str:
    if last is None or not last.inputs:
        return "never computed for these inputs"
    changed = [
        read.input
        for read, was, now in zip(task.reads, last.inputs, exact, strict=False)
        if was != now
    ]
    return f"changed: {', '.join(changed)}" if changed else "its code or parameters changed"
