"""What to do next with a pod: one pure decision from what is seen, what is wanted and the time.

Nothing is remembered between two decisions: killed after any of them, the next controller decides
the same.

    IDLE -> SWAP(k) -> RUN(k) -> DONE(k) -> … -> completed -> deleted, a new idle pod
                 \\-> failed: both slots to the placeholder -> deleted
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..protocol import stages
from . import chain, pods

IMAGE_SECONDS = 60.0  # a pull that fails is given this long to recover
SWAP_SECONDS = 60.0  # from patch to the new container running, pull included
REVERT_SECONDS = 30.0  # then the pod is freed even if the placeholder does not come up
ATTEMPTS_MAX = 3  # of a run whose pod was lost
RETRIES = {"permanent": 0, "resource": 1, "deadline": 1, "transient": 2}
SILENT_SECONDS_MAX = 600.0  # of a memo, behind the time of a stage that may be done
LOOK_AGAIN_SECONDS = 0.05
LOOK_SHARE, LOOK_SECONDS_MIN, LOOK_SECONDS_MAX = 0.02, 0.01, 1.0
WHY_MAX = 1000


class Known(NamedTuple):
    """What the memo of the pod answered: digests under keys, markers of stages, tokens that the
    runners in the slots have taken up. None: no such."""

    memo: Mapping[str, str | None] = {}
    markers: Mapping[int, stages.Marker | None] = {}
    runners: Mapping[str, str | None] = {}
    silent: bool = False  # it did not answer: what it did not say is not known
    lost: str = ""  # why the pod of the attempt before was ended, where a kubelet said so


class Wait(NamedTuple):
    """Do nothing until the pod changes or `seconds` pass."""

    why: str
    seconds: float = 1.0
    alarm: bool = False


class Ask(NamedTuple):
    """Ask the memo, then decide again."""

    key: str = ""
    stage: int = 0
    slot: str = ""


class Patch(NamedTuple):
    """Change annotations and images in one request, if the pod is still the one seen."""

    annotations: dict[str, str]
    images: dict[str, str]
    why: str


class Resize(NamedTuple):
    """Give a slot more memory, without a restart."""

    slot: str
    memory_bytes: int


class Finish(NamedTuple):
    """Write the event down, then free the pod (`uid`; empty: there is none to free)."""

    event: dict[str, Any]
    uid: str


class Free(NamedTuple):
    """Free a pod that its kubelet has ended: what runs in it is begun anew in the next one."""

    uid: str
    why: str


Action = Wait | Ask | Patch | Resize | Finish | Free
NOTHING_KNOWN = Known()


def decide(
    pod: Mapping[str, Any], wanted: chain.Run | None, now: float, known: Known = NOTHING_KNOWN
) -> Action:
    """Return the one thing to do. `wanted` is the run that an idle pod should start."""
    seen = pods.look(pod)
    if seen.deleting:
        return Wait("the pod is going away")
    if seen.ended:
        return _when_ended(seen)
    if seen.lost:
        return Wait("the node of the pod does not answer; nothing is forced", alarm=True)
    if seen.run is None:
        return _start(seen, wanted, now, known)
    if seen.result:
        return _close(seen, now)
    slot = seen.slots[stages.slot_of(seen.stage)]
    if slot.token is None or slot.token.stage != seen.stage or slot.swap is None:
        return _advance(seen, seen.run, seen.trail, now, known)
    if slot.failures and (action := _after_failure(seen, slot, now)):
        return action
    if slot.up and seen.stage not in known.markers:
        return Ask(stage=seen.stage)
    if slot.up and (marker := known.markers[seen.stage]):
        return _when_done(seen, slot, marker, now, known)
    if slot.up and known.silent and now <= until_of(seen, slot) + SILENT_SECONDS_MAX:
        return Wait(f"the memo must say whether stage {seen.stage} is done")
    if now > until_of(seen, slot) or not slot.settled:
        return _until_settled(seen, slot, now)
    return _while_running(seen, slot, now)


def _start(seen: pods.Pod, wanted: chain.Run | None, now: float, known: Known) -> Action:
    if wanted is None:
        return Wait("nothing to run")
    if wanted.attempt > ATTEMPTS_MAX:
        return Finish(run_event("failed", wanted, (), _lost_too_often(known.lost)), "")
    if not all(slot.up for slot in seen.slots.values()):
        return Wait("the pod is not idle yet", LOOK_AGAIN_SECONDS)
    for name in stages.SLOTS:
        if name not in known.runners:
            return Ask(slot=name)
        if known.runners[name] is None:  # it could not be ended: nobody hears SIGTERM yet
            return Wait(f"the runner in slot {name} is still on its way", LOOK_AGAIN_SECONDS)
    return _advance(seen, wanted, (), now, known)


def _lost_too_often(why: str) -> dict[str, Any]:
    """Return the result of a run that no pod outlived: in the kubelet's words where it said any."""
    many = f"its pod was lost {ATTEMPTS_MAX} times"
    if not why:
        return {"class": "lost", "why": many, "stage": 0}
    reason, _, told = why.partition(": ")
    return {"class": reason.lower(), "why": f"{told[:WHY_MAX]}; {many}", "stage": 0}


