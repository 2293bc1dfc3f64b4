"""orrery run CHAIN: run or reuse a chain of dominoes on a snapshot; a swapped chain in its pod."""

from typing import Annotated, Any

import typer

from ..config import Settings
from ..errors import ConfigError, OutsideError
from . import common

OUTCOME_SECONDS_MAX = 3600.0
RUNS_SHOWN = 20


def register(app: typer.Typer) -> None:
    app.command()(run)


def run(
    chain: Annotated[str | None, typer.Argument(help="A chain of [dominoes].")] = None,
    on: Annotated[str, typer.Option("--on", help="A snapshot: short id, tag, ref.")] = "latest",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be computed, and why.")
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Take no answer that is equal within a tolerance only.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Show the last runs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Watch swapped runs.")] = False,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Run a chain by hand, or show the last runs of all of them."""
    settings = common.settings_of(node)
    if watch:
        from . import run_status

        if chain or as_json:
            raise ConfigError(
                "--watch shows a table of what runs and starts nothing: leave out "
                + (f"{chain!r}, run it beside" if chain else "--json, --status has it")
            )
        run_status.show(settings, watch=True)
        return
    if status:
        common.show(_status(settings, chain), as_json, _print_status)
        return
    if chain is None:
        raise ConfigError("say which chain, or --status; chains are in [dominoes] of universe.toml")
    if _is_swapped(settings, chain):
        if dry_run:
            raise ConfigError(
                f"--dry-run is for chains that run in a process, {chain!r} runs in a pod "
                f"({settings.universe}): nothing was started"
            )
        end = _swapped(settings, chain, on, reuse=not audit)
        common.show(end, as_json, _print_end)
        if end["kind"] != "completed":
            raise typer.Exit(common.FAILED)
        return
    document = _run(settings, chain, on, dry_run=dry_run, audit=audit, quiet=as_json)
    common.show(document, as_json, _print_run)
    if any(step["action"] in ("fail", "skip") for step in document["steps"]):
        raise typer.Exit(common.FAILED)


def _is_swapped(settings: Settings, chain: str) -> bool:
    from ..dominoes.steps import is_swapped

    return is_swapped(settings.dominoes.get(chain, {}))


def _run(
    settings: Settings, chain: str, on: str, *, dry_run: bool, audit: bool, quiet: bool
) -> dict[str, Any]:
    from ..dominoes.running import Runner, ran
    from ..dominoes.steps import Job
    from ..store import domino_values, refs

    runner = Runner(settings)
    try:
        id_ = refs.resolve(runner.connection, on)
        number = domino_values.number_of(runner.connection, id_)
        head = {"chain": chain, "snapshot": id_.hex(), "number": number, "dry_run": dry_run}
        if dry_run:
            return {**head, "steps": [ran(s)._asdict() for s in runner.plan(chain, id_.hex())]}
        tell = None if quiet else lambda task: typer.echo(f"… {task}", err=True)
        asked = f"{common.person()} by hand"
        done = runner.run(Job(number, chain, id_.hex(), asked=asked, audit=audit), tell)
        return {**head, **done._asdict(), "steps": [step._asdict() for step in done.steps]}
    finally:
        runner.close()


def _swapped(settings: Settings, chain: str, on: str, *, reuse: bool) -> dict[str, Any]:
    """Ask for a run of a swapped chain over a snapshot, and wait for its end."""
    from ..node import Node
    from ..store import refs
    from . import run_status

    with Node(settings=settings) as found:
        id_ = refs.resolve(found.connection, on)
        data, laid_out = _capsule(found, chain, id_)
    codes = {task.name: task.fixed.hex() for task in laid_out.tasks} if laid_out else {}
    declared = _keep_declared(settings, laid_out) if laid_out else ""
    asked = run_status.ask(
        settings, chain, id_.hex(), data, reuse=reuse, codes=codes, declared=declared
    )
    typer.echo(f"… {asked.id} on {asked.node}; `orrery run --watch` shows its stages", err=True)
    end = run_status.outcome(settings, asked.id, OUTCOME_SECONDS_MAX, asked.node)
    if end is None:
        raise OutsideError(
            f"run {asked.id} must end within an hour on {asked.node}, has not: `orrery run "
            f"--status --node {asked.node}` says where it is; its service hotswap must run"
        )
    return end


def _keep_declared(settings: Settings, laid_out: Any) -> str:
    """Keep a chain of dominoes as a fact, as those that run in a process are; return its digest."""
    from .. import store
    from ..protocol.domino_runs import declared_fact
    from ..store.domino_values import covered_by

    name, body = laid_out.digest.hex(), covered_by(laid_out)
    with store.connect(settings.postgres("writer"), attempts_max=2) as writer:
        store.commit(writer, declared_fact(name, laid_out.name, body, settings.partitions))
    return name


def _capsule(node: Any, chain: str, id_: bytes) -> tuple[bytes, Any]:
    """Return the input of a swapped run, and its chain as the lab reads it.

    For dominoes: the manifest, and the pieces that the chain reads. For programs: the manifest,
    and None.
    """
    from orrery_kernels.domino.catalog import LAB
    from orrery_kernels.domino.market import Market

    from ..hotswap import domino_stage
    from ..protocol import facts
    from ..protocol.snapshots import snapshot_key
    from ..store import domino_values, pieces, reading, snapshots

    connection, declared = node.connection, node.settings.dominoes[chain]
    row = reading.fact_by_key(connection, snapshot_key(id_))
    manifest = facts.data_of(row.payload, reading.fetch_piece(connection, row.stream))
    if not all("domino" in task for task in declared["tasks"]):
        return manifest, None
    kept = [{k: v for k, v in task.items() if k in _LAB_KEYS} for task in declared["tasks"]]
    bare = {key: declared[key] for key in ("modules",) if key in declared} | {"tasks": kept}
    laid_out = domino_values.chain_from(chain, bare)
    used: dict[bytes, bytes] = {}
    fetch = pieces.fetcher(connection)

    def noted(digest: bytes) -> bytes:
        used[digest] = fetch(digest)
        return used[digest]

    market = Market(snapshots.open_snapshot(connection, id_, noted)[0], noted)
    for task in laid_out.tasks:
        for read in task.reads:
            if not read.from_task:
                market.digest(read.target)
                market.paths(read.target)
    modules = (*LAB, *declared.get("modules", ()))
    return domino_stage.pack(manifest, used, chain, bare, modules), laid_out


_LAB_KEYS = ("name", "domino", "reads", "needs", "params", "words", "tolerance")


def _status(settings: Settings, chain: str | None) -> dict[str, Any]:
    """Return the last runs: of chains in processes, and of swapped ones."""
    from ..node import Node
    from ..store import domino_runs
    from . import run_status

    runs = []
    with Node(settings=settings) as found:
        for name in domino_runs.chains(found.connection):
            if chain in (None, name):
                runs += domino_runs.last(found.connection, name, RUNS_SHOWN)
    listed = [
        {
            "chain": run.chain, "cut": run.number, "snapshot": run.snapshot, "node": run.node,
            "attempt": run.attempt, "asked": run.asked, "counts": run.counts,
            "ms": (run.ended_ns - run.began_ns) / 1e6,
            "errors": {s.task: s.why for s in run.steps if s.action == "fail"},
        }
        for run in runs
    ]  # fmt: skip
    return {"runs": listed, "swapped": run_status.rows(settings, chain)}


def _print_status(document: dict[str, Any]) -> None:
    from . import run_status

    for run in document["runs"]:
        counts = ", ".join(f"{count} {action}" for action, count in sorted(run["counts"].items()))
        again = f" attempt {run['attempt']}" if run["attempt"] > 1 else ""
        typer.echo(
            f"{run['chain']:<12} cut {run['cut']:<8} {run['snapshot'][:12]}  {run['node']:<4} "
            f"{counts:<24} {run['ms']:8.1f} ms{again}"
        )
        for task, why in run["errors"].items():
            typer.echo(f"    {task}: {why}")
    if document["swapped"]:
        common.console.print(run_status.table_of(document["swapped"]))


def _print_run(document: dict[str, Any]) -> None:
    would = "would do" if document["dry_run"] else "did"
    typer.echo(
        f"{document['chain']} on {document['snapshot'][:12]}, cut {document['number']} {would}"
    )
    for step in document["steps"]:
        output = (step["output"] or "")[:12]
        typer.echo(f"  {step['action']:<6} {step['task']:<32} {output:<13} {step['why']}")


def _print_end(end: dict[str, Any]) -> None:
    from . import run_status

    typer.echo(f"{end['run']}: {end['kind']}")
    rows = [run_status.done_row(end["run"], entry) for entry in end["stages"]]
    common.console.print(run_status.table_of(rows))
