"""The memo over HTTP, its real server, a real folder: what probes, runners and controllers ask."""

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from orrery_services import scratch
from orrery_services.errors import DivergenceError, OutsideError
from orrery_services.hotswap.memo_client import MemoClient
from orrery_services.memo import app
from orrery_services.memo.fact_memo import TieredMemo
from orrery_services.memo.store import FileMemo
from orrery_services.protocol import stages
from orrery_services.protocol.bloom import BloomFilter

KEY = "ab" * 32


class Beside:
    """A memo as it stands beside two slots."""

    def __init__(self, folder: Path, store=None) -> None:
        self.scratch = str(folder / "scratch")
        Path(self.scratch).mkdir(exist_ok=True)
        self.store = store or FileMemo(folder / "memo")
        self.memo = app.Memo(self.scratch, self.store)
        self.server = app.serve(self.memo, "127.0.0.1", 0)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.client = MemoClient(self.url, 10)

    def finish(self, stage: int, data: bytes = b"out", key: str = KEY, run: str = "r") -> str:
        folder = Path(scratch.stage_folder(self.scratch, run, stage))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x").write_bytes(data)
        marker = {"token": f"{run}/{stage}/1", "key": key, "inputs": [], "reused": False}
        return scratch.finish_stage(self.scratch, run, stage, str(folder / "x"), marker)["output"]

    def close(self) -> None:
        self.client.close()
        self.server.shutdown()
        self.server.server_close()
        self.memo.close()


@pytest.fixture
def beside(tmp_path):
    made = Beside(tmp_path)
    yield made
    made.close()


def status_of(beside: Beside, path: str) -> int:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", beside.server.port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.mark.parametrize("token", ["r/1/1", ""])
def test_a_slot_has_a_runner_once_it_has_taken_up_its_token_until_it_leaves(beside, token):
    assert status_of(beside, "/v1/slots/a") == 404

    scratch.enter_slot(beside.scratch, "a", token)

    assert beside.client.runner("a") == token
    assert status_of(beside, "/v1/slots/b") == 404
    scratch.leave_slot(beside.scratch, "a")
    assert status_of(beside, "/v1/slots/a") == 404


def test_what_a_marker_says_is_remembered_and_found_under_its_key(beside, tmp_path):
    digest = beside.finish(1, b"answer")
    assert beside.client.lookup(KEY) is None

    assert beside.client.marker("r", 1)["output"] == digest
    counts = beside.client.flush()

    assert counts["stored"] == 1
    assert beside.client.lookup(KEY) == digest
    assert FileMemo(tmp_path / "memo").digest_of(KEY) == digest


def test_a_memo_started_again_answers_the_same(beside, tmp_path):
    digest = beside.finish(1)
    beside.client.marker("r", 1)
    beside.client.flush()

    again = Beside(tmp_path)

    assert again.client.lookup(KEY) == digest
    assert again.client.marker("r", 1)["output"] == digest
    again.close()


def test_a_connection_survives_the_restart_of_the_memo(beside):
    beside.client.lookup(KEY)
    port = beside.server.port
    beside.server.shutdown()
    beside.server.server_close()
    beside.client._connection.sock.shutdown(socket.SHUT_RDWR)  # as its end leaves it

    beside.server = app.serve(beside.memo, "127.0.0.1", port)
    threading.Thread(target=beside.server.serve_forever, args=(0.05,), daemon=True).start()

    assert beside.client.lookup(KEY) is None


def test_bytes_are_fetched_into_the_scratch_as_the_output_of_a_stage(beside):
    digest = beside.finish(1, b"answer")
    beside.client.marker("r", 1)
    beside.client.flush()

    marker = beside.client.fetch("other", 4, digest, {"key": KEY, "token": "other/4/1"})

    assert (marker["output"], marker["reused"]) == (digest, True)
    path = scratch.output_path(beside.scratch, "other", 4, digest)
    assert Path(path).read_bytes() == b"answer"
    assert beside.client.fetch("other", 5, "cd" * 32) is None


def test_damaged_bytes_are_never_served(beside, tmp_path):
    digest = beside.finish(1, b"answer")
    beside.client.marker("r", 1)
    beside.client.flush()
    (tmp_path / "memo" / "bodies" / digest[:2] / digest).write_bytes(b"anSwer")

    assert beside.client.fetch("other", 1, digest) is None
    assert not scratch.is_done(beside.scratch, "other", 1)
    assert not list(Path(scratch.stage_folder(beside.scratch, "other", 1)).iterdir())


def test_a_key_with_two_answers_is_counted_and_neither_is_served(beside):
    beside.finish(1, b"one")
    beside.finish(2, b"two")
    beside.client.marker("r", 1)
    beside.client.marker("r", 2)

    assert beside.client.flush()["diverged"] == 1
    assert beside.client.lookup(KEY) is None


