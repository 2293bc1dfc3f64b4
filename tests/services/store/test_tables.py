"""A service that starts before its node's migrations waits for them; it is not a defect."""

import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
import structlog
from orrery_services import tables
from orrery_services.config import Settings, load_settings
from orrery_services.errors import OutsideError
from orrery_services.stack import migrations

from .server import ROOT, Server

SECONDS_MAX = 60.0


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    """A database without tables, on a server that knows the roles."""
    server.new_database()
    name = "e" + uuid.uuid4().hex[:12]
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    yield name


def settings_of(server: Server, database: str, folder: Path) -> Settings:
    (folder / "orrery_writer").write_text("any: the server trusts loopback")
    address = {
        "ORRERY_POSTGRES_HOST": "127.0.0.1",
        "ORRERY_POSTGRES_PORT": str(server.port),
        "ORRERY_POSTGRES_DATABASE": database,
        "ORRERY_SECRETS": str(folder),
        "ORRERY_HOME": str(folder),
    }
    return load_settings("n1", address)


def make_tables(server: Server, database: str) -> None:
    with psycopg.connect(server.conninfo(database), autocommit=True) as admin:
        for path in sorted((ROOT / "schemas" / "tables").glob("*.sql")):
            admin.execute(path.read_text())


def test_a_service_waits_until_the_last_file_of_the_tables_has_run(server, empty, tmp_path):
    settings, answers = settings_of(server, empty, tmp_path), []
    wait = threading.Thread(target=lambda: answers.append(tables.wait(settings, threading.Event())))
    with structlog.testing.capture_logs() as said:
        wait.start()
        deadline = time.monotonic() + SECONDS_MAX
        while not said and time.monotonic() < deadline:
            time.sleep(0.05)
        waited = not answers

        make_tables(server, empty)
        wait.join(SECONDS_MAX)

    assert waited and answers == [True]
    assert said[0]["event"] == "waiting for migrations"
    assert "facts" in said[0]["reason"]


def test_tables_that_may_not_be_read_yet_are_not_there(server, empty):
    with psycopg.connect(server.conninfo(empty), autocommit=True) as admin:
        admin.execute("CREATE TABLE facts (id bytea)")

    why = tables.missing(server.conninfo(empty, "orrery_writer"))

    assert "permission denied" in why


def test_a_service_told_to_stop_while_it_waits_leaves(server, empty, tmp_path):
    stop = threading.Event()
    stop.set()

    assert tables.wait(settings_of(server, empty, tmp_path), stop) is False


def test_waiting_has_an_end_that_says_what_was_missing(server, empty, tmp_path):
    settings = settings_of(server, empty, tmp_path)

    with pytest.raises(OutsideError, match=r"within 0 s.*facts.*migrations"):
        tables.wait(settings, threading.Event(), seconds_max=0)


def test_a_set_up_that_was_killed_hands_its_tables_over_at_the_next(
    server, empty, tmp_path, monkeypatch
):
    settings = settings_of(server, empty, tmp_path)
    admin = partial(psycopg.connect, server.conninfo(empty), autocommit=True)
    monkeypatch.setattr(migrations, "_admin", lambda *_: admin())
    with monkeypatch.context() as killed:
        killed.setattr(migrations, "hand_to_owner", kill)
        with pytest.raises(KeyboardInterrupt):
            migrations.apply_tables(settings)

    assert migrations.apply_tables(settings) == [], "all files had run"

    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    with admin() as connection:
        assert connection.execute(owners).fetchall() == [("orrery_owner",)]


def kill(_: psycopg.Connection) -> None:
    raise KeyboardInterrupt
