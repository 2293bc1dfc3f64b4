"""The loop of the dominoes: hears of snapshots, deals jobs to workers, writes down what broke."""

import threading

import psycopg
import structlog
from prometheus_client import Counter, Histogram

from .. import clock, metrics, store
from ..config import Settings
from ..errors import OutsideError
from ..metrics import SECONDS_BUCKETS
from ..protocol import domino_runs as rules
from ..protocol.facts import BadFact
from ..store import domino_runs, holds, reading, refs
from . import steps
from .pool import Ended, Pool
from .steps import Job

LOOK_SECONDS = 1.0
WAITING_MAX = 1000  # jobs in memory; more are left in Postgres until these are done
OWN_MAX = 10_000  # runs of all nodes among which this node's last one is looked for
LOOK_BACK = 64  # cuts before the newest one of which some may be open
RETRY_SECONDS = 2.0
CLOSE_SECONDS = 2.5
CHANNEL = "snapshots"
SERVICE = "dominoes"  # holds snapshots while chains run on them: gc leaves those alone

TASKS = Counter("orrery_domino_tasks", "Tasks of chains, by what was done.", ["chain", "action"])
RUN_SECONDS = Histogram(
    "orrery_domino_run_seconds", "One chain on one snapshot.", ["chain"], buckets=SECONDS_BUCKETS
)
OUTSIDE = (OutsideError, BadFact, psycopg.OperationalError, psycopg.errors.UndefinedTable)
log = structlog.get_logger()


