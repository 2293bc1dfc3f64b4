"""orrery show and orrery log of what a node holds."""

import json
from types import SimpleNamespace

import pytest
from orrery_services import store
from orrery_services.cli import log, show
from orrery_services.protocol import facts
from orrery_services.protocol.snapshots import TAG, Ref
from orrery_services.store import refs

from tests.services.store.conftest import compiled_loops, database, server, writer
from tests.services.store.test_recovery import Held

__all__ = ["compiled_loops", "database", "server", "writer"]


@pytest.fixture
def node(writer, monkeypatch):
    """A node that commands open."""
    held = Held(writer)
    monkeypatch.setattr(show, "Node", lambda settings: held)
    monkeypatch.setattr(show.common, "settings_of", lambda _: None)
    monkeypatch.setattr(Held, "__exit__", lambda *_: None)
    return held


def test_a_move_is_shown_by_its_key_which_holds_an_at_sign(node, capsys):
    id_ = "ab" * 32
    refs.move(node.connection, 1, Ref("n1", TAG + "eod", id_, 1, 0, id_, "me", 1), None)
    (key,) = node.connection.execute("SELECT key FROM facts WHERE kind = 'ref'").fetchone()

    show.show(key, as_json=True)

    assert "@" in key
    assert json.loads(capsys.readouterr().out)["key"] == key


def test_the_newest_facts_are_the_newest_of_every_stream(writer):
    for number in range(12):
        made = [facts.plain_fact("note", at, f"{at}/{number:09d}", {}, b"x")[-1] for at in (0, 1)]
        store.commit(writer, made, [])
    node = SimpleNamespace(connection=writer, settings=SimpleNamespace(partitions=1))

    found = log._facts(node, 6, "note")

    newest = ["1/000000011", "0/000000011", "1/000000010", "0/000000010"]
    assert [fact["key"] for fact in found] == [*newest, "1/000000009", "0/000000009"]
