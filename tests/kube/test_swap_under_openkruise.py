"""The overlay for OpenKruise, run for real: its manager, the pool, an image put in in place."""

import json
import time
from collections.abc import Iterator

import pytest
import yaml
from orrery_services.config import Settings

from tests.contracts import manifests
from tests.kube import openkruise
from tests.kube.asking import FIVE, SPACE, ask, assert_completed_once, idle_pod
from tests.kube.cluster import built, eventually
from tests.kube.whole import Whole

pytestmark = [pytest.mark.kube, pytest.mark.timeout(1200)]

POOL, CLONES = "statefulset.apps.kruise.io/domino", "cloneset.apps.kruise.io/clones"


@pytest.fixture(scope="module")
def manager(solo: Whole) -> Iterator[Whole]:
    folder = built("KRUISE")
    if folder is None:
        pytest.skip("OpenKruise is not built; tests/kube/build.sh builds it (5 minutes, once)")
    with openkruise.running(solo.cluster, folder):
        yield solo


@pytest.fixture(scope="module")
def declared(solo: Whole) -> dict:
    """The pool as the overlay of a node with the component kruise has it."""
    path = solo.tree / "k8s/nodes/n1/kustomization.yaml"
    before = path.read_text()
    own = "  - ../../components/place\n"
    path.write_text(before.replace(own, f"{own}  - ../../components/kruise\n"))
    try:
        return manifests.one(manifests.build(solo.tree, "k8s/nodes/n1"), "StatefulSet", "domino")
    finally:
        path.write_text(before)


@pytest.fixture(scope="module")
def pool(manager: Whole, declared: dict) -> Iterator[Whole]:
    """The pool under OpenKruise instead of the one of plain Kubernetes."""
    plain = ("statefulset.apps/domino", "--replicas")
    manager.cluster.kubectl(*SPACE, "scale", f"{plain[1]}=0", plain[0])
    manager.cluster.kubectl(*SPACE, "wait", "--for=delete", "pod/domino-0", "--timeout=120s")
    manager.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(declared))
    eventually(lambda: is_ready(manager, "domino-0"), 180, "the pool is ready under OpenKruise")
    yield manager
    manager.cluster.kubectl(*SPACE, "delete", POOL, "--timeout=120s")
    manager.cluster.kubectl(*SPACE, "scale", f"{plain[1]}=1", plain[0])
    manager.wait_ready("orrery-n1")


def is_ready(whole: Whole, name: str) -> bool:
    found = whole.cluster.tried(*SPACE, "get", "pod", name, "-o", "json")
    conditions = json.loads(found.stdout)["status"].get("conditions", []) if found.stdout else []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def containers(pod: dict) -> dict[str, str]:
    listed = pod["status"]["containerStatuses"] + pod["status"]["initContainerStatuses"]
    return {each["name"]: each["containerID"] for each in listed}


def images(whole: Whole) -> dict[str, str]:
    lines = (whole.tree / "k8s/images/images.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def put_into_slot_a(whole: Whole, workload: str, image: str) -> None:
    found = whole.cluster.get(*SPACE, workload)
    slots = found["spec"]["template"]["spec"]["containers"]
    number = next(n for n, slot in enumerate(slots) if slot["name"] == "slot-a")
    path = f"/spec/template/spec/containers/{number}/image"
    patch = [{"op": "replace", "path": path, "value": image}]
    whole.cluster.kubectl(*SPACE, "patch", workload, "--type=json", "-p", json.dumps(patch))


def assert_slot_a_alone_is_new(before: dict, after: dict) -> None:
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    old, new = containers(before), containers(after)
    assert {name for name in old if old[name] != new[name]} == {"slot-a"}


def test_a_chain_is_swapped_through_a_pool_of_openkruise(pool: Whole, settings: Settings):
    run = ask(settings, "daisy", "kruise\n")

    assert_completed_once(settings, run, "kruise\n", FIVE)


def test_a_new_placeholder_waits_until_let_go_and_then_replaces_its_slot_alone(pool: Whole):
    before, image = idle_pod(pool), images(pool)["ONE"]  # the one of the run before is gone
    eventually(lambda: is_ready(pool, "domino-0"), 180, "the pool is ready")
    put_into_slot_a(pool, POOL, image)
    time.sleep(5)
    assert containers(pool.cluster.get(*SPACE, "pod", "domino-0")) == containers(before)

    began = time.monotonic()
    go_on = {"spec": {"updateStrategy": {"rollingUpdate": {"paused": False}}}}
    pool.cluster.kubectl(*SPACE, "patch", POOL, "--type=merge", "-p", json.dumps(go_on))

    def updated() -> bool:
        status = pool.cluster.get(*SPACE, POOL)["status"]
        return status.get("updatedReadyReplicas") == 1 and is_ready(pool, "domino-0")

    eventually(updated, 120, "the pool has the new image")
    print(f"\nlet go -> updated and ready {time.monotonic() - began:.1f} s")
    assert_slot_a_alone_is_new(before, pool.cluster.get(*SPACE, "pod", "domino-0"))


def test_a_clone_set_of_the_same_pods_changes_the_image_of_a_slot_in_place(
    manager: Whole, declared: dict
):
    labels = {"app": "clones"}
    template = declared["spec"]["template"]
    template = template | {"metadata": template["metadata"] | {"labels": labels}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    spec["updateStrategy"] = {"type": "InPlaceOnly", "maxUnavailable": 2}
    made = {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "spec": spec}
    made["metadata"] = {"name": "clones", "namespace": "orrery-n1"}
    manager.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(made))

    def pods() -> dict[str, dict]:
        found = manager.cluster.get(*SPACE, "pods", "-l", "app=clones")["items"]
        return {pod["metadata"]["name"]: pod for pod in found}

    def all_ready(field: str) -> bool:
        found = manager.cluster.get(*SPACE, CLONES)
        status = found.get("status", {})
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return seen and status.get(field) == 2  # a status of before the patch counts the old ones

    eventually(lambda: all_ready("readyReplicas"), 180, "both clones are ready")
    before, began = pods(), time.monotonic()

    put_into_slot_a(manager, CLONES, images(manager)["ONE"])

    eventually(lambda: all_ready("updatedReadyReplicas"), 120, "both clones have the new image")
    print(f"\npatch -> both updated and ready {time.monotonic() - began:.1f} s")
    after = pods()
    assert set(after) == set(before)
    for name, pod in before.items():
        assert_slot_a_alone_is_new(pod, after[name])
