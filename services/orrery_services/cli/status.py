"""orrery status: nodes, workers, lag per hop, connectors, slots, dead letters, and one word."""

from typing import Annotated, Any

import httpx
import typer

from .. import bus, connect, tsdb
from ..config import Settings, load_settings, node_names
from ..errors import ServiceError
from ..protocol import leaves
from ..protocol.marks import Mark
from ..protocol.rows import ROW_TOPICS
from ..store import census
from . import common, nodes

SERVICES = ("packer", "analytics", "replication", "gateway", "snapshots", "dominoes")
KAFKA_SECONDS_MAX = 5.0
SECONDS_MAX = 2.0  # to be answered by a service, or for nodes to be level

Wait = Annotated[float, typer.Option("--wait", help="Seconds for the nodes to get level.", min=0)]


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(wait: Wait = SECONDS_MAX, as_json: common.Json = False) -> None:
    """Print how the sky and the nodes are, and whether the nodes agree."""
    document = look(wait)
    common.show(document, as_json, _print)
    if document["state"] == "DIVERGED":
        raise typer.Exit(common.FAILED)
    if document["state"] == "CATCHING UP" or document["problems"]:
        raise typer.Exit(common.DEGRADED)


def look(wait: float) -> dict[str, Any]:
    """Return the whole document. What does not answer is a problem in it, not a failure."""
    settings = [load_settings(name) for name in node_names()]
    problems: list[str] = []
    document: dict[str, Any] = {
        "kafka": settings[0].kafka,
        "connect": settings[0].connect,
        "nodes": [_addresses(one) for one in settings],
    }
    ends = _guard(problems, _ends, settings[0]) or {}
    marks: dict[str, Any] = {"compared": 0, "lacking": 0, "seconds": 0.0}
    with nodes.opened([one.node for one in settings]) as (found, away):
        problems += [f"{name}: {why}" for name, why in away.items()]
        now, goal, marks["lacking"], marks["seconds"] = nodes.level(found, wait)
        marks["compared"] = sum(mark.ordinal for mark in goal.values()) if len(found) > 1 else 0
        for node in found:
            told = next(one for one in document["nodes"] if one["name"] == node.name)
            told |= _guard(problems, census.take, node.connection) or {}
            told["lag"] = _lag(node.settings, now[node.name], told.get("progress", []), ends)
    for one, told in zip(settings, document["nodes"], strict=True):
        told["connectors"] = _guard(problems, _connectors, one) or {}
        told["services"] = {name: service_state(one, name) for name in SERVICES}
        told["counts"], late = _figures(one)
        told["lag"] = told.get("lag", {}) | late
        told["tsdb_is_there"] = bool(one.tsdb and tsdb.is_there(one.tsdb))
        problems += _problems(told, one)
    different = sum(len(told.get("diverged", ())) for told in document["nodes"])
    missing = sum(told.get("facts_missing", 0) for told in document["nodes"])
    behind = marks["lacking"] + missing
    document |= {
        "state": leaves.verdict(marks["compared"], different, behind),
        "facts_behind": behind,
        "seconds_behind": round(marks["seconds"], 1),
        "dead_letters": ends.get(("dead-letters", 0), (0, 0))[1],
        "problems": problems,
    }
    return document


def _addresses(settings: Settings) -> dict[str, Any]:
    return {
        "name": settings.node,
        "postgres": settings.postgres_url("reader"),
        "tsdb": settings.tsdb,
        "metrics": {name: settings.metrics_url(name) for name in SERVICES},
        "gateway": settings.gateway_url(),
    }