def _when_ended(seen: pods.Pod) -> Finish | Free:
    """The pod itself was ended. A run that has failed is told as that; another one is begun anew,
    as when its pod is gone, also when all its stages were done: outputs that the memo has are
    found, and those that it could not keep any more are computed."""
    if seen.run and seen.result and seen.result["status"] == "failed":
        return Finish(run_event("failed", seen.run, seen.trail, seen.result), seen.uid)
    return Free(seen.uid, seen.ended)


def _advance(
    seen: pods.Pod, run: chain.Run, trail: tuple[dict[str, Any], ...], now: float, known: Known
) -> Action:
    """Skip what the memo knows, then swap the first stage in that it does not."""
    while len(trail) < len(run.stages):
        number = len(trail) + 1
        stage = run.stages[number - 1]
        digests = [run.input if need == 0 else trail[need - 1]["output"] for need in stage.needs]
        key = stages.stage_key(stage.code, stage.parameters, digests)
        if run.reuse and key not in known.memo:
            return Ask(key=key)
        if not run.reuse or known.memo[key] is None:
            known_inputs = dict(zip(stage.needs, digests, strict=True))
            return _swap_in(seen, run, trail, known_inputs, key, now)
        reused = {"stage": number, "name": stage.name, "code": stage.code, "key": key}
        reused |= {"inputs": digests}
        trail = (*trail, {**reused, "output": known.memo[key], "reused": True})
    result = {"status": "completed", "output": trail[-1]["output"] if trail else run.input}
    if seen.run is None:  # all of it is known: the pod is not even touched
        return Finish(run_event("completed", run, trail, result), "")
    noted = {**_progress(seen, run, trail), "result": stages.canonical(result)}
    return Patch(noted, {}, f"{run.id} is completed")


def _progress(seen: pods.Pod, run: chain.Run, trail: tuple[dict[str, Any], ...]) -> dict[str, str]:
    return {
        "run": chain.encode_run(run),
        "step": str(min(len(trail) + 1, len(run.stages))),
        "trail": stages.canonical(list(trail)),
        "placeholder": seen.placeholder,
    }


def _swap_in(
    seen: pods.Pod,
    run: chain.Run,
    trail: tuple[dict[str, Any], ...],
    digests: dict[int, str],
    key: str,
    now: float,
) -> Patch | Resize:
    number = len(trail) + 1
    name = stages.slot_of(number)
    slot = seen.slots[name]
    noted = _progress(seen, run, trail)
    token = stages.Token(run.id, number, run.attempt)
    if slot.token == token and slot.swap:  # it waits in its slot already: its time runs from now
        until = now + SWAP_SECONDS + run.stages[number - 1].deadline_s
        noted["swap-" + name] = _swap(slot.swap._replace(at=now, until=until))
        return Patch(noted, {}, f"stage {number} goes on in slot {name}")
    if grown := _grow(seen, slot, run.stages[number - 1].memory_bytes):
        return grown
    filled, images = _fill(slot, run, number, digests, key, now)
    return Patch({**noted, **filled}, images, f"stage {number} into slot {name}")


