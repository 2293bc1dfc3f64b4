"""Health and figures of one service, on a loopback port: /livez, /readyz, /metrics.

    health = Health(stalled_after_seconds=30)
    server = serve(settings.bind_host, settings.metrics_port, health)
    health.beat(); health.ready()    # from the loop; health.not_ready("catching up") while so

Names end in their unit; no figure is labelled by symbol. Those that several services share are
declared here.
"""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from . import clock
from .errors import ConfigError

SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
CONNECTIONS_MAX = 16
STARTS_NS_MAX = 900 * 10**9  # to the first beat: tables are waited for, kernels compiled
ROWS_BUCKETS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 65_536)

LAG_ROWS = Gauge("orrery_lag_rows", "Rows not yet past this hop.", ["hop"])
LAG_SECONDS = Gauge(
    "orrery_lag_seconds", "How far a hop is behind in time; 0 when nothing is before it.", ["hop"]
)
BATCH_ROWS = Histogram("orrery_batch_rows", "Rows in a batch.", ["hop"], buckets=ROWS_BUCKETS)
STAGE_SECONDS = Histogram(
    "orrery_stage_seconds", "Time in decode, kernel, commit.", ["stage"], buckets=SECONDS_BUCKETS
)
ROWS = Counter("orrery_rows", "Rows past this hop.", ["hop"])
REBALANCES = Counter("orrery_rebalances", "Partitions dealt anew.")
DEAD_LETTERS = Counter(
    "orrery_dead_letters", "Rows refused, by the rule that refused them.", ["rule"]
)
IGNORED_BATCHES = Counter(
    "orrery_ignored_batches", "Messages of ticks that do not count.", ["reason"]
)
MOVED_ROWS = Counter("orrery_moved_rows", "Rows sent home from a wrong partition.")
STOPPED = Gauge(
    "orrery_stopped_partitions", "Partitions that stand still, /readyz says why: page somebody."
)
DIVERGED = Gauge(
    "orrery_diverged_keys",
    "Natural keys with two contents, and cuts of which two workers differ: page somebody.",
)
SLOT_WAL_BYTES = Gauge("orrery_slot_wal_bytes", "WAL that a slot holds back.", ["slot"])


class Health:
    """Alive while the loop beats, ready when it says so. Safe to call from any thread."""

    def __init__(self, stalled_after_seconds: float = 30.0, now: clock.Clock = clock.monotonic_ns):
        self._stalled_after_ns = int(stalled_after_seconds * 1e9)
        self._now = now
        self._last_beat_ns = now()
        self._has_beaten = False
        self._waiting_for: str | None = "starting"

    def beat(self) -> None:
        self._last_beat_ns, self._has_beaten = self._now(), True

    def silent_seconds(self) -> float | None:
        """Return how long ago the last beat was; None before the first."""
        return (self._now() - self._last_beat_ns) / 1e9 if self._has_beaten else None

    def ready(self) -> None:
        self._waiting_for = None

    def not_ready(self, why: str) -> None:
        self._waiting_for = why

    def live(self) -> tuple[bool, str]:
        """Return whether the loop still turns, and how long ago it did."""
        silent_ns = self._now() - self._last_beat_ns
        if not self._has_beaten:
            return silent_ns <= STARTS_NS_MAX, f"starting since {silent_ns / 1e9:.1f} s"
        return silent_ns <= self._stalled_after_ns, f"last beat {silent_ns / 1e9:.1f} s ago"

    def readiness(self) -> tuple[bool, str]:
        """Return whether the service does its work, and what it waits for if not."""
        alive, why = self.live()
        if not alive:
            return False, why
        return self._waiting_for is None, self._waiting_for or "ready"


class _Handler(BaseHTTPRequestHandler):
    health: Health
    timeout = 5  # seconds: a client that says nothing does not keep a thread

    def do_GET(self) -> None:
        path = self.path.split("?", 1)[0]
        if path == "/metrics":
            self._answer(200, generate_latest(), "text/plain; version=0.0.4; charset=utf-8")
        elif path in ("/livez", "/readyz"):
            good, why = self.health.live() if path == "/livez" else self.health.readiness()
            body = json.dumps({"ok": good, "why": why}).encode() + b"\n"
            self._answer(200 if good else 503, body, "application/json")
        else:
            self._answer(404, b"one of /livez, /readyz, /metrics\n", "text/plain")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Probes come every second: they are not worth a log line each."""


class Server(ThreadingHTTPServer):
    """A thread a connection, so many at once; the others wait to be accepted."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        connections_max: int = CONNECTIONS_MAX,
    ):
        self._free = threading.Semaphore(connections_max)
        super().__init__(address, handler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket, client_address: tuple[str, int]
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @property
    def port(self) -> int:
        return self.server_address[1]


def serve(host: str, port: int, health: Health) -> Server:
    """Serve health and figures from a thread of its own; port 0 takes a free one."""
    handler = type("Handler", (_Handler,), {"health": health})
    try:
        server = Server((host, port), handler)
    except OSError as cause:
        raise ConfigError(
            f"metrics_port must be free, was {host}:{port}: {cause.strerror}; "
            "set ORRERY_METRICS_PORT, or 0 for any free one"
        ) from cause
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