def test_two_answers_for_a_key_raise_and_name_both(tmp_path):
    store = FileMemo(tmp_path / "memo")
    (tmp_path / "one").write_bytes(b"1")
    store.put(KEY, "11" * 32, tmp_path / "one")

    with pytest.raises(DivergenceError, match="had 111111111111, now 222222222222"):
        store.put(KEY, "22" * 32, tmp_path / "one")

    assert store.digest_of(KEY) is None


@pytest.mark.parametrize(
    "path",
    [
        "/v1/runs/../1",
        "/v1/runs/r/x",
        "/v1/slots/c",
        "/v1/slots/a/x",
        "/v1/memo/short",
        "/v1/memo/" + "g" * 64,
        "/",
    ],
)
def test_what_makes_no_sense_is_answered_with_not_found(beside, path):
    assert status_of(beside, path) == 404


@pytest.mark.parametrize(
    "wish",
    [{}, {"run": "../x", "stage": 1, "digest": KEY}, {"run": "r", "stage": -1, "digest": KEY}],
)
def test_a_wish_that_leads_out_of_the_scratch_is_refused(beside, wish):
    with pytest.raises(OSError, match="a wish must name"):
        beside.client._ask("POST", "/v1/fetch", wish)


@pytest.mark.parametrize("said", ["-1", "abc", "65537", "9" * 5000, "\u00b2"])
def test_a_body_that_does_not_say_its_size_is_not_read(beside, said):
    import socket

    head = f"POST /v1/fetch HTTP/1.1\r\nHost: x\r\nContent-Length: {said}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", beside.server.port), timeout=60) as connection:
        connection.sendall(head)
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 413 ")


class Slow(FileMemo):
    """A memo that counts how often it is really asked, and answers when it may."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked = 0
        self.may = threading.Event()

    def digest_of(self, key: str) -> str | None:
        self.asked += 1
        self.may.wait(60)
        return super().digest_of(key)


def test_the_same_question_at_the_same_time_is_asked_once(tmp_path):
    store = Slow(tmp_path / "memo")
    (tmp_path / "x").write_bytes(b"1")
    store.put(KEY, "11" * 32, tmp_path / "x")
    beside = Beside(tmp_path, store)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(MemoClient(beside.url).lookup, KEY) for _ in range(8)]
        until = time.monotonic() + 60
        while beside.memo.counts["lookups"] < 8 and time.monotonic() < until:
            time.sleep(0.01)
        store.may.set()

    assert [one.result() for one in asked] == ["11" * 32] * 8
    assert store.asked == 1
    beside.close()


class Hanging(FileMemo):
    """A memo that does not answer, nor say that it will not, until it may."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_asked, self.may = threading.Event(), threading.Event()

    def keys_since(self, cursor: int) -> tuple[list[str], int]:
        self.is_asked.set()
        self.may.wait(60)
        return super().keys_since(cursor)


def test_a_store_that_hangs_does_not_keep_a_stage_from_being_seen_as_done(tmp_path):
    store = Hanging(tmp_path / "memo")
    beside = Beside(tmp_path, store)
    digest = beside.finish(1)
    asking = threading.Thread(target=beside.memo.lookup, args=(KEY,))
    asking.start()
    assert store.is_asked.wait(60)

    try:
        marker = MemoClient(beside.url, 10).marker("r", 1)
    finally:
        store.may.set()
        asking.join(60)

    assert marker["output"] == digest
    beside.close()


def test_a_key_never_seen_is_answered_by_the_filter_alone(tmp_path):
    store = Slow(tmp_path / "memo")
    beside = Beside(tmp_path, store)

    assert beside.client.lookup(KEY) is None

    assert store.asked == 0
    assert beside.memo.counts["filtered"] == 1
    beside.close()


def test_a_key_that_another_node_computed_is_found_within_the_refresh(tmp_path):
    now = [0]
    store = FileMemo(tmp_path / "memo")
    memo = app.Memo(str(tmp_path), store, lambda: now[0])
    assert memo.lookup(KEY) is None
    (tmp_path / "x").write_bytes(b"1")
    FileMemo(tmp_path / "memo").put(KEY, "11" * 32, tmp_path / "x")

    now[0] += app.REFRESH_NS

    assert memo.lookup(KEY) == "11" * 32


def test_a_store_that_is_away_costs_reuse_and_nothing_else(tmp_path):
    class Away(FileMemo):
        def digest_of(self, key: str) -> str | None:
            raise OSError("no route")

    store = Away(tmp_path / "memo")
    (tmp_path / "x").write_bytes(b"1")
    store.put(KEY, "11" * 32, tmp_path / "x")
    beside = Beside(tmp_path, store)

    with pytest.raises(OSError, match="no route"):
        beside.client.lookup(KEY)

    assert status_of(beside, "/healthz") == 200
    beside.close()


