"""What a person types, on the real stack: a capture in, results out in every form, and one word."""

import gzip
import io
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from orrery_services import Node, tsdb
from orrery_services.stack import faults

from tests.system.command import ORRERY, orrery, run, until_well

pytestmark = pytest.mark.real
NODES = ("n1", "n2")
SECONDS_MAX = 120.0
LEAVE_SECONDS_MAX = 5.0
TRIES = 3
SPAN_SECONDS, SPEED = 40, 10  # of a capture that is played faster than it was
TRADES = 60
FIRST_MS = 1_764_165_600_000
SERVICES = ("packer", "analytics", "replication", "gateway", "snapshots", "dominoes")
PLACE = ("tick_partition", "tick_offset", "tick_row")
SHOWN = {
    "latest": "SELECT partition, tick_offset, tick_row, outputs FROM latest"
    " WHERE chain = 'default' AND symbol = %s",
    "results": "SELECT partition, tick_offset, tick_row, outputs FROM results"
    " WHERE chain = 'default' AND symbol = %s",
}
LISTENS = "0A"  # a state in /proc/net
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}  # as the kernel prints 127.0.0.1
CONTRACT = (
    "source_topic", "source_partition", "source_offset", "tick_partition", "tick_offset",
    "tick_row", "fact", "symbol", "ts_event_ns",
)  # fmt: skip


def until(look, what: str):
    deadline = time.monotonic() + SECONDS_MAX
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {SECONDS_MAX:.0f} s: {what}"
        time.sleep(0.2)
    return found


def capture(ticker: str) -> bytes:
    """Return trades and quotes as one exchange's stream has them, three trades a millisecond."""
    lines = []
    for number in range(TRADES):
        at_ms = FIRST_MS + number // 3
        price, size = f"{100 + number % 7}.50", f"0.{1 + number % 9}"
        trade = {"e": "trade", "E": at_ms, "T": at_ms, "s": ticker, "t": number, "p": price,
                 "q": size, "m": number % 2 == 0, "M": True}  # fmt: skip
        quote = {"u": number, "s": ticker, "b": "99.5", "B": "7.9", "a": "100.5", "A": "3.2"}
        for stream, data in (("trade", trade), ("bookTicker", quote)):
            body = json.dumps({"stream": f"{ticker.lower()}@{stream}", "data": data})
            lines.append(f"{at_ms * 1000} {body}")
    return gzip.compress("\n".join(lines).encode())


@pytest.fixture(scope="module")
def ticker() -> str:
    return f"T{uuid.uuid4().hex[:8].upper()}USDT"


@pytest.fixture(scope="module")
def played(stack, short_tmp: Path, ticker: str) -> dict:
    file = short_tmp / "capture.gz"
    file.write_bytes(capture(ticker))
    return orrery(stack, "feed", str(file), "--format", "binance", "--speed", "max")


@pytest.fixture(scope="module")
def symbol(stack, played, ticker: str) -> str:
    """The capture's symbol, once both nodes hold its results."""
    name = f"{ticker}.BINANCE"
    for node in NODES:
        until(lambda node=node: len(read(stack, name, node)) == 2 * TRADES, f"{node} holds it")
    return name


def read(stack, symbol: str, node: str) -> list[dict]:
    words = ("--chain", "default", "--symbol", symbol, "--node", node, "--format", "json")
    return [json.loads(line) for line in run(stack, "read", *words).stdout.splitlines()]


def raw(stack, symbol: str, form: str) -> bytes:
    words = ("read", "--chain", "default", "--symbol", symbol, "--format", form)
    env = {**os.environ, "ORRERY_HOME": str(stack.plan.home)}
    return subprocess.run([*ORRERY, *words], env=env, stdout=subprocess.PIPE, check=True).stdout


def test_every_row_of_a_capture_is_sent_and_acknowledged(played):
    assert played["sent"] == {"trades": TRADES, "quotes": TRADES}
    assert played["unacknowledged"] == 0 and played["skipped"] == {}


