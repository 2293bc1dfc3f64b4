"""The manifests as a cluster gets them: kustomize on a copy, with made-up images and passwords."""

import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from orrery_services.config import ROLES

ROOT = Path(__file__).resolve().parents[2]
NODES = ("n1", "n2")
OVERLAYS = ("k8s/cluster", "k8s/nodes/n1", "k8s/nodes/n2", "k8s/nodes/solo")
COMPONENTS = sorted(
    path.parent.name for path in (ROOT / "k8s" / "components").glob("*/kustomization.yaml")
)
IMAGES = ("SERVICES", "STAGE", "POSTGRES", "TSDB", "KAFKA", "CONNECT")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
Object = dict[str, Any]


def image(name: str) -> str:
    return f"registry.test/{name.lower()}@sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def copy_tree(target: Path, nodes: tuple[str, ...] = NODES) -> Path:
    """Lay the files that kustomize reads below `target`, with what is not in git made up."""
    for folder in ("k8s", "schemas", "connectors"):
        shutil.copytree(ROOT / folder, target / folder)
    (target / "k8s/images/images.env").write_text(
        "".join(f"{name}={image(name)}\n" for name in IMAGES)
    )
    for node in nodes:
        lines = "".join(f"{role}=made-up-{role}-{node}\n" for role in ROLES)
        (target / f"k8s/nodes/{node}/passwords.env").write_text(lines)
    lines = "".join(f"{node}=made-up-orrery_cdc-{node}\n" for node in nodes)
    (target / "k8s/cluster/sky/passwords.env").write_text(lines)
    return target


def build(tree: Path, overlay: str) -> list[Object]:
    """Return the objects of an overlay. Skips where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl (1.27 or later) is not on PATH, so no overlay can be built")
    done = subprocess.run(
        [kubectl, "kustomize", str(tree / overlay)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def built(overlay: str) -> list[Object]:
    with tempfile.TemporaryDirectory() as folder:
        return build(copy_tree(Path(folder)), overlay)


def with_component(component: str, node: str = "n1") -> list[Object]:
    """Return the overlay of a node with one component more, after its own."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        path = tree / f"k8s/nodes/{node}/kustomization.yaml"
        own = "  - ../../components/place\n"
        text = path.read_text()
        assert own in text
        path.write_text(text.replace(own, f"{own}  - ../../components/{component}\n"))
        return build(tree, f"k8s/nodes/{node}")


def workloads(objects: list[Object]) -> list[Object]:
    return [found for found in objects if found["kind"] in WORKLOADS]


def containers(workload: Object) -> Iterator[Object]:
    spec = workload["spec"]["template"]["spec"]
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def one(objects: list[Object], kind: str, name: str) -> Object:
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]
