"""The processes that run chains: as many as are needed, at most as many as declared.

A worker that dies, or takes too long and is ended, costs its own job and nothing else.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import clock
from .steps import Job

IDLE_SECONDS = 60.0  # after which a worker beyond the first ends
FIRST_FACTOR = 20  # a worker's first run of a chain loads and may compile: it has so much longer


class Ended(NamedTuple):
    """How a job ended: done (counts), broke (a reason), or died with its worker. again: what broke
    it was outside and may come back."""

    job: Job
    done: dict[str, int] | None
    why: str
    died: bool
    task: str  # the last that was begun
    seconds: float
    again: bool = False


class Worker:
    """One child, and what it is at."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orrery_services.dominoes.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ,
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.job: Job | None = None
        self.task = ""
        self.since_ns = clock.monotonic_ns()
        self.warm: set[str] = set()  # chains that it has run to their end
        self._rest = b""

    def begin(self, job: Job) -> None:
        self.job, self.task, self.since_ns = job, "", clock.monotonic_ns()
        try:
            self.process.stdin.write(json.dumps(job._asdict()).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead: `read` will say so

    def read(self) -> Ended | None:
        """Return how the job ended, None while it has not."""
        try:
            data = self.process.stdout.read()
        except BlockingIOError:
            return None
        if data is None:
            return None
        if not data:
            code = self.process.wait()
            return self._end(None, f"its worker ended with {code}", died=True)
        *lines, self._rest = (self._rest + data).split(b"\n")
        ended = None
        for line in lines:
            ended = self._understand(json.loads(line)) or ended
        return ended

    def _understand(self, said: dict[str, Any]) -> Ended | None:
        if "began" in said:
            self.task = said["began"]
            return None
        why, again = said.get("broke", ""), said.get("again", False)
        return self._end(said.get("done"), why, died=False, again=again)

    def _end(
        self, done: dict[str, int] | None, why: str, *, died: bool, again: bool = False
    ) -> Ended | None:
        job, self.job = self.job, None
        if job and done is not None and not done.get("fail"):  # who failed compiled not all of it
            self.warm.add(job.chain)
        seconds = clock.seconds_since(self.since_ns)
        self.since_ns = clock.monotonic_ns()
        return Ended(job, done, why, died, self.task, seconds, again) if job else None

    @property
    def is_free(self) -> bool:
        return self.job is None and not self.process.stdin.closed

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Pool:
    """Workers and the jobs they are at."""

    def __init__(self, workers_max: int, seconds_max: float) -> None:
        self._workers_max, self._seconds_max = workers_max, seconds_max
        self._workers = [Worker()]

    def begin(self, job: Job) -> bool:
        """Give a job to a free worker, or to a new one; False when there is none."""
        free = self._free()
        if free is None:
            return False
        free.begin(job)
        return True

    def has_room(self) -> bool:
        """Whether `begin` would find a worker."""
        return self._free() is not None

    def _free(self) -> Worker | None:
        """Return a worker that has nothing to do. A new one starts when the others are warm: what
        they compile it finds."""
        free = next((worker for worker in self._workers if worker.is_free), None)
        warm = all(worker.warm for worker in self._workers)
        if free is None and warm and len(self._workers) < self._workers_max:
            free = Worker()
            self._workers.append(free)
        return free

    def running(self) -> list[Job]:
        return [worker.job for worker in self._workers if worker.job]

    def wait(self, others: Sequence[int], seconds: float) -> list[Ended]:
        """Return the jobs that ended, after news from a worker or of `others`, or in time."""
        outputs = {w.process.stdout.fileno(): w for w in self._workers}
        ready, _, _ = select.select([*outputs, *others], [], [], seconds)
        ended = [outputs[fd].read() for fd in ready if fd in outputs]
        ended += [self._too_long(worker) for worker in self._workers if worker.job]
        self._tidy()
        return [one for one in ended if one]

    def _too_long(self, worker: Worker) -> Ended | None:
        factor = 1 if worker.job.chain in worker.warm else FIRST_FACTOR
        if clock.seconds_since(worker.since_ns) < self._seconds_max * factor:
            return None
        worker.kill()
        limit = f"limits.domino_seconds_max = {self._seconds_max:g}"
        why = f"it must be done within {self._seconds_max * factor:g} s ({limit}), was not"
        return worker._end(None, why, died=False)

    def _tidy(self) -> None:
        """Forget the dead whose end was told, let idle ones go, keep one."""
        for worker in self._workers[1:]:
            if worker.job is None and clock.seconds_since(worker.since_ns) > IDLE_SECONDS:
                worker.process.stdin.close()
        alive = [w for w in self._workers if w.job or w.process.poll() is None]
        self._workers = alive or [Worker()]

    def close(self, seconds: float) -> None:
        """Let every worker finish its job, for so long."""
        for worker in self._workers:
            worker.process.stdin.close()
        until_ns = clock.monotonic_ns() + int(seconds * 1e9)
        for worker in self._workers:
            left = max(0.0, (until_ns - clock.monotonic_ns()) / 1e9)
            try:
                worker.process.wait(left)
            except subprocess.TimeoutExpired:
                worker.kill()
