"""The memo of a node in its Postgres (see protocol/answers.py), for a process that stays small.

Lookups are plain SQL on one connection; facts are written by a child (see apart).
"""

import tempfile
from pathlib import Path
from typing import Any

from .. import apart, memo_keys, scratch
from ..config import Settings, load_settings
from ..errors import DivergenceError, OutsideError
from ..protocol import stages
from ..protocol.answers import BYTES, MEMO, bytes_key, memo_key, memo_meta
from .store import FileMemo, MemoStore

BODY_BYTES_MAX = 64 << 20  # of a fact: who writes one takes twice that for a moment, and 100 MB
_HEAD = "SELECT substring(payload FOR 2) FROM facts WHERE key = %s"


class FactMemo:
    """A memo store over the facts of one node. Methods may be called from any thread."""

    bytes_max = BODY_BYTES_MAX

    def __init__(self, settings: Settings) -> None:
        self._stream = settings.partitions
        self._rows = apart.Reader(settings).rows

    def digest_of(self, key: str) -> str | None:
        payload = memo_keys.payload_of(self._rows, key)
        digest = apart.parse(payload)[0].get("digest") if payload else None
        if not stages.is_digest(digest):
            return None
        heads = self._rows(_HEAD, bytes_key(digest))
        if not heads or apart.is_gone(bytes(heads[0][0])):
            return None  # bytes expire: what needs them is computed again
        return digest

    def keys_since(self, cursor: Any) -> tuple[list[str], Any]:
        return memo_keys.keys_since(self._rows, self._stream, cursor)

    def fetch(self, digest: str, path: Path) -> bool:
        if apart.read(bytes_key(digest), path) is None:
            return False
        found, _ = scratch.digest_file(str(path))
        return found == digest

    def put(self, key: str, digest: str, path: Path) -> None:
        size = path.stat().st_size
        if size > BODY_BYTES_MAX:
            raise OutsideError(
                f"what is kept in Postgres must be <= {BODY_BYTES_MAX} bytes, was {size}: have the "
                "stage write less, or the chain read less of the snapshot"
            )
        apart.write(BYTES, bytes_key(digest), {}, path)
        if key:
            apart.write(MEMO, memo_key(key), memo_meta(digest))

    def put_bytes(self, digest: str, data: bytes) -> None:
        """Keep the input of a run."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            self.put("", digest, Path(file.name))


def open_fact_memo() -> FactMemo:
    """Return the memo of the node that the environment names."""
    return FactMemo(load_settings())


class TieredMemo:
    """A folder of this machine in front of the node's facts: near first, and both remember."""

    def __init__(self, near: FileMemo, far: MemoStore) -> None:
        self._near, self._far = near, far
        self.bytes_max = near.bytes_max

    def digest_of(self, key: str) -> str | None:
        if self._near.is_quarantined(key):
            return None
        return self._near.digest_of(key) or self._far.digest_of(key)

    def keys_since(self, cursor: Any) -> tuple[list[str], Any]:
        near, far = cursor or (0, 0)
        mine, near = self._near.keys_since(near)
        theirs, far = self._far.keys_since(far)
        return mine + theirs, (near, far)

    def fetch(self, digest: str, path: Path) -> bool:
        return self._near.fetch(digest, path) or self._far.fetch(digest, path)

    def put(self, key: str, digest: str, path: Path) -> None:
        try:
            self._near.put(key, digest, path)
        except DivergenceError:  # known there as well: the other nodes must hear of it
            self._put_far(key, digest, path)
            raise
        self._put_far(key, digest, path)

    def _put_far(self, key: str, digest: str, path: Path) -> None:
        if path.stat().st_size <= self._far.bytes_max:  # what is larger stays on this machine
            self._far.put(key, digest, path)
