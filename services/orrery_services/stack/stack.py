"""Start, stop and look at a stack from outside: what `make up` and the system tests call.

stack = Stack(make_plan(home, nodes=("n1", "n2")))
stack.up(print); stack.status(); stack.down()
"""

import contextlib
import fcntl
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..config import Settings
from ..errors import PartFailed, StackError
from . import control, jars, plan, postgres, processes, runner, service_parts, victoria
from .plan import Plan

UP_SECONDS_MAX = 900.0
DOWN_SECONDS_MAX = 90.0
WAIT_SECONDS_MAX = 240.0  # for parts to be ready again
ATTEMPTS_MAX = 3  # of one part before `up` says that it failed
LOOK_SECONDS = 0.05
LOG_LINES = 12
Tell = Callable[[str], None]


def _silent(_: str) -> None:
    """Tell nobody."""


class Stack:
    """A handle on a stack. It holds no process: the supervisor does, and outlives us."""

    def __init__(self, asked: Plan):
        self.plan = asked

    @classmethod
    def of(cls, home: Path) -> "Stack | None":
        """Return the stack that lives in a home, or None when nothing was ever started there."""
        found = plan.load(home.absolute())
        return cls(found) if found else None

    def up(self, tell: Tell = _silent) -> bool:
        """Start everything and wait until it is ready. Return False when it already was.

        Raises PortTaken, or PartFailed with the last lines of the log of the part that failed.
        """
        self.plan.run.mkdir(parents=True, exist_ok=True)
        with _only_one(self.plan.run / "up.lock"):
            parts = self.parts()
            if parts is not None:
                if all(part["state"] in _SETTLED for part in parts.values()):
                    return False
                tell("it runs, but not all of it is ready: starting what was given up")
                self._start_given_up(parts)
            else:
                self._start(tell)
            self._wait_up(tell)
        return True

    def down(self, tell: Tell = _silent) -> bool:
        """Stop everything, the supervisor last. Return False when nothing ran."""
        told = control.ask(self.plan.run, do="status")
        if told is not None:
            supervisor = processes.find(told["pid"])
            control.ask(self.plan.run, do="down")
            deadline = time.monotonic() + DOWN_SECONDS_MAX
            while supervisor and supervisor.alive() and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
        left = self._end_orphans(tell)
        return told is not None or left

    def clean(self) -> None:
        """Remove everything that the stack made. It must be down."""
        postgres.remove_data(self.plan)
        shutil.rmtree(self.plan.home, ignore_errors=True)

    def parts(self) -> dict[str, dict[str, Any]] | None:
        """Return every part's state, why, pid and restarts; None when no supervisor runs."""
        told = control.ask(self.plan.run, do="status")
        return None if told is None else told["parts"]

    def settings(self, node: str) -> Settings:
        return postgres.settings(self.plan, node)

    def log(self, part: str, lines: int = LOG_LINES) -> str:
        """Return the last lines of a part's log."""
        try:
            text = self.plan.log(part).read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def wait(self, names: Iterable[str] = (), seconds_max: float = WAIT_SECONDS_MAX) -> None:
        """Wait until the named parts (default: all) are ready. Raises PartFailed if not."""
        deadline = time.monotonic() + seconds_max
        while True:
            parts = self.parts() or {}
            waiting = [n for n in names or parts if parts.get(n, {}).get("state") not in _SETTLED]
            if parts and not waiting:
                return
            if time.monotonic() > deadline:
                raise PartFailed(self._why(waiting[0] if waiting else "supervisor", parts))
            time.sleep(LOOK_SECONDS)

    def _start(self, tell: Tell) -> None:
        self._end_orphans(tell)
        plan.check_ports(self.plan)
        jars.ensure(self.plan.root, tell)
        if self.plan.tsdb:
            victoria.ensure(tell)
        plan.save(self.plan)
        (self.plan.run / "progress.jsonl").unlink(missing_ok=True)
        self.plan.log("supervisor").parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "orrery_services.stack", "supervise", str(self.plan.home)]
        env = service_parts.clean_environment() | {
            processes.MARK: str(self.plan.home),
            "ORRERY_ROOT": str(self.plan.root),
        }
        with self.plan.log("supervisor").open("ab") as log:
            self._supervisor = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                cwd=self.plan.root,
            )

    def _wait_up(self, tell: Tell) -> None:
        """Follow the progress until every part has settled."""
        deadline = time.monotonic() + UP_SECONDS_MAX
        progress = _Progress(self.plan.run / "progress.jsonl")
        while True:
            for line in progress.new_lines():
                tell(line)
            parts = self.parts()
            if parts and all(part["state"] in _SETTLED for part in parts.values()):
                return
            self._check_failed(parts or {}, deadline)
            time.sleep(LOOK_SECONDS)

    def _check_failed(self, parts: dict[str, dict[str, Any]], deadline: float) -> None:
        started = getattr(self, "_supervisor", None)
        if started is not None and started.poll() is not None:
            raise PartFailed(self._why("supervisor", parts))
        for name, part in parts.items():
            tried = part["state"] not in _SETTLED and part["restarts"] >= ATTEMPTS_MAX
            if part["state"] == runner.FAILED or tried:
                raise PartFailed(self._why(name, parts))
        if time.monotonic() > deadline:
            late = [n for n, part in parts.items() if part["state"] not in _SETTLED]
            raise PartFailed(self._why((late or ["supervisor"])[0], parts))

    def _why(self, name: str, parts: dict[str, dict[str, Any]]) -> str:
        why = parts.get(name, {}).get("why") or "it ended"
        return (
            f"{name} must become ready, but: {why}\n"
            f"the last lines of {self.plan.log(name)}:\n{self.log(name)}"
        )

    def _start_given_up(self, parts: dict[str, dict[str, Any]]) -> None:
        for name, part in parts.items():
            if part["state"] in (runner.FAILED, runner.STOPPED):
                control.ask(self.plan.run, do="start", part=name)

    def _end_orphans(self, tell: Tell) -> bool:
        """Stop what a supervisor that was killed left behind; return whether there was anything."""
        orphans = processes.children_of_stack(self.plan.home)
        if not orphans:
            return False
        tell(f"stopping {len(orphans)} processes that a killed supervisor left behind")
        servers = [p for p in orphans if _LAST.search(processes.command_line(p.pid))]
        processes.end([p for p in orphans if p not in servers], 15.0, signal.SIGTERM)
        processes.end(servers, 30.0, signal.SIGINT)
        return True


_SETTLED = (runner.READY, runner.LEFT_OUT)
_LAST = re.compile(r"postgres -D|kafka\.Kafka ")  # without its broker Connect does not leave


class _Progress:
    """Reads what the supervisor tells, as lines for people."""

    def __init__(self, path: Path):
        self._path, self._read = path, 0

    def new_lines(self) -> Iterator[str]:
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return
        whole = text.rfind("\n") + 1
        news, self._read = text[self._read : whole], whole
        for line in news.splitlines():
            told = json.loads(line)
            if told["state"] == runner.WAITING:
                continue
            detail = f"  {told['why']}" if told["why"] else ""
            yield f"{told['seconds']:6.1f} s  {told['part']:<18} {told['state']}{detail}"


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise StackError(f"another `up` works in {path.parent.parent}: wait for it") from cause
        yield
