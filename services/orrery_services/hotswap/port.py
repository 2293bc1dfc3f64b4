"""The five methods behind which Kubernetes, a container engine and plain processes look the same.

A pod is the object that an API server shows: nested dicts, camelCase.

Errors: Conflict (the pod is no longer the one seen), Refused (never, as asked), OutsideError (try
later).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ..errors import OutsideError, ServiceError

PodObject = dict[str, Any]


class Conflict(ServiceError):
    """Somebody changed the pod first: look again, decide again."""


class Refused(ServiceError):
    """The change is not allowed, and will not be."""


class PodPort(Protocol):
    """What a controller may do with the pods of its pool."""

    def get(self, name: str) -> PodObject | None:
        """Return a pod, None while there is none."""

    def watch(self, name: str, seconds: float) -> Iterator[PodObject | None]:
        """Yield the pod now and at each change (None: gone), for `seconds` at most."""

    def patch(
        self, name: str, version: str, annotations: Mapping[str, str], images: Mapping[str, str]
    ) -> PodObject:
        """Change annotations and container images in one request. Raises Conflict, Refused."""

    def resize(self, name: str, version: str, container: str, memory_bytes: int) -> PodObject:
        """Change the memory limit of a running container. Raises Conflict, Refused."""

    def delete(self, name: str, uid: str) -> None:
        """Delete this very pod; another one takes its name. Gone already is well."""


__all__ = ["Conflict", "OutsideError", "PodObject", "PodPort", "Refused"]
