"""The adapter to Kubernetes against an API server of a few lines that speaks its HTTP.

It enforces what matters here: versions, uids and one name per list. The cluster tests below
tests/kube run the same against a real one.
"""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from orrery_services.errors import OutsideError
from orrery_services.hotswap import kube
from orrery_services.hotswap.port import Conflict, Refused

from .objects import a_pod

POD = "/api/v1/namespaces/orrery-n1/pods/domino-0"


class Api(BaseHTTPRequestHandler):
    server: "Server"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.shown.append(self.headers.get("Authorization"))
        query = parse_qs(urlsplit(self.path).query)
        if self.path == POD:
            self.answer(200, self.server.pod) if self.server.pod else self.answer(404, {})
        elif query.get("fieldSelector") != ["metadata.name=domino-0"]:
            self.answer(403, {"message": "pods is forbidden: cannot list"})
        elif "watch" in query:
            self.stream()
        else:
            items = [self.server.pod] if self.server.pod else []
            self.answer(200, {"metadata": {"resourceVersion": "7"}, "items": items})

    def stream(self) -> None:
        data = b"".join(json.dumps(event).encode() + b"\n" for event in self.server.events)
        self.answer(self.server.watch_status, data)

    def do_PATCH(self) -> None:
        body = self.body()
        self.server.asked.append((self.path, self.headers["Content-Type"], body))
        pod, meta = self.server.pod, body["metadata"]
        if self.server.refusal:
            self.answer(self.server.refusal, {"message": "denied by policy"})
        elif meta["resourceVersion"] != pod["metadata"]["resourceVersion"]:
            self.answer(409, {"message": "the object has been modified"})
        else:
            pod["metadata"]["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
            pod["metadata"]["annotations"].update(meta.get("annotations", {}))
            self.answer(200, pod)

    def do_DELETE(self) -> None:
        uid = self.body()["preconditions"]["uid"]
        if self.server.pod is None:
            self.answer(404, {"message": "not found"})
        elif uid != self.server.pod["metadata"]["uid"]:
            self.answer(409, {"message": "the UID in the precondition does not match"})
        else:
            self.server.pod = None
            self.answer(200, {"kind": "Status"})

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Api)
        self.pod: dict[str, Any] | None = a_pod()
        self.events: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.shown: list[str | None] = []
        self.refusal = 0
        self.watch_status = 200


@pytest.fixture
def api():
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def port(api):
    with httpx2.Client(base_url=f"http://127.0.0.1:{api.server_address[1]}") as client:
        yield kube.KubePods(client, "orrery-n1")


def test_image_and_token_go_in_one_strategic_patch_with_the_version_seen(port, api):
    port.patch("domino-0", "7", {"hotswap.orrery/token-a": "r/1/1"}, {"slot-a": "x@sha256:1"})

    path, kind, body = api.asked[0]
    assert (path, kind) == (POD, "application/strategic-merge-patch+json")
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["metadata"]["annotations"] == {"hotswap.orrery/token-a": "r/1/1"}
    assert body["spec"] == {"containers": [{"name": "slot-a", "image": "x@sha256:1"}]}


def test_in_a_pod_the_token_is_the_mounted_one_and_a_renewed_one_is_shown_at_once(api, tmp_path):
    address = f"http://127.0.0.1:{api.server_address[1]}"
    (tmp_path / "token").write_text("first\n")
    with kube.in_cluster(address, tmp_path, ssl.create_default_context()) as client:
        pods = kube.KubePods(client, "orrery-n1")
        assert pods.get("domino-0")

        (tmp_path / "token").write_text("second\n")
        assert next(pods.watch("domino-0", 1.0))

    assert api.shown == ["Bearer first", "Bearer second"]


def test_a_pod_that_changed_meanwhile_is_a_conflict(port):
    with pytest.raises(Conflict, match="modified"):
        port.patch("domino-0", "6", {}, {})


@pytest.mark.parametrize("status", [400, 403, 422])
def test_what_the_cluster_does_not_allow_is_refused_with_its_words(port, api, status):
    api.refusal = status

    with pytest.raises(Refused, match="denied by policy"):
        port.patch("domino-0", "7", {}, {"slot-a": "evil"})


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_worth_another_try(port, api, status):
    api.refusal = status

    with pytest.raises(OutsideError):
        port.patch("domino-0", "7", {}, {})


def test_a_server_that_is_away_is_worth_another_try():
    with httpx2.Client(base_url="http://127.0.0.1:1") as client, pytest.raises(OutsideError):
        kube.KubePods(client, "x").get("domino-0")


def test_a_resize_changes_the_limit_and_the_request_only_where_they_are_equal(port, api):
    port.resize("domino-0", "7", "slot-a", 512 << 20)

    path, _, body = api.asked[0]
    assert path == f"{POD}/resize"
    assert body["spec"]["containers"] == [
        {"name": "slot-a", "resources": {"limits": {"memory": str(512 << 20)}}}
    ]


def test_only_the_pod_that_was_seen_is_deleted(port, api):
    port.delete("domino-0", "another uid")
    assert api.pod is not None

    port.delete("domino-0", "u1")
    port.delete("domino-0", "u1")

    assert api.pod is None
    assert port.get("domino-0") is None


def test_a_watch_begins_with_what_is_and_goes_on_with_what_changes(port, api):
    later = a_pod(resourceVersion="8")
    api.events = [
        {"type": "MODIFIED", "object": later},
        {"type": "BOOKMARK", "object": {}},
        {"type": "DELETED", "object": later},
    ]

    assert list(port.watch("domino-0", 5)) == [api.pod, later, None]


def test_a_watch_whose_version_is_too_old_ends_and_is_begun_anew(port, api):
    api.watch_status = 410
    assert list(port.watch("domino-0", 5)) == [api.pod]

    api.watch_status = 200
    api.events = [{"type": "ERROR", "object": {"code": 410}}]
    assert list(port.watch("domino-0", 5)) == [api.pod]
