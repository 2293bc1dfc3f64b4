"""Kafka Connect's REST interface, as much of it as the nodes need. Every call is bounded in time.

connectors/<name>.json is the connector <name> of every node, registered as <node>-<name>. Values
hold {placeholders}; passwords are not among them: Connect reads those itself from the secrets.
"""

import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from .config import Settings
from .errors import ConfigError, OutsideError

SECONDS_MAX = 30.0
CONFLICT_SECONDS_MAX = 15.0  # it rebalances, or another connector is being changed
CONFLICT_PAUSE_SECONDS = 0.3
NAMES = ("source",)


def connector_config(settings: Settings, name: str) -> dict[str, str]:
    """Return the configuration of a connector of this node."""
    path = settings.root / "connectors" / f"{name}.json"
    values = settings.values
    references = {"node": settings.node, "secrets": settings.secret_file("cdc").parent}
    places = {
        "node": settings.node,
        "host": values["postgres.cdc_host"] or values["postgres.host"],
        "port": values["postgres.cdc_port"] or values["postgres.port"],
        "database": values["postgres.database"],
        "password": _replace(values["connect_password"], references),
        "poll_interval_ms": settings.cdc.poll_interval_ms,
        "heartbeat_ms": settings.cdc.heartbeat_seconds * 1000,
    }
    return fill(path, places)


def fill(path: Path, places: Mapping[str, object]) -> dict[str, str]:
    """Return a template with every {place} filled in; ${...} is Connect's own and stays."""
    try:
        template = json.loads(path.read_text())
    except (OSError, ValueError) as cause:
        raise ConfigError(f"{path} must be readable JSON: {cause}") from cause
    return {key: _replace(value, places) for key, value in template.items()}


def _replace(text: str, places: Mapping[str, object]) -> str:
    for place, found in places.items():
        text = text.replace("{" + place + "}", str(found))
    return text


def registered(settings: Settings, name: str) -> str:
    return f"{settings.node}-{name}"


def put(settings: Settings, name: str, config: Mapping[str, str]) -> None:
    """Register a connector or change its configuration. The same again is a no-op."""
    _call(settings, "PUT", f"/{registered(settings, name)}/config", dict(config))


def config(settings: Settings, name: str) -> dict[str, str] | None:
    """Return the configuration in force, None where Connect knows no connector of this name."""
    return _call(settings, "GET", f"/{registered(settings, name)}/config", missing_ok=True)


def offsets(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Return what a source has stored of how far it is: [{"partition": …, "offset": …}]."""
    return _call(settings, "GET", f"/{registered(settings, name)}/offsets")["offsets"]


def status(settings: Settings, name: str) -> dict[str, Any] | None:
    """Return Connect's word on a connector, None where it knows none of this name (yet)."""
    return _call(settings, "GET", f"/{registered(settings, name)}/status", missing_ok=True)


def state(settings: Settings, name: str) -> tuple[str, str]:
    """Return (state, why): RUNNING only when connector and task run, else the worse of them."""
    told = status(settings, name)
    if told is None:
        return "STARTING", "not known to Connect (yet)"
    parts = [told["connector"], *told.get("tasks", [])]
    if len(parts) == 1:
        return ("STARTING" if parts[0]["state"] == "RUNNING" else parts[0]["state"]), "no task"
    worst = next((part for part in parts if part["state"] != "RUNNING"), parts[0])
    trace = worst.get("trace", "")
    causes = [line for line in trace.splitlines() if line.startswith(("Caused by:", "org."))]
    return worst["state"], (causes[-1] if causes else trace)[:300]


def expect_started(settings: Settings) -> None:
    """Raise OutsideError until Connect has read which connectors it has."""
    url = f"{settings.connect}/health"
    try:
        answer = _client().get(url)
    except httpx.HTTPError as cause:
        raise OutsideError(f"Kafka Connect must answer at {url}, but: {cause}") from cause
    if answer.status_code != 200:
        raise OutsideError(f"Kafka Connect must have started, but says: {answer.text[:200]}")


def restart(settings: Settings, name: str) -> None:
    """Start a connector and its task again, failed ones only."""
    query = "restart?includeTasks=true&onlyFailed=true"
    _call(settings, "POST", f"/{registered(settings, name)}/{query}")


def stop(settings: Settings, name: str) -> None:
    """Stop a connector and its task; offsets can be reset then."""
    _call(settings, "PUT", f"/{registered(settings, name)}/stop", missing_ok=True)


def resume(settings: Settings, name: str) -> None:
    _call(settings, "PUT", f"/{registered(settings, name)}/resume")


def reset_offsets(settings: Settings, name: str) -> None:
    """Forget how far a stopped connector has read: it begins with a snapshot then."""
    _call(settings, "DELETE", f"/{registered(settings, name)}/offsets")


def delete(settings: Settings, name: str) -> None:
    """Remove a connector. Its offsets stay behind in Connect."""
    _call(settings, "DELETE", f"/{registered(settings, name)}", missing_ok=True)


@functools.cache
def _client() -> httpx.Client:
    """Return one client for all calls: making one costs more than ten calls."""
    return httpx.Client(timeout=SECONDS_MAX, trust_env=False)


def _call(
    settings: Settings, verb: str, path: str, body: object = None, missing_ok: bool = False
) -> Any:
    url = f"{settings.connect}/connectors{path}"
    deadline = time.monotonic() + CONFLICT_SECONDS_MAX
    while True:
        try:
            answer = _client().request(verb, url, json=body)
        except httpx.HTTPError as cause:
            raise OutsideError(f"Kafka Connect must answer at {url}, but: {cause}") from cause
        if answer.status_code != 409 or time.monotonic() > deadline:
            break
        time.sleep(CONFLICT_PAUSE_SECONDS)
    if answer.status_code == 404 and missing_ok:
        return None
    if answer.status_code >= 400:
        raise OutsideError(f"Kafka Connect refused {verb} {url}: {answer.text[:600]}")
    return answer.json() if answer.content else None
