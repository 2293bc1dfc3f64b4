"""What dominoes found: the chain behind a run record, and answers as values."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import psycopg
from orrery_kernels.domino import catalog
from orrery_kernels.domino.chain import Chain, read_chain
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import LostBody, Memo
from orrery_kernels.domino.run import run as compute
from orrery_kernels.errors import OrreryError
from orrery_kernels.snapshot.canonical import decode

from orrery_services import compiled
from orrery_services.errors import ConfigError, OutsideError, ServiceError
from orrery_services.protocol.declarations import CHAIN_KEYS, check_task_name
from orrery_services.protocol.domino_runs import DominoRun

from . import domino_runs, refs, snapshots
from .answers import read_body

LATEST = "latest"
CHAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def chain_from(name: str, declared: Mapping[str, Any]) -> Chain:
    """Return a declared chain. Raises ConfigError or DominoError naming chain, task and remedy."""
    compiled.keep_loops()
    for key in declared:
        if key not in CHAIN_KEYS:
            raise ConfigError(
                f"a chain of dominoes must have keys of {', '.join(CHAIN_KEYS)}, has {key!r} "
                f"(dominoes.{name})"
            )
    if not re.fullmatch(CHAIN_NAME, name):
        raise ConfigError(f"the name of a chain must match {CHAIN_NAME}, was {name!r} ([dominoes])")
    for task in declared.get("tasks", ()):
        check_task_name(name, task.get("name", ""))
    known = catalog.find_dominoes((*catalog.LAB, *declared.get("modules", ())))
    return read_chain(name, declared, known)


def covered_by(chain: Chain) -> dict[str, Any]:
    """Return the declaration of a chain without what its digest does not cover, as every node
    spells it."""
    homes = {task.domino.function.__module__ for task in chain.tasks}
    tasks = [
        {
            "name": task.name, "domino": task.domino.name, "params": dict(task.parameters),
            "reads": {read.input: read.target for read in task.reads},
        }
        for task in sorted(chain.tasks, key=lambda task: task.name)
    ]  # fmt: skip
    return {"modules": sorted(homes - set(catalog.LAB)), "tasks": tasks}


def chain_of(connection: psycopg.Connection, run: DominoRun) -> Chain:
    """Return the chain of a run as it was declared then, with the code of now."""
    return chain_from(*domino_runs.declared(connection, run.declared))


def find_run(connection: psycopg.Connection, text: str) -> tuple[DominoRun, str]:
    """Return the run behind `task`, `task@latest`, `node/task`, `task@SNAPSHOT` or
    `SNAPSHOT:task`; the task.

    Raises OutsideError that names the results there are.
    """
    where, colon, task = text.partition(":")
    if not colon:
        task, _, where = text.partition("@")
    if where in ("", LATEST) and not colon:
        run, task = _latest(connection, task)
    else:
        id_ = refs.resolve(connection, where)
        run = domino_runs.newest_with(connection, task, id_.hex(), number_of(connection, id_))
    if run is None:
        known = known_tasks(connection)
        nearest_first = dict.fromkeys([*get_close_matches(task, known, 3, 0.5), *known])
        there = ", ".join(list(nearest_first)[:8]) or "none"
        raise OutsideError(
            f"a result must be held as {text!r}, but is not; there are: {there}. Leaves and "
            "snapshots are shown by `orrery show`"
        )
    return run, task


def _latest(connection: psycopg.Connection, name: str) -> tuple[DominoRun | None, str]:
    """Return the newest run of all nodes with a task, or else, when it has been failing for long,
    where its refs are; of `node/task` the newest of the node that found what its ref is at."""
    run = domino_runs.newest_with(connection, name)
    if run is not None:
        return run, name
    ref = refs.result_at(connection, name) or refs.latest_of(connection, name)
    if ref is None:
        return None, name
    if its := domino_runs.where_found(connection).get((ref.node, ref.name, ref.target)):
        return its, ref.name
    runs = domino_runs.of_snapshot(connection, ref.snapshot, ref.number)
    its = [r for r in runs if (step := r.step(ref.name)) and step.output == ref.target]
    return domino_runs.rules.newest_with(its, ref.name), ref.name


def value_of(connection: psycopg.Connection, run: DominoRun, task: str) -> Any:
    """Return the answer of a task in a run. Raises LostBody when its bytes are not here and cannot
    be made again."""
    chain = chain_of(connection, run)
    try:
        body = read_body(connection, bytes.fromhex(run.step(task).output))
    except LostBody as lost:
        body = _made_again(connection, run, chain, task, lost)
    return decode(body, chain.task(task).domino.classes)


def _made_again(
    connection: psycopg.Connection, run: DominoRun, chain: Chain, task: str, lost: LostBody
) -> bytes:
    """Compute an answer whose bytes went, e.g. with an older snapshot that gave the same one."""
    memo = Memo()
    try:
        market = Market(*snapshots.open_snapshot(connection, bytes.fromhex(run.snapshot)))
        compute(chain, market, memo, audit=True)
        return memo.body(lost.output)
    except (ServiceError, OrreryError):
        raise lost from None


def known_tasks(connection: psycopg.Connection) -> list[str]:
    """Return the tasks of the last run of every chain."""
    runs = (run for c in domino_runs.chains(connection) for run in domino_runs.last(connection, c))
    return sorted({step.task for run in runs for step in run.steps})


def number_of(connection: psycopg.Connection, id_: bytes) -> int:
    """Return the cut that a snapshot covers."""
    return snapshots.open_snapshot(connection, id_)[0].cut["number"]
