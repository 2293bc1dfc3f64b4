"""The memo of a node as facts: what was computed on one node is found on every other.

    memo/<key>       meta {"digest": …}, no body: key -> digest
    bytes/<digest>   the bytes themselves: digest -> bytes

A key names all that an answer depends on, so two digests for one key are a divergence.
"""

from typing import Any

MEMO, BYTES = "memo", "bytes"


def memo_key(key: str) -> str:
    """Return the natural key of an answer; `key` is hex.

    >>> memo_key("ab12")
    'memo/ab12'
    """
    return f"{MEMO}/{key}"


def bytes_key(digest: str) -> str:
    return f"{BYTES}/{digest}"


def memo_meta(digest: str) -> dict[str, Any]:
    return {"digest": digest}
