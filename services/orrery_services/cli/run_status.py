"""Swapped chains from the command line: ask for a run, and see where runs are.

`orrery run NAME` is the dominoes' command; for a chain that runs in container or pod it calls
`ask`, and its --status and --watch call `show`.
"""

import contextlib
import re
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from orrery_services.clock import wall_ns
from orrery_services.config import Settings
from orrery_services.errors import ServiceError
from orrery_services.hotswap import chain, drivers, pods
from orrery_services.hotswap.runs import ENDS
from orrery_services.memo.store import FileMemo
from orrery_services.protocol import stages

ROWS_MAX = 20
WATCH_SECONDS = 0.25
RUN_CHAIN_MAX = 60  # characters of a chain's name in the name of its run
COLUMNS = ("run", "stage", "slot", "state", "swap ms", "run ms", "peak MB", "memo")


def ask(
    settings: Settings,
    name: str,
    on: str,
    data: bytes,
    *,
    reuse: bool = True,
    codes: Mapping[str, str] = drivers.NO_CODES,
    declared: str = "",
) -> chain.Run:
    """Ask for a run of a chain over `data`, the input that `on` names; return the run.

    For dominoes of the lab, `data` is a capsule, `codes` the fixed part of each task's key and
    `declared` the digest of the chain.
    """
    from blake3 import blake3

    digest = blake3(data).hexdigest()
    run_id = new_run_id(name, digest, wall_ns())
    run = drivers.start_run(
        settings, name, run_id, on, digest, reuse=reuse, codes=codes, declared=declared
    )
    keep_input(settings, run.node, digest, data)
    drivers.open_runs(settings, run.node).request(run)  # a fact reaches the universe that runs it
    return run


