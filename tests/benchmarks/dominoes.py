"""Speed of dominoes as a service: a snapshot is written -> the results of a chain are committed.

Runs a Postgres that syncs to disk, the service's loop and its worker, on leaves written by hand:
making their snapshot is part of the time.
"""

import contextlib
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import psycopg
import structlog
from orrery_kernels.domino.domino import domino
from orrery_services import metrics, store
from orrery_services.config import Settings, load_settings
from orrery_services.dominoes import app
from orrery_services.store import domino_runs, identity

from tests.benchmarks.road_table import Table
from tests.services.dominoes.conftest import toml
from tests.services.dominoes.market import write_leaves, write_manifest
from tests.services.store.server import Server

ROOT = Path(__file__).resolve().parents[2]
DOMINOES, CHANGED, CUTS = 30, 3, 100
SECONDS_MAX = 300.0
LOOK_SECONDS = 0.0005


@domino(version=1)
def doubled(x: Annotated[float, "quotes/Q00"]) -> float:
    return x * 2.0


def chain() -> dict:
    tasks = [
        {"name": f"t/{i:02d}", "domino": "doubled", "reads": {"x": f"quotes/Q{i:02d}"}}
        for i in range(DOMINOES)
    ]
    return {"modules": ["tests.benchmarks.dominoes"], "tasks": tasks}


@contextlib.contextmanager
def node(server: Server, folder: Path) -> Iterator[Settings]:
    """A node of its own, named by the environment: its worker is another process."""
    database = server.new_database()
    with store.connect(server.conninfo(database, "orrery_writer")) as connection:
        identity.begin(connection, "n1", identity.EMPTY_DISK)
    (folder / "universe.toml").write_text(toml("n1", {"wide": chain()}, ""))
    for role in ("orrery_writer", "orrery_reader"):
        (folder / role).write_text("trusted")
    os.environ |= {
        "PYTHONPATH": str(ROOT), "ORRERY_NODE": "n1", "ORRERY_SECRETS": str(folder),
        "ORRERY_UNIVERSE": str(folder / "universe.toml"), "ORRERY_POSTGRES_HOST": "127.0.0.1",
        "ORRERY_POSTGRES_PORT": str(server.port), "ORRERY_POSTGRES_DATABASE": database,
        "ORRERY_LOG_LEVEL": "WARNING",
    }  # fmt: skip
    yield load_settings()


def cuts(settings: Settings, count: int) -> list[float]:
    """Return the seconds from the last leaf to the run record, with three inputs changed."""
    stop, found = threading.Event(), []
    service = threading.Thread(target=app.main, args=(settings, metrics.Health(), stop))
    service.start()
    rates = {f"Q{i:02d}": float(i) for i in range(DOMINOES)}
    try:
        with store.connect(settings.postgres("writer")) as writer:
            for number in range(1, count + 3):
                for i in range(CHANGED):
                    rates[f"Q{i:02d}"] += 1.0
                made = write_leaves(writer, number, rates)
                began = time.perf_counter()
                write_manifest(writer, number, made)
                run = wait_for(writer, number)
                if number > 2:  # the first ones start the worker and fill its memory
                    found.append(time.perf_counter() - began)
                    assert run.counts == {"run": CHANGED, "reuse": DOMINOES - CHANGED}, run.counts
    finally:
        stop.set()
        service.join()
    return found


def wait_for(writer: psycopg.Connection, number: int) -> domino_runs.DominoRun:
    deadline = time.monotonic() + SECONDS_MAX
    while not (done := list(domino_runs.of_cuts(writer, "wide", number))):
        assert time.monotonic() < deadline, "no run record in time"
        time.sleep(LOOK_SECONDS)
    return done[0]


def measure(table: Table) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    server = Server()
    try:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET fsync = on")
            admin.execute("SELECT pg_reload_conf()")
        with tempfile.TemporaryDirectory() as folder, node(server, Path(folder)) as settings:
            seconds = sorted(cuts(settings, CUTS))
    finally:
        server.remove()
    table.add(
        f"last leaf held -> all {DOMINOES} results of a chain committed, {CHANGED} inputs changed",
        "<= 20 ms beyond computing",
        f"p50 {statistics.median(seconds) * 1e3:.1f} ms, worst {seconds[-1] * 1e3:.1f} ms of {CUTS}"
        " (disk synced at every commit; making the snapshot of the leaves is part of it)",
    )
