"""One part kept alive by a thread of its own: prepare, start, wait until ready, watch, start again.

A part that ends without being asked to is started again after a pause that doubles from
RESTART_PAUSE_SECONDS to RESTART_PAUSE_SECONDS_MAX; one that fails RESTARTS_MAX times without ever
running RUNS_WELL_SECONDS is given up until somebody asks again. Whoever depends on it waits.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from ..errors import ServiceError
from . import postgres, processes, service_parts
from .part import NotReady, Part

RESTART_PAUSE_SECONDS = 0.3
RESTART_PAUSE_SECONDS_MAX = 10.0
RESTARTS_MAX = 40
RUNS_WELL_SECONDS = 20.0
LOOK_SECONDS = 0.1
WATCH_SECONDS = 0.3  # of a part that runs: a hundred sleepers must cost nothing
LOG_BYTES_MAX = 64 * 1024 * 1024

WAITING, STARTING, READY = "waiting", "starting", "ready"
STOPPED, LEFT_OUT, FAILED = "stopped", "left out", "failed"

log_lines = structlog.get_logger()
Report = Callable[[str, str, str], None]  # part, state, why


class Runner:
    """Runs one part. `wanted` may be set and cleared by anybody at any time."""

    def __init__(self, part: Part, log: Path, mark: Mapping[str, str], report: Report):
        self.part = part
        self.state, self.why = WAITING, ""
        self.restarts = 0
        self.process: subprocess.Popen | None = None
        self._ready_since: float | None = None  # of this start of the process
        self.wanted = threading.Event()
        self.wanted.set()
        self._leaving = threading.Event()
        self._others: Mapping[str, Runner] = {}
        self._log, self._mark, self._report = log, mark, report
        self._thread = threading.Thread(target=self._run, name=part.name, daemon=True)

    def start(self, others: Mapping[str, "Runner"]) -> None:
        self._others = others
        self._thread.start()

    def stop(self) -> None:
        """Stop the process and do not start it again until `wanted` is set."""
        self.wanted.clear()
        self._end_process()

    def leave(self, seconds_max: float | None = None) -> None:
        """Stop for good and wait for the thread; `seconds_max`: kill what has not left by then."""
        self._leaving.set()
        self.wanted.clear()
        self._end_process(seconds_max)
        self._thread.join(timeout=5)

    def again(self) -> None:
        """Run (again) whatever happened before: after `stop`, or when it was given up."""
        self.restarts = 0
        self.wanted.set()

    def settled(self) -> bool:
        """Return whether those who depend on this part may go on."""
        return self._state_now() in (READY, LEFT_OUT)

    def told(self) -> dict[str, Any]:
        pid = self.process.pid if self.process and not self._died() else None
        return {"state": self._state_now(), "why": self.why, "pid": pid, "restarts": self.restarts}

    def _state_now(self) -> str:
        """Return the state; one that has died is not ready, though nobody has looked yet."""
        return STARTING if self._died() and self.state == READY else self.state

    def _died(self) -> bool:
        """Return whether there was a process that runs no more.

        The kernel is asked: a killed process of many threads cannot be waited for until the last
        of them has gone, which takes a while on a busy machine.
        """
        if self.process is None:
            return False
        found = processes.find(self.process.pid)
        return self.process.poll() is not None or found is None or not found.alive()

    def _run(self) -> None:
        why = self.part.wanted() if self.part.wanted else None
        if why:
            self._tell(LEFT_OUT, why)
            return
        while not self._leaving.is_set():
            if not self.wanted.is_set():
                self._tell(STOPPED, "as asked")
                self._sleep_until(lambda: self.wanted.is_set())
                continue
            if not self._wait_for_others():
                continue
            self._ready_since = None
            try:
                self._live()
            except (ServiceError, NotReady, OSError) as cause:
                self._tell(STARTING, str(cause))
            except (
                Exception
            ) as cause:  # a defect in one part must not cost the thread that keeps it
                log_lines.exception("part failed", part=self.part.name)
                self._tell(STARTING, f"{type(cause).__name__}: {cause}")
            self._end_process()
            since = self._ready_since
            if since is not None and time.monotonic() - since > RUNS_WELL_SECONDS:
                self.restarts = 0
            self._pause()

    def _live(self) -> None:
        """Start once and stay until the process is gone. A job stays until it is not wanted."""
        self._tell(STARTING, "")
        if self.part.prepare:
            self.part.prepare(lambda text: self._tell(STARTING, text))
        if self.part.command:
            self.process = self._spawn(self.part.command())
        self._wait_ready()
        if self.part.finish and self._running():
            self.part.finish()
        if not self._running():
            raise NotReady(self._end_of_process())
        self._tell(READY, "")
        self._ready_since = time.monotonic()
        self._sleep_until(lambda: not self._running(), WATCH_SECONDS)
        if self.wanted.is_set() and not self._leaving.is_set():
            self.state = STARTING
            raise NotReady(self._end_of_process())

    def _spawn(self, command: list[str]) -> subprocess.Popen:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        env = service_parts.clean_environment() | dict(self.part.env) | dict(self._mark)
        # What a Java runtime writes beside itself (dumps, reports) belongs to the logs.
        place = {"cwd": self._log.parent} if Path(command[0]).name == "java" else {}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                **(place | postgres.as_user(self.part.user)),
            )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self.part.ready_seconds
        why = "not asked"
        while self.part.ready and self._running():
            try:
                self.part.ready()
                return
            except NotReady as cause:
                why = str(cause)
            if time.monotonic() > deadline:
                raise NotReady(f"not ready within {self.part.ready_seconds:.0f} s: {why}")
            time.sleep(LOOK_SECONDS)

    def _running(self) -> bool:
        if self._leaving.is_set() or not self.wanted.is_set():
            return False
        return self.process is None or self.process.poll() is None

    def _end_of_process(self) -> str:
        code = self.process.poll() if self.process else None
        return f"ended with {code}" if code is not None else "stopped"

    def _end_process(self, seconds_max: float | None = None) -> None:
        process = self.process
        if process is None:
            return
        found = processes.find(process.pid)
        if process.poll() is None and found:
            patience = self.part.stop_seconds if seconds_max is None else seconds_max
            processes.end([found], patience, self.part.stop_signal)
        process.poll()

    def _wait_for_others(self) -> bool:
        """Return True once every part that this one needs is ready, False if not wanted."""
        missing = self._missing()
        if missing:
            self._tell(WAITING, f"for {missing[0]}")
        self._sleep_until(lambda: not self._missing() or not self.wanted.is_set())
        return not self._leaving.is_set() and self.wanted.is_set()

    def _missing(self) -> list[str]:
        return [name for name in self.part.after if not self._others[name].settled()]

    def _pause(self) -> None:
        if self._leaving.is_set() or not self.wanted.is_set():
            return
        self.restarts += 1
        if self.restarts >= RESTARTS_MAX:
            self.wanted.clear()
            self._tell(FAILED, f"given up after {self.restarts} attempts: {self.why}")
            self._sleep_until(lambda: self.wanted.is_set())
            return
        pause = min(RESTART_PAUSE_SECONDS * 2 ** (self.restarts - 1), RESTART_PAUSE_SECONDS_MAX)
        until = time.monotonic() + pause
        self._sleep_until(lambda: time.monotonic() > until or not self.wanted.is_set())

    def _sleep_until(self, condition: Callable[[], bool], pause: float = LOOK_SECONDS) -> None:
        while not condition() and not self._leaving.wait(pause):
            pass

    def _tell(self, state: str, why: str) -> None:
        changed = (state, why) != (self.state, self.why)
        self.state, self.why = state, why
        if changed:
            self._report(self.part.name, state, why)


def bound_log(path: Path) -> None:
    """Keep the newer half of a log: what was, goes to <name>.1 and replaces the one before."""
    try:
        if path.stat().st_size <= LOG_BYTES_MAX:
            return
    except FileNotFoundError:
        return
    older = path.with_name(path.name + ".1")
    with path.open("rb") as source, older.open("wb") as target:
        while data := source.read(1 << 20):
            target.write(data)
    os.truncate(path, 0)  # children write in append mode: they go on at the new end