def test_a_capture_is_played_at_the_pace_that_is_asked_for(stack, short_tmp: Path):
    file, symbol = short_tmp / "pace.jsonl", f"P{uuid.uuid4().hex[:8]}.PACE"
    times = range(0, SPAN_SECONDS + 1, 2)
    rows = [
        {"symbol": symbol, "price": 1 + at, "size": 1, "ts_recv_ns": (FIRST_MS + at * 1000) * 10**6}
        for at in times
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    told = orrery(stack, "feed", str(file), "--format", "jsonl", "--speed", str(SPEED))

    assert told["sent"] == {"trades": len(rows)} and told["unacknowledged"] == 0
    assert 0.99 * SPAN_SECONDS / SPEED < told["seconds"] < SPAN_SECONDS


def test_what_was_played_is_read_on_both_nodes_once_in_log_order_with_the_right_vwap(stack, symbol):
    rows = read(stack, symbol, "n1")

    assert rows == read(stack, symbol, "n2")
    assert tuple(rows[0])[: len(CONTRACT)] == CONTRACT
    log = [(row["tick_partition"], row["tick_offset"], row["tick_row"]) for row in rows]
    assert log == sorted(set(log))
    worth = volume = 0.0
    for number, row in enumerate(row for row in rows if row["source_topic"] == "trades"):
        worth += (100.5 + number % 7) * (1 + number % 9) / 10
        volume += (1 + number % 9) / 10
        assert row["vwap"] == pytest.approx(worth / volume, rel=1e-12)


def test_every_format_and_python_give_the_same_rows(stack, symbol):
    with Node(settings=stack.settings("n1")) as node:
        table = node.read(chain="default", symbol=symbol)

    assert pa.ipc.open_stream(raw(stack, symbol, "arrow")).read_all().equals(table)
    assert pq.read_table(io.BytesIO(raw(stack, symbol, "parquet"))).equals(table)
    assert len(raw(stack, symbol, "csv").splitlines()) == 1 + table.num_rows
    assert table.num_rows == 2 * TRADES


def test_the_views_for_people_show_the_last_row_and_what_it_leaves_empty_from_before(stack, symbol):
    rows = read(stack, symbol, "n1")
    place = tuple(rows[-1][name] for name in PLACE)

    def shown(view: str) -> list:
        with psycopg.connect(stack.settings("n1").postgres("reader")) as reader:
            return reader.execute(SHOWN[view], [symbol]).fetchall()

    until(lambda: [row[:-1] for row in shown("latest")] == [place], "the view latest")
    until(lambda: len(shown("results")) == 2 * TRADES, "every row in the view results")
    outputs = shown("latest")[0][-1]
    assert {"vwap", "quoted_spread"} <= outputs.keys()
    for name, value in outputs.items():
        assert value == [row[name] for row in rows if row[name] is not None][-1], name


def test_series_are_the_results_to_a_millisecond_and_12_digits_and_can_be_rebuilt(stack, symbol):
    settings = stack.settings("n1")
    if settings.tsdb is None:
        pytest.skip("there is no time-series store: it is built with Go")
    want = {}
    for row in read(stack, symbol, "n1"):
        if row["vwap"] is not None and row["ts_event_ns"] is not None:
            want[row["ts_event_ns"] // 1_000_000] = row["vwap"]

    def stored() -> dict[int, float]:
        label = f'orrery_vwap{{symbol="{symbol}",node="n1"}}'
        found = tsdb.read(settings.tsdb, label, FIRST_MS - 1000, FIRST_MS + 10_000)
        return {at: x for one in found for at, x in zip(one.times_ms, one.values, strict=True)}

    until(lambda: stored().keys() == want.keys(), "every series")
    assert stored() == pytest.approx(want, rel=1e-12)
    tsdb.forget(settings.tsdb, f'{{symbol="{symbol}"}}')
    until(lambda: stored() == {}, "they are forgotten")

    assert orrery(stack, "tsdb", "rebuild")["samples"] >= len(want)
    until(lambda: stored() == pytest.approx(want, rel=1e-12), "they are there again")


def test_one_trade_is_followed_hop_by_hop_and_its_fact_can_be_shown(stack, symbol):
    hops = orrery(stack, "trade", symbol, "61650.10", "0.5")

    assert [hop["hop"] for hop in hops] == ["feed", "packer", "store", "store", "mark", "replica"]
    times = [hop["ms"] for hop in hops]
    assert times == sorted(times)
    fact = hops[3]["what"].split()[2]
    assert fact in hops[5]["what"], "the other node has the same one"
    for name in (hops[2]["what"].split()[2], fact):
        assert run(stack, "show", name, "--node", "n2").returncode == 0


def test_a_trade_that_is_refused_says_why_and_fails(stack):
    done = run(stack, "trade", "REFUSED.TEST", "-1", "1")

    assert done.returncode == 1
    assert "refused" in done.stdout and "price must be" in done.stdout


def test_status_is_of_its_schema_and_says_converged(stack, symbol):
    schema = json.loads((stack.plan.root / "schemas/events/status.json").read_text())

    told = until_well(stack, "status", "--wait", "60")

    jsonschema.validate(told, schema)
    assert told["state"] == "CONVERGED" and told["problems"] == []
    for node in told["nodes"]:
        assert {"packer_ms", "analytics_ms", "replication_ms"} <= node["lag"].keys()


def test_the_doctor_finds_nothing_broken(stack):
    done = run(stack, "doctor")

    assert done.returncode in (0, 3), done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("fail")]


def test_whatever_listens_does_so_on_loopback_alone(stack):
    ports = {f"{port:04X}": name for name, port in stack.plan.ports.items()}
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == LISTENS and port in ports:
                found.setdefault(ports[port], set()).add(address)

    assert {"kafka", "connect", "n1.postgres", "n2.packer", "n2.gateway"} <= found.keys()
    assert set().union(*found.values()) <= LOOPBACK, found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_that_it_lives_is_ready_and_what_it_does(stack, service):
    for node in NODES:
        url = stack.settings(node).metrics_url(service)
        for path in ("livez", "readyz"):
            until(lambda url=f"{url}/{path}": is_ok(url), f"{node}'s {service} to say so")
        with urllib.request.urlopen(f"{url}/metrics", timeout=SECONDS_MAX) as answer:
            figures = answer.read().decode()
        assert "orrery_lag_rows" in figures and 'symbol="' not in figures


def is_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS_MAX) as answer:
            return json.load(answer)["ok"] is True
    except urllib.error.HTTPError:
        return False


