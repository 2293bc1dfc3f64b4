"""The command `orrery` as a person types it, in a process of its own, on a stack of a test."""

import json
import os
import subprocess
import sys
from typing import Any

from orrery_services.stack import Stack

SECONDS_MAX = 240.0
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
