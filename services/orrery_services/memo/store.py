"""Where answers are kept: key -> digest, digest -> bytes. A narrow interface, files behind it."""

import contextlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any, Protocol

from .. import scratch
from ..errors import DivergenceError, OutsideError
from ..protocol import stages

DIVERGED = "diverged"
FILE_BYTES_MAX = 1 << 30


class MemoStore(Protocol):
    """The memo of a node. Every method raises OutsideError when it cannot be reached.

    `bytes_max`: larger outputs are not kept.
    """

    bytes_max: int

    def digest_of(self, key: str) -> str | None:
        """Return the digest under a key; None when unknown, in quarantine, or of lost bytes."""

    def keys_since(self, cursor: Any) -> tuple[list[str], Any]:
        """Return keys learned after `cursor` (0: from the beginning), and the next cursor."""

    def fetch(self, digest: str, path: Path) -> bool:
        """Write the bytes of a digest to `path`; False when they are not here."""

    def put(self, key: str, digest: str, path: Path) -> None:
        """Remember. An empty key remembers the bytes alone. Raises DivergenceError."""


class FileMemo:
    """The memo as a folder: for tests, and for nodes whose stages run as plain processes.

    keys/<2>/<key> holds a digest, bodies/<2>/<digest> bytes, and `log` lists keys in the order
    in which they came. Each is written whole and once, so several processes may share the folder.
    """

    bytes_max = FILE_BYTES_MAX

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("keys", "bodies"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def _key_path(self, key: str) -> Path:
        return self._folder / "keys" / key[:2] / key

    def _body_path(self, digest: str) -> Path:
        return self._folder / "bodies" / digest[:2] / digest

    def digest_of(self, key: str) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            text = self._key_path(key).read_text()
            return text if stages.is_digest(text) and self._body_path(text).exists() else None
        return None

    def is_quarantined(self, key: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._key_path(key).read_text() == DIVERGED
        return False

    def keys_since(self, cursor: int) -> tuple[list[str], int]:
        try:
            with (self._folder / "log").open("rb") as log:
                log.seek(cursor)
                data = log.read()
        except FileNotFoundError:
            return [], cursor
        whole = data[: data.rfind(b"\n") + 1]
        keys = [line for line in whole.decode().split("\n") if stages.is_digest(line)]
        return keys, cursor + len(whole)

    def fetch(self, digest: str, path: Path) -> bool:
        source = self._body_path(digest)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(source, path)
            found, _ = scratch.digest_file(str(path))
            if found == digest:
                return True
            path.unlink()
            source.unlink()  # never serve a damaged body: it will be computed or fetched again
        return False

    def put_bytes(self, digest: str, data: bytes) -> None:
        """Keep the input of a run."""
        body = self._body_path(digest)
        body.parent.mkdir(exist_ok=True)
        scratch.write_once(str(body), data)

    def put(self, key: str, digest: str, path: Path) -> None:
        self._keep_body(digest, path)
        if key:
            self._keep_key(key, digest)

    def _keep_body(self, digest: str, path: Path) -> None:
        body = self._body_path(digest)
        if body.exists():
            return
        body.parent.mkdir(exist_ok=True)
        temporary = body.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            shutil.copyfile(path, temporary)
            scratch.sync(str(temporary))
            temporary.replace(body)
        except OSError as cause:
            temporary.unlink(missing_ok=True)  # half of it, on a disk that is full
            raise OutsideError(f"the memo cannot keep {digest[:12]}: {cause}") from cause

    def _keep_key(self, key: str, digest: str) -> None:
        path = self._key_path(key)
        path.parent.mkdir(exist_ok=True)
        if not path.exists():  # listed first: a key that nobody lists would never be found
            with (self._folder / "log").open("ab") as log:
                log.write(key.encode() + b"\n")
        if scratch.write_once(str(path), digest.encode()):
            return
        known = path.read_text()
        if known != digest:
            scratch.write_whole(str(path), DIVERGED.encode())
            raise DivergenceError(
                f"one key must have one output: {key[:12]} had {known[:12]}, now {digest[:12]}; "
                "both are in quarantine. The stage reads what is not among its inputs"
            )
