"""The rules of a kubelet for one pod of two slots and a memo, over any runtime.

Another image: the old container is ended first, then the new one started; what the new one needs
is made meanwhile. The same image after an
end: again, later each time. An image that is not there: the old one is ended all the same. Ready:
the runner has taken up its token.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .. import scratch
from ..errors import OutsideError
from ..protocol import stages
from . import pods
from .processes import Launch, boot_id

GRACE_SECONDS = 6.0  # longer than a runner gives its stage
BACK_OFF_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0)
MEMO = "memo"
REASONS = {
    "none": "ContainerCreating", "no image": "ErrImagePull", "not made": "CreateContainerError",
}  # fmt: skip


class Place(NamedTuple):
    """Where the files of a pod are."""

    folder: Path
    volume: Path
    memo_folder: Path
    facts: bool = False  # the memo is in front of the node's Postgres


def new_record(
    name: str, uid: str, placeholder: str, memo: str, memory_bytes: int
) -> dict[str, Any]:
    """Return an idle pod, and what is written down of its containers."""
    limits = {"limits": {"memory": str(memory_bytes)}} if memory_bytes else {}
    slots = [{"name": f"slot-{s}", "image": placeholder, "resources": limits} for s in ("a", "b")]
    meta = {
        "name": name,
        "uid": uid,
        "resourceVersion": "1",
        "generation": 1,
        "annotations": {},
    }
    spec = {"containers": slots, "initContainers": [{"name": MEMO, "image": memo}]}
    return {"pod": {"metadata": meta, "spec": spec, "status": {}}, "hands": {}}


def act(
    record: dict[str, Any], runtime: Any, place: Place, now: float, save: Callable[[], Any]
) -> None:
    """Bring the containers of a pod one step nearer to its spec, and its status up to date."""
    pod = record["pod"]
    for spec in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        hand = record["hands"].setdefault(
            spec["name"], {"number": 0, "failures": 0, "state": "none"}
        )
        _look_after(hand, spec, runtime, now, place)
        if hand.get("asked") and hand["state"] == "running" and runtime.has(spec["image"]):
            with contextlib.suppress(OutsideError, OSError):  # its start will say why
                runtime.prepare(_launch(hand, spec, pod, place))
        if _may_start(hand, spec, pod, now):
            _start(hand, spec, record, runtime, place, now, save)
    if not pods.annotations(pod).get("memo-port"):
        _note_memo(pod, place)
    _report(record, runtime, place)


def end_all(record: dict[str, Any], runtime: Any, now: float) -> bool:
    """End every container; True once all are gone."""
    spec = record["pod"]["spec"]
    wanted = {
        each["name"]: each["image"] for each in (*spec["initContainers"], *spec["containers"])
    }
    for name, hand in record["hands"].items():
        hand["cut_off"] = True  # also what waits to be started: until then no time of its counts
        if hand["state"] == "running":
            _look_after(hand, {"name": name, "image": "", "kept": wanted[name]}, runtime, now)
    return all(hand["state"] != "running" for hand in record["hands"].values())


def _look_after(
    hand: dict[str, Any],
    spec: dict[str, Any],
    runtime: Any,
    now: float,
    place: Place | None = None,
) -> None:
    if hand["state"] != "running":
        return
    code = runtime.poll(hand)
    if code is None and hand["image"] != spec["image"]:
        late = now - hand.setdefault("ending_at", now) > GRACE_SECONDS
        if late or not hand.get("asked"):
            hand["parked"] = place is not None and _is_parked(spec["name"], hand, place)
            runtime.end(hand, hard=late)
            hand["asked"] = True
        elif hand["parked"] and place is not None and not _is_there(spec["name"], place):
            runtime.leave(hand)
            code = 0
    if code is None:
        return
    asked = hand.get("asked") or _is_of_another_life(hand)
    if asked and hand["image"] == spec.get("kept", spec["image"]):
        # Ended by us, or with the machine, to go on later: no failure, and its time begins anew.
        hand.update(state="ended", cut_off=True, unsaid=hand.get("unsaid", 0) + 1)
        return
    ended = {
        "exitCode": code,
        "reason": "OOMKilled" if code == 137 else "Error" if code else "Completed",
        "message": runtime.message(hand),
        "containerID": hand["id"],
    }
    hand.update(state="ended", ended=ended)
    if hand["image"] == spec["image"] and not hand.get("asked"):
        back_off = BACK_OFF_SECONDS[min(hand["failures"], len(BACK_OFF_SECONDS) - 1)]
        hand.update(failures=hand["failures"] + 1, again_at=now + back_off)


def _is_of_another_life(hand: dict[str, Any]) -> bool:
    return hand.get("boot", boot_id()) != boot_id()


def _is_there(container: str, place: Place) -> bool:
    return scratch.slot_token(str(place.volume), container.removeprefix("slot-")) is not None


def _is_parked(container: str, hand: dict[str, Any], place: Place) -> bool:
    """Whether all that is left to a runner is to go: it need not be waited for once it has."""
    if container == MEMO:
        return False
    done, token = scratch.slot_done(str(place.volume), container.removeprefix("slot-"))
    return done and token == hand["token"]


def _may_start(hand: dict[str, Any], spec: dict[str, Any], pod: dict[str, Any], now: float) -> bool:
    if hand["state"] == "running":
        return False
    if spec["name"] != MEMO and not pods.annotations(pod).get("memo-port"):
        return False  # the memo starts first, like every sidecar
    if hand.get("image") != spec["image"]:
        hand.update(failures=0, again_at=0.0)
    return now >= hand.get("again_at", 0.0)


def _start(
    hand: dict[str, Any],
    spec: dict[str, Any],
    record: dict[str, Any],
    runtime: Any,
    place: Place,
    now: float,
    save: Callable[[], Any],
) -> None:
    if not runtime.has(spec["image"]):
        hand.update(state="no image", image=spec["image"], again_at=now + 1.0)
        return
    launch = _launch(hand, spec, record["pod"], place)
    if spec["name"] == MEMO:
        _forget_memo(record["pod"], place)
    try:
        started, open_gate = runtime.start(launch)
    except (OutsideError, OSError) as cause:  # the other containers are looked after all the same
        hand.update(state="not made", image=spec["image"], again_at=now + 1.0, why=str(cause)[:300])
        return
    if hand.get("cut_off") or _is_of_another_life(hand):
        _begin_time_anew(record["pod"], spec["name"], now)
    kept = {key: hand[key] for key in ("failures", "ended", "again_at", "unsaid") if key in hand}
    hand.clear()
    hand.update(
        kept,
        **started,
        state="running",
        number=launch.number,
        image=spec["image"],
        id=f"{runtime.name}://{launch.uid[:12]}-{spec['name']}-{launch.number}",
        token=pods.annotations(record["pod"]).get(spec["name"].replace("slot", "token"), ""),
    )
    save()
    open_gate()


def _begin_time_anew(pod: dict[str, Any], container: str, now: float) -> None:
    """Give a stage that was cut off the time that it had: nobody could work while we were away."""
    noted = pod["metadata"]["annotations"]
    key = pods.PREFIX + container.replace("slot", "swap")
    if text := noted.get(key):
        swap = json.loads(text)
        until = now + swap["until"] - swap["at"]
        noted[key] = stages.canonical({**swap, "at": now, "until": until})


def _launch(
    hand: dict[str, Any], spec: dict[str, Any], pod: dict[str, Any], place: Place
) -> Launch:
    """Return what is to be started next under this name."""
    limits = (spec.get("resources") or {}).get("limits", {})
    return Launch(
        pod=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        container=spec["name"],
        number=hand["number"] + 1,
        image=spec["image"],
        env=env_of(spec["name"], pod, place),
        folder=place.folder,
        memory_bytes=pods.read_bytes(limits.get("memory", 0)),
    )


def env_of(container: str, pod: dict[str, Any], place: Place) -> dict[str, str]:
    """Return the environment of a container, read from annotations when it starts."""
    noted = pods.annotations(pod)
    if container == MEMO:
        return {
            "ORRERY_SCRATCH": str(place.volume),
            "ORRERY_MEMO_FOLDER": str(place.memo_folder),
            "ORRERY_MEMO_FACTS": "1" if place.facts else "",
            "ORRERY_MEMO_PORT": noted.get("memo-port", "0"),
            "ORRERY_MEMO_PORT_FILE": str(place.volume / "memo-port"),
        }
    slot = container.removeprefix("slot-")
    return {
        "ORRERY_TOKEN": noted.get(f"token-{slot}", ""),
        "ORRERY_ORDER": noted.get(f"order-{slot}", ""),
        "ORRERY_SLOT": slot,
        "ORRERY_SCRATCH": str(place.volume),
        "ORRERY_MEMO_URL": f"http://127.0.0.1:{noted.get('memo-port', '0')}",
    }


def _forget_memo(pod: dict[str, Any], place: Place) -> None:
    """Forget where a memo was that is started again: no slot is to be sent to a stranger."""
    (place.volume / "memo-port").unlink(missing_ok=True)
    pod["metadata"]["annotations"].pop(pods.PREFIX + "memo-port", None)
    pod["status"].pop("podIP", None)


def _note_memo(pod: dict[str, Any], place: Place) -> None:
    with contextlib.suppress(FileNotFoundError):
        port = (place.volume / "memo-port").read_text()
        pod["metadata"]["annotations"][pods.PREFIX + "memo-port"] = port
        pod["status"]["podIP"] = "127.0.0.1"


def _report(record: dict[str, Any], runtime: Any, place: Place) -> None:
    pod, status = record["pod"], record["pod"]["status"]
    names = [spec["name"] for spec in pod["spec"]["containers"]]
    status["containerStatuses"] = [
        container_status(name, record["hands"][name], place) for name in names
    ]
    status["initContainerStatuses"] = [container_status(MEMO, record["hands"][MEMO], place)]
    images = {spec["name"]: spec["image"] for spec in pod["spec"]["containers"]}
    if all(record["hands"][name].get("image") == images[name] for name in names):
        status["observedGeneration"] = pod["metadata"]["generation"]


def container_status(name: str, hand: dict[str, Any], place: Place) -> dict[str, Any]:
    """Return the status of one container as a kubelet writes it."""
    running = hand["state"] == "running"
    status: dict[str, Any] = {
        "name": name,
        "image": hand.get("image", ""),
        "containerID": hand.get("id", ""),
        "restartCount": max(0, hand["number"] - 1 - hand.get("unsaid", 0)),
        "ready": running and is_ready(name, hand, place),
        "state": {"running": {}},
        "lastState": {"terminated": hand["ended"]} if hand.get("ended") else {},
    }
    if not running:
        waiting = {"reason": REASONS.get(hand["state"], "CrashLoopBackOff")}
        if hand["state"] == "not made":
            waiting["message"] = hand["why"]
        status["state"] = {"waiting": waiting}
    return status


def is_ready(name: str, hand: dict[str, Any], place: Place) -> bool:
    """Whether the runner of this very token is there: what a readiness probe asks the memo."""
    if name == MEMO:
        return True
    return scratch.slot_token(str(place.volume), name.removeprefix("slot-")) == hand["token"]