def _fill(
    slot: pods.Slot,
    run: chain.Run,
    number: int,
    digests: Mapping[int, str],
    key: str,
    now: float,
) -> tuple[dict[str, str], dict[str, str]]:
    """Return annotations and image that put a stage into a slot: always together."""
    stage = run.stages[number - 1]
    order = {
        "name": stage.name,
        "code": stage.code,
        "parameters": stage.parameters,
        "inputs": [[need, digests.get(need)] for need in stage.needs],
        "deadline_s": stage.deadline_s,
        "domino": stage.domino,
        "reuse": run.reuse,
        "key": key,  # empty: the memo is still to be asked
    }
    until = now + SWAP_SECONDS + stage.deadline_s
    swap = pods.Swap(number, slot.container_id, slot.restarts, now, until)
    noted = {
        "token-" + slot.name: str(stages.Token(run.id, number, run.attempt)),
        "order-" + slot.name: stages.canonical(order),
        "swap-" + slot.name: _swap(swap),
    }
    return noted, {"slot-" + slot.name: stage.image}


def _swap(swap: pods.Swap) -> str:
    return stages.canonical(swap._asdict())


def until_of(seen: pods.Pod, slot: pods.Slot) -> float:
    """Return when the time of the stage that is awaited is up: every repeat has as much again."""
    return slot.swap.until + slot.failures * seen.run.stages[seen.stage - 1].deadline_s


def _until_settled(seen: pods.Pod, slot: pods.Slot, now: float) -> Action:
    """The patched image is not running yet, or the time of the stage is up."""
    waited = now - slot.swap.at
    if slot.waiting in pods.BAD_IMAGE and (
        waited > IMAGE_SECONDS or slot.waiting in pods.HOPELESS_IMAGE
    ):
        why = f"{slot.waiting} for {waited:.0f} s: {slot.image}"
        return _revert(seen, "image", f"{why}: {slot.message}" if slot.message else why, 0, now)
    if now > until_of(seen, slot):
        stage = seen.run.stages[seen.stage - 1]
        why = f"not done {waited:.0f} s after the swap, deadline_s is {stage.deadline_s:g}"
        return _revert(seen, "deadline", why, 0, now)
    if not slot.settled and waited > SWAP_SECONDS + IMAGE_SECONDS:
        why = (
            f"no new container {waited:.0f} s after the swap ({slot.waiting or 'no reason given'})"
        )
        return _revert(seen, "swap", why, 0, now)
    return Wait(f"slot {slot.name} is being swapped: {slot.waiting or 'starting'}")


def _after_failure(seen: pods.Pod, slot: pods.Slot, now: float) -> Action | None:
    """A container of this swap ended: the kubelet starts it again, we say when it is enough."""
    kind = stages.failure_class(slot.exit_code)
    kind = "deadline" if slot.exit_code == stages.DEADLINE else kind
    kind = "transient" if kind == "ok" else kind  # a runner never ends well by itself
    if slot.failures > RETRIES[kind]:
        return _revert(seen, kind, slot.message, slot.exit_code, now)
    if kind == "resource":
        stage = seen.run.stages[seen.stage - 1]
        return _grow(seen, slot, stage.memory_bytes_max)
    return None


def _grow(seen: pods.Pod, slot: pods.Slot, memory_bytes: int) -> Resize | None:
    """Return a resize when the slot has a limit, the stage needs more, and it was not refused."""
    if seen.may_resize and 0 < slot.memory_bytes < memory_bytes:
        return Resize(slot.name, memory_bytes)
    return None


def _while_running(seen: pods.Pod, slot: pods.Slot, now: float) -> Action:
    run, following = seen.run, seen.stage + 1
    if run.overlapped and following <= len(run.stages):
        other = seen.slots[stages.slot_of(following)]
        taken = other.token is not None and other.token.stage == following
        if not taken and other.settled:
            if grown := _grow(seen, other, run.stages[following - 1].memory_bytes):
                return grown
            known = {0: run.input} | {entry["stage"]: entry["output"] for entry in seen.trail}
            noted, images = _fill(other, run, following, known, "", now)
            return Patch(noted, images, f"stage {following} waits in slot {other.name}")
    seconds = look_seconds(now - slot.swap.at) if slot.up else LOOK_SECONDS_MAX
    return Wait(f"stage {seen.stage} runs in slot {slot.name}", seconds)


