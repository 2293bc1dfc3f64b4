"""What is to be run: a chain of stages read from its declaration, and one run of it.

Stages are numbered from 1 in topological order; number 0 is the input of the run. A run carries its
stages along, so that a change of the declaration does not reach a run on its way.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..protocol import stages
from ..protocol.declarations import CHAIN_KEYS, SWAPPED, check_task_name

PLACES = ("process", *SWAPPED)
MODES = ("serial", "overlapped")
STAGES_MAX = 64
DEADLINE_SECONDS, DEADLINE_SECONDS_MAX = 300.0, 86_400.0
MEMORY_MB, MEMORY_MB_MAX = 256, 1 << 20
NOTED_BYTES_MAX = 192 << 10  # an API server takes 256 KiB of annotations, those of others too
DIGEST_BYTES, ENTRY_BYTES, RESULT_BYTES = 80, 700, 8192
DIGEST = re.compile(r"(.+@)?sha256:[0-9a-f]{64}")
TASK_FIELDS = {
    "name", "image", "command", "domino", "needs", "params", "run_in",
    "deadline_s", "memory_mb", "memory_mb_max",
}  # fmt: skip
DOMINO_FIELDS = TASK_FIELDS | {"reads", "words", "tolerance"}  # the lab reads and checks these


class Stage(NamedTuple):
    """One stage. `image` is what the slot is patched to; for a plain process it holds a command."""

    name: str
    image: str
    code: str  # names the program for good, part of the memo key
    needs: tuple[int, ...]
    parameters: dict[str, Any]
    deadline_s: float
    memory_bytes: int
    memory_bytes_max: int
    domino: str = ""


class Chain(NamedTuple):
    name: str
    mode: str
    stages: tuple[Stage, ...]


class Run(NamedTuple):
    """One run of a chain: everything a controller needs, in the pod and nowhere else."""

    id: str
    chain: str
    attempt: int
    on: str  # the snapshot, as a person named it
    input: str  # digest of its bytes
    overlapped: bool
    reuse: bool  # False: recompute everything, as an audit does
    stages: tuple[Stage, ...]
    node: str = ""  # the universe that runs it; empty: the one that was asked
    declared: str = ""  # digest of the chain, where it is one of dominoes


def read_chain(name: str, declared: Mapping[str, Any], image: str = "") -> Chain | None:
    """Return the chain of [dominoes.<name>]; None when none of its tasks is swapped.

    `image` is the one of this program, by digest: stages that name none run in it.
    Raises ConfigError naming chain, task and rule.
    """
    tasks = tables(name, declared.get("tasks", []))
    chain_in = declared.get("run_in", "process")
    where = [task.get("run_in", chain_in) for task in tasks]
    if unknown := [place for place in [chain_in, *where] if place not in PLACES]:
        raise ConfigError(f"run_in must be one of {PLACES}, was {unknown[0]!r} (dominoes.{name})")
    if not any(place in SWAPPED for place in where or [chain_in]):
        return None
    if not tasks:
        raise ConfigError(f"a swapped chain must have tasks, has none (dominoes.{name})")
    if unknown := set(declared) - set(CHAIN_KEYS):
        known = f"known: {sorted(CHAIN_KEYS)}"
        raise ConfigError(f"unknown {sorted(unknown)} (dominoes.{name}); {known}")
    if not all(place in SWAPPED for place in where):
        raise ConfigError(
            f"all tasks of a swapped chain must run in container or pod, were {where} "
            f"(dominoes.{name}); split the chain where it leaves the pod"
        )
    mode = declared.get("mode", "serial")
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {MODES}, was {mode!r} (dominoes.{name})")
    if len(tasks) > STAGES_MAX:
        raise ConfigError(
            f"a chain holds at most {STAGES_MAX} tasks, was {len(tasks)} (dominoes.{name})"
        )
    ordered = order_tasks(name, tasks)
    numbers = {task["name"]: number for number, (task, _) in enumerate(ordered, 1)}
    found = tuple(
        read_stage(name, number, task, [numbers[need] for need in needs], needs, image)
        for number, (task, needs) in enumerate(ordered, 1)
    )
    return Chain(name, mode, told_apart(found))


def tables(chain: str, tasks: Any) -> list[Mapping[str, Any]]:
    """Return the tasks as declared. Raises ConfigError when they are no tables that can be read."""
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
        raise ConfigError(f"tasks must be a list of tables, was {tasks!r:.80} (dominoes.{chain})")
    for task in tasks:
        place = f"dominoes.{chain}, task {task.get('name')!r}"
        check_texts(task.get("needs", []), "needs", place)
        for field in ("params", "reads"):
            if not isinstance(task.get(field, {}), Mapping):
                raise ConfigError(f"{field} must be a table, was {task[field]!r:.80} ({place})")
    return tasks


def check_texts(value: Any, field: str, place: str) -> None:
    whole = isinstance(value, list) and all(isinstance(text, str) for text in value)
    if not whole or any("\0" in text for text in value):
        raise ConfigError(f"{field} must be a list of texts, was {value!r:.80} ({place})")


def order_tasks(
    chain: str, tasks: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Return tasks with the names they need, dependencies first, else as declared (Kahn, 1962).

    A task that says nothing needs the one declared before it; `needs = []` reads the run's input.
    """
    names = [task.get("name") for task in tasks]
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ConfigError(f"tasks must have names, each once, were {names} (dominoes.{chain})")
    for name in names:
        check_task_name(chain, name)
    needs = {
        name: needs_of(task, names, names[i - 1 : i] if i else [])
        for i, (name, task) in enumerate(zip(names, tasks, strict=True))
    }
    for name, wanted in needs.items():
        if unknown := [need for need in wanted if need not in needs]:
            raise ConfigError(
                f"a task must need tasks of its chain, {name!r} needs {unknown} "
                f"(dominoes.{chain}); there are {names}"
            )
    by_name = dict(zip(names, tasks, strict=True))
    done: list[str] = []
    while len(done) < len(names):
        free = next((n for n in names if n not in done and set(needs[n]) <= set(done)), None)
        if free is None:
            circle = [name for name in names if name not in done]
            raise ConfigError(
                f"tasks must not need each other in a circle: {circle} (dominoes.{chain})"
            )
        done.append(free)
    return [(by_name[name], needs[name]) for name in done]


