"""The one way to the time-series store: milliseconds, 12 to 15 digits, never the ledger."""

import functools
import json
import math
from collections.abc import Iterable
from typing import NamedTuple

import httpx
import msgspec

from .errors import OutsideError

SECONDS_MAX = 10.0
BYTES_AT_ONCE = 4 * 1024 * 1024
_client = functools.cache(lambda: httpx.Client(timeout=SECONDS_MAX, trust_env=False))


class Series(NamedTuple):
    """One line of figures: labels, values, and their times in milliseconds."""

    labels: dict[str, str]  # __name__ among them
    values: list[float]
    times_ms: list[int]


def write(url: str, series: Iterable[Series]) -> int:
    """Send series, a few megabytes at a time; return how many samples. Raises OutsideError.

    A value that is not finite is a ValueError: the store has no word for it.
    """
    lines: list[bytes] = []
    size = samples = 0
    for one in series:
        line = _line(one)
        samples += len(one.values)
        if size + len(line) > BYTES_AT_ONCE and lines:
            _post(url, "/api/v1/import", b"\n".join(lines))
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    if lines:
        _post(url, "/api/v1/import", b"\n".join(lines))
    return samples


def _line(one: Series) -> bytes:
    labels, values, times = map(msgspec.json.encode, (one.labels, one.values, one.times_ms))
    if b"null" in values:  # what msgspec makes of NaN and of infinity
        bad = next(value for value in one.values if not math.isfinite(value))
        raise ValueError(f"values of {one.labels} must be finite, one was {bad}")
    return b'{"metric":%b,"values":%b,"timestamps":%b}' % (labels, values, times)


def read(url: str, selector: str, from_ms: int, to_ms: int) -> list[Series]:
    """Return the raw samples of what a selector matches, in order of time; both ends included."""
    query = httpx.QueryParams({"match[]": selector, "start": from_ms / 1e3, "end": to_ms / 1e3})
    answer = _call("GET", url, f"/api/v1/export?{query}")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return [Series(line["metric"], line["values"], line["timestamps"]) for line in lines]


def forget(url: str, selector: str) -> None:
    """Delete every series that a selector matches."""
    _post(url, f"/api/v1/admin/tsdb/delete_series?{httpx.QueryParams({'match[]': selector})}", b"")


def is_there(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def _post(url: str, path: str, body: bytes) -> None:
    _call("POST", url, path, body)


def _call(method: str, url: str, path: str, body: bytes | None = None) -> httpx.Response:
    try:
        answer = _client().request(method, url + path, content=body)
    except httpx.HTTPError as cause:
        raise OutsideError(f"the time-series store must answer at {url}, but: {cause}") from cause
    if answer.status_code >= 300:
        raise OutsideError(f"the time-series store refused {path[:60]}: {answer.text[:200]}")
    return answer
