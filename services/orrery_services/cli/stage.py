"""orrery stage -- CMD...: be PID 1 of a slot. Without a command: the placeholder.

The parser of the command line is not needed for that and would stay in memory for as long as the
slot waits: `orrery stage` is looked at before anything else is imported, and replaces this process.
"""

import os
import sys

USAGE = """Usage: orrery stage [-- CMD...]

Be the first process of a slot: run CMD once the controller has ordered a stage (ORRERY_TOKEN,
ORRERY_ORDER), keep what it writes at $ORRERY_OUTPUT in the scratch (ORRERY_SCRATCH, default
/scratch), then wait to be swapped. Without an order it only waits: the placeholder.

    ENTRYPOINT ["orrery", "stage", "--", "python", "/my_step.py"]"""


def exec_stage(argv: list[str]) -> None:
    """Become the runner; does not return."""
    if argv[:1] in (["-h"], ["--help"]):
        print(USAGE)
        sys.exit(0)
    os.execv(sys.executable, [sys.executable, "-m", "orrery_services.hotswap.runner", *argv])
