"""The supervisor: one process that starts every part, keeps them alive, and answers on a socket.

    python -m orrery_services.stack supervise <home>

It belongs to no terminal. What it does is told in run/progress.jsonl.
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import structlog

from .. import cdc, connect, log
from ..errors import ServiceError
from . import class_cache, control, kafka, parts, plan, postgres, processes, runner

KEEP_SECONDS = 3.0
GONE_SECONDS_MAX = 1.0  # for a part to leave whose files are gone
# A task that failed while its database was away stays failed until somebody starts it again: one
# that is not ready yet needs that as much as one that was.
_KEPT = (runner.STARTING, runner.READY)
log_lines = structlog.get_logger()


class Supervisor:
    def __init__(self, stack: plan.Plan):
        self.stack = stack
        self.leaving = threading.Event()
        self.began = time.monotonic()
        self.settled: float | None = None
        self.classes: threading.Thread | None = None
        mark = {processes.MARK: str(stack.home)}
        self.runners = {
            part.name: runner.Runner(part, stack.log(part.name), mark, self.report)
            for part in parts.all_parts(stack)
        }

    def report(self, name: str, state: str, why: str) -> None:
        """Write what happened where `make up` and people look."""
        seconds = round(time.monotonic() - self.began, 2)
        line = {"seconds": seconds, "part": name, "state": state, "why": why}
        log_lines.info("part", **line)
        try:
            with (self.stack.run / "progress.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as cause:  # the home is gone: `run` sees that and ends everything
            log_lines.error("nobody can read what happens", reason=str(cause))

    def run(self) -> None:
        try:
            for name in self.runners:
                self.runners[name].start(self.runners)
            while not self.leaving.wait(KEEP_SECONDS) and plan.is_there(self.stack.home):
                self.keep()
        finally:  # whatever ends it: no part is left behind
            self.report("stack", "stopping", "")
            self.stop_all()
            self.report("stack", "stopped", "")

    def keep(self) -> None:
        """Do what must be done again and again: bounded logs, connectors that failed."""
        if self.classes is None and self.settled_for() > class_cache.UP_SECONDS_MIN:
            self.classes = threading.Thread(target=self.keep_classes, daemon=True)
            self.classes.start()
        for name in (*self.runners, "supervisor"):
            try:
                runner.bound_log(self.stack.log(name))
            except OSError as cause:  # a full disk must not end what runs
                log_lines.error("a log was not bounded", part=name, reason=str(cause))
        if "replication" in self.stack.services:
            return  # that service keeps its node's connectors, here as in a container
        for node in self.stack.nodes:
            for name in connect.NAMES:
                kept = self.runners[f"{node}.{name}"]
                sources = [
                    self.runners[n] for n in ("connect", f"{node}.postgres", f"{node}.tables")
                ]
                if kept.state in _KEPT and all(part.settled() for part in sources):
                    self._keep_connector(node, name, kept)

    def settled_for(self) -> float:
        """Return the seconds since everything was first ready."""
        if self.settled is None and all(part.settled() for part in self.runners.values()):
            self.settled = time.monotonic()
        return 0.0 if self.settled is None else time.monotonic() - self.settled

    def keep_classes(self) -> None:
        for name in class_cache.PARTS:
            process = self.runners[name].process
            if process is not None and not self.leaving.is_set():
                class_cache.dump(self.stack.root, kafka.runtime(), name, process.pid)

    def _keep_connector(self, node: str, name: str, kept: runner.Runner) -> None:
        settings = postgres.settings(self.stack, node)
        try:
            with cdc.opened(settings) as connection:
                done = cdc.keep(settings, name, connection)
        except ServiceError as cause:
            done = f"cannot be looked at: {cause}"
        if done and done != kept.why:
            kept.why = done
            self.report(f"{node}.{name}", kept.state, done)

    def stop_all(self) -> None:
        """Stop in the opposite order: services, then what they stand on; each tier at once.

        Where the home was deleted there is nothing left to write down: nobody is waited for.
        """
        seconds_max = None if plan.is_there(self.stack.home) else GONE_SECONDS_MAX
        rest = dict(self.runners)
        while rest:
            needed = {name for part in rest.values() for name in part.part.after}
            tier = [rest.pop(name) for name in list(rest) if name not in needed]
            threads = [threading.Thread(target=part.leave, args=(seconds_max,)) for part in tier]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request of the socket."""
        verb, name = request.get("do"), request.get("part", "")
        if verb == "status":
            return {"pid": os.getpid(), "parts": {n: r.told() for n, r in self.runners.items()}}
        if verb == "down":
            self.leaving.set()
            return {"ok": True}
        if name not in self.runners:
            known = ", ".join(self.runners)
            return {"error": f"a part must be one of {known}, was {name!r}"}
        return self._one_part(verb, self.runners[name], request)

    def _one_part(self, verb: str, part: runner.Runner, request: dict) -> dict[str, Any]:
        if verb == "start":
            part.again()
        elif verb == "stop":
            part.stop()
        elif verb == "signal":
            if part.process is None or part.process.poll() is not None:
                return {"error": f"{part.part.name} does not run"}
            os.kill(part.process.pid, signal.Signals[request["signal"]])
        else:
            return {"error": f"do must be status, start, stop, signal or down, was {verb!r}"}
        return {"ok": True}


def supervise(home: Path) -> int:
    """Run the stack of a home until asked to stop. One supervisor a home, by a lock."""
    stack = plan.load(home)
    if stack is None:
        print(f"there must be a plan in {home}/plan.json: run `make up`", file=sys.stderr)  # noqa: T201
        return 2
    stack.run.mkdir(parents=True, exist_ok=True)
    lock = (stack.run / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"a supervisor of {home} runs already", file=sys.stderr)  # noqa: T201
        return 1
    log.set_up("supervisor")
    (stack.run / "progress.jsonl").write_text("")
    parts.publish_addresses(stack)
    supervisor = Supervisor(stack)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.leaving.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = control.serve(stack.run, supervisor.answer)
    try:
        supervisor.run()
    finally:
        control.close(server, stack.run)
    return 0
