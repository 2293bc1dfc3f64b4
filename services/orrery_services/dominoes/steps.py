"""What is to be run, by whom and when: plain functions over what is known."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..protocol import routing
from ..protocol.declarations import SWAPPED
from ..protocol.domino_runs import DominoRun, Ran, run_key

ATTEMPTS_MAX = 3  # of a run whose worker died, or for which the outside went away in the middle
BY_SNAPSHOT = "snapshot"


class Job(NamedTuple):
    """One chain on one snapshot."""

    number: int  # of the cut
    chain: str
    snapshot: str  # hex
    attempt: int = 1
    asked: str = BY_SNAPSHOT  # or who asked by hand
    audit: bool = False


def process_chains(declared: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the chains of [dominoes] whose tasks run in a process of this service."""
    return {name: chain for name, chain in declared.items() if not is_swapped(chain)}


def is_swapped(chain: Mapping[str, Any]) -> bool:
    tasks = chain.get("tasks")
    found = [task for task in tasks if isinstance(task, Mapping)] if isinstance(tasks, list) else []
    where = [each.get("run_in", chain.get("run_in")) for each in found or [chain]]
    return any(place in SWAPPED for place in where)


def new_jobs(
    made: Iterable[tuple[int, str]], chains: Iterable[str], done: Iterable[tuple[str, int]]
) -> list[Job]:
    """Return the jobs of snapshots (cut, hex), oldest first, without those that are done."""
    known = set(done)
    names = sorted(chains)
    return [
        Job(number, chain, snapshot)
        for number, snapshot in made
        for chain in names
        if (chain, number) not in known
    ]


def owner(chain: str, table: Mapping[str, Any], here: str) -> str:
    """Return the node that computes a chain."""
    return routing.route(f"domino/{chain}", table, here).universe


def owners_key(job: Job, owner: str) -> str:
    """Return what the key of the record begins with that says: the owner's answers are here."""
    return run_key(job.chain, job.number, job.snapshot, owner, 1)


def may_start(mine: bool, owner_is_done: bool, waited_s: float, takeover_s: float) -> bool:
    """Return whether to run now: what others compute is waited for, but not for ever."""
    return mine or owner_is_done or waited_s >= takeover_s


def broken_run(
    job: Job, node: str, task: str, why: str, times_ns: tuple[int, int], again: bool
) -> DominoRun:
    """Return the record of an attempt that ended with its worker, in `task`. again: the reason is
    worth another one, which is owed then: who is to make it may die before."""
    steps = (Ran(task or job.chain, "fail", why, None, None, ()),)
    return DominoRun(
        job.chain, "", job.snapshot, job.number, 0, node, job.attempt, job.asked, job.audit,
        *times_ns, steps, owed=again and job.attempt < ATTEMPTS_MAX,
    )  # fmt: skip
