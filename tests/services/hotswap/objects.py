"""Pods as an API server shows them, for tests: one line says what is different."""

import json
from typing import Any

from orrery_services.hotswap import chain, pods
from orrery_services.protocol import stages

IDLE_IMAGE = "registry/stage@sha256:" + "0" * 64
INPUT = "ab" * 32


def image(number: int) -> str:
    return f"registry/step-{number}@sha256:{number:064d}"


def a_run(many: int = 3, mode: str = "serial", **changes: Any) -> chain.Run:
    tasks = [
        {"name": f"s{n}", "image": image(n), "deadline_s": 100, "memory_mb_max": 512}
        for n in range(1, many + 1)
    ]
    read = chain.read_chain("daisy", {"run_in": "pod", "mode": mode, "tasks": tasks})
    return chain.start_run(read, "run-1", "eod", INPUT)._replace(**changes)


def container(
    name: str,
    number: int = 1,
    ready: bool = True,
    state: dict[str, Any] | None = None,
    last: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Status of a container: the `number`-th that was started under this name."""
    return {
        "name": name,
        "containerID": f"containerd://{name}-{number}" if number else "",
        "restartCount": max(0, number - 1),
        "ready": ready,
        "state": state or {"running": {"startedAt": "then"}},
        "lastState": {"terminated": last} if last else {},
    }


def ended(name: str, number: int, code: int, why: str = "") -> dict[str, Any]:
    return {"exitCode": code, "containerID": f"containerd://{name}-{number}", "message": why}


def a_pod(
    noted: dict[str, str] | None = None,
    images: dict[str, str] | None = None,
    statuses: list[dict[str, Any]] | None = None,
    limit: str = "256Mi",
    **meta: Any,
) -> dict[str, Any]:
    """An idle pod, changed as told."""
    found = {"slot-a": IDLE_IMAGE, "slot-b": IDLE_IMAGE, **(images or {})}
    resources = {"limits": {"memory": limit}} if limit else {}
    by_name = {s["name"]: s for s in statuses or []}
    return {
        "metadata": {
            "name": "domino-0",
            "uid": "u1",
            "resourceVersion": "7",
            "generation": 1,
            "annotations": {pods.PREFIX + key: text for key, text in (noted or {}).items()},
            **meta,
        },
        "spec": {
            "containers": [
                {"name": name, "image": text, "resources": resources}
                for name, text in found.items()
            ]
        },
        "status": {
            "observedGeneration": 1,
            "containerStatuses": [
                by_name.get(name, container(name)) for name in ("slot-a", "slot-b")
            ],
        },
    }


EVICTED = {
    "phase": "Failed",
    "reason": "Evicted",
    "message": 'Usage of EmptyDir volume "scratch" exceeds the limit "4Gi".',
}


def evicted(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod as its kubelet leaves it: all containers ended, hard."""
    gone = [
        container(s["name"], 2, False, {"terminated": ended(s["name"], 2, 137)})
        for s in pod["status"]["containerStatuses"]
    ]
    return {**pod, "status": {**pod["status"], **EVICTED, "containerStatuses": gone}}


def swap(stage: int, name: str, at: float = 1000.0, number: int = 1, until: float = 1160.0) -> str:
    origin = f"containerd://{name}-{number}"
    return json.dumps(
        {"stage": stage, "origin": origin, "restarts": number - 1, "at": at, "until": until}
    )


def trail(done: int) -> list[dict[str, Any]]:
    return [
        {"stage": n, "name": f"s{n}", "output": f"{n:064d}", "reused": False}
        for n in range(1, done + 1)
    ]


def a_pod_at(
    stage: int, status: dict[str, Any], run: chain.Run | None = None, **more: Any
) -> dict[str, Any]:
    """A pod whose slot was patched to `stage` at 1000.0, from its first container."""
    slot = stages.slot_of(stage)
    noted = {
        "run": chain.encode_run(run or a_run()),
        "step": str(stage),
        "trail": json.dumps(trail(stage - 1)),
        "placeholder": IDLE_IMAGE,
        f"token-{slot}": f"run-1/{stage}/1",
        f"swap-{slot}": swap(stage, f"slot-{slot}"),
        **more.pop("noted", {}),
    }
    images = {f"slot-{slot}": image(stage), **more.pop("images", {})}
    return a_pod(noted, images, [status, *more.pop("statuses", [])], **more)


def a_marker(stage: int, **changes: Any) -> stages.Marker:
    return {
        "token": f"run-1/{stage}/1",
        "key": f"{stage:064x}",
        "inputs": [],
        "output": f"{stage:064d}",
        "output_bytes": 5,
        "reused": False,
        "run_ms": 3.0,
        "peak_rss_bytes": 9 << 20,
        "started_ns": 1_000_200_000_000,
        **changes,
    }
