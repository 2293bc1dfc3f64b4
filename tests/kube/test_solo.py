"""`kubectl apply -k k8s/nodes/solo` on a real kubelet: trades go in, their facts come out."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kube.cluster import eventually
from tests.kube.whole import Whole, secrets_folder

pytestmark = [pytest.mark.kube, pytest.mark.timeout(2400)]

SYMBOL = f"T{int(time.time())}.KUBE"
PRODUCE = """
import json, os, sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": os.environ["ORRERY_KAFKA"], "acks": "all"})
symbol, first, many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(first, first + many):
    row = {"symbol": symbol, "price": f"{100 + number % 7}.5", "size": str(1 + number % 5)}
    row |= {"side": "buy", "ts_event_ns": 1_700_000_000_000_000_000 + number}
    producer.produce("trades", key=symbol, value=json.dumps(row))
assert producer.flush(60) == 0
"""


def produce(solo: Whole, first: int, many: int) -> None:
    solo.python("n1", PRODUCE, SYMBOL, str(first), str(many))


def results(solo: Whole, node: str = "n1") -> list[str]:
    done = solo.orrery(node, f"read --chain default --symbol {SYMBOL} --format csv")
    return done.stdout.splitlines()[1:] if done.returncode == 0 else []


def wait_for_results(solo: Whole, many: int, node: str = "n1") -> list[str]:
    def there() -> list[str]:
        rows = results(solo, node)
        return rows if len(rows) >= many else []

    return eventually(there, 300, f"{node} holds {many} rows of {SYMBOL}")


def test_every_pod_of_solo_gets_ready(solo: Whole):
    names = {pod["metadata"]["labels"].get("app") for pod in solo.pods("n1")}

    expected = {"postgres", "tsdb", "packer", "analytics", "replication", "gateway", "domino"}
    assert expected | {"hotswap", "feed"} <= names


def test_a_trade_can_be_followed_hop_by_hop(solo: Whole):
    done = solo.orrery("n1", "trade FOLLOWED.KUBE 101.5 3 --seconds 240 --json")

    assert done.returncode == 0, done.stdout + done.stderr
    hops = {hop["hop"] for hop in json.loads(done.stdout)}
    assert hops >= {"feed", "packer", "store", "mark"}, done.stdout


def test_every_trade_comes_out_once(solo: Whole):
    produce(solo, 0, 200)

    rows = wait_for_results(solo, 200)

    assert len(rows) == len(set(rows)) == 200


def test_deleted_pods_come_back_and_nothing_is_lost_or_doubled(solo: Whole):
    gone = ["pod/analytics-0", "pod/replication-0"]
    produce(solo, 200, 100)
    solo.cluster.kubectl("-n", "orrery-n1", "delete", "--wait=false", *gone)
    solo.cluster.kubectl("-n", "orrery-n1", "delete", "--wait=false", "pod", "-l", "app=packer")
    solo.wait_ready("orrery-n1")
    produce(solo, 300, 100)

    rows = wait_for_results(solo, 400)

    assert len(rows) == len(set(rows)) == 400


def test_what_is_stored_can_be_computed_again(solo: Whole):
    done = solo.orrery("n1", "verify", seconds_max=600)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9][0-9,]* chunks recomputed, 0 differ", done.stdout), done.stdout


def test_a_second_universe_joins_and_holds_the_same(solo: Whole):
    solo.cluster.kubectl("apply", "-k", str(solo.tree / "k8s/nodes/n2"))
    solo.wait_ready("orrery-n2")

    rows = wait_for_results(solo, 400, "n2")

    assert rows == results(solo, "n1")


def test_both_universes_converge(solo: Whole):
    env = {
        "ORRERY_NODES_DIR": str(solo.tree / "k8s/nodes"),
        "ORRERY_ROOT": str(solo.tree),
        "ORRERY_HOME": str(solo.tree / "home"),
    }
    for node in ("n1", "n2"):
        env[f"ORRERY_{node.upper()}_POSTGRES_HOST"] = solo.address(node, "postgres")
        env[f"ORRERY_{node.upper()}_POSTGRES_PORT"] = "5432"
        env[f"ORRERY_{node.upper()}_SECRETS"] = str(secrets_folder(solo.tree, node))
    command = [str(Path(sys.executable).with_name("orrery")), "converge", "--wait", "60"]

    def converged() -> bool:
        done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-500:]
        return True

    eventually(converged, 300, "the roots of both universes are equal")
