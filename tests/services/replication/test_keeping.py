"""What a slot holds back is measured, and told before it is given up."""

from collections.abc import Iterator
from types import SimpleNamespace

import psycopg
import pytest
from orrery_services import cdc, metrics
from orrery_services.replication.keeping import Keeper
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from tests.services.store.conftest import database, server

__all__ = ["database", "server"]
SLOT = cdc.SLOTS["source"]
NOTHING = "postgresql://nobody@127.0.0.1:1/none"


def settings(conninfo: str, alarm_share: float) -> SimpleNamespace:
    """Return what the keeper reads of the settings of a node that cannot reach Connect."""
    return SimpleNamespace(
        node="n1",
        connect="http://127.0.0.1:1",
        postgres=lambda _: conninfo,
        values={"postgres.slot_wal_keep_mb_max": 64},
        cdc=SimpleNamespace(slot_wal_alarm_share=alarm_share),
    )


@pytest.fixture
def conninfo(server, database: str) -> Iterator[str]:
    """A node whose slot nobody reads, behind 2 MB of WAL that a commit has written."""
    found = server.conninfo(database)
    with psycopg.connect(found, autocommit=True) as admin:
        admin.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [SLOT])
        admin.execute("SELECT pg_logical_emit_message(true, 'test', repeat('x', 2000000))")
        yield found
        admin.execute("SELECT pg_drop_replication_slot(%s)", [SLOT])


def held_bytes() -> float:
    line = f'orrery_slot_wal_bytes{{slot="{SLOT}"}} '
    (found,) = [x for x in generate_latest().decode().splitlines() if x.startswith(line)]
    return float(found.removeprefix(line))


def slot_lines(keeper: Keeper, looks: int) -> list[str]:
    """Return what is said of the slot in so many looks."""
    with capture_logs() as told:
        for _ in range(looks):
            keeper.look("source")
    return [line["done"] for line in told if line["name"] == "source's slot"]


def test_the_wal_that_a_slot_holds_back_is_a_figure(conninfo):
    assert slot_lines(Keeper(settings(conninfo, alarm_share=0.5)), looks=1) == []

    assert 2e6 < held_bytes() < 64 * 2**20


def test_much_of_it_is_an_alarm_that_is_told_once_with_what_to_do(conninfo):
    (line,) = slot_lines(Keeper(settings(conninfo, alarm_share=0.01)), looks=3)

    assert "64 MB" in line and "orrery doctor" in line


def test_a_look_takes_one_connection_and_leaves_none(conninfo, monkeypatch):
    opened, connect = [], psycopg.connect
    monkeypatch.setattr(
        psycopg, "connect", lambda *a, **k: opened.append(connect(*a, **k)) or opened[-1]
    )

    Keeper(settings(conninfo, alarm_share=0.5)).look("source")

    assert [connection.closed for connection in opened] == [True]


def test_a_slot_that_is_gone_holds_back_nothing(server, database):
    metrics.SLOT_WAL_BYTES.labels(SLOT).set(7)

    assert slot_lines(Keeper(settings(server.conninfo(database), 0.01)), looks=1) == []
    assert held_bytes() == 0


def test_a_database_that_does_not_answer_is_said_once_and_is_no_alarm_of_its_own():
    keeper = Keeper(settings(NOTHING, 0.01))

    with capture_logs() as told:
        for _ in range(2):
            keeper.look("source")

    (line,) = told
    assert line["name"] == "source" and "Postgres must answer" in line["done"]
