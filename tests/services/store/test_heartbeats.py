"""What a heartbeat may name, and which log is the one meant."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from orrery_services import store
from orrery_services.protocol import facts
from orrery_services.store import heartbeats

from .test_ledger import LOG

SECONDS_MAX = 30.0


def heartbeat(named: object) -> facts.Fact:
    body = json.dumps(named).encode()
    return facts.plain_fact("heartbeat", 8, "heartbeat/n2.x", {"at_ns": 1}, body)[-1]


def test_a_heartbeat_names_numbers_by_origin_and_stream():
    named = {"n2.x": {"0": 0, "12": 1 << 61}, "n3.x": {}}

    assert heartbeats.read(heartbeat(named)) == named


@pytest.mark.parametrize(
    "named",
    [{"n2.x": {"a": 1}}, {"n2.x": {"-1": 1}}, {"n2.x": {"": 1}}, {"n2.x": {"9" * 10: 1}},
     {"n2.x": {"0": -1}}, {"n2.x": {"0": 1 << 63}}, {"n2\0": {"0": 1}}],
)  # fmt: skip
def test_a_heartbeat_that_no_node_could_hold_is_refused(named):
    with pytest.raises(ValueError, match="must name numbers by origin and stream"):
        heartbeats.read(heartbeat(named))


def wait_until_it_waits(connection: psycopg.Connection, pid: int) -> None:
    """Wait until another session stands before a lock."""
    deadline = time.monotonic() + SECONDS_MAX
    query = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"
    while connection.execute(query, [pid]).fetchone() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_services_may_adopt_the_first_log_at_once(server, database, writer):
    conninfo = server.conninfo(database, "orrery_writer")
    with (
        store.connect(conninfo) as late,
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(conninfo) as early,  # in a transaction: the moment stays open
    ):
        heartbeats.adopt_first(early, "ticks", LOG)
        other = pool.submit(heartbeats.adopt_first, late, "ticks", LOG)
        wait_until_it_waits(writer, late.info.backend_pid)
        early.commit()

        other.result(SECONDS_MAX)

    assert writer.execute("SELECT topic, log_id FROM logs").fetchall() == [("ticks", LOG)]