def test_the_filter_is_wrong_as_rarely_as_it_says():
    capacity, rate = 20_000, 0.01
    seen = BloomFilter(capacity, rate)
    keys = [stages.stage_key("c", {}, [str(n)]) for n in range(2 * capacity)]
    for key in keys[:capacity]:
        seen.add(key)

    assert all(key in seen for key in keys[:capacity])
    wrong = sum(key in seen for key in keys[capacity:])
    assert wrong <= 1.3 * rate * capacity
    assert not seen.full


@pytest.mark.parametrize(("capacity", "rate"), [(0, 0.1), (10, 0.0), (10, 1.0)])
def test_a_filter_that_cannot_be_is_refused(capacity, rate):
    with pytest.raises(ValueError, match="was"):
        BloomFilter(capacity, rate)


def started(folder: Path, port: int) -> tuple[subprocess.Popen, MemoClient]:
    """Start the memo as a process; return it, and who asks it where it says that it listens."""
    env = {
        "PATH": "/usr/bin",
        "ORRERY_SCRATCH": str(folder),
        "ORRERY_MEMO_FOLDER": str(folder / "memo"),
        "ORRERY_MEMO_PORT": str(port),
        "ORRERY_MEMO_PORT_FILE": str(folder / "port"),
    }
    child = subprocess.Popen([sys.executable, "-m", "orrery_services.memo"], env=env)
    until = time.monotonic() + 120
    while not (folder / "port").exists():
        assert time.monotonic() < until and child.poll() is None
        time.sleep(0.02)
    return child, MemoClient(f"http://127.0.0.1:{(folder / 'port').read_text()}")


def test_a_memo_whose_port_was_taken_while_it_was_away_takes_another_and_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        child, client = started(tmp_path, stranger.getsockname()[1])

        assert client.lookup(KEY) is None

    client.close()
    child.terminate()
    assert child.wait(60) == 0


def test_the_process_says_its_port_serves_and_leaves_on_sigterm(tmp_path):
    child, client = started(tmp_path, 0)
    assert client.lookup(KEY) is None
    rss_kb = int(
        next(
            line.split()[1]
            for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )
    )

    child.terminate()
    assert child.wait(60) == 0
    assert rss_kb < 60 * 1024


def test_keys_are_listed_from_a_cursor_on(tmp_path):
    store = FileMemo(tmp_path / "memo")
    (tmp_path / "x").write_bytes(b"1")
    keys = [stages.stage_key("c", {}, [str(n)]) for n in range(3)]
    for key in keys[:2]:
        store.put(key, "11" * 32, tmp_path / "x")
    first, cursor = store.keys_since(0)
    store.put(keys[2], "11" * 32, tmp_path / "x")

    again, _ = store.keys_since(cursor)

    assert first == keys[:2]
    assert again == keys[2:]
    assert json.dumps(cursor)


def test_a_slot_without_network_reaches_it_through_a_socket_in_the_scratch(beside, tmp_path):
    path = str(tmp_path / "memo.sock")
    server = app.serve_socket(beside.memo, path)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    assert MemoClient(f"unix:{path}").lookup(KEY) is None
    digest = beside.finish(1)
    assert MemoClient(f"unix:{path}").marker("r", 1)["output"] == digest
    server.shutdown()
    server.server_close()


class Paged(FileMemo):
    """A memo with a history longer than is read at once: a key a page."""

    def keys_since(self, cursor: int) -> tuple[list[str], int]:
        keys, _ = super().keys_since(0)
        return keys[cursor : cursor + 1], min(cursor + 1, len(keys))


def test_a_key_behind_a_long_history_is_found_at_the_first_question(tmp_path):
    store = Paged(tmp_path / "memo")
    (tmp_path / "x").write_bytes(b"1")
    keys = [stages.stage_key("c", {}, [str(n)]) for n in range(3 * app.PAGES_MAX)]
    for key in keys:
        store.put(key, "11" * 32, tmp_path / "x")
    now = [0]
    memo = app.Memo(str(tmp_path), store, lambda: now[0])

    assert memo.lookup(keys[-1]) == "11" * 32
    for _ in range(4):
        now[0] += app.REFRESH_NS
        memo.lookup(KEY)
    assert memo.counts["filtered"] > 0, "once all of it is known the filter answers alone"


class Full(FileMemo):
    """A memo that can keep nothing, until it can."""

    full = True

    def put(self, key: str, digest: str, path: Path) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().put(key, digest, path)


