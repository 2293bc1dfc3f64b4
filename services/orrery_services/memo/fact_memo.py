"""The memo of a node in its Postgres: facts, so that other nodes' answers arrive by CDC.

    memo/<key>       meta {"digest": …}, no body: key -> digest
    bytes/<digest>   the bytes themselves: digest -> bytes

Lookups are plain SQL on one connection; facts are written by a child (see apart).
"""

import tempfile
from pathlib import Path
from typing import Any

from .. import apart, scratch
from ..config import Settings, load_settings
from ..errors import OutsideError
from ..protocol import stages
from .store import MemoStore

MEMO, BYTES = "memo", "bytes"
BODY_BYTES_MAX = 256 << 20  # of a fact
KEYS_AT_ONCE = 10_000

_DIGEST = "SELECT payload FROM facts WHERE key = %s"
_DIVERGED = "SELECT 1 FROM divergences WHERE key = %s LIMIT 1"
_ORIGINS = "SELECT DISTINCT origin FROM facts WHERE stream = %s AND kind = %s"
_KEYS = """
    SELECT oseq, key FROM facts WHERE origin = %s AND stream = %s AND oseq > %s AND kind = %s
    ORDER BY oseq LIMIT %s"""


class FactMemo:
    """A memo store over the facts of one node. Methods may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._stream = settings.partitions
        self._rows = apart.Reader(settings).rows

    def digest_of(self, key: str) -> str | None:
        name = f"{MEMO}/{key}"
        rows = self._rows(_DIGEST, name)
        if not rows or self._rows(_DIVERGED, name):
            return None
        digest = apart.parse(bytes(rows[0][0]))[0].get("digest")
        return digest if stages.is_digest(digest) else None

    def keys_since(self, cursor: Any) -> tuple[list[str], Any]:
        """Return keys that came since, by the number of each origin."""
        numbers = dict(cursor or {})
        found = []
        for (origin,) in self._rows(_ORIGINS, self._stream, MEMO):
            after = numbers.get(origin, 0)
            rows = self._rows(_KEYS, origin, self._stream, after, MEMO, KEYS_AT_ONCE)
            found += [key.partition("/")[2] for _, key in rows]
            numbers[origin] = rows[-1][0] if rows else after
        return [key for key in found if stages.is_digest(key)], numbers

    def fetch(self, digest: str, path: Path) -> bool:
        if apart.read(f"{BYTES}/{digest}", path) is None:
            return False
        found, _ = scratch.digest_file(str(path))
        return found == digest

    def put(self, key: str, digest: str, path: Path) -> None:
        size = path.stat().st_size
        if size > BODY_BYTES_MAX:
            raise OutsideError(f"an output must be <= {BODY_BYTES_MAX} bytes, was {size}")
        apart.write(BYTES, f"{BYTES}/{digest}", {}, path)
        if key:
            apart.write(MEMO, f"{MEMO}/{key}", {"digest": digest})

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

    def __init__(self, near: MemoStore, far: MemoStore) -> None:
        self._near, self._far = near, far

    def digest_of(self, key: str) -> str | None:
        return self._near.digest_of(key) or self._far.digest_of(key)

    def keys_since(self, cursor: Any) -> tuple[list[str], Any]:
        near, far = cursor or (0, 0)
        mine, near = self._near.keys_since(near)
        theirs, far = self._far.keys_since(far)
        return mine + theirs, (near, far)

    def fetch(self, digest: str, path: Path) -> bool:
        return self._near.fetch(digest, path) or self._far.fetch(digest, path)

    def put(self, key: str, digest: str, path: Path) -> None:
        self._near.put(key, digest, path)
        self._far.put(key, digest, path)
