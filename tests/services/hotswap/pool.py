"""A pool of plain processes with its controller in a process of its own, to be killed at will."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from orrery_services import scratch
from orrery_services.hotswap import app, chain, local, processes, runs
from orrery_services.hotswap.port import PodObject
from orrery_services.memo.store import FileMemo

PATIENCE_SECONDS = 120


def shell_chain(
    scripts: Sequence[str], mode: str = "serial", deadline_s: float = 60, **task: Any
) -> chain.Chain:
    """A chain of shell scripts: $ORRERY_INPUT in, $ORRERY_OUTPUT out."""
    tasks = [
        {"name": f"s{n}", "command": ["sh", "-c", script], "deadline_s": deadline_s, **task}
        for n, script in enumerate(scripts, 1)
    ]
    return chain.read_chain("daisy", {"run_in": "container", "mode": mode, "tasks": tasks})


def append(text: str) -> str:
    return f"cat $ORRERY_INPUT > $ORRERY_OUTPUT; printf %s {text} >> $ORRERY_OUTPUT"


class Pool:
    """Files of a pool below a folder, and the controller over them."""

    def __init__(self, folder: Path, pods: int = 1) -> None:
        self.folder = folder
        self.names = [f"domino-{n}" for n in range(pods)]
        self.memo = FileMemo(folder / "memo")
        self.runs = runs.FileRuns(folder / "runs")
        self.pid = 0

    def port(self) -> local.LocalPods:
        return local.LocalPods(self.folder / "pods", processes.Processes(), self.folder / "memo")

    def ask(self, read: chain.Chain, run_id: str, data: bytes = b"in:", reuse: bool = True) -> str:
        path = self.folder / "input"
        path.write_bytes(data)
        digest, _ = scratch.digest_file(str(path))
        self.memo.put("", digest, path)
        self.runs.request(chain.start_run(read, run_id, "eod", digest, reuse=reuse))
        return run_id

    def start(self) -> None:
        """Start a controller: a process, so that it can die like one."""
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                code = self._control()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def _control(self) -> int:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        port = self.port()
        app.Controller(port, self.runs, self.names).run(stop)
        port.close()
        return 0

    def kill(self) -> None:
        """End the controller as a loss of power would; containers go on."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0

    def is_dead(self) -> bool:
        """Whether the controller has died by itself."""
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0
        return not self.pid

    def stop(self) -> None:
        """End the controller and everything it started."""
        if not self.pid:
            self.port().close()
            return
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        self.pid = 0

    def end_of(self, run_id: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        wait_until(lambda: self.ends(run_id), seconds)
        return self.ends(run_id)[0]

    def ends(self, run_id: str) -> list[dict[str, Any]]:
        return [e for e in self.runs.events(run_id) if e["kind"] in runs.ENDS]

    def output(self, event: dict[str, Any]) -> bytes:
        path = self.folder / "read"
        assert self.memo.fetch(event["result"]["output"], path)
        return path.read_bytes()

    def pod(self, number: int = 0) -> PodObject | None:
        return self.port().get(self.names[number])

    def processes(self) -> list[int]:
        return processes_below(self.folder)


def processes_below(folder: Path) -> list[int]:
    """Return runners and memos that are alive and whose scratch is below a folder."""
    found = []
    mark = str(folder).encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            env = (path / "environ").read_bytes()
            zombie = (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if b"ORRERY_SCRATCH=" + mark in env and not zombie:
            found.append(int(path.name))
    return found


def wait_until(true: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "not within time"
        time.sleep(0.02)
