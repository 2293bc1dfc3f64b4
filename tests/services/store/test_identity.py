"""Who a database is: from an empty disk to a restored one."""

import pytest
from orrery_services import store
from orrery_services.protocol.arrivals import Range
from orrery_services.store import heartbeats, identity

from .test_ledger import chunks


def test_an_empty_database_is_nobody(server, database):
    with store.connect(server.conninfo(database, "orrery_writer")) as connection:
        assert store.who(connection) is None
        assert not store.is_looked_at(connection)


def test_every_incarnation_has_its_own_name(writer):
    first = store.who(writer)

    second = identity.begin(writer, "n1", "restored")

    assert first.origin != second.origin
    assert identity.node_of(second.origin) == "n1"


def test_what_an_older_life_wrote_becomes_an_origin_like_any_other(writer):
    old = store.who(writer).origin
    store.commit(writer, chunks(0, 0))

    identity.begin(writer, "n1", "restored")
    heartbeats.heard(writer, {old: {"0": 4}})

    assert heartbeats.missing(writer) == {(old, 0): [Range(3, 4)]}


def test_rows_get_no_identity_before_a_started_server_was_looked_at(writer):
    insert = "INSERT INTO trades (symbol, price, size) VALUES ('A', 1, 1)"
    writer.execute(insert)

    writer.execute("UPDATE node SET server_started = server_started - interval '1 second'")

    assert not store.is_looked_at(writer)
    with pytest.raises(Exception, match="incarnation"):
        writer.execute(insert)


def test_a_look_that_finds_the_same_database_changes_nothing_else(writer):
    before = store.who(writer)
    writer.execute("UPDATE node SET server_started = server_started - interval '1 second'")

    identity.looked_at(writer, identity.server(writer))

    assert store.who(writer) == before


def test_a_new_incarnation_wants_new_connector_offsets(writer):
    identity.set_sources_begun(writer)
    before = identity.sources_begun(writer)

    identity.begin(writer, "n1", "restored")

    assert before and not identity.sources_begun(writer)
