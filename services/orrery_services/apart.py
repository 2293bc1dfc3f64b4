"""Facts written and read by a child process, for services that must stay small.

The store needs Arrow, which is fifty megabytes. The memo of a pod and the controller of the hot
swap write a fact now and then: a child does that and takes its memory along. What is asked often
(is this key known?) they ask Postgres themselves.

    write(kind, key, meta, path)   the bytes of a file as a fact of this node; False: it was held.
                                   With `ends`, the end of a swapped run: its record and refs too
    read(key, path)                the bytes of a fact to a file; None: not here, else its meta
    Reader(settings).rows(sql, …)  what is asked often
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import zstandard

from .config import Settings, load_settings
from .errors import DivergenceError, OutsideError

SECONDS_MAX = 60.0
RAW, ZSTD, GONE = 0, 1, 3  # forms of a payload; what is larger is a tree, the store's affair
DIVERGED, ABSENT = 3, 4


class Reader:
    """Plain SQL on one connection, made anew at the next question when it broke. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raises OutsideError when Postgres does not answer."""
        with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    conninfo = self._settings.postgres("reader")
                    self._connection = psycopg.connect(conninfo, autocommit=True)
                return self._connection.execute(query, values).fetchall()
            except psycopg.Error as cause:
                if self._connection is not None:
                    self._connection.close()
                raise OutsideError(f"the node's Postgres does not answer: {cause}") from cause


def parse(payload: bytes) -> tuple[dict[str, Any], bytes | None]:
    """Return meta and body of a fact; None for a body in pieces: ask `read` for that.

    >>> parse(bytes([1, RAW, 2]) + b"{}body")
    ({}, b'body')
    """
    size, shift, at = 0, 0, 2
    while True:
        size |= (payload[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if payload[at - 1] < 0x80:
            break
    meta, body = json.loads(payload[at : at + size]), payload[at + size :]
    if payload[1] == ZSTD:
        body = zstandard.ZstdDecompressor().decompress(body)
    return meta, body if payload[1] in (RAW, ZSTD) else None


def is_gone(head: bytes) -> bool:
    """Whether this is the beginning of a payload whose body gc has removed: its name stays held."""
    return head[1] == GONE


def write(
    kind: str,
    key: str,
    meta: dict[str, Any],
    path: Path | str = os.devnull,
    ends: Mapping[str, Any] | None = None,
    first_stands: bool = False,
) -> bool:
    """Write a fact of this node. Raises DivergenceError when the key has other bytes, but for
    those of which the first stands."""
    question = {"do": "write", "kind": kind, "key": key, "meta": meta, "path": str(path)}
    return bool(_ask(question | {"ends": ends, "first_stands": first_stands})["inserted"])


def read(key: str, path: Path | str = os.devnull) -> dict[str, Any] | None:
    """Write the bytes of a fact to a file and return its meta; None when it is not held."""
    answer = _ask({"do": "read", "key": key, "path": str(path)})
    return answer["meta"] if answer["held"] else None


def _ask(question: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "orrery_services.apart"],
            input=json.dumps(question).encode(),
            capture_output=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise OutsideError(
            f"a fact took longer than {SECONDS_MAX:g} s: {question['key']}"
        ) from cause
    why = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
    if done.returncode == DIVERGED:
        raise DivergenceError(why[0])
    if done.returncode:
        raise OutsideError(f"the fact {question['key']} could not be asked for: {why[0]}")
    return json.loads(done.stdout)


def _write(question: dict[str, Any]) -> dict[str, Any]:
    from . import store
    from .protocol import facts

    settings = load_settings()
    data = Path(question["path"]).read_bytes()
    made = facts.plain_fact(
        question["kind"], settings.partitions, question["key"], question["meta"], data
    )
    with store.connect(settings.postgres("writer")) as connection:
        if question["ends"]:
            from .store import swapped

            outcome = swapped.commit_end(connection, made, question["ends"], settings.partitions)
        elif question["first_stands"]:
            outcome = store.commit(connection, [], if_alike=made)
        else:
            outcome = store.commit(connection, made)
    if outcome.divergences:
        found = outcome.divergences[0]
        raise DivergenceError(
            f"one key must have one content: {found.came.key} is held as {found.held.hex()[:12]}, "
            f"came as {found.came.id.hex()[:12]}; both are kept, neither is served"
        )
    return {"inserted": outcome.inserted > 0}


def _read(question: dict[str, Any]) -> dict[str, Any]:
    from . import store
    from .protocol import facts

    settings = load_settings()
    with store.connect(settings.postgres("reader")) as connection:
        row = store.fact_by_key(connection, question["key"])
        if row is None or is_gone(row.payload):
            return {"held": False}
        data = facts.data_of(row.payload, store.fetch_piece(connection, row.stream))
    if question["path"] != os.devnull:
        Path(question["path"]).write_bytes(data)
    return {"held": True, "meta": facts.meta_of(row.payload)}


def main() -> int:
    """Answer one question from stdin."""
    question = json.loads(sys.stdin.buffer.read())
    try:
        answer = (_write if question["do"] == "write" else _read)(question)
    except DivergenceError as cause:
        print(cause, file=sys.stderr)  # noqa: T201
        return DIVERGED
    except Exception as cause:
        print(f"{type(cause).__name__}: {cause}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
