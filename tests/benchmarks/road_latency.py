"""How long one row takes, hop by hop; what a killed worker costs; memory."""

import json
import signal
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psycopg
from confluent_kafka import Consumer, TopicPartition
from orrery_kernels.engine.chain import Chain
from orrery_services import bus
from orrery_services.stack import Stack, faults

from . import road_commits
from .road_chains import TEN
from .road_marks import Watch, ends
from .road_rows import SYMBOLS, paced
from .road_table import ROUNDS, Table, medians, percentiles

ROWS_PER_SECOND = 1_000
WARM_SECONDS = 2  # not counted: the client connects in them
WAIT_SECONDS_MAX = 60
COMMIT_SECONDS = 0.021  # between two commits: in no step with what polls


def up(stack: Stack, table: Table) -> None:
    begin = time.monotonic()
    stack.up()
    seconds = time.monotonic() - begin
    table.add("two nodes healthy, jars and wheels cached", "<= 30 s", f"{seconds:.0f} s")
    for node in stack.plan.nodes:  # the second chain has its turn later
        faults.stop(stack, f"{node}.analytics.one.1")


def memory(stack: Stack, table: Table, _: float) -> None:
    node, parts = stack.plan.nodes[0], stack.parts() or {}
    found = {
        name.removeprefix(f"{node}."): pss_mb(part["pid"])
        for name, part in parts.items()
        if name.removeprefix(f"{node}.") in stack.plan.services and part["pid"]
    }
    each = ", ".join(f"{name} {mb:.0f}" for name, mb in sorted(found.items()))
    table.add(
        "PSS of one node's Python services", "<= 500 MB", f"{sum(found.values()):.0f} MB ({each})"
    )


def pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def capture(stack: Stack, table: Table, seconds: float) -> None:
    """Commit single rows in Postgres and wait for each in the topic `trades`."""
    settings = stack.settings("n1")
    consumer = bus.consumer(settings.kafka, "bench", auto_offset_reset="latest")
    held = ends(settings.kafka, "trades", settings.partitions)
    consumer.assign(
        [TopicPartition("trades", p, held.get(p, 0)) for p in range(settings.partitions)]
    )
    with psycopg.connect(settings.postgres("writer"), autocommit=True) as connection:
        each = [_captured(connection, consumer, i, seconds) for i in range(ROUNDS)]
    consumer.close()
    if rounds := [taken for taken in each if taken]:
        quietest = min(rounds, key=median)
        what, said = f"{len(quietest)} rows", f"{percentiles(quietest)} ({medians(rounds)})"
    else:
        what, said = "no rows", "nothing arrived"
    table.add(
        f"commit in Postgres -> event read from Kafka, {what}",
        "p50 <= 10 ms, p99 <= 30 ms", said,
    )  # fmt: skip


def _captured(
    connection: psycopg.Connection, consumer: Consumer, which: int, seconds: float
) -> list[float]:
    """Return from a commit to its event in milliseconds, sorted."""
    taken: list[float] = []
    for i in range(int(seconds / COMMIT_SECONDS)):
        row = (SYMBOLS[i % len(SYMBOLS)], 100 + i % 9, 1, f"capture-{which}-{i}")
        connection.execute(_INSERT, row)
        committed = time.perf_counter()
        if _comes(consumer, row[3]):
            taken.append((time.perf_counter() - committed) * 1e3)
        time.sleep(max(0.0, committed + COMMIT_SECONDS - time.perf_counter()))
    return sorted(taken)


_INSERT = "INSERT INTO trades (symbol, price, size, trade_id) VALUES (%s, %s, %s, %s)"


def _comes(consumer: Consumer, trade_id: str) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None or message.error():
            continue
        if json.loads(message.value()).get("trade_id") == trade_id:
            return True
    return False


class Steady(NamedTuple):
    """One round of rows at a steady rate, in milliseconds, sorted."""

    here: list[float]
    there: list[float]
    wal_bytes: float  # of one node, a row


def steady(stack: Stack, table: Table, seconds: float) -> None:
    """Produce a thousand rows a second; see when their facts are in one node, and in both."""
    rounds = [_steady(stack, seconds) for _ in range(ROUNDS)]
    quietest = min(rounds, key=lambda found: median(found.here))
    what = f"{ROWS_PER_SECOND:,} rows/s, {len(SYMBOLS)} symbols, {len(quietest.here):,} rows"
    alone = f"a commit alone takes {road_commits.alone_ms(stack):.1f} ms"
    table.add(
        f"trade produced -> result fact committed ({what})",
        "p50 <= 30 ms, p99 <= 100 ms",
        f"{percentiles(quietest.here)} ({medians([found.here for found in rounds])}; {alone})",
    )  # fmt: skip
    table.add(
        "the same -> its fact in the other node", "p50 <= 60 ms, p99 <= 200 ms",
        f"{percentiles(quietest.there)} ({medians([found.there for found in rounds])})",
    )  # fmt: skip
    table.add(
        f"all WAL per row of one node at {ROWS_PER_SECOND:,} rows/s", "<= 300 bytes",
        f"{quietest.wal_bytes:.0f} bytes",
    )  # fmt: skip


def _steady(stack: Stack, seconds: float) -> Steady:
    chain = Chain(TEN).digest
    began = wal_bytes(stack)
    produced = paced(stack.settings("n1").kafka, ROWS_PER_SECOND, WARM_SECONDS + seconds)
    first = min(row.at for row in produced)
    sent = [row for row in produced if row.at > first + WARM_SECONDS]
    with Watch(stack, chain) as watch:
        watch.level("trades", _ends(stack), WAIT_SECONDS_MAX)
    wal = sum(wal_bytes(stack).values()) - sum(began.values())
    each = wal / len(produced) / len(stack.plan.nodes)
    return Steady(*road_commits.latency_ms(stack, chain, sent), each)


def wal_bytes(stack: Stack) -> dict[str, int]:
    """Return how much WAL every node has written so far."""
    found = {}
    for node in stack.plan.nodes:
        with psycopg.connect(stack.settings(node).postgres("reader")) as connection:
            row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
            found[node] = int(row[0])
    return found


def _ends(stack: Stack) -> dict[int, int]:
    settings = stack.settings("n1")
    return ends(settings.kafka, "trades", settings.partitions)


def takeover(stack: Stack, table: Table, _: float) -> None:
    """Kill n1's worker and keep it down: until n2 has the facts of rows produced since then."""
    with Watch(stack, Chain(TEN).digest) as watch:
        faults.send(stack, "n1.analytics", signal.SIGKILL)
        killed = time.perf_counter()
        faults.stop(stack, "n1.analytics")
        paced(stack.settings("n1").kafka, ROWS_PER_SECOND, 1)
        there = watch.level("trades", _ends(stack), WAIT_SECONDS_MAX)
        seconds = time.perf_counter() - killed
    faults.start(stack, "n1.analytics")
    stack.wait(["n1.analytics"])
    said = f"{seconds:.1f} s" if there else f"not within {WAIT_SECONDS_MAX} s"
    table.add("partitions of a killed worker go on elsewhere", "<= 10 s", said)
