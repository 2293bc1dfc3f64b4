"""The topic `cuts`: which firings of triggers are cuts, and in which order.

Its one partition is read from its beginning, and a message counts iff its number is greater than
every number before it. Whoever wants a cut writes the number behind the greatest it has read: of
two who do so at once the first wins, and the other reads that, and asks again if its own trigger
has not fired. The packer of each partition writes a marker into `ticks` for every number.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

TOPIC = "cuts"
CHAINS_MAX = 64
NUMBER_MAX = 2**53
STATIC = "static"
_TEXT_MAX = 200
_ROOT = re.compile(r"[0-9a-f]{64}")


class Cut(NamedTuple):
    """One message of the topic: also the body of the fact that keeps it."""

    number: int
    id: str  # of the firing, the same on every node: "every 5s#341234567"
    trigger: str  # as declared
    at_ns: int  # the cut's own time: when the trigger was due
    node: str  # who wrote it
    chains: Mapping[str, str]  # human name -> id of each chain whose state the snapshot holds
    static: str = ""  # root of the tree of static data, in hex; empty: there are none


def encode(cut: Cut) -> bytes:
    said = {name: value for name, value in cut._asdict().items() if name != STATIC or value}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def decode(data: bytes | None) -> Cut:
    """Return the cut that a message says. Raises ValueError on anything else.

    >>> decode(encode(Cut(1, "by hand#1", "by hand", 5, "n1", {"default": "AAAA"}))).number
    1
    """
    found: Any = json.loads(data or b"null")
    if not isinstance(found, dict) or set(found) | {STATIC} != set(Cut._fields):
        raise ValueError(f"a cut must have {', '.join(Cut._fields)}, was {str(found)[:80]}")
    cut = Cut(**found)
    chains = cut.chains.items() if isinstance(cut.chains, dict) else [(None, None)]
    texts = [cut.id, cut.trigger, cut.node, *(text for pair in chains for text in pair)]
    if not all(isinstance(text, str) and 0 < len(text) <= _TEXT_MAX for text in texts):
        raise ValueError(f"the texts of a cut must have 1 to {_TEXT_MAX} characters")
    if not all(type(at) is int and at >= 0 for at in (cut.number, cut.at_ns)):
        raise ValueError("number and time of a cut must be integers from 0")
    if STATIC in found and not (isinstance(cut.static, str) and _ROOT.fullmatch(cut.static)):
        raise ValueError("the static data of a cut must be named by 64 hex digits")
    if not 0 < cut.number < NUMBER_MAX or not 0 < len(cut.chains) <= CHAINS_MAX:
        raise ValueError(f"a cut must have a number from 1 and 1 to {CHAINS_MAX} chains")
    return cut


def counts(greatest: int, cut: Cut) -> bool:
    """Whether a message is the next cut, behind those whose greatest number this is."""
    return cut.number > greatest
