"""`python -m orrery_services.stack supervise <home>`: what `make up` leaves running.

The other verbs are the one-shot jobs of the ways to run that have no supervisor:
secrets, roles, tables, topics, connectors; each idempotent, for the node of ORRERY_NODE.
"""

import sys
from pathlib import Path

from ..errors import ServiceError
from . import jobs
from .supervisor import supervise


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) == 2 and arguments[0] == "supervise":
            return supervise(Path(arguments[1]))
        if len(arguments) == 1 and arguments[0] in jobs.JOBS:
            return jobs.run(arguments[0])
    except ServiceError as cause:
        print(f"{arguments[0]}: {cause}", file=sys.stderr)  # noqa: T201
        return 1
    print(__doc__, file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
