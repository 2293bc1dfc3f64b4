"""What dominoes found, as series: one sample a cut, for every number of every result."""

from collections.abc import Iterable, Iterator

import psycopg

from .. import tsdb
from ..protocol.domino_runs import RUN, DominoRun
from ..store import domino_runs
from . import projections

METRIC = "orrery_result"
PROJECTION = "results"
CUTS_AT_ONCE = 500
LOOK_BACK = 16  # cuts whose record may have come after that of a later one
PARTITION = 0  # results belong to no partition
MS = 1_000_000


def show(connection: psycopg.Connection, url: str, node: str) -> int:
    """Send the samples of every chain's new runs on this node; return how many."""
    samples, at = 0, projections.places(connection)
    for chain in domino_runs.chains(connection):
        name = f"{RUN}/{chain}"
        low = at.get((PROJECTION, name, PARTITION), 0)
        newest = next((r.number for r in domino_runs.last(connection, chain)), -1)
        if newest < low:
            continue
        high = min(newest, low + CUTS_AT_ONCE) + 1
        runs = domino_runs.of_cuts(connection, chain, max(0, low - LOOK_BACK), high)
        samples += tsdb.write(url, series(connection, node, [r for r in runs if r.node == node]))
        projections.move_to(connection, PROJECTION, name, PARTITION, high)
    return samples


def series(
    connection: psycopg.Connection, node: str, runs: Iterable[DominoRun]
) -> Iterator[tsdb.Series]:
    """Yield a series for every number; a number that did not change has a sample all the same."""
    found: dict[tuple[str, str, str], tuple[list[float], list[int]]] = {}
    runs = [run for run in runs if run.at_ns]
    outputs = {step.output for run in runs for step in run.steps if step.output}
    points = domino_runs.points(connection, sorted(outputs))
    for run in runs:
        for step in run.steps:
            for name, value in points.get(step.output or "", {}).items():
                values, times = found.setdefault((run.chain, step.task, name), ([], []))
                values.append(value)
                times.append(run.at_ns // MS)
    for (chain, task, name), (values, times) in sorted(found.items()):
        labels = {"__name__": METRIC, "node": node, "chain": chain, "task": task, "point": name}
        yield tsdb.Series(labels, values, times)


def rebuild(connection: psycopg.Connection, url: str, node: str) -> int:
    """Write the series of every run of this node again; return how many samples."""
    samples = 0
    for chain in domino_runs.chains(connection):
        runs = domino_runs.of_cuts(connection, chain, 0)
        samples += tsdb.write(url, series(connection, node, (r for r in runs if r.node == node)))
    return samples
