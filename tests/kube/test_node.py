"""What only a real kubelet can say: a swapped image restarts its slot alone."""

import json

import pytest

from tests.kube.cluster import Cluster, eventually

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]

IMAGE = "docker.io/orrery/pause:{}"
SPACE = "orrery-probe"
SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def container(name: str, image: str, **more) -> dict:
    made = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent"}
    return made | {"securityContext": SECURITY} | more


def pod(name: str, *containers: dict) -> dict:
    spec = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 2}
    spec["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec["containers"] = list(containers)
    metadata = {"name": name, "namespace": SPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def space(node: Cluster) -> Cluster:
    node.ctr("images", "tag", "--force", IMAGE.format(1), IMAGE.format(2))
    node.kubectl("create", "namespace", SPACE)
    label = "pod-security.kubernetes.io/enforce=restricted"
    node.kubectl("label", "namespace", SPACE, label)
    eventually(lambda: node.get("-n", SPACE, "serviceaccount", "default"), 60, "an account is made")
    return node


def statuses(cluster: Cluster, name: str) -> dict[str, dict]:
    found = cluster.get("-n", SPACE, "pod", name)["status"].get("containerStatuses", [])
    return {each["name"]: each for each in found}


def all_running(cluster: Cluster, name: str) -> dict[str, dict] | None:
    found = statuses(cluster, name)
    return found if found and all("running" in each["state"] for each in found.values()) else None


def test_a_new_image_restarts_its_slot_alone_and_the_pod_stays(space: Cluster):
    slots = (container("slot-a", IMAGE.format(1)), container("slot-b", IMAGE.format(1)))
    space.kubectl("create", "-f", "-", stdin=json.dumps(pod("pool", *slots)))
    before = eventually(lambda: all_running(space, "pool"), 120, "both slots run")
    uid = space.get("-n", SPACE, "pod", "pool")["metadata"]["uid"]

    patch = {"spec": {"containers": [{"name": "slot-a", "image": IMAGE.format(2)}]}}
    space.kubectl("-n", SPACE, "patch", "pod", "pool", "-p", json.dumps(patch))

    def swapped() -> dict | None:
        now = all_running(space, "pool")
        return (
            now if now and now["slot-a"]["containerID"] != before["slot-a"]["containerID"] else None
        )

    after = eventually(swapped, 60, "slot-a runs anew")
    assert after["slot-b"]["containerID"] == before["slot-b"]["containerID"]
    assert after["slot-b"]["restartCount"] == 0
    assert space.get("-n", SPACE, "pod", "pool")["metadata"]["uid"] == uid
