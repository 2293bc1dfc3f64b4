"""The run records of chains of dominoes: reading them. Nothing here loads numba."""

import json
from collections.abc import Iterator, Sequence

import psycopg

from orrery_services.errors import OutsideError
from orrery_services.protocol import domino_runs as rules
from orrery_services.protocol import facts
from orrery_services.protocol.domino_runs import DominoRun

from . import reading

LOOK_BACK_MAX = 200  # runs of a chain in which a task is looked for


def chains(connection: psycopg.Connection) -> list[str]:
    """Return the names of all chains that ever ran, on any node."""
    return [name for (name,) in connection.execute(_CHAINS) if name]


def of_snapshot(connection: psycopg.Connection, snapshot: str, number: int) -> list[DominoRun]:
    """Return every run on a snapshot (hex) of a cut, by chain, node and attempt."""
    found = []
    for chain in chains(connection):
        prefix = rules.runs_prefix(chain, number, snapshot)
        rows = reading.facts_between(connection, prefix, prefix + "~")
        found += [run_of_row(row) for row in rows]
    return found


def last(
    connection: psycopg.Connection, chain: str, many: int = 1, before: int | None = None
) -> Iterator[DominoRun]:
    """Yield the newest runs of a chain, newest cut first; `before`: only of earlier cuts."""
    low = rules.runs_prefix(chain)
    high = low + "~" if before is None else rules.runs_prefix(chain, before)
    for row in reading.facts_before(connection, low, high, many):
        yield run_of_row(row)


def of_cuts(
    connection: psycopg.Connection, chain: str, first: int, stop: int | None = None
) -> Iterator[DominoRun]:
    """Yield the runs of a chain on the cuts in [first, stop), in order."""
    low = rules.runs_prefix(chain, first)
    high = rules.runs_prefix(chain) + "~" if stop is None else rules.runs_prefix(chain, stop)
    for row in reading.facts_between(connection, low, high):
        yield run_of_row(row)


def newest_with(
    connection: psycopg.Connection, task: str, snapshot: str = "", number: int | None = None
) -> DominoRun | None:
    """Return the run that holds a task's answer: the newest of all, or that on one snapshot."""
    if number is not None:
        return rules.newest_with(of_snapshot(connection, snapshot, number), task)
    found = []
    for chain in chains(connection):
        for run in last(connection, chain, LOOK_BACK_MAX):
            if found and run.number < found[0].number:
                break
            if (step := run.step(task)) and step.output:
                found.insert(0, run)
    return rules.newest_with(found, task)


def where_found(connection: psycopg.Connection) -> dict[tuple[str, str, str], DominoRun]:
    """Return the newest run in which a node found an answer by (node, task, answer), of the last
    LOOK_BACK_MAX of every chain."""
    found: dict[tuple[str, str, str], DominoRun] = {}
    for chain in chains(connection):
        for run in last(connection, chain, LOOK_BACK_MAX):
            for step in run.steps:
                if step.output:
                    found.setdefault((run.node, step.task, step.output), run)
    return found


def declared(connection: psycopg.Connection, digest: str) -> tuple[str, dict]:
    """Return name and declaration of a chain by its digest (hex)."""
    row = reading.fact_by_key(connection, rules.declared_key(digest))
    row = row or reading.fact_by_key(connection, f"{rules.DECLARED}/{digest}")  # before version 1
    if row is None:
        raise OutsideError(f"the chain {digest[:12]} must be held as it was declared, but is not")
    fetch = reading.fetch_piece(connection, row.stream)
    return rules.declared_of(facts.data_of(row.payload, fetch))


def points(connection: psycopg.Connection, outputs: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the numbers of answers (hex digests) by name; of those that have any."""
    keys = {rules.points_key(output): output for output in outputs}
    found = reading.facts_by_keys(connection, list(keys))
    return {
        keys[key]: json.loads(facts.data_of(row.payload, _no_pieces)) for key, row in found.items()
    }


def run_of_row(row: reading.Row) -> DominoRun:
    return rules.run_of(facts.data_of(row.payload, _no_pieces))


def _no_pieces(_: bytes) -> bytes:
    raise facts.BadFact("a run record must fit one row")


# One step through the index a chain, however many runs each has.
_CHAINS = """
    WITH RECURSIVE names AS (
        (SELECT split_part(key, '/', 2) AS name FROM facts
         WHERE key >= 'domino/' AND key < 'domino0' ORDER BY key LIMIT 1)
        UNION ALL
        SELECT (SELECT split_part(key, '/', 2) FROM facts
                WHERE key > 'domino/' || name || '/~' AND key < 'domino0' ORDER BY key LIMIT 1)
        FROM names WHERE name IS NOT NULL
    ) SELECT name FROM names"""
