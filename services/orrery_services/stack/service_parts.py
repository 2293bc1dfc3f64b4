"""The Python services as parts: `python -m orrery_services.<name>` a node, and the demo feed."""

import importlib.util
import os
import sys
from collections.abc import Mapping

from . import plan, postgres
from .part import Part, http_ok

AFTER = {"gateway": ("{node}.tables",), "feed": ("topics",)}
AFTER_OF_OTHERS = ("topics", "{node}.tables")
MORE_ANALYTICS_PORTS = 40  # above the port of the first; free in a node's block of a hundred
NOT_BUILT = "this service is not part of this build"


def of_node(stack: plan.Plan, node: str) -> list[Part]:
    """Return the services of a node, in the order in which they should come up."""
    parts = []
    for service in stack.services:
        parts.append(_part(stack, node, service, f"{node}.{service}"))
        if service == "analytics":
            parts += _more_analytics(stack, node)
    return parts


def _more_analytics(stack: plan.Plan, node: str) -> list[Part]:
    """Return the workers beyond the first: one process a chain, times provisioning.workers."""
    settings = postgres.settings(stack, node)
    workers = range(1, settings.provisioning.workers + 1)
    wanted = [(chain, worker) for chain in settings.chains for worker in workers]
    first_port = stack.ports[f"{node}.analytics"] + MORE_ANALYTICS_PORTS
    return [
        _part(
            stack,
            node,
            "analytics",
            f"{node}.analytics.{chain}.{worker}",
            port=first_port + number,
            env={"ORRERY_CHAIN": chain},
        )
        for number, (chain, worker) in enumerate(wanted[1:])
    ]


def feed(stack: plan.Plan) -> Part:
    """Return the demo feed: one for the sky, since every node reads the same log."""
    part = _part(stack, stack.nodes[0], "feed", "feed", "--demo")
    if stack.demo:
        return part
    return Part("feed", wanted=lambda: "the demo feed was not asked for")


def exists(service: str) -> bool:
    """Return whether a service can be started: its folder has a __main__."""
    try:
        return importlib.util.find_spec(f"orrery_services.{service}.__main__") is not None
    except ModuleNotFoundError:
        return False


def _part(
    stack: plan.Plan,
    node: str,
    service: str,
    name: str,
    *arguments: str,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Part:
    ports = stack.ports
    port = port or ports.get(f"{name}.metrics") or ports[name]
    variables = {
        "ORRERY_HOME": str(stack.home),
        "ORRERY_ROOT": str(stack.root),
        "ORRERY_NODE": node,
        "ORRERY_METRICS_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",  # many threads, little memory
        **(env or {}),
        **stack.env,
    }
    after = AFTER.get(service, AFTER_OF_OTHERS)
    return Part(
        name=name,
        command=lambda: [sys.executable, "-m", f"orrery_services.{service}", *arguments],
        ready=http_ok(f"http://127.0.0.1:{port}/readyz"),
        after=tuple(place.format(node=node) for place in after),
        env=variables,
        stop_seconds=8.0,
        ready_seconds=300.0,
        wanted=lambda: None if exists(service) else NOT_BUILT,
    )


def clean_environment() -> dict[str, str]:
    """Return our environment for a child: what belongs to this process alone is left out."""
    alone = {"ORRERY_NODE", "ORRERY_METRICS_PORT", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    return {name: value for name, value in os.environ.items() if name not in alone}