def test_told_to_stop_a_service_leaves_in_good_order_and_status_names_who_is_missing(stack):
    parts = [*(f"n1.{service}" for service in SERVICES), "n1.tsdb"]
    for _ in range(TRIES):  # a machine that stands still is no fault of theirs
        took, left = stop_together(stack, parts)
        status = run(stack, "status", "--json")
        for part in parts:
            faults.start(stack, part)
        stack.wait(parts)
        if left == set(parts) - {"n1.tsdb"} and max(took.values()) < LEAVE_SECONDS_MAX:
            break
    else:
        pytest.fail(f"all must leave by themselves within {LEAVE_SECONDS_MAX} s: {took}, {left}")

    assert status.returncode == 3
    problems = json.loads(status.stdout)["problems"]
    for service in SERVICES:
        assert any(problem.startswith(f"n1: {service} is away") for problem in problems), problems


def stop_together(stack, parts: list[str]) -> tuple[dict[str, float], set[str]]:
    """Stop parts as `make down` does, and a node that is drained. Return the seconds that each
    took, and the services that left with code 0."""

    def stop(part: str) -> float:
        began = time.monotonic()
        faults.stop(stack, part)
        return time.monotonic() - began

    with ThreadPoolExecutor(len(parts)) as pool:
        took = dict(zip(parts, pool.map(stop, parts), strict=True))
    last = {part: stack.log(part, lines=1) for part in parts}
    return took, {part for part, line in last.items() if '"left"' in line and '"code": 0' in line}


@pytest.mark.parametrize("words", ["nonsense", "trade A.B", "status --no-such", "read --chain"])
def test_what_is_typed_wrong_is_usage(stack, words: str):
    assert run(stack, *words.split()).returncode == 2
