"""orrery stage -- CMD...: be PID 1 of a slot. Without a command: the placeholder.

The parser of the command line is not needed for that and would stay in memory for as long as the
slot waits: `orrery stage` is looked at before anything else is imported, and replaces this process.
"""

import os
import sys


def exec_stage(argv: list[str]) -> None:
    """Become the runner; does not return."""
    os.execv(sys.executable, [sys.executable, "-m", "orrery_services.hotswap.runner", *argv])