def test_what_could_not_be_kept_is_told_and_kept_as_soon_as_it_can_be(tmp_path):
    store = Full(tmp_path / "memo")
    beside = Beside(tmp_path, store)
    digest = beside.finish(1, b"answer")
    beside.client.marker("r", 1)

    assert beside.client.flush("r")["unkept"] == 1
    store.full = False
    assert beside.client.flush("r")["unkept"] == 0

    assert beside.client.lookup(KEY) == digest
    beside.close()


def test_a_memo_started_again_keeps_what_the_one_before_was_not_asked_for_any_more(beside):
    digest = beside.finish(1, b"answer")

    counts = beside.client.flush("r")

    assert (counts["stored"], counts["unkept"]) == (1, 0)
    assert beside.client.lookup(KEY) == digest


def test_an_output_that_is_too_large_is_counted_and_holds_nothing_up(beside):
    beside.store.bytes_max = 3
    beside.finish(1, b"answer")

    counts = beside.client.flush("r")

    assert (counts["too_large"], counts["unkept"]) == (1, 0)


def test_a_key_whose_bytes_are_gone_is_unknown(beside, tmp_path):
    digest = beside.finish(1, b"answer")
    beside.client.marker("r", 1)
    beside.client.flush()

    (tmp_path / "memo" / "bodies" / digest[:2] / digest).unlink()

    assert beside.client.lookup(KEY) is None


def test_a_key_written_by_one_that_died_before_listing_it_is_found(tmp_path, monkeypatch):
    store = FileMemo(tmp_path / "memo")
    (tmp_path / "x").write_bytes(b"1")
    written_once = scratch.write_once

    def die(path: str, data: bytes) -> bool:
        written_once(path, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(scratch, "write_once", die)
    with pytest.raises(KeyboardInterrupt):
        store.put(KEY, "11" * 32, tmp_path / "x")

    assert app.Memo(str(tmp_path), store).lookup(KEY) == "11" * 32


@pytest.mark.parametrize("run", ["../x", "R R", ["r"]])
def test_a_flush_of_what_is_no_run_is_refused(beside, run):
    with pytest.raises(OSError, match="a run must be named"):
        beside.client._ask("POST", "/v1/flush", {"run": run})


def test_half_a_body_on_a_full_disk_is_taken_away(tmp_path, monkeypatch):
    store = FileMemo(tmp_path / "memo")
    (tmp_path / "x").write_bytes(b"1")

    def full(path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch, "sync", full)
    with pytest.raises(OutsideError, match="cannot keep"):
        store.put("", "11" * 32, tmp_path / "x")

    assert [path for path in (tmp_path / "memo").rglob("*") if path.is_file()] == []


def test_the_same_input_kept_twice_at_once_is_kept(tmp_path):
    store = FileMemo(tmp_path / "memo")
    data = b"capsule" * 10_000

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: FileMemo(tmp_path / "memo").put_bytes("22" * 32, data), range(4)))

    assert (store._body_path("22" * 32)).read_bytes() == data


def test_what_is_too_large_for_the_facts_stays_on_this_machine(tmp_path):
    near, far = FileMemo(tmp_path / "near"), FileMemo(tmp_path / "far")
    far.bytes_max = 3
    (tmp_path / "x").write_bytes(b"answer")
    digest, _ = scratch.digest_file(str(tmp_path / "x"))
    memo = TieredMemo(near, far)

    memo.put(KEY, digest, tmp_path / "x")

    assert memo.bytes_max == near.bytes_max
    assert (memo.digest_of(KEY), far.digest_of(KEY)) == (digest, None)


def test_two_answers_for_a_key_are_in_quarantine_near_and_far(tmp_path):
    """The folder knows first; facts, and with them the other nodes, must hear of the second."""
    near, far = FileMemo(tmp_path / "near"), FileMemo(tmp_path / "far")
    memo = TieredMemo(near, far)
    (tmp_path / "x").write_bytes(b"1")
    memo.put(KEY, "11" * 32, tmp_path / "x")

    with pytest.raises(DivergenceError):
        memo.put(KEY, "22" * 32, tmp_path / "x")

    assert (memo.digest_of(KEY), far.digest_of(KEY)) == (None, None)


def test_what_is_in_quarantine_near_is_not_served_from_far(tmp_path):
    near, far = FileMemo(tmp_path / "near"), FileMemo(tmp_path / "far")
    (tmp_path / "x").write_bytes(b"1")
    far.put(KEY, "11" * 32, tmp_path / "x")
    near.put(KEY, "11" * 32, tmp_path / "x")
    with pytest.raises(DivergenceError):
        near.put(KEY, "22" * 32, tmp_path / "x")

    assert TieredMemo(near, far).digest_of(KEY) is None
