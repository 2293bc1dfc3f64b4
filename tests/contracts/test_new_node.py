"""`orrery node new`: a folder of under twenty lines that makes a machine a universe."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from orrery_services.cli import node
from orrery_services.errors import ConfigError
from typer.testing import CliRunner

from tests.contracts.manifests import build, copy_tree, one, workloads


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository's files, and the command line looking at it."""
    made = copy_tree(tmp_path)
    monkeypatch.setattr(node, "find_root", lambda: made)
    monkeypatch.setattr(node, "node_names", lambda: ["n1", "n2"])
    return made


def new(*words: str):
    import typer

    app = typer.Typer()
    node.register(app)
    return CliRunner().invoke(app, ["node", "new", *words])


def plain(objects: list[dict], name: str, place: str) -> str:
    """Return workloads and services as text, without what is a node's own."""
    kept = [each for each in objects if each["kind"] not in ("Secret", "ConfigMap")]
    text = (
        yaml.safe_dump(kept).replace(place, "PLACE").replace(name, "NODE").replace("PLACE", "NODE")
    )
    return re.sub(r"(universe|place|passwords)-[a-z0-9]{10}", r"\1", text)


def test_a_new_node_is_a_copy_that_differs_in_name_place_and_passwords(tree: Path):
    done = new("n3", "--place", "machine-7")

    assert done.exit_code == 0, done.output
    objects = build(tree, "k8s/nodes/n3")
    assert plain(objects, "n3", "machine-7") == plain(build(tree, "k8s/nodes/n1"), "n1", "n1")
    for workload in workloads(objects):
        selector = workload["spec"]["template"]["spec"]["nodeSelector"]
        assert selector == {"kubernetes.io/hostname": "machine-7"}
    assert len((tree / "k8s/nodes/n3/kustomization.yaml").read_text().splitlines()) < 20


def test_a_new_node_knows_its_peers_and_connect_its_password_alone(tree: Path):
    new("n3")

    declared = tomllib.loads((tree / "k8s/nodes/n3/universe.toml").read_text())
    assert declared["peers"] == ["n1", "n2"]
    own = dict(
        line.split("=", 1)
        for line in (tree / "k8s/nodes/n3/passwords.env").read_text().splitlines()
    )
    sky = (tree / "k8s/cluster/sky/passwords.env").read_text()
    assert f"n3={own['orrery_cdc']}\n" in sky
    assert not any(text in sky for role, text in own.items() if role != "orrery_cdc")
    assert (tree / "k8s/nodes/n3/passwords.env").stat().st_mode & 0o077 == 0
    assert one(build(tree, "k8s/nodes/n3"), "Namespace", "orrery-n3")


def test_the_passwords_of_the_other_nodes_stay(tree: Path):
    before = (tree / "k8s/nodes/n1/passwords.env").read_text()

    new("n3")

    assert (tree / "k8s/nodes/n1/passwords.env").read_text() == before


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["N3"], "lower case letters and digits"),
        (["../n3"], "lower case letters and digits"),
        (["n3\n"], "lower case letters and digits"),
        (["n" * 17], "lower case letters and digits"),
        (["default-n3"], "lower case letters and digits"),
        (["sky"], "means something else"),  # the namespace of Kafka and Connect
        (["solo"], "means something else"),
        (["postgres"], "means something else"),  # ORRERY_POSTGRES_HOST would speak to it alone
        (["n3", "--place", "a b"], "name of a machine"),
        (["n3", "--place", "machine-7\n"], "name of a machine"),
        (["n3", "--place", "../machine"], "name of a machine"),
        (["n1"], "must not be there yet"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(tree: Path, words, rule):
    before = sorted(tree.rglob("*"))

    done = new(*words)

    assert isinstance(done.exception, ConfigError)
    assert rule in str(done.exception)
    assert sorted(tree.rglob("*")) == before


def test_a_new_node_routes_as_the_others_do(tree: Path):
    new("n3")

    first, made = (
        tomllib.loads((tree / f"k8s/nodes/{name}/universe.toml").read_text())
        for name in ("n1", "n3")
    )
    assert made["routing"] == first["routing"]
    assert made["node"] == "n3"
    assert {**made, "node": "n1", "peers": first["peers"]} == first


def test_what_is_left_to_do_for_a_new_node_is_said_with_its_disks(tree: Path):
    done = new("n3", "--place", "machine-7")

    assert (
        "on machine-7: mkdir -p /var/lib/orrery/n3/postgres /var/lib/orrery/n3/tsdb" in done.output
    )
