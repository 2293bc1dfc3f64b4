"""The loop of the gateway: project what is new in portions, and rest longer than it worked."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import structlog

from .. import clock, metrics, store
from ..config import Settings
from ..errors import DivergenceError, OutsideError
from ..protocol import facts
from ..store import low, results
from . import domino_series, page, projections
from .series import Series

DUTY = 0.1  # of the time at most: the ledger comes first
NICE = 10  # where processors are short, everybody else comes first too
PAUSE_SECONDS_MIN = 1.0  # many small chunks at once cost little more than one
RETRY_SECONDS = 2.0
log = structlog.get_logger()


class Gateway:
    def __init__(self, settings: Settings):
        self._settings = settings
        self._connection = store.connect(settings.postgres("writer"))
        self._connection.execute("SET synchronous_commit = off")  # what is lost is projected again
        self._series = Series(settings.tsdb, settings.node) if settings.tsdb else None
        self._tsdb_away = False
        self._chains: dict[str, results.ChainInfo] = {}
        self._standing: dict[tuple[str, str, int], str] = {}  # projections, and why they wait

    def step(self, beat: Callable[[], None]) -> None:
        """Project the next portion of every chain and partition; a beat before each."""
        connection = self._connection
        chains = set(store.chain_names(connection).values())
        marks, at = store.marks(connection), projections.places(connection)
        wanted = (projections.ROWS, *((projections.SERIES,) if self._series else ()))
        for (chain, partition), mark in sorted(marks.items()):
            for projection in wanted:
                first = projections.ahead(at, projection, chain, partition, mark)
                if first is None or chain not in chains:
                    continue
                beat()
                info = self._chain(chain)
                stretch = projections.Stretch(info, partition, mark.log_id, first, mark.offset)
                self._project(projection, stretch)
        if self._series is not None:
            self._send(
                lambda: domino_series.show(connection, self._series.url, self._settings.node)
            )

    def _chain(self, chain: str) -> results.ChainInfo:
        """Return what a chain is; that never changes."""
        if chain not in self._chains:
            self._chains[chain] = results.chain_info(self._connection, chain)
        return self._chains[chain]

    def _project(self, projection: str, stretch: projections.Stretch) -> None:
        behind = metrics.LAG_ROWS.labels(f"{projection}-{stretch.partition}")
        behind.set(stretch.high - stretch.low)
        key = projection, stretch.chain.id, stretch.partition
        try:
            self._show(projection, stretch)
            self._standing.pop(key, None)
        except DivergenceError as cause:  # it waits until somebody settles that, the others do not
            self._stand(key, str(cause))
        except facts.BadFact as cause:
            gone = low.low_of(self._connection, stretch.partition)
            if gone and gone.mark.log_id == stretch.log_id and gone.mark.offset > stretch.low:
                projections.move(self._connection, projection, stretch, gone.mark.offset)
            else:
                self._stand(key, str(cause))

    def _stand(self, key: tuple[str, str, int], reason: str) -> None:
        """Say once why a projection does not go on; it is tried again at every step."""
        if self._standing.get(key) != reason:
            projection, chain, partition = key
            log.error(
                "a projection stands still", projection=projection, chain=chain,
                partition=partition, reason=reason,
            )  # fmt: skip
        self._standing[key] = reason

    def _show(self, projection: str, stretch: projections.Stretch) -> None:
        if projection == projections.ROWS:
            projections.show_rows(self._connection, stretch)
            return
        samples_max = self._settings.limits.tsdb_samples_max
        self._send(lambda: self._series.show(self._connection, stretch, samples_max))

    def _send(self, write: Callable[[], object]) -> None:
        """Write series; a store that is away holds nobody up."""
        try:
            write()
            self._tsdb_away = False
        except OutsideError as cause:
            if not self._tsdb_away:
                log.warning("the time-series store is away; it is rebuilt later", reason=str(cause))
            self._tsdb_away = True

    def close(self) -> None:
        self._connection.close()


def _stand_back() -> None:
    """Let everybody else go first: within the session and, where Linux groups them, among them."""
    os.nice(NICE)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE))


def main(settings: Settings, health: metrics.Health, stop: threading.Event) -> int:
    """Project until told to stop."""
    _stand_back()
    if settings.tsdb is None:
        log.warning("this node has no time-series store: it runs without")
    server = page.serve(settings)
    gateway = None
    while not stop.is_set():
        health.beat()
        began_ns = clock.monotonic_ns()
        try:
            gateway = gateway or Gateway(settings)
            gateway.step(health.beat)
            health.ready()
            pause = max(PAUSE_SECONDS_MIN, clock.seconds_since(began_ns) * (1 / DUTY - 1))
            stop.wait(min(pause, 5.0))
        except (OutsideError, psycopg.OperationalError) as cause:
            health.not_ready(str(cause))
            log.warning("waiting", reason=str(cause).strip())
            if gateway:
                gateway.close()
            gateway = None
            stop.wait(RETRY_SECONDS)
    if gateway:
        gateway.close()
    server.shutdown()
    return 0
