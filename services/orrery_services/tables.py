"""A service may start before the tables of its node are made: it waits for them, and says so."""

import threading
import time

import psycopg
import structlog
from psycopg import errors

from .config import Settings
from .errors import OutsideError

SECONDS_MAX = 600.0
LOOK_SECONDS = 1.0
_LOOK = "SELECT FROM facts LIMIT 0"  # the last file of schemas/tables gives the right to do this
_NOT_YET = (psycopg.OperationalError, errors.UndefinedTable, errors.InsufficientPrivilege)
log = structlog.get_logger()


def wait(settings: Settings, stop: threading.Event, seconds_max: float = SECONDS_MAX) -> bool:
    """Return True once the tables are there, False when `stop` came first. Raises OutsideError."""
    until, said = time.monotonic() + seconds_max, ""
    while why := missing(settings.postgres("writer")):
        if why != said:
            log.warning("waiting for migrations", reason=why)
            said = why
        if time.monotonic() > until:
            raise OutsideError(
                f"the node's tables must be there within {seconds_max:g} s, but: {why}; "
                "`python -m orrery_services.stack.migrations` makes them"
            )
        if stop.wait(LOOK_SECONDS):
            return False
    return True


def missing(conninfo: str) -> str:
    """Return why the tables cannot be used yet, empty when they can."""
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(_LOOK)
    except _NOT_YET as cause:
        return str(cause).strip().split("\n", 1)[0]
    return ""
