"""Which runs are asked for, and what became of them. One narrow interface, and files behind it.

Events are known by run, attempt and kind, an end by its run alone: written twice they are the
same, so a controller that died after writing one may write it again, and the first end stands.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import structlog

from .. import scratch
from ..errors import ConfigError
from ..protocol import stages
from . import chain

ENDS = ("completed", "failed")
HISTORY_MAX = 1000

log = structlog.get_logger()


class Runs(Protocol):
    """Requests and events of one node. Methods raise OutsideError when it cannot be reached."""

    def request(self, run: chain.Run) -> None:
        """Ask for a run; asking twice is asking once."""

    def open_runs(self) -> list[chain.Run]:
        """Return runs that have not ended, oldest first, with the number of the next attempt."""

    def emit(self, event: dict[str, Any]) -> bool:
        """Write an event down; False when it stood there already, or the run had another end."""

    def events(self, run: str) -> list[dict[str, Any]]:
        """Return what is known of a run, oldest first."""

    def history(self) -> list[chain.Run]:
        """Return runs, open and ended, newest first, up to a bound."""


class Unread:
    """Requests that make no sense here, of another release mostly: each is told of once, and holds
    up none of the others."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def read(self, name: str, text_of: Callable[[], str]) -> chain.Run | None:
        """Return a run, None when its text is none."""
        try:
            return chain.decode_run(text_of())
        except ConfigError as cause:
            if name not in self._told and len(self._told) < HISTORY_MAX:
                self._told.add(name)
                log.error("a request is passed over", request=name, reason=str(cause))
        return None


class FileRuns:
    """Requests and events as a folder.

    requests/<run>.json while open, ended/<run>.json after
    events/<run>/<attempt>-started.json, events/<run>/end.json
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unread = Unread()
        for name in ("requests", "ended", "events"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def request(self, run: chain.Run) -> None:
        if not (self._folder / "ended" / f"{run.id}.json").exists():
            path = self._folder / "requests" / f"{run.id}.json"
            scratch.write_once(str(path), chain.encode_run(run).encode())

    def open_runs(self) -> list[chain.Run]:
        found = []
        for path in self._folder.joinpath("requests").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path.name, path.read_text()))
        runs = []
        for _, name, text in sorted(found):
            kinds = [event["kind"] for event in self.events(name.removesuffix(".json"))]
            if any(kind in ENDS for kind in kinds):  # ended, and somebody died before moving it
                self._end(name)
            elif run := self._unread.read(name, lambda text=text: text):
                runs.append(run._replace(attempt=1 + kinds.count("started")))
        return runs

    def emit(self, event: dict[str, Any]) -> bool:
        folder = self._folder / "events" / event["run"]
        folder.mkdir(exist_ok=True)
        ends = event["kind"] in ENDS
        path = folder / ("end.json" if ends else f"{event['attempt']:04d}-{event['kind']}.json")
        new = scratch.write_once(str(path), stages.canonical(event).encode())
        if ends:
            self._end(f"{event['run']}.json")
        return new

    def _end(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "requests" / name).replace(self._folder / "ended" / name)

    def events(self, run: str) -> list[dict[str, Any]]:
        found = []
        for path in self._folder.joinpath("events", run).glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path.name, path.read_text()))
        return [json.loads(text) for _, _, text in sorted(found)]

    def history(self) -> list[chain.Run]:
        """Return runs, open and ended, newest first, HISTORY_MAX at most."""
        paths = [p for n in ("requests", "ended") for p in self._folder.joinpath(n).glob("*.json")]
        aged = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                aged.append((path.stat().st_mtime_ns, path))
        newest = sorted(aged, reverse=True)[:HISTORY_MAX]
        found = [self._unread.read(path.name, path.read_text) for _, path in newest]
        return [run for run in found if run]
