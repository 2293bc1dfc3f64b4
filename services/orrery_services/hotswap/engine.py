"""Containers of a container engine, over its API on a Unix socket: Docker, or Podman's own.

A slot gets no network, no capability and a read-only root; it reaches the memo, a plain process
beside the controller, through a socket in the scratch. A container's name is made of pod, slot
and number, so one that was made just before we died is found again instead of made twice.
"""

import contextlib
import http.client
import json
import os
import signal
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
        self._prepared: dict[tuple[str, str], tuple[Launch, str]] = {}

    def has(self, image: str) -> bool:
        """Whether an image is here: nothing is pulled in the middle of a run."""
        if image == processes.MEMO or self._is_made(image):
            return True
        status, _ = self._ask("GET", f"/images/{quote(self._image(image), safe='')}/json")
        return status == 200

    def _image(self, image: str) -> str:
        return self.placeholder if processes.command_of(image) is not None else image

    def prepare(self, launch: Launch) -> None:
        """Have a container made, not started: it takes no memory, and half the time of a swap."""
        if launch.container == processes.MEMO:
            return
        place = launch.uid, launch.container
        if place in self._prepared and self._prepared[place][0] == launch:
            return
        if place in self._prepared:
            self._remove(self._prepared.pop(place)[1])
        self._prepared[place] = launch, self._make(launch)

    def start(self, launch: Launch) -> tuple[Hand, Callable[[], None]]:
        """Return a container; what opens its gate starts it."""
        if launch.container == processes.MEMO:
            path = Path(launch.env["ORRERY_SCRATCH"]) / "memo.sock"
            env = {**launch.env, "ORRERY_MEMO_SOCKET": str(path)}
            return self._processes.start(launch._replace(env=env))
        self.prepare(launch)
        _, identity = self._prepared.pop((launch.uid, launch.container))
        said = Path(launch.env["ORRERY_SCRATCH"]) / f"{launch.container}.ended"
        said.unlink(missing_ok=True)
        return {"id_there": identity, "said": str(said)}, lambda: self._start(identity)

    def _is_made(self, image: str) -> bool:
        return any(launch.image == image for launch, _ in self._prepared.values())

    def _make(self, launch: Launch) -> str:
        name = f"orrery-{launch.uid[:12]}-{launch.container}-{launch.number}"
        config = self._config(launch)
        status, made = self._ask("POST", f"/containers/create?name={name}", config)
        if status == 409:  # we made it, and died before writing that down
            status, made = self._ask("GET", f"/containers/{name}/json")
            if status == 200 and set(config["Env"]) <= set(made["Config"]["Env"]):
                return made["Id"]
            self._remove(name)  # for a stage that is no longer wanted
            status, made = self._ask("POST", f"/containers/create?name={name}", config)
        if status != 201:
            raise OutsideError(f"the engine refuses {launch.image}: {status} {made}")
        return made["Id"]

    def _remove(self, identity: str) -> None:
        self._ask("DELETE", f"/containers/{identity}?force=1")

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
                "MemorySwap": launch.memory_bytes,  # else as much again of swap
                "Init": False,
            },
        }

    def _signal(self, identity: str, number: int) -> bool:
        """Signal the first process of a container ourselves: the engine takes its time for it."""
        _, seen = self._ask("GET", f"/containers/{identity}/json")
        pid = (seen or {}).get("State", {}).get("Pid", 0)
        with contextlib.suppress(OSError):
            if pid and identity in Path(f"/proc/{pid}/cgroup").read_text():
                os.kill(pid, number)
                return True
        return False

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
        if status not in (200, 404):
            raise OutsideError(f"the engine does not say how {identity[:12]} is: {status} {seen}")
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
        if not hard and self._signal(hand["id_there"], signal.SIGTERM):
            return
        name = "KILL" if hard else "TERM"
        self._ask("POST", f"/containers/{hand['id_there']}/kill?signal={name}")

    def leave(self, hand: Hand) -> None:
        """Do not wait for a container that is on its way out: `forget` removes it."""
        if "id_there" in hand:
            self._polled.pop(hand["id_there"], None)
        else:
            self._processes.leave(hand)

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
            self._remove(found["Id"])
        self._prepared = {at: kept for at, kept in self._prepared.items() if at[0] != uid}
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
