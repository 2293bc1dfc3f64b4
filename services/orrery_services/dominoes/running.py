"""One chain on one snapshot: look up, compute, keep, write down. By a worker or by `orrery run`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog
from orrery_kernels.domino import run as lab
from orrery_kernels.domino.chain import Chain
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.points import points_of
from orrery_kernels.domino.run import Step
from orrery_kernels.snapshot.canonical import decode
from orrery_kernels.snapshot.changes import might_concern
from orrery_kernels.snapshot.snapshot import Snapshot

from .. import clock, store
from ..config import Settings
from ..errors import ConfigError, DivergenceError, OutsideError
from ..protocol import domino_runs as rules
from ..protocol.domino_runs import DominoRun, Ran
from ..protocol.facts import BadFact, Fact
from ..store import domino_runs, holds, moving, pieces, reading, refs, snapshots
from ..store.answers import Answers
from ..store.domino_values import chain_from, covered_by
from ..store.mended import Damaged
from .asking import as_step
from .steps import BY_SNAPSHOT, Job, process_chains

OUTSIDE = (Damaged, psycopg.OperationalError)  # what went wrong there is no task's failure
LOOK_BACK = 8  # runs, of this node and of others, among which the last one is looked for
POINTS_MAX = 100  # of one answer, and so of the series that it feeds
LOCK_CLASS = 0x0FAC9  # of advisory locks: one per chain and snapshot
Tell = Callable[[str], object]
log = structlog.get_logger()


class Runner:
    """Runs chains of one node, one at a time; what it found stays in memory for the next."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.connection = store.connect(settings.postgres("writer"))
        self.answers = Answers(self.connection, settings.partitions)
        self._fetch = pieces.fetcher(self.connection)
        self._chains: dict[str, Chain] = {}
        self._last: dict[str, lab.Last] = {}
        self._newest: dict[str, DominoRun] = {}  # of this process
        self._market: Market | None = None
        self._incarnation = ""  # of the node, in the run that is under way

    def chain(self, name: str) -> Chain:
        if name not in self._chains:
            self._chains[name] = chain_from(name, self.declared(name))
        return self._chains[name]

    def declared(self, name: str) -> Mapping[str, Any]:
        """Return a chain as it stands in universe.toml. Raises ConfigError naming those there."""
        found = process_chains(self._settings.dominoes)
        if name not in found:
            there = ", ".join(sorted(found)) or "none"
            raise ConfigError(
                f"a chain must be declared in [dominoes], {name!r} is not; there are: {there} "
                f"({self._settings.universe})"
            )
        return found[name]

    def market(self, snapshot: str) -> Market:
        """Return a snapshot as dominoes see it; what did not change since the last is kept."""
        id_ = bytes.fromhex(snapshot)
        if self._market is None or self._market.snapshot.id != id_:
            opened, fetch = snapshots.open_snapshot(self.connection, id_, self._fetch)
            self._market = Market(opened, fetch, self._market)
        return self._market

    def plan(self, name: str, snapshot: str) -> list[Step]:
        """Say what a run would do, and why."""
        self.answers.refresh()
        market = self.market(snapshot)
        last = self._last_of(self.chain(name), name, market.snapshot.cut.get("number", 0))
        return lab.plan(self.chain(name), market, self.answers.find, last=last)

    def run(self, job: Job, tell: Tell | None = None) -> DominoRun:
        """Run a job, or return the record of it when it was done before."""
        with self._locked(job), self._held(job):
            held = self._records(job)
            if held and job.asked == BY_SNAPSHOT and job.attempt <= held[-1].attempt:
                return held[-1]
            attempt = max(job.attempt, held[-1].attempt + 1 if held else 1)
            done = self._newest[job.chain] = self._run(job._replace(attempt=attempt), tell)
            return done

    def _run(self, job: Job, tell: Tell | None) -> DominoRun:
        began_ns, chain = clock.wall_ns(), self.chain(job.chain)
        self.answers.refresh()
        self._incarnation = refs.origin(self.connection).partition(".")[2]
        if job.asked == BY_SNAPSHOT and (done := self._unchanged(job, chain, began_ns)):
            self._write(done, [])
            return done
        market, last = self.market(job.snapshot), self._last_of(chain, job.chain, job.number)
        steps = lab.run(chain, market, self.answers, job.audit, last, tell, OUTSIDE)
        self._last[job.chain] = lab.Last({step.task: step for step in steps}, market.snapshot)
        done = self._record(job, chain, began_ns, {step.task: step for step in steps})
        stream, name = self._settings.partitions, chain.digest.hex()
        written = rules.declared_fact(name, job.chain, covered_by(chain), stream)
        written += self._points(chain, steps)
        try:
            self._write(done, written)
        except DivergenceError as cause:
            return self._diverged(done, str(cause))
        return done

    def _write(self, done: DominoRun, written: Sequence[Fact]) -> None:
        """Commit the answers, the record, and the moves of this node's refs to what was found."""
        stream = self._settings.partitions
        with moving.following(self.connection, done, stream) as moves:
            found = [*written, *rules.run_fact(done, stream)]
            self.answers.flush(found, moves, done.origin)

    def _unchanged(self, job: Job, chain: Chain, began_ns: int) -> DominoRun | None:
        """Return what this run finds if no leaf that the chain reads can have changed since the
        last one: by the filters of the snapshots between, without reading any."""
        last = self._newest.get(job.chain) or self._newest_held(job.chain, job.number)
        if last is None or last.failed or last.declared != chain.digest.hex():
            return None
        ids = bytes.fromhex(last.snapshot), bytes.fromhex(job.snapshot)
        filters = snapshots.changes_between(self.connection, *ids)
        reads = [read.target for task in chain.tasks for read in task.reads if not read.from_task]
        if filters is None or any(might_concern(f, path) for f in filters for path in reads):
            return None
        if not all(step.key and self.answers.find(bytes.fromhex(step.key)) for step in last.steps):
            return None  # found within a tolerance, or in quarantine since
        made = snapshots.made_as(self.connection, ids[1])
        why = f"no leaf that it reads can have changed since cut {last.number}"
        return last._replace(
            snapshot=job.snapshot, number=job.number, at_ns=made.at_ns, attempt=job.attempt,
            asked=job.asked, audit=job.audit, began_ns=began_ns, ended_ns=clock.wall_ns(),
            incarnation=self._incarnation,
            steps=tuple(step._replace(action="reuse", why=why) for step in last.steps),
        )  # fmt: skip

    def _newest_held(self, chain: str, number: int) -> DominoRun | None:
        """Return this node's newest run before a cut, of the last few of all nodes."""
        runs = domino_runs.last(self.connection, chain, LOOK_BACK, number)
        return next((run for run in runs if run.node == self._settings.node), None)

    def _last_of(self, chain: Chain, name: str, number: int) -> lab.Last | None:
        """Return the run before: this process's last one, or the newest that is written down."""
        if name in self._last:
            return self._last[name]
        run = self._newest_held(name, number)
        if run is None or run.declared != chain.digest.hex():
            return None
        return lab.Last({step.task: as_step(step) for step in run.steps}, self._still_held(run))

    def _still_held(self, run: DominoRun) -> Snapshot | None:
        """Return the snapshot of a run of before. Without it rows cannot be told apart: all are
        computed then."""
        try:
            id_ = bytes.fromhex(run.snapshot)
            return snapshots.open_snapshot(self.connection, id_, self._fetch)[0]
        except (OutsideError, BadFact) as cause:
            log.info("all rows are computed", since=run.number, reason=str(cause))
            return None

    def _diverged(self, done: DominoRun, why: str) -> DominoRun:
        """Write down that what was found to be new was an alarm."""
        failed = tuple(
            step._replace(action="fail", why=why, output=None) if (step.key or "-") in why else step
            for step in done.steps
        )
        again = done._replace(attempt=done.attempt + 1, steps=failed)
        record = rules.run_fact(again, self._settings.partitions)
        store.commit(self.connection, record, as_origin=again.origin)
        return again

    def _record(
        self, job: Job, chain: Chain, began_ns: int, steps: Mapping[str, Step]
    ) -> DominoRun:
        cut = self.market(job.snapshot).snapshot.cut
        return DominoRun(
            job.chain, chain.digest.hex(), job.snapshot, job.number, cut.get("at_ns", 0),
            self._settings.node, job.attempt, job.asked, job.audit, began_ns, clock.wall_ns(),
            tuple(ran(steps[task.name]) for task in chain.tasks),
            self._incarnation,
        )  # fmt: skip

    def _points(self, chain: Chain, steps: Sequence[Step]) -> list[Fact]:
        """Return the numbers of what is new, by name: an answer of more than a few is no series."""
        found: list[Fact] = []
        for step in steps:
            if step.action == "run" and step.row:
                body = self.answers.body(step.row.output)
                points = points_of(decode(body, chain.task(step.task).domino.classes))
                finite = {name: x for name, x in points.items() if x - x == 0.0}
                if 0 < len(finite) <= POINTS_MAX:
                    output = step.row.output.hex()
                    found += rules.points_fact(output, finite, self._settings.partitions)
        return found

    def _records(self, job: Job) -> list[DominoRun]:
        """Return this node's records of a job, first attempt first."""
        prefix = rules.run_key(job.chain, job.number, job.snapshot, self._settings.node, 0)[:-4]
        rows = reading.facts_between(self.connection, prefix, prefix + "~")
        return [domino_runs.run_of_row(row) for row in rows]

    @contextmanager
    def _locked(self, job: Job) -> Iterator[None]:
        """One process of the node at a time runs a job; the lock ends with its connection."""
        key = (LOCK_CLASS, f"{job.chain}/{job.snapshot}")
        self.connection.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", key)
        try:
            yield
        finally:
            if not self.connection.closed:
                self.connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)

    @contextmanager
    def _held(self, job: Job) -> Iterator[None]:
        """Keep a snapshot from gc while somebody runs a chain on it by hand, for as long as this
        process has its connection; the service does so for its own jobs."""
        if job.asked == BY_SNAPSHOT:
            yield
            return
        holder = holds.in_session(self.connection, f"dominoes {job.chain} by hand")
        mine = bytes.fromhex(job.snapshot), holder
        holds.hold(self.connection, *mine)
        try:
            yield
        finally:
            if not self.connection.closed:
                holds.release(self.connection, *mine)

    def close(self) -> None:
        self.connection.close()


def ran(step: Step) -> Ran:
    """Return a step as it is written down."""
    return Ran(
        step.task,
        step.action,
        step.why,
        step.key.hex() if step.key else None,
        step.row.output.hex() if step.row else None,
        tuple(digest.hex() for digest in step.inputs),
    )
