"""The memo's server: a few megabytes beside the slots, asleep between questions.

It owns nothing: what is done is read from the scratch, what is known from the node's memo. Killed
and started again it answers the same.
"""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .. import clock, scratch
from ..errors import DivergenceError, OutsideError
from ..protocol import stages
from ..protocol.bloom import BloomFilter
from . import steps
from .store import MemoStore

BODY_BYTES_MAX = 1 << 16
KEYS_MAX = 1 << 20
ERROR_RATE = 0.01
REFRESH_NS = 1_000_000_000
PENDING_MAX = 256
FLUSH_SECONDS_MAX = 5.0  # who asks has other things to do, and asks again
PAGES_MAX = 8  # of keys, in one refresh
COUNTERS = ("lookups", "filtered", "hits", "misses", "stored", "too_large", "diverged", "failed")


class Memo:
    """What the server answers from. Methods may be called from any thread."""

    def __init__(
        self, volume: str, store: MemoStore, now: clock.Clock = clock.monotonic_ns
    ) -> None:
        self.volume = volume
        self.counts = dict.fromkeys(COUNTERS, 0)
        self._store = store
        self._now = now
        self._lock = threading.Lock()
        self._learning = threading.Lock()  # the other one is never held while the store is asked
        self._filter = BloomFilter(KEYS_MAX, ERROR_RATE)
        self._cursor: Any = 0
        self._whole = False  # the filter knows every key: its "no" can be believed
        self._refreshed_ns = now() - REFRESH_NS
        self._flights: dict[str, Future[str | None]] = {}
        self._worker = ThreadPoolExecutor(1, "store")
        self._remembered: dict[tuple[str, int], Future[bool]] = {}

    def lookup(self, key: str) -> str | None:
        """Return the digest under a key. The same question at the same time is asked once."""
        self._refresh()
        with self._lock:
            self.counts["lookups"] += 1
            if self._whole and key not in self._filter and not self._filter.full:
                self.counts["filtered"] += 1
                return None
            flight = self._flights.get(key)
            mine = flight is None
            if mine:
                flight = self._flights[key] = Future()
        if mine:
            self._answer(key, flight)
        return flight.result()

    def _answer(self, key: str, flight: Future[str | None]) -> None:
        try:
            digest = self._store.digest_of(key)
            with self._lock:
                self.counts["hits" if digest else "misses"] += 1
            flight.set_result(digest)
        except Exception as cause:
            flight.set_exception(cause)
        finally:
            with self._lock:
                del self._flights[key]

    def _refresh(self) -> None:
        """Learn the keys that came since, from this node or another: at most once a second.

        A long history comes in pages, over several refreshes; the store is asked until then. One
        that does not answer holds up who refreshes, and nobody else: markers are in the scratch.
        """
        with self._lock:
            if self._now() - self._refreshed_ns < REFRESH_NS:
                return
            self._refreshed_ns = self._now()
        if not self._learning.acquire(blocking=False):
            return
        try:
            self._learn()
        except (OutsideError, OSError):  # what is known stays known
            with self._lock:
                self.counts["failed"] += 1
        finally:
            self._learning.release()

    def _learn(self) -> None:
        for _ in range(PAGES_MAX):
            keys, cursor = self._store.keys_since(self._cursor)
            with self._lock:
                for key in keys:
                    self._filter.add(key)
                self._whole = cursor == self._cursor
                self._cursor = cursor
                if self._whole:
                    return

    def marker(self, run: str, stage: int) -> stages.Marker | None:
        """Return the marker of a stage, and see to it that its output is remembered."""
        marker = scratch.read_marker(self.volume, run, stage)
        if marker and not marker.get("reused"):
            self._remember(run, stage, marker)
        return marker

    def _remember(self, run: str, stage: int, marker: stages.Marker) -> None:
        place = run, stage
        with self._lock:
            before = self._remembered.get(place)
            if before and not (before.done() and is_left(before)):  # what failed is tried again
                return
            while len(self._remembered) >= PENDING_MAX:
                self._remembered.pop(next(iter(self._remembered)))
            future = self._worker.submit(self._put, run, stage, marker)
            self._remembered[place] = future

    def _put(self, run: str, stage: int, marker: stages.Marker) -> bool:
        """Keep an output; False when that is worth another try."""
        path = Path(scratch.output_path(self.volume, run, stage, marker["output"]))
        outcome = "stored"
        try:
            if marker["output_bytes"] > self._store.bytes_max:
                outcome = "too_large"
            else:
                self._store.put(marker["key"], marker["output"], path)
        except DivergenceError:
            outcome = "diverged"
        except (OutsideError, OSError):
            outcome = "failed"
        with self._lock:
            self.counts[outcome] += 1
            if marker["key"]:
                self._filter.add(marker["key"])
        return outcome != "failed"

    def fetch(self, body: dict[str, Any]) -> stages.Marker | None:
        """Put the bytes of a digest into the scratch as the output of a stage; None: not here."""
        run, stage, digest = body["run"], body["stage"], body["digest"]
        if marker := scratch.read_marker(self.volume, run, stage):
            return marker
        folder = Path(scratch.stage_folder(self.volume, run, stage))
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{digest}.{threading.get_ident()}.tmp"
        if not self._store.fetch(digest, temporary):
            temporary.unlink(missing_ok=True)  # what came was not what its name says
            return None
        marker = steps.fetched_marker(body)
        return scratch.finish_stage(self.volume, run, stage, str(temporary), marker)

    def flush(self, run: str = "") -> dict[str, int]:
        """Remember what was seen and what a run left in the scratch; return the counts.

        `unkept`: outputs that are not remembered within FLUSH_SECONDS_MAX, or could not be.
        """
        with self._lock:
            left = [place for place, future in self._remembered.items() if is_left(future)]
        here = scratch.stages_of(self.volume, run) if run else []
        for place in dict.fromkeys([*left, *((run, stage) for stage in here)]):
            self.marker(*place)
        with self._lock:
            pending = list(self._remembered.values())
        wait(pending, FLUSH_SECONDS_MAX)
        with self._lock:
            return {**self.counts, "unkept": sum(map(is_left, pending))}

    def close(self) -> None:
        self._worker.shutdown(wait=True)


