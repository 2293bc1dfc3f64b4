"""A Postgres for the session, a database for a test: those of the store's tests."""

from tests.services.store.conftest import compiled_loops, database, server, writer

__all__ = ["compiled_loops", "database", "server", "writer"]
