"""How far one partition has read each of its sources.

A vector maps a source to a position. Three kinds of source, told apart by their key:

    row:<topic>:<log id>              the next offset to read in a row topic (same partition)
    cap:<incarnation>:<table>         the greatest row id seen of a captured table
    moved:<topic>:<log id>:<part>     the greatest offset among rows moved here from there
    cut, cut_ns                       the number of the last cut, and its own time

A source that is absent has not been read at all. Vectors are compared whole: their bytes are
canonical.
"""

import json
from collections.abc import Mapping

Vector = dict[str, int]

CUT = "cut"
CUT_NS = "cut_ns"
NOTHING_SEEN = -1


def row_key(topic: str, log_id: str) -> str:
    return f"row:{topic}:{log_id}"


def captured_key(incarnation: str, table: str) -> str:
    return f"cap:{incarnation}:{table}"


def moved_key(topic: str, log_id: str, partition: int) -> str:
    return f"moved:{topic}:{log_id}:{partition}"


def next_offset(vector: Mapping[str, int], topic: str, log_id: str) -> int:
    """Return the offset at which reading of `topic` goes on."""
    return vector.get(row_key(topic, log_id), 0)


def encode(vector: Mapping[str, int]) -> bytes:
    """Return the canonical bytes of a vector.

    >>> encode({"row:trades:x": 5, "cut": 1})
    b'{"cut":1,"row:trades:x":5}'
    """
    return json.dumps(dict(vector), sort_keys=True, separators=(",", ":")).encode()


def decode(data: bytes) -> Vector:
    """Return the vector that `encode` wrote. Raises ValueError on anything else."""
    vector = json.loads(data)
    if not isinstance(vector, dict) or not all(
        isinstance(key, str) and type(value) is int for key, value in vector.items()
    ):
        raise ValueError(f"a vector must map sources to integers, was {data[:80]!r}")
    return vector
