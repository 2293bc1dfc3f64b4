"""Containers of a container engine, over its API on a Unix socket: Docker, or Podman's own.

A slot gets no network, no capability and a read-only root; it reaches the memo, a plain process
beside the controller, through a socket in the scratch. A container's name is made of pod, slot
and number, so one that was made just before we died is found again instead of made twice.
"""

import contextlib
import http.client
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import ConfigError, OutsideError
from ..protocol import stages
from . import processes
from .processes import Hand, Launch
from .unix import UnixConnection

SOCKET = "/var/run/docker.sock"
TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.1
TMP_OPTIONS = "rw,size=64m"
PLACEHOLDER_COMMAND: list[str] = []


class Engine:
    """Starts slots as containers and the memo as a process."""

    name = "engine"
    memo = processes.MEMO

    def __init__(self, image: str, socket_path: str = "") -> None:
        if not image:
            raise ConfigError(
                "hotswap.image must name the image of the placeholder when hotswap.driver is "
                "engine: set ORRERY_HOTSWAP_IMAGE, `make images` builds one"
            )
        self.placeholder = image
        host = os.environ.get("DOCKER_HOST", "")
        self._socket = socket_path or host.removeprefix("unix://") or SOCKET
        self._processes = processes.Processes()
        self._polled: dict[str, tuple[float, int | None]] = {}

    def has(self, image: str) -> bool:
        """Whether an image is here: nothing is pulled in the middle of a run."""
        if image == processes.MEMO:
            return True
        status, _ = self._ask("GET", f"/images/{quote(self._image(image), safe='')}/json")
        return status == 200

    def _image(self, image: str) -> str:
        return self.placeholder if processes.command_of(image) is not None else image

    def start(self, launch: Launch) -> tuple[Hand, Callable[[], None]]:
        """Return a container; what opens its gate starts it."""
        if launch.container == processes.MEMO:
            path = Path(launch.env["ORRERY_SCRATCH"]) / "memo.sock"
            env = {**launch.env, "ORRERY_MEMO_SOCKET": str(path)}
            return self._processes.start(launch._replace(env=env))
        name = f"orrery-{launch.uid[:12]}-{launch.container}-{launch.number}"
        status, made = self._ask("POST", f"/containers/create?name={name}", self._config(launch))
        if status == 409:  # we made it, and died before writing that down
            _, made = self._ask("GET", f"/containers/{name}/json")
        elif status != 201:
            raise OutsideError(f"the engine refuses {launch.image}: {status} {made}")
        said = Path(launch.env["ORRERY_SCRATCH"]) / f"{launch.container}.ended"
        said.unlink(missing_ok=True)
        identity = made["Id"]
        return {"id_there": identity, "said": str(said)}, lambda: self._start(identity)

    def _config(self, launch: Launch) -> dict[str, Any]:
        env = {
            **launch.env,
            "ORRERY_SCRATCH": "/scratch",
            "ORRERY_MEMO_URL": "unix:/scratch/memo.sock",
            "ORRERY_TERMINATION_LOG": f"/scratch/{launch.container}.ended",
        }
        return {
            "Image": self._image(launch.image),
            "Cmd": processes.command_of(launch.image) or PLACEHOLDER_COMMAND,
            "Env": [f"{name}={text}" for name, text in sorted(env.items())],
            "User": f"{os.getuid()}:{os.getgid()}",
            "Labels": {"orrery.pod": launch.uid},
            "HostConfig": {
                "Binds": [f"{launch.env['ORRERY_SCRATCH']}:/scratch"],
                "NetworkMode": "none",
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Tmpfs": {"/tmp": TMP_OPTIONS},
                "Memory": launch.memory_bytes,
                "Init": False,
            },
        }

    def _start(self, identity: str) -> None:
        status, answer = self._ask("POST", f"/containers/{identity}/start")
        if status not in (204, 304):
            raise OutsideError(f"the engine does not start a container: {status} {answer}")

    def poll(self, hand: Hand) -> int | None:
        """Return the exit code, None while it runs. One that was never started is started."""
        if "id_there" not in hand:
            return self._processes.poll(hand)
        identity = hand["id_there"]
        at, code = self._polled.get(identity, (0.0, None))
        pause = 0.0 if hand.get("asked") else POLL_SECONDS
        if time.monotonic() - at < pause:
            return code
        status, seen = self._ask("GET", f"/containers/{identity}/json")
        code = stages.KILLED if status == 404 else self._code(identity, seen["State"])
        self._polled[identity] = time.monotonic(), code
        if code is not None:  # what has ended stays until `forget`: the next one need not wait
            self._polled.pop(identity)
        return code

    def _code(self, identity: str, state: dict[str, Any]) -> int | None:
        if state["Status"] == "created":
            self._start(identity)
            return None
        if state["Running"]:
            return None
        return stages.KILLED if state.get("OOMKilled") else int(state["ExitCode"])

    def end(self, hand: Hand, hard: bool = False) -> None:
        if "id_there" not in hand:
            self._processes.end(hand, hard)
            return
        signal = "KILL" if hard else "TERM"
        self._ask("POST", f"/containers/{hand['id_there']}/kill?signal={signal}")

    def message(self, hand: Hand) -> str:
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(Path(hand["said"]).read_text()).get("why", ""))
        return ""

    def resize(self, uid: str, container: str, memory_bytes: int) -> None:
        filters = quote(json.dumps({"label": [f"orrery.pod={uid}"]}))
        _, listed = self._ask("GET", f"/containers/json?filters={filters}")
        for found in listed or []:
            if any(f"-{container}-" in name for name in found["Names"]):
                body = {"Memory": memory_bytes, "MemorySwap": memory_bytes}
                self._ask("POST", f"/containers/{found['Id']}/update", body)

    def forget(self, uid: str) -> None:
        """Remove what is left of a pod."""
        filters = quote(json.dumps({"label": [f"orrery.pod={uid}"]}))
        _, listed = self._ask("GET", f"/containers/json?all=1&filters={filters}")
        for found in listed or []:
            self._ask("DELETE", f"/containers/{found['Id']}?force=1")
        self._processes.forget(uid)

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = UnixConnection(self._socket, TIMEOUT_SECONDS)
        try:
            data = json.dumps(body).encode() if body is not None else None
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as cause:
            raise OutsideError(f"the engine at {self._socket} does not answer: {cause}") from cause
        finally:
            connection.close()
