"""What only a real API server can say: restricted pods, who may do what, which images pass."""

import json

import pytest
import yaml

from tests.contracts import manifests
from tests.kube.cluster import Cluster

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]

CONTROLLER = "system:serviceaccount:orrery-n1:hotswap"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory):
    return manifests.copy_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def applied(api: Cluster, tree):
    """Return what the server said to each overlay, in order."""
    overlays = ("k8s/cluster", "k8s/nodes/n1", "k8s/nodes/n2")
    return {name: api.tried("apply", "-k", str(tree / name)) for name in overlays}


@pytest.fixture(scope="module")
def pool_pod(api: Cluster, applied):
    """Return the pod of the pool, made from the template: nothing else makes pods here."""
    pool = api.get("-n", "orrery-n1", "statefulset", "domino")
    pod = pod_of(pool, "domino-0")
    api.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    return pod


def pod_of(workload: dict, name: str) -> dict:
    template = workload["spec"]["template"]
    metadata = {
        **template["metadata"],
        "name": name,
        "namespace": workload["metadata"]["namespace"],
    }
    claims = [
        claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])
    ]
    volumes = [{"name": claim, "emptyDir": {}} for claim in claims]
    spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", []), *volumes]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def swap(api: Cluster, container: str, image: str, **kind: str):
    key = kind.get("key", "containers")
    patch = {"spec": {key: [{"name": container, "image": image}]}}
    return api.tried(
        *("-n", "orrery-n1", "patch", "pod", "domino-0", f"--as={CONTROLLER}"),
        *("--type=strategic", "-p", json.dumps(patch)),
    )


@pytest.mark.parametrize("overlay", ["k8s/cluster", "k8s/nodes/n1", "k8s/nodes/n2"])
def test_every_overlay_applies_and_no_pod_of_it_would_be_refused(applied, overlay):
    done = applied[overlay]

    assert done.returncode == 0, done.stderr
    assert "would violate" not in done.stderr, done.stderr


def test_applying_again_changes_nothing(api: Cluster, applied, tree):
    def versions() -> dict[str, str]:
        kinds = "deployments,statefulsets,daemonsets,jobs,services,configmaps,secrets,roles"
        found = api.get(kinds, "-n", "orrery-n1")["items"]
        return {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in found}

    before = versions()

    api.kubectl("apply", "-k", str(tree / "k8s/nodes/n1"))

    assert versions() == before


def test_solo_is_accepted_whole_by_a_server_side_dry_run(api: Cluster, applied, tree):
    for name in ("solo", "solosky"):  # names that are not taken yet
        api.kubectl("create", "namespace", f"orrery-{name}")
    text = yaml.safe_dump_all(manifests.build(tree, "k8s/nodes/solo"))
    text = text.replace("orrery-n1", "orrery-solo").replace("orrery-sky", "orrery-solosky")
    inside = [each for each in yaml.safe_load_all(text) if "namespace" in each["metadata"]]
    assert len(inside) > 40

    api.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(inside))


def test_every_pod_of_every_workload_is_admitted_as_restricted(api: Cluster, applied):
    workloads = api.get("deployments,statefulsets,daemonsets,jobs", "-A")["items"]
    assert len(workloads) > 20

    pods = [pod_of(each, f"probe-{number}") for number, each in enumerate(workloads)]

    api.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(pods))


