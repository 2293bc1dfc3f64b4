"""How to reach this node's Postgres, and what a failure to do so is called."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import stamina

from orrery_services.errors import OutsideError

ATTEMPTS_MAX = 10
WAIT_SECONDS_MAX = 2.0


def connect(conninfo: str, attempts_max: int = ATTEMPTS_MAX) -> psycopg.Connection:
    """Return a connection in autocommit mode. Raises OutsideError when Postgres stays away."""
    try:
        for attempt in stamina.retry_context(
            on=psycopg.OperationalError,
            attempts=attempts_max,
            wait_initial=0.1,
            wait_max=WAIT_SECONDS_MAX,
        ):
            with attempt:
                return psycopg.connect(conninfo, autocommit=True, prepare_threshold=1)
    except psycopg.OperationalError as cause:
        raise OutsideError(
            f"Postgres must answer within {attempts_max} attempts, but: {_first_line(cause)}; "
            "`orrery doctor` says what is wrong"
        ) from cause
    raise AssertionError("unreachable")


@contextmanager
def transaction(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """One transaction in pipeline mode: BEGIN and COMMIT travel with the statements.

    An OperationalError (Postgres is gone, or going) becomes an OutsideError.
    """
    try:
        with connection.pipeline():
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
    except psycopg.OperationalError as cause:
        connection.close()
        raise OutsideError(f"Postgres went away: {_first_line(cause)}") from cause
    except BaseException:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def soon(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A transaction whose commit does not wait for the disk: for what can be made again from facts.

    It is seen by others at once, and lost only with the server.
    """
    with transaction(connection):
        connection.execute("SET LOCAL synchronous_commit = off")
        yield connection


def _first_line(cause: BaseException) -> str:
    return str(cause).strip().split("\n", 1)[0]
