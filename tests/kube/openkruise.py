"""OpenKruise's manager beside the test cluster: its CRDs and webhooks applied, then itself."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.kube.cluster import Cluster, eventually

# Its roles and its own Deployment are for a manager in a pod; its node daemon was not built.
APPLIED = (
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "Namespace",
)
WEBHOOKS = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
KINDS = ("statefulsets.apps.kruise.io", "clonesets.apps.kruise.io")
ADDRESS = "10.123.46.1"  # of the node (env.sh); the API server reaches the webhooks there


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Install it, run its manager, and leave the cluster as it was."""
    listed = yaml.safe_load_all((folder / "install.yaml").read_text())
    objects = yaml.safe_dump_all([each for each in listed if each["kind"] in APPLIED])
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=objects)
    manager = start(cluster, folder)
    try:
        eventually(lambda: is_served(cluster, manager), 120, "OpenKruise's webhooks are served")
        yield
    finally:
        # First the objects, while somebody answers for them; then what would refuse all others.
        for kind in KINDS:
            cluster.tried("delete", kind, "-n", "orrery-n1", "--all", "--timeout=60s")
        cluster.tried("delete", WEBHOOKS, "--all")
        manager.terminate()
        manager.wait(30)
        cluster.tried("delete", "-f", "-", "--wait=false", stdin=objects)


def start(cluster: Cluster, folder: Path) -> subprocess.Popen:
    env = os.environ | {
        "KUBECONFIG": str(cluster.root / "admin.kubeconfig"),
        "POD_NAMESPACE": "kruise-system",
        "WEBHOOK_HOST": ADDRESS,
        "WEBHOOK_PORT": str(free_port()),
        "WEBHOOK_CERT_DIR": str(cluster.root / "kruise-certs"),
    }
    flags = ("--enable-leader-election=false", "--metrics-addr=0", "--enable-pprof=false")
    health = f"--health-probe-addr=127.0.0.1:{free_port()}"
    with (cluster.root / "kruise.log").open("wb") as log:
        command = [str(folder / "manager"), *flags, health]
        return subprocess.Popen(command, env=env, stdout=log, stderr=log)


def is_served(cluster: Cluster, manager: subprocess.Popen) -> bool:
    """Whether a CloneSet passes the webhooks and its controller has seen it."""
    assert manager.poll() is None, (cluster.root / "kruise.log").read_text()[-2000:]
    pod = {"metadata": {"labels": {"app": "probe"}}}
    pod["spec"] = {"containers": [{"name": "c", "image": "docker.io/orrery/pause:1"}]}
    probe = {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet"}
    probe |= {"metadata": {"name": "probe", "namespace": "kruise-system"}}
    probe["spec"] = {"replicas": 0, "selector": {"matchLabels": {"app": "probe"}}, "template": pod}
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(probe))
    seen = cluster.get("-n", "kruise-system", "cloneset", "probe").get("status", {})
    return seen.get("observedGeneration", 0) >= 1
