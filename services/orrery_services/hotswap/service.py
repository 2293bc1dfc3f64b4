"""The controller as a service of the node: settings in, turns taken until SIGTERM."""

import threading
from typing import Any

import structlog

from ..config import Settings
from ..metrics import Health
from . import drivers
from .app import Controller

log = structlog.get_logger()
IDLE_BEAT_SECONDS = 5.0


def main(settings: Settings, health: Health, stop: threading.Event) -> int:
    """Run the controller; a node without swapped chains costs nothing but this process."""
    chains, refused = drivers.read_chains(settings)
    for name, cause in refused.items():
        log.error("a chain cannot be run", chain=name, reason=str(cause))
    health.ready()
    if not chains and not refused:
        log.info("no chain of [dominoes] runs in container or pod: nothing to swap")
        while not stop.wait(IDLE_BEAT_SECONDS):
            health.beat()
        return 0
    port, runs = drivers.open_pods(settings), drivers.open_published_runs(settings)
    log.info("swapping", chains=sorted(chains), driver=settings.values["hotswap.driver"])
    if not drivers.has_facts(settings):
        log.warning("runs and memo stay on this machine: no password to write facts with")
    controller = Controller(port, runs, drivers.pod_names(settings))

    def beat() -> None:
        health.beat()
        if why := controller.trouble():
            health.not_ready(why)
        else:
            health.ready()

    try:
        controller.run(stop, beat)
    finally:
        close(port)
    return 0


def close(port: Any) -> None:
    """End what runs as our children; pods of a cluster are none of ours."""
    if hasattr(port, "close"):
        port.close()
