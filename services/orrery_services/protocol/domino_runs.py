"""What a chain of dominoes did on one snapshot: the record, a fact under the run and its attempt.

    domino/<chain>/<cut>/<snapshot>/<node>/<attempt>/<incarnation>

A node that lost its disk may run again what its peers remember: under its new incarnation.
An error has no memo key: it is kept here, in the step of the task that failed. The chain as it was
declared is a fact too, under the digest that the record names and with what that covers alone: a
tolerance or a place to run may be declared otherwise tomorrow, or on another node. So are the
numbers of an answer by name (points/<digest>), for series and people that do without the lab.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .facts import Fact, plain_fact

RUN, DECLARED, POINTS = "domino", "dominoes", "points"
CUT_DIGITS, ATTEMPT_DIGITS = 12, 4
DECLARED_VERSION = 1
DONE = ("run", "reuse")


class Ran(NamedTuple):
    """What one task did: run, reuse, fail, skip; digests in hex."""

    task: str
    action: str
    why: str
    key: str | None
    output: str | None
    inputs: tuple[str, ...]


class DominoRun(NamedTuple):
    """One attempt of one chain on one snapshot by one node."""

    chain: str
    declared: str  # hex digest of the chain
    snapshot: str  # hex
    number: int  # of the cut
    at_ns: int  # the cut's own time
    node: str
    attempt: int
    asked: str  # "snapshot", or who asked by hand
    audit: bool
    began_ns: int  # UTC
    ended_ns: int
    steps: tuple[Ran, ...]
    incarnation: str = ""
    owed: bool = False  # it ended with its worker, and another attempt follows

    @property
    def origin(self) -> str:
        """Return the node in the incarnation that ran, as facts name who wrote them."""
        return f"{self.node}.{self.incarnation}"

    @property
    def key(self) -> str:
        key = run_key(self.chain, self.number, self.snapshot, self.node, self.attempt)
        return f"{key}/{self.incarnation}" if self.incarnation else key

    def step(self, task: str) -> Ran | None:
        return next((step for step in self.steps if step.task == task), None)

    @property
    def failed(self) -> bool:
        return any(step.action not in DONE for step in self.steps)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many tasks did what."""
        found: dict[str, int] = {}
        for step in self.steps:
            found[step.action] = found.get(step.action, 0) + 1
        return found


def runs_prefix(chain: str, number: int | None = None, snapshot: str = "") -> str:
    """Return what the keys of a chain's runs begin with; of one cut, or of one snapshot.

    >>> runs_prefix("rates", 7)
    'domino/rates/000000000007/'
    """
    parts = [RUN, chain, *([] if number is None else [f"{number:0{CUT_DIGITS}d}"])]
    return "/".join([*parts, *([snapshot] if snapshot else [])]) + "/"


def run_key(chain: str, number: int, snapshot: str, node: str, attempt: int) -> str:
    """Return what the key of an attempt begins with, in whichever incarnation of its node."""
    return f"{runs_prefix(chain, number, snapshot)}{node}/{attempt:0{ATTEMPT_DIGITS}d}"


def declared_key(digest: str) -> str:
    return f"{DECLARED}/{digest}/{DECLARED_VERSION}"


def run_fact(run: DominoRun, stream: int) -> list[Fact]:
    document = run._asdict() | {"steps": [step._asdict() for step in run.steps]}
    if not run.owed:  # hardly ever: a record without it has the bytes that it always had
        del document["owed"]
    return plain_fact(RUN, stream, run.key, {}, _packed(document))


def run_of(data: bytes) -> DominoRun:
    fields = json.loads(data)
    steps = [Ran(**{**step, "inputs": tuple(step["inputs"])}) for step in fields.pop("steps")]
    return DominoRun(**fields, steps=tuple(steps))


def declared_fact(digest: str, name: str, declared: Mapping[str, Any], stream: int) -> list[Fact]:
    """Return the fact of a chain by its digest; `declared` holds what the digest covers."""
    body = _packed({"name": name, "declared": dict(declared)})
    return plain_fact(DECLARED, stream, declared_key(digest), {}, body)


def declared_of(data: bytes) -> tuple[str, dict[str, Any]]:
    document = json.loads(data)
    return document["name"], document["declared"]


def points_key(output: str) -> str:
    return f"{POINTS}/{output}"


def points_fact(output: str, points: Mapping[str, float], stream: int) -> list[Fact]:
    """Return the fact of the numbers in an answer, by name."""
    return plain_fact(POINTS, stream, points_key(output), {}, _packed(points))


def newest_with(runs: Sequence[DominoRun], task: str) -> DominoRun | None:
    """Return the run that `task@latest` means: greatest cut, then greatest digest."""
    found = [run for run in runs if (step := run.step(task)) and step.output]
    return max(found, key=lambda run: (run.number, run.step(task).output), default=None)


def _packed(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
