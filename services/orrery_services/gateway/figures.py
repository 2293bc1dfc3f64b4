"""What the services of this node say of themselves, read from their /metrics: one entry a hop."""

import threading
from collections import defaultdict
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from .. import clock
from ..config import Settings

SERVICES = ("packer", "analytics", "replication", "gateway")
SECONDS_MAX = 1.0  # to be answered by one service
AGE_SECONDS_MAX = 1.0  # many pages that look at once ask once
Samples = list[tuple[str, dict[str, str], float]]


def hop(service: str, samples: Samples) -> dict[str, Any]:
    """Return rows passed, rows waiting, and the mean milliseconds of each stage of a service.

    >>> hop("packer", [("orrery_rows_total", {"hop": "packer"}, 7.0)])["rows"]
    7.0
    """
    sums: dict[str, float] = defaultdict(float)
    stages: dict[str, dict[str, float]] = defaultdict(dict)
    for name, labels, value in samples:
        if name.startswith("orrery_stage_seconds_"):
            stages[labels["stage"]][name.rsplit("_", 1)[1]] = value if "le" not in labels else 0.0
        else:
            sums[name] += value
    return {
        "service": service,
        "rows": sums["orrery_rows_total"],
        "lag_rows": sums["orrery_lag_rows"],
        "refused": sums["orrery_dead_letters_total"],
        "ignored": sums["orrery_ignored_batches_total"],
        "stages": {
            stage: {"count": told.get("count", 0.0), "seconds": told.get("sum", 0.0)}
            for stage, told in sorted(stages.items())
        },
    }


def ask(settings: Settings, service: str) -> dict[str, Any]:
    """Return the hop of one service, or why it does not answer."""
    try:
        url = f"{settings.metrics_url(service)}/metrics"
        text = httpx.get(url, timeout=SECONDS_MAX).raise_for_status().text
    except (httpx.HTTPError, httpx.InvalidURL) as cause:
        return {"service": service, "away": str(cause) or type(cause).__name__}
    families = text_string_to_metric_families(text)
    return hop(service, [(s.name, s.labels, s.value) for f in families for s in f.samples])


class Figures:
    """The hops of a node, asked for at most once a second."""

    def __init__(self, settings: Settings):
        self._settings, self._lock = settings, threading.Lock()
        self._held: list[dict[str, Any]] = []
        self._asked_ns: int | None = None

    def hops(self) -> list[dict[str, Any]]:
        with self._lock:
            if self._asked_ns is None or clock.seconds_since(self._asked_ns) > AGE_SECONDS_MAX:
                self._held = [ask(self._settings, service) for service in SERVICES]
                self._asked_ns = clock.monotonic_ns()
            return self._held
