"""Run a chain over a snapshot: find what is known, compute what is not, stop where nothing changed.

Everything here is a function of its arguments; who looks up, who keeps and who runs in parallel is
the caller's affair. `plan` says beforehand what `run` would do, and why.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from orrery_kernels.domino.chain import Chain, Task
from orrery_kernels.domino.domino import fits_input
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
    read_set_of,
)
from orrery_kernels.domino.views import freeze
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import decode, encode
from orrery_kernels.snapshot.digest import digest

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


class Computed(NamedTuple):
    """What one run of a domino gave."""

    row: Row
    body: bytes
    read_set: ReadSet | None


def plan(
    chain: Chain,
    market: Market,
    find: Lookup,
    audit: bool = False,
    last: Mapping[str, Step] | None = None,
) -> list[Step]:
    """Say for every task whether its answer is known, and if not, why it must run.

    last: the steps of the run before, to name what changed since. A task that waits for one that
    must run may still be cut off, when that one's answer is what it was.
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
    last: Mapping[str, Step] | None = None,
    tell: Callable[[str], object] | None = None,
) -> list[Step]:
    """Run or reuse every task, one after another. A failure stops its own downstream only.

    tell: is called with the name of each task before it is looked at.
    """
    steps: dict[str, Step] = {}
    for task in chain.tasks:
        if tell:
            tell(task.name)
        broken = [name for name in task.upstream if steps[name].row is None]
        if broken:
            steps[task.name] = Step(task.name, "skip", f"{', '.join(broken)} has no answer")
            continue
        try:
            step = _look_up(task, chain, market, memo.find, steps, audit, last)
            if step.row is None:
                step = _narrow_or_run(step, task, chain, market, memo, steps)
            steps[task.name] = _with_near(step, task, market, memo, steps, audit)
        except Exception as error:  # whatever a domino raises is its own: it must not stop others
            why = f"{type(error).__name__}: {error}"
            steps[task.name] = Step(task.name, "fail", why)
    return list(steps.values())


def compute(task: Task, arguments: Sequence[Any]) -> Computed:
    """Run one domino. Raises what it raises, and DominoError when it breaks its word."""
    before = [_own_bytes(argument) for argument in arguments]
    value = task.domino.function(*arguments, **task.parameters)
    for read, argument, was in zip(task.reads, arguments, before, strict=True):
        if was is not None and was != _own_bytes(argument):
            raise DominoError(
                f"task {task.name!r} must not change its input {read.input!r}, it did"
            )
    if not fits_input(type(value), task.domino.output):
        raise DominoError(
            f"task {task.name!r} must return {task.domino.output}, returned {type(value).__name__}"
        )
    body = encode(value)
    coarse = coarse_digest(value, task.tolerance) if task.tolerance else None
    return Computed(Row(digest(body), coarse), body, read_set_of(arguments))


def arguments_of(
    task: Task, chain: Chain, market: Market, outputs: Mapping[str, bytes], memo: Store
) -> list[Any]:
    """Return the values of a task's inputs, none of which can be changed.

    outputs: task -> digest of its answer.
    """
    found = []
    for read, declared in zip(task.reads, task.domino.inputs, strict=True):
        if read.from_task:
            classes = chain.task(read.target).domino.classes
            body = _checked(memo.body(outputs[read.target]), outputs[read.target], read.target)
            found.append(freeze(decode(body, classes)))
        elif read.many:
            found.append(market.leaves(read.target, task.domino.classes))
        else:
            value = freeze(market.value(read.target, task.domino.classes))
            if not fits_input(type(value), declared.type):
                raise DominoError(
                    f"task {task.name!r}: input {read.input!r} must be {declared.type}, "
                    f"{read.target!r} is {type(value).__name__}"
                )
            found.append(value)
    return found


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
    last: Mapping[str, Step] | None,
) -> Step:
    rows = {name: steps[name].row for name in task.upstream}
    exact, near = input_digests(task, market, rows, audit)
    key = key_of(task, exact)
    if row := find(key):
        return Step(task.name, "reuse", "computed before from the same inputs", key, exact, row)
    if near != exact and (row := find(key_of(task, near))):
        return Step(task.name, "reuse", "inputs equal within tolerance", key, exact, row)
    return Step(task.name, "run", _why_run(task, exact, (last or {}).get(task.name)), key, exact)


def _with_near(
    step: Step,
    task: Task,
    market: Market,
    memo: Store,
    steps: Mapping[str, Step],
    audit: bool,
) -> Step:
    """Add the rounded answer where one is declared, and remember it for inputs like these."""
    row = step.row
    if task.tolerance and row.coarse is None:
        value = decode(_checked(memo.body(row.output), row.output, task.name), task.domino.classes)
        row = row._replace(coarse=coarse_digest(value, task.tolerance))
    rows = {name: steps[name].row for name in task.upstream}
    exact, near = input_digests(task, market, rows, audit)
    if near != exact:
        memo.keep_near(key_of(task, near), row)
    return step._replace(row=row)


def _narrow_or_run(
    step: Step, task: Task, chain: Chain, market: Market, memo: Store, steps: Mapping[str, Step]
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
    outputs = {name: done.row.output for name, done in steps.items() if done.row}
    done = compute(task, _arguments(task, chain, market, outputs, memo))
    memo.keep(step.key, done.row, done.body)
    if done.read_set is not None:
        memo.keep_read_set(task.fixed, done.read_set)
        narrow = narrow_key(task, done.read_set, step.inputs, market)
        memo.keep(narrow, done.row, done.body)
    return step._replace(row=done.row, read_set=done.read_set)


def _arguments(
    task: Task, chain: Chain, market: Market, outputs: Mapping[str, bytes], memo: Store
) -> list[Any]:
    """Return the values of a task's inputs; bytes that were lost are computed again."""
    while True:
        try:
            return arguments_of(task, chain, market, outputs, memo)
        except LostBody as lost:
            source = chain.task(next(n for n in task.upstream if outputs[n] == lost.output))
            again = compute(source, _arguments(source, chain, market, outputs, memo))
            if again.row.output != lost.output:
                raise DominoError(
                    f"DIVERGED: the bytes of {source.name!r}, {lost.output.hex()[:12]}, are lost, "
                    f"and now it gives {again.row.output.hex()[:12]}: it read what is no input"
                ) from lost
            memo.repair(lost.output, again.body)


def _why_run(task: Task, exact: tuple[bytes, ...], last: Step | None) -> str:
    if last is None or not last.inputs:
        return "never computed for these inputs"
    changed = [
        read.input
        for read, was, now in zip(task.reads, last.inputs, exact, strict=False)
        if was != now
    ]
    return f"changed: {', '.join(changed)}" if changed else "its code or parameters changed"


def _checked(body: bytes, name: bytes, task: str) -> bytes:
    if digest(body) != name:
        raise LostBody(name, f"of {task!r} are corrupt: their digest is another")
    return body


def _own_bytes(argument: Any) -> bytes | None:
    """Return the bytes of an object that could change itself; None for what cannot be changed."""
    return (
        argument.to_bytes()
        if hasattr(type(argument), "from_bytes") and not isinstance(argument, int | float)
        else None
    )
