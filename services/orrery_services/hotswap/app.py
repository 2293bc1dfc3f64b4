"""The controller: looks, decides, does one thing, looks again. It holds nothing that must survive.

A thread per pod watches and reports (see watching); the main thread takes turns.
"""

import contextlib
import functools
import queue
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from ..errors import ConfigError, ServiceError
from . import chain, pods, steps
from .memo_client import MemoClient
from .port import Conflict, PodObject, PodPort, Refused
from .runs import Runs
from .watching import RETRY_SECONDS, drain, watch

IDLE_SECONDS = 1.0
HEAR_SECONDS = 5.0  # of every pod once, before the first run is given to one
ASKS_MAX = 2 * chain.STAGES_MAX + 8
QUEUE_MAX = 256
MEMO_PORT = 8900
MEMO_SECONDS = 8.0  # for an answer: a beat must come before the node takes us for stalled
KEEP_SECONDS = 600.0  # an output that nobody keeps by then is given up, loudly

log = structlog.get_logger()
Memos = Callable[[PodObject], Any]


def memo_of(pod: PodObject) -> MemoClient | None:
    """Return the memo beside the slots, None while it has no address."""
    address = (pod.get("status") or {}).get("podIP")
    port = pods.annotations(pod).get("memo-port", str(MEMO_PORT))
    return MemoClient(f"http://{address}:{port}", MEMO_SECONDS) if address else None


