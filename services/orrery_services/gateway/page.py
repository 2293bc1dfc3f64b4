"""The page of a node, and what it shows as JSON, on a loopback port. Nothing is written here.

GET /            the page: static/, no library, nothing from elsewhere
GET /state       the store in figures, the hops of the road, the newest snapshots
GET /latest      ?chain=&symbol=   the last row of every symbol
GET /rows        ?symbol=&chain=   the last rows of one symbol, the oldest first
"""

import json
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import psycopg

from .. import clock, metrics, store
from ..config import Settings
from ..errors import ConfigError, ServiceError
from ..store import census
from .figures import Figures

ROWS_MAX = 1000
CONNECTIONS_MAX = 8  # each may hold a session of Postgres
SNAPSHOTS_SHOWN = 12
STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; "
    "script-src 'self'; style-src 'self'; connect-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
Query = dict[str, str]


class Answer(NamedTuple):
    code: int
    kind: str
    body: bytes


def answer(settings: Settings, figures: Figures, path: str) -> Answer:
    """Return what one request gets."""
    asked = urlsplit(path)
    if asked.path in FILES:
        name, kind = FILES[asked.path]
        return Answer(200, kind, (STATIC / name).read_bytes())
    routes: dict[str, Callable[[psycopg.Connection, Query], Any]] = {
        "/state": partial(_state, settings, figures),
        "/latest": _latest,
        "/rows": _rows,
    }
    if asked.path not in routes:
        return _json(404, {"error": f"one of {', '.join([*FILES, *routes])}"})
    query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
    try:
        with store.connect(settings.postgres("reader"), attempts_max=1) as connection:
            return _json(200, routes[asked.path](connection, query))
    except (ServiceError, psycopg.Error) as cause:
        return _json(503, {"error": str(cause)})


def _json(code: int, told: Any) -> Answer:
    return Answer(code, "application/json", json.dumps(told, default=str).encode() + b"\n")


def _state(
    settings: Settings, figures: Figures, connection: psycopg.Connection, _: Query
) -> dict[str, Any]:
    held = census.take(connection)
    return {
        "node": settings.node,
        "peers": list(settings.peers),
        "at_ns": clock.wall_ns(),
        "state": verdict(held),
        "hops": figures.hops(),
        "snapshots": _snapshots(connection),
        **held,
    }


def _snapshots(connection: psycopg.Connection) -> list[dict[str, Any]]:
    made = connection.execute(
        "SELECT encode(id, 'hex'), number, at_ns, trigger FROM snapshots "
        "ORDER BY number DESC LIMIT %s",
        (SNAPSHOTS_SHOWN,),
    )
    names = ("id", "number", "at_ns", "trigger")
    return [dict(zip(names, row, strict=True)) for row in made]


def verdict(held: dict[str, Any]) -> str:
    """Return the one word that this node can say alone: of what its peers named, what is here.

    >>> verdict({"diverged": [], "facts_missing": 0})
    'LEVEL'
    """
    if held["diverged"]:
        return "DIVERGED"
    return "CATCHING UP" if held["facts_missing"] else "LEVEL"


def _latest(connection: psycopg.Connection, query: Query) -> Any:
    rows = connection.execute(
        """SELECT chain, symbol, ts_event_ns, outputs FROM latest
           WHERE (%(chain)s::text IS NULL OR chain = %(chain)s)
           AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
           ORDER BY chain, symbol LIMIT %(many)s""",
        {"chain": query.get("chain"), "symbol": query.get("symbol"), "many": ROWS_MAX},
    )
    names = ("chain", "symbol", "ts_event_ns", "outputs")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _rows(connection: psycopg.Connection, query: Query) -> Any:
    rows = connection.execute(
        """SELECT ts_event_ns, outputs FROM results
           WHERE symbol = %(symbol)s AND (%(chain)s::text IS NULL OR chain = %(chain)s)
           ORDER BY tick_offset DESC, tick_row DESC LIMIT %(many)s""",
        {"chain": query.get("chain"), "symbol": query.get("symbol", ""), "many": ROWS_MAX},
    ).fetchall()
    return [{"ts_event_ns": at, "outputs": outputs} for at, outputs in reversed(rows)]


def serve(settings: Settings) -> metrics.Server:
    """Serve from a thread of its own."""
    figures = Figures(settings)

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds: a client that says nothing does not keep a thread

        def do_GET(self) -> None:
            told = answer(settings, figures, self.path)
            self.send_response(told.code)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", told.kind)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            """A page that is looked at is not worth a log line."""

    try:
        address = settings.bind_host, settings.gateway_port
        server = metrics.Server(address, Handler, CONNECTIONS_MAX)
    except OSError as cause:
        raise ConfigError(
            f"gateway_port must be free, was {settings.bind_host}:{settings.gateway_port}: "
            f"{cause.strerror}; set ORRERY_GATEWAY_PORT, or 0 for any free one"
        ) from cause
    threading.Thread(target=server.serve_forever, name="page", daemon=True).start()
    return server
