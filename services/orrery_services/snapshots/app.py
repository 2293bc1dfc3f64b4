"""The shell: one loop that reads cuts, makes snapshots of them, and fires what is due."""

import threading
from datetime import UTC, datetime

import psycopg
import structlog

from .. import clock, compiled, metrics, store
from ..config import Settings
from ..errors import OutsideError
from ..protocol.facts import BadFact
from ..store import refs, snapshots
from . import steps
from .cutting import Topic, Wanted
from .making import Making
from .watching import Watch, offsets_of

READ_SECONDS = 0.05
LOOK_NS = 100_000_000  # between two looks at what triggers look at
RETRY_SECONDS = 1.0
LOCK_CLASS = 0x0FAC9  # of the advisory lock: one service a node
log = structlog.get_logger()


class Snapshots:
    """Everything one service holds. `step` is one round."""

    def __init__(self, settings: Settings, health: metrics.Health):
        self._settings, self._health = settings, health
        declared = settings.data["snapshots"]
        self._triggers = steps.read_triggers(declared, str(settings.universe))
        now = datetime.fromtimestamp(clock.wall_ns() / 1e9, UTC)
        self._static = steps.static_root(settings.values["data.static"])
        self._offsets = {t.zone: offsets_of(t.zone, now) for t in self._triggers if t.zone}
        self._connection = connect(settings)
        self._making = Making(settings, self._connection)
        self._topic = Topic(settings, snapshots.newest_cut(self._connection))
        kinds = {trigger.kind for trigger in self._triggers}
        self._watch = Watch(settings, self._connection, kinds)
        self._started_ns, self._look_ns = clock.wall_ns(), 0

    def step(self) -> None:
        """Read what fired, make what can be made, fire what is due."""
        self._health.beat()
        found = self._topic.read(READ_SECONDS)
        if found:
            self._making.add(found)
        self._making.turn()
        self._topic.turn()
        now_ns = clock.monotonic_ns()
        if self._topic.caught_up() and now_ns - self._look_ns > LOOK_NS:
            self._look_ns = now_ns
            self._fire()
            self._health.ready()

    def _fire(self) -> None:
        if not self._triggers or self._topic.waiting():
            return
        observed, now_ns = self._watch.look(), clock.wall_ns()
        for trigger in self._triggers:
            due = steps.due(
                trigger, self._topic.seen, observed, self._offsets, self._started_ns, now_ns
            )
            if not due.fire or not (chains := chains_of(self._connection, self._settings)):
                continue  # before anything computes there is nothing to freeze
            for firing in due.fire:
                at_ns = firing.due_ns or now_ns
                self._topic.want(Wanted(firing.id, trigger.text, at_ns, chains, self._static))
            if due.skipped:
                self._skip(steps.skipped_event(trigger, due.skipped), now_ns)
        self._topic.turn()

    def _skip(self, event: dict, now_ns: int) -> None:
        log.warning("firings were missed", **event)
        node = self._settings.node
        whole = {**event, "at_ns": now_ns, "node": node, "by": "snapshots"}
        refs.write_events(self._connection, self._settings.partitions, [whole])

    def close(self) -> None:
        self._topic.close()
        self._watch.close()
        self._connection.close()


def chains_of(connection: psycopg.Connection, settings: Settings) -> dict[str, str]:
    """Return the chains whose state a snapshot of this node holds: declared, and computed."""
    known = store.chain_names(connection)
    return {name: known[name] for name in settings.chains if name in known}


def connect(settings: Settings) -> psycopg.Connection:
    """Return a connection to a database whose server was looked at, and that no twin of us has.

    Two at once would write two records of one snapshot.
    """
    connection = store.connect(settings.postgres("writer"))
    if not store.is_looked_at(connection):
        connection.close()
        raise store.NotLookedAt("waiting until the replication service has looked at the server")
    if not connection.execute("SELECT pg_try_advisory_lock(%s, 0)", (LOCK_CLASS,)).fetchone()[0]:
        connection.close()
        raise OutsideError("another snapshots service of this node is still at work: waiting")
    return connection


def main(settings: Settings, health: metrics.Health, stop: threading.Event) -> int:
    """Freeze until told to stop. What fails outside is begun anew after a pause."""
    compiled.keep_loops()
    service = None
    while not stop.is_set():
        health.beat()
        try:
            service = service or Snapshots(settings, health)
            service.step()
        except (OutsideError, BadFact, psycopg.OperationalError) as cause:
            health.not_ready(str(cause))
            log.warning("waiting", reason=str(cause).strip())
            if service:
                service.close()
            service = None
            stop.wait(RETRY_SECONDS)
    if service:
        service.close()
    return 0
