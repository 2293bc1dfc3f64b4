"""The command `orrery` as a person types it, in a process of its own, on a stack of a test."""

import json
import os
import subprocess
import sys
import time
from typing import Any

from orrery_services.stack import Stack

SECONDS_MAX = 300.0
ORRERY = (sys.executable, "-c", "from orrery_services.cli.main import main; main()")


def run(
    stack: Stack, *words: str, seconds_max: float = SECONDS_MAX, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(
        [*ORRERY, *words],
        env={**os.environ, "ORRERY_HOME": str(stack.plan.home), **env},
        capture_output=True, text=True, timeout=seconds_max,
    )  # fmt: skip


def orrery(stack: Stack, *words: str, code: int = 0, seconds_max: float = SECONDS_MAX) -> Any:
    """Run a command that must end with `code`; return the document that it prints."""
    done = run(stack, *words, "--json", seconds_max=seconds_max)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def until_well(stack: Stack, *words: str) -> Any:
    """Run a command until it ends well: what a living stack makes is on its way for a moment."""
    deadline = time.monotonic() + SECONDS_MAX
    while (done := run(stack, *words, "--json")).returncode:
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.5)
    return json.loads(done.stdout)
