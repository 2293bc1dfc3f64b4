"""What the parts of a hot swap agree on: token, slot, exit codes, marker and the key of a stage.

A chain of stages runs through two slots. The token says what a slot works on; the marker, written
once and last, says that a stage is done and what came out; the key is the name under which that is
remembered. The runner waits with this module in memory, so it imports little and blake3 late.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

Marker = dict[str, Any]  # token, key, inputs, output, output_bytes, peak_rss_bytes, run_ms, reused

SLOTS = ("a", "b")
TOKEN_PARTS = 3
RUN_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
RUN_NAME_MAX = 100
DIGEST_CHARACTERS = frozenset("0123456789abcdef")
DIGEST_LENGTH = 64

# Exit codes of a stage. A container runtime says 137 when it kills for memory; timeout(1) says 124.
PERMANENT = range(64, 79)
NO_OUTPUT, BAD_ORDER = 65, 78
UNAVAILABLE, DEADLINE, KILLED, ENDED = 80, 124, 137, 143


class Token(NamedTuple):
    """Which attempt of which stage of which run a slot works on."""

    run: str
    stage: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.run}/{self.stage}/{self.attempt}"


def parse_token(text: str) -> Token | None:
    """Return the token, None for an empty one (a placeholder). Raises ValueError on anything else.

    >>> parse_token("daily-7f/2/1")
    Token(run='daily-7f', stage=2, attempt=1)
    """
    if not text:
        return None
    parts = text.split("/")
    whole = len(parts) == TOKEN_PARTS and all(
        part.isascii() and part.isdigit() for part in parts[1:]
    )
    if not whole or not is_run_name(parts[0]):
        raise ValueError(f"a token must be <run>/<stage>/<attempt>, was {text[:120]!r}")
    return Token(parts[0], int(parts[1]), int(parts[2]))


def is_run_name(text: str) -> bool:
    """Whether a text may name a run: it becomes a folder, an annotation and a label.

    >>> [is_run_name(text) for text in ("daily-7f", "../etc", "")]
    [True, False, False]
    """
    return 0 < len(text) <= RUN_NAME_MAX and text[0].isalnum() and set(text) <= RUN_NAME_CHARACTERS


def is_digest(text: object) -> bool:
    return isinstance(text, str) and len(text) == DIGEST_LENGTH and set(text) <= DIGEST_CHARACTERS


def slot_of(stage: int) -> str:
    """Return the slot of a stage: odd ones run in a, even ones in b."""
    return SLOTS[(stage + 1) % 2]


def failure_class(exit_code: int) -> str:
    """Return ok, permanent (do not repeat), resource (repeat with more) or transient (repeat).

    >>> [failure_class(code) for code in (0, 65, 137, 1)]
    ['ok', 'permanent', 'resource', 'transient']
    """
    if exit_code == 0:
        return "ok"
    if exit_code in PERMANENT:
        return "permanent"
    return "resource" if exit_code == KILLED else "transient"


def canonical(value: Any) -> str:
    """Return the one JSON text of a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def stage_key(code: str, parameters: dict[str, Any], inputs: Iterable[str]) -> str:
    """Return the name under which the output of a stage is remembered.

    Code names the stage's program for good: an image by digest, or the digest of a command and
    what it runs. Every part is typed and length-prefixed, so that no two questions share a key.
    """
    from blake3 import blake3

    hasher = blake3(b"orrery stage 1")
    for kind, text in (
        (b"c", code),
        (b"p", canonical(parameters)),
        *((b"i", digest) for digest in inputs),
    ):
        data = text.encode()
        hasher.update(kind + len(data).to_bytes(8, "little") + data)
    return hasher.hexdigest()
