"""A chain of dominoes: plain data, checked and put in order.

    [dominoes.rates]
    tasks = [
        {name = "curve/USD-SOFR", domino = "sofr_curve", reads = {quotes = "quotes/USD-SOFR-*"}},
        {name = "ladder/USD-SOFR", domino = "ladder", reads = {curve = "curve/USD-SOFR"},
         params = {bump = 1e-4}},
    ]

A read names another task, or a path in the snapshot. `needs = [names]` binds tasks to the inputs
that `reads` leaves open, in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from orrery_kernels.domino.domino import Domino, check_parameters, fits_input, near
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import encode
from orrery_kernels.snapshot.digest import digest
from orrery_kernels.snapshot.patterns import fill_in, is_plain

_TASK_KEYS = {"name", "domino", "reads", "needs", "params", "words", "tolerance", "run_in"}
_KEY_VERSION = "orrery memo key 1"


class Read(NamedTuple):
    """One input of a task: the task or the path it comes from."""

    input: str
    target: str
    from_task: bool
    many: bool


@dataclass(frozen=True)
class Task:
    """One domino in its place, with all that does not depend on the snapshot."""

    name: str
    domino: Domino
    reads: tuple[Read, ...]
    parameters: Mapping[str, Any]
    tolerance: float | None
    fixed: bytes  # digest of code, version, parameters and places read: the fixed part of a key

    @property
    def upstream(self) -> list[str]:
        return [read.target for read in self.reads if read.from_task]


@dataclass(frozen=True)
class Chain:
    """Tasks in an order in which each comes after what it reads."""

    name: str
    tasks: tuple[Task, ...]
    digest: bytes

    def task(self, name: str) -> Task:
        for task in self.tasks:
            if task.name == name:
                return task
        raise DominoError(f"chain {self.name!r} has no task {name!r}{near(name, self.names)}")

    @property
    def names(self) -> list[str]:
        return [task.name for task in self.tasks]

    def downstream(self, names: Sequence[str]) -> list[str]:
        """Return the tasks that read, at any distance, one of `names`, in order."""
        reached = dict.fromkeys(names)
        for task in self.tasks:
            if any(name in reached for name in task.upstream):
                reached[task.name] = None
        return [task.name for task in self.tasks if task.name in reached and task.name not in names]


def read_chain(name: str, declared: Mapping[str, Any], dominoes: Mapping[str, Domino]) -> Chain:
    """Check a declaration and return the chain. Raises DominoError that names place and remedy."""
    tasks = declared.get("tasks", ())
    names = [task.get("name", "") for task in tasks]
    doubled = next((n for n in names if names.count(n) > 1 or not n), None)
    if doubled is not None:
        raise DominoError(
            f"chain {name!r}: a task must have a name of its own, {doubled!r} is not one"
        )
    made = [_read_task(name, task, names, dominoes) for task in tasks]
    ordered = _in_order(name, {task.name: task for task in made})
    outputs = {task.name: task.domino.output for task in ordered}
    for task in ordered:
        _check_types(name, task, outputs)
    body = encode([name, [[t.name, t.fixed] for t in sorted(ordered, key=lambda t: t.name)]])
    return Chain(name, tuple(ordered), digest(body))


def _read_task(chain: str, task: Mapping, names: list[str], dominoes: Mapping) -> Task:
    where = f"chain {chain!r}, task {task['name']!r}"
    for key in task:
        if key not in _TASK_KEYS:
            raise DominoError(f"{where}: unknown key {key!r}{near(key, _TASK_KEYS)}")
    called = task.get("domino", "")
    if called not in dominoes:
        raise DominoError(f"{where}: there is no domino {called!r}{near(called, dominoes)}")
    domino = dominoes[called]
    reads = _bind(where, domino, task, names)
    parameters = check_parameters(called, domino.parameters, task.get("params", {}), where)
    tolerance = task.get("tolerance", domino.tolerance)
    places = [_place(read, i.schema) for read, i in zip(reads, domino.inputs, strict=True)]
    body = [_KEY_VERSION, domino.code, domino.name, domino.version, parameters, places]
    return Task(task["name"], domino, reads, parameters, tolerance, digest(encode(body)))


def _place(read: Read, schema: Any) -> list:
    place = [read.input, None if read.from_task else read.target, read.many]
    return place if schema is None else [*place, [[f.name, str(f.type)] for f in schema]]


def _bind(where: str, domino: Domino, task: Mapping, names: list[str]) -> tuple[Read, ...]:
    given, waiting = dict(task.get("reads", {})), list(task.get("needs", ()))
    known = {i.name for i in domino.inputs}
    for name in given:
        if name not in known:
            raise DominoError(
                f"{where}: domino {domino.name!r} has no input {name!r}{near(name, known)}"
            )
    reads = []
    for i in domino.inputs:
        target = given.get(i.name) or i.path
        if i.name not in given and not i.many and waiting:
            target = waiting.pop(0)
        if target is None:
            raise DominoError(
                f"{where}: input {i.name!r} must name a task or a path, e.g. "
                f"reads = {{{i.name} = {names[0]!r}}}"
            )
        reads.append(_read(where, i.name, i.many, fill_in(target, task.get("words", {})), names))
    if waiting:
        raise DominoError(f"{where}: nothing in domino {domino.name!r} is open for needs {waiting}")
    return tuple(reads)


def _read(where: str, name: str, many: bool, target: str, names: list[str]) -> Read:
    if target in names:
        return Read(name, target, True, many)
    if "/" not in target:
        raise DominoError(f"{where}: {target!r} is neither a task nor a path{near(target, names)}")
    if not many and not is_plain(target):
        raise DominoError(
            f"{where}: input {name!r} takes one leaf, {target!r} may mean many: annotate "
            f"it as Leaves or Rows"
        )
    return Read(name, target, False, many)


def _check_types(chain: str, task: Task, outputs: Mapping[str, Any]) -> None:
    for read, wanted in zip(task.reads, task.domino.inputs, strict=True):
        if not read.from_task:
            continue
        found = outputs[read.target]
        if read.many or not fits_input(found, wanted.type):
            raise DominoError(
                f"chain {chain!r}, task {task.name!r}: input {read.input!r} must be "
                f"{_type_name(wanted.type)}, {read.target!r} returns {_type_name(found)}"
            )


def _in_order(chain: str, tasks: dict[str, Task]) -> list[Task]:
    try:
        order = TopologicalSorter({name: task.upstream for name, task in tasks.items()})
        return [tasks[name] for name in order.static_order()]
    except CycleError as error:
        circle = " <- ".join(error.args[1])
        raise DominoError(
            f"chain {chain!r}: tasks must not wait for each other: {circle}"
        ) from None


def _type_name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
