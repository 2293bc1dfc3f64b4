"""The five methods over the API server of Kubernetes. From outside a cluster lightkube opens the
door, in a pod three mounted files do; the rest is JSON.

Every request names one pod, so that roles can be given by resource name. A patch carries the
version that was seen; a delete carries the uid.
"""

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from ..errors import ConfigError, OutsideError
from .port import Conflict, PodObject, Refused

TIMEOUT_SECONDS = 10.0
WATCH_GRACE_SECONDS = 5.0  # after which a watch that says nothing is dead
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
GONE = 410
MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def connect(namespace: str = "") -> "KubePods":
    """Return the pods of a namespace: in a cluster by its token, else by KUBECONFIG."""
    if "KUBECONFIG" not in os.environ and (MOUNTED / "token").exists():
        trusted = ssl.create_default_context(cafile=str(MOUNTED / "ca.crt"))
        client = in_cluster(address_of(os.environ), MOUNTED, trusted)
        return KubePods(client, namespace or (MOUNTED / "namespace").read_text().strip())
    return _from_outside(namespace)


def address_of(env: Mapping[str, str]) -> str:
    """Return the API server that a kubelet names to every container.

    >>> address_of({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"})
    'https://[fd00::1]:443'
    """
    host, port = env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def in_cluster(url: str, folder: Path, trusted: ssl.SSLContext) -> httpx2.Client:
    """Return a client that shows the mounted token. It is read anew for each request: it expires,
    and the kubelet puts the next one into its place.

    (lightkube does the same and takes six megabytes along, a tenth of what a controller may take.)
    """

    def show_token(request: httpx2.Request) -> None:
        request.headers["Authorization"] = f"Bearer {(folder / 'token').read_text().strip()}"

    return httpx2.Client(
        base_url=url,
        verify=trusted,
        trust_env=False,
        timeout=httpx2.Timeout(TIMEOUT_SECONDS),
        event_hooks={"request": [show_token]},
    )


def _from_outside(namespace: str) -> "KubePods":
    from lightkube.config.client_adapter import Client, ConnectionParams
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.core.exceptions import ConfigError as NoCluster

    try:
        config = KubeConfig.from_env().get()
    except NoCluster as cause:
        raise ConfigError(f"no Kubernetes to be found: {cause}; set KUBECONFIG") from cause
    client = Client(config, ConnectionParams(timeout=httpx2.Timeout(TIMEOUT_SECONDS)))
    return KubePods(client, namespace or config.namespace)


class KubePods:
    """Pods of one namespace. One client may serve several threads."""

    def __init__(self, client: httpx2.Client, namespace: str) -> None:
        self._client = client
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    def get(self, name: str) -> PodObject | None:
        return self._ask("GET", f"{self._pods}/{name}", missing=True)

    def watch(self, name: str, seconds: float) -> Iterator[PodObject | None]:
        query = {"fieldSelector": f"metadata.name={name}"}
        listed = self._ask("GET", self._pods, params=query)
        yield listed["items"][0] if listed["items"] else None
        query |= {
            "watch": "1",
            "resourceVersion": listed["metadata"]["resourceVersion"],
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        timeout = httpx2.Timeout(TIMEOUT_SECONDS, read=seconds + WATCH_GRACE_SECONDS)
        try:
            with self._client.stream("GET", self._pods, params=query, timeout=timeout) as answer:
                if answer.status_code == GONE:
                    return
                self._check(answer)
                yield from _events(answer.iter_lines())
        except httpx2.HTTPError as cause:
            raise OutsideError(f"the watch of pod {name} broke: {cause}") from cause

    def patch(
        self, name: str, version: str, annotations: Mapping[str, str], images: Mapping[str, str]
    ) -> PodObject:
        return self._patch(f"{self._pods}/{name}", patch_of(version, annotations, images))

    def resize(self, name: str, version: str, container: str, memory_bytes: int) -> PodObject:
        pod = self.get(name)
        if pod is None:
            raise Conflict(f"the pod {name} is gone")
        body = resize_of(pod, version, container, memory_bytes)
        return self._patch(f"{self._pods}/{name}/resize", body)

    def delete(self, name: str, uid: str) -> None:
        try:
            body = {"preconditions": {"uid": uid}}
            self._ask("DELETE", f"{self._pods}/{name}", body=body, missing=True)
        except Conflict:
            return  # another pod has the name already

    def _patch(self, path: str, body: dict[str, Any]) -> PodObject:
        return self._ask("PATCH", path, body=body, headers=STRATEGIC)

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        missing: bool = False,
    ) -> Any:
        content = json.dumps(body).encode() if body is not None else None
        headers = headers or {"Content-Type": "application/json"}
        try:
            answer = self._client.request(
                method, path, params=params, content=content, headers=headers
            )
        except httpx2.HTTPError as cause:
            raise OutsideError(f"the API server cannot be reached: {cause}") from cause
        if missing and answer.status_code == 404:
            return None
        self._check(answer)
        return answer.json()

    def _check(self, answer: httpx2.Response) -> None:
        if answer.status_code < 400:
            return
        answer.read()
        why = f"{answer.request.method} {answer.request.url.path}: {reason(answer)}"
        if answer.status_code in (404, 409):
            raise Conflict(why)
        if answer.status_code in (400, 403, 422):
            raise Refused(why)
        raise OutsideError(why)


def reason(answer: httpx2.Response) -> str:
    """Return what the API server says about a refusal."""
    try:
        return f"{answer.status_code} {answer.json()['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text[:300]}"


def patch_of(
    version: str, annotations: Mapping[str, str], images: Mapping[str, str]
) -> dict[str, Any]:
    """Return the strategic merge patch: all of it or, if the pod has changed, nothing."""
    body: dict[str, Any] = {
        "metadata": {"resourceVersion": version, "annotations": dict(annotations)}
    }
    if images:
        listed = [{"name": name, "image": image} for name, image in sorted(images.items())]
        body["spec"] = {"containers": listed}
    return body


def resize_of(pod: PodObject, version: str, container: str, memory_bytes: int) -> dict[str, Any]:
    """Return the patch of the resize subresource. Request follows where it equals the limit."""
    spec = next(c for c in pod["spec"]["containers"] if c["name"] == container)
    now = spec.get("resources") or {}
    wanted = {"limits": {"memory": str(memory_bytes)}}
    if now.get("requests", {}).get("memory") == now.get("limits", {}).get("memory"):
        wanted["requests"] = {"memory": str(memory_bytes)}
    return {
        "metadata": {"resourceVersion": version},
        "spec": {"containers": [{"name": container, "resources": wanted}]},
    }


def _events(lines: Iterator[str]) -> Iterator[PodObject | None]:
    for line in lines:
        event = json.loads(line)
        if event["type"] == "ERROR":  # too old a version, mostly: the next watch begins anew
            return
        if event["type"] != "BOOKMARK":
            yield None if event["type"] == "DELETED" else event["object"]
