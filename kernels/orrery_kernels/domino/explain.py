"""Why a number is what it is, and what a change would touch: answers made of recorded steps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orrery_kernels.domino.chain import Chain
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import ReadSet
from orrery_kernels.domino.run import Step
from orrery_kernels.snapshot.descent import Change, diff
from orrery_kernels.snapshot.patterns import matches
from orrery_kernels.snapshot.snapshot import Snapshot
from orrery_kernels.snapshot.tree import Fetch, items

Sources = Callable[[str], Sequence[Mapping[str, Any]]]


class Affected(NamedTuple):
    """A task that must be looked at again, and the inputs or tasks because of which."""

    task: str
    because: tuple[str, ...]


def changed_leaves(before: Snapshot, after: Snapshot, fetch: Fetch) -> list[tuple[str, Change]]:
    """Return (path, change) of every leaf that differs between two snapshots."""
    return list(each_change(before, after, fetch))


def each_change(before: Snapshot, after: Snapshot, fetch: Fetch) -> Iterator[tuple[str, Change]]:
    """Yield (path, change) of every leaf that differs between two snapshots.

    A section that is new or gone, or cut into another number of trees, is compared tree by tree
    with nothing.
    """
    for section in sorted(before.sections.keys() | after.sections.keys()):
        was, now = before.sections.get(section, ()), after.sections.get(section, ())
        if len(was) == len(now):
            pairs = list(zip(was, now, strict=True))
        else:
            pairs = [(root, None) for root in was] + [(None, root) for root in now]
        for old, new in pairs:
            for change in _diff_or_all(old, new, fetch):
                yield f"{section}/{change.name}", change


def affected(
    chain: Chain, paths: Sequence[str], read_sets: Mapping[str, ReadSet] | None = None
) -> list[Affected]:
    """Return the tasks whose inputs may have changed when these leaves did, and all after them.

    read_sets: what each task is known to have read; without it, all that its patterns mean.
    """
    touched: dict[str, tuple[str, ...]] = {}
    for task in chain.tasks:
        known = (read_sets or {}).get(task.name) or (None,) * len(task.reads)
        because = []
        for read, names in zip(task.reads, known, strict=True):
            if read.from_task:
                because += [read.target] if read.target in touched else []
                continue
            hits = [path for path in paths if matches(read.target, path)]
            if names is not None:
                hits = [p for p in hits if any(p.endswith("/" + name) for name in names)]
            because += hits
        if because:
            touched[task.name] = tuple(because)
    return [Affected(*pair) for pair in touched.items()]


def why(
    name: str,
    chain: Chain,
    steps: Mapping[str, Step],
    market: Market,
    sources: Sources | None = None,
    expired: str | None = None,
) -> dict[str, Any]:
    """Return what a result is made of, as plain nested data, down to leaves and the cut.

    sources: leaf path -> the rows it came from (topic, partition, offset, LSN), which only the
    node's store knows. expired: when the leaves were removed, if they were; then no leaf is read.
    """
    task, step = chain.task(name), steps[name]
    made: dict[str, Any] = {
        "result": name,
        "digest": step.row.output.hex() if step.row else None,
        "action": step.action,
        "why": step.why,
        "domino": task.domino.name,
        "version": task.domino.version,
        "code": task.domino.code.hex(),
        "parameters": dict(task.parameters),
        "inputs": [],
    }
    for read in task.reads:
        if read.from_task:
            found = why(read.target, chain, steps, market, sources, expired)
        else:
            found = _leaves_read(read.target, market, sources, expired)
        made["inputs"].append({"input": read.input, **found})
    return made


def why_lines(tree: Mapping[str, Any], indent: int = 0) -> list[str]:
    """Return the same tree as lines for people."""
    pad = "  " * indent
    arrow = f"{tree['input']} <- " if "input" in tree else ""
    if "result" not in tree:
        day = tree["expired"]
        what = f"leaves, expired on {day}," if day else f"{len(tree['leaves'])} leaves"
        lines = [f"{pad}{arrow}{tree['path']} ({what} of {tree['snapshot'][:12]})"]
        for leaf in tree["leaves"]:
            lines.append(f"{pad}  {leaf['path']} {leaf['digest'][:12]}")
            lines += [f"{pad}    {_source_line(row)}" for row in leaf.get("rows", ())]
        return lines
    parameters = ", ".join(f"{key}={value!r}" for key, value in tree["parameters"].items())
    digest = (tree["digest"] or "no answer")[:12]
    lines = [
        f"{pad}{arrow}{tree['result']} {digest}  {tree['action']}: {tree['why']}",
        f"{pad}  by {tree['domino']} v{tree['version']}, code {tree['code'][:12]}, ({parameters})",
    ]
    for found in tree["inputs"]:
        lines += why_lines(found, indent + 1)
    return lines


def _leaves_read(
    pattern: str, market: Market, sources: Sources | None, expired: str | None
) -> dict[str, Any]:
    leaves = []
    for path in () if expired else market.paths(pattern):
        leaf: dict[str, Any] = {"path": path, "digest": market.leaf_digest(path).hex()}
        if sources is not None:
            leaf["rows"] = [dict(row) for row in sources(path)]
        leaves.append(leaf)
    snapshot = market.snapshot
    return {
        "path": pattern,
        "leaves": leaves,
        "expired": expired,
        "snapshot": snapshot.id.hex(),
        "cut": dict(snapshot.cut),
    }


def _source_line(row: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in row.items())


def _diff_or_all(old: bytes | None, new: bytes | None, fetch: Fetch) -> Iterator[Change]:
    if old is not None and new is not None:
        yield from diff(old, new, fetch)
    elif old is not None:
        yield from (Change(name, value, None) for name, value in items(old, fetch))
    else:
        yield from (Change(name, None, value) for name, value in items(new, fetch))
