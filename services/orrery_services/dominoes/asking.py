"""Questions about results: what is it made of, what changed, what does it say."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from orrery_kernels.domino.chain import Chain
from orrery_kernels.domino.explain import why as explain
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import Memo, Row
from orrery_kernels.domino.points import moved
from orrery_kernels.domino.run import NEAR, Step
from orrery_kernels.domino.run import run as compute
from orrery_kernels.errors import DominoError, OrreryError
from orrery_kernels.partition import partition_of
from orrery_kernels.snapshot.snapshot import Snapshot

from ..errors import OutsideError, ServiceError
from ..protocol.answers import memo_key
from ..protocol.domino_runs import DominoRun, Ran
from ..protocol.snapshots import QUOTE_ROWS, QUOTES, STATE
from ..store import domino_runs, pieces, reading, refs, snapshots
from ..store.domino_values import chain_of, find_run, number_of, value_of


def why(connection: psycopg.Connection, text: str) -> dict[str, Any]:
    """Return what a result is made of, down to the rows in the log, as plain nested data."""
    run, task = find_run(connection, text)
    chain = chain_of(connection, run)
    opened, fetch = snapshots.open_snapshot(connection, bytes.fromhex(run.snapshot))
    market = Market(opened, fetch)
    steps = {step.task: as_step(step) for step in run.steps}
    try:
        made = explain(task, chain, steps, market, lambda path: rows_of(market, path))
    except OutsideError:
        day = pieces.expired_on(connection, run.number, partitions_of(opened))
        if day is None:
            raise
        made = explain(task, chain, steps, market, expired=day)
    _say_who_computed(connection, made, {step.task: step for step in run.steps})
    record = next(
        snapshots.records(connection, refs.origin(connection), run.number, run.number + 1), None
    )
    made["run"] = {
        "chain": run.chain, "node": run.node, "attempt": run.attempt, "snapshot": run.snapshot,
        "cut": run.number, "lsn": record.lsn if record else None,
        "code_is_as_then": chain.digest.hex() == run.declared,
    }  # fmt: skip
    return made


def _say_who_computed(
    connection: psycopg.Connection, made: dict[str, Any], steps: Mapping[str, Ran]
) -> None:
    """Add to every result the origin that computed it first."""
    key = steps[made["result"]].key
    row = reading.fact_by_key(connection, memo_key(key)) if key else None
    made["computed_by"] = row.origin.split(".")[0] if row else None
    for found in made["inputs"]:
        if "result" in found:
            _say_who_computed(connection, found, steps)


def rows_of(market: Market, path: str) -> list[dict[str, Any]]:
    """Return the rows that a leaf came from: of a quote its last, of a state a range of `ticks`."""
    section, name = market.snapshot.locate(path)
    if section in (QUOTES, QUOTE_ROWS):
        row = dict(market.value(f"{QUOTE_ROWS}/{name}"))
        return [{key: value for key, value in row.items() if value is not None}]
    return [_ticks_below(market.snapshot, name)] if section.startswith(STATE) else []


def _ticks_below(snapshot: Snapshot, name: str) -> dict[str, Any]:
    partition = partition_of(name, partitions_of(snapshot))
    place = snapshot.cut[f"ticks/{partition}"]
    return {"topic": "ticks", "partition": partition, "offsets": f"[0, {place['offset']}]"}


def partitions_of(snapshot: Snapshot) -> int:
    return sum(1 for place in snapshot.cut if place.startswith("ticks/"))


def as_step(ran: Ran) -> Step:
    """Return a written step as the lab knows it."""
    row = Row(bytes.fromhex(ran.output)) if ran.output else None
    inputs = tuple(bytes.fromhex(digest) for digest in ran.inputs)
    key = bytes.fromhex(ran.key) if ran.key else None
    return Step(ran.task, ran.action, ran.why, key, inputs, row)


def compare(connection: psycopg.Connection, before: bytes, after: bytes) -> list[dict[str, Any]]:
    """Return what dominoes did between two snapshots: which re-ran and why, what moved how far."""
    if before == after:
        return []
    sides = []
    for id_ in (before, after):
        runs = domino_runs.of_snapshot(connection, id_.hex(), number_of(connection, id_))
        sides.append({run.chain: run for run in sorted(runs, key=_tells_more)})
    was, now = sides
    return [
        _compared(connection, was[chain], now[chain], step)
        for chain in sorted(was.keys() & now.keys())
        for step in now[chain].steps
    ]


def _tells_more(run: DominoRun) -> tuple[bool, int, int]:
    """Order records of one chain and snapshot: who computed says why, who found says only that."""
    return not run.failed, run.counts.get("run", 0), run.attempt


def _compared(
    connection: psycopg.Connection, was: DominoRun, now: DominoRun, step: Ran
) -> dict[str, Any]:
    old = was.step(step.task)
    outputs = (old.output if old else None, step.output)
    found = {
        "chain": now.chain, "task": step.task, "action": step.action, "why": step.why,
        "before": outputs[0], "after": outputs[1], "moved": None,
    }  # fmt: skip
    if all(outputs) and outputs[0] != outputs[1]:
        try:
            values = [value_of(connection, run, step.task) for run in (was, now)]
        except (OrreryError, ServiceError):  # bytes or code of then are gone: it is known to move
            return found
        if (far := moved(*values)) is not None:
            found["moved"] = {"point": far[0], "by": far[1]}
    return found


def replay(
    connection: psycopg.Connection, id_: bytes, fetch: pieces.Fetch, before: Market | None = None
) -> tuple[list[dict[str, Any]], Market]:
    """Recompute every result on a snapshot from its leaves, without memo; say what differs.

    One entry a result: `equal`, or the digest that is held and the one that came; of a chain whose
    leaves gc has removed, the day under `expired`. before: the snapshot that was replayed before;
    of leaves that are the same bytes it keeps what it read.
    """
    opened, _ = snapshots.open_snapshot(connection, id_, fetch)
    market, found, number = _market(opened, fetch, before), [], opened.cut["number"]
    for chain_runs in _by_declaration(domino_runs.of_snapshot(connection, id_.hex(), number)):
        head = {"chain": chain_runs[0].chain, "task": None}
        try:
            chain = chain_of(connection, chain_runs[0])
            _read_all(chain, market)
            steps = compute(chain, market, Memo(), audit=True)
        except OutsideError:
            day = pieces.expired_on(connection, number, partitions_of(opened))
            if day is None:
                raise
            found.append({**head, "equal": True, "expired": day})
            continue
        except OrreryError as cause:
            found.append({**head, "equal": False, "why": str(cause)})
            continue
        near = [(run, _within_tolerance(chain, run)) for run in chain_runs]
        found += [_judged(run, step, step.task in names) for step in steps for run, names in near]
    return found, market


def _market(opened: Snapshot, fetch: pieces.Fetch, before: Market | None) -> Market:
    try:
        return Market(opened, fetch, before)
    except OutsideError:  # of one of the two gc has removed leaves: nothing is taken over
        return Market(opened, fetch)


def _read_all(chain: Chain, market: Market) -> None:
    """Read what a chain reads. Raises OutsideError when a piece is not held; a path that is not
    there is the affair of its task."""
    for task in chain.tasks:
        for read in task.reads:
            if not read.from_task:
                with suppress(DominoError):
                    market.digest(read.target)


def _within_tolerance(chain: Chain, run: DominoRun) -> list[str]:
    """Return the tasks whose answer in a run was taken within a tolerance, and all behind them."""
    taken = [step.task for step in run.steps if step.why == NEAR]
    return taken + chain.downstream(taken)


def _by_declaration(runs: Sequence[DominoRun]) -> list[list[DominoRun]]:
    groups: dict[tuple[str, str], list[DominoRun]] = {}
    for run in runs:
        if run.declared:
            groups.setdefault((run.chain, run.declared), []).append(run)
    return [groups[key] for key in sorted(groups)]


def _judged(run: DominoRun, step: Step, within: bool) -> dict[str, Any]:
    ran = run.step(step.task)
    came = step.row.output.hex() if step.row else None
    held = ran.output if ran else None
    return {
        "chain": run.chain, "task": step.task, "node": run.node, "attempt": run.attempt,
        "equal": came == held or within, "held": held, "came": came,
        "why": "within tolerance" if within and came != held else step.why,
    }  # fmt: skip
