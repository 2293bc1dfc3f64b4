"""Keeps this node's change capture alive: its connectors running, on slots that are ours and that
do not hold back more WAL than the disk can bear.

A thread of its own: to begin a connector anew takes seconds, in which facts still come.
"""

import threading

import psycopg
import structlog

from .. import cdc, connect, metrics
from ..config import Settings
from ..errors import OutsideError, ServiceError

KEEP_SECONDS = 3.0
log = structlog.get_logger()


class Keeper(threading.Thread):
    """Looks at every connector every few seconds until told to stop."""

    def __init__(self, settings: Settings):
        super().__init__(name="keeper", daemon=True)
        self._settings = settings
        self._end = threading.Event()
        self._told: dict[str, str | None] = {}  # what was said last of each connector

    def run(self) -> None:
        while not self._end.wait(KEEP_SECONDS):
            for name in connect.NAMES:
                self.look(name)

    def look(self, name: str) -> None:
        """Keep one connector and measure its slot, also while Connect does not answer."""
        try:
            with cdc.opened(self._settings) as connection:
                self._tell(name, self._keep(name, connection))
                self._tell(f"{name}'s slot", self._alarm(name, connection))
        except OutsideError as cause:
            self._tell(name, f"cannot be looked at: {cause}")

    def _keep(self, name: str, connection: psycopg.Connection) -> str | None:
        try:
            return cdc.keep(self._settings, name, connection)
        except ServiceError as cause:
            return f"cannot be looked at: {cause}"

    def _alarm(self, name: str, connection: psycopg.Connection) -> str | None:
        """Measure the WAL that a slot holds back; return what to say when it is much."""
        found = cdc.slot(connection, name)
        held_mb = found.held_bytes / 2**20 if found else 0.0
        metrics.SLOT_WAL_BYTES.labels(cdc.SLOTS[name]).set(found.held_bytes if found else 0)
        bound_mb = self._settings.values["postgres.slot_wal_keep_mb_max"]
        if held_mb <= bound_mb * self._settings.cdc.slot_wal_alarm_share:
            return None
        return (
            f"holds back much of the {bound_mb:,} MB of WAL after which it is given up: Connect "
            "must read it; `orrery doctor` says what keeps it"
        )

    def _tell(self, name: str, done: str | None) -> None:
        if done and done != self._told.get(name):
            log.warning("connector", name=name, done=done)
        self._told[name] = done

    def stop(self) -> None:
        """Look no more. A look that is under way ends by itself, with the process."""
        self._end.set()
