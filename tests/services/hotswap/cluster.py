"""A model of what lies behind the five methods: an API server, a lagging kubelet, failing runners.

The kubelet's rules are those seen on a real one: another image ends the old container first; after
an end the same image waits, another one does not; a missing image ends the old container all the
same; readiness may speak of the container before. It is written from those observations, not from
the driver's code.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orrery_services.hotswap import chain, pods
from orrery_services.hotswap.port import Conflict, PodObject
from orrery_services.protocol import stages

from .objects import EVICTED, IDLE_IMAGE

SLOTS = ("slot-a", "slot-b")
BEGUN = ("started", "lost")
BACK_OFF = (0.0, 10.0, 20.0, 40.0)


class Killed(BaseException):
    """The controller dies here."""


@dataclass
class Container:
    image: str = ""
    number: int = 0
    state: str = "none"  # none, running, ended, no image
    token: str = ""
    order: str = ""
    last: dict[str, Any] | None = None
    failures: int = 0
    again_at: float = 0.0
    heard: bool = False  # its runner has been asked by a probe
    lying: bool = False  # its first probe hears of the container before

    def id(self, name: str, uid: str) -> str:
        return f"containerd://{uid}-{name}-{self.number}" if self.number else ""


@dataclass
class Cluster:
    """One pod of one pool, its scratch, the node's memo, and the events of its runs."""

    now: float = 1000.0
    version: int = 1
    uid: int = 0
    pod: PodObject = field(default_factory=dict)
    history: list[PodObject] = field(default_factory=list)
    containers: dict[str, Container] = field(default_factory=dict)
    seen: PodObject = field(default_factory=dict)
    markers: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    memo: dict[str, str] = field(default_factory=dict)
    requests: dict[str, chain.Run] = field(default_factory=dict)
    written: dict[tuple[str, int, str], dict[str, Any]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    outcomes: dict[str, list[int]] = field(default_factory=dict)  # by stage name; then 0 for ever
    computed: list[tuple[int, str, int]] = field(default_factory=list)
    fuse: int = -1  # the controller dies at this many calls from now; odd: after the call
    silent_memo: int = 0
    lying_probes: int = 0
    probes: bool = False  # without, a kubelet takes whatever runs for ready
    evicted: bool = False  # the kubelet has ended this pod, and starts nothing in it any more

    def __post_init__(self) -> None:
        self.new_pod()

    # --- the API server ---

    def new_pod(self) -> None:
        self.uid += 1
        self.evicted = False
        self.markers = {}
        self.containers = {name: Container(IDLE_IMAGE, 1, "running", heard=True) for name in SLOTS}
        self.pod = {
            "metadata": {
                "name": "domino-0",
                "uid": f"u{self.uid}",
                "resourceVersion": "0",
                "generation": 1,
                "annotations": {},
            },
            "spec": {"containers": [{"name": n, "image": IDLE_IMAGE} for n in SLOTS]},
            "status": {"podIP": "model"},
        }
        self.seen = copy.deepcopy(self.pod)
        self.report()

    def changed(self) -> PodObject:
        self.version += 1
        self.pod["metadata"]["resourceVersion"] = str(self.version)
        self.history = [*self.history[-5:], copy.deepcopy(self.pod)]
        return copy.deepcopy(self.pod)

    def burn(self) -> None:
        """Count down to the death of the controller."""
        if self.fuse == 0:
            self.fuse = -1
            raise Killed
        self.fuse -= 1 if self.fuse > 0 else 0

    def get(self, name: str) -> PodObject | None:
        self.burn()
        return copy.deepcopy(self.pod)

    def watch(self, name: str, seconds: float) -> Iterator[PodObject | None]:
        yield self.get(name)

    def patch(
        self, name: str, version: str, annotations: Mapping[str, str], images: Mapping[str, str]
    ) -> PodObject:
        self.burn()
        if version != self.pod["metadata"]["resourceVersion"]:
            raise Conflict("stale")
        self.check_patch(annotations, images)
        self.pod["metadata"]["annotations"].update(annotations)
        for spec in self.pod["spec"]["containers"]:
            if images.get(spec["name"], spec["image"]) != spec["image"]:
                spec["image"] = images[spec["name"]]
                self.pod["metadata"]["generation"] += 1
        done = self.changed()
        self.burn()
        return done

    def check_patch(self, annotations: Mapping[str, str], images: Mapping[str, str]) -> None:
        """Image and token of a slot change together, and never bring back what is done."""
        before = pods.annotations(self.pod)
        now = {spec["name"]: spec["image"] for spec in self.pod["spec"]["containers"]}
        for slot in stages.SLOTS:
            token = annotations.get(f"{pods.PREFIX}token-{slot}", before.get(f"token-{slot}", ""))
            image = images.get(f"slot-{slot}", now[f"slot-{slot}"])
            new_token = token != before.get(f"token-{slot}", "")
            new_image = image != now[f"slot-{slot}"]
            assert new_token == new_image, (slot, token, image)
            if new_token and token:
                parsed = stages.parse_token(token)
                assert (parsed.run, parsed.stage) not in self.markers, f"{token} is done already"
                assert stages.slot_of(parsed.stage) == slot

    def resize(self, name: str, version: str, container: str, memory_bytes: int) -> PodObject:
        raise AssertionError("no slot of the model has a limit")

    def delete(self, name: str, uid: str) -> None:
        self.burn()
        meta = self.pod["metadata"]
        if meta["uid"] == uid and "deletionTimestamp" not in meta:
            meta["deletionTimestamp"] = "now"
            self.changed()
        self.burn()

    # --- the kubelet ---

    def sync(self) -> None:
        """The kubelet looks at the pod and acts on what it sees."""
        if self.pod["metadata"].get("deletionTimestamp"):
            self.new_pod()
            return
        if self.evicted:
            return
        self.seen = copy.deepcopy(self.pod)
        noted = pods.annotations(self.seen)
        for spec in self.seen["spec"]["containers"]:
            self._sync_container(spec["name"], spec["image"], noted)

    def _sync_container(self, name: str, image: str, noted: Mapping[str, str]) -> None:
        now = self.containers[name]
        if now.state == "running" and now.image != image:
            self._end(name, 0 if self._parked(now) else 143, by_swap=True)
        backs_off = now.state == "ended" and now.image == image and self.now < now.again_at
        if now.state == "running" or backs_off:
            return
        if now.image != image:
            now.failures, now.again_at = 0, 0.0
        now.image = image
        if image in self.missing:
            now.state = "no image"
            return
        slot = name.removeprefix("slot-")
        now.number, now.state, now.heard = now.number + 1, "running", False
        now.token, now.order = noted.get(f"token-{slot}", ""), noted.get(f"order-{slot}", "")
        now.lying = self.lying_probes > 0
        self.lying_probes = max(0, self.lying_probes - 1)

    def _end(self, name: str, code: int, by_swap: bool = False) -> None:
        now = self.containers[name]
        now.state = "ended"
        now.last = {
            "exitCode": code,
            "containerID": now.id(name, f"u{self.uid}"),
            "message": f"exit {code}",
        }
        if not by_swap:
            now.again_at = self.now + BACK_OFF[min(now.failures, len(BACK_OFF) - 1)]
            now.failures += 1

    def evict(self) -> None:
        """The kubelet ends the pod, memo and all: what is in its scratch is nobody's any more."""
        if self.evicted:
            return
        self.evicted, self.markers = True, {}
        for name, now in self.containers.items():
            if now.state == "running":
                self._end(name, 137)
        self.report()

    def report(self) -> None:
        """The kubelet writes down what it knows."""
        listed = []
        for name in SLOTS:
            now = self.containers[name]
            reasons = {"ended": "CrashLoopBackOff", "no image": "ErrImagePull"}
            running = now.state == "running"
            state = {"running": {}} if running else {"waiting": {"reason": reasons[now.state]}}
            listed.append(
                {
                    "name": name,
                    "containerID": now.id(name, f"u{self.uid}"),
                    "restartCount": max(0, now.number - 1),
                    "ready": running and (not self.probes or now.heard or now.lying),
                    "state": state,
                    "lastState": {"terminated": now.last} if now.last else {},
                }
            )
            now.heard, now.lying = running, False
        self.pod["status"] = {
            "podIP": "model",
            "observedGeneration": self.seen["metadata"]["generation"],
            "containerStatuses": listed,
            **(EVICTED if self.evicted else {}),
        }
        self.changed()

    # --- the runners ---

    def _parked(self, now: Container) -> bool:
        token = stages.parse_token(now.token)
        return token is None or (token.run, token.stage) in self.markers

    def resident(self) -> int:
        """How many stages hold memory: their runner is not parked."""
        return sum(c.state == "running" and not self._parked(c) for c in self.containers.values())

    def work(self, name: str) -> None:
        """The stage in a slot comes to its end, one way or another, if it is at work at all."""
        now = self.containers[name]
        if now.state != "running" or self._parked(now):
            return
        token, order = stages.parse_token(now.token), json.loads(now.order)
        digests = []
        for number, digest in order["inputs"]:
            marker = self.markers.get((token.run, number))
            if marker is None and digest and number and digest in self.memo.values():
                marker = self.markers[token.run, number] = {"output": digest, "reused": True}
            if marker is None and not digest:
                return  # waits for the stage before
            if marker is None and number:
                self._end(name, stages.UNAVAILABLE)
                return
            digests.append(marker["output"] if marker else digest)
        self._compute(name, token, order, digests)

    def _compute(
        self, name: str, token: stages.Token, order: dict[str, Any], digests: list[str]
    ) -> None:
        key = stages.stage_key(order["code"], order["parameters"], digests)
        reused = key in self.memo and not order["key"] and order["reuse"]
        left = self.outcomes.get(order["name"], [])
        code = left.pop(0) if left and not reused else 0
        if code:
            self._end(name, code)
            return
        if not reused:
            self.computed.append((self.uid, token.run, token.stage))
        self.markers[token.run, token.stage] = {
            "token": str(token),
            "key": key,
            "inputs": digests,
            "output": output_of(key),
            "reused": reused,
        }

    # --- the memo ---

    def lookup(self, key: str) -> str | None:
        self._speak()
        return self.memo.get(key)

    def runner(self, slot: str) -> str | None:
        self._speak()
        now = self.containers[f"slot-{slot}"]
        return now.token if now.state == "running" and now.heard else None

    def marker(self, run: str, stage: int) -> dict[str, Any] | None:
        self._speak()
        found = self.markers.get((run, stage))
        if found and not found["reused"]:
            self.memo[found["key"]] = found["output"]
        return found

    def flush(self, run: str) -> dict[str, int]:
        self._speak()
        return {}

    def _speak(self) -> None:
        self.burn()
        if self.silent_memo > 0:
            self.silent_memo -= 1
            raise OSError("the memo is silent")

    # --- requests and events ---

    def request(self, run: chain.Run) -> None:
        self.requests[run.id] = run

    def open_runs(self) -> list[chain.Run]:
        self.burn()
        found = []
        for run in self.requests.values():
            mine = [key for key in self.written if key[0] == run.id]
            if not any(kind in ("completed", "failed") for _, _, kind in mine):
                started = sum(kind == "started" for _, _, kind in mine)
                found.append(run._replace(attempt=1 + started))
        return found

    def emit(self, event: dict[str, Any]) -> bool:
        self.burn()
        key = event["run"], event["attempt"], event["kind"]
        new = key not in self.written
        assert new or self.written[key] == event, "an event is written twice and differs"
        if event["kind"] in BEGUN or not self.ends_of(event["run"]):  # the first end stands
            self.written[key] = event
        self.burn()
        return new

    def ends_of(self, run: str) -> list[dict[str, Any]]:
        return [e for (r, _, kind), e in self.written.items() if r == run and kind not in BEGUN]

    def events(self, run: str) -> list[dict[str, Any]]:
        return [event for (r, _, _), event in sorted(self.written.items()) if r == run]


def output_of(key: str) -> str:
    """The output of a stage, as deterministic as the stage."""
    return key[::-1]
