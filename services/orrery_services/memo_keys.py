"""What a node's Postgres says of memo keys, for everybody who keeps answers there: plain SQL."""

from collections.abc import Callable
from typing import Any

from .protocol import answers, stages
from .protocol.answers import MEMO

Rows = Callable[..., list[tuple[Any, ...]]]  # query, values -> rows
KEYS_AT_ONCE = 10_000

_PAYLOAD = """
    SELECT payload FROM facts f WHERE key = %s
    AND NOT EXISTS (SELECT FROM divergences d WHERE d.key = f.key AND d.settled IS NULL)"""
_KEYS = """
    SELECT o.origin, f.oseq, f.key, f.kind
    FROM (SELECT origin FROM incarnations UNION SELECT origin FROM origins WHERE stream = %s) o
    LEFT JOIN unnest(%s::text[], %s::bigint[]) AS seen (origin, oseq) USING (origin),
    LATERAL (SELECT oseq, key, kind FROM facts
             WHERE origin = o.origin AND stream = %s AND oseq > coalesce(seen.oseq, 0)
             ORDER BY oseq LIMIT %s) f"""


def payload_of(rows: Rows, key: str) -> bytes | None:
    """Return the payload of an answer; None when it is not held, or in quarantine."""
    found = rows(_PAYLOAD, answers.memo_key(key))
    return bytes(found[0][0]) if found else None


def keys_since(rows: Rows, stream: int, cursor: Any) -> tuple[list[str], Any]:
    """Return keys that came since, by the number of each origin, and where to go on."""
    numbers = dict(cursor or {})
    came = rows(_KEYS, stream, list(numbers), list(numbers.values()), stream, KEYS_AT_ONCE)
    for origin, number, _, _ in came:
        numbers[origin] = max(number, numbers.get(origin, 0))
    found = [key.partition("/")[2] for *_, key, kind in came if kind == MEMO]
    return [key for key in found if stages.is_digest(key)], numbers


def are_all(before: Any, after: Any) -> bool:
    """Return whether these two cursors lie so close that nothing can have been left out."""
    known = before or {}
    return all(number - known.get(of, 0) < KEYS_AT_ONCE for of, number in (after or {}).items())
