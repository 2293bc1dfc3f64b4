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
    return SimpleNamespace(
        node="n1",
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


def test_the_wal_that_a_slot_holds_back_is_a_figure(conninfo):
    assert Keeper(settings(conninfo, alarm_share=0.5))._alarm("source") is None

    assert 2e6 < held_bytes() < 64 * 2**20


def test_much_of_it_is_an_alarm_that_is_told_once_with_what_to_do(conninfo):
    keeper = Keeper(settings(conninfo, alarm_share=0.01))

    with capture_logs() as told:
        for _ in range(3):
            keeper._tell("source's slot", keeper._alarm("source"))

    (line,) = told
    assert "64 MB" in line["done"] and "orrery doctor" in line["done"]


def test_a_slot_that_is_gone_holds_back_nothing(server, database):
    metrics.SLOT_WAL_BYTES.labels(SLOT).set(7)

    assert Keeper(settings(server.conninfo(database), 0.01))._alarm("source") is None
    assert held_bytes() == 0


def test_a_database_that_does_not_answer_is_no_alarm_of_its_own():
    assert Keeper(settings(NOTHING, 0.01))._alarm("source") is None