def is_left(future: Future[bool]) -> bool:
    """Whether an output is not kept: not yet, or not this time."""
    return not future.done() or future.exception() is not None or not future.result()


class _Handler(BaseHTTPRequestHandler):
    memo: Memo
    protocol_version = "HTTP/1.1"
    wbufsize = (
        -1
    )  # head and body in one packet: else each answer waits 40 ms for an acknowledgement
    timeout = 120  # seconds: a client that says nothing does not keep a thread for ever

    def do_GET(self) -> None:
        question = steps.parse_path(self.path)
        answers: dict[str, Callable[[steps.Question], tuple[int, Any]]] = {
            "healthz": lambda _: (200, {"ok": True}),
            "metrics": lambda _: (200, self.memo.counts),
            "slot": self._slot,
            "run": lambda asked: _found(self.memo.marker(asked.run, asked.stage)),
            "memo": self._lookup,
        }
        if question is None or question.kind not in answers:
            self._send(404, {"error": f"nothing answers {self.path[:200]}"})
        else:
            self._try(answers[question.kind], question)

    def do_POST(self) -> None:
        question = steps.parse_path(self.path)
        said = self.headers.get("Content-Length") or "0"
        if not (said.isascii() and said.isdigit() and int(said[:20]) <= BODY_BYTES_MAX):
            self.close_connection = True
            error = f"a body holds 0 to {BODY_BYTES_MAX} bytes, was {said[:40]!r}"
            self._send(413, {"error": error})
            return
        data = self.rfile.read(int(said))
        if question and question.kind == "flush":
            self._try(lambda _: self._flush(data), question)
        elif question and question.kind == "fetch":
            self._try(lambda _: self._fetch(data), question)
        else:
            self._send(404, {"error": f"nothing answers {self.path[:200]}"})

    def _slot(self, question: steps.Question) -> tuple[int, Any]:
        token = scratch.slot_token(self.memo.volume, question.slot)
        return _found(None if token is None else {"token": token})

    def _lookup(self, question: steps.Question) -> tuple[int, Any]:
        digest = self.memo.lookup(question.key)
        return _found({"digest": digest} if digest else None)

    def _flush(self, data: bytes) -> tuple[int, Any]:
        body = json.loads(data or b"{}")
        run = str(body.get("run", "")) if isinstance(body, dict) else "?"
        if run and not stages.is_run_name(run):
            return 400, {"error": f"a run must be named as a folder, was {run[:40]!r}"}
        return 200, self.memo.flush(run)

    def _fetch(self, data: bytes) -> tuple[int, Any]:
        body = json.loads(data)
        if not steps.is_wish(body):
            return 400, {"error": "a wish must name run, stage and digest"}
        return _found(self.memo.fetch(body))

    def _try(self, answer: Callable[[Any], tuple[int, Any]], question: steps.Question) -> None:
        try:
            status, body = answer(question)
        except ValueError as cause:
            status, body = 400, {"error": str(cause)}
        except Exception as cause:
            status, body = 503, {"error": f"{type(cause).__name__}: {cause}"}
        self._send(status, body)

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def address_string(self) -> str:
        return "a slot"

    def log_message(self, *_: object) -> None:
        """Probes come every second: they are not worth a log line each."""


def _found(answer: Any) -> tuple[int, Any]:
    return (200, answer) if answer is not None else (404, {"error": "unknown"})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    @property
    def port(self) -> int:
        return self.server_address[1]


class SocketServer(Server):
    """The same on a socket file, for slots that have no network."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        path = Path(str(self.server_address))
        path.unlink(missing_ok=True)
        self.socket.bind(str(path))
        self.server_name, self.server_port = "localhost", 0


def serve_socket(memo: Memo, path: str) -> SocketServer:
    return SocketServer(path, type("Handler", (_Handler,), {"memo": memo}))  # type: ignore[arg-type]


def serve(memo: Memo, host: str, port: int) -> Server:
    """Return a server of `memo`; its serve_forever does the work. Port 0 takes a free one."""
    return Server((host, port), type("Handler", (_Handler,), {"memo": memo}))
