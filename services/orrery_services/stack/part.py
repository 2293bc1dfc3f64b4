"""One part of a stack as plain data: how it is prepared, started, known to be ready, and stopped.

A part without a command is a job: it is done once `prepare` has returned.
"""

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class User(NamedTuple):
    """An unprivileged user for a server that refuses to run as root."""

    uid: int
    gid: int


class NotReady(Exception):
    """The part is not ready yet; the message says what it waits for."""


Tell = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    name: str
    prepare: Callable[[Tell], None] | None = None  # idempotent: before every start
    command: Callable[[], list[str]] | None = None
    ready: Callable[[], None] | None = None  # raises NotReady
    finish: Callable[[], None] | None = None  # after ready: what only a running server can do
    after: tuple[str, ...] = ()  # these must be ready first
    env: Mapping[str, str] = field(default_factory=dict)
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    ready_seconds: float = 180.0
    wanted: Callable[[], str | None] | None = None  # the reason why this part is left out


def port_open(port: int) -> Callable[[], None]:
    def check() -> None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError as cause:
            raise NotReady(f"port {port} does not answer: {cause.strerror}") from cause

    return check


def http_ok(url: str) -> Callable[[], None]:
    def check() -> None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError as error:
            raise NotReady(f"{url} answers {error.code}: {error.read(300)!r}") from error
        except OSError as cause:
            raise NotReady(f"{url} does not answer: {cause}") from cause

    return check
