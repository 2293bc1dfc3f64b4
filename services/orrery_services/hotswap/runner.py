"""PID 1 of a slot: run one stage, say that it is done, and wait, small, until the slot is swapped.

    orrery stage -- python my_step.py      # Dockerfile: ENTRYPOINT ["orrery", "stage", "--", …]

The container never ends after success: a kubelet starts no other image in a container that has
ended. Started again, it finds its marker and only waits. Exit codes: 64-78 do not repeat, 137 more
memory, others repeat. Without a token it is the placeholder.
"""
# ruff: noqa: PTH103, PTH108, PTH118 - pathlib alone is a megabyte

import contextlib
import json
import os
import sys
import time
from typing import Any, NamedTuple

from .. import gate, scratch
from ..protocol import stages
from . import work
from .children import ChildFailed, Ended, Outcome, Waiter, in_child, run

PARK_SECONDS = 3600.0
DEADLINE_SECONDS = 300.0
TERMINATION_BYTES_MAX = 2048
OWN = frozenset(
    {
        "ORRERY_TOKEN", "ORRERY_ORDER", "ORRERY_TERMINATION_LOG", "ORRERY_SLOT",
        "ORRERY_GATE_FD", "ORRERY_GATE_RECORD", "ORRERY_GATE_NAME",
    }
)  # fmt: skip


class Slot(NamedTuple):
    """What the environment of a slot says."""

    name: str
    volume: str
    memo_url: str
    termination_log: str


def main(argv: list[str]) -> int:
    """Run the stage that the environment orders and return the exit code of the container."""
    waiter = Waiter()
    slot = Slot(
        os.environ.get("ORRERY_SLOT", "a"),
        os.environ.get("ORRERY_SCRATCH", "/scratch"),
        os.environ.get("ORRERY_MEMO_URL", ""),
        os.environ.get("ORRERY_TERMINATION_LOG", "/dev/termination-log"),
    )
    if not gate.opens(os.environ):
        return 0
    text = os.environ.get("ORRERY_TOKEN", "")
    try:
        scratch.enter_slot(slot.volume, slot.name, text)
        if token := stages.parse_token(text):
            work_once(waiter, slot, token, read_order(argv))
        while True:
            waiter.wait(PARK_SECONDS)
    except Ended:
        scratch.leave_slot(slot.volume, slot.name)
        return 0 if is_parked(slot, text) else say(slot, text, stages.ENDED, "ended by SIGTERM")
    except ChildFailed as cause:
        return say(slot, text, cause.code, str(cause))
    except (ValueError, KeyError, TypeError) as cause:
        return say(slot, text, stages.BAD_ORDER, f"{type(cause).__name__}: {cause}")
    except OSError as cause:
        why = f"{cause.strerror}: {cause.filename}"
        return say(slot, text, 1, f"{why}; {slot.volume} must be there, writable and not full")


def is_parked(slot: Slot, text: str) -> bool:
    with contextlib.suppress(ValueError):
        token = stages.parse_token(text)
        return token is None or scratch.is_done(slot.volume, token.run, token.stage)
    return False


def read_order(argv: list[str]) -> dict[str, Any]:
    """Return the order of the controller, with the command that this image runs."""
    order = json.loads(os.environ.get("ORRERY_ORDER") or "{}")
    for field in ("code", "inputs"):
        if field not in order:
            raise ValueError(f"an order must name {field}, was {str(order)[:200]}")
    order.setdefault("parameters", {})
    if order.get("domino"):
        argv = [sys.executable, "-m", "orrery_services.hotswap.domino_stage", order["name"]]
    if not argv:
        raise ValueError("the image of a stage must name a command: ENTRYPOINT orrery stage -- …")
    order["command"] = argv
    return order


def work_once(waiter: Waiter, slot: Slot, token: stages.Token, order: dict[str, Any]) -> None:
    """Return once the stage is done: by us, by an earlier life of this slot, or by the memo."""
    if scratch.is_done(slot.volume, token.run, token.stage):
        return
    started_ns = time.time_ns()
    found = work.ready_made(slot.volume, token, order) or in_child(
        waiter, work.prepare, slot.volume, token, order, slot.memo_url
    )
    if found["reused"]:
        return
    folder = scratch.stage_folder(slot.volume, token.run, token.stage)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, "output.tmp")
    remove(temporary)
    running_ns = time.time_ns()
    outcome = run_command(waiter, token, order, found, temporary)
    if outcome.code:
        raise ChildFailed(outcome.code, reason(outcome, order))
    measured = {
        "started_ns": started_ns,
        "running_ns": running_ns,
        "ended_ns": time.time_ns(),
        "run_ms": round(outcome.run_ms, 3),
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "slot": slot.name,
    }
    in_child(waiter, work.finish, slot.volume, token, temporary, found, measured)


def remove(path: str) -> None:
    """Take away what an earlier attempt left, even a folder."""
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(path)
        except IsADirectoryError:
            import shutil  # a megabyte, and hardly ever

            shutil.rmtree(path)


def reason(outcome: Outcome, order: dict[str, Any]) -> str:
    """Say why a command failed: what we know first, then its last words."""
    why = f"exit code {outcome.code}"
    if outcome.code == stages.DEADLINE:
        why = f"not done within {order.get('deadline_s', DEADLINE_SECONDS)} s"
    elif outcome.code == stages.KILLED:
        why = f"killed at {outcome.peak_rss_bytes >> 20} MiB, most likely for memory"
    return f"{why}: {outcome.tail}" if outcome.tail else why


def run_command(
    waiter: Waiter, token: stages.Token, order: dict[str, Any], found: dict[str, Any], output: str
) -> Outcome:
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    env = {
        **kept,
        "ORRERY_INPUT": found["paths"][0] if found["paths"] else "",
        "ORRERY_INPUTS": json.dumps(found["paths"]),
        "ORRERY_OUTPUT": output,
        "ORRERY_PARAMETERS": stages.canonical(order["parameters"]),
        "ORRERY_RUN": token.run,
        "ORRERY_STAGE": str(token.stage),
        "ORRERY_ATTEMPT": str(token.attempt),
    }
    log_path = os.path.join(os.path.dirname(output), "log")  # noqa: PTH120
    deadline_s = float(order.get("deadline_s", DEADLINE_SECONDS))
    try:
        return run(waiter, order["command"], env, deadline_s, log_path)
    except OSError as cause:
        why = f"cannot start {order['command'][0]!r}: {cause.strerror}"
        raise ChildFailed(stages.BAD_ORDER, why) from cause


def say(slot: Slot, text: str, code: int, why: str) -> int:
    """Leave the short reason where a kubelet picks it up, and return the exit code."""
    message = {"token": text, "exit": code, "class": stages.failure_class(code), "why": why[-900:]}
    with contextlib.suppress(OSError):
        data = json.dumps(message).encode()[:TERMINATION_BYTES_MAX]
        handle = os.open(slot.termination_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        os.write(handle, data)
        os.close(handle)
    with contextlib.suppress(OSError):
        os.write(2, f"orrery stage {text}: {why}\n".encode())
    return code


def command_after(argv: list[str]) -> list[str]:
    """Return the command after `--`.

    >>> command_after(["--", "python", "step.py"])
    ['python', 'step.py']
    """
    return argv[1:] if argv[:1] == ["--"] else argv


if __name__ == "__main__":
    # Not by way of the interpreter's end: a swap waits for it, and nothing is left to be flushed.
    os._exit(main(command_after(sys.argv[1:])))
