"""A domino of the lab as a stage: python -m orrery_services.hotswap.domino_stage TASK.

The input of the run is a capsule: the snapshot's manifest, the pieces that its chain reads, and
the chain as it was declared. What the task needs of other tasks are the outputs of their stages,
in canonical bytes; its own output is what the lab's memo would keep, under the same digest.
"""

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orrery_kernels.domino.chain import read_chain
from orrery_kernels.domino.domino import Domino
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.memo import Memo
from orrery_kernels.domino.run import arguments_of, compute
from orrery_kernels.errors import OrreryError
from orrery_kernels.snapshot.canonical import decode, encode
from orrery_kernels.snapshot.digest import digest
from orrery_kernels.snapshot.snapshot import thaw

from .. import compiled

TAG = "orrery capsule 1"
SOFTWARE = 70  # EX_SOFTWARE of sysexits.h: permanent


def pack(
    manifest: bytes,
    pieces: Mapping[bytes, bytes],
    chain: str,
    declared: Mapping[str, Any],
    modules: Sequence[str],
) -> bytes:
    """Return the capsule of a run: equal contents, equal bytes. `modules` hold the dominoes."""
    listed = [[name, pieces[name]] for name in sorted(pieces)]
    text = json.dumps(declared, sort_keys=True)
    return encode([TAG, manifest, listed, chain, text, sorted(modules)])


def find_dominoes(modules: Sequence[str]) -> dict[str, Domino]:
    """Return the dominoes of modules by their name."""
    found = {}
    for module in modules:
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, Domino):
                found[value.name] = value
    return found


def run_task(capsule: bytes, task_name: str, outputs: Mapping[str, bytes]) -> bytes:
    """Return the canonical bytes of a task's answer. Raises what the domino raises."""
    tag, manifest, listed, name, text, modules = decode(capsule)
    if tag != TAG:
        raise ValueError(f"the input of a run of dominoes must be {TAG!r}, was {tag!r}")
    chain = read_chain(name, json.loads(text), find_dominoes(modules))
    task = chain.task(task_name)
    market = Market(thaw(manifest), {bytes(key): bytes(body) for key, body in listed}.__getitem__)
    memo = Memo()
    memo.bodies.update({digest(body): body for body in outputs.values()})
    answers = {needed: digest(outputs[needed]) for needed in task.upstream}
    return compute(task, arguments_of(task, chain, market, answers, memo)).body


def find_loops() -> None:
    """Take compiled loops from the image, over /tmp where nothing else may be written."""
    if shipped := os.environ.get("ORRERY_CACHE"):
        own = str(Path(tempfile.gettempdir()) / "orrery")
        os.environ["ORRERY_CACHE"] = os.pathsep.join((own, shipped))
    compiled.keep_loops()


def main(task_name: str) -> int:
    """Run one task between the files that the runner names."""
    find_loops()
    paths = [Path(path) for path in json.loads(os.environ["ORRERY_INPUTS"])]
    needed = json.loads(os.environ["ORRERY_PARAMETERS"])["upstream"]
    outputs = {name: path.read_bytes() for name, path in zip(needed, paths[1:], strict=True)}
    try:
        body = run_task(paths[0].read_bytes(), task_name, outputs)
    except (OrreryError, ValueError) as cause:
        print(cause, file=sys.stderr)  # noqa: T201 - the last words of the stage
        return SOFTWARE
    Path(os.environ["ORRERY_OUTPUT"]).write_bytes(body)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
