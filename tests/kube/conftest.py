"""The API server alone (any user) and the whole node (root), each once per run."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from orrery_services.config import Settings, load_settings

from tests.kube import cluster, whole
from tests.kube.asking import SPACE


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.Cluster]:
    if cluster.binaries() is None:
        pytest.skip(
            "the control plane is not built; tests/kube/build.sh builds it (9 minutes, once)"
        )
    root = tmp_path_factory.mktemp("api")
    ports = {"API_PORT": str(free_port()), "ETCD_PORT": str(free_port())}
    made = cluster.up("api", root, IP="127.0.0.1", **ports)
    yield made
    made.down()


@pytest.fixture(scope="session")
def node() -> Iterator[cluster.Cluster]:
    if cluster.binaries() is None:
        pytest.skip(
            "the control plane is not built; tests/kube/build.sh builds it (9 minutes, once)"
        )
    if os.geteuid() != 0:
        pytest.skip("a kubelet needs root")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    made = cluster.up("node", home / "orrery/kube/cluster")
    yield made
    made.down()


@pytest.fixture(scope="session")
def solo(node: cluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[whole.Whole]:
    """The overlay k8s/nodes/solo, applied once and waited for; taken down with the cluster."""
    if "kube" not in os.environ.get("REQUIRE", "").split(","):
        pytest.skip("a whole node takes ten minutes or more; `make kube-test` runs it")
    made = whole.Whole(node, whole.lay_tree(tmp_path_factory.mktemp("tree")))
    whole.load_images(node, made.tree / "k8s/images/images.env")
    node.kubectl("apply", "-k", str(made.tree / "k8s/nodes/solo"))
    made.wait_ready("orrery-sky", "orrery-n1")
    yield made


@pytest.fixture(scope="module")
def settings(solo: whole.Whole) -> Iterator[Settings]:
    """Settings of a controller beside the cluster: the account, role and policy of the real one."""
    cluster = solo.cluster
    config = yaml.safe_load((cluster.root / "admin.kubeconfig").read_text())
    token = cluster.kubectl(*SPACE, "create", "token", "hotswap", "--duration=2h").strip()
    config["users"][0]["user"] = {"token": token}
    path = solo.tree / "hotswap.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    env = whole.outside_env(solo, "n1") | {
        "ORRERY_HOTSWAP_DRIVER": "kubernetes",
        "ORRERY_HOTSWAP_NAMESPACE": "orrery-n1",
        "KUBECONFIG": str(path),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, text in env.items():
            patch.setenv(name, text)
        yield load_settings()