class Loop:
    """What waits and what runs, on one connection."""

    def __init__(self, settings: Settings, chains: list[str], pool: Pool) -> None:
        self._settings, self._chains, self._pool = settings, chains, pool
        self._connection = store.connect(settings.postgres("writer"))
        self._connection.execute(f"LISTEN {CHANNEL}")
        holds.release_all(self._connection, SERVICE)
        self._waiting: dict[Job, int] = {}  # since when; ahead of now: not before
        self._cursor = self._open_from()
        self._seen: set[int] = set()  # of the last LOOK_BACK: one that waited for a leaf comes late

    def _open_from(self) -> int:
        """Return the cut up to which all is done, but for LOOK_BACK: a new chain begins at now."""
        newest_of = (self._newest_of(chain) for chain in self._chains)
        known = [number for number in newest_of if number is not None]
        newest = self._connection.execute(_NEWEST).fetchone()[0]
        return max(known) if known else newest - 1 + LOOK_BACK

    def _newest_of(self, chain: str) -> int | None:
        """Return the last cut on which this node ran a chain, however long others went on."""
        found = domino_runs.last(self._connection, chain, OWN_MAX)
        return next((run.number for run in found if run.node == self._settings.node), None)

    def turn(self) -> None:
        """Hear of new snapshots, start what may start, take what ended."""
        self._hear()
        self._look()
        self._start()
        foreign = any(job not in self._pool.running() for job in self._waiting)
        pause = 0.1 if foreign else LOOK_SECONDS
        for ended in self._pool.wait([self._connection.fileno()], pause):
            self._end(ended)

    def _hear(self) -> None:
        """Take in what was made so late that more than LOOK_BACK others were made before it; of
        the others it is enough to know that there are some."""
        told = self._connection.notifies(timeout=0, stop_after=WAITING_MAX)
        ids = [bytes.fromhex(one.payload) for one in told]
        if not ids:
            return
        for number, id_ in self._connection.execute(_MADE_AS, (ids, self._cursor - LOOK_BACK)):
            self._take([(number, id_.hex())])

    def _look(self) -> None:
        if len(self._waiting) >= WAITING_MAX:
            return
        rows = self._connection.execute(_MADE, (self._cursor - LOOK_BACK, WAITING_MAX)).fetchall()
        made = [(number, id_.hex()) for number, id_ in rows if number not in self._seen]
        if not made:
            return
        self._take(made)
        self._cursor = max(self._cursor, made[-1][0])
        self._seen = {n for n in self._seen if n > self._cursor - LOOK_BACK} | {n for n, _ in made}

    def _take(self, made: list[tuple[int, str]]) -> None:
        """Let jobs wait for snapshots, in order of their cuts, of which there is no record."""
        runs = {
            (run.chain, run.number): run
            for chain in self._chains
            for run in domino_runs.of_cuts(self._connection, chain, made[0][0], made[-1][0] + 1)
            if run.node == self._settings.node
        }  # the last attempt of each
        left = {place: run.attempt for place, run in runs.items() if run.owed}
        for job in steps.new_jobs(made, self._chains, runs.keys() - left.keys()):
            attempt = 1 + left.get((job.chain, job.number), 0)
            self._waiting[job._replace(attempt=attempt)] = clock.monotonic_ns()

    def _start(self) -> None:
        here, table = self._settings.node, self._settings.routing
        owners = {chain: steps.owner(chain, table, here) for chain in self._chains}
        foreign = [job for job in self._waiting if owners[job.chain] != here]
        keys = {steps.owners_key(job, owners[job.chain]): job for job in foreign}
        held = {keys[key] for key in reading.begun_with(self._connection, list(keys))}
        takeover = self._settings.limits.takeover_seconds
        for job in sorted(self._waiting):
            waited = clock.seconds_since(self._waiting[job])
            mine = owners[job.chain] == here
            if waited < 0.0:
                continue
            if not steps.may_start(mine, job in held, waited, takeover):
                continue
            if not self._pool.has_room():
                return
            holds.hold(self._connection, *_hold_of(job))  # first: gc takes what nobody holds
            self._pool.begin(job)
            del self._waiting[job]

    def _end(self, ended: Ended) -> None:
        job = ended.job
        holds.release(self._connection, *_hold_of(job))
        if ended.done is not None:
            for action, count in ended.done.items():
                TASKS.labels(job.chain, action).inc(count)
            RUN_SECONDS.labels(job.chain).observe(ended.seconds)
            log.info("ran", chain=job.chain, cut=job.number, seconds=ended.seconds, **ended.done)
            return
        log.warning("broke", chain=job.chain, cut=job.number, task=ended.task, reason=ended.why)
        if ended.again and not ended.task:  # nothing was begun: the outside was away
            self._waiting[job] = clock.monotonic_ns() + int(RETRY_SECONDS * 1e9)
            return
        again = ended.died or ended.again  # the outside went away in the middle
        if self._write_broken(ended, again) and again and job.attempt < steps.ATTEMPTS_MAX:
            pause = RETRY_SECONDS * 2**job.attempt if ended.again else 0.0
            due_ns = clock.monotonic_ns() + int(pause * 1e9)
            self._waiting[job._replace(attempt=job.attempt + 1)] = due_ns

    def _write_broken(self, ended: Ended, again: bool) -> bool:
        """Keep how an attempt ended; False when its worker did so with its last breath."""
        job, now_ns = ended.job, clock.wall_ns()
        key = rules.run_key(job.chain, job.number, job.snapshot, self._settings.node, job.attempt)
        if reading.begun_with(self._connection, [key]):
            return False
        times = (now_ns - int(ended.seconds * 1e9), now_ns)
        made = steps.broken_run(job, self._settings.node, ended.task, ended.why, times, again)
        made = made._replace(incarnation=refs.origin(self._connection).partition(".")[2])
        record = rules.run_fact(made, self._settings.partitions)
        store.commit(self._connection, record, as_origin=made.origin)
        TASKS.labels(job.chain, "fail").inc()
        return True

    def close(self) -> None:
        self._connection.close()


def _hold_of(job: Job) -> tuple[bytes, str]:
    return bytes.fromhex(job.snapshot), f"{SERVICE} {job.chain}"


def main(settings: Settings, health: metrics.Health, stop: threading.Event) -> int:
    """Run chains until told to stop; a node that declares none costs nothing but this process."""
    chains = sorted(steps.process_chains(settings.dominoes))
    if not chains:
        log.info("no chain of [dominoes] runs in a process: nothing to do")
        health.ready()
        while not stop.wait(LOOK_SECONDS):
            health.beat()
        return 0
    pool = Pool(settings.provisioning.domino_workers, settings.limits.domino_seconds_max)
    loop = None
    while not stop.is_set():
        health.beat()
        try:
            loop = loop or Loop(settings, chains, pool)
            loop.turn()
            health.ready()
        except OUTSIDE as cause:
            health.not_ready(str(cause))
            log.warning("waiting", reason=str(cause).strip())
            if loop:
                loop.close()
            loop = None
            stop.wait(RETRY_SECONDS)
    pool.close(CLOSE_SECONDS)
    return 0


_NEWEST = "SELECT coalesce(max(number), -1) FROM snapshots"
_MADE_AS = "SELECT number, id FROM snapshots WHERE id = ANY(%s) AND number <= %s"
_MADE = "SELECT number, id FROM snapshots WHERE number > %s ORDER BY number LIMIT %s"