def look_seconds(age: float) -> float:
    """Return when to look for the marker again: a small share of the time a stage has taken.

    No probe says that a stage is done: each change of readiness makes a kubelet look at the pod,
    and what comes after a look waits up to a second for the next (see docs/hot-swap.md).
    """
    return min(LOOK_SECONDS_MAX, max(LOOK_SECONDS_MIN, LOOK_SHARE * age))


def _when_done(
    seen: pods.Pod, slot: pods.Slot, marker: stages.Marker, now: float, known: Known
) -> Action:
    entry = {
        "stage": seen.stage,
        "name": seen.run.stages[seen.stage - 1].name,
        "code": seen.run.stages[seen.stage - 1].code,
        "slot": slot.name,
        "swap_ms": swap_ms(marker, slot.swap),
        **{field: marker[field] for field in TRAIL_FIELDS if field in marker},
    }
    return _advance(seen, seen.run, (*seen.trail, entry), now, known)


def swap_ms(marker: stages.Marker, swap: pods.Swap) -> float:
    """Return milliseconds from patch to the runner at work; 0 for one that waited in its slot."""
    return max(0.0, round(marker.get("started_ns", 0) / 1e6 - swap.at * 1e3, 1))


TRAIL_FIELDS = (
    "key", "inputs", "output", "output_bytes", "reused", "run_ms", "peak_rss_bytes",
    "started_ns", "running_ns", "ended_ns", "marked_ns",
)  # fmt: skip


def _revert(seen: pods.Pod, kind: str, why: str, exit_code: int, now: float) -> Patch:
    """Give up the run: every slot back to the placeholder, and the reason, in one patch."""
    noted, images = {}, {}
    for slot in seen.slots.values():
        if slot.image == seen.placeholder and slot.token is None:
            continue
        swap = pods.Swap(0, slot.container_id, slot.restarts, now, now + REVERT_SECONDS)
        noted |= {
            "token-" + slot.name: "",
            "order-" + slot.name: "",
            "swap-" + slot.name: _swap(swap),
        }
        images["slot-" + slot.name] = seen.placeholder
    result = {
        "status": "failed",
        "stage": seen.stage,
        "class": kind,
        "why": why[-WHY_MAX:],
        "exit_code": exit_code,
        "at": now,
    }
    return Patch({**noted, "result": stages.canonical(result)}, images, f"failed: {kind}")


def refused(patch: Patch, why: str, now: float) -> dict[str, str]:
    """Return annotations that end a run whose patch is not allowed: no image changes."""
    kept = ("run", "step", "trail", "placeholder")
    result = {
        "status": "failed",
        "stage": int(patch.annotations.get("step", 0)),
        "class": "refused",
        "why": why[-WHY_MAX:],
        "exit_code": 0,
        "at": now,
    }
    noted = {key: text for key, text in patch.annotations.items() if key in kept}
    return {**noted, "result": stages.canonical(result)}


def _close(seen: pods.Pod, now: float) -> Action:
    """The run has ended: say so, and free the pod."""
    failed = seen.result["status"] == "failed"
    if failed and now < seen.result["at"] + REVERT_SECONDS:
        back = [slot for slot in seen.slots.values() if slot.swap and slot.swap.stage == 0]
        if not all(slot.settled for slot in back):
            return Wait("back to the placeholder")
    return Finish(run_event(seen.result["status"], seen.run, seen.trail, seen.result), seen.uid)


def run_event(
    kind: str, run: chain.Run, trail: tuple[dict[str, Any], ...], result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the record of a run, known by run, attempt and kind: written twice it is the same."""
    return {
        "kind": kind,
        "run": run.id,
        "attempt": run.attempt,
        "chain": run.chain,
        "on": run.on,
        "node": run.node,
        "input": run.input,
        "stages": list(trail),
        "result": dict(result),
    } | ({"declared": run.declared} if run.declared else {})
