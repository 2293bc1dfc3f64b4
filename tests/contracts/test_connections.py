"""Who speaks to whom is one table; policies, networks and code are compared with it, both ways."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.contracts.connections import API, CONNECTIONS, SKY
from tests.contracts.manifests import ROOT, built

# Parts of the code that open a connection, and to where. What a service imports, it may use.
DOORS = {
    "bus": "kafka",
    "store": "postgres",
    "tsdb": "tsdb",
    "connect": "connect",
    "cdc": "connect",
}
SERVICES = ROOT / "services" / "orrery_services"
IN_CODE = ("packer", "analytics", "replication", "gateway", "snapshots", "dominoes")


def policies() -> list[dict]:
    objects = [*built("k8s/cluster"), *built("k8s/nodes/n1")]
    return [each for each in objects if each["kind"] == "NetworkPolicy"]


def peer(end: dict, home: str) -> str:
    """Return the part that a policy's peer selects; check that it looks in the right place."""
    if "ipBlock" in end:
        return "people"
    name = end["podSelector"]["matchLabels"]["app"]
    foreign = end.get("namespaceSelector", {}).get("matchLabels", {}).get("orrery/part")
    mine, theirs = (part in SKY for part in (home, name))
    assert foreign == (None if mine == theirs else ("sky" if theirs else "universe")), (home, name)
    return name


def allowed(direction: str) -> Iterator[tuple[str, str, int]]:
    for policy in policies():
        if policy["metadata"]["name"] in ("default-deny", "names"):
            continue
        me = policy["spec"]["podSelector"]["matchLabels"]["app"]
        for rule in policy["spec"].get(direction, []):
            for port in rule["ports"]:
                for end in rule.get("from" if direction == "ingress" else "to", [None]):
                    other = peer(end, me) if end else "api-server"
                    row = (other, me) if direction == "ingress" else (me, other)
                    yield (*row, port["port"])


def test_what_may_go_out_is_the_table():
    wanted = {row for row in CONNECTIONS if row[0] != "people"}

    assert set(allowed("egress")) == wanted


def test_what_may_come_in_is_the_table():
    wanted = {row for row in CONNECTIONS if row[1] != "api-server"}

    assert set(allowed("ingress")) == wanted


@pytest.mark.parametrize("space", ["orrery-sky", "orrery-n1"])
def test_everything_else_is_denied_but_names(space: str):
    mine = {
        p["metadata"]["name"]: p["spec"] for p in policies() if p["metadata"]["namespace"] == space
    }

    assert mine["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert {port["port"] for port in mine["names"]["egress"][0]["ports"]} == {53}


def test_every_part_of_the_table_is_a_workload_and_every_workload_is_in_it():
    objects = [*built("k8s/cluster"), *built("k8s/nodes/n1")]
    found = {
        each["spec"]["template"]["metadata"]["labels"]["app"]
        for each in objects
        if "template" in each.get("spec", {})
    }
    named = {part for row in CONNECTIONS for part in row[:2]} - {"people", "api-server"}

    assert found == named


def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def as_in_compose(part: str, node: str) -> list[str]:
    if part == "setup":
        return ["topics", f"{node}-migrations", f"{node}-connectors"]
    return [part if part in (*SKY, "feed") else f"{node}-{part}"]


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_in_compose_who_speaks_shares_a_network(node: str):
    services = compose()

    for source, target, port in sorted(CONNECTIONS):
        if source == "people" or port == API or {"domino", "hotswap"} & {source, target}:
            continue
        (there,) = as_in_compose(target, node)
        reached = [
            name
            for name in as_in_compose(source, node)
            if set(services[name]["networks"]) & set(services[there]["networks"]) - {"host"}
        ]
        assert reached, (source, target)


def test_in_compose_no_service_of_a_node_can_reach_the_other_node():
    for name, service in compose().items():
        networks = set(service.get("networks", []))
        if {"n1", "n2"} <= networks:
            assert name in ("connect", "cli")


def imports(folder: Path) -> set[str]:
    """Return the modules of orrery_services that the files of a package import."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                found |= {node.module} if node.module else {alias.name for alias in node.names}
    return {name.split(".")[0] for name in found}


@pytest.mark.parametrize("service", IN_CODE)
def test_a_service_opens_the_doors_that_the_table_gives_it_and_no_other(service: str):
    doors = {DOORS[name] for name in imports(SERVICES / service) & set(DOORS)}
    given = {target for source, target, _ in CONNECTIONS if source == service} & set(DOORS.values())

    assert doors <= given, f"{service} may reach {sorted(given)}, imports {sorted(doors)}"
