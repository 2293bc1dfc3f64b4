"""What is seen of a pod: its object, as the API server shows it, read into what a decision needs.

Everything a controller knows is in the pod: annotations under one prefix say which run is on, which
stage is awaited, what came of those before, and for each slot what it was patched to and when.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..protocol import stages
from . import chain

PREFIX = "hotswap.orrery/"
# Reasons for which a container waits that only another image or a repaired registry ends.
BAD_IMAGE = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
        "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
    }
)  # fmt: skip
HOPELESS_IMAGE = frozenset({"InvalidImageName"})
MEMO_ENDS_SAID = 3  # starts of a memo, after which one that is down is told of


class Swap(NamedTuple):
    """What a slot was patched to, written in the same patch."""

    stage: int  # 0: back to the placeholder
    origin: str  # id of the container that was there
    restarts: int  # and how often it had been started
    at: float  # seconds since 1970
    until: float


class Slot(NamedTuple):
    """One slot, as seen."""

    name: str
    image: str
    memory_bytes: int  # limit; 0: none
    token: stages.Token | None
    swap: Swap | None
    fresh: bool  # the container is a new one, started after the kubelet saw the last patch
    running: bool
    ready: bool
    waiting: str  # reason, while not running
    container_id: str
    restarts: int
    exit_code: int  # of the last container of this swap that ended; 0: none did
    failures: int  # containers of this swap that ended
    message: str  # of a container that ended; else why it waits

    @property
    def settled(self) -> bool:
        return self.fresh and self.running

    @property
    def up(self) -> bool:
        """The new container runs and is ready."""
        return self.settled and self.ready


class Pod(NamedTuple):
    """One pod, as seen."""

    name: str
    uid: str
    version: str
    deleting: bool
    lost: bool  # its node does not answer
    ended: str  # why a kubelet ended the whole pod: evicted, mostly; empty: it did not
    may_resize: bool  # a resize was not refused yet
    run: chain.Run | None
    trail: tuple[dict[str, Any], ...]  # what came of the stages that are done
    result: dict[str, Any] | None
    placeholder: str
    slots: dict[str, Slot]

    @property
    def stage(self) -> int:
        """The stage that is awaited."""
        return len(self.trail) + 1


def look(pod: Mapping[str, Any]) -> Pod:
    """Return what is seen. Raises KeyError or ValueError on an object that is no pod of ours."""
    meta, status = pod["metadata"], pod.get("status") or {}
    noted = annotations(pod)
    # A kubelet before 1.34 does not say which generation it has seen: the container's id must do.
    observed = status.get("observedGeneration")
    seen = observed is None or observed == meta.get("generation", observed)
    found = {"slot-" + name: read_slot(name, pod, noted, status, seen) for name in stages.SLOTS}
    run = chain.decode_run(noted["run"]) if noted.get("run") else None
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    slots = {slot.name: slot for slot in found.values()}
    return Pod(
        name=meta["name"],
        uid=meta["uid"],
        version=meta["resourceVersion"],
        deleting=bool(meta.get("deletionTimestamp")),
        lost=conditions.get("Ready") == "Unknown",
        ended=why_ended(pod),
        may_resize=not noted.get("resize-refused"),
        run=run,
        trail=tuple(json.loads(noted.get("trail") or "[]")),
        result=json.loads(noted["result"]) if noted.get("result") else None,
        placeholder=noted.get("placeholder") or slots["a"].image,
        slots=slots,
    )


def why_ended(pod: Mapping[str, Any]) -> str:
    """Return why a pod was ended by its kubelet, empty while it was not. It comes back by itself as
    another one of its name: slots start their containers for ever.

    >>> why_ended({"status": {"phase": "Failed", "reason": "Evicted", "message": "out of disk"}})
    'Evicted: out of disk'
    """
    status = pod.get("status") or {}
    if status.get("phase") != "Failed":
        return ""
    return f"{status.get('reason') or 'Failed'}: {status.get('message') or 'no reason given'}"


def memo_trouble(pod: Mapping[str, Any]) -> str:
    """Return why the memo of a pod does not stay up, empty when it does: no slot works without.

    >>> memo = {"restartCount": 9, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    >>> memo_trouble({"metadata": {"name": "p"}, "status": {"initContainerStatuses": [memo]}})
    'the memo of p ended 10 times (CrashLoopBackOff): its log says why'
    """
    for memo in (pod.get("status") or {}).get("initContainerStatuses") or []:
        waiting, times = (memo.get("state") or {}).get("waiting"), memo.get("restartCount", 0) + 1
        if waiting and times >= MEMO_ENDS_SAID:
            name = pod["metadata"]["name"]
            return f"the memo of {name} ended {times} times ({waiting['reason']}): its log says why"
    return ""


def annotations(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return our annotations, without their prefix."""
    every = pod["metadata"].get("annotations") or {}
    return {key[len(PREFIX) :]: text for key, text in every.items() if key.startswith(PREFIX)}


def read_slot(
    name: str,
    pod: Mapping[str, Any],
    noted: Mapping[str, str],
    status: Mapping[str, Any],
    seen: bool,
) -> Slot:
    container = "slot-" + name
    spec = next(c for c in pod["spec"]["containers"] if c["name"] == container)
    listed = status.get("containerStatuses") or []
    now = next((c for c in listed if c["name"] == container), {})
    state, last = now.get("state") or {}, now.get("lastState") or {}
    waiting = state.get("waiting") or {}
    swap = Swap(**json.loads(noted["swap-" + name])) if noted.get("swap-" + name) else None
    container_id = now.get("containerID") or ""
    fresh = seen and bool(container_id) and (swap is None or container_id != swap.origin)
    exit_code, failures, message = read_failures(now, swap) if fresh else (0, 0, "")
    return Slot(
        name=name,
        image=spec["image"],
        memory_bytes=read_bytes((spec.get("resources") or {}).get("limits", {}).get("memory", "0")),
        token=stages.parse_token(noted.get("token-" + name, "")),
        swap=swap,
        fresh=fresh,
        running="running" in state,
        ready=bool(now.get("ready")),
        waiting=waiting.get("reason", ""),
        container_id=container_id or (last.get("terminated") or {}).get("containerID", ""),
        restarts=int(now.get("restartCount", 0)),
        exit_code=exit_code,
        failures=failures,
        message=message if failures else waiting.get("message", ""),
    )


def read_failures(now: Mapping[str, Any], swap: Swap | None) -> tuple[int, int, str]:
    """Return exit code, count and message of containers that ended since the swap.

    The first start after a swap counts as a restart too. What the swap itself ended does not count.
    """
    started = int(now.get("restartCount", 0)) - (swap.restarts if swap else 0)
    current = (now.get("state") or {}).get("terminated")
    ended = current or (now.get("lastState") or {}).get("terminated")
    if not ended or (swap and ended.get("containerID", "") == swap.origin):
        return 0, 0, ""
    waits = "running" not in (now.get("state") or {})
    failures = started if waits else started - 1
    return int(ended.get("exitCode", 0)), max(0, failures), str(ended.get("message") or "")


_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9, "": 1}


def read_bytes(text: str | int) -> int:
    """Return a Kubernetes quantity of memory in bytes.

    >>> read_bytes("260Mi"), read_bytes("1G")
    (272629760, 1000000000)
    """
    text = str(text)
    digits = text.rstrip("KMGik")
    return int(float(digits) * _UNITS[text[len(digits) :]])
