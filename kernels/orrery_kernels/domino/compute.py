"""Run one domino: its inputs as values, its function, its answer as the memo keeps it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orrery_kernels.domino import by_row
from orrery_kernels.domino.chain import Chain, Task
from orrery_kernels.domino.domino import fits_input
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import LostBody, ReadSet, Row, Store, coarse_digest, read_set_of
from orrery_kernels.domino.views import freeze
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import decode, encode
from orrery_kernels.snapshot.digest import digest


class Computed(NamedTuple):
    """What one run of a domino gave."""

    row: Row
    body: bytes
    read_set: ReadSet | None


def compute(task: Task, arguments: Sequence[Any]) -> Computed:
    """Run one domino. Raises what it raises, and DominoError when it breaks its word."""
    value = answer(task, arguments)
    at = task.domino.by_row
    for row in () if at is None else {0: None, value.num_rows - 1: None}:
        alone = [a.slice(row, 1) if i == at else a for i, a in enumerate(arguments)]
        by_row.check_alone(task, value, answer(task, alone))
    return sealed(task, value, arguments)


def answer(task: Task, arguments: Sequence[Any]) -> Any:
    """Return what a domino makes of its inputs, behind the names of its rows if it has rows."""
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
    at = task.domino.by_row
    return value if at is None else by_row.named(task, arguments[at], value)


def sealed(task: Task, value: Any, arguments: Sequence[Any]) -> Computed:
    """Return an answer as the memo keeps it."""
    body = encode(value)
    coarse = coarse_digest(value, task.tolerance) if task.tolerance else None
    return Computed(Row(digest(body), coarse), body, read_set_of(arguments))


def arguments_of(
    task: Task,
    chain: Chain,
    market: Market,
    outputs: Mapping[str, bytes],
    memo: Store,
    names: Sequence[str] | None = None,
) -> list[Any]:
    """Return the values of a task's inputs, none of which can be changed.

    outputs: task -> digest of its answer. names: of the rows to be given; None: of all.
    """
    found = []
    for read, declared in zip(task.reads, task.domino.inputs, strict=True):
        if read.from_task:
            classes = chain.task(read.target).domino.classes
            body = checked(memo.body(outputs[read.target]), outputs[read.target], read.target)
            found.append(freeze(decode(body, classes)))
        elif declared.schema is not None:
            found.append(by_row.batch_of(market, read.target, declared.schema, names))
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


def checked(body: bytes, name: bytes, task: str) -> bytes:
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
