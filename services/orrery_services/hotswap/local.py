"""Pods without Kubernetes: the five methods over files, and the rules of a kubelet over processes.

The pod object is a file, in the form an API server shows it, so the same decisions apply. Whoever
holds the lock of the folder acts as its kubelet; if it dies, the containers go on and the next
one finds them.
"""

import contextlib
import fcntl
import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from . import kubelet, pods
from .port import Conflict, PodObject
from .processes import RECORD

log = structlog.get_logger()

LOOK_SWAPPING_SECONDS, SWAPPING_SECONDS = 0.002, 0.5  # after the last change
LOOK_BUSY_SECONDS = 0.01
LOOK_IDLE_SECONDS = 0.2
BUSY_SECONDS = 1.0  # after the last change


class LocalPods:
    """A pool of pods below a folder. `runtime` starts containers: processes or an engine."""

    def __init__(
        self,
        folder: Path,
        runtime: Any,
        memo_folder: Path,
        memory_bytes: int = 0,
        now: Callable[[], float] = time.time,
        facts: bool = False,
    ) -> None:
        self._folder = folder
        self._runtime = runtime
        self._memo_folder = memo_folder
        self._memory_bytes = memory_bytes
        self._now = now
        self._facts = facts
        self._mutex = threading.RLock()
        self._changed = threading.Event()
        self._lease: Any = None
        self._closed = False
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> PodObject | None:
        record = self._read(name)
        return record["pod"] if record else None

    def watch(self, name: str, seconds: float) -> Iterator[PodObject | None]:
        """Act as the kubelet of the pod, where nobody else does, and yield it at each change."""
        until = time.monotonic() + seconds
        version, changed_at = None, time.monotonic()
        while time.monotonic() < until:
            self.reconcile(name)
            pod = self.get(name)
            if pod and pod["metadata"]["resourceVersion"] != version:
                version, changed_at = pod["metadata"]["resourceVersion"], time.monotonic()
                yield pod
            has_run = bool(pod and pods.annotations(pod).get("run"))
            self._changed.wait(look_seconds(has_run, time.monotonic() - changed_at))
            self._changed.clear()

    def patch(
        self, name: str, version: str, annotations: Mapping[str, str], images: Mapping[str, str]
    ) -> PodObject:
        with self._locked(name):
            record = self._seen(name, version)
            pod = record["pod"]
            pod["metadata"]["annotations"].update(annotations)
            for container in pod["spec"]["containers"]:
                if images.get(container["name"], container["image"]) != container["image"]:
                    container["image"] = images[container["name"]]
                    pod["metadata"]["generation"] += 1
            self._changed.set()
            return self._write(name, record)

    def resize(self, name: str, version: str, container: str, memory_bytes: int) -> PodObject:
        with self._locked(name):
            record = self._seen(name, version)
            spec = next(c for c in record["pod"]["spec"]["containers"] if c["name"] == container)
            spec["resources"] = {"limits": {"memory": str(memory_bytes)}}
            self._runtime.resize(record["pod"]["metadata"]["uid"], container, memory_bytes)
            return self._write(name, record)

    def delete(self, name: str, uid: str) -> None:
        with self._locked(name):
            record = self._read(name)
            if record and record["pod"]["metadata"]["uid"] == uid:
                record["pod"]["metadata"].setdefault("deletionTimestamp", str(self._now()))
                self._write(name, record)

    def reconcile(self, name: str) -> None:
        """Do what a kubelet would do now; nothing when another process does."""
        if not self._is_kubelet():
            return
        with self._locked(name):
            if self._closed:  # what has been ended is not started again
                return
            record = self._read(name)
            if record is None:
                record = self._new(name)
                self._write(name, record)  # before anything of it starts
            before, noted = json.dumps(record["pod"]), json.dumps(record["hands"])
            pod = record["pod"]
            if pod["metadata"].get("deletionTimestamp"):
                if kubelet.end_all(record, self._runtime, self._now()):
                    self._bury(name, record)
                    record, before = self._new(name), ""
            else:
                save = lambda: self._write(name, record)  # noqa: E731
                kubelet.act(
                    record, self._runtime, self._launch_facts(name, record), self._now(), save
                )
            changed = json.dumps(record["hands"]) != noted
            if changed:
                self._say_failures(name, record, json.loads(noted))
            if json.dumps(record["pod"]) != before:
                self._write(name, record)
            elif changed:  # no news for anybody but the next look
                self._keep(name, record)

    def _say_failures(self, name: str, record: dict[str, Any], before: dict[str, Any]) -> None:
        """Say of a container that it ended and is started again: nobody else looks at its log."""
        for container, hand in record["hands"].items():
            failures = hand.get("failures", 0)
            if failures > before.get(container, {}).get("failures", 0):
                path = self._folder / name / f"{container}.log"
                reason = hand["ended"]["message"] or f"{path} says why"
                log.warning(
                    "a container ended and is started again", pod=name, container=container,
                    exit_code=hand["ended"]["exitCode"], times=failures, reason=reason,
                )  # fmt: skip

    def close(self) -> None:
        """End every container and keep the pods: what `make down` wants. Runs go on afterwards."""
        if not self._is_kubelet():  # they are another process's
            return
        with self._mutex:
            self._closed = True
        left = [path.parent.name for path in self._folder.glob(f"*/{RECORD}")]
        until = time.monotonic() + kubelet.GRACE_SECONDS + 1
        while left and time.monotonic() < until:  # all at once: we may be ended hard meanwhile
            left = [name for name in left if not self._end(name)]
            time.sleep(LOOK_BUSY_SECONDS)

    def _end(self, name: str) -> bool:
        """Bring the containers of a pod one step nearer to their end; True once all are gone."""
        with self._locked(name):
            if (record := self._read(name)) is None:
                return True
            noted = json.dumps(record["hands"])
            ended = kubelet.end_all(record, self._runtime, self._now())
            if json.dumps(record["hands"]) != noted:
                self._write(name, record)
            if ended:
                self._runtime.forget(record["pod"]["metadata"]["uid"])
            return ended

    def _launch_facts(self, name: str, record: dict[str, Any]) -> kubelet.Place:
        folder = self._folder / name
        uid = record["pod"]["metadata"]["uid"]
        return kubelet.Place(folder, folder / f"scratch-{uid[:8]}", self._memo_folder, self._facts)

    def _is_kubelet(self) -> bool:
        """Hold the lease of the folder, or take it if it is free; it ends with this process."""
        if self._lease is None:
            file = (self._folder / "kubelet.lock").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return False
            self._lease = file
        return True

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        (self._folder / name).mkdir(exist_ok=True)
        with self._mutex, (self._folder / name / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _seen(self, name: str, version: str) -> dict[str, Any]:
        record = self._read(name)
        if record is None or record["pod"]["metadata"]["resourceVersion"] != version:
            raise Conflict(f"the pod {name} is no longer the one at {version}")
        return record

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self._folder / name / RECORD).read_text())
        except (FileNotFoundError, ValueError):  # never there, or cut short by a loss of power
            return None

    def _write(self, name: str, record: dict[str, Any]) -> PodObject:
        meta = record["pod"]["metadata"]
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
        return self._keep(name, record)

    def _keep(self, name: str, record: dict[str, Any]) -> PodObject:
        path = self._folder / name / RECORD
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record))
        temporary.replace(path)
        return record["pod"]

    def _new(self, name: str) -> dict[str, Any]:
        uid = uuid.uuid4().hex
        (self._folder / name / f"scratch-{uid[:8]}").mkdir(parents=True, exist_ok=True)
        record = kubelet.new_record(
            name, uid, self._runtime.placeholder, self._runtime.memo, self._memory_bytes
        )
        old = self._read(name)
        if old:  # a version is never used twice under one name
            record["pod"]["metadata"]["resourceVersion"] = old["pod"]["metadata"]["resourceVersion"]
        return record

    def _bury(self, name: str, record: dict[str, Any]) -> None:
        self._runtime.forget(record["pod"]["metadata"]["uid"])
        shutil.rmtree(self._launch_facts(name, record).volume, ignore_errors=True)


def look_seconds(has_run: bool, unchanged_seconds: float) -> float:
    """Return how long to wait for the next look at the containers of a pod."""
    if unchanged_seconds < SWAPPING_SECONDS:
        return LOOK_SWAPPING_SECONDS
    return LOOK_BUSY_SECONDS if has_run or unchanged_seconds < BUSY_SECONDS else LOOK_IDLE_SECONDS
