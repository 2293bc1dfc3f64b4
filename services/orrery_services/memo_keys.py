"""What a node's Postgres says of memo keys, for everybody who keeps answers there: plain SQL."""

from collections.abc import Callable
from typing import Any

from .protocol import answers, stages
from .protocol.answers import MEMO

Rows = Callable[..., list[tuple[Any, ...]]]  # query, values -> rows
KEYS_AT_ONCE = 10_000

_PAYLOAD = """
    SELECT payload FROM facts f WHERE key = %s
    AND NOT EXISTS (SELECT FROM divergences d WHERE d.key = f.key)"""
_ORIGINS = """
    SELECT origin FROM incarnations UNION SELECT origin FROM origins WHERE stream = %s"""
_KEYS = """
    SELECT oseq, key, kind FROM facts WHERE origin = %s AND stream = %s AND oseq > %s
    ORDER BY oseq LIMIT %s"""


def payload_of(rows: Rows, key: str) -> bytes | None:
    """Return the payload of an answer; None when it is not held, or in quarantine."""
    found = rows(_PAYLOAD, answers.memo_key(key))
    return bytes(found[0][0]) if found else None


def keys_since(rows: Rows, stream: int, cursor: Any) -> tuple[list[str], Any]:
    """Return keys that came since, by the number of each origin, and where to go on."""
    numbers = dict(cursor or {})
    found = []
    for (origin,) in rows(_ORIGINS, stream):
        after = numbers.get(origin, 0)
        came = rows(_KEYS, origin, stream, after, KEYS_AT_ONCE)
        found += [key.partition("/")[2] for _, key, kind in came if kind == MEMO]
        numbers[origin] = came[-1][0] if came else after
    return [key for key in found if stages.is_digest(key)], numbers
