"""Requests and events of runs as facts: on every node by CDC, and part of what `why` goes through.

    run/<id>/request            the run as it was asked for
    run/<id>/started/<attempt>  one per attempt
    run/<id>/end                how it ended, with the digests of every stage; of dominoes also
                                the record of the chain's run, and refs at what it found

Written by a child (see apart); read by plain SQL, by time: the name of a run begins with it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from .. import apart
from ..config import Settings
from ..errors import ConfigError, DivergenceError
from ..protocol import stages
from . import chain
from .runs import ENDS, Runs, Unread

KIND = "run"
OPEN_MAX = 1000
HISTORY_MAX = 200
CACHE_MAX = 4096

_OPEN = """
    SELECT r.key FROM facts r WHERE r.kind = 'run' AND r.key LIKE 'run/%%/request' AND NOT EXISTS (
        SELECT 1 FROM facts e WHERE e.key = regexp_replace(r.key, '/request$', '/end'))
    ORDER BY r.key LIMIT %s"""
_OF_RUN = "SELECT key FROM facts WHERE key >= %s AND key < %s ORDER BY key"
_NEWEST = """
    SELECT key FROM facts WHERE kind = 'run' AND key LIKE 'run/%%/request'
    ORDER BY key DESC LIMIT %s"""


class FactRuns:
    """Requests and events of one node, in its Postgres."""

    def __init__(self, settings: Settings) -> None:
        self._node = settings.node
        self._rows = apart.Reader(settings).rows
        self._read: dict[str, str] = {}  # facts never change: each is read once
        self._unread = Unread()

    def request(self, run: chain.Run) -> None:
        self._write(f"run/{run.id}/request", chain.encode_run(run))

    def open_runs(self) -> list[chain.Run]:
        return [
            run._replace(attempt=1 + self._started(run.id))
            for run in map(self._run, self._rows(_OPEN, OPEN_MAX))
            if run and self.is_ours(run)
        ]

    def is_ours(self, run: chain.Run) -> bool:
        """Whether this node was asked: a request names its node, and arrives everywhere."""
        return run.node in ("", self._node)

    def emit(self, event: dict[str, Any]) -> bool:
        name = "end" if event["kind"] in ENDS else f"{event['kind']}/{event['attempt']:04d}"
        if self._rows("SELECT 1 FROM facts WHERE key = %s", f"run/{event['run']}/{name}"):
            return False
        ends = event if event["kind"] in ENDS else None
        try:
            return self._write(f"run/{event['run']}/{name}", stages.canonical(event), ends)
        except DivergenceError:  # another controller saw another end, a moment before: it stands
            return False

    def events(self, run: str) -> list[dict[str, Any]]:
        keys = [key for (key,) in self._rows(_OF_RUN, f"run/{run}/", f"run/{run}0")]
        found = [json.loads(self._text(k)) for k in keys if not k.endswith("/request")]
        return sorted(found, key=lambda event: (event["kind"] in ENDS, event["attempt"]))

    def history(self) -> list[chain.Run]:
        return [run for run in map(self._run, self._rows(_NEWEST, HISTORY_MAX)) if run]

    def _started(self, run: str) -> int:
        return len(self._rows(_OF_RUN, f"run/{run}/started/", f"run/{run}/started0"))

    def _run(self, row: tuple[str]) -> chain.Run | None:
        return self._unread.read(row[0], lambda: self._text(row[0]))

    def _text(self, key: str) -> str:
        if key not in self._read:
            rows = self._rows("SELECT payload FROM facts WHERE key = %s", key)
            body = apart.parse(bytes(rows[0][0]))[1] if rows else None
            if body is None:
                raise ConfigError(f"the fact {key} must be held, and in one piece; ask for it anew")
            if len(self._read) >= CACHE_MAX:
                self._read.pop(next(iter(self._read)))
            self._read[key] = body.decode()
        return self._read[key]

    def _write(self, key: str, text: str, ends: dict[str, Any] | None = None) -> bool:
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            return apart.write(KIND, key, {}, Path(file.name), ends)


class Published:
    """Runs in a folder of this machine, whose ends are facts too: first the fact, then the file."""

    def __init__(self, near: Runs, far: FactRuns) -> None:
        self._near, self._far = near, far
        self.request, self.open_runs, self.events = near.request, near.open_runs, near.events
        self.history = near.history

    def emit(self, event: dict[str, Any]) -> bool:
        if event["kind"] in ENDS:
            self._far.emit(event)
        return self._near.emit(event)
