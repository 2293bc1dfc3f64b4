"""Which outside the controller of this node works on: processes, an engine or pods.

Chains, images and requests are read here too, so that `orrery run` and the controller see the same.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Settings
from ..errors import ConfigError
from ..protocol import routing
from . import chain
from .port import PodPort
from .runs import FileRuns, Runs

NO_CODES: Mapping[str, str] = {}
PROCESS, ENGINE, KUBERNETES = "process", "engine", "kubernetes"


def folder_of(settings: Settings, node: str = "") -> Path:
    """Return where pods, runs and the memo of a node are when there is no Kubernetes."""
    return settings.home / "hotswap" / (node or settings.node)


def pod_names(settings: Settings) -> list[str]:
    return [f"domino-{number}" for number in range(settings.values["hotswap.pods"])]


def open_pods(settings: Settings) -> PodPort:
    """Return the pods of this node. Raises ConfigError when their place cannot be reached."""
    driver = settings.values["hotswap.driver"]
    if driver == KUBERNETES:
        from . import kube

        return kube.connect(settings.values["hotswap.namespace"])
    from .local import LocalPods

    folder = folder_of(settings)
    if driver == ENGINE:
        from .engine import Engine

        runtime: Any = Engine(settings.values["hotswap.image"])
    else:
        from .processes import Processes

        runtime = Processes()
    memory_bytes = settings.values["hotswap.slot_memory_mb"] << 20
    return LocalPods(
        folder / "pods", runtime, folder / "memo", memory_bytes, facts=has_facts(settings)
    )


def has_facts(settings: Settings) -> bool:
    """Whether this process may write to the node's Postgres: then runs and memo are facts."""
    return settings.secret_file("writer").exists()


def open_runs(settings: Settings, node: str = "") -> Runs:
    """Return requests and events of a node (this one, unless named), for people who ask."""
    if settings.values["hotswap.driver"] == KUBERNETES:
        from .fact_runs import FactRuns

        return FactRuns(settings)
    return FileRuns(folder_of(settings, node) / "runs")


def open_published_runs(settings: Settings) -> Runs:
    """Return requests and events of this node, for its controller: what ends is a fact."""
    found = open_runs(settings)
    if isinstance(found, FileRuns) and has_facts(settings):
        from .fact_runs import FactRuns, Published

        return Published(found, FactRuns(settings))
    return found


def read_chains(settings: Settings) -> tuple[dict[str, chain.Chain], dict[str, ConfigError]]:
    """Return the chains of [dominoes] that are swapped, and why others cannot be: each by name."""
    found, refused = {}, {}
    for name in sorted(settings.dominoes):
        try:
            if read := read_chain(settings, name):
                found[name] = read
        except ConfigError as cause:
            refused[name] = cause
    return found, refused


def read_chain(settings: Settings, name: str) -> chain.Chain | None:
    """Return a chain of [dominoes], None for one that is not swapped. Raises ConfigError."""
    known = images(settings)
    own = settings.values["hotswap.image"]
    declared = settings.dominoes[name]
    tasks = chain.tables(name, declared.get("tasks", []))
    named = [with_program(task, known) for task in tasks]
    read = chain.read_chain(name, {**declared, "tasks": named}, known.get(own, own))
    if read:
        chain.check_swaps(read)
    return read


def with_program(task: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    """Return a task with its image by digest, where it names one of ours."""
    task = dict(task)
    if isinstance(task.get("image"), str):
        task["image"] = known.get(task["image"], task["image"])
    return task


def images(settings: Settings) -> dict[str, str]:
    """Return the images by name that `make images` wrote, or that the cluster mounted as files."""
    folder = settings.root / "k8s" / "images"
    found = {}
    with contextlib.suppress(OSError):
        for line in (folder / "images.env").read_text().splitlines():
            name, separator, image = line.partition("=")
            if separator and not line.startswith("#"):
                found[name.strip()] = image.strip()
        return found
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_file() and path.name.isidentifier():
                found[path.name] = path.read_text().strip()
    return found


def code_of(stage: chain.Stage) -> str:
    """Return what names the program of a stage: files that a plain command names are part of it.

    An image by digest and a domino of the lab name themselves.
    """
    from .processes import command_of

    argv = command_of(stage.image)
    if not argv:
        return stage.code
    hasher = hashlib.sha256(stage.code.encode())
    for part in argv:
        path = Path(part)
        with contextlib.suppress(OSError, ValueError):
            if path.is_file():
                hasher.update(hashlib.sha256(path.read_bytes()).digest())
    return f"command:{hasher.hexdigest()}"


def start_run(
    settings: Settings,
    name: str,
    run_id: str,
    on: str,
    input_digest: str,
    *,
    reuse: bool = True,
    codes: Mapping[str, str] = NO_CODES,
    declared: str = "",
) -> chain.Run:
    """Return a run of a declared chain. Raises ConfigError naming what there is.

    `codes` names the program of a task for good: for a domino the fixed part of its memo key;
    `declared` is the digest of a chain of dominoes.
    """
    read = read_chain(settings, name) if name in settings.dominoes else None
    if read is None:
        raise ConfigError(
            f"a swapped chain must be declared in [dominoes] with run_in container or pod, "
            f"was {name!r}; there are {sorted(read_chains(settings)[0])} ({settings.universe})"
        )
    run = chain.start_run(read, run_id, on, input_digest, reuse=reuse)
    universe = routing.route(f"domino/{name}", settings.routing, settings.node).universe
    coded = tuple(s._replace(code=codes.get(s.name) or code_of(s)) for s in run.stages)
    return run._replace(stages=coded, node=universe, declared=declared)
