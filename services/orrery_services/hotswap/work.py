"""What happens before and after a stage, in a child of the runner so that it costs nothing later.

`prepare` finds the inputs and asks the memo; `finish` names the output and says that it is done.
"""
# ruff: noqa: PTH113, PTH114

import os
import time
from typing import Any

from .. import scratch
from ..protocol import stages
from .children import ChildFailed

WAIT_SECONDS_MAX = 100 * 86_400.0  # longer than the stages before may take; SIGTERM ends us
LOOK_SECONDS = 0.01
NO_INPUT = 66  # EX_NOINPUT of sysexits.h: permanent


def ready_made(volume: str, token: stages.Token, order: dict[str, Any]) -> dict[str, Any] | None:
    """Return what `prepare` would, when the order names key and inputs and they are in the scratch.

    The controller has asked the memo then, so there is nothing to do that would need a process.
    """
    if not order.get("key"):
        return None
    for number, digest in order["inputs"]:
        marker = scratch.read_marker(volume, token.run, number)
        if marker is None or marker["output"] != digest:
            return None
    return _found(volume, token, order, [digest for _, digest in order["inputs"]], order["key"])


def prepare(
    volume: str, token: stages.Token, order: dict[str, Any], memo_url: str
) -> dict[str, Any]:
    """Return key, digests and paths of the inputs; `reused` when the memo had the output already.

    Without a memo, or with one that does not answer, everything is computed: local first.
    """
    memo = _client(memo_url) if memo_url else None
    import blake3  # noqa: F401 - loaded before the wait, not after it

    wait_for_inputs(volume, token, order)
    digests = [_input(volume, token.run, *wanted, memo) for wanted in order["inputs"]]
    key = stages.stage_key(order["code"], order["parameters"], digests)
    found = _found(volume, token, order, digests, key)
    if memo and order.get("reuse", True) and not order.get("key"):
        found["reused"] = _reuse(memo, token, key, digests)
    return found


def wait_for_inputs(volume: str, token: stages.Token, order: dict[str, Any]) -> None:
    """Wait for the stages before (overlapped mode): their digests are not known yet."""
    until = time.monotonic() + WAIT_SECONDS_MAX
    waiting = [number for number, digest in order["inputs"] if digest is None]
    while waiting and time.monotonic() < until:
        if scratch.is_done(volume, token.run, waiting[0]):
            waiting.pop(0)
        else:
            time.sleep(LOOK_SECONDS)


def _found(
    volume: str, token: stages.Token, order: dict[str, Any], digests: list[str], key: str
) -> dict[str, Any]:
    numbers = [number for number, _ in order["inputs"]]
    paths = [
        scratch.output_path(volume, token.run, number, digest)
        for number, digest in zip(numbers, digests, strict=True)
    ]
    return {"key": key, "inputs": digests, "paths": paths, "reused": False}


def _client(url: str) -> Any:
    from .memo_client import MemoClient  # eight megabytes, only where there is a memo

    return MemoClient(url)


def _input(volume: str, run: str, number: int, digest: str | None, memo: Any) -> str:
    marker = scratch.read_marker(volume, run, number)
    if marker is None and digest and memo:
        try:
            marker = memo.fetch(run, number, digest)
        except OSError as cause:
            raise ChildFailed(stages.UNAVAILABLE, f"the memo does not answer: {cause}") from cause
    if marker is None:
        raise ChildFailed(stages.UNAVAILABLE, f"the output of stage {number} of {run} is nowhere")
    if digest and marker["output"] != digest:
        raise ChildFailed(
            NO_INPUT,
            f"the output of stage {number} must be {digest[:12]}, was {marker['output'][:12]}",
        )
    return marker["output"]


def _reuse(memo: Any, token: stages.Token, key: str, digests: list[str]) -> bool:
    try:
        digest = memo.lookup(key)
        if digest is None:
            return False
        said = {"key": key, "inputs": digests, "token": str(token)}
        return memo.fetch(token.run, token.stage, digest, said) is not None
    except OSError:
        return False


def finish(
    volume: str,
    token: stages.Token,
    temporary: str,
    found: dict[str, Any],
    measured: dict[str, Any],
) -> stages.Marker:
    """Return the marker of a stage whose command ended well."""
    if os.path.islink(temporary) or not os.path.isfile(temporary):
        found = "something else" if os.path.lexists(temporary) else "none"
        raise ChildFailed(
            stages.NO_OUTPUT,
            "a stage must write one file at ORRERY_OUTPUT, no link and no folder; it ended with 0 "
            f"and wrote {found}",
        )
    marker: stages.Marker = {
        "token": str(token),
        "key": found["key"],
        "inputs": found["inputs"],
        "reused": False,
        **measured,
    }
    return scratch.finish_stage(volume, token.run, token.stage, temporary, marker)
