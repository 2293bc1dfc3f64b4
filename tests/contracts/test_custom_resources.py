"""Objects of operators against the schemas those operators publish, strictly: no unknown field."""

import functools
import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.contracts.manifests import one, with_component

KRUISE = "github.com/openkruise/kruise@v1.8.3"  # its module carries its CRDs
DOWNLOAD_SECONDS_MAX = 120


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
    found = {}
    for path in Path(json.loads(done.stdout)["Dir"], "config/crd/bases").glob("*.yaml"):
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


def complaints(found: dict) -> list[str]:
    schema = kruise_schemas()[found["apiVersion"], found["kind"]]
    schema = schema | {"properties": schema["properties"] | {"metadata": {}}}
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(found)]


@functools.cache
def objects() -> list[dict]:
    return with_component("kruise")


@pytest.mark.parametrize(("kind", "name"), [("StatefulSet", "domino"), ("ImagePullJob", "stage")])
def test_openkruise_knows_every_field_of_its_objects(kind: str, name: str):
    assert complaints(one(objects(), kind, name)) == []


def test_a_misspelt_field_of_a_custom_resource_is_found():
    pool = one(objects(), "StatefulSet", "domino")
    rolling = {"podUpdatePolicy": "InPlaceOnly", "pausd": True}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    wrong = pool | {"spec": pool["spec"] | {"updateStrategy": strategy}}

    assert any("pausd" in text for text in complaints(wrong))


def test_the_pool_keeps_names_slots_and_places_under_openkruise():
    pool = one(objects(), "StatefulSet", "domino")

    assert pool["apiVersion"] == "apps.kruise.io/v1beta1"
    spec = pool["spec"]["template"]["spec"]
    assert {each["name"] for each in spec["containers"]} == {"slot-a", "slot-b"}
    assert spec["nodeSelector"] == {"kubernetes.io/hostname": "n1"}
    assert spec["readinessGates"] == [{"conditionType": "InPlaceUpdateReady"}]
    assert pool["spec"]["updateStrategy"]["rollingUpdate"]["paused"] is True
