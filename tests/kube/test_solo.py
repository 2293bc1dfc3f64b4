"""`kubectl apply -k k8s/nodes/solo` on a real kubelet: trades go in, their facts come out."""

import json
import re
import time

import pytest

from tests.kube.whole import Whole

pytestmark = [pytest.mark.kube, pytest.mark.timeout(2400)]

SYMBOL = f"T{int(time.time())}.KUBE"


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
    solo.produce(SYMBOL, 0, 200)

    rows = solo.wait_for_results(SYMBOL, 200)

    assert len(rows) == len(set(rows)) == 200


def test_deleted_pods_come_back_and_nothing_is_lost_or_doubled(solo: Whole):
    gone = ["pod/analytics-0", "pod/replication-0"]
    solo.produce(SYMBOL, 200, 100)
    solo.cluster.kubectl("-n", "orrery-n1", "delete", "--wait=false", *gone)
    solo.cluster.kubectl("-n", "orrery-n1", "delete", "--wait=false", "pod", "-l", "app=packer")
    solo.wait_ready("orrery-n1")
    solo.produce(SYMBOL, 300, 100)

    rows = solo.wait_for_results(SYMBOL, 400)

    assert len(rows) == len(set(rows)) == 400


def test_what_is_stored_can_be_computed_again(solo: Whole):
    done = solo.orrery("n1", "verify", seconds_max=600)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9][0-9,]* chunks recomputed, 0 differ", done.stdout), done.stdout
