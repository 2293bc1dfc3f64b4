"""Logs never show a secret; health says what a service waits for."""

import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
import structlog
from orrery_services import log, metrics
from orrery_services.errors import ConfigError


@pytest.fixture
def lines():
    """Set logging up into a buffer and put everything back afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    log.set_up("packer", "n1", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_log_line_is_one_json_object_with_service_and_node(lines):
    structlog.get_logger("a").info("batch committed", rows=3)
    logging.getLogger("aiokafka").warning("rebalance %s", "now")

    ours, theirs = lines()
    assert (ours["event"], ours["rows"], ours["service"], ours["node"]) == (
        "batch committed",
        3,
        "packer",
        "n1",
    )
    assert (theirs["event"], theirs["level"], theirs["service"]) == (
        "rebalance now",
        "warning",
        "packer",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2"},
        {"writer_token": "hunter2"},
        {"conninfo": "host=a password=hunter2 user=b"},
        {"conninfo": "password='hunter2 with space'"},
        {"conninfo": "password=p@hunter2 user=b"},
        {"url": "postgresql://me:hunter2@host/db"},
        {"event": "cannot reach postgresql://me:hunter2@host/db"},
    ],
)
def test_a_secret_does_not_reach_the_log(lines, fields):
    event = fields.pop("event", "something")
    structlog.get_logger("b").error(event, **fields)

    (line,) = lines()
    assert "hunter2" not in json.dumps(line)
    assert log.HIDDEN in json.dumps(line)


def test_a_port_is_no_secret(lines):
    structlog.get_logger("b").error("asked", url="http://127.0.0.1:8428/health?to=me@host")

    (line,) = lines()
    assert line["url"] == "http://127.0.0.1:8428/health?to=me@host"


def get(server: metrics.Server, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def served():
    now = [0]
    health = metrics.Health(stalled_after_seconds=10, now=lambda: now[0])
    server = metrics.serve("127.0.0.1", 0, health)
    yield server, health, now
    server.shutdown()
    server.server_close()


def test_a_service_is_not_ready_until_it_says_so_and_says_why(served):
    server, health, _ = served

    assert get(server, "/readyz") == (503, b'{"ok": false, "why": "starting"}\n')
    health.ready()
    assert get(server, "/readyz")[0] == 200
    health.not_ready("catching up: 12 messages")
    assert b"catching up: 12 messages" in get(server, "/readyz")[1]


def test_a_loop_that_stops_turning_is_neither_alive_nor_ready(served):
    server, health, now = served
    health.beat()
    health.ready()
    assert get(server, "/livez")[0] == 200

    now[0] = 11_000_000_000
    assert get(server, "/livez")[0] == 503
    assert get(server, "/readyz")[0] == 503

    health.beat()
    assert get(server, "/livez")[0] == 200


def test_a_service_that_has_not_begun_is_alive_for_as_long_as_tables_are_waited_for(served):
    server, _, now = served

    now[0] = 600_000_000_000
    assert (get(server, "/livez")[0], get(server, "/readyz")[0]) == (200, 503)
    now[0] = 901_000_000_000
    assert get(server, "/livez")[0] == 503


def test_figures_are_served_and_an_unknown_path_names_the_known_ones(served):
    server, _, _ = served

    assert b"orrery_rows_total" in get(server, "/metrics")[1]
    status, body = get(server, "/nothing")
    assert (status, b"/livez" in body) == (404, True)


def test_more_clients_than_it_has_threads_for_wait_to_be_accepted():
    handler = type("Handler", (metrics._Handler,), {"health": metrics.Health()})
    server = metrics.Server(("127.0.0.1", 0), handler, connections_max=2)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]

    deadline = time.monotonic() + 60
    while threading.active_count() - before < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # in which a third would come
    threads = threading.active_count() - before
    for one in silent:
        one.close()

    assert threads == 2
    assert get(server, "/readyz")[0] == 503, "it answers again"
    server.shutdown()
    server.server_close()


def test_a_taken_port_is_named_with_the_setting_that_changes_it(served):
    server, _, _ = served

    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{server.port}.*ORRERY_METRICS_PORT"):
        metrics.serve("127.0.0.1", server.port, metrics.Health())


def test_a_process_whose_loop_hangs_is_ended_and_one_that_beats_is_not():
    program = (
        "import time; from orrery_services import metrics, process\n"
        "health = metrics.Health()\n"
        "process.watch(health, 3.0)\n"
        "for _ in range(40): health.beat(); time.sleep(0.1)\n"
        "print('beating', flush=True); time.sleep(60); print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 1
    assert "beating" in done.stdout and "still here" not in done.stdout
    assert "stalled" in done.stdout + done.stderr


def test_a_postgres_that_goes_away_ends_a_service_in_one_line_not_in_a_traceback():
    program = (
        "import psycopg; from orrery_services import process\n"
        "def main(*_): psycopg.connect('host=127.0.0.1 port=1 user=nobody')\n"
        "raise SystemExit(process.run('packer', main))\n"
    )
    env = {**os.environ, "ORRERY_NODE": "n1", "ORRERY_METRICS_PORT": "0", "ORRERY_HOME": "/nowhere"}

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)

    assert done.returncode == 1
    assert "Postgres went away" in done.stderr
    assert "Traceback" not in done.stderr and "defect" not in done.stderr
