"""The end of a swapped run of dominoes leaves what a chain in a process leaves: the record of the
run, and its node's refs at what it found. Nothing here loads numba: a child of the controller
writes it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import psycopg

from orrery_services import clock
from orrery_services.errors import OutsideError
from orrery_services.protocol import cuts, facts
from orrery_services.protocol import domino_runs as rules
from orrery_services.protocol import snapshots as names
from orrery_services.protocol.answers import memo_key
from orrery_services.protocol.domino_runs import DominoRun, Ran
from orrery_services.protocol.facts import Fact

from . import identity, ledger, moving, reading
from .ledger import Outcome

COMPLETED = "completed"


def commit_end(
    connection: psycopg.Connection, end: Sequence[Fact], event: Mapping[str, Any], stream: int
) -> Outcome:
    """Write the end of a run and, of dominoes on a snapshot, record and refs in one transaction.
    Of two ends the first stands, and that is no alarm: two controllers saw different moments."""
    run = record_of(connection, event)
    if run is None:
        return ledger.commit(connection, [], if_alike=end)
    with moving.following(connection, run, stream) as moves:
        if reading.ids_of(connection, [end[-1].key]):
            return ledger.commit(connection, [], if_alike=end)  # another controller was faster
        made = [*end, *rules.run_fact(run, stream)]
        return ledger.commit(connection, made, if_alike=moves, as_origin=run.origin)


def record_of(connection: psycopg.Connection, event: Mapping[str, Any]) -> DominoRun | None:
    """Return the record of a run that ended; None for one that failed, was of programs, or was on
    a snapshot that this node does not hold: that must not keep the run from ending."""
    if event["kind"] != COMPLETED or not event.get("declared"):
        return None
    cut = _cut_of(connection, event["on"])
    if cut is None:
        return None
    number, at_ns = cut
    own = identity.who(connection)
    if own is None:
        raise OutsideError("the node must have an incarnation: start its replication service")
    node, _, incarnation = own.origin.partition(".")
    quarantined = set(reading.quarantined(connection))
    ended_ns = clock.wall_ns()
    took_ns = int(1e6 * sum(stage.get("run_ms") or 0.0 for stage in event["stages"]))
    run = DominoRun(
        event["chain"], event["declared"], event["on"], number, at_ns, node, 1,
        f"run {event['run']}", False, ended_ns - took_ns, ended_ns,
        tuple(_ran(quarantined, stage) for stage in event["stages"]), incarnation,
    )  # fmt: skip
    return run._replace(attempt=1 + _attempts(connection, run))


def _ran(quarantined: Collection[str], stage: Mapping[str, Any]) -> Ran:
    key, inputs = stage.get("key") or None, tuple(stage.get("inputs", ()))
    if key and memo_key(key) in quarantined:
        why = f"DIVERGED: {memo_key(key)} is held with another answer; both are in quarantine"
        return Ran(stage["name"], "fail", why, key, None, inputs)
    reused = stage.get("reused")
    why = "computed before from the same inputs" if reused else f"in slot {stage.get('slot', '?')}"
    return Ran(stage["name"], "reuse" if reused else "run", why, key, stage["output"], inputs)


def _cut_of(connection: psycopg.Connection, snapshot: str) -> tuple[int, int] | None:
    """Return number and time of the cut that a snapshot (hex) covers."""
    row = reading.fact_by_key(connection, f"{names.SNAPSHOT}/{snapshot}")
    if row is None:
        return None
    number = facts.meta_of(row.payload)["number"]
    made = connection.execute(_AT, (number,)).fetchone()
    if made is not None:
        return number, made[0]
    cut = reading.fact_by_key(connection, names.cut_key(number))
    return number, cuts.decode(facts.data_of(cut.payload, _no_pieces)).at_ns if cut else 0


def _attempts(connection: psycopg.Connection, run: DominoRun) -> int:
    low = rules.runs_prefix(run.chain, run.number, run.snapshot) + f"{run.node}/"
    return sum(1 for _ in reading.facts_between(connection, low, low + "~"))


def _no_pieces(_: bytes) -> bytes:
    raise facts.BadFact("a cut must fit one row")


_AT = "SELECT at_ns FROM snapshots WHERE number = %s"
