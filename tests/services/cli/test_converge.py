"""Nodes are compared while a market goes on: at a moment when the same is everywhere."""

import threading
from types import SimpleNamespace

import pytest
from orrery_services import store
from orrery_services.cli import converge
from orrery_services.protocol import facts
from orrery_services.store import heartbeats, identity, receiving

from tests.services.store.conftest import compiled_loops, server

__all__ = ["compiled_loops", "server"]
PARTITIONS = 2
FACTS_LOG = "facts-log"


def of_no_mark(number: int) -> facts.Fact:
    """Return a fact that belongs to no partition of the market."""
    (fact,) = facts.plain_fact("note", PARTITIONS, f"note:{number:09d}", {}, b"x")
    return fact


class Pair:
    """Two nodes on one server. What n1 writes is brought to n2 when a test says so."""

    def __init__(self, server):
        self.nodes, self.written = [], 0
        for name in ("n1", "n2"):
            conninfo = server.conninfo(server.new_database(), "orrery_writer")
            connection = store.connect(conninfo)
            identity.begin(connection, name, identity.EMPTY_DISK)
            settings = SimpleNamespace(partitions=PARTITIONS)
            self.nodes.append(SimpleNamespace(name=name, connection=connection, settings=settings))
        self.origin = store.who(self.nodes[0].connection).origin
        self.replica = store.connect(conninfo)
        heartbeats.adopt_first(self.replica, "facts", FACTS_LOG)
        receiving.become_replica(self.replica)

    def write(self) -> None:
        store.commit(self.nodes[0].connection, [of_no_mark(self.written)], [])
        self.written += 1

    def bring(self, number: int) -> None:
        receipt = store.Receipt(self.origin, number + 1, of_no_mark(number))
        store.receive(self.replica, [receipt], FACTS_LOG, {0: number + 1})


@pytest.fixture
def pair(server):
    made = Pair(server)
    yield made
    for connection in (*(node.connection for node in made.nodes), made.replica):
        connection.close()


def test_what_is_on_its_way_is_waited_for(pair):
    pair.write()
    late = threading.Timer(0.3, pair.bring, [0])
    late.start()

    said = converge.compare(pair.nodes, {}, wait=20.0)
    late.join()

    assert (said["state"], said["facts_compared"]) == ("CONVERGED", 1)


def test_what_does_not_come_is_told(pair):
    pair.write()

    said = converge.compare(pair.nodes, {}, wait=0.2)

    assert (said["state"], said["facts_behind"]) == ("CATCHING UP", 1)


def test_what_comes_while_one_node_has_been_read_is_no_difference(pair, monkeypatch):
    pair.write()
    pair.bring(0)
    read = converge.stored.of_stream

    def while_it_goes_on(connection, stream):
        found = list(read(connection, stream))
        if connection is pair.nodes[0].connection:  # n1 has been read, n2 has not
            pair.bring(pair.written)
        return found

    monkeypatch.setattr(converge.stored, "of_stream", while_it_goes_on)
    said = converge.compare(pair.nodes, {}, wait=0.2)

    assert (said["state"], said["facts_compared"]) == ("CONVERGED", 1)
