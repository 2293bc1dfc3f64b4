"""One Postgres for the session, one database for a test."""

from collections.abc import Iterator

import psycopg
import pytest
from orrery_services import compiled, store
from orrery_services.store import identity

from .server import Server


@pytest.fixture(scope="session", autouse=True)
def compiled_loops() -> None:
    compiled.keep_loops()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.remove()


@pytest.fixture
def database(server: Server) -> str:
    return server.new_database()


@pytest.fixture
def writer(server: Server, database: str) -> Iterator[psycopg.Connection]:
    """A connection of the role that services use, to a node that has begun."""
    with store.connect(server.conninfo(database, "orrery_writer")) as connection:
        identity.begin(connection, "n1", identity.EMPTY_DISK)
        yield connection
