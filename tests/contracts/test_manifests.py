"""The manifests without a cluster: schemas of every supported release, and our own rules."""

import functools
import re

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from orrery_services.memo import fact_memo

from tests.contracts.manifests import (
    COMPONENTS,
    IMAGES,
    OVERLAYS,
    ROOT,
    WORKLOADS,
    build,
    built,
    containers,
    copy_tree,
    image,
    one,
    with_component,
    workloads,
)

# It reads a file of 1.5 MB for every object; read once, the tests take seconds.
utils.schema_contents = functools.cache(utils.schema_contents)

RELEASES = tuple(f"1.{minor}" for minor in range(30, 37))
CLUSTER_COMPONENTS = {"strimzi"}  # laid over k8s/cluster, not over a node
CUSTOM = ("apps.kruise.io", "kafka.strimzi.io", "monitoring.coreos.com")
NEEDS = {"pod-budget": "1.34"}  # the release that first knows what the component uses
BY_DIGEST = re.compile(r"^[a-z0-9./:-]+@sha256:[0-9a-f]{64}$")

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
every_component = pytest.mark.parametrize(
    "component", sorted(set(COMPONENTS) - CLUSTER_COMPONENTS - {"place"})
)


def validate(objects: list[dict], release: str) -> None:
    for found in objects:
        if not found["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(found, release, strict=True)


@every_overlay
@pytest.mark.parametrize("release", RELEASES)
def test_every_object_is_valid_in_every_supported_release(overlay: str, release: str):
    validate(built(overlay), release)


@every_component
def test_every_component_can_be_laid_over_a_node(component: str):
    objects = with_component(component)

    validate(objects, NEEDS.get(component, "1.36"))


@every_overlay
def test_the_build_is_deterministic(overlay: str, tmp_path):
    assert built(overlay) == build(copy_tree(tmp_path), overlay)


@every_overlay
def test_every_image_is_named_by_digest_and_comes_from_the_one_list(overlay: str):
    listed = {image(name) for name in IMAGES}

    for workload in workloads(built(overlay)):
        for container in containers(workload):
            assert BY_DIGEST.match(container["image"]), container["image"]
            assert container["image"] in listed
            assert container["imagePullPolicy"] == "IfNotPresent"


@every_overlay
def test_every_pod_is_restricted_and_writes_only_where_it_says(overlay: str):
    for workload in workloads(built(overlay)):
        spec = workload["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, workload["metadata"]["name"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(workload):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context.get("privileged")


@every_overlay
def test_no_pod_has_a_token_it_does_not_need(overlay: str):
    for workload in workloads(built(overlay)):
        spec = workload["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        asked = [v for v in spec.get("volumes", []) if "serviceAccountToken" in str(v)]
        assert bool(asked) == (workload["metadata"]["name"] == "hotswap")


@every_overlay
def test_every_container_asks_for_memory_and_is_bounded(overlay: str):
    for workload in workloads(built(overlay)):
        for container in containers(workload):
            assert container["resources"]["requests"]["memory"], workload["metadata"]["name"]
            assert container["resources"]["limits"]["memory"], workload["metadata"]["name"]


@every_overlay
def test_everything_that_serves_is_probed_and_slots_are_never_killed_by_a_probe(overlay: str):
    for workload in workloads(built(overlay)):
        if workload["kind"] == "Job":
            continue
        for container in containers(workload):
            slot = container["name"].startswith("slot-")
            if not slot and container["name"] != "memo":
                assert "readinessProbe" in container, workload["metadata"]["name"]
            assert ("livenessProbe" in container) != slot or workload["metadata"]["name"] == "feed"


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_slot_has_no_command_of_its_own_and_two_slots_differ_in_their_letter_alone(node: str):
    pool = one(built(f"k8s/nodes/{node}"), "StatefulSet", "domino")
    slots = [c for c in containers(pool) if c["name"].startswith("slot-")]

    assert [slot["name"] for slot in slots] == ["slot-a", "slot-b"]
    for slot in slots:
        assert "command" not in slot and "args" not in slot
        assert slot["image"] == image("STAGE")
    a, b = (yaml.safe_dump({k: v for k, v in s.items() if k != "resources"}) for s in slots)
    assert re.sub(r"(slot|token|order)-a", r"\1-b", a).replace("value: a\n", "value: b\n") == b


def test_the_memo_may_take_what_the_largest_output_takes():
    """Measured: a child that writes a fact has 98 MB, and twice the body; the memo itself 41 MB."""
    pool = one(built("k8s/nodes/n1"), "StatefulSet", "domino")
    (memo,) = pool["spec"]["template"]["spec"]["initContainers"]

    limit_mb = int(memo["resources"]["limits"]["memory"].removesuffix("Mi")) * 1.048576

    assert limit_mb > 41 + 98 + 2 * fact_memo.BODY_BYTES_MAX / 1e6


def test_the_memo_is_a_sidecar_that_starts_before_the_slots():
    pool = one(built("k8s/nodes/n1"), "StatefulSet", "domino")
    (memo,) = pool["spec"]["template"]["spec"]["initContainers"]

    assert memo["name"] == "memo"
    assert memo["restartPolicy"] == "Always"
    assert memo["startupProbe"]["httpGet"]["port"] == "memo"


def test_the_placeholder_is_the_image_that_the_slots_begin_with():
    pool = one(built("k8s/nodes/n1"), "StatefulSet", "domino")

    annotations = pool["spec"]["template"]["metadata"]["annotations"]
    assert annotations["hotswap.orrery/placeholder"] == image("STAGE")


def test_the_list_of_images_that_the_admission_policy_reads_is_that_of_the_universe():
    objects = built("k8s/nodes/n1")
    allowed = one(objects, "ConfigMap", "images")
    binding = one(built("k8s/cluster"), "ValidatingAdmissionPolicyBinding", "orrery-hotswap")

    assert binding["spec"]["paramRef"]["name"] == allowed["metadata"]["name"]
    assert allowed["metadata"]["namespace"] == "orrery-n1"
    assert set(allowed["data"].values()) == {image(name) for name in IMAGES}


def test_the_controller_may_touch_the_pods_of_the_pool_and_nothing_else():
    role = one(built("k8s/nodes/n1"), "Role", "hotswap")
    pool = one(built("k8s/nodes/n1"), "StatefulSet", "domino")
    pods = {f"domino-{number}" for number in range(pool["spec"]["replicas"])}

    for rule in role["rules"]:
        assert set(rule["resources"]) <= {"pods", "pods/resize"}
        assert set(rule["resourceNames"]) == pods
        assert "create" not in rule["verbs"] and "*" not in rule["verbs"]


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_universe_lives_in_its_namespace_on_its_machine_and_its_disks(node: str):
    objects = built(f"k8s/nodes/{node}")

    for found in objects:
        if found["kind"] in ("Namespace", "PersistentVolume"):
            assert node in found["metadata"]["name"]
        else:
            assert found["metadata"]["namespace"] == f"orrery-{node}", found["metadata"]
    for workload in workloads(objects):
        selector = workload["spec"]["template"]["spec"]["nodeSelector"]
        assert selector == {"kubernetes.io/hostname": node}
    for volume in (found for found in objects if found["kind"] == "PersistentVolume"):
        assert f"/{node}/" in volume["spec"]["local"]["path"]
        assert f"'values': ['{node}']" in str(volume["spec"]["nodeAffinity"])


def test_two_universes_differ_in_name_place_and_declaration_alone():
    def plain(node: str) -> str:
        objects = [
            f for f in built(f"k8s/nodes/{node}") if f["kind"] not in ("Secret", "ConfigMap")
        ]
        text = yaml.safe_dump(objects).replace(node, "NODE")
        return re.sub(r"(universe|place|passwords)-[a-z0-9]{10}", r"\1", text)

    assert plain("n1") == plain("n2")


def test_adding_a_node_takes_less_than_twenty_lines():
    for path in (ROOT / "k8s/nodes").glob("n*/kustomization.yaml"):
        assert len(path.read_text().splitlines()) < 20, path


def test_solo_needs_no_machine_by_name_and_no_disk():
    objects = built("k8s/nodes/solo")

    assert not [f for f in objects if f["kind"] in ("PersistentVolume", "PersistentVolumeClaim")]
    assert one(objects, "StatefulSet", "kafka")["spec"]["replicas"] == 1
    for workload in workloads(objects):
        assert "nodeSelector" not in workload["spec"]["template"]["spec"]
        assert "volumeClaimTemplates" not in workload["spec"]


def test_every_namespace_enforces_the_restricted_standard():
    for overlay in OVERLAYS:
        for found in built(overlay):
            if found["kind"] == "Namespace":
                labels = found["metadata"]["labels"]
                assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_name_that_a_pod_mounts_or_reads_exists():
    for overlay in ("k8s/nodes/n1", "k8s/nodes/solo"):
        objects = built(overlay)
        known = {
            (f["kind"], f["metadata"].get("namespace"), f["metadata"]["name"]) for f in objects
        }
        for workload in workloads(objects):
            space = workload["metadata"]["namespace"]
            for kind, name in referenced(workload):
                assert (kind, space, name) in known, (workload["metadata"]["name"], kind, name)


def referenced(workload: dict):
    spec = workload["spec"]["template"]["spec"]
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in containers(workload):
        for source in container.get("envFrom", []):
            yield "ConfigMap", source["configMapRef"]["name"]
        for entry in container.get("env", []):
            if "configMapKeyRef" in entry.get("valueFrom", {}):
                yield "ConfigMap", entry["valueFrom"]["configMapKeyRef"]["name"]


def test_a_password_goes_only_to_those_who_need_it():
    wanted = {
        "packer": {"orrery_writer", "orrery_reader"},
        "gateway": {"orrery_writer", "orrery_reader"},
        "analytics": {"orrery_writer", "orrery_reader"},
        "replication": {"orrery_writer", "orrery_reader", "orrery_cdc"},
        "snapshots": {"orrery_writer", "orrery_reader", "orrery_gc"},
        "postgres": {"orrery_admin"},
        "feed": set(),
        "tsdb": set(),
    }
    objects = built("k8s/nodes/n1")

    for workload in workloads(objects):
        name = workload["metadata"]["name"]
        volumes = workload["spec"]["template"]["spec"].get("volumes", [])
        keys = {i["key"] for v in volumes if "secret" in v for i in v["secret"].get("items", [])}
        if name in wanted:
            assert keys == wanted[name], name
        assert "orrery_admin" not in keys or name == "postgres"


def test_kinds_are_those_that_the_tests_look_at():
    kinds = {
        f["kind"] for overlay in OVERLAYS for f in built(overlay) if "template" in f.get("spec", {})
    }

    assert kinds == set(WORKLOADS)
