"""What the output of a swapped run is made of: stage by stage down to the snapshot it ran on.

Read from the end of the run, which is a fact: every node can tell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Settings
from ..errors import ConfigError
from ..protocol import stages
from ..protocol.declarations import RUN
from . import drivers
from .runs import ENDS, Runs


def why(settings: Settings, text: str) -> dict[str, Any]:
    """Return the tree of run/<id> or run/<id>/<stage>. Raises ConfigError for what is not there."""
    run_id, _, name = text.removeprefix(RUN).partition("/")
    if not stages.is_run_name(run_id):
        raise ConfigError(f"a run is asked for as run/ID or run/ID/stage, was {text[:200]!r}")
    ends = [event for event in published(settings).events(run_id) if event["kind"] in ENDS]
    if not ends:
        raise ConfigError(
            f"a run must have ended to be explained, {run_id!r} has not; `orrery run --status` "
            "lists runs"
        )
    return explain(ends[-1], name)


def published(settings: Settings) -> Runs:
    """Return where ends are on every node: the facts, where this process may read them."""
    if not drivers.has_facts(settings):
        return drivers.open_runs(settings)
    from .fact_runs import FactRuns

    return FactRuns(settings)


def explain(end: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Return what a stage is made of (the last one unless named), as plain nested data."""
    done = end["stages"]
    names = [entry["name"] for entry in done]
    if not done:
        raise ConfigError(f"{end['run']} has made nothing: it {how_it_ended(end)}")
    if name and name not in names:
        raise ConfigError(f"a stage must be one that was done, was {name!r}; there are {names}")
    wanted = names.index(name) if name else len(done) - 1
    fields = ("run", "chain", "on", "node", "attempt", "kind", "input")
    head = {key: end[key] for key in fields} | {"ended": how_it_ended(end)}
    return {"run": head, "made": _made(done, wanted, end)}


def how_it_ended(end: Mapping[str, Any]) -> str:
    """Return the end of a run in a line.

    >>> how_it_ended({"kind": "failed", "result": {"stage": 2, "class": "image", "why": "gone"}})
    'failed at stage 2: image: gone'
    """
    result = end.get("result") or {}
    if end["kind"] != "failed":
        return end["kind"]
    return f"failed at stage {result.get('stage')}: {result.get('class')}: {result.get('why')}"


def _made(done: Sequence[Mapping[str, Any]], at: int, end: Mapping[str, Any]) -> dict[str, Any]:
    """Nest a stage over the stages before it whose output it read."""
    entry = done[at]
    before = {done[number]["output"]: number for number in range(at)}
    inputs = [
        _made(done, before[digest], end)
        if digest in before
        else {"input": digest, "snapshot": end["on"]}
        for digest in entry["inputs"]
    ]
    kept = ("name", "output", "key", "code", "reused", "slot", "run_ms", "peak_rss_bytes")
    return {**{key: entry[key] for key in kept if key in entry}, "inputs": inputs}


def lines(document: Mapping[str, Any]) -> list[str]:
    """Return the tree for people: what was made, by which code, of what.

    >>> made = {"name": "sort", "output": "cd" * 32, "code": "sha256:ab", "inputs": []}
    >>> run = {"run": "r1", "chain": "daisy", "on": "ef" * 32, "node": "n1", "attempt": 1}
    >>> lines({"run": {**run, "ended": "completed"}, "made": made})
    ['r1: daisy on efefefefefef by n1, attempt 1, completed', 'sort = cdcdcdcdcdcd  sha256:ab']
    """
    run = document["run"]
    head = f"{run['run']}: {run['chain']} on {run['on'][:12]} by {run['node'] or 'this node'}"
    return [f"{head}, attempt {run['attempt']}, {run['ended']}", *_lines(document["made"], "")]


def _lines(made: Mapping[str, Any], indent: str) -> list[str]:
    if "input" in made:
        return [f"{indent}input {made['input'][:12]} of snapshot {made['snapshot'][:12]}"]
    told = [f"{indent}{made['name']} = {made['output'][:12]}", made.get("code", "")[:40]]
    told.append("known to the memo" if made.get("reused") else "")
    if made.get("run_ms") is not None and not made.get("reused"):
        told.append(f"{made['run_ms']:.0f} ms in slot {made.get('slot', '?')}")
    found = ["  ".join(part for part in told if part)]
    for each in made["inputs"]:
        found += _lines(each, indent + "  ")
    return found
