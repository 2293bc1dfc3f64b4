"""Keeps this node's change capture alive: its connectors running, on slots that are ours.

A thread of its own: to begin a connector anew takes seconds, in which facts still come.
"""

import threading

import structlog

from .. import cdc, connect
from ..config import Settings
from ..errors import ServiceError

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
                self._tell(name, self._keep(name))

    def _keep(self, name: str) -> str | None:
        try:
            return cdc.keep(self._settings, name)
        except ServiceError as cause:
            return f"cannot be looked at: {cause}"

    def _tell(self, name: str, done: str | None) -> None:
        if done and done != self._told.get(name):
            log.warning("connector", name=name, done=done)
        self._told[name] = done

    def stop(self) -> None:
        """Look no more. A look that is under way ends by itself, with the process."""
        self._end.set()
