"""Plain functions of the memo: what a path asks for."""

from typing import NamedTuple

from ..protocol import stages

PARTS_OF_A_RUN_PATH = 2


class Question(NamedTuple):
    """What a path asks for."""

    kind: str
    slot: str = ""
    run: str = ""
    stage: int = 0
    key: str = ""


def parse_path(path: str) -> Question | None:
    """Return what a path asks for, None when nothing answers it.

    >>> parse_path("/v1/slots/a")
    Question(kind='slot', slot='a', run='', stage=0, key='')
    >>> parse_path("/v1/runs/../1") is None
    True
    """
    parts = path.split("?", 1)[0].strip("/").split("/")
    match parts:
        case ["healthz"] | ["metrics"]:
            return Question(parts[0])
        case ["v1", "slots", slot] if slot in stages.SLOTS:
            return Question("slot", slot=slot)
        case ["v1", "runs", run, stage] if stages.is_run_name(run) and _is_number(stage):
            return Question("run", run=run, stage=int(stage))
        case ["v1", "memo", key] if stages.is_digest(key):
            return Question("memo", key=key)
        case ["v1", "fetch"] | ["v1", "flush"]:
            return Question(parts[1])
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def is_wish(body: object) -> bool:
    """Whether a body of /v1/fetch names a place in the scratch and the digest to put there."""
    return (
        isinstance(body, dict)
        and stages.is_run_name(str(body.get("run", "")))
        and type(body.get("stage")) is int
        and body["stage"] >= 0
        and stages.is_digest(body.get("digest"))
    )


def fetched_marker(body: dict) -> stages.Marker:
    """Return the marker of a stage whose output came from the memo instead of from computing."""
    return {
        "token": str(body.get("token", "")),
        "key": str(body.get("key", "")),
        "inputs": [text for text in body.get("inputs", []) if stages.is_digest(text)],
        "reused": True,
        "peak_rss_bytes": 0,
        "run_ms": 0.0,
    }