def needs_of(task: Mapping[str, Any], names: Sequence[str], before: list[str]) -> list[str]:
    """Return the tasks whose output a task reads: a domino says so by `reads` as well."""
    if not task.get("domino"):
        return list(task.get("needs", before))
    read = [target for target in task.get("reads", {}).values() if target in names]
    return list(dict.fromkeys([*read, *task.get("needs", [])]))


def read_stage(
    chain: str,
    number: int,
    task: Mapping[str, Any],
    needs: Sequence[int],
    upstream: Sequence[str],
    image: str,
) -> Stage:
    """Return one stage: numbers and names of the tasks it reads. Raises ConfigError."""
    place = f"dominoes.{chain}, task {task['name']!r}"
    known = DOMINO_FIELDS if task.get("domino") else TASK_FIELDS
    if unknown := set(task) - known:
        raise ConfigError(f"unknown {sorted(unknown)} ({place}); known: {sorted(known)}")
    deadline_s = number_of(task, "deadline_s", DEADLINE_SECONDS, DEADLINE_SECONDS_MAX, place)
    memory_mb = number_of(task, "memory_mb", MEMORY_MB, MEMORY_MB_MAX, place)
    memory_mb_max = number_of(task, "memory_mb_max", memory_mb, MEMORY_MB_MAX, place)
    if memory_mb > memory_mb_max:
        raise ConfigError(
            f"memory_mb must be in (0, memory_mb_max], was {memory_mb} of {memory_mb_max} ({place})"
        )
    image, code, domino = read_program(number, task, image, place)
    parameters = read_parameters(task, place)
    inputs = tuple(needs) or (0,)
    if domino:  # the lab knows its parameters from the capsule, which is the input of the run
        parameters, inputs = {"upstream": list(upstream)}, (0, *needs)
    memory = (max(1, int(megabytes * (1 << 20))) for megabytes in (memory_mb, memory_mb_max))
    return Stage(task["name"], image, code, inputs, parameters, deadline_s, *memory, domino)


def number_of(
    task: Mapping[str, Any], field: str, default: float, most: float, place: str
) -> float:
    value = task.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigError(f"{field} must be in (0, {most:g}], was {value!r} ({place})")
    return float(value)


