"""`docker compose up`: trades go in, the same facts come out of both nodes."""

import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer

from tests.compose.conftest import ROOT, shell

pytestmark = [pytest.mark.compose, pytest.mark.timeout(2400)]

NODES = ("n1", "n2")
TRADES = 200
SYMBOL = f"T{int(time.time())}.COMPOSE"


def lines(done) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.strip()]


def wait_for(check, seconds_max: float, what: str):
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        if answer := check():
            return answer
        time.sleep(0.5)
    raise AssertionError(f"within {seconds_max:.0f} s {what}, but it did not happen")


@pytest.fixture(scope="module")
def sent(compose) -> list[tuple[str, str]]:
    """Trades from outside, by a plain client through the port on 127.0.0.1."""
    rows = [(f"{100 + i % 7}.{i % 10}0", str(1 + i % 5)) for i in range(TRADES)]
    port = compose.env["ORRERY_KAFKA_PORT"]
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "acks": "all"})
    for number, (price, size) in enumerate(rows):
        row = {"symbol": SYMBOL, "price": price, "size": size, "side": "buy"}
        row["ts_event_ns"] = 1_700_000_000_000_000_000 + number
        producer.produce("trades", key=SYMBOL, value=json.dumps(row))
    assert producer.flush(60) == 0
    return rows


def results(compose, node: str) -> list[str]:
    done = compose.orrery(f"read --chain default --symbol {SYMBOL} --node {node} --format csv")
    return lines(done)[1:] if done.returncode == 0 else []


def of_each_node(ask):
    """Return what each node answers; side by side: each is asked from a container of its own."""
    with ThreadPoolExecutor(len(NODES)) as pool:
        return dict(zip(NODES, pool.map(ask, NODES), strict=True))


def both(compose) -> dict[str, list[str]]:
    return of_each_node(lambda node: results(compose, node))


@pytest.fixture(scope="module")
def held(compose, sent) -> dict[str, list[str]]:
    """What both nodes answer once each has as many rows as were sent."""

    def there() -> dict[str, list[str]] | None:
        found = both(compose)
        return found if all(len(rows) >= len(sent) for rows in found.values()) else None

    return wait_for(there, 300, f"both nodes hold {len(sent)} rows of {SYMBOL}")


@pytest.mark.parametrize("node", NODES)
def test_every_trade_comes_out_of_every_node_once(sent, held, node: str):
    assert len(held[node]) == len(set(held[node])) == len(sent)


def test_both_nodes_answer_the_same_bytes(held):
    assert held["n1"] == held["n2"] != []


@pytest.fixture(scope="module")
def verified(compose, held):
    return of_each_node(lambda node: compose.orrery(f"verify --node {node}", seconds_max=900))


@pytest.mark.parametrize("node", NODES)
def test_what_is_stored_can_be_computed_again(verified, node: str):
    done = verified[node]

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9][0-9,]* chunks recomputed, 0 differ", done.stdout), done.stdout


def test_a_killed_worker_comes_back_and_nothing_is_lost(compose, held):
    name = compose.state("n1-analytics")["Name"]
    (pid,) = compose_inspect(compose, name, "{{.State.Pid}}")

    compose.tried("version")  # the engine answers
    kill(pid)

    def again() -> bool:
        (now,) = compose_inspect(compose, name, "{{.State.Pid}}")
        return now not in ("0", pid)

    wait_for(again, 120, "the engine starts the worker again")
    wait_for(lambda: both(compose) == held, 300, "both nodes answer as before")


def compose_inspect(compose, name: str, form: str) -> list[str]:
    return shell(f"docker inspect -f '{form}' {name}").stdout.split()


def kill(pid: str) -> None:
    os.kill(int(pid), signal.SIGKILL)  # not `docker kill`: the engine takes that for a wish


def test_the_nodes_converge(compose, sent):
    def converged() -> bool:
        return compose.orrery("converge --wait 60").returncode == 0

    wait_for(converged, 300, "the roots of both nodes are equal")


def test_ours_run_as_nobody_in_particular_and_write_nowhere(compose):
    for service in ("n1-packer", "n1-analytics", "n2-replication", "n2-gateway", "feed"):
        name = compose.state(service)["Name"]
        form = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} "
        form += "{{.HostConfig.CapDrop}} {{.HostConfig.Memory}}"
        told = shell(f"docker inspect -f '{form}' {name}").stdout.split()
        assert told[:3] == ["10001:10001", "true", "[ALL]"], (service, told)
        assert int(told[3]) > 0


def test_every_port_is_on_loopback(compose):
    published = compose.run("ps --format '{{.Ports}}'")

    assert "0.0.0.0" not in published and "[::]" not in published
    for name, port in compose.env.items():
        if name.endswith("_PORT"):
            socket.create_connection(("127.0.0.1", int(port)), timeout=60).close()


def test_no_password_is_in_an_environment_an_argument_or_a_log(compose):
    text = compose.run("exec -T n1-postgres sh -c 'cat /run/secrets/orrery/orrery_*'")
    passwords = [text[i : i + 32] for i in range(0, len(text.strip()), 32)]
    assert len(passwords) == 6 and all(len(each) == 32 for each in passwords)

    project = compose.env["COMPOSE_PROJECT_NAME"]
    every = f"docker ps -aq --filter label=com.docker.compose.project={project}"
    seen = shell(f"docker inspect $({every})").stdout + compose.run("logs --no-color")

    assert not [each for each in passwords if each in seen]


def test_the_file_names_no_version_by_itself():
    text = (ROOT / "docker-compose.yml").read_text()

    assert set(re.findall(r"image: (.+)", text)) <= {
        f"${{{name}_IMAGE}}" for name in ("ORRERY", "KAFKA", "CONNECT", "POSTGRES", "TSDB")
    }
