"""GET /status and /latest?chain=&symbol= as JSON, on a loopback port. Nothing is written here."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from .. import store
from ..config import Settings
from ..errors import ConfigError, ServiceError
from ..store import census

ROWS_MAX = 1000


def answer(settings: Settings, path: str) -> tuple[int, Any]:
    """Return status code and JSON of one request."""
    asked = urlsplit(path)
    query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
    routes = {"/status": _status, "/latest": _latest}
    if asked.path not in routes:
        return 404, {"error": f"one of {', '.join(routes)}"}
    try:
        with store.connect(settings.postgres("reader"), attempts_max=1) as connection:
            return 200, routes[asked.path](settings, connection, query)
    except (ServiceError, psycopg.Error) as cause:
        return 503, {"error": str(cause)}


def _status(settings: Settings, connection: psycopg.Connection, _: dict[str, str]) -> Any:
    return {"name": settings.node, **census.take(connection)}


def _latest(settings: Settings, connection: psycopg.Connection, query: dict[str, str]) -> Any:
    rows = connection.execute(
        """SELECT chain, symbol, ts_event_ns, outputs FROM latest
           WHERE (%(chain)s::text IS NULL OR chain = %(chain)s)
           AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
           ORDER BY chain, symbol LIMIT %(many)s""",
        {"chain": query.get("chain"), "symbol": query.get("symbol"), "many": ROWS_MAX},
    )
    names = ("chain", "symbol", "ts_event_ns", "outputs")
    return [dict(zip(names, row, strict=True)) for row in rows]


def serve(settings: Settings) -> ThreadingHTTPServer:
    """Serve from a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds: a client that says nothing does not keep a thread

        def do_GET(self) -> None:
            code, told = answer(settings, self.path)
            body = json.dumps(told, default=str).encode() + b"\n"
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A page that is looked at is not worth a log line."""

    try:
        server = ThreadingHTTPServer((settings.bind_host, settings.gateway_port), Handler)
    except OSError as cause:
        raise ConfigError(
            f"gateway_port must be free, was {settings.gateway_port}: {cause.strerror}"
        ) from cause
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="page", daemon=True).start()
    return server
