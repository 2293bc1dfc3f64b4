"""What the runner and the controller ask of the memo of a pod, over HTTP on a connection kept open.

Addresses: http://host:port, or unix:/path/to/socket.

Every method raises OSError when the memo cannot be reached or does not make sense.
"""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from ..protocol import stages
from .unix import UnixConnection

TIMEOUT_SECONDS = 30.0
ANSWER_BYTES_MAX = 1 << 20


class MemoClient:
    """One memo. Not for several threads at once."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        self._connection: http.client.HTTPConnection
        if parts.scheme == "unix":
            self._connection = UnixConnection(parts.path, timeout_s)
        else:
            self._connection = http.client.HTTPConnection(
                parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_s
            )

    def lookup(self, key: str) -> str | None:
        """Return the digest of the output under a key, None when nobody computed it."""
        answer = self._ask("GET", f"/v1/memo/{key}")
        return answer["digest"] if answer else None

    def runner(self, slot: str) -> str | None:
        """Return the token that the runner in a slot has taken up, None while there is none."""
        answer = self._ask("GET", f"/v1/slots/{slot}")
        return answer["token"] if answer else None

    def marker(self, run: str, stage: int) -> stages.Marker | None:
        """Return the marker of a stage, None while it is not done."""
        return self._ask("GET", f"/v1/runs/{run}/{stage}")

    def fetch(
        self, run: str, stage: int, digest: str, said: dict[str, Any] | None = None
    ) -> stages.Marker | None:
        """Have the bytes of a digest put into the scratch as output of a stage; None: unknown."""
        body = {"run": run, "stage": stage, "digest": digest, **(said or {})}
        return self._ask("POST", "/v1/fetch", body)

    def flush(self, run: str = "") -> dict[str, int]:
        """Have everything that is done remembered, all that a run left in the scratch too; return
        the counts, and as `unkept` how many outputs still are not."""
        return self._ask("POST", "/v1/flush", {"run": run} if run else {}) or {}

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        try:
            return self._ask_once(method, path, data)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            return self._ask_once(method, path, data)  # the memo was started anew: connect again

    def _ask_once(self, method: str, path: str, data: bytes | None) -> Any:
        try:
            self._connection.request(method, path, body=data)
            response = self._connection.getresponse()
            text = response.read(ANSWER_BYTES_MAX)
            if response.status == 404:
                return None
            if response.status != 200:
                raise OSError(f"the memo answered {response.status} to {path}: {text[:200]!r}")
            return json.loads(text)
        except OSError:
            self._connection.close()
            raise
        except (http.client.HTTPException, ValueError) as cause:
            self._connection.close()
            raise OSError(f"the memo does not make sense at {path}: {cause}") from cause
