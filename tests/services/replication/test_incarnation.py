"""Who a database is, settled by a service that may be killed at any step, before Connect is up."""

from types import SimpleNamespace

import pytest
from orrery_services import cdc, connect, store
from orrery_services.errors import OutsideError
from orrery_services.replication import incarnation, steps
from orrery_services.store import identity

from tests.services.store.conftest import database, server, writer

__all__ = ["database", "server", "writer"]


class Killed(BaseException):
    """What nothing catches: the process is gone."""


class Connect:
    """Kafka Connect with one connector; while it starts, it knows of none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.state, self.begun, self.starting, self.killed = "RUNNING", [], False, False
        monkeypatch.setattr(connect, "stop", lambda *_: setattr(self, "state", "STOPPED"))
        monkeypatch.setattr(connect, "status", lambda *_: {"connector": {"state": self.state}})
        monkeypatch.setattr(connect, "config", lambda *_: None if self.starting else {"a": "b"})
        monkeypatch.setattr(connect, "resume", self.resume)
        monkeypatch.setattr(connect, "expect_started", self.expect_started)
        monkeypatch.setattr(cdc, "begin_anew", lambda _, name, slots: self.begun.append(name))

    def resume(self, *_: object) -> None:
        if self.killed:
            raise Killed
        self.state = "RUNNING"

    def expect_started(self, _: object) -> None:
        if self.starting:
            raise OutsideError("Kafka Connect must have started")


@pytest.fixture
def kept(monkeypatch) -> Connect:
    monkeypatch.setattr(incarnation, "FLYING_SECONDS", 0)
    nothing_seen = steps.Evidence({}, {}, {}, {}, {})
    monkeypatch.setattr(incarnation, "gather", lambda *_: nothing_seen)
    return Connect(monkeypatch)


@pytest.fixture
def settings(server, database) -> SimpleNamespace:
    return SimpleNamespace(node="n1", postgres=lambda _: server.conninfo(database))


def test_a_look_that_was_killed_before_the_connectors_ran_again_is_made_again(
    kept, settings, writer
):
    writer.execute("UPDATE node SET server_started = server_started - interval '1 second'")
    before = store.who(writer).origin
    kept.killed = True
    with pytest.raises(Killed):
        incarnation.settle(settings, writer, lambda: None)
    assert kept.state == "STOPPED"
    kept.killed = False

    found = incarnation.settle(settings, writer, lambda: None)

    assert kept.state == "RUNNING"
    assert found.origin == before and store.is_looked_at(writer)


def test_a_new_incarnation_gives_connectors_new_offsets_once_connect_has_started(
    kept, settings, writer
):
    kept.starting = True
    incarnation.begin_sources_when_possible(settings, writer)
    assert (kept.begun, identity.sources_begun(writer)) == ([], False)
    kept.starting = False

    for _ in range(2):
        incarnation.begin_sources_when_possible(settings, writer)

    assert kept.begun == list(connect.NAMES) and identity.sources_begun(writer)