def _guard(problems: list[str], function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ServiceError as cause:
        problems.append(str(cause))
        return None


def _ends(settings: Settings) -> dict[tuple[str, int], tuple[int, int]]:
    """Return (first, behind the last) offset of every partition of the topics of the road."""
    topics = dict.fromkeys((*ROW_TOPICS, "ticks"), settings.partitions)
    topics |= {"facts": settings.partitions + 1, "dead-letters": 1}
    # Fails soon, and in plain words: people look when something is away.
    bus.log_ids(bus.admin(settings.kafka), list(topics), KAFKA_SECONDS_MAX)
    reader = bus.LogReader(settings.kafka, "orrery-status")
    try:
        return {(t, p): reader.ends(t, p) for t, many in topics.items() for p in range(many)}
    finally:
        reader.close()


def _lag(
    settings: Settings,
    marks: dict[tuple[str, int], Mark],
    progress: list[dict[str, Any]],
    ends: dict[tuple[str, int], tuple[int, int]],
) -> dict[str, int]:
    """Return what has not passed each hop: rows to pack, batches to compute, facts to receive."""
    newest = {}
    for (_, partition), mark in marks.items():
        if mark.ordinal >= newest.get(partition, Mark()).ordinal:
            newest[partition] = mark
    packed = batches = 0
    for partition in range(settings.partitions):
        mark = newest.get(partition, Mark())
        batches += max(0, ends.get(("ticks", partition), (0, 0))[1] - mark.offset)
        read = {key.split(":")[1]: at for key, at in mark.vector.items() if key.startswith("row:")}
        for topic in ROW_TOPICS:
            low, end = ends.get((topic, partition), (0, 0))
            packed += max(0, end - max(low, read.get(topic, 0)))
    places = {one["partition"]: one["next_offset"] for one in progress}
    received = sum(
        max(0, ends.get(("facts", p), (0, 0))[1] - places.get(p, 0))
        for p in range(settings.partitions + 1)
    )
    return {
        "rows_not_computed": packed,
        "batches_not_computed": batches,
        "facts_not_read": received,
    }


def _connectors(settings: Settings) -> dict[str, dict[str, str]]:
    found = {}
    for name in connect.NAMES:
        state, why = connect.state(settings, name)
        found[name] = {"state": state, "why": why}
    return found


def service_state(settings: Settings, name: str) -> dict[str, Any]:
    url = settings.metrics_url(name)
    if url is None:
        return {"state": "unknown", "why": "nobody knows its address"}
    try:
        told = httpx.get(f"{url}/readyz", timeout=SECONDS_MAX).json()
    except (httpx.HTTPError, ValueError) as cause:
        return {"state": "away", "why": str(cause)}
    return {"state": "ready" if told["ok"] else "waiting", "why": told["why"]}


def _figures(settings: Settings) -> tuple[dict[str, float], dict[str, int]]:
    """Return the sums of the counters that people ask for, and how many milliseconds each hop is
    behind, from /metrics of the services."""
    wanted = {
        "orrery_ignored_batches_total": "ignored_batches",
        "orrery_moved_rows_total": "moved_rows",
        "orrery_dead_letters_total": "dead_letters",
        "orrery_rebalances_total": "rebalances",
    }
    sums, late = dict.fromkeys(wanted.values(), 0.0), {}
    for name in SERVICES:
        url = settings.metrics_url(name)
        try:
            text = httpx.get(f"{url}/metrics", timeout=SECONDS_MAX).text if url else ""
        except httpx.HTTPError:
            continue
        for line in text.splitlines():
            figure = line.split("{", 1)[0].split(" ", 1)[0]
            if figure in wanted:
                sums[wanted[figure]] += float(line.rsplit(" ", 1)[-1])
            if line.startswith(f'orrery_lag_seconds{{hop="{name}"}}'):
                late[f"{name}_ms"] = round(float(line.rsplit(" ", 1)[-1]) * 1000)
    return sums, late


def _problems(told: dict[str, Any], settings: Settings) -> list[str]:
    found = []
    name = told["name"]
    for connector, state in told["connectors"].items():
        if state["state"] != "RUNNING":
            found.append(f"{name}: connector {connector} is {state['state']}: {state['why']}")
    for service, state in told["services"].items():
        if state["state"] not in ("ready", "unknown"):
            found.append(f"{name}: {service} is {state['state']}: {state['why']}")
    keep = settings.values["postgres.slot_wal_keep_mb_max"] * 2**20
    alarm = keep * settings.cdc.slot_wal_alarm_share
    for slot in told.get("slots", ()):
        if slot["held_bytes"] > alarm or slot["state"] == "lost":
            found.append(f"{name}: slot {slot['name']} holds back {slot['held_bytes']:,} bytes")
    if told.get("diverged"):
        found.append(f"{name}: {len(told['diverged'])} keys have two contents")
    return found


def _print(document: dict[str, Any]) -> None:
    typer.echo(f"sky        kafka {document['kafka']}  connect {document['connect']}")
    for told in document["nodes"]:
        _print_node(told)
    typer.echo(f"dead       {document['dead_letters']:,} letters")
    for problem in document["problems"]:
        typer.echo(f"problem    {problem}")
    state = document["state"]
    if state == "CATCHING UP":
        state += f" ({document['facts_behind']:,} facts, {document['seconds_behind']} seconds)"
    typer.echo(state)


def _print_node(told: dict[str, Any]) -> None:
    name = told["name"]
    typer.echo(f"{name:<10} {told['postgres']}")
    services = ", ".join(f"{s} {one['state']}" for s, one in told["services"].items())
    typer.echo(f"           {services}")
    if "marks" in told:
        lag, counts = told["lag"], told["counts"]
        ordinals = sum(mark["ordinal"] for mark in told["marks"])
        hops = (
            ("rows_not_computed", "rows", "packer_ms"),
            ("batches_not_computed", "batches", "analytics_ms"),
            ("facts_not_read", "facts", "replication_ms"),
        )
        to_come = [
            f"{lag[count]:,} {unit} ({lag[ms]:,} ms)" if ms in lag else f"{lag[count]:,} {unit}"
            for count, unit, ms in hops
        ]
        typer.echo(f"           {ordinals:,} chunks held; to come: {', '.join(to_come)}")
        typer.echo(
            f"           {counts['ignored_batches']:,.0f} batches ignored, "
            f"{counts['moved_rows']:,.0f} rows moved, {counts['rebalances']:,.0f} rebalances"
        )
    for connector, state in told["connectors"].items():
        typer.echo(f"           connector {connector} {state['state'].lower()}")
    for slot in told.get("slots", ()):
        typer.echo(
            f"           slot {slot['name']}: {slot['held_bytes'] / 2**20:.1f} MiB of WAL held back"
        )