def test_a_pod_that_would_run_as_root_is_refused_with_the_reason(api: Cluster, applied):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": "orrery-n1"},
    }
    pod["spec"] = {"containers": [{"name": "c", "image": "x"}]}

    done = api.tried("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))

    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr


def test_a_misspelt_field_is_refused(api: Cluster, applied):
    text = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: orrery-n1}, "
    text += "spec: {prts: []}}"

    done = api.tried("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)

    assert done.returncode != 0
    assert 'unknown field "spec.prts"' in done.stderr


def test_the_controller_may_put_a_listed_image_into_a_slot(api: Cluster, pool_pod):
    done = swap(api, "slot-a", manifests.image("SERVICES"))

    assert done.returncode == 0, done.stderr


def test_a_listed_image_may_bear_the_number_of_its_stage_as_tag(api: Cluster, pool_pod):
    done = swap(api, "slot-a", manifests.image("STAGE").replace("@", ":stage-12@"))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "image",
    [
        "registry.test/other@sha256:" + "0" * 64,
        manifests.image("STAGE").replace("@", ":latest@"),
        manifests.image("STAGE").replace("@", "-other:stage-1@"),
        manifests.image("STAGE").split("@")[0] + ":stage-1@sha256:" + "0" * 64,
        manifests.image("STAGE").split("@")[0] + ":stage-1",
        manifests.image("STAGE").split("@")[0] + ":latest",
        manifests.image("STAGE").split("@")[0],
    ],
)
def test_no_other_image_gets_into_a_slot(api: Cluster, pool_pod, image: str):
    done = swap(api, "slot-b", image)

    assert done.returncode != 0
    assert "must be one by digest that the ConfigMap images" in done.stderr


def test_the_memo_keeps_its_image_whoever_the_controller_is(api: Cluster, pool_pod):
    done = swap(api, "memo", manifests.image("STAGE"), key="initContainers")

    assert done.returncode != 0
    assert "may not change the image of the memo" in done.stderr


def test_an_administrator_is_not_bound_by_the_policy(api: Cluster, pool_pod):
    patch = {"spec": {"containers": [{"name": "slot-b", "image": "registry.test/by-hand:1"}]}}

    api.kubectl(
        "-n", "orrery-n1", "patch", "pod", "domino-0", "-p", json.dumps(patch), "--dry-run=server"
    )


def test_two_swaps_of_the_same_pod_at_once_do_not_both_win(api: Cluster, pool_pod):
    seen = api.get("-n", "orrery-n1", "pod", "domino-0")["metadata"]["resourceVersion"]
    api.kubectl("-n", "orrery-n1", "annotate", "--overwrite", "pod", "domino-0", "note=moved")
    patch = {"metadata": {"resourceVersion": seen}}
    patch["spec"] = {"containers": [{"name": "slot-a", "image": manifests.image("STAGE")}]}

    done = api.tried("-n", "orrery-n1", "patch", "pod", "domino-0", "-p", json.dumps(patch))

    assert done.returncode != 0
    assert "Conflict" in done.stderr or "modified" in done.stderr


@pytest.mark.parametrize(
    ("verb", "what", "space", "allowed"),
    [
        ("get", "pod/domino-0", "orrery-n1", True),
        ("patch", "pod/domino-0", "orrery-n1", True),
        ("delete", "pod/domino-0", "orrery-n1", True),
        ("get", "pod/postgres-0", "orrery-n1", False),
        ("delete", "pod/postgres-0", "orrery-n1", False),
        ("patch", "pod/domino-0", "orrery-n2", False),
        ("list", "pods", "orrery-n1", False),
        ("create", "pods", "orrery-n1", False),
        ("get", "secrets", "orrery-n1", False),
        ("get", "configmaps", "orrery-n1", False),
        ("patch", "pods/resize", "orrery-n1", False),
        ("create", "pods/exec", "orrery-n1", False),
    ],
)
def test_the_controller_may_do_what_its_role_names_and_no_more(
    api: Cluster, applied, verb: str, what: str, space: str, allowed: bool
):
    done = api.tried("auth", "can-i", verb, what, "-n", space, f"--as={CONTROLLER}")

    assert done.stdout.strip() == ("yes" if allowed else "no"), done.stderr


def test_a_watch_of_the_one_pod_by_name_is_allowed(api: Cluster, pool_pod):
    done = api.tried(
        *("-n", "orrery-n1", "get", "pods", f"--as={CONTROLLER}"),
        *("--field-selector", "metadata.name=domino-0", "-o", "name"),
    )

    assert done.stdout.strip() == "pod/domino-0", done.stderr