class Controller:
    """One pool of pods, the runs they are for, and how to reach the memo of each."""

    def __init__(
        self,
        port: PodPort,
        runs: Runs,
        names: Sequence[str],
        memos: Memos = memo_of,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._port = port
        self._runs = runs
        self._names = list(names)
        self._memos = memos
        self._now = now
        self._clients: dict[tuple[str, str], Any] = {}  # by uid and address: no state
        self._latest: dict[str, PodObject | None] = {}  # by name, as last seen
        self._started: set[tuple[str, int]] = set()
        self._ended: deque[PodObject] = deque(maxlen=QUEUE_MAX)  # by their kubelets, to be told
        self._told: deque[str] = deque(maxlen=QUEUE_MAX)  # uids of those that were
        self._deaf: dict[str, str] = {}  # by pod: why its watch broke; empty: it does not
        self._failed: dict[str, str] = {}  # by pod: why its last turn failed

    def turn(self, pod: PodObject) -> float:
        """Do the next thing for a pod; return after how many seconds to look again unasked."""
        self._say_started(pod)
        action = self._decide(pod)
        try:
            return self._act(pod, action)
        except Conflict:
            return 0.0

    def _say_started(self, pod: PodObject) -> None:
        """Count the attempt, once it is seen in the pod: never early, and written down once."""
        if not pods.annotations(pod).get("run"):
            return
        run = pods.look(pod).run
        if run and (run.id, run.attempt) not in self._started:
            self._runs.emit(steps.run_event("started", run, (), {"pod": pod["metadata"]["name"]}))
            self._started = {(run.id, run.attempt)} | set(list(self._started)[-QUEUE_MAX:])

    def _say_ended(self) -> None:
        """Write down why kubelets ended pods that had runs: their set removes them in a moment."""
        while self._ended:
            pod = self._ended[0]
            try:
                self._say_started(pod)
                self._say_lost(pod)
            except ServiceError as cause:
                log.warning("try again", pod=pod["metadata"]["name"], reason=str(cause))
                return
            except Exception:  # a pod that makes no sense; the others are told
                log.exception("passed over", pod=pod["metadata"]["name"])
            self._ended.popleft()

    def _say_lost(self, pod: PodObject) -> None:
        uid, name, why = pod["metadata"]["uid"], pod["metadata"]["name"], pods.why_ended(pod)
        if uid in self._told:
            return
        if run := pods.look(pod).run:
            where = {"pod": name, "why": why[: steps.WHY_MAX]}
            self._runs.emit(steps.run_event("lost", run, (), where))
        log.error("the kubelet ended a pod", pod=name, reason=why)
        self._told.append(uid)

    def wanted(self, name: str) -> chain.Run | None:
        """Return the oldest open run of this pod: runs are dealt to pods by their name. One that
        another pod has is left there: the pool was smaller or larger when it was dealt."""
        others = [pod for other, pod in self._latest.items() if other != name and pod]
        held = {run_in(pod) for pod in others}
        for run in self._runs.open_runs():
            dealt = self._names[zlib.crc32(run.id.encode()) % len(self._names)]
            if dealt == name and run.id not in held:
                return run
        return None

    def _decide(self, pod: PodObject) -> steps.Action:
        # Read after the pod: a run is written down as ended before its pod is replaced.
        idle = not pods.annotations(pod).get("run")
        wanted = self.wanted(pod["metadata"]["name"]) if idle else None
        known = steps.Known(lost=self._why_lost(wanted))
        memo = self._memo(pod)
        for _ in range(ASKS_MAX):
            action = steps.decide(pod, wanted, self._now(), known)
            if known.silent and isinstance(action, steps.Wait):
                return action._replace(seconds=max(action.seconds, RETRY_SECONDS))
            if not isinstance(action, steps.Ask):
                return action
            answer = None
            try:
                answer = answer_of(memo, pod, action) if memo else None
            except OSError as cause:
                memo = None  # it knows nothing, and is waited for once in a turn
                known = known._replace(silent=True)
                name = pod["metadata"]["name"]
                log.warning("the memo does not answer", pod=name, reason=str(cause))
            known = and_that(known, action, answer)
        raise AssertionError(f"no decision after {ASKS_MAX} questions about {pod['metadata']}")

    def _why_lost(self, run: chain.Run | None) -> str:
        """Return what was written down of the last pod of a run that is to be given up."""
        if run is None or run.attempt <= steps.ATTEMPTS_MAX:
            return ""
        told = [event for event in self._runs.events(run.id) if event["kind"] == "lost"]
        return str(told[-1]["result"].get("why", "")) if told else ""

    def _memo(self, pod: PodObject) -> Any:
        """Return the memo of a pod; one whose machine was started anew has another address."""
        port = pods.annotations(pod).get("memo-port", "")
        place = pod["metadata"]["uid"], f"{(pod.get('status') or {}).get('podIP', '')}:{port}"
        if self._clients.get(place) is None:
            if len(self._clients) > 4 * len(self._names):
                self._clients.clear()
            self._clients[place] = self._memos(pod)
        return self._clients[place]

    def _act(self, pod: PodObject, action: steps.Action) -> float:
        name, version = pod["metadata"]["name"], pod["metadata"]["resourceVersion"]
        if isinstance(action, steps.Wait):
            if action.alarm:
                log.error("stuck", pod=name, reason=action.why)
            return action.seconds
        if isinstance(action, steps.Patch):
            noted = {pods.PREFIX + key: text for key, text in action.annotations.items()}
            try:
                self._port.patch(name, version, noted, action.images)
                log.info("patched", pod=name, why=action.why)
            except Refused as cause:
                self._give_up(pod, action, str(cause))
        elif isinstance(action, steps.Resize):
            self._resize(name, version, action)
        elif isinstance(action, steps.Finish):
            return self._finish(pod, action)
        elif isinstance(action, steps.Free):
            self._ended.append(pod)
            self._say_ended()
            if self._ended:  # not written down yet
                return RETRY_SECONDS
            self._port.delete(name, action.uid)
        return 0.0

    def _give_up(self, pod: PodObject, action: steps.Patch, why: str) -> None:
        """A patch that is not allowed never will be: end the run with that reason."""
        log.error("refused", pod=pod["metadata"]["name"], reason=why)
        told = action.annotations.get("result")
        if told and not action.images:
            raise Refused(why)
        # Told: the placeholder is no image of the list any more (the pod is older than an upgrade).
        # The run ends as what it was, and what still runs goes with its pod.
        noted = {"result": told} if told else steps.refused(action, why, self._now())
        noted = {pods.PREFIX + key: text for key, text in noted.items()}
        self._port.patch(pod["metadata"]["name"], pod["metadata"]["resourceVersion"], noted, {})

    def _resize(self, name: str, version: str, action: steps.Resize) -> None:
        try:
            self._port.resize(name, version, "slot-" + action.slot, action.memory_bytes)
            log.info("resized", pod=name, slot=action.slot, memory_bytes=action.memory_bytes)
        except Refused as cause:
            log.warning("resize refused", pod=name, reason=str(cause))
            self._port.patch(name, version, {pods.PREFIX + "resize-refused": str(cause)[:200]}, {})

    def _finish(self, pod: PodObject, action: steps.Finish) -> float:
        """Remember, write down, free the pod: in this order, each harmless when repeated."""
        event = action.event
        if action.uid and event["kind"] == "completed" and (why := self._unkept(pod, event)):
            if self._now() < done_at(event) + KEEP_SECONDS:
                log.warning("outputs are not kept yet", run=event["run"], reason=why)
                return RETRY_SECONDS
            log.error("outputs may be lost", run=event["run"], reason=why)
        self._runs.emit(event)
        log.info("ended", run=event["run"], kind=event["kind"])
        if action.uid:
            self._port.delete(pod["metadata"]["name"], action.uid)
        return 0.0

    def _unkept(self, pod: PodObject, event: dict[str, Any]) -> str:
        """Return why the scratch, which goes with its pod, may hold what nobody else does."""
        memo = self._memo(pod)
        if memo is None or all(stage.get("reused") for stage in event["stages"]):
            return ""
        try:
            counts = memo.flush(event["run"])
        except OSError as cause:
            return str(cause)
        if large := counts.get("too_large", 0):
            log.warning("outputs are too large to be kept", run=event["run"], outputs=large)
        left = counts.get("unkept", 0)
        return f"the memo has {left} to keep" if left else ""

    def run(self, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Take turns until `stop`."""
        seen: queue.Queue[tuple[str, PodObject | None]] = queue.Queue(QUEUE_MAX)
        for name in self._names:
            tell = functools.partial(self._deaf.__setitem__, name)
            arguments = (self._port, name, seen, stop, tell)
            threading.Thread(target=watch, args=arguments, name=name, daemon=True).start()
        due = dict.fromkeys(self._names, 0.0)
        heard_by = time.monotonic() + HEAR_SECONDS
        while not stop.is_set():
            beat()
            pause = max(0.0, min(IDLE_SECONDS, min(due.values()) - time.monotonic()))
            for name in drain(seen, self._latest, pause, self._ended):
                due[name] = 0.0
            self._say_ended()
            if len(self._latest) < len(self._names) and time.monotonic() < heard_by:
                due = dict.fromkeys(self._names, time.monotonic() + RETRY_SECONDS)
                continue  # who has which run is not known yet
            for name in self._names:
                if time.monotonic() >= due[name]:
                    due[name] = time.monotonic() + self._turn_safely(name)

    def trouble(self) -> str:
        """Return why the pods are not looked after, empty when they are."""
        memos = [pods.memo_trouble(pod) for pod in self._latest.values() if pod]
        every = (*self._deaf.values(), *self._failed.values(), *memos)
        return next((why for why in every if why), "")

    def _turn_safely(self, name: str) -> float:
        pod = self._latest.get(name)
        if pod is None:
            return IDLE_SECONDS
        self._failed[name] = ""
        try:
            pause = self.turn(pod)
            if pause == 0.0:  # it has changed, by us or by somebody: do not decide on what was
                self._latest[name] = self._port.get(name)
        except ServiceError as cause:
            log.warning("try again", pod=name, reason=str(cause))
            pause, self._failed[name] = RETRY_SECONDS, str(cause)
        except Exception as cause:  # one pod that cannot be read does not stop the others
            log.exception("stuck", pod=name, remedy="delete the pod: its run is begun anew")
            pause, self._failed[name] = RETRY_SECONDS, f"{name} makes no sense: {cause}"
        return pause


def run_in(pod: PodObject) -> str:
    """Return the name of the run that a pod has, empty for none that makes sense."""
    with contextlib.suppress(ConfigError):
        return chain.decode_run(pods.annotations(pod).get("run", "")).id
    return ""


def answer_of(memo: Any, pod: PodObject, ask: steps.Ask) -> Any:
    """Return what the memo says. Raises OSError when it does not answer."""
    if ask.key:
        return memo.lookup(ask.key)
    if ask.slot:
        return memo.runner(ask.slot)
    return memo.marker(pods.look(pod).run.id, ask.stage)


def and_that(known: steps.Known, ask: steps.Ask, answer: Any) -> steps.Known:
    """Return what is known and one answer more."""
    if ask.key:
        return known._replace(memo={**known.memo, ask.key: answer})
    if ask.slot:
        return known._replace(runners={**known.runners, ask.slot: answer})
    return known._replace(markers={**known.markers, ask.stage: answer})


def done_at(event: dict[str, Any]) -> float:
    """Return when the last stage of a run was done, in seconds since 1970."""
    return max((stage.get("marked_ns", 0) / 1e9 for stage in event["stages"]), default=0.0)
