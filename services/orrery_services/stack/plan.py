"""What a stack is made of and where: nodes, ports, folders. Written down once, read by everybody.

.orrery/
  plan.json            what was asked for: nodes, ports, services
  run/                 progress.jsonl, supervisor.sock, lock, nodes/<node>.json
  logs/<part>.log      of every part, bounded
  secrets/<node>/      a password per role, mode 600
  sky/kafka            the log        nodes/<node>/postgres, tsdb
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..config import find_root, node_names
from ..errors import PortTaken, StackError
from . import processes

PLAN = "plan.json"  # in the home
PORT_BASE = 20_000  # below 32768, where the kernel takes ports for outgoing connections
PORTS_PER_NODE = 100
SKY_PORTS = {"kafka": 92, "controller": 93, "connect": 83}
NODE_PORTS = {"postgres": 32, "tsdb": 28, "gateway": 80}
SERVICES = ("packer", "analytics", "replication", "gateway", "snapshots", "dominoes", "hotswap")
FREE_BASES = range(21_000, 32_000, 1_000)
PORT_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    home: Path
    root: Path
    nodes: tuple[str, ...]
    ports: Mapping[str, int]  # "kafka", "n1.postgres", "n1.packer" (metrics)
    services: tuple[str, ...] = SERVICES
    demo: bool = True  # the generated market flows
    tsdb: bool = True
    env: Mapping[str, str] = field(default_factory=dict)  # for the services only

    @property
    def run(self) -> Path:
        return self.home / "run"

    def log(self, part: str) -> Path:
        return self.home / "logs" / f"{part}.log"

    def secrets(self, node: str) -> Path:
        return self.home / "secrets" / node

    def postgres_data(self, node: str) -> Path:
        return self.home / "nodes" / node / "postgres"


def make_plan(
    home: Path,
    nodes: Sequence[str] = (),
    port_base: int = PORT_BASE,
    ports: Mapping[str, int] | None = None,
    **rest: object,
) -> Plan:
    """Return the plan of a stack; `ports` moves single ones: {"kafka": 9092, "n1.tsdb": 8428}."""
    names = tuple(nodes) or tuple(node_names())
    known = default_ports(names, port_base)
    for name in ports or {}:
        if name not in known:
            raise StackError(f"a port must be one of {', '.join(sorted(known))}, was {name!r}")
    return Plan(home.absolute(), find_root(), names, known | dict(ports or {}), **rest)


def default_ports(nodes: Sequence[str], base: int) -> dict[str, int]:
    """Return a port for every part, in blocks of one hundred a node."""
    ports = {name: base + offset for name, offset in SKY_PORTS.items()}
    ports["feed"] = base + 1
    for number, node in enumerate(nodes, start=1):
        block = base + PORTS_PER_NODE * number
        ports |= {f"{node}.{name}": block + offset for name, offset in NODE_PORTS.items()}
        ports |= {f"{node}.{name}": block + at for at, name in enumerate(SERVICES, start=1)}
        ports[f"{node}.gateway.metrics"] = ports.pop(f"{node}.gateway")
        ports[f"{node}.gateway"] = block + NODE_PORTS["gateway"]
    return ports


def free_port_base(nodes: Sequence[str]) -> int:
    """Return a base whose ports are all free just now, for stacks that live beside others."""
    bases = list(FREE_BASES)
    while bases:
        base = bases.pop(secrets.randbelow(len(bases)))
        if not any(taken(port) for port in default_ports(nodes, base).values()):
            return base
    raise PortTaken(f"one block of ports from {FREE_BASES[0]} up must be free, but none is")


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def check_ports(plan: Plan) -> None:
    """Raise PortTaken that names every port of the plan that another program holds, and who.

    A program that was killed this moment is off the list of processes before the kernel has
    closed what it listened on: such ports get a little time.
    """
    deadline = time.monotonic() + PORT_PATIENCE_SECONDS
    while (names := _taken_names(plan)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if names:
        held = [
            f"{plan.ports[name]} ({name}) is held by {processes.listener(plan.ports[name])}"
            for name in names
        ]
        raise PortTaken(
            f"ports must be free: {'; '.join(held)}. Stop that program, or move: "
            f"`make up PORT_BASE={PORT_BASE + 1000}` moves all, "
            f"`make up PORTS={next(iter(plan.ports))}=9092` a single one"
        )


def _taken_names(plan: Plan) -> list[str]:
    return [name for name, port in plan.ports.items() if taken(port)]


def save(plan: Plan) -> None:
    plan.home.mkdir(parents=True, exist_ok=True)
    document = asdict(plan) | {"home": str(plan.home), "root": str(plan.root)}
    write_whole(plan.home / PLAN, json.dumps(document, indent=1))


def is_there(home: Path) -> bool:
    """Whether a home has its plan: parts that start anew make folders, nobody makes a plan."""
    return (home / PLAN).exists()


def load(home: Path) -> Plan | None:
    """Return the plan of the stack that was last asked for here, or None."""
    path = home / PLAN
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as cause:
        raise StackError(
            f"{path} must be readable JSON: {cause}; `make clean` removes it"
        ) from cause
    document |= {"home": Path(document["home"]), "root": Path(document["root"])}
    document |= {"nodes": tuple(document["nodes"]), "services": tuple(document["services"])}
    return Plan(**document)


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