def new_run_id(name: str, digest: str, now_ns: int) -> str:
    """Return a name that sorts by time and is a folder, a label and an annotation.

    >>> new_run_id("Daily_curve", "ab" * 32, 1_700_000_000_000_000_000)
    '20231114t221320.000-daily-curve-abababab'
    """
    named = re.sub(r"[^a-z0-9.]", "-", name.lower())[:RUN_CHAIN_MAX]
    moment = time.strftime("%Y%m%dt%H%M%S", time.gmtime(now_ns // 1_000_000_000))
    milliseconds = now_ns // 1_000_000 % 1000
    return f"{moment}.{milliseconds:03d}-{named}-{digest[:8]}"


def keep_input(settings: Settings, node: str, digest: str, data: bytes) -> None:
    """Put the input of a run where the memo beside the slots finds it."""
    if settings.values["hotswap.driver"] == drivers.KUBERNETES:
        from orrery_services.memo.fact_memo import FactMemo

        FactMemo(settings).put_bytes(digest, data)
        return
    FileMemo(drivers.folder_of(settings, node) / "memo").put_bytes(digest, data)


def outcome(
    settings: Settings, run_id: str, seconds_max: float, node: str = ""
) -> dict[str, Any] | None:
    """Wait for a run to end on a node; return its last event, None when it is not done in time."""
    runs = drivers.open_runs(settings, node)
    until = time.monotonic() + seconds_max
    while time.monotonic() < until:
        ends = [e for e in runs.events(run_id) if e["kind"] in ENDS]
        if ends:
            return ends[-1]
        time.sleep(0.05)
    return None


def show(settings: Settings, *, watch: bool = False, seconds_max: float = 0.0) -> None:
    """Print the table of runs, once or for as long as it is watched."""
    console = Console()
    if not watch:
        console.print(table_of(rows(settings)))
        return
    until = time.monotonic() + seconds_max if seconds_max else None
    table = table_of(rows(settings))
    with (
        contextlib.suppress(KeyboardInterrupt),  # how people leave it
        Live(table, console=console, auto_refresh=False) as live,
    ):
        while until is None or time.monotonic() < until:
            live.update(table_of(rows(settings)), refresh=True)
            time.sleep(WATCH_SECONDS)


def rows(settings: Settings, of: str | None = None) -> list[dict[str, Any]]:
    """Return a row per stage of what runs now, then of what ended last; of one chain if named."""
    found: list[dict[str, Any]] = []
    seen = [pod for pod in pods_with_runs(settings) if of in (None, pod.run.chain)]
    for pod in seen:
        found += live_rows(pod)
    live = {pod.run.id for pod in seen}
    runs = drivers.open_runs(settings)
    for run in runs.history():
        if run.id not in live and len(found) < ROWS_MAX and of in (None, run.chain):
            found += ended_rows(run, runs.events(run.id))
    return found


def pods_with_runs(settings: Settings) -> list[pods.Pod]:
    """Return the pods that run something. Who may not look at them is told so, and sees the rest:
    in a cluster the controller alone has a token."""
    try:
        port = drivers.open_pods(settings)
        found = [port.get(name) for name in drivers.pod_names(settings)]
        return [pod for pod in map(pods.look, filter(None, found)) if pod.run]
    except ServiceError as cause:
        print(f"stages on their way are not shown: {cause}", file=sys.stderr)
    return []


def live_rows(seen: pods.Pod) -> list[dict[str, Any]]:
    """Return a row per stage of the run in a pod."""
    done = {entry["stage"]: entry for entry in seen.trail}
    found = []
    for number, stage in enumerate(seen.run.stages, 1):
        slot = seen.slots[stages.slot_of(number)]
        here = slot.token is not None and slot.token.stage == number
        state = "waiting"
        if here:
            state = "running" if slot.settled else f"swapping {slot.waiting}".strip()
            state = "preloaded" if number > seen.stage and slot.settled else state
            state = f"again, exit {slot.exit_code}" if slot.failures else state
        if number in done:
            found.append(done_row(seen.run.id, done[number]))
        else:
            found.append(row(seen.run.id, stage.name, slot.name if here else "", state))
    if seen.result and seen.result["status"] == "failed":
        found[max(0, seen.result["stage"] - 1)]["state"] = failure_of(seen.result)
    return found


def ended_rows(run: chain.Run, events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per stage of a run that ended, or one that says that it waits for a pod."""
    ends = [event for event in events if event["kind"] in ENDS]
    if not ends:
        started = [str(e["result"].get("pod", "?")) for e in events if e["kind"] == "started"]
        lost = [event for event in events if event["kind"] == "lost"]
        state = f"started in {started[-1]}" if started else "asked for"
        state += f" on {run.node}" if run.node else ""
        if lost and lost[-1]["attempt"] == len(started):
            state = f"begun anew after {lost[-1]['result'].get('why', '?')[:80]}"
        return [row(run.id, "", "", state)]
    found = [done_row(run.id, entry) for entry in ends[-1]["stages"]]
    if ends[-1]["kind"] == "failed":
        result = ends[-1]["result"]
        number = result.get("stage", 0)
        name = run.stages[number - 1].name if number else ""
        found.append(row(run.id, name, "", failure_of(result)))
    return found


def failure_of(result: Mapping[str, Any]) -> str:
    code = f", exit {result['exit_code']}" if result.get("exit_code") else ""
    return f"failed: {result['class']}{code}: {result['why'][:80]}"


def row(run: str, stage: str, slot: str, state: str) -> dict[str, Any]:
    return dict(zip(COLUMNS, (run, stage, slot, state, None, None, None, ""), strict=True))


def done_row(run: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    peak = entry.get("peak_rss_bytes")
    return {
        **row(run, entry["name"], entry.get("slot", ""), f"done {entry['output'][:8]}"),
        "swap ms": whole(entry.get("swap_ms")),
        "run ms": whole(entry.get("run_ms")),
        "peak MB": whole(peak / 1e6) if peak else None,
        "memo": "hit" if entry.get("reused") else "",
    }


def whole(number: float | None) -> int | None:
    return None if number is None else round(number)


def table_of(found: Iterable[Mapping[str, Any]]) -> Table:
    """Return the rows as a table for people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        right = column.endswith(("ms", "MB"))
        free = column == "state"  # it alone gives way on a narrow terminal
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=not free,
            min_width=16 if free else 0,
        )
    before = None
    for entry in found:
        texts = ["" if entry[c] is None else str(entry[c]) for c in COLUMNS]
        if entry["run"] == before:
            texts[0] = ""
        before = entry["run"]
        table.add_row(*texts)
    return table
