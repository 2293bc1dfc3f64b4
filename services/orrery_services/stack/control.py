"""How one talks to the supervisor: a line of JSON over a socket in the run folder, one back."""

import contextlib
import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..config import stack_socket
from ..errors import StackError

NAME = stack_socket(Path()).name
LINE_BYTES_MAX = 1 << 20
SECONDS_MAX = 60.0
Answer = Callable[[dict[str, Any]], dict[str, Any]]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve(run: Path, answer: Answer) -> _Server:
    """Answer requests from a thread. The socket is readable by its owner alone."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                told = answer(json.loads(self.rfile.readline(LINE_BYTES_MAX)))
            except Exception as cause:  # a bad request must not end the supervisor
                told = {"error": f"{type(cause).__name__}: {cause}"}
            self.wfile.write(json.dumps(told).encode() + b"\n")

    (run / NAME).unlink(missing_ok=True)
    with _short(run) as path:
        before = os.umask(0o177)
        try:
            server = _Server(path, Handler)
        finally:
            os.umask(before)
    threading.Thread(target=server.serve_forever, name="control", daemon=True).start()
    return server


def close(server: _Server, run: Path) -> None:
    server.shutdown()
    server.server_close()
    (run / NAME).unlink(missing_ok=True)


def ask(run: Path, seconds_max: float = SECONDS_MAX, **request: Any) -> dict[str, Any] | None:
    """Return the supervisor's answer, None when there is none. Raises StackError if it refuses."""
    try:
        with _short(run) as path, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(seconds_max)
            client.connect(path)
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as answer:
                line = answer.readline(LINE_BYTES_MAX)
    except (FileNotFoundError, ConnectionError):
        return None
    except TimeoutError as cause:
        raise StackError(f"the supervisor must answer within {seconds_max} s") from cause
    told = json.loads(line) if line else {"error": "the supervisor left"}
    if "error" in told:
        raise StackError(told["error"])
    return told


@contextlib.contextmanager
def _short(run: Path) -> Iterator[str]:
    """Give a name of the socket that fits: a path may be longer than an address, 107 bytes."""
    descriptor = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)
