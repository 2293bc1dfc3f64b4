"""Requests and events of runs as facts: on every node by CDC, and part of what `why` goes through.

    run/<id>/request            the run as it was asked for
    run/<id>/started/<attempt>  one per attempt
    run/<id>/lost/<attempt>     why a kubelet ended the pod of one
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
from ..errors import ConfigError
from ..protocol import stages
from . import chain
from .runs import ENDS, Runs, Unread

KIND = "run"
OPEN_MAX = 1000  # runs that are looked after at a time, the oldest first
NUMBERS_AT_ONCE = 10_000  # facts of an origin among which one look finds requests
HISTORY_MAX = 200
CACHE_MAX = 4096

_UNFINISHED = """
    SELECT r.key FROM facts r
    WHERE r.key > %s AND r.key < 'run0' AND r.key LIKE 'run/%%/request' AND NOT EXISTS (
        SELECT FROM facts e WHERE e.key = regexp_replace(r.key, '/request$', '/end'))
    ORDER BY r.key LIMIT %s"""
_HELD = """
    SELECT own.origin, coalesce(
        (SELECT max(oseq) FROM facts f WHERE f.origin = own.origin AND f.stream = %s), 0)
    FROM (SELECT i.origin FROM node n JOIN incarnations i USING (incarnation)) own
    UNION ALL SELECT origin, contiguous FROM origins WHERE stream = %s
    AND origin <> (SELECT i.origin FROM node n JOIN incarnations i USING (incarnation))"""
_CAME = """
    SELECT f.key FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS o (origin, low, high),
    LATERAL (SELECT key FROM facts WHERE origin = o.origin AND stream = %s
             AND oseq > o.low AND oseq <= o.high AND kind = 'run') f
    WHERE f.key LIKE 'run/%%/request'"""
_OF_RUNS = """
    SELECT r.run, f.key FROM unnest(%s::text[]) AS r (run), LATERAL (
        SELECT key FROM facts WHERE key >= 'run/' || r.run || '/' AND key < 'run/' || r.run || '0'
    ) f"""
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
        self._stream = settings.partitions
        self._looked: dict[str, int] | None = None  # by origin: below that requests are known
        self._open: dict[str, chain.Run] = {}  # of this node, not ended at the last look

    def request(self, run: chain.Run) -> None:
        self._write(f"run/{run.id}/request", chain.encode_run(run))

    def open_runs(self) -> list[chain.Run]:
        """Return this node's runs that have not ended. All requests are read at the first look
        alone; then those that came since, and what there is of runs that had not ended."""
        self._look()
        oldest = sorted(self._open)[:OPEN_MAX]
        names: dict[str, list[str]] = {run: [] for run in oldest}
        for run, key in self._rows(_OF_RUNS, oldest) if oldest else ():
            names[run].append(key.removeprefix(f"run/{run}/"))
        for run in oldest:
            if "end" in names[run]:
                del self._open[run]
        return [
            self._open[run]._replace(attempt=1 + sum(n.startswith("started/") for n in names[run]))
            for run in oldest
            if run in self._open
        ]

    def _look(self) -> None:
        """Take in the requests that came since the last look. Of other nodes facts come in no
        order: only what is there without a hole counts as looked at."""
        held = dict(self._rows(_HELD, self._stream, self._stream))
        if self._looked is None:
            last = "run/"
            while page := self._rows(_UNFINISHED, last, OPEN_MAX):
                self._take_in(page)
                last = page[-1][0]
            self._looked = held
            return
        low = [self._looked.get(origin, 0) for origin in held]
        both = zip(held.values(), low, strict=True)
        high = [min(there, at + NUMBERS_AT_ONCE) for there, at in both]
        self._take_in(self._rows(_CAME, list(held), low, high, self._stream))
        self._looked = dict(zip(held, high, strict=True))

    def _take_in(self, requests: list[tuple[str]]) -> None:
        for row in requests:
            if (run := self._run(row)) and self.is_ours(run):
                self._open[run.id] = run

    def is_ours(self, run: chain.Run) -> bool:
        """Whether this node was asked: a request names its node, and arrives everywhere."""
        return run.node in ("", self._node)

    def emit(self, event: dict[str, Any]) -> bool:
        name = "end" if event["kind"] in ENDS else f"{event['kind']}/{event['attempt']:04d}"
        if self._rows("SELECT 1 FROM facts WHERE key = %s", f"run/{event['run']}/{name}"):
            return False
        return self._write(f"run/{event['run']}/{name}", stages.canonical(event), event)

    def events(self, run: str) -> list[dict[str, Any]]:
        keys = [key for (key,) in self._rows(_OF_RUN, f"run/{run}/", f"run/{run}0")]
        found = [json.loads(self._text(k)) for k in keys if not k.endswith("/request")]
        return sorted(found, key=lambda event: (event["kind"] in ENDS, event["attempt"]))

    def history(self) -> list[chain.Run]:
        return [run for run in map(self._run, self._rows(_NEWEST, HISTORY_MAX)) if run]

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

    def _write(self, key: str, text: str, event: dict[str, Any] | None = None) -> bool:
        """Write a request, or an event: of what two controllers saw of one the first stands."""
        ends = event if event and event["kind"] in ENDS else None
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            return apart.write(KIND, key, {}, Path(file.name), ends, first_stands=bool(event))


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
