"""A second universe beside the first: it joins, holds the same, and both converge."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kube.cluster import eventually
from tests.kube.whole import Whole, secrets_folder

pytestmark = [pytest.mark.kube, pytest.mark.timeout(2400)]


def test_a_second_universe_joins_and_holds_what_was_before_it_and_what_comes(solo: Whole):
    symbol = f"J{int(time.time())}.KUBE"
    solo.produce(symbol, 0, 100)
    solo.wait_for_results(symbol, 100)
    solo.cluster.kubectl("apply", "-k", str(solo.tree / "k8s/nodes/n2"))
    solo.wait_ready("orrery-n2")
    solo.produce(symbol, 100, 100)

    rows = solo.wait_for_results(symbol, 200, "n2")

    assert rows == solo.wait_for_results(symbol, 200, "n1")


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
