"""Watches of pods: a thread each, and what they tell, latest first.

They are not trusted: every pod is told anew every RESYNC_SECONDS, and a silent watch ends by
itself.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from ..errors import ServiceError
from . import pods
from .port import PodObject, PodPort

RESYNC_SECONDS = 30.0
RETRY_SECONDS = 1.0

log = structlog.get_logger()


def drain(
    seen: "queue.Queue[tuple[str, PodObject | None]]",
    latest: dict[str, PodObject | None],
    seconds: float,
    ended: "deque[PodObject]",
) -> list[str]:
    """Wait for news and return whose; only the latest of each pod counts. One that its kubelet has
    ended is put aside in `ended`: a moment later it is gone, and nobody else says why."""
    names = []
    try:
        name, pod = seen.get(timeout=seconds) if seconds else seen.get_nowait()
        while True:
            if pod and pods.why_ended(pod):
                ended.append(pod)
            if not is_older(pod, latest.get(name)):
                latest[name] = pod
                names.append(name)
            name, pod = seen.get_nowait()
    except queue.Empty:
        return names


def is_older(pod: PodObject | None, than: PodObject | None) -> bool:
    """Whether a watch tells what we knew before. Versions of one pod can be compared as numbers."""
    if not pod or not than or pod["metadata"]["uid"] != than["metadata"]["uid"]:
        return False
    one, other = pod["metadata"]["resourceVersion"], than["metadata"]["resourceVersion"]
    return one.isdigit() and other.isdigit() and int(one) < int(other)


def watch(
    port: PodPort,
    name: str,
    seen: "queue.Queue[tuple[str, PodObject | None]]",
    stop: threading.Event,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Report every change of a pod, and the pod itself every RESYNC_SECONDS.

    Nothing ends it but `stop`: a controller whose watch is gone would hear nothing any more, and
    look well. One that ends at once is not begun anew without a pause. `tell` hears why one broke.
    """
    while not stop.is_set():
        began = time.monotonic()
        try:
            for pod in port.watch(name, RESYNC_SECONDS):
                tell("")
                seen.put((name, pod))
                if stop.is_set():
                    return
        except ServiceError as cause:
            tell(str(cause))
            log.warning("the watch broke", pod=name, reason=str(cause))
        except Exception as cause:
            tell(f"the watch of {name} broke: {cause}")
            log.exception("the watch broke", pod=name)
        stop.wait(max(0.0, began + RETRY_SECONDS - time.monotonic()))