def read_parameters(task: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the parameters of a task: a stage reads them as JSON, and they are part of its key."""
    parameters = dict(task.get("params", {}))
    try:
        stages.canonical(parameters)
    except (TypeError, ValueError) as cause:
        raise ConfigError(
            f"params must be what JSON can say, no dates and no nan: {cause} ({place})"
        ) from cause
    return parameters


def read_program(
    number: int, task: Mapping[str, Any], own_image: str, place: str
) -> tuple[str, str, str]:
    """Return what the slot is patched to, what names the program, and the domino if it is one."""
    argv, domino, named = task.get("command"), task.get("domino", ""), task.get("image", "")
    if not isinstance(domino, str) or not isinstance(named, str):
        raise ConfigError(f"image and domino must be texts, were {named!r}, {domino!r} ({place})")
    if (argv is None) + (not domino and not named) != 1:  # a domino may name the image it runs in
        raise ConfigError(f"a task must have one of image, command and domino ({place})")
    if argv is not None:
        check_texts(argv, "command", place)
        if not argv or not argv[0]:
            raise ConfigError(f"command must name a program, was {argv!r} ({place})")
        return command_image(number, argv), stages.canonical(argv), ""
    image = named or own_image
    if not domino and not DIGEST.fullmatch(image):
        raise ConfigError(
            f"image must be named by digest (name@sha256:…), or as in k8s/images/images.env, which "
            f"`make images` writes; was {image!r} ({place}): another program may come by that name"
        )
    if domino and not image:
        return command_image(number, []), f"domino:{domino}", domino
    code = image.rpartition("@")[2] + f" {domino}".rstrip()
    # The placeholder is this very image, where it is ours: it has to differ from that as well.
    return numbered_image(image, number) if domino else image, code, domino


def command_image(number: int, argv: Sequence[str]) -> str:
    """Return the image of a stage that is a plain command.

    >>> command_image(2, ["python", "step.py"])
    'command:2:["python","step.py"]'
    """
    return f"command:{number}:{stages.canonical(list(argv))}"


def numbered_image(image: str, number: int) -> str:
    """Return the image with the stage's number as tag: a kubelet takes equal texts for no change.

    The digest alone says what is run.

    >>> numbered_image("registry/steps@sha256:ab", 3)
    'registry/steps:stage-3@sha256:ab'
    """
    if "@" not in image:
        return image
    name, _, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}:stage-{number}@{digest}"


def told_apart(found: Sequence[Stage]) -> tuple[Stage, ...]:
    """Number the image of a stage that an earlier one has too: equal texts are not swapped."""
    seen: set[str] = set()
    told = []
    for number, stage in enumerate(found, 1):
        image = numbered_image(stage.image, number) if stage.image in seen else stage.image
        seen.add(stage.image)
        told.append(stage._replace(image=image))
    return tuple(told)


def check_swaps(chain: Chain) -> None:
    """Raise ConfigError when two stages that share a slot one after the other have equal images."""
    for before, after in zip(chain.stages, chain.stages[2:], strict=False):
        if before.image == after.image:
            raise ConfigError(
                f"stages in the same slot must have different images, {before.name!r} and "
                f"{after.name!r} have {after.image!r} (dominoes.{chain.name}); name it by digest"
            )


def start_run(chain: Chain, run_id: str, on: str, input_digest: str, *, reuse: bool = True) -> Run:
    """Return the first attempt of a run."""
    if not stages.is_run_name(run_id):
        raise ConfigError(
            f"a run must be named in lower case letters, digits, - and ., was {run_id!r}"
        )
    check_swaps(chain)
    overlapped = chain.mode == "overlapped"
    run = Run(run_id, chain.name, 1, on, input_digest, overlapped, reuse, chain.stages)
    if (many := noted_bytes(run)) > NOTED_BYTES_MAX:
        raise ConfigError(
            f"what a pod notes of a run must be <= {NOTED_BYTES_MAX} bytes, would be {many} "
            f"(dominoes.{chain.name}): shorten params and commands, or split the chain"
        )
    return run


def noted_bytes(run: Run) -> int:
    """Return what a pod comes to hold of a run at most: itself, what came of each stage, two
    orders and a result."""
    digests = [DIGEST_BYTES * len(stage.needs) for stage in run.stages]
    told = [len(stage.name) + len(stage.code) + ENTRY_BYTES for stage in run.stages]
    orders = [len(stages.canonical(stage._asdict())) for stage in run.stages]
    largest = max(map(sum, zip(orders, digests, strict=True)))
    return len(encode_run(run)) + sum(told) + sum(digests) + 2 * largest + RESULT_BYTES


def encode_run(run: Run) -> str:
    fields = {name: value for name, value in run._asdict().items() if value or name != "declared"}
    return stages.canonical({**fields, "stages": [stage._asdict() for stage in run.stages]})


def decode_run(text: str) -> Run:
    """Return the run that `encode_run` wrote. Raises ConfigError for any other text."""
    try:
        fields = json.loads(text)
        listed = fields.pop("stages")
        found = tuple(Stage(**{**stage, "needs": tuple(stage["needs"])}) for stage in listed)
        return Run(**fields, stages=found)
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise ConfigError(
            f"a run must be as this release writes it, was {text[:80]!r}: {cause}; ask for it anew"
        ) from cause
