"""Objects of operators against the schemas those operators publish, strictly: no unknown field."""

import copy
import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.contracts.manifests import build, built, copy_tree, one, with_component

KRUISE = "github.com/openkruise/kruise@v1.8.3"  # its module carries its CRDs
STRIMZI = Path(__file__).parent / "strimzi"  # its classes, as Maven has them
DOWNLOAD_SECONDS_MAX = 300


@functools.cache
def kruise_schemas() -> dict[tuple[str, str], dict]:
    """Return schemas by (apiVersion, kind). Skips where the module cannot be had."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not on PATH, so the CRDs of OpenKruise cannot be fetched")
    command = [go, "mod", "download", "-json", KRUISE]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", timeout=DOWNLOAD_SECONDS_MAX
    )
    if done.returncode != 0:
        pytest.skip(f"the CRDs of OpenKruise cannot be fetched: {done.stdout[-200:]}")
    return read_schemas(Path(json.loads(done.stdout)["Dir"], "config/crd/bases"))


@functools.cache
def strimzi_schemas() -> dict[tuple[str, str], dict]:
    """Return schemas made from Strimzi's classes. Skips where Maven or Java is not there."""
    if shutil.which("mvn") is None or shutil.which("javac") is None:
        pytest.skip("mvn and a JDK are not on PATH, so the schemas of Strimzi cannot be made")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "orrery" / "strimzi-0.49.0"
    if not list(folder.glob("*.yml")):
        jars = ("dependency:copy-dependencies", "-DincludeScope=runtime")
        fetch = ["mvn", "-q", "-B", "-f", STRIMZI / "pom.xml", *jars]
        made = subprocess.run(
            [*fetch, f"-DoutputDirectory={folder}/jars"], timeout=DOWNLOAD_SECONDS_MAX
        )
        if made.returncode != 0:
            pytest.skip("the classes of Strimzi cannot be fetched")
        command = ["java", "-cp", f"{folder}/jars/*", STRIMZI / "Schemas.java", folder]
        subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS_MAX)
    return read_schemas(folder)


def read_schemas(folder: Path) -> dict[tuple[str, str], dict]:
    found = {}
    for path in folder.glob("*.y*ml"):
        crd = yaml.safe_load(path.read_text())["spec"]
        for version in crd["versions"]:
            name = f"{crd['group']}/{version['name']}"
            found[name, crd["names"]["kind"]] = strict(version["schema"]["openAPIV3Schema"])
    return found


def strict(schema: dict) -> dict:
    """Return a CRD's schema as JSON Schema that refuses fields it does not know."""
    schema = {name: part for name, part in schema.items() if name != "format"}
    if schema.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    if "properties" in schema:
        schema["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            schema[name] = strict(schema[name])
    return schema


def complaints(found: dict, schema: dict) -> list[str]:
    known = {"apiVersion": {}, "kind": {}, "metadata": {}} | schema["properties"]
    schema = schema | {"properties": known | {"metadata": {}}}
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(found)]


@functools.cache
def objects() -> list[dict]:
    return with_component("kruise")


@pytest.mark.parametrize(("kind", "name"), [("StatefulSet", "domino"), ("ImagePullJob", "stage")])
def test_openkruise_knows_every_field_of_its_objects(kind: str, name: str):
    found = one(objects(), kind, name)

    assert complaints(found, kruise_schemas()[found["apiVersion"], kind]) == []


def test_a_misspelt_field_of_a_custom_resource_is_found():
    pool = one(objects(), "StatefulSet", "domino")
    schema = kruise_schemas()[pool["apiVersion"], "StatefulSet"]
    rolling = {"podUpdatePolicy": "InPlaceOnly", "pausd": True}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    wrong = pool | {"spec": pool["spec"] | {"updateStrategy": strategy}}

    assert any("pausd" in text for text in complaints(wrong, schema))


def test_the_pool_keeps_names_slots_and_places_under_openkruise():
    pool = one(objects(), "StatefulSet", "domino")

    assert pool["apiVersion"] == "apps.kruise.io/v1beta1"
    spec = pool["spec"]["template"]["spec"]
    assert {each["name"] for each in spec["containers"]} == {"slot-a", "slot-b"}
    assert spec["nodeSelector"] == {"kubernetes.io/hostname": "n1"}
    assert spec["readinessGates"] == [{"conditionType": "InPlaceUpdateReady"}]
    assert pool["spec"]["updateStrategy"]["rollingUpdate"]["paused"] is True


@functools.cache
def sky() -> list[dict]:
    """Return k8s/cluster with Strimzi's component over it."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        overlay = {"resources": ["../../cluster"], "components": ["../../components/strimzi"]}
        (tree / "k8s/nodes/strimzi").mkdir()
        (tree / "k8s/nodes/strimzi/kustomization.yaml").write_text(yaml.safe_dump(overlay))
        return build(tree, "k8s/nodes/strimzi")


@pytest.mark.parametrize(("kind", "name"), [("Kafka", "sky"), ("KafkaNodePool", "brokers")])
def test_strimzi_knows_every_field_of_its_objects(kind: str, name: str):
    found = copy.deepcopy(one(sky(), kind, name))
    # Two places have no schema in the classes: any Kafka setting, and a choice of kinds of disk.
    found["spec"].pop("storage", None)
    found["spec"].get("kafka", {}).pop("config", None)
    (schema,) = [schema for (_, known), schema in strimzi_schemas().items() if known == kind]

    assert complaints(found, schema) == []


def test_under_strimzi_no_broker_of_ours_is_left_and_the_settings_are_the_same():
    ours = [each["metadata"]["name"] for each in sky() if each["kind"] == "StatefulSet"]
    theirs = one(sky(), "Kafka", "sky")["spec"]["kafka"]["config"]
    own = one(built("k8s/cluster"), "StatefulSet", "kafka")["spec"]["template"]["spec"]
    listed = {each["name"]: each["value"] for each in own["containers"][0]["env"]}

    assert "kafka" not in ours
    for name, value in theirs.items():
        variable = "KAFKA_" + name.replace(".", "_").upper()
        assert listed[variable] == str(value).lower(), name
